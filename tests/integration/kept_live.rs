//! A kept run of live cameras that is killed: what was committed stays there, each row once, and no number is given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use intakt_pipelines::sources::StopFlag;
use serde_json::Value;

use crate::kept::{query, query_if_any, random};
use crate::server::{HANG, Served, exchange, run_file};
use crate::support::{INTAKT, SHARED, assert_same, json_lines};

const CAMERAS: [&str; 2] = ["dock", "gate"];

/// What a run never takes back. Alerts are not among it: they close.
const SHOWN: [&str; 4] = ["outcomes", "metrics", "labels", "changes"];

/// How often each row is in the store of a run.
fn rows(run: &Path) -> BTreeMap<String, u64> {
    let mut rows = BTreeMap::new();
    for show in SHOWN {
        for mut row in json_lines(&query_if_any(run, show)) {
            if show == "labels" {
                // A label may be kept a hop before its frame, and then learns its frame's time from that.
                row.as_object_mut().unwrap().remove("captured_at_us").unwrap();
            }
            *rows.entry(format!("{show} {row}")).or_default() += 1;
        }
    }
    rows
}

/// Panics where a row that was there `before` is not there any more, or one is there twice.
#[track_caller]
fn assert_still_there(before: &BTreeMap<String, u64>, run: &Path) -> BTreeMap<String, u64> {
    let now = rows(run);
    for row in before.keys() {
        assert!(now.contains_key(row), "it is lost: {row}");
    }
    for (row, times) in &now {
        assert_eq!(*times, 1, "{row}");
    }
    let outcomes = json_lines(&query_if_any(run, "outcomes"));
    let frames = outcomes
        .iter()
        .map(|outcome| (outcome["camera"].to_string(), outcome["seq"].as_u64()));
    let frames: Vec<_> = frames.collect();
    assert_eq!(
        frames.iter().collect::<BTreeSet<_>>().len(),
        frames.len(),
        "a frame has one outcome"
    );
    now
}

/// Posts frames to both cameras and says what some of them are, until the run is gone; the numbers that were given.
fn post(address: &str, tenths: &AtomicU64, images: &[Vec<u8>; 2]) -> Vec<(&'static str, u64)> {
    let mut given = Vec::new();
    loop {
        // Faster than the clock, so that hops end often.
        let tenth = tenths.fetch_add(3, Ordering::Relaxed);
        let at_us = 1_767_592_800_000_000 + tenth * 100_000;
        for camera in CAMERAS {
            let line = format!("POST /api/v1/cameras/{camera}/frames?captured_at_us={at_us} HTTP/1.1\r\n");
            let image = &images[usize::from(tenth.is_multiple_of(4))];
            let Ok((status, body)) = exchange(address, &line, image) else {
                return given;
            };
            assert_eq!(status, 200, "{body}");
            let seq = serde_json::from_str::<Value>(&body).unwrap()["seq"].as_u64().unwrap();
            given.push((camera, seq));
            let label = format!("{{\"camera\": \"{camera}\", \"seq\": {seq}, \"truth\": \"normal\"}}");
            let line = "POST /api/v1/labels HTTP/1.1\r\ncontent-type: application/json\r\n";
            if seq.is_multiple_of(4) && exchange(address, line, label.as_bytes()).is_err() {
                return given;
            }
        }
    }
}

fn killed_again_and_again(kills: usize, seed: u64) {
    let cameras = CAMERAS.map(|name| format!("[[camera]]\nname = \"{name}\"\nsource = \"http\"\n"));
    let (dir, run_file) = run_file(&format!(
        "detector = \"line.intakt\"\n[server]\nlisten = \"127.0.0.1:0\"\n[rates]\nwindows = [\"2s\", \"1m\"]\n{}",
        cameras.concat()
    ));
    let [run, log] = ["run", "log"].map(|name| dir.path().join(name));
    let [at, jsonl] = [&run, &log].map(|path| path.to_str().unwrap());
    let more = ["--run", at, "--resume", "--jsonl", jsonl];
    let images = [&SHARED.normal, &SHARED.blotted].map(|image| fs::read(image).unwrap());
    let (tenths, never, mut random) = (AtomicU64::new(0), StopFlag::default(), random(seed, u64::MAX));
    let (mut kept, mut given) = (BTreeMap::new(), BTreeSet::new());
    for kill in 0..kills {
        // Once while it opens.
        let mut command = Command::new(INTAKT);
        command.arg("inspect").arg(&run_file).args(more);
        let mut opening = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        never.wait(Duration::from_micros(random() % 50_000));
        opening.kill().unwrap();
        opening.wait().unwrap();
        kept = assert_still_there(&kept, &run);

        // And once while frames come, at any time after something was committed.
        let served = Served::start(&run_file, &more);
        let address = served.address.clone();
        thread::scope(|scope| {
            let posting = scope.spawn(|| post(&address, &tenths, &images));
            let begun = Instant::now();
            while rows(&run).len() == kept.len() && !posting.is_finished() {
                assert!(begun.elapsed() < HANG, "nothing is committed");
            }
            never.wait(Duration::from_micros(random() % 500_000));
            kept = assert_still_there(&kept, &run);
            served.kill();
            for (camera, seq) in posting.join().unwrap() {
                assert!(
                    given.insert((camera, seq)),
                    "kill {kill}: {camera} {seq} is given twice"
                );
            }
        });
        kept = assert_still_there(&kept, &run);
    }
    let served = Served::start(&run_file, &more);
    assert!(served.interrupt() < 2);
    assert_still_there(&kept, &run);
    assert_same(&fs::read_to_string(&log).unwrap(), &query(&run, "outcomes"), "the log");
    for show in ["outcomes", "metrics", "labels"] {
        assert!(query(&run, show).lines().count() > kills, "{show}");
    }
}

#[test]
fn what_live_cameras_had_committed_is_there_once_after_each_kill() {
    killed_again_and_again(3, 17);
}

#[test]
#[ignore = "sixty starts of the program: minutes"]
fn what_live_cameras_had_committed_is_there_once_after_thirty_kills() {
    killed_again_and_again(30, 19);
}
