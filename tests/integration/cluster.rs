//! One run in two processes: the same bytes as in one, and an end when one of them is lost.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::{TempDir, tempdir};

use crate::own_port::own_port;
use crate::support::{INTAKT, Ran, SHARED, intakt, json_lines, label};

/// Three cameras in folders, a detector, and a hosts file for two processes.
struct Line {
    dir: TempDir,
    ports: [u16; 2],
}

const CAMERAS: [(&str, u64); 3] = [("left", 40), ("right", 5), ("top", 9)];

impl Line {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        for (camera, frames) in CAMERAS {
            let folder = dir.path().join(camera);
            fs::create_dir(&folder).unwrap();
            for frame in 0..frames {
                let path = folder.join(format!("{frame:02}.png"));
                match frame % 4 {
                    2 => fs::write(path, "torn").unwrap(),
                    3 => drop(fs::copy(&SHARED.blotted, path).unwrap()),
                    _ => drop(fs::copy(&SHARED.normal, path).unwrap()),
                }
            }
        }
        fs::copy(&SHARED.detector, dir.path().join("line.intakt")).unwrap();
        let ports = write_hosts(&dir.path().join("hosts"));
        Self { dir, ports }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A run file in which each camera is read by a process.
    fn run_file(&self, name: &str, processes: [usize; 3], more: &str) -> PathBuf {
        let mut text = "detector = \"line.intakt\"\n[rates]\nalerts = [\"reject_rate 1m > 5 %\", \"drift 1m > 0.2\", \"camera silent \
                        3 s\"]\n"
            .to_owned();
        for ((camera, _), process) in CAMERAS.iter().zip(processes) {
            text += &format!(
                "[[camera]]\nname = \"{camera}\"\nsource = \"directory\"\npath = \"{camera}\"\nprocess = {process}\n{more}\n"
            );
        }
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts a process of the run.
    fn start(&self, run_file: &Path, process: usize, more: &[&str]) -> Child {
        Command::new(INTAKT)
            .arg("inspect")
            .arg(run_file)
            .arg("--hosts")
            .arg(self.path("hosts"))
            .args(["--process", &process.to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn start_both(&self, run_file: &Path, more: &[&str]) -> [Child; 2] {
        [0, 1].map(|process| self.start(run_file, process, more))
    }
}

/// A hosts file for two processes on this machine, and their ports.
pub(crate) fn write_hosts(path: &Path) -> [u16; 2] {
    let ports = [(); 2].map(|()| own_port());
    let [first, second] = ports;
    fs::write(path, format!("127.0.0.1:{first}\n127.0.0.1:{second}\n")).unwrap();
    ports
}

/// Replays a recording in two processes.
pub(crate) fn replay_in_two(recording: &Path, hosts: &Path, more: &[&str]) -> [Ran; 2] {
    let processes = ["0", "1"].map(|process| {
        let mut command = Command::new(INTAKT);
        command.arg("replay").arg(recording).arg("--hosts").arg(hosts);
        command.args(["--process", process]).args(more);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    processes.map(end)
}

/// Waits for its end. One that does not come to an end is killed, so that the test fails and shows what it said.
pub(crate) fn end(child: Child) -> Ran {
    let pid = child.id();
    let (ended, end) = channel::<()>();
    thread::spawn(move || {
        if end.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
            signal(pid, "KILL");
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    output.into()
}

/// The process that a supervisor has started.
fn child_of(supervisor: &Child) -> u32 {
    let pid = supervisor.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap()
}

/// Sends a signal to a process, by name.
fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn two_processes_write_what_one_writes() {
    let line = Line::new();
    let one = line.run_file("one.toml", [0, 0, 0], "");
    let two = line.run_file("two.toml", [0, 1, 1], "");
    let rates = line.path("one.rates");
    let expected = intakt(&[&"inspect", &one, &"--rates", &rates]).expect(1);
    let expected_rates = fs::read(&rates).unwrap();
    assert_eq!(expected.verdicts().len(), 54);
    for workers in ["1", "2"] {
        let rates = line.path("two.rates");
        let more = ["--rates", rates.to_str().unwrap(), "--workers", workers];
        let [first, second] = line.start_both(&two, &more).map(end);
        let (first, second) = (first.expect(1), second.expect(1));
        assert!(
            first.stdout == expected.stdout,
            "{workers} workers:\n{}\n{}",
            first.stdout,
            expected.stdout
        );
        assert!(
            fs::read(&rates).unwrap() == expected_rates,
            "{workers} workers: other rates"
        );
        assert!(first.stderr.contains("captured 54 = judged"), "{}", first.stderr);
        assert_eq!(second.stdout, "", "process 0 writes");
        assert!(second.stderr.contains("captured 14 = judged"), "{}", second.stderr);
        assert!(!second.stderr.contains("left "), "{}", second.stderr);
    }
}

#[test]
fn two_processes_replay_what_one_recorded() {
    let line = Line::new();
    let one = line.run_file("one.toml", [0, 0, 0], "");
    let recording = line.path("recording");
    let expected = intakt(&[&"inspect", &one, &"--record", &recording]).expect(1);
    let replay = |more: &[&str]| replay_in_two(&recording, &line.path("hosts"), more);
    for workers in ["1", "2"] {
        let [first, second] = replay(&["--workers", workers]);
        assert!(first.expect(1).stdout == expected.stdout, "{workers} workers");
        assert_eq!(second.stdout, "");
    }
    let [first, _] = replay(&["--diff"]);
    assert!(first.expect(0).stdout.starts_with("0 of 54 decisions flip"));
}

#[test]
fn a_run_of_two_processes_is_kept_and_goes_on_after_one_was_killed() {
    let line = Line::new();
    let one = line.run_file("one.toml", [0, 0, 0], "");
    let two = line.run_file("two.toml", [0, 1, 1], "");
    let [whole, kept] = ["whole", "kept"].map(|name| line.path(name));
    intakt(&[&"inspect", &one, &"--run", &whole]).expect(1);
    let more = ["--run", kept.to_str().unwrap(), "--resume", "--watchdog", "20"];
    for (lines, victim) in [(30, 1), (10, 0)] {
        let [mut first, second] = line.start_both(&two, &more);
        BufReader::new(first.stdout.as_mut().unwrap())
            .lines()
            .take(lines)
            .for_each(drop);
        let mut processes = [first, second];
        processes[victim].kill().unwrap();
        let survivor = processes.into_iter().enumerate().map(|(process, mut child)| {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            (process, child.wait().unwrap().code(), said)
        });
        for (process, code, said) in survivor.filter(|(process, ..)| *process != victim) {
            // It may have been over already.
            assert!(matches!(code, Some(0..=2)), "process {process}: {code:?} {said}");
        }
    }
    let [first, second] = line.start_both(&two, &more).map(end);
    assert!(first.code < 2 && second.code < 2, "{}{}", first.stderr, second.stderr);
    for show in ["outcomes", "metrics", "changes", "alerts"] {
        let of = |run: &Path| intakt(&[&"query", &run, &"--show", &show]).expect(0).stdout;
        assert!(of(&kept) == of(&whole), "{show}:\n{}\n{}", of(&kept), of(&whole));
    }
    label(&kept, "right", 3, "anomalous").expect(0);
    assert!(
        intakt(&[&"query", &kept, &"--show", &"metrics"])
            .expect(0)
            .stdout
            .contains("\"labelled\"")
    );
}

#[test]
fn paced_cameras_of_a_run_that_is_kept_go_on_where_they_were_when_a_process_was_killed() {
    let line = Line::new();
    // The one that is killed reads the longest.
    let run = line.run_file("run.toml", [1, 0, 0], "paced = true");
    let kept = line.path("kept");
    let more = ["--run", kept.to_str().unwrap(), "--supervise"];
    let [first, second] = line.start_both(&run, &more);
    let outcomes = || intakt(&[&"query", &kept]).stdout;
    while outcomes().is_empty() {
        thread::yield_now();
    }
    signal(child_of(&second), "KILL");
    let (first, second) = (end(first), end(second).expect(1));
    assert!(
        first.code < 2 && first.stderr.contains("going on with run"),
        "{}",
        first.stderr
    );
    assert!(
        second.stderr.contains("all are there, generation 2"),
        "{}",
        second.stderr
    );
    let outcomes = json_lines(&outcomes());
    for (camera, frames) in CAMERAS {
        let of_camera = outcomes.iter().filter(|outcome| outcome["camera"] == camera);
        let mut seqs: Vec<_> = of_camera.map(|outcome| outcome["seq"].as_u64().unwrap()).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, Vec::from_iter(0..frames), "{camera}");
    }
}

#[test]
fn a_process_may_have_no_camera() {
    let line = Line::new();
    let one = line.run_file("one.toml", [0, 0, 0], "");
    let expected = intakt(&[&"inspect", &one]).expect(1);
    for (process, cameras) in [(0, "none at the second"), (1, "none at the first")] {
        let all = line.run_file("all.toml", [process; 3], "");
        let [first, second] = line.start_both(&all, &[]).map(end);
        assert!(first.expect(1).stdout == expected.stdout, "{cameras}");
        second.expect(i32::try_from(process).unwrap());
    }
}

#[test]
fn each_process_records_its_own_cameras() {
    let line = Line::new();
    let two = line.run_file("two.toml", [0, 1, 0], "");
    let tape = line.path("tape");
    let processes = line.start_both(&two, &["--record", tape.to_str().unwrap()]);
    for process in processes {
        end(process).expect(1);
    }
    for (process, frames) in [("process-0", 49), ("process-1", 5)] {
        let again = intakt(&[&"replay", &tape.join(process)]).expect(1);
        assert_eq!(again.verdicts().len(), frames);
        let compared = intakt(&[&"replay", &tape.join(process), &"--diff"]).expect(0);
        assert!(compared.stdout.contains("0 of"), "{}", compared.stdout);
    }
}

/// What a process still had to write after its first line, and how it ended.
fn rest(child: Child, mut lines: BufReader<std::process::ChildStdout>, first: String) -> Ran {
    let written = thread::spawn(move || {
        let mut stdout = first;
        lines.read_to_string(&mut stdout).unwrap();
        stdout
    });
    let ran = end(child);
    let stdout = written.join().unwrap();
    Ran { stdout, ..ran }
}

/// Waits for the first verdict of process 0.
fn first_line(child: &mut Child) -> (BufReader<std::process::ChildStdout>, String) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    (lines, line)
}

#[test]
fn a_killed_process_ends_the_other_at_once_with_whole_lines() {
    let line = Line::new();
    let run = line.run_file("run.toml", [0, 1, 0], "paced = true");
    let [mut first, mut second] = line.start_both(&run, &[]);
    let (lines, begun) = first_line(&mut first);
    second.kill().unwrap();
    let killed_at = Instant::now();
    let ran = rest(first, lines, begun).expect(2);
    assert!(
        killed_at.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed_at.elapsed()
    );
    assert!(ran.stdout.ends_with('\n'));
    assert!(!json_lines(&ran.stdout).is_empty());
    let gone = format!("process 1 (127.0.0.1:{}) is gone", line.ports[1]);
    ran.expect_error(&["the run cannot go on", &gone]);
    second.wait().unwrap();

    let [mut first, second] = line.start_both(&run, &[]);
    let _lines = first_line(&mut first);
    first.kill().unwrap();
    end(second).expect_error(&["process 0 (127.0.0.1:"]);
    first.wait().unwrap();
}

#[test]
fn a_process_that_hangs_is_noticed() {
    let line = Line::new();
    let run = line.run_file("run.toml", [0, 1, 0], "paced = true");
    let [mut first, mut second] = line.start_both(&run, &["--watchdog", "2"]);
    let (lines, begun) = first_line(&mut first);
    signal(second.id(), "STOP");
    let ran = rest(first, lines, begun);
    second.kill().unwrap();
    second.wait().unwrap();
    let silent = format!("process 1 (127.0.0.1:{}) has said nothing for ", line.ports[1]);
    let ran = ran.expect_error(&["the run cannot go on", &silent]);
    assert!(ran.stdout.ends_with('\n'));
    json_lines(&ran.stdout);
}

#[test]
fn an_interrupt_of_one_process_ends_all() {
    let line = Line::new();
    let run = line.run_file("run.toml", [0, 1, 0], "paced = true");
    let [mut first, second] = line.start_both(&run, &[]);
    let (lines, begun) = first_line(&mut first);
    signal(second.id(), "INT");
    let ran = rest(first, lines, begun).expect_error(&["frames were not inspected"]);
    json_lines(&ran.stdout);
    assert!(end(second).stderr.contains("captured"));
}

#[test]
fn supervised_processes_start_again_together_when_one_is_killed() {
    let line = Line::new();
    let run = line.run_file("run.toml", [0, 1, 0], "paced = true");
    let one = line.run_file("one.toml", [0, 0, 0], "paced = true");
    let expected = intakt(&[&"inspect", &one]).expect(1);
    let [mut first, second] = line.start_both(&run, &["--supervise"]);
    let (lines, begun) = first_line(&mut first);
    signal(child_of(&second), "KILL");
    let ran = rest(first, lines, begun).expect(1);
    let second = end(second).expect(1);
    assert!(
        ran.stderr.contains("starting the run again in 1 s: generation 2"),
        "{}",
        ran.stderr
    );
    assert!(
        second.stderr.contains("all are there, generation 2"),
        "{}",
        second.stderr
    );
    json_lines(&ran.stdout);
    assert!(
        ran.stdout.ends_with(&expected.stdout),
        "the second start wrote all of it"
    );
}

#[test]
fn supervised_processes_meet_again_when_one_hung_and_keep_what_one_process_keeps() {
    let line = Line::new();
    let two = line.run_file("two.toml", [1, 0, 0], "paced = true");
    let one = line.run_file("one.toml", [0, 0, 0], "paced = true");
    let [whole, kept] = ["whole", "kept"].map(|name| line.path(name));
    let mut alone = Command::new(INTAKT);
    let alone = alone.arg("inspect").arg(&one).arg("--run").arg(&whole);
    let alone = alone.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let more = ["--run", kept.to_str().unwrap(), "--supervise", "--watchdog", "2"];
    let [mut first, second] = line.start_both(&two, &more);
    while intakt(&[&"query", &kept]).stdout.is_empty() {
        thread::yield_now();
    }
    let hung = child_of(&second);
    signal(hung, "STOP");
    // Nothing that it writes may stop the first.
    let mut log = first.stdout.take().unwrap();
    thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let mut said = BufReader::new(first.stderr.take().unwrap());
    let mut until_said = |wanted: &str| {
        let mut found = String::new();
        while !found.contains(wanted) {
            assert_ne!(said.read_line(&mut found).unwrap(), 0, "{wanted}: {found}");
        }
        found
    };
    let silent = until_said("starting the run again");
    signal(hung, "CONT");
    let there = until_said("all are there, generation 2");
    assert!(silent.contains("has said nothing for"), "{silent}");
    assert!(there.contains("going on with run"), "{there}");
    said.read_to_string(&mut String::new()).unwrap();
    let (first, second) = (end(first), end(second));
    assert!(first.code < 2 && second.code < 2, "{}", second.stderr);
    assert!(
        second.stderr.contains("all are there, generation 2"),
        "{}",
        second.stderr
    );
    assert!(end(alone).code < 2);
    for show in ["outcomes", "metrics", "changes", "alerts"] {
        let of = |run: &Path| intakt(&[&"query", &run, &"--show", &show]).expect(0).stdout;
        assert!(of(&kept) == of(&whole), "{show}:\n{}\n{}", of(&kept), of(&whole));
    }
}

#[test]
fn what_cannot_be_run_is_refused_once_and_clearly() {
    let line = Line::new();
    let run = line.run_file("run.toml", [0, 1, 0], "");
    let hosts = line.path("hosts");
    let at = |process: &str, hosts: &Path, more: &[&str]| {
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"inspect", &run, &"--hosts", &hosts];
        args.extend([&"--process" as &dyn AsRef<std::ffi::OsStr>, &process]);
        args.extend(more.iter().map(|it| it as &dyn AsRef<std::ffi::OsStr>));
        intakt(&args)
    };
    at("2", &hosts, &[]).expect_error(&["cannot be process 2", "names 2 processes, counted from 0"]);
    at("2", &hosts, &["--supervise"]).expect_error(&["cannot be process 2"]);
    at("0", &run, &[]).expect_error(&["cannot use hosts file", "line 1: ", "has no port"]);
    at("0", &line.path("none"), &[]).expect_error(&["none"]);
    let alone = line.path("alone");
    fs::write(&alone, format!("127.0.0.1:{}\n", line.ports[0])).unwrap();
    at("0", &alone, &[]).expect_error(&["run.toml:14: process: there is no process 1 among 1"]);
    intakt(&[&"inspect", &run]).expect_error(&["run.toml:14: process: there is no process 1", "--hosts"]);
    let images = intakt(&[
        &"inspect",
        &SHARED.detector,
        &SHARED.normal,
        &"--hosts",
        &hosts,
        &"--process",
        &"0",
    ]);
    images.expect_error(&["cannot share images among processes"]);
    assert!(intakt(&[&"check", &run]).expect(0).stdout.contains("in process 1"));

    let other = line.run_file("other.toml", [0, 1, 0], "depth = 3");
    let first = line.start(&run, 0, &[]);
    end(line.start(&other, 1, &[])).expect_error(&["cannot join process 0", "its run file"]);
    // The one that was there waits for the right one.
    end(line.start(&run, 1, &[])).expect(1);
    let first = end(first).expect(1);
    assert!(first.stderr.contains("was refused: its run file"), "{}", first.stderr);
}

#[test]
fn only_process_0_serves_what_the_run_file_says() {
    let line = Line::new();
    let free = format!("127.0.0.1:{}", own_port());
    let served = |name: &str, camera: &str| {
        let path = line.run_file(name, [0, 1, 0], "");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{camera}[server]\nlisten = \"{free}\"\n")).unwrap();
        path
    };
    let run = served("served.toml", "");
    let [first, second] = line.start_both(&run, &[]).map(end);
    let (first, second) = (first.expect(1), second.expect(1));
    let listening = format!("listening on http://{free}");
    assert!(first.stderr.contains(&listening), "{}", first.stderr);
    assert!(!second.stderr.contains("listening"), "{}", second.stderr);

    let posted = served(
        "posted.toml",
        "[[camera]]\nname = \"dock\"\nsource = \"http\"\nprocess = 1\n",
    );
    let refusal = "process: only process 0 serves the run, so that a source of kind \"http\" is posted to there";
    intakt(&[&"check", &posted]).expect_error(&["posted.toml:25: ", refusal]);
    for child in line.start_both(&posted, &[]) {
        end(child).expect_error(&[refusal]);
    }
}
