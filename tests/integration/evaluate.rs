//! `intakt evaluate`: what a detector is worth on labelled images.

use std::fs;
use std::path::Path;

use image::imageops::rotate90;
use serde_json::Value;
use tempfile::tempdir;

use crate::pictures::{blot_px, blotted, mask, mvtec_dataset, normal};
use crate::support::{SHARED, files, intakt};

/// The figures of a detector on a dataset, and the table.
fn evaluated(detector: &Path, dataset: &Path) -> (Value, String) {
    let dir = tempdir().unwrap();
    let json = dir.path().join("figures.json");
    let ran = intakt(&[&"evaluate", &detector, &dataset, &"--json", &json]).expect(0);
    (serde_json::from_slice(&fs::read(&json).unwrap()).unwrap(), ran.stdout)
}

#[test]
fn figures_of_an_easy_dataset_are_perfect_and_complete() {
    let (figures, table) = evaluated(&SHARED.detector, &SHARED.dataset);
    for key in [
        "image_auroc",
        "image_ap",
        "image_f1_max",
        "precision",
        "recall",
        "f1",
        "accuracy",
        "region_hit_rate",
    ] {
        assert_eq!(figures[key], 1.0, "{key}: {figures}");
    }
    for key in ["false_reject_rate", "escape_rate", "region_miss_rate", "unreadable"] {
        assert_eq!(figures[key].as_f64(), Some(0.0), "{key}: {figures}");
    }
    let number = |key: &str| {
        figures[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} is no number: {figures}"))
    };
    assert!(number("pixel_auroc") > 0.9 && number("aupro") > 0.7, "{figures}");
    assert!(number("mass_center_distance_px") < 24.0, "half a blot: {figures}");
    assert!(
        number("image_f1_max_threshold") > 0.0 && number("frames_per_second") > 0.0,
        "{figures}"
    );
    assert_eq!(figures["frames"], 8);
    let stages: Vec<&str> = figures["latencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|l| l["stage"].as_str())
        .collect();
    for stage in ["decode", "embed", "score"] {
        assert!(stages.contains(&stage), "{stages:?}");
    }
    for fragment in [
        "image AUROC       1.0000",
        "pixel AUROC",
        "AUPRO",
        "regions hit",
        "frames a second",
    ] {
        assert!(table.contains(fragment), "`{fragment}` is not in: {table}");
    }
}

#[test]
fn figures_do_not_depend_on_workers_and_threads() {
    let dir = tempdir().unwrap();
    let figures = [("1", "1"), ("3", "2")].map(|(workers, pool)| {
        let json = dir.path().join(workers);
        let args: [&dyn AsRef<std::ffi::OsStr>; 9] = [
            &"evaluate",
            &SHARED.detector,
            &SHARED.dataset,
            &"--json",
            &json,
            &"-w",
            &workers,
            &"--pool",
            &pool,
        ];
        intakt(&args).expect(0);
        let mut figures: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        // Wall clocks, and how many threads there were.
        figures
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !["frames_per_second", "latencies", "about"].contains(&key.as_str()));
        figures
    });
    assert_eq!(figures[0], figures[1]);
}

#[test]
fn what_is_undefined_is_null() {
    let dir = tempdir().unwrap();
    mvtec_dataset(dir.path(), 0, 2, 2);
    fs::remove_dir_all(dir.path().join("ground_truth")).unwrap();
    let list = dir.path().join("list.csv");
    let rows =
        "path,split,label\ntest/good/000.png,test,normal\ntest/blot/000.png,test,blot\ntest/blot/001.png,test,blot\n";
    fs::write(&list, rows).unwrap();
    let (figures, _) = evaluated(&SHARED.detector, &list);
    assert_eq!(figures["image_auroc"], 1.0);
    for key in ["pixel_auroc", "aupro", "mass_center_distance_px"] {
        assert!(figures[key].is_null(), "nobody drew masks, {key}: {figures}");
    }
}

#[test]
fn unreadable_images_are_counted_and_in_no_metric() {
    let dir = tempdir().unwrap();
    mvtec_dataset(dir.path(), 0, 2, 2);
    fs::create_dir_all(dir.path().join("train/good")).unwrap();
    fs::write(dir.path().join("test/good/torn.png"), b"\x89PNG").unwrap();
    let (figures, table) = evaluated(&SHARED.detector, dir.path());
    assert_eq!((&figures["frames"], &figures["unreadable"]), (&4.into(), &1.into()));
    assert!(table.contains("4 (1 unreadable)"), "{table}");
    // It is named, and so it is in the report.
    let html = dir.path().join("report.html");
    let ran = intakt(&[&"evaluate", &SHARED.detector, &dir.path(), &"--report", &html]).expect(0);
    let named = |line: &str| line.starts_with("unreadable: \"") && line.contains("torn.png\": ");
    assert!(ran.stderr.lines().any(named), "{}", ran.stderr);
    let html = fs::read_to_string(html).unwrap();
    let warned = html
        .split("1 image could not be read, and counts in no figure: ")
        .nth(1);
    assert!(warned.unwrap().split('<').next().unwrap().contains("torn.png"));
}

#[test]
fn folders_and_manifests_are_measured_like_mvtec() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("parts");
    for folder in ["normal", "anomalous/blot", "masks/blot"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    (0..8).for_each(|n| normal(n).save(root.join(format!("normal/{n}.png"))).unwrap());
    for n in 0..2 {
        blotted(50 + u64::from(n), blot_px(n))
            .save(root.join(format!("anomalous/blot/{n}.png")))
            .unwrap();
        mask(256, 256, blot_px(n))
            .save(root.join(format!("masks/blot/{n}.png")))
            .unwrap();
    }
    let (figures, _) = evaluated(&SHARED.detector, &root);
    assert_eq!(
        (&figures["image_auroc"], &figures["region_hit_rate"]),
        (&1.0.into(), &1.0.into())
    );
    assert!(figures["pixel_auroc"].as_f64().unwrap() > 0.9);
}

#[test]
fn tall_and_wide_frames_are_measured_at_their_own_shape() {
    // A frame of another shape than the square one: 256 × 128, so that a mix-up of width and height shows.
    let dir = tempdir().unwrap();
    let root = dir.path();
    for folder in ["train/good", "test/blot", "ground_truth/blot", "test/good"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let upright = image::imageops::crop_imm(&blotted(60, [150, 40, 48, 48]), 0, 0, 256, 128).to_image();
    let drawn = image::imageops::crop_imm(&mask(256, 256, [150, 40, 48, 48]), 0, 0, 256, 128).to_image();
    rotate90(&upright).save(root.join("test/blot/turned.png")).unwrap();
    rotate90(&drawn)
        .save(root.join("ground_truth/blot/turned_mask.png"))
        .unwrap();
    upright.save(root.join("test/blot/upright.png")).unwrap();
    drawn.save(root.join("ground_truth/blot/upright_mask.png")).unwrap();
    normal(61).save(root.join("test/good/0.png")).unwrap();
    let (figures, _) = evaluated(&SHARED.detector, root);
    assert_eq!(figures["region_hit_rate"], 1.0, "{figures}");
}

#[test]
fn every_test_image_is_drawn() {
    let dir = tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    intakt(&[&"evaluate", &SHARED.detector, &SHARED.dataset, &"--heatmaps", &pictures]).expect(0);
    assert_eq!(files(&pictures).len(), 8);
}

#[test]
fn datasets_without_test_images_are_refused_and_keep_the_old_figures() {
    let dir = tempdir().unwrap();
    let json = dir.path().join("figures.json");
    fs::write(&json, "old").unwrap();
    let flat = SHARED.dataset.join("train/good");
    intakt(&[&"evaluate", &SHARED.detector, &flat, &"--json", &json]).expect_error(&["no test images"]);
    assert_eq!(fs::read_to_string(&json).unwrap(), "old");
    let missing = dir.path().join("missing/figures.json");
    intakt(&[&"evaluate", &SHARED.detector, &SHARED.dataset, &"--json", &missing])
        .expect_error(&["cannot write", "missing"]);
}
