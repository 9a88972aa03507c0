//! The numbers that scikit-learn, scipy and the published definitions give: `tests/parity/metrics.py` printed them.

use serde::Deserialize;

use super::*;
use crate::postprocess::components::components;
use crate::{AnomalyMap, Mask};

#[derive(Deserialize)]
struct Cases {
    components: Vec<ComponentsCase>,
    scores: Vec<ScoresCase>,
    pixels: Vec<PixelsCase>,
    regions: Vec<RegionsCase>,
}

#[derive(Deserialize)]
struct ComponentsCase {
    name: String,
    mask: Vec<String>,
    labels: Vec<u32>,
    count: u32,
}

#[derive(Deserialize)]
struct ScoresCase {
    name: String,
    scores: Vec<f32>,
    /// One digit per score, 1 for anomalous.
    labels: String,
    auroc: Option<f64>,
    average_precision: Option<f64>,
    f1_max: Option<BestCase>,
    verdicts: Vec<VerdictsCase>,
}

#[derive(Deserialize)]
struct BestCase {
    f1: f64,
    threshold: f32,
    precision: f64,
    recall: f64,
}

#[derive(Deserialize)]
struct VerdictsCase {
    threshold: f32,
    confusion: [u64; 4],
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
    accuracy: Option<f64>,
}

#[derive(Deserialize)]
struct PixelsCase {
    name: String,
    maps: Vec<Vec<Vec<f32>>>,
    masks: Vec<Vec<String>>,
    pixel_auroc: Option<f64>,
    aupro: Option<f64>,
    aupro_005: Option<f64>,
}

#[derive(Deserialize)]
struct RegionsCase {
    name: String,
    truth: Vec<String>,
    predicted: Vec<String>,
    hits: u64,
    misses: u64,
    false_regions: u64,
    scale: [f64; 2],
    truth_center: Option<[f64; 2]>,
    distance: Option<f64>,
}

fn cases() -> Cases {
    let json = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/parity/metrics_cases.json"
    ));
    serde_json::from_str(json).unwrap()
}

fn mask(rows: &[String]) -> Mask {
    Mask::new(
        rows.len(),
        rows[0].len(),
        rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect(),
    )
}

#[track_caller]
fn assert_close(found: Option<f64>, expected: Option<f64>, what: &str) {
    match (found, expected) {
        (Some(a), Some(b)) => assert!((a - b).abs() < 1e-12, "{what}: {a} is not {b}"),
        (a, b) => assert_eq!(a, b, "{what}"),
    }
}

#[test]
fn components_match_scipy() {
    let cases = cases().components;
    assert!(cases.len() >= 4);
    for case in cases {
        let found = components(&mask(&case.mask));
        let labels = found.labels(case.labels.len());
        assert_eq!((labels, found.count), (case.labels, case.count), "{}", case.name);
    }
}

#[test]
fn score_metrics_match_scikit_learn() {
    let cases = cases().scores;
    assert!(cases.len() >= 8);
    for case in cases {
        let (name, scores) = (&case.name, &case.scores);
        let labels: Vec<bool> = case.labels.bytes().map(|digit| digit == b'1').collect();
        assert_close(auroc(scores, &labels), case.auroc, &format!("auroc of {name}"));
        assert_close(
            average_precision(scores, &labels),
            case.average_precision,
            &format!("ap of {name}"),
        );
        let best = f1_max(scores, &labels);
        assert_eq!(
            best.map(|best| best.threshold),
            case.f1_max.as_ref().map(|best| best.threshold),
            "{name}"
        );
        if let (Some(best), Some(expected)) = (best, case.f1_max) {
            assert_close(Some(best.f1), Some(expected.f1), &format!("f1 max of {name}"));
            assert_close(
                Some(best.precision),
                Some(expected.precision),
                &format!("precision of {name}"),
            );
            assert_close(Some(best.recall), Some(expected.recall), &format!("recall of {name}"));
        }
        for expected in case.verdicts {
            let what = format!("{name} above {}", expected.threshold);
            let counts = Confusion::at(scores, &labels, expected.threshold);
            assert_eq!(
                [counts.tp, counts.fp, counts.tn, counts.fn_],
                expected.confusion,
                "{what}"
            );
            assert_close(counts.precision(), expected.precision, &format!("precision of {what}"));
            assert_close(counts.recall(), expected.recall, &format!("recall of {what}"));
            assert_close(counts.f1(), expected.f1, &format!("f1 of {what}"));
            assert_close(counts.accuracy(), expected.accuracy, &format!("accuracy of {what}"));
        }
    }
}

#[test]
fn pixel_metrics_match_scikit_learn_and_the_published_definition() {
    let cases = cases().pixels;
    assert!(cases.len() >= 9);
    for case in cases {
        let maps = case
            .maps
            .iter()
            .map(|rows| AnomalyMap::new(rows.len(), rows[0].len(), rows.concat()));
        let frames: Vec<(AnomalyMap, Mask)> = maps.zip(case.masks.iter().map(|rows| mask(rows))).collect();
        assert_close(
            pixel_auroc(&frames),
            case.pixel_auroc,
            &format!("pixel auroc of {}", case.name),
        );
        assert_close(aupro(&frames, 0.3), case.aupro, &format!("aupro of {}", case.name));
        assert_close(
            aupro(&frames, 0.05),
            case.aupro_005,
            &format!("aupro at 0.05 of {}", case.name),
        );
    }
}

#[test]
fn region_metrics_match_scipy() {
    let cases = cases().regions;
    assert!(cases.len() >= 4);
    for case in cases {
        let (truth, predicted) = (mask(&case.truth), mask(&case.predicted));
        let found = region_hits(&truth, &predicted);
        let counts = (found.hits, found.misses, found.false_regions);
        assert_eq!(counts, (case.hits, case.misses, case.false_regions), "{}", case.name);
        let centers = mass_center(&truth).zip(mass_center(&predicted));
        let found = centers.map(|(truth, predicted)| distance(truth, predicted, case.scale));
        assert_close(found, case.distance, &format!("distance of {}", case.name));
        for axis in 0..2 {
            let found = mass_center(&truth).map(|center| center[axis]);
            assert_close(found, case.truth_center.map(|center| center[axis]), &case.name);
        }
    }
}
