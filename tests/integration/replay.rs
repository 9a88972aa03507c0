//! `inspect --record` and `replay`, from the outside.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::cluster::{replay_in_two, write_hosts};
use crate::server::{Served, run_file, tell};
use crate::support::{OTHER, Ran, SHARED, assert_same, decision, intakt, json_lines};

/// A run of two cameras and a broken frame, recorded; its verdicts.
fn recorded() -> (TempDir, PathBuf, String) {
    let dir = tempdir().unwrap();
    let (images, recording) = (dir.path().join("images"), dir.path().join("recording"));
    fs::create_dir_all(images.join("one")).unwrap();
    fs::create_dir_all(images.join("two")).unwrap();
    for n in 0..6 {
        let (camera, image) = if n % 2 == 0 {
            ("one", &SHARED.normal)
        } else {
            ("two", &SHARED.blotted)
        };
        fs::copy(image, images.join(camera).join(format!("{n}.png"))).unwrap();
    }
    fs::write(images.join("one/9.png"), b"torn").unwrap();
    let ran = intakt(&[
        &"inspect",
        &SHARED.detector,
        &images.join("one"),
        &images.join("two"),
        &"--record",
        &recording,
    ])
    .expect(1);
    assert!(ran.stderr.contains("recorded 7 frames"), "{}", ran.stderr);
    // What is replayed does not need the images any more.
    fs::remove_dir_all(&images).unwrap();
    (dir, recording, ran.stdout)
}

fn replay(recording: &Path, more: &[&dyn AsRef<OsStr>]) -> Ran {
    let mut args: Vec<&dyn AsRef<OsStr>> = vec![&"replay", &recording];
    args.extend(more);
    intakt(&args)
}

#[test]
fn a_replay_gives_the_same_bytes_and_flips_nothing() {
    let (_dir, recording, verdicts) = recorded();
    for (workers, pool) in [("1", "1"), ("2", "2"), ("3", "1")] {
        let ran = replay(&recording, &[&"-w", &workers, &"--pool", &pool]).expect(1);
        assert_eq!(ran.stdout, verdicts);
    }
    let ran = replay(&recording, &[&"--diff", &"--speed", &"1000"]).expect(0);
    assert_eq!(ran.stdout.trim(), "0 of 7 decisions flip");
}

#[test]
fn another_threshold_shows_what_flips_with_both_scores() {
    let (_dir, recording, verdicts) = recorded();
    let ran = replay(&recording, &[&"--diff", &"--threshold", &"1e9"]).expect(1);
    assert!(
        ran.stdout.contains("3 of 7 decisions flip; reject → pass: 3"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("two #0") && ran.stdout.contains("threshold 1000000000"),
        "{}",
        ran.stdout
    );
    let ran = replay(&recording, &[&"--cameras", &"two"]).expect(1);
    let of_two: Vec<&str> = verdicts
        .lines()
        .filter(|line| line.contains("\"camera\":\"two\""))
        .collect();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), of_two);
}

#[test]
fn another_detector_shows_what_flips_with_both_scores() {
    let (_dir, recording, verdicts) = recorded();
    let before = json_lines(&verdicts);
    let after = replay(&recording, &[&"--detector", &*OTHER]).expect(1).verdicts();
    let line = |(before, after): (&Value, &Value)| {
        assert_eq!((&before["camera"], &before["seq"]), (&after["camera"], &after["seq"]));
        assert_ne!(before["detector"], after["detector"]);
        let of = |verdict: &Value, key: &str| verdict[key].as_f64().unwrap();
        let side = |verdict: &Value| {
            let (score, threshold) = (of(verdict, "image_score"), of(verdict, "threshold"));
            format!("{} (score {score}, threshold {threshold})", decision(verdict))
        };
        let (camera, at_us) = (before["camera"].as_str().unwrap(), &before["captured_at_us"]);
        let flips = decision(before) != decision(after);
        flips.then(|| {
            format!(
                "{camera} #{} at {at_us}: {} → {}\n",
                before["seq"],
                side(before),
                side(after)
            )
        })
    };
    let expected: String = before.iter().zip(&after).filter_map(line).collect();
    assert_eq!(expected.lines().count(), 3, "the normal frames: {expected}");
    let expected = format!("{expected}3 of 7 decisions flip; pass → reject: 3\n");
    let diff = replay(&recording, &[&"--diff", &"--detector", &*OTHER]).expect(1);
    assert_eq!(diff.stdout, expected);
}

#[test]
fn a_replay_from_one_time_to_another_leaves_out_the_rest() {
    let (_dir, recording, verdicts) = recorded();
    // A frame each tenth of a second since 1970.
    for (from, to, expected) in [
        (Some("100000"), None, 100_000..400_000),
        (None, Some("100000"), 0..100_000),
        (Some("100000"), Some("200000"), 100_000..200_000),
        (
            Some("1970-01-01T00:00:00.2Z"),
            Some("1970-01-01T00:00:00.3Z"),
            200_000..300_000,
        ),
        (Some("2026-01-05T06:00:00Z"), None, 0..0),
    ] {
        let mut more: Vec<&dyn AsRef<OsStr>> = Vec::new();
        from.iter()
            .for_each(|from| more.extend([&"--from" as &dyn AsRef<OsStr>, from]));
        to.iter().for_each(|to| more.extend([&"--to" as &dyn AsRef<OsStr>, to]));
        let is_between = |line: &&str| {
            let verdict: Value = serde_json::from_str(line).unwrap();
            expected.contains(&verdict["captured_at_us"].as_u64().unwrap())
        };
        let between: Vec<&str> = verdicts.lines().filter(is_between).collect();
        let ran = replay(&recording, &more).expect(i32::from(!between.is_empty()));
        assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), between, "{from:?} {to:?}");
        more.push(&"--diff");
        let diff = replay(&recording, &more).expect(0).stdout;
        let (n, left) = (between.len(), 7 - between.len());
        let summary = format!("0 of {n} decisions flip; {left} recorded verdicts were not replayed");
        assert_eq!(diff.trim(), summary, "{from:?} {to:?}");
    }
}

/// Seconds of the run in [`record_what_is_said`], each with a frame of both cameras.
const SECONDS: u64 = 24;

/// Records a run of two cameras during which thresholds change, a detector is swapped, lots start and labels come. Its verdicts and
/// its rates.
fn record_what_is_said(directory: &Path, recording: &Path) -> [String; 2] {
    let gate = "[[camera]]\nname = \"gate\"\nsource = \"http\"\nline = \"A\"\n";
    let dock = gate.replace("gate", "dock");
    let rates = "[rates]\nwindows = [\"3s\", \"1m\"]\nalerts = [\"reject_rate 3s > 50 %\", \"recall 1m < 0.9\"]\n";
    let text = format!("detector = \"line.intakt\"\n[server]\nlisten = \"127.0.0.1:0\"\n{rates}{dock}{gate}");
    let (_dir, run_file) = run_file(&text);
    let files = ["live.jsonl", "live.rates"].map(|name| directory.join(name));
    let [jsonl, rates] = files.each_ref().map(|file| file.to_str().unwrap());
    let (run, record) = (directory.join("run"), recording.to_str().unwrap());
    let mut more = vec!["--run", run.to_str().unwrap(), "--record", record];
    more.extend(["--jsonl", jsonl, "--rates", rates]);
    let served = Served::start(&run_file, &more);
    let images = [&SHARED.normal, &SHARED.blotted].map(|image| fs::read(image).unwrap());
    for second in 0..SECONDS {
        let put = |what: &str, body: &str| tell(&served, &format!("PUT /api/v1/cameras/{what}"), body);
        let said = |camera: &str, seq: u64, truth: &str| {
            let label = format!("{{\"camera\": \"{camera}\", \"seq\": {seq}, \"truth\": \"{truth}\"}}");
            tell(&served, "POST /api/v1/labels", &label);
        };
        match second {
            5 => put("dock/threshold", "{\"threshold\": 1e9}"),
            6 => put("gate/lot", "{\"lot\": \"L1\"}"),
            8 => (0..6).for_each(|seq| said("gate", seq, ["anomalous:blot", "normal"][usize::from(seq % 3 != 0)])),
            SWAPPED_AT => {
                let (status, body) = served.exchange(
                    "PUT /api/v1/cameras/gate/detector HTTP/1.1\r\n",
                    &fs::read(&*OTHER).unwrap(),
                );
                assert_eq!(status, 202, "{body}");
            }
            13 => put("dock/threshold", "{\"threshold\": 67.47}"),
            15 => (0..9).for_each(|seq| said("dock", seq, "normal")),
            17 => put("gate/lot", "{\"lot\": \"L2\"}"),
            19 => (0..9).step_by(2).for_each(|seq| said("dock", seq, "anomalous")),
            _ => {}
        }
        for camera in ["dock", "gate"] {
            let at_us = 1_767_592_800_000_000 + second * 1_000_000;
            let line = format!("POST /api/v1/cameras/{camera}/frames?captured_at_us={at_us} HTTP/1.1\r\n");
            let (status, body) = served.exchange(&line, &images[usize::from(second % 3 == 0)]);
            assert_eq!(status, 200, "{body}");
        }
    }
    assert_eq!(served.interrupt(), 1);
    files.map(|file| fs::read_to_string(file).unwrap())
}

/// The second at which the gate gets another detector.
const SWAPPED_AT: u64 = 10;

/// The frames at which a camera's detector, or its threshold, is another one than before.
fn changed_at(verdicts: &str, camera: &str) -> Vec<u64> {
    let verdicts = json_lines(verdicts)
        .into_iter()
        .filter(|verdict| verdict["camera"] == camera);
    let verdicts: Vec<Value> = verdicts.collect();
    let changed = verdicts
        .windows(2)
        .filter(|two| two[0]["detector"] != two[1]["detector"]);
    changed.map(|two| two[1]["seq"].as_u64().unwrap()).collect()
}

#[test]
fn what_was_said_over_http_is_replayed_at_the_same_frame_however_many_workers_and_processes() {
    let dir = tempdir().unwrap();
    let [recording, hosts, rates] = ["recording", "hosts", "rates"].map(|name| dir.path().join(name));
    let [verdicts, expected_rates] = record_what_is_said(dir.path(), &recording);
    assert_eq!(changed_at(&verdicts, "gate"), [SWAPPED_AT]);
    assert_eq!(changed_at(&verdicts, "dock"), [5, 13]);
    assert!(
        expected_rates.contains("\"L1\"") && expected_rates.contains("\"L2\""),
        "{expected_rates}"
    );
    let check = |ran: Ran, what: &str| {
        assert_same(&ran.expect(1).stdout, &verdicts, &format!("verdicts, {what}"));
        let rates = fs::read_to_string(&rates).unwrap();
        assert_same(&rates, &expected_rates, &format!("rates, {what}"));
    };
    for workers in ["1", "2", "3"] {
        let ran = replay(&recording, &[&"--workers", &workers, &"--rates", &rates]);
        check(ran, &format!("{workers} workers"));
    }
    // Another threshold is one for every detector that looked: the scores stay what they were.
    let scores = |text: &str| -> Vec<_> {
        let verdicts = json_lines(text).into_iter();
        verdicts
            .map(|verdict| (verdict["seq"].to_string(), verdict["image_score"].to_string()))
            .collect()
    };
    let stricter = replay(&recording, &[&"--threshold", &"7"]).expect(1);
    assert_eq!(scores(&stricter.stdout), scores(&verdicts));
    assert!(stricter.verdicts().iter().all(|verdict| verdict["threshold"] == 7.0));
    for workers in ["1", "2"] {
        write_hosts(&hosts);
        let more = ["--workers", workers, "--rates", rates.to_str().unwrap()];
        let [first, second] = replay_in_two(&recording, &hosts, &more);
        assert_eq!(second.stdout, "");
        check(first, &format!("2 processes, {workers} workers each"));
    }
}

#[test]
fn a_recording_that_was_cut_is_replayed_up_to_the_cut() {
    let dir = tempdir().unwrap();
    let (images, recording) = (dir.path().join("images"), dir.path().join("recording"));
    fs::create_dir(&images).unwrap();
    // Frames that are larger than what is written at once, so that the first is on the disk before the last comes.
    for large in ["0.png", "9.png"] {
        fs::write(images.join(large), vec![b'x'; 2 << 20]).unwrap();
    }
    fs::copy(&SHARED.normal, images.join("5.png")).unwrap();
    let inspected = intakt(&[&"inspect", &SHARED.detector, &images, &"--record", &recording]).expect(1);
    let file = recording.join("000000.mcap");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - (1 << 20)]).unwrap();
    let ran = replay(&recording, &[]).expect(1);
    assert!(ran.stderr.contains("was cut at byte"), "{}", ran.stderr);
    let (before, after): (Vec<&str>, Vec<&str>) = (inspected.stdout.lines().collect(), ran.stdout.lines().collect());
    assert!((1..3).contains(&after.len()), "{}", ran.stdout);
    assert_eq!(before[..after.len()], after);
    let ran = replay(&recording, &[&"--diff"]).expect(0);
    let missing = format!("; {} recorded verdicts were not replayed", 3 - after.len());
    assert!(ran.stdout.contains(&missing), "{}", ran.stdout);
}

#[test]
fn what_cannot_be_replayed_says_why() {
    let (dir, recording, _) = recorded();
    replay(dir.path(), &[]).expect_error(&["there is no 000000.mcap"]);
    replay(&dir.path().join("nowhere"), &[]).expect_error(&["nowhere"]);
    replay(&recording, &[&"--cameras", &"three"]).expect_error(&["\"three\"", "\"one\", \"two\""]);
    replay(&recording, &[&"--speed", &"fast"]).expect_error(&["--speed fast", "`max`"]);
    replay(&recording, &[&"--from", &"yesterday"]).expect_error(&["--from yesterday"]);
    replay(&recording, &[&"--from", &"9", &"--to", &"9", &"--diff"]).expect_error(&["`--from` is not before `--to`"]);
    replay(&recording, &[&"--threshold", &"nan"]).expect_error(&["no finite score"]);
    let verdicts = recording.join("verdicts.jsonl");
    replay(&recording, &[&"--jsonl", &verdicts]).expect_error(&["cannot write"]);
    let again = intakt(&[&"inspect", &SHARED.detector, &SHARED.normal, &"--record", &recording]);
    again.expect_error(&["recording"]);
    fs::write(&verdicts, "{\"camera\":1}\n").unwrap();
    replay(&recording, &[&"--diff"]).expect_error(&["line 1 is no verdict"]);
    for entry in fs::read_dir(&recording).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "intakt") {
            fs::remove_file(path).unwrap();
        }
    }
    replay(&recording, &[]).expect_error(&[".intakt"]);
    replay(&recording, &[&"--detector", &SHARED.detector]).expect(1);
}

#[test]
fn what_is_said_between_the_frames_of_two_cameras_is_replayed_at_its_time() {
    let cameras = ["dock", "gate"].map(|name| format!("[[camera]]\nname = \"{name}\"\nsource = \"http\"\n"));
    let text = format!(
        "detector = \"line.intakt\"\n[server]\nlisten = \"127.0.0.1:0\"\n{}",
        cameras.concat()
    );
    let (dir, run_file) = run_file(&text);
    let [run, recording, live, again] = ["run", "recording", "live", "again"].map(|name| dir.path().join(name));
    let [at, record, rates] = [&run, &recording, &live].map(|path| path.to_str().unwrap());
    let served = Served::start(
        &run_file,
        &[
            "--run",
            at,
            "--record",
            record,
            "--rates",
            rates,
            "--jsonl",
            "/dev/null",
        ],
    );
    let image = fs::read(&SHARED.normal).unwrap();
    for second in 0..20_u64 {
        for camera in ["dock", "gate"] {
            let at_us = 1_767_592_800_000_000 + second * 1_000_000;
            let line = format!("POST /api/v1/cameras/{camera}/frames?captured_at_us={at_us} HTTP/1.1\r\n");
            let (status, body) = served.exchange(&line, &image);
            assert_eq!(status, 200, "{body}");
            if camera == "dock" {
                tell(
                    &served,
                    "PUT /api/v1/cameras/dock/lot",
                    &format!("{{\"lot\": \"L{second}\"}}"),
                );
            }
        }
    }
    assert_eq!(served.interrupt(), 0);
    let live = fs::read_to_string(&live).unwrap();
    for n in 0..10 {
        replay(&recording, &[&"--jsonl", &"/dev/null", &"--rates", &again]).expect(0);
        assert_same(&fs::read_to_string(&again).unwrap(), &live, &format!("replay {n}"));
    }
}
