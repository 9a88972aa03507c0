//! `inspect --record` and `replay`, from the outside.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use crate::support::{Ran, SHARED, intakt};

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
