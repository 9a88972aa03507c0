//! The normal patches nearest to what was found: kept by `fit`, shown with a frame that people look at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use intakt_operators::detector::{Detector, embed};
use intakt_operators::imaging::{FrameLayout, decode};
use intakt_operators::{FeatureMap, RectPx};
use intakt_pipelines::load_detector;
use serde_json::Value;
use tempfile::tempdir;

use crate::pictures::{blot_px, mvtec_dataset, strip};
use crate::serve::{json, serve};
use crate::support::{Args, SHARED, fit_small, intakt, overlaps, stem};

fn fitted(dataset: &Path, more: &Args<'_>) -> Detector {
    let dir = tempdir().unwrap();
    let path = dir.path().join("bank.intakt");
    fit_small(dataset, &path, more);
    load_detector(&path).unwrap()
}

/// Places of an image's patches, with the row of the bank nearest to each.
fn nearest_rows(detector: &Detector, image: &Path) -> Vec<(RectPx, u32)> {
    let input = &detector.recipe().input;
    let image = decode(&fs::read(image).unwrap(), input.sixteen_bit_max).unwrap();
    let layout = FrameLayout::new(input, image.width_px, image.height_px).unwrap();
    let of_tile = |tile_idx: usize| {
        let maps = detector
            .backbone()
            .feature_maps(&layout.tile_image(&image, tile_idx, input))
            .unwrap();
        let maps: Vec<_> = maps.iter().map(FeatureMap::view).collect();
        let scores = detector
            .scorer()
            .score(&[&embed(&maps, &detector.recipe().embedding).unwrap()])
            .unwrap()
            .remove(0);
        let grid = [scores.height, scores.width];
        let rows = scores.nearest.unwrap().into_iter().enumerate();
        rows.map(|(patch_idx, row)| (layout.patch_rect_to_frame(tile_idx, grid, patch_idx), row))
            .collect::<Vec<_>>()
    };
    (0..layout.tiles.len()).flat_map(of_tile).collect()
}

/// Holds the training images before their own detector: each row of its bank is nearest to the patch that it says it comes from.
#[track_caller]
fn every_row_finds_itself(detector: &Detector, dataset: &Path) {
    let provenance = detector.provenance().unwrap();
    let mut found = BTreeSet::new();
    for image in provenance.images() {
        for (rect_px, row) in nearest_rows(detector, &dataset.join(&image.name)) {
            let (from, from_px) = provenance.of(row).unwrap();
            if (&from.name, from_px) == (&image.name, rect_px) {
                found.insert(row);
            }
        }
    }
    let all: BTreeSet<u32> = (0..provenance.n_rows() as u32).collect();
    assert_eq!(found, all);
}

#[test]
fn a_training_image_held_before_its_detector_names_itself_at_the_same_place() {
    for kind in ["patchcore", "global-knn"] {
        let detector = fitted(&SHARED.dataset, &[&"--detector", &kind]);
        every_row_finds_itself(&detector, &SHARED.dataset);
    }
}

#[test]
fn a_patch_of_a_tile_has_its_place_in_the_whole_image() {
    let dir = tempdir().unwrap();
    (0..8).for_each(|n| strip(3 * n, 2).save(dir.path().join(format!("{n}.png"))).unwrap());
    for kind in ["patchcore", "global-knn"] {
        let path = dir.path().join("tiles.intakt");
        let train = dir.path();
        intakt(&[
            &"fit",
            &train,
            &"-o",
            &path,
            &"--tile",
            &"128",
            &"--overlap",
            &"32",
            &"--detector",
            &kind,
        ])
        .expect(0);
        let detector = load_detector(&path).unwrap();
        every_row_finds_itself(&detector, train);
        let provenance = detector.provenance().unwrap();
        let rightmost = (0..provenance.n_rows() as u32)
            .map(|row| provenance.of(row).unwrap().1.x)
            .max();
        assert!(rightmost > Some(256), "{rightmost:?}");
    }
}

#[test]
fn an_image_that_is_taken_out_of_the_dataset_is_no_longer_named() {
    let dir = tempdir().unwrap();
    mvtec_dataset(dir.path(), 24, 1, 1);
    let names = |detector: &Detector| -> Vec<String> {
        let images = detector.provenance().unwrap().images().iter();
        images.map(|image| image.name.clone()).collect()
    };
    let with = names(&fitted(dir.path(), &[&"--detector", &"patchcore"]));
    fs::remove_file(dir.path().join(&with[0])).unwrap();
    let without = fitted(dir.path(), &[&"--detector", &"patchcore"]);
    assert!(!names(&without).contains(&with[0]));
    every_row_finds_itself(&without, dir.path());
}

#[test]
fn show_says_that_it_is_kept() {
    let dir = tempdir().unwrap();
    let bank = dir.path().join("bank.intakt");
    fit_small(&SHARED.dataset, &bank, &[&"--detector", &"patchcore"]);
    let line = |detector: &Path| {
        let shown = intakt(&[&"show", &detector]).expect(0).stdout;
        shown
            .lines()
            .find(|line| line.starts_with("provenance"))
            .unwrap()
            .to_owned()
    };
    let kept = line(&bank);
    assert!(kept.contains("kept: ") && kept.contains("with pictures of "), "{kept}");
    assert!(line(&SHARED.detector).contains("not kept"));
}

/// Keeps the frames of a folder as a run with pictures; its verdicts.
fn run_of(detector: &Path, images: &Path, run: &Path) -> Vec<Value> {
    intakt(&[
        &"inspect",
        &detector,
        &images,
        &"--run",
        &run,
        &"--listen",
        &"127.0.0.1:0",
    ])
    .verdicts()
}

#[test]
fn rejected_frames_are_shown_with_the_normal_patches_nearest_to_their_regions() {
    let dir = tempdir().unwrap();
    let (bank, run) = (dir.path().join("bank.intakt"), dir.path().join("run"));
    fit_small(&SHARED.dataset, &bank, &[&"--detector", &"patchcore"]);
    let verdicts = run_of(&bank, &SHARED.dataset.join("test/blot"), &run);
    let rejected: Vec<&Value> = verdicts
        .iter()
        .filter(|verdict| verdict["decision"] == "reject")
        .collect();
    assert_eq!(rejected.len(), 4, "blots are rejected");
    let detector = load_detector(&bank).unwrap();
    let provenance = detector.provenance().unwrap();
    let served = serve(&run);
    for verdict in rejected {
        let path = format!("/api/v1/cameras/blot/frames/{}", verdict["seq"]);
        let frame = json(&served, &path);
        let nearest = frame["nearest"].as_array().unwrap();
        assert_eq!(nearest.len(), verdict["regions"].as_array().unwrap().len().min(3));
        let seen = SHARED.dataset.join(format!("test/blot/{}.png", stem(verdict)));
        let rows = nearest_rows(&detector, &seen);
        for (idx, patch) in nearest.iter().enumerate() {
            assert_eq!(patch["region"], idx);
            let of = |rect: &str, key: &str| patch[rect][key].as_u64().unwrap() as u32;
            let rect = |which: &str| RectPx {
                x: of(which, "x"),
                y: of(which, "y"),
                width: of(which, "width"),
                height: of(which, "height"),
            };
            let (_, row) = rows.iter().find(|(rect_px, _)| *rect_px == rect("rect_px")).unwrap();
            let (image, from_px) = provenance.of(*row).unwrap();
            assert_eq!(
                (&patch["image"], rect("image_rect_px")),
                (&image.name.as_str().into(), from_px)
            );
            assert_eq!(
                (&patch["has_picture"], &patch["image_width_px"]),
                (&true.into(), &256.into())
            );
            let (status, picture) = served.get(&format!("{path}/nearest/{idx}"));
            assert!(status == 200 && picture.contains("JFIF"), "{status}");
        }
        let number: u32 = stem(verdict).parse().unwrap();
        let first = serde_json::json!({"bbox_px": nearest[0]["rect_px"]});
        assert!(overlaps(&first, blot_px(number)), "{first}");
        assert_eq!(served.get(&format!("{path}/nearest/{}", nearest.len())).0, 404);
        assert_eq!(served.get(&format!("{path}/nearest/-1")).0, 400);
    }
}

#[test]
fn a_detector_without_a_memory_bank_names_none() {
    let dir = tempdir().unwrap();
    let run = dir.path().join("run");
    let verdicts = run_of(&SHARED.detector, &SHARED.dataset.join("test/blot"), &run);
    let rejected = verdicts.iter().find(|verdict| verdict["decision"] == "reject").unwrap();
    let served = serve(&run);
    let frame = json(&served, &format!("/api/v1/cameras/blot/frames/{}", rejected["seq"]));
    assert_eq!(frame["nearest"], Value::Array(vec![]));
}
