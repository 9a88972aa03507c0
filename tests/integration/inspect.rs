//! `intakt inspect`: a verdict on every frame, in order, accounted for.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::tempdir;

use crate::support::{INTAKT, SHARED, decision, files, intakt, json_lines, stem};

#[test]
fn every_frame_gets_one_verdict_in_order() {
    let dir = tempdir().unwrap();
    for (camera, frames) in [("left", 7), ("right", 5)] {
        fs::create_dir(dir.path().join(camera)).unwrap();
        for n in 0..frames {
            let source = if n == 3 { &SHARED.blotted } else { &SHARED.normal };
            fs::copy(source, dir.path().join(camera).join(format!("{n}.png"))).unwrap();
        }
    }
    fs::write(dir.path().join("right/2.png"), b"nothing").unwrap();
    let ran = intakt(&[
        &"inspect",
        &SHARED.detector,
        &dir.path().join("right"),
        &dir.path().join("left"),
    ])
    .expect(1);
    let verdicts = ran.verdicts();
    let key = |verdict: &Value| {
        let camera = verdict["camera"].as_str().unwrap().to_owned();
        (
            verdict["captured_at_us"].as_u64().unwrap(),
            camera,
            verdict["seq"].as_u64().unwrap(),
        )
    };
    let keys: Vec<_> = verdicts.iter().map(key).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    let mut expected: Vec<_> = (0..7).map(|seq| (seq * 100_000, "left".to_owned(), seq)).collect();
    expected.extend((0..5).map(|seq| (seq * 100_000, "right".to_owned(), seq)));
    expected.sort();
    assert_eq!(keys, expected);
    for verdict in &verdicts {
        let unreadable = verdict["camera"] == "right" && verdict["seq"] == 2;
        let expected = if unreadable {
            "unreadable"
        } else if verdict["seq"] == 3 {
            "reject"
        } else {
            "pass"
        };
        assert_eq!(decision(verdict), expected, "{verdict}");
        assert_eq!(verdict["reason"].is_string(), unreadable, "{verdict}");
    }
    assert!(
        ran.stderr
            .contains("captured 12 = judged 11 + unreadable 1 + dropped 0"),
        "{}",
        ran.stderr
    );
}

#[test]
fn exit_code_says_whether_everything_passed() {
    let dir = tempdir().unwrap();
    let torn = dir.path().join("torn.png");
    fs::write(&torn, &fs::read(&SHARED.normal).unwrap()[..3000]).unwrap();
    intakt(&[&"inspect", &SHARED.detector, &SHARED.normal]).expect(0);
    intakt(&[&"inspect", &SHARED.detector, &SHARED.blotted]).expect(1);
    intakt(&[&"inspect", &SHARED.detector, &torn]).expect(1);
    intakt(&[&"inspect", &SHARED.detector, &dir.path().join("nowhere.png")]).expect_error(&["nowhere.png"]);
}

#[test]
fn verdicts_hold_what_a_gate_and_a_person_need() {
    let ran = intakt(&[&"inspect", &SHARED.detector, &SHARED.blotted]).expect(1);
    let verdict = &ran.verdicts()[0];
    let number = |key: &str| verdict[key].as_f64().unwrap();
    assert!(number("image_score") > number("threshold"), "{verdict}");
    assert!(
        number("calibrated_score") > 0.5 && number("calibrated_score") <= 1.0,
        "{verdict}"
    );
    assert_eq!(verdict["origin"].as_str().unwrap(), SHARED.blotted.to_str().unwrap());
    let region = &verdict["regions"][0];
    assert!(
        region["area_px"].as_u64().unwrap() > 0 && region["peak"].as_f64().unwrap() > 0.5,
        "{region}"
    );
    let keys: Vec<&str> = ran
        .stdout
        .split('"')
        .filter(|word| verdict.get(*word).is_some())
        .collect();
    let in_order = [
        "camera",
        "seq",
        "captured_at_us",
        "origin",
        "detector",
        "decision",
        "image_score",
        "threshold",
    ];
    assert!(keys.starts_with(&in_order), "{keys:?}");
}

#[test]
fn manifests_say_camera_and_time() {
    let dir = tempdir().unwrap();
    for name in ["a.png", "b.png", "c.png"] {
        fs::copy(&SHARED.normal, dir.path().join(name)).unwrap();
    }
    let list = dir.path().join("list.csv");
    let rows = "path,camera,captured_at\na.png,top,2026-05-04T06:30:02Z\nb.png,side,1777876201500000\nc.png,top,2026-05-04T06:30:01Z\n";
    fs::write(&list, rows).unwrap();
    let verdicts = intakt(&[&"inspect", &SHARED.detector, &list]).expect(0).verdicts();
    let told: Vec<_> = verdicts
        .iter()
        .map(|v| (stem(v), v["camera"].as_str().unwrap(), v["seq"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("c", "top", 0), ("b", "side", 0), ("a", "top", 1)]);
    assert_eq!(verdicts[0]["captured_at_us"], 1_777_876_201_000_000_u64);
}

#[test]
fn rates_end_with_what_was_counted() {
    let dir = tempdir().unwrap();
    let rates = dir.path().join("rates.jsonl");
    let (good, blots) = (SHARED.dataset.join("test/good"), SHARED.dataset.join("test/blot"));
    let ran = intakt(&[&"inspect", &SHARED.detector, &good, &blots, &"--rates", &rates]).expect(1);
    let rates = json_lines(&fs::read_to_string(&rates).unwrap());
    for (camera, rejects) in [("good", 0), ("blot", 4)] {
        for window_us in [60_000_000_u64, 900_000_000, 3_600_000_000] {
            let of = |rate: &&Value| rate["name"] == camera && rate["length_us"] == window_us;
            let last = &rates.iter().rfind(of).unwrap()["after"];
            assert_eq!(
                (&last["frames"], &last["rejects"], &last["unreadable"]),
                (&4.into(), &rejects.into(), &0.into())
            );
        }
    }
    assert!(
        ran.stderr.contains("100.0 %") && ran.stderr.contains("0.0 %"),
        "{}",
        ran.stderr
    );
}

#[test]
fn pictures_are_drawn_of_rejected_frames_only_unless_all_are_asked_for() {
    let dir = tempdir().unwrap();
    let torn = dir.path().join("torn.png");
    fs::write(&torn, b"").unwrap();
    let drawn = |all: bool| {
        let pictures = dir.path().join(format!("pictures-{all}"));
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"inspect", &SHARED.detector, &SHARED.normal];
        args.extend([
            &SHARED.blotted as &dyn AsRef<std::ffi::OsStr>,
            &torn,
            &"--heatmaps",
            &pictures,
        ]);
        if all {
            args.push(&"--all");
        }
        intakt(&args).expect(1);
        let files = files(&pictures);
        for (name, bytes) in &files {
            let picture = image::load_from_memory(bytes).unwrap();
            assert!(picture.width() >= 256 && picture.height() >= 256, "{name}");
        }
        files.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let has = |names: &[String], stem: &str| names.iter().any(|name| name.contains(stem));
    let rejected = drawn(false);
    assert!(rejected.len() == 1 && has(&rejected, "blotted"), "{rejected:?}");
    let all = drawn(true);
    assert!(all.len() == 2 && has(&all, "blotted") && has(&all, "normal"), "{all:?}");
    intakt(&[&"inspect", &SHARED.detector, &SHARED.normal, &"--all"]).expect(2);
}

#[test]
fn verdicts_go_to_a_file_when_asked() {
    let dir = tempdir().unwrap();
    let lines = dir.path().join("verdicts.jsonl");
    let ran = intakt(&[&"inspect", &SHARED.detector, &SHARED.normal, &"--jsonl", &lines]).expect(0);
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    let printed = intakt(&[&"inspect", &SHARED.detector, &SHARED.normal]).expect(0);
    assert_eq!(fs::read_to_string(&lines).unwrap(), printed.stdout);
}

#[test]
fn a_full_disk_ends_the_run_with_an_error() {
    let ran = intakt(&[&"inspect", &SHARED.detector, &SHARED.normal, &"--jsonl", &"/dev/full"]);
    ran.expect_error(&["the run was stopped", "/dev/full", "No space left on device"]);
}

#[test]
fn a_reader_that_goes_away_ends_the_run_with_an_error() {
    let frames = SHARED.dataset.join("train/good");
    let mut child = Command::new(INTAKT)
        .args(["inspect".as_ref(), SHARED.detector.as_os_str(), frames.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{said}");
    assert!(
        said.contains("error: the run was stopped") && said.contains("Broken pipe"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn cameras_of_similar_names_do_not_share_a_picture() {
    let dir = tempdir().unwrap();
    let cameras = ["a b", "a_b"].map(|camera| dir.path().join(camera));
    for camera in &cameras {
        fs::create_dir(camera).unwrap();
        fs::copy(&SHARED.blotted, camera.join("part.png")).unwrap();
    }
    let pictures = dir.path().join("pictures");
    intakt(&[
        &"inspect",
        &SHARED.detector,
        &cameras[0],
        &cameras[1],
        &"--heatmaps",
        &pictures,
    ])
    .expect(1);
    let names: Vec<String> = files(&pictures).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a_b_000000_part.png", "a~20b_000000_part.png"]);
}

#[test]
fn an_output_that_is_an_input_is_refused_and_left_as_it_was() {
    let dir = tempdir().unwrap();
    let (detector, frame) = (dir.path().join("line.intakt"), dir.path().join("frame.png"));
    std::fs::copy(&SHARED.detector, &detector).unwrap();
    std::fs::copy(&SHARED.normal, &frame).unwrap();
    let before = (std::fs::read(&detector).unwrap(), std::fs::read(&frame).unwrap());
    for output in [&detector, &frame] {
        for flag in ["--jsonl", "--rates"] {
            let ran = intakt(&[&"inspect", &detector, &frame, &flag, output]).expect(2);
            assert!(
                ran.stderr.contains("it is what the command reads from"),
                "{}",
                ran.stderr
            );
        }
    }
    assert_eq!(
        before,
        (std::fs::read(&detector).unwrap(), std::fs::read(&frame).unwrap())
    );
}

#[test]
fn frames_of_one_moment_and_broken_ones_do_not_stop_a_camera_that_knows_static_artefacts() {
    let dir = tempdir().unwrap();
    let mut rows = String::from("path,split,label,camera,captured_at\n");
    for n in 0..20 {
        let frame = dir.path().join(format!("{n}.png"));
        match n % 4 {
            2 => std::fs::write(frame, b"torn").unwrap(),
            _ => drop(std::fs::copy(&SHARED.normal, frame).unwrap()),
        }
        rows += &format!("{n}.png,test,normal,one,2024-01-01T00:00:00Z\n");
    }
    let manifest = dir.path().join("line.csv");
    std::fs::write(&manifest, rows).unwrap();
    let args: [&dyn AsRef<std::ffi::OsStr>; 9] = [
        &"inspect",
        &SHARED.detector,
        &manifest,
        &"--static-artefacts",
        &"true",
        &"--pool",
        &"1",
        &"-w",
        &"1",
    ];
    let verdicts = intakt(&args).verdicts();
    let unreadable = verdicts
        .iter()
        .filter(|verdict| decision(verdict) == "unreadable")
        .count();
    assert_eq!((verdicts.len(), unreadable), (20, 5));
}

#[test]
fn verdicts_and_rates_need_places_of_their_own() {
    let dir = tempdir().unwrap();
    let both = dir.path().join("both.jsonl");
    let ran = intakt(&[
        &"inspect",
        &SHARED.detector,
        &SHARED.normal,
        &"--jsonl",
        &both,
        &"--rates",
        &both,
    ])
    .expect(2);
    assert!(ran.stderr.contains("to the same place"), "{}", ran.stderr);
}

#[test]
fn pictures_and_recordings_are_not_written_among_the_frames() {
    let dir = tempdir().unwrap();
    let images = dir.path().join("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::copy(&SHARED.normal, images.join("0.png")).unwrap();
    for (flag, output) in [
        ("--heatmaps", images.clone()),
        ("--heatmaps", images.join("new/pictures")),
        ("--record", images.join("tape")),
    ] {
        let ran = intakt(&[&"inspect", &SHARED.detector, &images, &flag, &output]);
        ran.expect_error(&["cannot write into", "frames are taken from", "elsewhere"]);
    }
    assert_eq!(std::fs::read_dir(&images).unwrap().count(), 1);
    intakt(&[
        &"inspect",
        &SHARED.detector,
        &images,
        &"--heatmaps",
        &dir.path().join("images2"),
    ])
    .expect(0);
}

#[cfg(unix)]
fn pipe(dir: &std::path::Path) -> std::path::PathBuf {
    let pipe = dir.join("gate.pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    pipe
}

#[test]
#[cfg(unix)]
fn a_reject_gate_that_nobody_reads_holds_nothing_up() {
    let dir = tempdir().unwrap();
    let pipe = pipe(dir.path());
    let frames = [&SHARED.normal, &SHARED.blotted];
    let ran = intakt(&[&"inspect", &SHARED.detector, frames[0], frames[1], &"--at-once", &pipe]).expect(1);
    assert_eq!(ran.verdicts().len(), 2);
    let waiting = format!("waiting for a reader of {}", pipe.display());
    assert!(ran.stderr.contains(&waiting), "{}", ran.stderr);
    assert!(ran.stderr.contains("2 verdicts were for nobody"), "{}", ran.stderr);

    // A live camera, which the first request to terminate ends.
    let incoming = dir.path().join("incoming");
    std::fs::create_dir(&incoming).unwrap();
    std::fs::copy(frames[0], incoming.join("0.png")).unwrap();
    let run_file = dir.path().join("run.toml");
    let detector = SHARED.detector.display();
    let text =
        format!("detector = \"{detector}\"\n[[camera]]\nname = \"l\"\nsource = \"watch\"\npath = \"incoming\"\n");
    std::fs::write(&run_file, text).unwrap();
    let status = dir.path().join("run/status.json");
    let mut child = Command::new(INTAKT)
        .arg("inspect")
        .arg(&run_file)
        .arg("--run")
        .arg(dir.path().join("run"))
        .arg("--at-once")
        .arg(&pipe)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let judged = || std::fs::read_to_string(&status).is_ok_and(|status| status.contains("\"judged\":1"));
    while !judged() {
        assert!(child.try_wait().unwrap().is_none(), "it goes on");
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
#[cfg(unix)]
fn a_reject_gate_gets_every_verdict() {
    let dir = tempdir().unwrap();
    let pipe = pipe(dir.path());
    let gate = pipe.clone();
    let read = std::thread::spawn(move || std::fs::read_to_string(gate).unwrap());
    let frames = [&SHARED.normal, &SHARED.blotted];
    let ran = intakt(&[&"inspect", &SHARED.detector, frames[0], frames[1], &"--at-once", &pipe]).expect(1);
    let (mut logged, read) = (ran.verdicts(), read.join().unwrap());
    let mut read = json_lines(&read);
    let by_seq = |verdict: &Value| verdict["seq"].as_u64();
    logged.sort_by_key(by_seq);
    read.sort_by_key(by_seq);
    assert_eq!(read, logged);
}
