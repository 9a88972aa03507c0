//! A run whose store cannot be written: it ends in order and says why, and what was committed goes on as if nothing had been.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;
use std::{fs, thread};

use tempfile::tempdir;

use crate::kept::{content, query_if_any};
use crate::server::HANG;
use crate::support::{INTAKT, Ran, SHARED, json_lines};

/// Two cameras with a frame each tenth of a second, and how they are read.
fn line(directory: &Path, frames: usize, more: &str) -> PathBuf {
    let mut text = format!("detector = \"{}\"\n", SHARED.detector.display());
    for camera in ["left", "right"] {
        let folder = directory.join(camera);
        fs::create_dir(&folder).unwrap();
        for frame in 0..frames {
            let image = [&SHARED.normal, &SHARED.blotted][usize::from(frame % 3 == 0)];
            fs::copy(image, folder.join(format!("{frame:05}.png"))).unwrap();
        }
        text += &format!("[[camera]]\nname = \"{camera}\"\nsource = \"directory\"\npath = \"{camera}\"\n{more}\n");
    }
    let run_file = directory.join("run.toml");
    fs::write(&run_file, text).unwrap();
    run_file
}

fn inspect(run_file: &Path, run: &Path) -> Command {
    let mut command = Command::new(INTAKT);
    command
        .arg("inspect")
        .arg(run_file)
        .arg("--run")
        .arg(run)
        .arg("--resume");
    command
}

/// Runs a command in a shell that runs `before` first.
fn after(before: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before}\nexec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// A process that holds the right to write to a store until it is dropped.
struct Writer {
    child: Child,
    _until_closed: ChildStdin,
}

const WRITER: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
sys.stdin.read()
";

impl Writer {
    fn of(store: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", WRITER]).arg(store);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "locked\n");
        let until_closed = child.stdin.take().unwrap();
        Self {
            child,
            _until_closed: until_closed,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Goes on with a run that failed after some of it was committed; it ends as `whole` did.
fn goes_on_as(run_file: &Path, run: &Path, whole: &Path) {
    let committed = query_if_any(run, "outcomes");
    let ended = Ran::from(inspect(run_file, run).output().unwrap()).expect(1);
    assert!(ended.stderr.contains("going on with run"), "{}", ended.stderr);
    let [outcomes, ..] = content(whole);
    assert!(outcomes.starts_with(&committed));
    assert!(
        !committed.is_empty() && committed.len() < outcomes.len(),
        "it failed on the way"
    );
    assert_eq!(content(run), content(whole));
}

#[test]
fn a_store_that_is_locked_for_good_ends_the_run_and_loses_nothing() {
    let dir = tempdir().unwrap();
    let [whole, run] = ["whole", "run"].map(|name| dir.path().join(name));
    let run_file = line(dir.path(), 90, "paced = true");
    let mut child = inspect(&run_file, &run)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while query_if_any(&run, "outcomes").is_empty() {
        assert!(begun.elapsed() < HANG && child.try_wait().unwrap().is_none());
        thread::yield_now();
    }
    let writer = Writer::of(&run.join("run.sqlite"));
    let committed = query_if_any(&run, "outcomes");
    let failed = Ran::from(child.wait_with_output().unwrap()).expect_error(&[
        "cannot commit to run store",
        "another process has been writing to it for more than 5 s; end that process",
    ]);
    assert!(failed.stdout.ends_with('\n') && json_lines(&failed.stdout).len() >= committed.lines().count());
    assert_eq!(query_if_any(&run, "outcomes"), committed);
    drop(writer);
    let text = fs::read_to_string(&run_file).unwrap();
    fs::write(&run_file, text.replace("paced = true", "")).unwrap();
    Ran::from(inspect(&run_file, &whole).output().unwrap()).expect(1);
    goes_on_as(&run_file, &run, &whole);
}

#[test]
fn a_store_that_may_not_grow_ends_the_run_and_loses_nothing() {
    let dir = tempdir().unwrap();
    let [whole, run] = ["whole", "run"].map(|name| dir.path().join(name));
    let run_file = line(dir.path(), 300, "");
    Ran::from(inspect(&run_file, &whole).output().unwrap()).expect(1);
    // The log of what is written grows to four megabytes before it is taken into the store.
    let mut limited = after("trap '' XFSZ\nulimit -f 800", &inspect(&run_file, &run));
    let failed = Ran::from(limited.output().unwrap()).expect_error(&["cannot commit to run store", "run.sqlite"]);
    assert!(failed.stdout.ends_with('\n'));
    json_lines(&failed.stdout);
    goes_on_as(&run_file, &run, &whole);
}

#[test]
#[ignore = "needs the right to mount a file system in a name space of its own"]
fn a_full_disk_ends_the_run_and_loses_nothing() {
    let dir = tempdir().unwrap();
    let [whole, run, small] = ["whole", "run", "small"].map(|name| dir.path().join(name));
    let run_file = line(dir.path(), 300, "");
    Ran::from(inspect(&run_file, &whole).output().unwrap()).expect(1);
    fs::create_dir(&small).unwrap();
    // Room for the first commits however fast pictures are drawn, which fill most of it. What was kept is copied to where there is
    // room, because the small disk ends with its name space.
    let script = format!(
        "mount -t tmpfs -o size=1000k small {small}\n\"$@\"\nstatus=$?\ncp -r {small}/run {run}\nexit $status",
        small = small.display(),
        run = run.display()
    );
    let on_small = inspect(&run_file, &small.join("run"));
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
    command.arg(on_small.get_program()).args(on_small.get_args());
    let failed = Ran::from(command.output().unwrap());
    failed.expect_error(&["the disk is full; what was committed before is safe, make room and resume the run"]);
    goes_on_as(&run_file, &run, &whole);
}
