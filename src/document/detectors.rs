//! What a detector is, in words: for a report, and where they are the same for [`facts`](crate::detector_facts::facts).

use intakt_operators::detector::{CalibrationMethod, DetectorDescription, ImageScore, ScorerRecipe, SuppressionRules};

use super::text::percent;

/// A name and what is to be said of it, line by line.
pub(super) type Line = (&'static str, String);

/// The recipe and the hashes.
pub(super) fn lines(detector: &DetectorDescription) -> Vec<Line> {
    let recipe = &detector.recipe;
    let calibration = &detector.calibration;
    vec![
        (
            "Detector",
            format!(
                "{}: the SHA-256 of its file, with what it was told to ignore, begins so; fitted by Intakt {}",
                detector.id, detector.intakt_version
            ),
        ),
        ("Scorer", scorer(&recipe.scorer, detector.bank_rows)),
        (
            "Backbone",
            format!(
                "{}, layers {}, in {}",
                recipe.backbone.name,
                recipe.backbone.layers.join(", "),
                recipe.backbone.precision
            ),
        ),
        ("Weights", format!("SHA-256 {}", recipe.backbone.hash)),
        ("Input", input(detector)),
        ("Image score", image_score(recipe.image_score)),
        ("Ignored", all_ignored(detector)),
        (
            "Fitted on",
            format!(
                "{} images; {} more were held out for the threshold",
                detector.n_train, detector.n_calibrate
            ),
        ),
        ("Training list", format!("SHA-256 {}", detector.manifest_sha256)),
        (
            "Threshold",
            format!(
                "{:.4} in the detector's own unit, which is 0.5 of the calibrated score; a quite normal frame has {:.4}",
                calibration.image.threshold, calibration.image.normal_level
            ),
        ),
        ("Calibration", calibration.statement.clone()),
    ]
}

/// What the calibration promises, in one sentence.
pub(super) fn guarantee(detector: &DetectorDescription) -> String {
    let calibration = &detector.calibration;
    match (calibration.method, calibration.guaranteed_false_reject_rate) {
        (_, Some(rate)) => format!(
            "Of good parts whose images are like the {} held-out ones, at most {} are rejected on average, whatever the \
             distribution of their scores, with what was stated at the fit to be ignored. Nothing is promised about defects, nor for a \
             time when light or parts have changed.",
            calibration.n_frames,
            percent(Some(rate))
        ),
        (CalibrationMethod::PeaksOverThreshold { false_reject_rate }, None) => format!(
            "The threshold is an estimate from the highest scores of {} held-out frames: about {} of good parts like these would be \
             rejected. It is no guarantee.",
            calibration.n_frames,
            percent(Some(false_reject_rate))
        ),
        (CalibrationMethod::F1Max, None) => format!(
            "The threshold separates {} labelled frames best. It guarantees nothing about other frames.",
            calibration.n_frames
        ),
        (CalibrationMethod::Fixed { .. }, None) => {
            "Somebody chose the threshold. It guarantees nothing about how many good parts are rejected.".to_owned()
        }
        (CalibrationMethod::Conformal { .. }, None) => "Nothing is guaranteed.".to_owned(),
    }
}

/// The scorer.
pub(crate) fn scorer(recipe: &ScorerRecipe, bank_rows: Option<usize>) -> String {
    let rows = bank_rows.unwrap_or(0);
    match recipe {
        ScorerRecipe::Patchcore {
            coreset_ratio,
            n_neighbors,
            ..
        } => format!(
            "PatchCore, coreset {} % ({rows} patches), {n_neighbors} neighbours re-weight",
            coreset_ratio * 100.0,
        ),
        ScorerRecipe::Padim { regularisation, .. } => {
            format!("PaDiM, a Gaussian per position, regularisation {regularisation}")
        }
        ScorerRecipe::Gaussian { regularisation, .. } => {
            format!("one Gaussian for all positions, regularisation {regularisation}")
        }
        ScorerRecipe::GlobalKnn { n_neighbors } => {
            format!("global features, mean distance to {n_neighbors} of {rows} vectors")
        }
    }
}

fn input(detector: &DetectorDescription) -> String {
    let input = &detector.recipe.input;
    match (input.tiling, input.crop_px) {
        (Some(tiling), _) => format!(
            "overlapping tiles of {} px, {} px shared, seen at {} px",
            tiling.tile_px, tiling.overlap_px, input.size_px
        ),
        (None, Some(crop_px)) => format!("resized to {} px, middle {crop_px} px", input.size_px),
        (None, None) => format!("resized to {0} × {0} px", input.size_px),
    }
}

/// How the scores of a frame become one.
pub(crate) fn image_score(score: ImageScore) -> String {
    match score {
        ImageScore::Max => "highest pixel of the anomaly map".to_owned(),
        ImageScore::TopMean(n) => format!("mean of the {n} highest pixels of the anomaly map"),
        ImageScore::Reweighted => "highest patch score, re-weighted (PatchCore eq. 7)".to_owned(),
    }
}

/// What does not count, the margin that is found in each frame included.
pub(super) fn all_ignored(detector: &DetectorDescription) -> String {
    let rules = ignored(&detector.recipe.suppression);
    match (detector.recipe.input.exclude_dark_margin, rules.as_str()) {
        (false, _) => rules,
        (true, "none") => "the dark margin, which is found per frame".to_owned(),
        (true, _) => format!("{rules}, the dark margin, which is found per frame"),
    }
}

/// What does not count by the rules.
pub(crate) fn ignored(rules: &SuppressionRules) -> String {
    let stated = [
        rules
            .roi
            .as_ref()
            .map(|roi| format!("region of interest {}×{}", roi.width_px, roi.height_px)),
        (rules.border_px > 0).then(|| format!("border {} px", rules.border_px)),
        (rules.min_area_px > 0).then(|| format!("regions below {} px", rules.min_area_px)),
        rules.min_peak.map(|peak| format!("peaks below {peak}")),
        rules.hysteresis_low.map(|low| format!("regions extend down to {low}")),
        rules.static_artefacts.then(|| "static artefacts".to_owned()),
    ];
    let stated: Vec<String> = stated.into_iter().flatten().collect();
    match stated.is_empty() {
        true => "none".to_owned(),
        false => stated.join(", "),
    }
}
