//! Claims about suppression, on maps drawn by hand and at random.

use std::sync::Arc;

use super::*;
use crate::detector::*;
use crate::imaging::FrameLayout;
use crate::postprocess::{FrameStamp, ScoredPatch, judge, unreadable};
use crate::{AnomalyMap, Decision, RectPx, fixed_point};

const WIDTH: usize = 64;
const HEIGHT: usize = 48;

pub(in crate::postprocess) fn recipe(how: ImageScore, suppression: SuppressionRules) -> Recipe {
    Recipe {
        backbone: BackboneRecipe {
            name: "builtin".into(),
            layers: vec![],
            precision: Default::default(),
            hash: String::new(),
        },
        input: InputRecipe {
            size_px: 64,
            crop_px: None,
            tiling: None,
            exclude_dark_margin: false,
            sixteen_bit_max: u16::MAX,
        },
        embedding: EmbeddingRecipe {
            neighbourhood: 1,
            upsampling: Upsampling::Nearest,
            kept_dims: None,
        },
        scorer: ScorerRecipe::GlobalKnn { n_neighbors: 1 },
        image_score: how,
        blur_sigma_px: 1.0,
        suppression,
    }
}

/// Normal level 1, threshold 2 for images and pixels.
pub(in crate::postprocess) fn calibration() -> Calibration {
    let scale = ScoreScale {
        normal_level: 1.0,
        threshold: 2.0,
    };
    Calibration {
        method: CalibrationMethod::Fixed {
            image_threshold: 2.0,
            pixel_threshold: None,
        },
        image: scale,
        pixel: scale,
        n_frames: 1,
        normal_quantiles: Vec::new(),
        guaranteed_false_reject_rate: None,
        statement: String::new(),
    }
}

/// Scores over frames of twice the map's size.
fn scores(of: impl Fn(usize, usize) -> f32) -> FrameScores {
    let map = (0..HEIGHT * WIDTH).map(|idx| of(idx % WIDTH, idx / WIDTH)).collect();
    let patches = (0..HEIGHT * WIDTH / 16).map(|idx| {
        let (x, y) = (idx % (WIDTH / 4) * 4 + 2, idx / (WIDTH / 4) * 4 + 2);
        ScoredPatch {
            x_map: x as f32,
            y_map: y as f32,
            distance: of(x, y),
            weight: 1.0,
        }
    });
    let (width, height) = (2 * WIDTH as u32, 2 * HEIGHT as u32);
    FrameScores {
        nearest: Vec::new(),
        layout: FrameLayout {
            frame_width_px: width,
            frame_height_px: height,
            map_width: WIDTH,
            map_height: HEIGHT,
            frame_px_per_map_px: [2.0; 2],
            map_origin_in_frame_px: [0.0; 2],
            tiles: vec![],
        },
        map: AnomalyMap::new(HEIGHT, WIDTH, map),
        patches: patches.collect(),
        product_px: RectPx {
            x: 0,
            y: 0,
            width,
            height,
        },
    }
}

/// A square of `score` with its corner at (x, y).
fn square(x: usize, y: usize, edge: usize, score: f32) -> impl Fn(usize, usize) -> f32 {
    move |px, py| {
        let inside = (x..x + edge).contains(&px) && (y..y + edge).contains(&py);
        if inside { score } else { 1.0 }
    }
}

fn reasons(findings: &Findings) -> Vec<SuppressionReason> {
    findings.suppressed.iter().map(|found| found.reason).collect()
}

fn rejects(findings: &Findings) -> bool {
    calibration().image.exceeds(findings.image_score)
}

#[test]
fn a_region_is_measured_in_frame_pixels() {
    let recipe = recipe(ImageScore::Max, SuppressionRules::default());
    let found = suppress(&scores(square(10, 20, 3, 3.0)), &recipe, &calibration(), None);
    let expected = Region {
        bbox_px: RectPx {
            x: 20,
            y: 40,
            width: 6,
            height: 6,
        },
        area_px: 36,
        peak: 0.666667,
        mean: 0.666667,
        centroid_px: [22.5, 42.5],
    };
    assert_eq!(
        (found.regions.as_slice(), found.image_score),
        ([expected].as_slice(), 3.0)
    );
    assert_eq!(found.counted.bits.iter().filter(|&&bit| bit).count(), 9);
    assert!(found.suppressed.is_empty() && found.left_out == 0);
}

#[test]
fn rules_apply_in_order_and_the_first_is_the_reason() {
    let rules = SuppressionRules {
        min_area_px: 20,
        min_peak: Some(0.6),
        ..SuppressionRules::default()
    };
    let of = |x, y| {
        let shapes = [
            square(2, 2, 2, 9.0)(x, y),
            square(20, 2, 4, 2.1)(x, y),
            square(40, 2, 4, 4.0)(x, y),
        ];
        shapes.into_iter().fold(1.0, f32::max)
    };
    let found = suppress(&scores(of), &recipe(ImageScore::Max, rules), &calibration(), None);
    assert_eq!(found.regions.len(), 1);
    assert_eq!(
        reasons(&found),
        [SuppressionReason::BelowMinArea, SuppressionReason::BelowMinPeak]
    );
    assert_eq!(found.image_score, 4.0, "the suppressed 9 does not count");
}

#[test]
fn the_halo_of_a_suppressed_region_does_not_reject() {
    // A hot spot whose rim stays below the pixel threshold but above that of the image.
    let of = |x: usize, y: usize| {
        let distance2 = (x as f32 - 30.0).powi(2) + (y as f32 - 22.0).powi(2);
        1.0 + 4.0 * (-distance2 / 18.0).exp()
    };
    let mut calibration = calibration();
    calibration.pixel.threshold = 4.0;
    let rules = SuppressionRules {
        min_area_px: 400,
        ..SuppressionRules::default()
    };
    for how in [ImageScore::Max, ImageScore::TopMean(8), ImageScore::Reweighted] {
        calibration.image.threshold = if how == ImageScore::Max { 4.0 } else { 2.0 };
        let without_rule = suppress(
            &scores(of),
            &recipe(how, SuppressionRules::default()),
            &calibration,
            None,
        );
        assert!(
            calibration.image.exceeds(without_rule.image_score) && without_rule.regions.len() == 1,
            "{how:?}"
        );
        let found = suppress(&scores(of), &recipe(how, rules.clone()), &calibration, None);
        assert!(
            !calibration.image.exceeds(found.image_score),
            "{how:?}: {}",
            found.image_score
        );
        assert!(
            found.regions.is_empty() && reasons(&found)[0] == SuppressionReason::BelowMinArea,
            "{how:?}"
        );
        // A second, larger defect elsewhere still rejects.
        let both = |x, y| of(x, y).max(square(2, 2, 12, 5.0)(x, y));
        let found = suppress(&scores(both), &recipe(how, rules.clone()), &calibration, None);
        assert!(
            calibration.image.exceeds(found.image_score) && found.regions.len() == 1,
            "{how:?}"
        );
    }
}

#[test]
fn hysteresis_extends_a_region_to_its_rim() {
    let of = |x, y| square(12, 12, 2, 3.0)(x, y).max(square(10, 10, 6, 1.8)(x, y));
    let area = |hysteresis_low| {
        let rules = SuppressionRules {
            hysteresis_low,
            ..SuppressionRules::default()
        };
        suppress(&scores(of), &recipe(ImageScore::Max, rules), &calibration(), None).regions[0].area_px
    };
    assert_eq!((area(None), area(Some(0.4)), area(Some(0.9))), (16, 144, 16));
}

#[test]
fn what_lies_outside_the_inspected_area_is_listed_with_its_reason() {
    let mut roi = Mask::filled(HEIGHT, WIDTH, true);
    (0..HEIGHT).for_each(|y| roi.bits[y * WIDTH..y * WIDTH + 10].fill(false));
    let rules = SuppressionRules {
        roi: Some(RoiMask::from_mask(&roi)),
        border_px: 8,
        ..SuppressionRules::default()
    };
    // One square per area, and one across the edge of the region of interest whose inner part counts.
    let of = |x, y| {
        let squares = [(2, 20, 5.0), (40, 0, 4.0), (56, 20, 3.0), (8, 40, 6.0)];
        squares
            .into_iter()
            .map(|(sx, sy, score)| square(sx, sy, 4, score)(x, y))
            .fold(1.0, f32::max)
    };
    let mut scores = scores(of);
    scores.product_px.width = 110;
    let found = suppress(&scores, &recipe(ImageScore::Max, rules), &calibration(), None);
    use SuppressionReason::{Border, DarkMargin, OutsideRoi};
    assert_eq!(reasons(&found), [OutsideRoi, OutsideRoi, Border, DarkMargin]);
    assert_eq!((found.regions.len(), found.image_score), (1, 6.0));
    assert_eq!((found.regions[0].bbox_px.x, found.regions[0].bbox_px.width), (20, 4));
    assert_eq!(found.candidates().len(), 1);
}

#[test]
fn dirt_on_the_lens_stops_counting_but_stays_in_the_verdict() {
    let rules = SuppressionRules {
        static_artefacts: true,
        ..SuppressionRules::default()
    };
    let recipe = recipe(ImageScore::Max, rules);
    let mut memory = StaticArtefacts::new();
    let frame = |seq| {
        scores(move |x, y| if seq == 25 { square(40, 30, 5, 2.5)(x, y) } else { 1.0 }.max(square(5, 5, 4, 3.0)(x, y)))
    };
    for seq in 0..40 {
        let found = suppress(&frame(seq), &recipe, &calibration(), Some(&memory));
        assert_eq!(rejects(&found), seq < 12 || seq == 25, "frame {seq}");
        assert_eq!(found.regions.len() + found.suppressed.len(), 1 + usize::from(seq == 25));
        memory.observe(&found.candidates());
    }
    let switched_off = super::super::suppress(
        &frame(40),
        &self::recipe(ImageScore::Max, SuppressionRules::default()),
        &calibration(),
        Some(&memory),
    );
    assert!(rejects(&switched_off), "the rule is opt-in");
}

#[test]
fn an_image_score_without_a_pixel_above_the_threshold_shows_where_it_came_from() {
    let mut calibration = calibration();
    calibration.pixel.threshold = 9.0;
    let of = |x, y| square(20, 12, 8, 5.0)(x, y).max(square(40, 12, 4, 4.0)(x, y));
    for how in [ImageScore::TopMean(4), ImageScore::Reweighted] {
        let found = suppress(
            &scores(of),
            &recipe(how, SuppressionRules::default()),
            &calibration,
            None,
        );
        assert!(rejects(&found));
        let bbox = found.regions[0].bbox_px;
        assert_eq!(
            (found.regions.len(), bbox.x, bbox.y, bbox.width, bbox.height),
            (1, 40, 24, 16, 16),
            "{how:?}"
        );
        assert!(found.regions[0].peak < 0.5);
        // The rules apply to such regions as to all others: the larger one counts, the smaller one would not.
        let rules = |min_area_px| SuppressionRules {
            min_area_px,
            ..SuppressionRules::default()
        };
        let smaller = |x, y| square(20, 12, 4, 5.0)(x, y).max(square(50, 30, 8, 4.0)(x, y));
        let found = suppress(&scores(smaller), &recipe(how, rules(100)), &calibration, None);
        assert_eq!((found.regions.len(), found.regions[0].bbox_px.x), (1, 100), "{how:?}");
        assert_eq!(reasons(&found), [SuppressionReason::BelowMinArea]);
        let found = suppress(&scores(smaller), &recipe(how, rules(10_000)), &calibration, None);
        assert!(
            !rejects(&found) && found.regions.is_empty(),
            "{how:?}: {}",
            found.image_score
        );
    }
}

#[test]
fn thousands_of_regions_are_cut_to_the_strongest() {
    let of = |x: usize, y: usize| {
        if x.is_multiple_of(2) && y.is_multiple_of(2) {
            3.0 + (x + 64 * y) as f32 * 1e-3
        } else {
            1.0
        }
    };
    let found = suppress(
        &scores(of),
        &recipe(ImageScore::Max, SuppressionRules::default()),
        &calibration(),
        None,
    );
    assert_eq!(
        (found.regions.len(), found.left_out),
        (REGIONS_MAX, HEIGHT * WIDTH / 4 - REGIONS_MAX)
    );
    assert!(found.regions.is_sorted_by(|left, right| left.peak >= right.peak));
    assert_eq!(
        found.counted.bits.iter().filter(|&&bit| bit).count(),
        HEIGHT * WIDTH / 4
    );
}

#[test]
fn a_frame_is_rejected_only_together_with_a_region_that_counts() {
    let mut state = 3_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let (mut passed, mut rejected) = (0, 0);
    for round in 0..400 {
        let squares: Vec<_> = (0..next() % 6)
            .map(|_| {
                square(
                    next() % 60,
                    next() % 44,
                    1 + next() % 7,
                    1.0 + (next() % 300) as f32 / 100.0,
                )
            })
            .collect();
        let scores = scores(|x, y| squares.iter().map(|square| square(x, y)).fold(0.5, f32::max));
        let rules = SuppressionRules {
            border_px: (next() % 20) as u32,
            min_area_px: (next() % 60) as u64,
            min_peak: [None, Some(0.6)][next() % 2],
            hysteresis_low: [None, Some(0.3)][next() % 2],
            ..SuppressionRules::default()
        };
        let how = [
            ImageScore::Max,
            ImageScore::TopMean(1 + next() % 30),
            ImageScore::Reweighted,
        ][round % 3];
        let found = suppress(&scores, &recipe(how, rules), &calibration(), None);
        assert!(!rejects(&found) || !found.regions.is_empty(), "round {round}, {how:?}");
        if how == ImageScore::Max {
            assert_eq!(rejects(&found), !found.regions.is_empty(), "round {round}");
        }
        *if rejects(&found) { &mut rejected } else { &mut passed } += 1;
    }
    assert!(passed > 50 && rejected > 50, "{passed} {rejected}");
}

#[test]
fn nothing_inspected_passes_with_zero() {
    let rules = SuppressionRules {
        border_px: 1000,
        ..SuppressionRules::default()
    };
    for how in [ImageScore::Max, ImageScore::TopMean(3), ImageScore::Reweighted] {
        let found = suppress(&scores(|_, _| 7.0), &recipe(how, rules.clone()), &calibration(), None);
        assert_eq!((found.image_score, found.regions.len()), (0.0, 0));
        assert_eq!(reasons(&found), [SuppressionReason::Border]);
    }
}

#[test]
fn growing_matches_looking_at_every_neighbour() {
    let mut state = 8_u64;
    for round in 0..200 {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as usize
        };
        let (height, width, radius) = (1 + next() % 12, 1 + next() % 12, next() % 5);
        let mask = Mask::new(height, width, (0..height * width).map(|_| next() % 9 == 0).collect());
        let near = |idx: usize, set: usize| {
            (idx / width).abs_diff(set / width) <= radius && (idx % width).abs_diff(set % width) <= radius
        };
        let naive = |idx: usize| (0..height * width).any(|set| mask.bits[set] && near(idx, set));
        let expected: Vec<bool> = (0..height * width).map(naive).collect();
        let mut grown = mask.clone();
        grow(&mut grown, radius);
        assert_eq!(grown.bits, expected, "round {round}");
    }
}

fn stamp() -> FrameStamp {
    FrameStamp {
        camera: "left".into(),
        seq: 7,
        captured_at_us: 1_000_000,
        origin: "a/b.png".into(),
    }
}

#[test]
fn what_is_printed_is_what_is_decided() {
    let detector: Arc<str> = "0123456789ab".into();
    for (score, decision) in [
        (2.0, Decision::Pass),
        (2.0_f32.next_up(), Decision::Pass),
        (2.000001, Decision::Reject),
        (0.0, Decision::Pass),
    ] {
        let recipe = recipe(ImageScore::Max, SuppressionRules::default());
        let found = suppress(&scores(square(4, 4, 4, score)), &recipe, &calibration(), None);
        let verdict = judge(&stamp(), &detector, &found, &calibration());
        assert_eq!(verdict.decision, decision, "{score}");
        assert_eq!(verdict.image_score > verdict.threshold, decision == Decision::Reject);
        assert_eq!(verdict.regions.is_empty(), decision == Decision::Pass);
        let json = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<crate::Verdict>(&json).unwrap(), verdict);
    }
}

#[test]
fn an_unreadable_frame_gets_a_verdict_with_the_reason() {
    let verdict = unreadable(
        &stamp(),
        &"0123456789ab".into(),
        "cut off after 12 bytes",
        &calibration(),
    );
    assert!(matches!(&verdict.decision, Decision::Unreadable { reason } if reason == "cut off after 12 bytes"));
    assert_eq!((verdict.image_score, verdict.threshold), (0.0, fixed_point(2.0)));
    assert_eq!(
        (&*verdict.camera, verdict.seq, &*verdict.origin),
        ("left", 7, "a/b.png")
    );
}

#[test]
#[ignore = "prints durations: run it alone, with --release --nocapture"]
fn milliseconds_per_frame() {
    for (name, width, height, tile) in [("whole", 256, 256, 256), ("strip", 4096, 256, 256)] {
        let starts = (0..width).step_by(tile - 32).map(|x| x.min(width - tile));
        let tiles: Vec<RectPx> = starts
            .map(|x| RectPx {
                x: x as u32,
                y: 0,
                width: tile as u32,
                height: tile as u32,
            })
            .collect();
        let mut tiles = tiles;
        tiles.dedup();
        let layout = FrameLayout {
            frame_width_px: width as u32,
            frame_height_px: height as u32,
            map_width: width,
            map_height: height,
            frame_px_per_map_px: [1.0; 2],
            map_origin_in_frame_px: [0.0; 2],
            tiles,
        };
        let patch_scores = |tile: usize| PatchScores {
            height: 32,
            width: 32,
            distances: (0..1024)
                .map(|i| 1.0 + ((i * 37 + tile * 11) % 101) as f32 * 0.012)
                .collect(),
            weights: None,
            nearest: None,
        };
        let scored: Vec<_> = (0..layout.tiles.len()).map(|tile| (tile, patch_scores(tile))).collect();
        let recipe = recipe(ImageScore::Max, SuppressionRules::default());
        let product_px = RectPx {
            x: 0,
            y: 0,
            width: width as u32,
            height: height as u32,
        };
        let (mut stitching, mut suppressing) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let start = std::time::Instant::now();
            let (map, patches) = crate::postprocess::stitch(&layout, &scored, 4.0).unwrap();
            stitching.push(start.elapsed());
            let scores = FrameScores {
                nearest: Vec::new(),
                layout: layout.clone(),
                map,
                patches,
                product_px,
            };
            let start = std::time::Instant::now();
            std::hint::black_box(suppress(&scores, &recipe, &calibration(), None));
            suppressing.push(start.elapsed());
        }
        stitching.sort();
        suppressing.sort();
        println!(
            "{name} {width}x{height}: stitch {:?}, suppress {:?}",
            stitching[10], suppressing[10]
        );
    }
}

#[test]
fn a_defect_in_a_region_of_interest_smaller_than_a_patch_is_rejected() {
    for how in [ImageScore::Max, ImageScore::TopMean(3), ImageScore::Reweighted] {
        for (x, y) in [(20, 20), (21, 23), (23, 20), (0, 0), (63, 47)] {
            let mut roi = Mask::filled(HEIGHT, WIDTH, false);
            roi.bits[y * WIDTH + x] = true;
            let rules = SuppressionRules {
                roi: Some(RoiMask::from_mask(&roi)),
                ..SuppressionRules::default()
            };
            let recipe = recipe(how, rules);
            let found = suppress(&scores(|_, _| 3.0), &recipe, &calibration(), None);
            assert!(rejects(&found), "{how:?} at {x},{y}: {found:?}");
            assert_eq!(
                (found.regions.len(), found.regions[0].area_px),
                (1, 4),
                "{how:?} at {x},{y}"
            );
            assert!(!rejects(&suppress(&scores(|_, _| 1.0), &recipe, &calibration(), None)));
        }
    }
}
