use super::*;

/// A 1×6 frame; `#` marks set pixels of the masks.
fn frame(image_score: f32, truth_anomalous: bool, rejected: bool) -> EvaluatedFrame {
    EvaluatedFrame {
        image_score,
        truth_anomalous,
        rejected,
        map: None,
        truth_mask: None,
        predicted_mask: None,
        frame_px_per_map_px: [2.0, 3.0],
    }
}

fn mask(row: &str) -> Option<Mask> {
    Some(Mask::new(1, row.len(), row.bytes().map(|b| b == b'#').collect()))
}

fn map(scores: [f32; 6]) -> Option<AnomalyMap> {
    Some(AnomalyMap::new(1, 6, scores.to_vec()))
}

fn frames() -> Vec<EvaluatedFrame> {
    vec![
        EvaluatedFrame {
            map: map([0.1, 0.2, 0.9, 0.8, 0.3, 0.7]),
            truth_mask: mask("..##.#"),
            predicted_mask: mask("..##.."),
            ..frame(0.9, true, true)
        },
        EvaluatedFrame {
            map: map([0.4, 0.1, 0.1, 0.1, 0.1, 0.2]),
            predicted_mask: mask("#....."),
            // A normal frame has no defects whatever somebody drew.
            truth_mask: mask("######"),
            ..frame(0.4, false, true)
        },
        EvaluatedFrame {
            map: map([0.1, 0.1, 0.2, 0.1, 0.1, 0.1]),
            ..frame(0.2, false, false)
        },
        // Escaped: its map has no region, and its defect is missed.
        EvaluatedFrame {
            map: map([0.1, 0.3, 0.2, 0.1, 0.1, 0.1]),
            truth_mask: mask(".#...."),
            ..frame(0.3, true, false)
        },
        // Nobody drew its defect, so its pixels and regions say nothing.
        EvaluatedFrame {
            map: map([0.0, 0.0, 0.0, 0.0, 0.0, 9.0]),
            predicted_mask: mask(".....#"),
            ..frame(0.8, true, true)
        },
    ]
}

#[test]
fn every_frame_counts_where_it_says_something() {
    let found = DatasetMetrics::of(frames());
    assert_eq!(found.frames, 5);
    let expected = Confusion {
        tp: 2,
        fp: 1,
        tn: 1,
        fn_: 1,
    };
    assert_eq!(found.confusion, expected);
    assert_eq!(found.image_auroc, Some(5.0 / 6.0));
    assert_eq!(found.image_f1_max, Some(6.0 / 7.0));
    assert_eq!(found.image_f1_max_threshold, Some(f64::from(0.3f32)));
    let expected = RegionHits {
        hits: 1,
        misses: 2,
        false_regions: 1,
    };
    assert_eq!(found.regions, expected);
    assert_eq!(found.region_hit_rate, Some(1.0 / 3.0));
    // From (2 + 3 + 5) / 3 to 2.5 in the map, two frame pixels each.
    let distance = found.mass_center_distance_px.unwrap();
    assert!((distance - 5.0 / 3.0).abs() < 1e-12, "{distance}");
    let pairs: Vec<(AnomalyMap, Mask)> = frames()[..4]
        .iter()
        .map(|frame| {
            let truth = frame.truth_mask.clone().filter(|_| frame.truth_anomalous);
            (frame.map.clone().unwrap(), truth.unwrap_or(Mask::filled(1, 6, false)))
        })
        .collect();
    assert_eq!(found.pixel_auroc, crate::metrics::pixel_auroc(&pairs));
    assert_eq!(found.aupro, crate::metrics::aupro(&pairs, 0.3));
    assert!(
        found.aupro.is_some_and(|area| area > 0.9 && area < 1.0),
        "{:?}",
        found.aupro
    );
}

#[test]
fn the_order_of_frames_changes_no_byte() {
    let json = |frames: &[EvaluatedFrame]| serde_json::to_string(&DatasetMetrics::of(frames)).unwrap();
    let mut turned = frames();
    let expected = json(&turned);
    for _ in 0..turned.len() {
        turned.rotate_left(1);
        assert_eq!(json(&turned), expected);
    }
    turned.reverse();
    assert_eq!(json(&turned), expected);
}

#[test]
fn undefined_metrics_are_null_under_their_stated_keys() {
    let json = serde_json::to_string(&DatasetMetrics::of([frame(0.1, false, false)])).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"image_auroc":null,"image_ap":null,"image_f1_max":null,"image_f1_max_threshold":null,"#,
            r#""pixel_auroc":null,"aupro":null,"precision":null,"recall":null,"f1":null,"accuracy":1.0,"#,
            r#""false_reject_rate":0.0,"escape_rate":null,"region_hit_rate":null,"region_miss_rate":null,"#,
            r#""mass_center_distance_px":null,"frames":1}"#
        )
    );
    assert_eq!(DatasetMetrics::of(Vec::<EvaluatedFrame>::new()).frames, 0);
}

#[test]
fn scores_that_are_not_numbers_do_not_panic() {
    let mut frames = frames();
    for frame in &mut frames {
        frame.image_score = f32::NAN;
        frame.map = map([f32::NAN; 6]);
    }
    let found = DatasetMetrics::of(&frames);
    assert_eq!((found.image_auroc, found.pixel_auroc), (Some(0.5), Some(0.5)));
    assert_eq!((found.image_f1_max, found.image_f1_max_threshold), (None, None));
}
