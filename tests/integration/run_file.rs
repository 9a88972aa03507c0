//! Run files: `check`, and `inspect` with one.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use tempfile::{TempDir, tempdir};

use crate::support::{SHARED, intakt};

fn run_file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    for camera in ["left", "right"] {
        fs::create_dir(dir.path().join(camera)).unwrap();
        fs::copy(&SHARED.normal, dir.path().join(camera).join("0.png")).unwrap();
    }
    fs::copy(&SHARED.blotted, dir.path().join("right/1.png")).unwrap();
    fs::copy(&SHARED.detector, dir.path().join("line.intakt")).unwrap();
    let path = dir.path().join("run.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

const GOOD: &str = r#"
detector = "line.intakt"

[[camera]]
name = "l"
source = "directory"
path = "left"

[[camera]]
name = "r"
source = "directory"
path = "right"
overflow = "drop-oldest"
depth = 7
lateness_ms = 250
"#;

#[test]
fn a_run_file_is_checked_without_running_and_then_run() {
    let (_dir, path) = run_file(GOOD);
    let ran = intakt(&[&"check", &path]).expect(0);
    for said in ["l ", "r ", "drop-oldest", "250 ms", "(1 frames)", "(2 frames)"] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
    let verdicts = intakt(&[&"inspect", &path]).expect(1).verdicts();
    let cameras: Vec<&str> = verdicts
        .iter()
        .map(|verdict| verdict["camera"].as_str().unwrap())
        .collect();
    assert_eq!(cameras, ["l", "r", "r"]);
}

#[test]
fn keys_of_a_run_file_are_overridden_for_one_run() {
    let (dir, path) = run_file(GOOD);
    let set = |settings: &[&'static str]| -> Vec<String> {
        let flags = settings
            .iter()
            .map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
        flags.flatten().collect()
    };
    let run = |command: &str, settings: &[&'static str]| {
        let flags = set(settings);
        let mut typed: Vec<&dyn AsRef<OsStr>> = vec![&command, &path];
        typed.extend(flags.iter().map(|flag| flag as &dyn AsRef<OsStr>));
        intakt(&typed)
    };
    let plan = run(
        "check",
        &["camera.depth=3", "camera.r.depth=5", "camera.r.overflow=block"],
    )
    .expect(0)
    .stdout;
    let cameras: Vec<Vec<&str>> = plan
        .lines()
        .map(|line| line.split_whitespace().take(4).collect())
        .collect();
    assert_eq!(
        [cameras[1][0], cameras[1][2], cameras[1][3]],
        ["l", "block", "3"],
        "{plan}"
    );
    assert_eq!(
        [cameras[2][0], cameras[2][2], cameras[2][3]],
        ["r", "block", "5"],
        "{plan}"
    );
    run("inspect", &["record=tape"]).expect(1);
    assert!(dir.path().join("tape").is_dir());

    for (settings, said) in [
        (&["camera.depth=0"][..], "--set camera.depth=0: depth: "),
        (&["camera.depth=many"], "--set camera.depth=many: depth: invalid type"),
        (
            &["camera.m.depth=1"],
            "--set camera.m.depth=1`: there is no `[[camera]]` called \"m\"",
        ),
        (
            &["camera.l.colour=red"],
            "--set camera.l.colour=red: unknown field `colour`",
        ),
        (
            &["camera.l.depth=5", "camera.r.path=gone"],
            "--set camera.r.path=gone: path: ",
        ),
    ] {
        let ran = run("check", settings).expect(2);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    // What was wrong in the file is still where it was.
    fs::write(&path, GOOD.replace("depth = 7", "depth = 0")).unwrap();
    let ran = run("check", &["record=tape", "camera.l.depth=5"]).expect(2);
    assert!(ran.stderr.contains("run.toml:14: depth: "), "{}", ran.stderr);
    let ran = intakt(&[
        &"inspect",
        &SHARED.detector,
        &SHARED.normal,
        &"--set",
        &"camera.depth=1",
    ])
    .expect(2);
    assert!(ran.stderr.contains("`--set` goes with one"), "{}", ran.stderr);
}

#[test]
fn a_run_file_can_ask_for_a_recording() {
    let (dir, path) = run_file(&format!("record = \"tape\"\n{GOOD}"));
    let ran = intakt(&[&"inspect", &path]).expect(1);
    let again = intakt(&[&"replay", &dir.path().join("tape")]).expect(1);
    assert_eq!(again.stdout, ran.stdout);
}

const SIMULATED: &str = r#"
detector = "line.intakt"

[[camera]]
name = "s"
source = "synthetic"
scene = "fabric"
frames = 3
seed = 5
"#;

#[test]
fn a_simulated_camera_can_be_inspected_and_paced() {
    let (_dir, path) = run_file(SIMULATED);
    let ran = intakt(&[&"check", &path]).expect(0);
    assert!(
        ran.stdout.contains("synthetic fabric, seed 5 (3 frames)"),
        "{}",
        ran.stdout
    );
    let verdicts = intakt(&[&"inspect", &path]).verdicts();
    let frames: Vec<_> = verdicts
        .iter()
        .map(|verdict| (&verdict["camera"], &verdict["seq"]))
        .collect();
    assert_eq!(
        frames,
        [
            (&"s".into(), &0.into()),
            (&"s".into(), &1.into()),
            (&"s".into(), &2.into())
        ]
    );
    let (_dir, paced) = run_file(&format!("{SIMULATED}paced = true"));
    let paced = intakt(&[&"inspect", &paced]).verdicts();
    assert_eq!(paced.len(), 3);
    let (_dir, endless) = run_file(&SIMULATED.replace("frames = 3", ""));
    intakt(&[&"check", &endless]).expect(0);
}

#[test]
fn errors_name_file_line_and_key() {
    for (text, said) in [
        ("detector = 3", "run.toml:1: detector: invalid type: "),
        (
            &GOOD.replace("depth = 7", "depth = \"7\""),
            "run.toml:14: depth: invalid type: ",
        ),
        (
            "detector = \"line.intakt\"\n[[camera]]\nname = \"l\"\nsource = \"teleport\"",
            "run.toml:4: source: unknown variant `teleport`",
        ),
        (
            &GOOD.replace("depth = 7", "dept = 7"),
            "run.toml:14: unknown field `dept`",
        ),
        (
            &GOOD.replace("depth = 7", "depth = 0"),
            "run.toml:14: depth: 0 is not within 1",
        ),
        (
            &GOOD.replace("\"r\"", "\"l\""),
            "run.toml:10: name: two cameras are called \"l\"",
        ),
        (&GOOD.replace("\"right\"", "\"wrong\""), "run.toml:12: path: "),
        (&GOOD.replace("line.intakt", "none.intakt"), "run.toml:2: detector: "),
        (
            &GOOD.replace("detector = \"line.intakt\"", ""),
            "run.toml:4: detector: the camera has none",
        ),
        (
            &GOOD.replace("path = \"left\"", "url = \"http://x/\""),
            "url: a source of kind \"directory\" has a `path`",
        ),
        ("detector = \"line.intakt\"", "camera: there are 0 of them"),
        ("name: yaml", "run.toml:1: "),
        (
            &SIMULATED.replace("\"fabric\"", "\"wood\""),
            "run.toml:7: scene: there is none called \"wood\"",
        ),
        (
            &SIMULATED.replace("scene = \"fabric\"", ""),
            "run.toml:4: scene: a source of kind \"synthetic\" needs one",
        ),
        (
            &SIMULATED.replace("frames = 3", "frames = 0"),
            "run.toml:8: frames: 0 is not within 1",
        ),
        (
            &SIMULATED.replace("frames = 3", "path = \"left\""),
            "run.toml:8: path: a source of kind \"synthetic\" has a `scene` instead",
        ),
        (
            &SIMULATED.replace("frames = 3", "url = \"http://x/\""),
            "run.toml:8: url: a source of kind \"synthetic\" has a `scene` instead",
        ),
        (
            &GOOD.replace("depth = 7", "scene = \"metal\""),
            "run.toml:14: scene: only a source of kind \"synthetic\" has one",
        ),
        (
            &GOOD.replace("depth = 7", "fps = 25"),
            "run.toml:14: fps: only a source of kind \"v4l2\" has one",
        ),
    ] {
        let (_dir, path) = run_file(text);
        intakt(&[&"check", &path]).expect_error(&["cannot use run file", said]);
        intakt(&[&"inspect", &path]).expect_error(&[said]);
    }
    let (dir, path) = run_file(GOOD);
    intakt(&[&"inspect", &path, &dir.path().join("left")]).expect_error(&["cannot take images beside run file"]);
    intakt(&[&"inspect", &path, &"--border", &"3"]).expect_error(&["cannot take suppression rules"]);
    intakt(&[&"check", &dir.path().join("none.toml")]).expect_error(&["none.toml"]);
}

const DEVICE: &str = r#"
detector = "line.intakt"

[[camera]]
name = "u"
source = "v4l2"
path = "/dev/video-none"
width = 640
height = 480
fps = 30
"#;

#[test]
#[cfg(not(all(feature = "v4l2", target_os = "linux")))]
fn a_program_without_device_cameras_says_how_to_build_one() {
    let (_dir, path) = run_file(DEVICE);
    intakt(&[&"check", &path]).expect_error(&[
        "run.toml:6: source: this program was built without cameras of kind \"v4l2\"",
        "cargo build --release --features v4l2",
    ]);
}

#[test]
#[cfg(all(feature = "v4l2", target_os = "linux"))]
fn a_device_camera_is_checked() {
    let (_dir, path) = run_file(DEVICE);
    let ran = intakt(&[&"check", &path]).expect(0);
    assert!(ran.stdout.contains("v4l2 /dev/video-none"), "{}", ran.stdout);
    for (from, to, said) in [
        ("fps = 30", "fps = 0", "run.toml:10: fps: 0 is not within 1"),
        ("height = 480", "", "run.toml:8: width: there has to be a `height` too"),
        ("width = 640", "", "run.toml:9: height: there has to be a `width` too"),
        (
            "fps = 30",
            "paced = true",
            "run.toml:4: paced: a source of kind \"v4l2\" comes at its own pace",
        ),
        (
            "fps = 30",
            "url = \"http://x/\"",
            "run.toml:10: url: a source of kind \"v4l2\" has a `path` instead",
        ),
        (
            "path = \"/dev/video-none\"",
            "",
            "run.toml:4: path: a source of kind \"v4l2\" needs one, like \"/dev/video0\"",
        ),
    ] {
        let (_dir, path) = run_file(&DEVICE.replace(from, to));
        intakt(&[&"check", &path]).expect_error(&["cannot use run file", said]);
    }
}

#[test]
fn what_needs_a_kept_run_is_checked_as_it_will_be_run() {
    let text = format!("{GOOD}\n[rates]\nlabel_horizon = \"2h\"\n[[what_if]]\nname = \"never\"\nthreshold = 1.0\n");
    let (dir, path) = run_file(&text);
    let run = dir.path().join("run");
    let plan = intakt(&[&"check", &path, &"--run", &run]).expect(0).stdout;
    let kept = format!("kept in {}", run.display());
    assert!(plan.contains(&kept) && plan.contains("what if \"never\""), "{plan}");
    assert!(!run.exists(), "nothing is begun");
    intakt(&[&"inspect", &path, &"--run", &run]).expect(1);
    for command in ["check", "inspect"] {
        intakt(&[&command, &path]).expect_error(&["label_horizon", "what_if", "`run = \"DIR\"`, or `--run DIR`"]);
    }
}

#[test]
fn all_that_is_wrong_with_a_camera_is_said_at_once() {
    let text = GOOD
        .replace("\"right\"", "\"wrong\"")
        .replace("depth = 7", "depth = 0\ncredit = 0")
        .replace("lateness_ms = 250", "lateness_ms = 99999999");
    let (_dir, path) = run_file(&text);
    intakt(&[&"check", &path]).expect_error(&[
        "run.toml:12: path: ",
        "run.toml:14: depth: 0 is not within",
        "run.toml:15: credit: 0 is not within",
        "run.toml:16: lateness_ms: 99999999 is not within",
    ]);
}

#[test]
fn what_may_not_be_meant_is_noted_and_what_is_mistyped_is_explained() {
    let live = "\n[[camera]]\nname = \"dock\"\nsource = \"http\"\n[server]\nlisten = \"127.0.0.1:0\"\n";
    let (_dir, path) = run_file(&format!("{GOOD}{live}"));
    let said = intakt(&[&"check", &path]).expect(0).stdout;
    let note = "note: camera \"l\" (directory) has event times of its own and \"dock\" (http) goes by the clock";
    assert!(said.contains(note), "{said}");
    fs::write(&path, GOOD).unwrap();
    assert!(!intakt(&[&"check", &path]).expect(0).stdout.contains("note:"));

    fs::write(&path, SIMULATED.replace("[[camera]]", "[camera]")).unwrap();
    intakt(&[&"check", &path]).expect_error(&["hint: there may be several, so that it is `[[camera]]`"]);
    let settled = GOOD.replace("depth = 7", "settle_ms = 2000");
    fs::write(&path, &settled).unwrap();
    intakt(&[&"check", &path]).expect_error(&["settle_ms: only a source of kind \"watch\" has one"]);
    fs::write(&path, settled.replace("source = \"directory\"", "source = \"watch\"")).unwrap();
    intakt(&[&"check", &path]).expect(0);
}
