//! Runs that are kept: resumed after a kill, labelled afterwards, queried and exported.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use intakt_pipelines::sources::StopFlag;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::serve::serve;
use crate::support::{INTAKT, OTHER, Ran, SHARED, assert_same, decision, intakt, json_lines, label, stem};

/// Two cameras with so many frames each, every third of the second one defective, and a broken one.
fn line(frames: usize) -> (TempDir, [PathBuf; 2]) {
    let dir = tempdir().unwrap();
    let cameras = ["left", "right"].map(|name| dir.path().join(name));
    for (camera, path) in cameras.iter().enumerate() {
        fs::create_dir(path).unwrap();
        for frame in 0..frames {
            let image = if camera == 1 && frame % 3 == 0 {
                &SHARED.blotted
            } else {
                &SHARED.normal
            };
            fs::hard_link(image, path.join(format!("{frame:05}.png")))
                .or_else(|_| fs::copy(image, path.join(format!("{frame:05}.png"))).map(drop))
                .unwrap();
        }
    }
    fs::write(cameras[0].join("00007x.png"), b"torn").unwrap();
    (dir, cameras)
}

fn inspect(cameras: &[PathBuf; 2], run: &Path, record: Option<&Path>) -> Command {
    let run_file = cameras[0].with_file_name("line.toml");
    let camera = |path: &PathBuf| {
        let (name, path) = (path.file_name().unwrap().to_str().unwrap(), path.display());
        format!("[[camera]]\nname = \"{name}\"\nsource = \"directory\"\npath = \"{path}\"\nline = \"A\"\n")
    };
    let text = format!(
        "detector = \"{}\"\n[rates]\nwindows = [\"2s\", \"1m\"]\nalerts = [\"reject_rate 2s > 31 %\", \"drift 1m > 0.2\", \
         \"camera silent 3 s\"]\n{}{}",
        SHARED.detector.display(),
        camera(&cameras[0]),
        camera(&cameras[1]),
    );
    fs::write(&run_file, text).unwrap();
    let mut command = Command::new(INTAKT);
    command.arg("inspect").arg(run_file);
    command.arg("--run").arg(run).arg("--resume");
    if let Some(record) = record {
        command.arg("--record").arg(record);
    }
    command
}

pub(crate) fn query(run: &Path, show: &str) -> String {
    intakt(&[&"query", &run, &"--show", &show]).expect(0).stdout
}

/// The same of a run that may not have begun yet.
pub(crate) fn query_if_any(run: &Path, show: &str) -> String {
    intakt(&[&"query", &run, &"--show", &show]).stdout
}

/// Everything that a run holds.
pub(crate) fn content(run: &Path) -> [String; 4] {
    ["outcomes", "metrics", "changes", "alerts"].map(|show| query(run, show))
}

/// Starts a run again and again, and kills it after a number of printed verdicts that `random` gives, `kills` times; then lets it
/// end.
fn with_kills(
    kills: usize,
    cameras: &[PathBuf; 2],
    run: &Path,
    record: Option<&Path>,
    mut random: impl FnMut() -> u64,
) {
    for _ in 0..kills {
        let mut child = inspect(cameras, run, record)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.take(random() as usize).for_each(drop);
        // Some microseconds more or less, so that kills do not always follow a line.
        (0..random() * 997).for_each(|step| {
            std::hint::black_box(step);
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let frames: usize = cameras.iter().map(|camera| fs::read_dir(camera).unwrap().count()).sum();
    assert!(
        query(run, "outcomes").lines().count() < frames,
        "the last kill found the run going on"
    );
    let ended = Ran::from(inspect(cameras, run, record).output().unwrap());
    assert!((0..2).contains(&ended.code), "{}", ended.stderr);
}

pub(crate) fn random(mut state: u64, below: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_like_one_that_was_not() {
    let (dir, cameras) = line(60);
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    Ran::from(inspect(&cameras, &whole, None).output().unwrap()).expect(1);
    with_kills(8, &cameras, &killed, None, random(7, 60));
    assert_eq!(content(&killed), content(&whole));
    assert_eq!(query(&whole, "outcomes").lines().count(), 121);
    assert_eq!(
        query(&whole, "alerts").lines().count(),
        2,
        "twice more than 31 % of the second camera"
    );
}

#[test]
fn a_paced_folder_that_was_killed_goes_on_where_it_was() {
    let (dir, cameras) = line(25);
    let run = dir.path().join("run");
    let paced = || {
        let command = inspect(&cameras, &run, None);
        let run_file = dir.path().join("line.toml");
        let text = fs::read_to_string(&run_file).unwrap();
        fs::write(&run_file, text.replace("line = \"A\"", "paced = true")).unwrap();
        command
    };
    let mut child = paced().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while query_if_any(&run, "outcomes").is_empty() {
        thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Ran::from(paced().output().unwrap()).expect(1);
    let outcomes = json_lines(&query(&run, "outcomes"));
    for (camera, frames) in [("left", 26), ("right", 25)] {
        let of_camera = outcomes.iter().filter(|outcome| outcome["camera"] == camera);
        let mut seqs: Vec<_> = of_camera.map(|outcome| outcome["seq"].as_u64().unwrap()).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, Vec::from_iter(0..frames), "{camera}");
    }
}

/// Starts a run, or goes on with it, and sends it a signal once so many outcomes are in the store.
fn run_until(run_file: &Path, run: &Path, outcomes: usize, signal: &str) {
    let mut command = Command::new(INTAKT);
    command
        .arg("inspect")
        .arg(run_file)
        .arg("--run")
        .arg(run)
        .arg("--resume");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while query_if_any(run, "outcomes").lines().count() < outcomes {
        thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    child.wait().unwrap();
}

#[test]
fn files_of_a_hot_folder_are_looked_at_once_however_often_the_run_goes_on() {
    let dir = tempdir().unwrap();
    let [folder, run, run_file] = ["incoming", "run", "run.toml"].map(|name| dir.path().join(name));
    let text = "[[camera]]\nname = \"left\"\nsource = \"watch\"\npath = \"incoming\"\n";
    fs::write(
        &run_file,
        format!("detector = \"{}\"\n{text}", SHARED.detector.display()),
    )
    .unwrap();
    fs::create_dir(&folder).unwrap();
    let put = |name: &str| assert_ne!(fs::copy(&SHARED.normal, folder.join(name)).unwrap(), 0);
    put("a.png");
    put("b.png");
    run_until(&run_file, &run, 2, "-INT");
    put("c.png");
    run_until(&run_file, &run, 3, "-KILL");
    fs::remove_file(folder.join("b.png")).unwrap();
    put("d.png");
    run_until(&run_file, &run, 4, "-INT");
    let outcomes = json_lines(&query(&run, "outcomes"));
    let looked_at: Vec<_> = outcomes
        .iter()
        .map(|outcome| (stem(outcome), outcome["seq"].as_u64().unwrap()))
        .collect();
    assert_eq!(looked_at, [("a", 0), ("b", 1), ("c", 2), ("d", 10_000)]);
}

/// What people say about the second camera of a [`line`]: first that some of its frames are what they are not, then what all are.
fn said_of(frames: usize) -> VecDeque<String> {
    let row = |seq: usize, is_anomalous: bool| {
        let truth = if is_anomalous { "anomalous:blot" } else { "normal" };
        format!("right,{seq},{truth}\n")
    };
    let wrong = (0..frames).step_by(5).map(|seq| row(seq, seq % 3 != 0));
    wrong.chain((0..frames).map(|seq| row(seq, seq % 3 == 0))).collect()
}

/// As [`inspect`], without a rule on silence: labels that come after the end let seconds pass in which no camera says anything.
fn inspect_labelled(cameras: &[PathBuf; 2], run: &Path, record: Option<&Path>) -> Command {
    let command = inspect(cameras, run, record);
    let run_file = cameras[0].with_file_name("line.toml");
    let text = fs::read_to_string(&run_file).unwrap();
    fs::write(&run_file, text.replace(", \"camera silent 3 s\"", "")).unwrap();
    command
}

/// Labels the next frames, at most so many, if the run is far enough for that.
fn label_next(run: &Path, rows: &mut VecDeque<String>, n: usize) {
    let table = run.with_extension("csv");
    let next: String = rows.range(..n.min(rows.len())).map(String::as_str).collect();
    fs::write(&table, format!("camera,seq,truth\n{next}")).unwrap();
    if intakt(&[&"label", &run, &"--csv", &table]).code == 0 {
        drop(rows.drain(..n.min(rows.len())));
    }
}

/// What a run holds at its end of what people said, and the newest value of every figure: neither depends on when they said it.
fn corrected(run: &Path) -> (Vec<String>, BTreeMap<String, Value>) {
    let lines = |show| json_lines(&query(run, show)).into_iter();
    let said = lines("labels").map(|mut label| {
        // When it was taken in, and whether its frame was known by then.
        label.as_object_mut().unwrap().retain(|key, _| !key.ends_with("_us"));
        label.to_string()
    });
    let mut said: Vec<String> = said.collect();
    said.sort();
    let figure = |mut revision: Value| {
        let after = revision["after"].take();
        for key in ["revision", "before", "after"] {
            revision.as_object_mut().unwrap().remove(key).unwrap();
        }
        (revision.to_string(), after)
    };
    let mut figures: BTreeMap<String, Value> = lines("metrics").map(figure).collect();
    figures.retain(|_, after| !after.is_null());
    (said, figures)
}

#[track_caller]
fn assert_corrected_alike(found: &Path, expected: &Path) {
    for show in ["outcomes", "changes", "alerts"] {
        assert_same(&query(found, show), &query(expected, show), show);
    }
    let (found, expected) = (corrected(found), corrected(expected));
    assert_eq!(found.0, expected.0);
    let keys = found.1.keys().chain(expected.1.keys());
    let differ = keys.filter(|figure| found.1.get(*figure) != expected.1.get(*figure));
    let differ: Vec<_> = differ
        .map(|figure| (figure, found.1.get(figure), expected.1.get(figure)))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Starts a run again and again, and kills it at moments of the `length` of an uninterrupted one, any of which is as likely as the
/// others; after each kill people label some frames. Then it may end. How many kills found it going on.
fn with_kills_at_any_time(
    kills: usize,
    cameras: &[PathBuf; 2],
    run: &Path,
    record: Option<&Path>,
    length: Duration,
    random: &mut impl FnMut() -> u64,
) -> usize {
    let mut rows = said_of(fs::read_dir(&cameras[1]).unwrap().count());
    let (some, never) = (rows.len() / kills, StopFlag::default());
    let mut going_on = 0;
    for _ in 0..kills {
        let mut command = inspect_labelled(cameras, run, record);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        never.wait(Duration::from_micros(random() % length.as_micros() as u64));
        child.kill().unwrap();
        going_on += usize::from(child.wait().unwrap().code().is_none());
        label_next(run, &mut rows, some);
    }
    let ended = Ran::from(inspect_labelled(cameras, run, record).output().unwrap());
    assert!((0..2).contains(&ended.code), "{}", ended.stderr);
    let left = rows.len();
    label_next(run, &mut rows, left);
    assert!(rows.is_empty(), "a run that has ended can be labelled");
    going_on
}

/// Keeps a run that nobody interrupts, and labels it; how long it took.
fn whole_and_labelled(cameras: &[PathBuf; 2], whole: &Path) -> Duration {
    let begun = Instant::now();
    Ran::from(inspect_labelled(cameras, whole, None).output().unwrap()).expect(1);
    let length = begun.elapsed();
    let mut rows = said_of(fs::read_dir(&cameras[1]).unwrap().count());
    let all = rows.len();
    label_next(whole, &mut rows, all);
    assert!(rows.is_empty());
    length
}

#[test]
fn a_run_that_is_killed_at_any_time_and_labelled_ends_like_one_that_was_not() {
    let (dir, cameras) = line(60);
    let [whole, killed] = ["whole", "killed"].map(|name| dir.path().join(name));
    let length = whole_and_labelled(&cameras, &whole);
    let going_on = with_kills_at_any_time(5, &cameras, &killed, None, length, &mut random(3, u64::MAX));
    assert!(going_on > 0);
    assert_corrected_alike(&killed, &whole);
    let labelled = |(figure, after): (&String, &Value)| figure.contains("\"labelled\"") && *after == 20.0;
    assert!(corrected(&whole).1.iter().any(labelled), "labels count");
}

#[test]
#[ignore = "two hundred starts of the program: minutes"]
fn two_hundred_kills_while_recording_lose_and_double_nothing() {
    let (dir, cameras) = line(3_000);
    let [whole, killed, recording] = ["whole", "killed", "recording"].map(|name| dir.path().join(name));
    Ran::from(inspect(&cameras, &whole, None).output().unwrap()).expect(1);
    with_kills(100, &cameras, &killed, Some(&recording), random(11, 60));
    assert_eq!(content(&killed), content(&whole));
    assert_replays(&recording, &whole, 6_001);

    // Those at any time soon end a run, so they are many runs': opening, going on and ending are killed too.
    let (dir, cameras) = line(60);
    let whole = dir.path().join("whole");
    let length = whole_and_labelled(&cameras, &whole);
    let (mut random, mut going_on) = (random(13, u64::MAX), 0);
    for n in 0..25 {
        let [killed, recording] = ["killed", "recording"].map(|name| dir.path().join(format!("{name}-{n}")));
        going_on += with_kills_at_any_time(4, &cameras, &killed, Some(&recording), length, &mut random);
        assert_corrected_alike(&killed, &whole);
        assert_replays(&recording, &whole, 121);
    }
    assert!(going_on > 25, "{going_on} of 100 kills");
}

/// That the recording replays the whole run, each frame once.
fn assert_replays(recording: &Path, whole: &Path, frames: usize) {
    let replayed = intakt(&[&"replay", &recording]).expect(1).stdout;
    assert_eq!(replayed, query(whole, "outcomes"));
    let diff = intakt(&[&"replay", &recording, &"--diff"]).expect(0).stdout;
    assert!(diff.starts_with(&format!("0 of {frames} decisions flip")), "{diff}");
}

#[test]
fn a_killed_recording_is_continued_and_replayed_once() {
    let (dir, cameras) = line(40);
    let [whole, killed, recording] = ["whole", "killed", "recording"].map(|name| dir.path().join(name));
    Ran::from(inspect(&cameras, &whole, None).output().unwrap()).expect(1);
    with_kills(4, &cameras, &killed, Some(&recording), random(5, 40));
    assert_eq!(content(&killed), content(&whole));
    assert_replays(&recording, &whole, 81);
    // And a replay can be kept and resumed itself.
    let again = dir.path().join("again");
    for _ in 0..2 {
        intakt(&[&"replay", &recording, &"--run", &again, &"--resume"]);
    }
    assert_eq!(query(&again, "outcomes"), query(&whole, "outcomes"));
}

fn kept() -> (TempDir, PathBuf) {
    let (dir, cameras) = line(30);
    let run = dir.path().join("run");
    Ran::from(inspect(&cameras, &run, None).output().unwrap()).expect(1);
    (dir, run)
}

/// The newest value of a figure of camera "right" over its only minute.
fn figure(run: &Path, name: &str) -> Value {
    let metrics = json_lines(&query(run, "metrics"));
    let of = |line: &&Value| line["scope"] == "camera/right" && line["name"] == name && line["window_us"] == 60_000_000;
    metrics.iter().rfind(of).cloned().unwrap_or(Value::Null)
}

#[test]
fn labels_that_come_late_correct_the_figures_and_say_what_was_before() {
    let (dir, run) = kept();
    assert_eq!(figure(&run, "precision"), Value::Null, "nobody knows yet");
    assert_eq!(figure(&run, "frames")["after"], 30.0);
    let table = dir.path().join("labels.csv");
    let rows = (0..30).map(|seq| {
        let truth = if seq % 3 == 0 { "anomalous:blot" } else { "normal" };
        format!("right,{seq},{truth}\n")
    });
    fs::write(&table, format!("camera,seq,truth\n{}", rows.collect::<String>())).unwrap();
    let labelled = intakt(&[&"label", &run, &"--csv", &table]).expect(0);
    assert!(!labelled.stderr.contains("no such frame"), "{}", labelled.stderr);
    assert_eq!(figure(&run, "precision")["after"], 1.0);
    assert_eq!(figure(&run, "labelled")["after"], 30.0);
    // A label that was wrong, corrected, and said twice.
    for (truth, before, after) in [
        ("normal", 1.0, 0.9),
        ("anomalous:blot", 0.9, 1.0),
        ("anomalous:blot", 0.9, 1.0),
    ] {
        label(&run, "right", 0, truth).expect(0);
        let precision = figure(&run, "precision");
        assert_eq!(
            (&precision["before"], &precision["after"]),
            (&before.into(), &after.into())
        );
    }
    assert_eq!(figure(&run, "precision")["revision"], 2);
    assert_eq!(json_lines(&query(&run, "labels")).len(), 33);
    let mistyped = label(&run, "right", 999, "normal").expect(0);
    assert!(
        mistyped
            .stderr
            .contains("no such frame was there: frame 999 of camera \"right\";"),
        "{}",
        mistyped.stderr
    );
    assert_eq!(json_lines(&query(&run, "labels")).len(), 34, "it is kept");
}

#[test]
fn a_label_for_an_interrupted_run_is_taken_in_when_it_goes_on() {
    let (dir, cameras) = line(60);
    let run = dir.path().join("run");
    let mut child = inspect(&cameras, &run, None).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.take(50).for_each(drop);
    child.kill().unwrap();
    child.wait().unwrap();
    let noted = label(&run, "right", 0, "anomalous").expect(0);
    assert!(
        noted.stderr.contains("takes them in when it goes on"),
        "{}",
        noted.stderr
    );
    let served = serve(&run);
    let body = br#"{"camera": "right", "seq": 2, "truth": "normal"}"#;
    let (status, said) = served.exchange(
        "POST /api/v1/labels HTTP/1.1\r\ncontent-type: application/json\r\n",
        body,
    );
    assert!(
        status == 202 && said.contains("takes them in when it goes on"),
        "{said}"
    );
    served.interrupt();
    assert_eq!(query(&run, "labels"), "");
    Ran::from(inspect(&cameras, &run, None).output().unwrap()).expect(1);
    // The run may be over before it looks into its journal.
    label(&run, "right", 1, "normal").expect(0);
    assert_eq!(figure(&run, "labelled")["after"], 3.0);
}

#[test]
fn alerts_open_on_what_was_seen_and_not_on_what_the_end_of_the_run_leaves_open() {
    let (dir, cameras) = line(30);
    let run_file = dir.path().join("run.toml");
    let camera = |path: &PathBuf, name: &str| {
        let path = path.display();
        format!("[[camera]]\nname = \"{name}\"\nsource = \"directory\"\npath = \"{path}\"\nline = \"A\"\n")
    };
    let text = format!(
        "detector = \"{}\"\nrun = \"kept\"\n[rates]\nwindows = [\"10s\", \"1m\"]\nalerts = [\"reject_rate 10s > 20 %\", \
         \"camera silent 5 s\", \"recall 1m < 0.9\"]\n[[what_if]]\nname = \"never\"\nthreshold = 1.0\n{}{}",
        SHARED.detector.display(),
        camera(&cameras[0], "left"),
        camera(&cameras[1], "right"),
    );
    fs::write(&run_file, text).unwrap();
    let ran = intakt(&[&"inspect", &run_file]).expect(1);
    assert!(
        ran.stderr
            .contains("alert opened: reject_rate 10s > 20 %, camera \"right\""),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("never") && ran.stderr.contains("what if"),
        "{}",
        ran.stderr
    );
    let alerts = json_lines(&query(&dir.path().join("kept"), "alerts"));
    let rules: Vec<_> = alerts.iter().map(|alert| (&alert["rule"], &alert["scope"])).collect();
    assert_eq!(rules, [(&"reject_rate 10s > 20 %".into(), &"camera/right".into())]);
    let metrics = query(&dir.path().join("kept"), "metrics");
    assert!(
        metrics.contains("\"scope\":\"line/A\"") && metrics.contains("\"name\":\"drift\""),
        "{metrics}"
    );
}

#[test]
fn what_cannot_be_labelled_is_named_and_nothing_is_noted() {
    let (dir, run) = kept();
    let label = |more: &[&dyn AsRef<std::ffi::OsStr>]| {
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"label", &run];
        args.extend(more);
        intakt(&args)
    };
    label(&[&"--camera", &"middle", &"--seq", &"0", &"--truth", &"normal"])
        .expect_error(&["camera \"middle\"", "\"left\", \"right\""]);
    label(&[&"--camera", &"right", &"--seq", &"0", &"--truth", &"bad"]).expect_error(&["\"bad\" is no truth"]);
    let table = dir.path().join("labels.csv");
    fs::write(&table, "camera,seq,truth\nright,0,normal\nright,x,normal\n").unwrap();
    label(&[&"--csv", &table]).expect_error(&["labels.csv", "line 3", "whole number"]);
    assert!(!run.join("labels.jsonl").exists());
    intakt(&[&"label", &dir.path().join("none"), &"--csv", &table]).expect_error(&["no such file"]);
}

#[test]
fn labels_that_count_for_nothing_are_told() {
    let (_dir, run) = kept();
    let outcomes = json_lines(&query(&run, "outcomes"));
    let seq_of = |wanted: &str| {
        let found = outcomes.iter().find(|outcome| decision(outcome) == wanted);
        found.map(|outcome| (outcome["camera"].as_str().unwrap(), outcome["seq"].as_u64().unwrap()))
    };
    let (camera, seq) = seq_of("unreadable").expect("one is torn");
    let said = label(&run, camera, seq, "normal").expect(0).stderr;
    assert!(
        said.contains("1 label is about frames that were unreadable or dropped"),
        "{said}"
    );
    let (camera, seq) = seq_of("pass").unwrap();
    let said = label(&run, camera, seq, "normal").expect(0).stderr;
    assert!(!said.contains("count for nothing"), "{said}");
}

#[test]
fn a_label_waits_for_another_process_that_corrects_the_run() {
    let (_dir, run) = kept();
    let corrects = fs::File::create(run.join("lock")).unwrap();
    corrects.lock().unwrap();
    let mut labels = Command::new(INTAKT);
    labels
        .arg("label")
        .arg(&run)
        .args(["--camera", "right", "--seq", "1", "--truth", "normal"]);
    let mut labels = labels.stderr(Stdio::piped()).spawn().unwrap();
    while fs::read_to_string(run.join("labels.jsonl")).is_ok_and(|journal| journal.is_empty()) {
        std::thread::yield_now();
    }
    assert!(labels.try_wait().unwrap().is_none(), "it waits");
    drop(corrects);
    Ran::from(labels.wait_with_output().unwrap()).expect(0);
    assert_eq!(figure(&run, "labelled")["after"], 1.0);
}

#[test]
fn a_run_is_neither_overwritten_nor_resumed_by_mistake() {
    let (dir, run) = kept();
    let images = dir.path().join("left");
    intakt(&[&"inspect", &SHARED.detector, &images, &"--run", &run]).expect_error(&["holds a run already", "--resume"]);
    intakt(&[&"inspect", &SHARED.detector, &images, &"--resume"]).expect_error(&["--run DIR"]);
    intakt(&[&"inspect", &SHARED.detector, &images, &"--run", &images]).expect_error(&["frames are taken from"]);
    for _ in 0..3 {
        label(&run, "right", 1, "normal").expect(0);
    }
    assert!(
        !query(&run, "alerts").contains("silent"),
        "labels are not the passing of time"
    );
    let before = content(&run);
    let cameras = ["left", "right"].map(|name| dir.path().join(name));
    let again = Ran::from(inspect(&cameras, &run, None).output().unwrap()).expect(0);
    assert!(
        again.stdout.is_empty() && again.stderr.contains("61 outcomes are kept, up to"),
        "{}",
        again.stderr
    );
    assert_eq!(content(&run), before);
}

#[test]
fn a_run_is_queried_and_exported() {
    let (dir, run) = kept();
    let whole = query(&run, "outcomes");
    assert_eq!(whole.lines().count(), 61);
    let rejected = intakt(&[
        &"query",
        &run,
        &"--camera",
        &"right",
        &"--decision",
        &"reject",
        &"--since",
        &"1000000",
    ]);
    let rejected = json_lines(&rejected.expect(0).stdout);
    assert!(!rejected.is_empty());
    for verdict in &rejected {
        assert_eq!(
            (&verdict["camera"], &verdict["decision"]),
            (&"right".into(), &"reject".into())
        );
        assert!(verdict["captured_at_us"].as_u64() >= Some(1_000_000));
    }
    let [jsonl, csv, parquet] = ["a.jsonl", "a.csv", "a.parquet"].map(|name| dir.path().join(name));
    intakt(&[
        &"export",
        &run,
        &"--jsonl",
        &jsonl,
        &"--csv",
        &csv,
        &"--parquet",
        &parquet,
    ])
    .expect(0);
    assert_eq!(fs::read_to_string(&jsonl).unwrap(), whole);
    assert_eq!(fs::read_to_string(&csv).unwrap().lines().count(), 62);
    assert_eq!(&fs::read(&parquet).unwrap()[..4], b"PAR1");
    intakt(&[&"export", &run, &"--csv", &run.join("run.sqlite")]).expect_error(&["reads from"]);
    intakt(&[&"query", &dir.path().join("none")]).expect_error(&["no such file"]);
}

/// Starts a command, and kills it when it has printed so many lines.
fn kill_after(command: &mut Command, lines: usize) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let printed = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(printed.take(lines).count(), lines, "it was going on");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What a run wrote into its two files of lines: verdicts and rates.
fn written(files: &[PathBuf; 2]) -> [String; 2] {
    files.each_ref().map(|file| fs::read_to_string(file).unwrap())
}

#[test]
fn files_of_a_run_that_goes_on_hold_each_line_once() {
    let (dir, cameras) = line(60);
    let files = |name: &str| ["jsonl", "rates"].map(|kind| dir.path().join(format!("{name}.{kind}")));
    let command = |name: &str| {
        let [verdicts, rates] = files(name);
        let mut command = inspect(&cameras, &dir.path().join(name), None);
        command.arg("--jsonl").arg(verdicts).arg("--rates").arg(rates);
        command.args(["--at-once", "-"]);
        command
    };
    Ran::from(command("whole").output().unwrap()).expect(1);
    for lines in [3, 50, 30] {
        kill_after(&mut command("killed"), lines);
    }
    let ended = Ran::from(command("killed").output().unwrap());
    assert!((0..2).contains(&ended.code), "{}", ended.stderr);
    let whole = written(&files("whole"));
    assert_eq!(whole[0].lines().count(), 121);
    assert_eq!(whole[0], query(&dir.path().join("whole"), "outcomes"));
    assert_eq!(written(&files("killed")), whole);

    // A power loss may take what was written last.
    let [verdicts, _] = files("killed");
    for left in [whole[0].len() / 2, 0] {
        fs::write(&verdicts, &whole[0][..left]).unwrap();
        Ran::from(command("killed").output().unwrap()).expect(0);
        assert_eq!(written(&files("killed")), whole);
    }
    fs::remove_file(&verdicts).unwrap();
    Ran::from(command("killed").output().unwrap()).expect(0);
    assert_eq!(written(&files("killed")), whole);
    // What was moved away stays there.
    let rest = whole[0].split_inclusive('\n').skip(70).collect::<String>();
    fs::write(&verdicts, &rest).unwrap();
    Ran::from(command("killed").output().unwrap()).expect(0);
    assert_eq!(fs::read_to_string(&verdicts).unwrap(), rest);
    // What is not of this run is not cut.
    fs::write(&verdicts, "shopping list\n").unwrap();
    Ran::from(command("killed").output().unwrap()).expect_error(&[
        "killed.jsonl",
        "is none of the run's",
        "name another",
    ]);
    assert_eq!(fs::read_to_string(&verdicts).unwrap(), "shopping list\n");
}

#[test]
fn frames_on_which_a_shadow_disagrees_are_written_once_also_when_the_run_goes_on() {
    let (dir, cameras) = line(60);
    let file = |name: &str| dir.path().join(format!("{name}.disagreements"));
    let command = |name: &str| {
        let mut command = inspect(&cameras, &dir.path().join(name), None);
        command
            .arg("--shadow")
            .arg(&*OTHER)
            .arg("--disagreements")
            .arg(file(name));
        command
    };
    let whole = Ran::from(command("whole").output().unwrap()).expect(1);
    assert!(
        whole
            .stderr
            .contains("the shadow disagrees on 100 frames: pass → reject 100"),
        "{}",
        whole.stderr
    );
    // What each of them says when it decides alone.
    let shadowed = Ran::from(
        Command::new(INTAKT)
            .arg("inspect")
            .arg(&*OTHER)
            .args(&cameras)
            .output()
            .unwrap(),
    );
    let side = |verdict: &Value| {
        ["detector", "decision", "image_score", "threshold"].map(|key| (key.to_owned(), verdict[key].clone()))
    };
    let expected = whole.verdicts().into_iter().zip(shadowed.expect(1).verdicts());
    let expected = expected.filter(|(verdict, shadow)| decision(verdict) != decision(shadow));
    let expected = expected.map(|(verdict, shadow)| {
        let mut line: serde_json::Map<String, Value> = ["camera", "seq", "captured_at_us", "origin"]
            .map(|key| (key.to_owned(), verdict[key].clone()))
            .into_iter()
            .collect();
        line.insert("detector".to_owned(), Value::from_iter(side(&verdict)));
        line.insert("shadow".to_owned(), Value::from_iter(side(&shadow)));
        Value::from(line)
    });
    let text = fs::read_to_string(file("whole")).unwrap();
    assert_eq!(json_lines(&text), Vec::from_iter(expected));

    for lines in [50, 30] {
        kill_after(&mut command("killed"), lines);
    }
    let ended = Ran::from(command("killed").output().unwrap());
    assert!((0..2).contains(&ended.code), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(file("killed")).unwrap(), text);
}

#[test]
fn the_file_of_a_kept_replay_that_goes_on_holds_each_line_once() {
    let (dir, cameras) = line(40);
    let [recording, run, verdicts] = ["tape", "run", "run.jsonl"].map(|name| dir.path().join(name));
    let expected = Ran::from(
        inspect(&cameras, &dir.path().join("first"), Some(&recording))
            .output()
            .unwrap(),
    );
    let mut replay = Command::new(INTAKT);
    replay
        .arg("replay")
        .arg(&recording)
        .arg("--run")
        .arg(&run)
        .arg("--resume");
    replay.arg("--jsonl").arg(&verdicts).args(["--rates", "-"]);
    for lines in [20, 8] {
        kill_after(&mut replay, lines);
    }
    let ended = Ran::from(replay.output().unwrap());
    // What is left may have passed.
    assert!((0..2).contains(&ended.code), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&verdicts).unwrap(), expected.stdout);
}

#[test]
fn a_run_does_not_go_on_over_files_that_changed() {
    let (dir, cameras) = line(20);
    let run = dir.path().join("run");
    Ran::from(inspect(&cameras, &run, None).output().unwrap()).expect(1);
    let again = || Ran::from(inspect(&cameras, &run, None).output().unwrap());
    // One more at the front: each of those that follow would be taken for the one before it.
    fs::copy(&SHARED.normal, cameras[1].join("00000.a.png")).unwrap();
    again().expect_error(&[
        "camera \"right\"",
        "frame 19",
        "00019.png",
        "00018.png",
        "another directory",
    ]);
    fs::remove_file(cameras[1].join("00000.a.png")).unwrap();
    // One less.
    fs::rename(cameras[1].join("00003.png"), dir.path().join("00003.png")).unwrap();
    again().expect_error(&["camera \"right\"", "frame 19", "00019.png", "no file"]);
    fs::rename(dir.path().join("00003.png"), cameras[1].join("00003.png")).unwrap();
    // More at the end is more to inspect.
    fs::copy(&SHARED.normal, cameras[1].join("00020.png")).unwrap();
    let more = again().expect(0);
    assert_eq!(more.verdicts().len(), 1);
    // The same files at another place are the same.
    let moved = ["left", "right"].map(|name| dir.path().join("moved").join(name));
    fs::create_dir(dir.path().join("moved")).unwrap();
    fs::rename(&cameras[0], &moved[0]).unwrap();
    fs::rename(&cameras[1], &moved[1]).unwrap();
    Ran::from(inspect(&moved, &run, None).output().unwrap()).expect(0);
}

#[test]
fn what_cannot_be_asked_of_a_run_is_an_error() {
    let (dir, run) = kept();
    for show in ["outcomes", "metrics", "labels", "changes", "alerts"] {
        intakt(&[&"query", &run, &"--show", &show, &"--camera", &"nosuch"])
            .expect_error(&["camera \"nosuch\"", "\"left\", \"right\""]);
    }
    intakt(&[&"query", &run, &"--since", &"2000000", &"--until", &"1000000"])
        .expect_error(&["--since", "2000000", "--until", "1000000"]);
    let csv = dir.path().join("out.csv");
    intakt(&[&"export", &run, &"--csv", &csv, &"--camera", &"nosuch"]).expect_error(&["camera \"nosuch\""]);
    assert!(!csv.exists());
}

#[test]
fn a_run_that_goes_on_under_another_run_file_says_what_differs() {
    let (dir, cameras) = line(10);
    let run = dir.path().join("run");
    Ran::from(inspect(&cameras, &run, None).output().unwrap()).expect(1);
    let again = |from: &str, to: &str| {
        let mut command = inspect(&cameras, &run, None);
        let run_file = dir.path().join("line.toml");
        let text = fs::read_to_string(&run_file).unwrap().replace(from, to);
        fs::write(&run_file, text).unwrap();
        Ran::from(command.output().unwrap()).expect(0).stderr
    };
    let same = again("", "");
    assert!(!same.contains("note: "), "{same}");
    for (from, to, said) in [
        ("\"2s\", \"1m\"", "\"2s\", \"3s\", \"1m\"", "windows"),
        ("line = \"A\"", "line = \"B\"", "line"),
        ("> 31 %", "> 30 %", "alerts"),
        ("[rates]", "[rates]\nlabel_horizon = \"2h\"", "label_horizon"),
        ("[rates]", "[rates]\nshifts = [\"06:00\"]", "shifts"),
        (
            "[rates]",
            "[[what_if]]\nname = \"never\"\nthreshold = 1.0\n[rates]",
            "what_if",
        ),
    ] {
        let stderr = again(from, to);
        let note = stderr
            .lines()
            .find(|line| line.starts_with("note: "))
            .unwrap_or_default();
        assert!(note.contains(&format!("`{said}` was")), "{said}: {stderr}");
        again("", "");
    }
}

#[test]
fn a_run_that_was_killed_while_its_store_was_made_begins_when_it_is_started_again() {
    let (dir, cameras) = line(10);
    let run = dir.path().join("run");
    fs::create_dir(&run).unwrap();
    // The first page that SQLite writes, and the journal that takes it back.
    fs::write(run.join("run.sqlite"), [0; 4_096]).unwrap();
    let mut journal = vec![
        0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0,
    ];
    journal.extend([0, 0, 2, 0, 0, 0, 0x10, 0]);
    journal.resize(512, 0);
    fs::write(run.join("run.sqlite-journal"), journal).unwrap();
    Ran::from(inspect(&cameras, &run, None).output().unwrap()).expect(1);
    assert_eq!(query(&run, "outcomes").lines().count(), 21);
}

#[test]
fn a_run_that_was_labelled_and_started_again_after_its_end_raises_no_alert_by_that() {
    let (dir, run) = kept();
    let cameras = ["left", "right"].map(|name| dir.path().join(name));
    let before = query(&run, "alerts");
    for seq in 0..6 {
        label(&run, "right", seq, "normal").expect(0);
        Ran::from(inspect(&cameras, &run, None).output().unwrap()).expect(0);
        assert_same(&query(&run, "alerts"), &before, "alerts");
    }
}

#[test]
fn a_recording_that_was_killed_before_its_first_frame_is_continued_and_replayed() {
    let (dir, cameras) = line(10);
    let [first, run, recording] = ["first", "run", "recording"].map(|name| dir.path().join(name));
    Ran::from(
        inspect(&cameras, &dir.path().join("whole"), Some(&first))
            .output()
            .unwrap(),
    )
    .expect(1);
    fs::create_dir(&recording).unwrap();
    let begun = fs::read(first.join("000000.mcap")).unwrap();
    fs::write(recording.join("000000.mcap"), &begun[..600]).unwrap();
    Ran::from(inspect(&cameras, &run, Some(&recording)).output().unwrap()).expect(1);
    assert_replays(&recording, &dir.path().join("whole"), 21);
}
