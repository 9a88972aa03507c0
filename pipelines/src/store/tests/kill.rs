//! A process is killed at random moments and resumes: the store ends as if nothing had happened.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Random, create, dump, run};
use crate::store::{OutcomeFilter, Store, StoreOptions, Trouble};

/// Where the child finds the store and the number of frames; without it the child test runs on its own.
const STORE: &str = "INTAKT_TEST_STORE";
const FRAMES: &str = "INTAKT_TEST_FRAMES";

/// The child: creates or resumes the store, and says a line per commit.
#[test]
fn child_runs_to_the_end() {
    let own = tempfile::tempdir().unwrap();
    let path = std::env::var_os(STORE).map_or(own.path().join("run.sqlite"), Into::into);
    let frames = std::env::var(FRAMES).map_or(50, |frames| frames.parse().unwrap());
    let mut store = match Store::create(&path, "test", StoreOptions::default()) {
        Err(error) if matches!(error.trouble, Trouble::Exists) => Store::open(&path, StoreOptions::default()).unwrap(),
        created => created.unwrap(),
    };
    run(&mut store, frames, || {
        let mut out = std::io::stdout().lock();
        out.write_all(b"committed\n").and_then(|()| out.flush()).unwrap();
    });
    assert_eq!(
        store.query(&OutcomeFilter::default()).map(Result::unwrap).count() as u64,
        3 * frames
    );
}

fn start(path: &Path, frames: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::kill::child_runs_to_the_end", "--nocapture"])
        .env(STORE, path)
        .env(FRAMES, frames.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child after a few lines and some microseconds more; false if it had ended before.
fn kill_at_random(child: &mut Child, random: &mut Random) -> bool {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..random.below(6) {
        lines.next();
    }
    // So short a time is waited out by looking at the clock.
    let (begin, micros) = (Instant::now(), random.below(4_000));
    while begin.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// Kills `kills` times, resumes to the end, and compares with a run that nobody killed.
fn killed_run_equals_uninterrupted(kills: u64, frames: u64, seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let (killed, whole) = (
        directory.path().join("killed.sqlite"),
        directory.path().join("whole.sqlite"),
    );
    let mut random = Random(seed);
    let mut n_killed = 0;
    let mut frontiers = Vec::new();
    for _ in 0..kills {
        n_killed += u64::from(kill_at_random(&mut start(&killed, frames), &mut random));
        if let Ok(store) = Store::open_read_only(&killed, StoreOptions::default()) {
            frontiers.push(store.committed_frontier_us());
        }
    }
    assert!(frontiers.is_sorted(), "a commit was lost");
    assert!(
        n_killed * 10 >= kills * 9,
        "only {n_killed} of {kills} were killed before their end"
    );
    frontiers.dedup();
    assert!(
        frontiers.len() as u64 > kills / 4,
        "the kills hit {} hops",
        frontiers.len()
    );
    let mut last = start(&killed, frames);
    std::io::copy(&mut last.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert!(last.wait().unwrap().success());
    run(&mut create(&whole), frames, || {});
    assert_eq!(dump(&killed), dump(&whole));
}

#[test]
fn a_run_killed_60_times_equals_one_that_was_not() {
    killed_run_equals_uninterrupted(60, 6_000, 1);
}

#[test]
#[ignore = "needs a minute: 300 kills"]
fn a_run_killed_300_times_equals_one_that_was_not() {
    killed_run_equals_uninterrupted(300, 20_000, 2);
}
