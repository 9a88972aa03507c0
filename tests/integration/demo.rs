//! `intakt demo`: the simulated line through the whole program.

use std::fs;

use serde_json::Value;
use tempfile::tempdir;

use crate::support::{decision, files, intakt, json_lines};

#[test]
fn demo_inspects_three_cameras_and_leaves_everything_to_look_at() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("demo");
    let ran = intakt(&[&"demo", &"--frames", &"20", &"--out", &out]).expect(0);
    let verdicts = json_lines(&fs::read_to_string(out.join("verdicts.jsonl")).unwrap());
    assert_eq!(verdicts.len(), 60);
    let times: Vec<u64> = verdicts
        .iter()
        .map(|verdict| verdict["captured_at_us"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted());
    for camera in ["fabric", "metal", "labels"] {
        assert!(ran.stdout.contains(camera), "{}", ran.stdout);
        assert!(out.join(format!("{camera}.intakt")).is_file());
        let of_camera: Vec<&Value> = verdicts.iter().filter(|verdict| verdict["camera"] == camera).collect();
        assert!(
            of_camera
                .iter()
                .map(|verdict| verdict["seq"].as_u64().unwrap())
                .eq(0..20)
        );
    }
    let rejected = verdicts.iter().filter(|verdict| decision(verdict) == "reject").count();
    assert!(rejected > 0 && rejected < 30, "{rejected} of 60 rejected");
    assert_eq!(files(&out.join("heatmaps")).len(), rejected);
    assert!(image::open(out.join("contact_sheet.png")).is_ok());
    assert!(!fs::read(out.join("rates.jsonl")).unwrap().is_empty());
    assert!(
        ran.stderr
            .contains("captured 60 = judged 60 + unreadable 0 + dropped 0"),
        "{}",
        ran.stderr
    );
}

#[test]
fn demo_refuses_a_place_it_cannot_write_to() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    intakt(&[&"demo", &"--out", &file]).expect_error(&["it is a file; give a directory"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
