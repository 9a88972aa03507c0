//! What does not count: each rule changes what it should, and says so.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;

use crate::pictures::{blot, blotted, mask, normal};
use crate::support::{Args, BLOT_PX, SHARED, decision, fit_small, intakt, overlaps};

/// A blot far enough from the middle of the frame that its halo does not reach it.
const CORNER_PX: [u32; 4] = [0, 0, 32, 32];

/// The verdict on the blotted frame under some rules.
fn under(rules: &Args<'_>) -> Value {
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"inspect", &SHARED.detector, &SHARED.blotted];
    args.extend(rules);
    intakt(&args).verdicts().remove(0)
}

/// What lies at `place` was suppressed for `reason`, and the frame passed.
#[track_caller]
fn assert_suppressed(verdict: &Value, place: [u32; 4], reason: &str) {
    assert_eq!(decision(verdict), "pass", "{verdict}");
    assert_eq!(verdict["regions"].as_array().unwrap().len(), 0, "{verdict}");
    let suppressed = verdict["suppressed"].as_array().unwrap();
    let is_it = |region: &&Value| overlaps(region, place) && region["reason"] == reason;
    assert!(suppressed.iter().any(|region| is_it(&region)), "{verdict}");
}

#[test]
fn without_rules_the_blot_counts() {
    let verdict = under(&[]);
    assert_eq!(decision(&verdict), "reject");
    assert!(
        overlaps(&verdict["regions"][0], BLOT_PX) && verdict["suppressed"].as_array().unwrap().is_empty(),
        "{verdict}"
    );
}

#[test]
fn a_defect_outside_the_region_of_interest_does_not_count() {
    let dir = tempdir().unwrap();
    let (left, right) = (dir.path().join("left.png"), dir.path().join("right.png"));
    // Receptive fields and smoothing spread the blot by some twenty pixels of the network's input, four frame pixels each.
    mask(256, 256, [0, 0, 48, 256]).save(&left).unwrap();
    assert_suppressed(&under(&[&"--roi", &left]), BLOT_PX, "outside_roi");
    mask(256, 256, [48, 0, 208, 256]).save(&right).unwrap();
    assert_eq!(decision(&under(&[&"--roi", &right])), "reject");
}

#[test]
fn a_defect_in_the_border_does_not_count() {
    let dir = tempdir().unwrap();
    let frame = dir.path().join("corner.png");
    blotted(200, CORNER_PX).save(&frame).unwrap();
    let of = |border: &str| {
        let ran = intakt(&[&"inspect", &SHARED.detector, &frame, &"--border", &border]);
        ran.verdicts().remove(0)
    };
    assert_suppressed(&of("120"), CORNER_PX, "border");
    assert_eq!(decision(&of("0")), "reject");
}

#[test]
fn a_frame_of_which_nothing_is_inspected_does_not_pass() {
    for border in ["128", "4000000000"] {
        let verdict = under(&[&"--border", &border]);
        assert_eq!(decision(&verdict), "unreadable", "{verdict}");
        assert!(
            verdict["reason"]
                .as_str()
                .unwrap()
                .contains("nothing of the frame is inspected")
        );
    }
}

#[test]
fn small_regions_do_not_count() {
    assert_suppressed(&under(&[&"--min-area", &"65536"]), BLOT_PX, "below_min_area");
    let area = under(&[])["regions"][0]["area_px"].as_u64().unwrap();
    let verdict = under(&[&"--min-area", &area.to_string()]);
    assert_eq!(
        verdict["regions"][0]["area_px"], area,
        "a region of just that area counts"
    );
}

#[test]
fn weak_regions_do_not_count() {
    assert_suppressed(&under(&[&"--min-peak", &"1"]), BLOT_PX, "below_min_peak");
    assert_eq!(decision(&under(&[&"--min-peak", &"0.55"])), "reject");
}

#[test]
fn hysteresis_extends_regions() {
    let (plain, extended) = (under(&[]), under(&[&"--hysteresis", &"0.35"]));
    let area = |verdict: &Value| verdict["regions"][0]["area_px"].as_u64().unwrap();
    assert!(area(&extended) > area(&plain), "{plain}\n{extended}");
    assert_eq!(plain["image_score"], extended["image_score"]);
}

#[test]
fn rules_stated_at_fit_hold_until_they_are_overridden() {
    let dir = tempdir().unwrap();
    let detector = dir.path().join("detector.intakt");
    fit_small(&SHARED.dataset, &detector, &[&"--border", &"120", &"--min-area", &"3"]);
    let frame = dir.path().join("corner.png");
    blotted(200, CORNER_PX).save(&frame).unwrap();
    let shown = intakt(&[&"show", &detector]).expect(0).stdout;
    assert!(shown.contains("border 120 px, regions below 3 px"), "{shown}");
    let of = |more: &Args<'_>| {
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"inspect", &detector, &frame];
        args.extend(more);
        intakt(&args).verdicts().remove(0)
    };
    assert_suppressed(&of(&[]), CORNER_PX, "border");
    assert_eq!(decision(&of(&[&"--border", &"0"])), "reject");
}

/// Dirt, and a defect so far from it that their regions do not touch at the 64 pixels of the network's input.
const DIRT_PX: [u32; 4] = [200, 20, 16, 16];
const DEFECT_PX: [u32; 4] = [20, 196, 40, 40];

/// Frames with dirt at one place; `also` has a second blot elsewhere.
fn dirty_frames(directory: &Path, n_frames: u64, also: u64) {
    fs::create_dir(directory).unwrap();
    for n in 0..n_frames {
        let mut image = blotted(200, DIRT_PX);
        if n == also {
            blot(&mut image, DEFECT_PX);
        }
        image.save(directory.join(format!("{n:02}.png"))).unwrap();
    }
}

#[test]
fn dirt_on_the_lens_is_suppressed_and_logged_but_a_defect_beside_it_counts() {
    let dir = tempdir().unwrap();
    let frames = dir.path().join("frames");
    dirty_frames(&frames, 16, 14);
    let ran = intakt(&[
        &"inspect",
        &SHARED.detector,
        &frames,
        &"--static-artefacts",
        &"true",
        &"--log-suppressed",
    ]);
    let ran = ran.expect(1);
    let verdicts = ran.verdicts();
    assert!(
        verdicts[..12].iter().all(|verdict| decision(verdict) == "reject"),
        "dirt is not known before twelve frames"
    );
    for verdict in [&verdicts[12], &verdicts[13], &verdicts[15]] {
        assert_suppressed(verdict, DIRT_PX, "static_artefact");
    }
    assert_eq!(decision(&verdicts[14]), "reject");
    assert!(overlaps(&verdicts[14]["regions"][0], DEFECT_PX), "{}", verdicts[14]);
    let logged: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("static artefact: it recurs"))
        .collect();
    assert!(
        logged.len() >= 4 && logged[0].starts_with("suppressed frames #12 at "),
        "{logged:?}"
    );
    let off = intakt(&[&"inspect", &SHARED.detector, &frames]).expect(1);
    assert!(
        off.verdicts().iter().all(|verdict| decision(verdict) == "reject"),
        "the rule is off unless it is asked for"
    );
}

#[test]
fn nothing_is_suppressed_on_normal_frames() {
    let dir = tempdir().unwrap();
    let frame = dir.path().join("frame.png");
    normal(230).save(&frame).unwrap();
    let ran = intakt(&[&"inspect", &SHARED.detector, &frame, &"--log-suppressed"]).expect(0);
    assert!(!ran.stderr.contains("suppressed"), "{}", ran.stderr);
}
