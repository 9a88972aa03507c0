//! What there is to say of a detector, for people.

use intakt_operators::detector::{Detector, ImageRole, ImageScore, ScoreScale, Scorer, ScorerRecipe};

/// Names and sentences, in the order in which a person reads them.
pub(crate) fn facts(detector: &Detector) -> Vec<(&'static str, String)> {
    let recipe = detector.recipe();
    let images = |role| detector.manifest().iter().filter(|entry| entry.role == role).count();
    let input = match (recipe.input.tiling, recipe.input.crop_px) {
        (Some(tiling), _) => format!(
            "tiles of {} px, {} px shared, seen at {} px",
            tiling.tile_px, tiling.overlap_px, recipe.input.size_px
        ),
        (None, Some(crop_px)) => format!("resized to {} px, middle {crop_px} px", recipe.input.size_px),
        (None, None) => format!("resized to {} px", recipe.input.size_px),
    };
    let dims = recipe
        .embedding
        .kept_dims
        .as_ref()
        .map_or("all".to_owned(), |kept| kept.len().to_string());
    let scale = |scale: &ScoreScale| format!("{:.4}, normal level {:.4}", scale.threshold, scale.normal_level);
    let by = detector.backbone().computed_by();
    vec![
        (
            "detector",
            format!("{} (Intakt {})", detector.id(), detector.intakt_version()),
        ),
        (
            "backbone",
            format!(
                "{}, {}, {}, weights {}{}",
                recipe.backbone.name,
                recipe.backbone.layers.join(" + "),
                recipe.backbone.precision,
                &recipe.backbone.hash[..12],
                by.map_or(String::new(), |by| format!(", on this machine by {by}"))
            ),
        ),
        (
            "input",
            format!(
                "{input}; bilinear with antialiasing; 16-bit images: {} becomes white",
                recipe.input.sixteen_bit_max
            ),
        ),
        (
            "dark margin",
            if recipe.input.exclude_dark_margin {
                "found per frame and excluded"
            } else {
                "not looked for"
            }
            .to_owned(),
        ),
        (
            "embedding",
            format!(
                "{dims} dimensions, {0} × {0} neighbourhood",
                recipe.embedding.neighbourhood
            ),
        ),
        ("scorer", scorer(&recipe.scorer, detector)),
        ("image score", image_score(recipe.image_score)),
        ("smoothing", format!("Gaussian, {} px", recipe.blur_sigma_px)),
        ("suppression", suppression(detector)),
        ("calibration", detector.calibration().statement.clone()),
        ("image threshold", scale(&detector.calibration().image)),
        ("pixel threshold", scale(&detector.calibration().pixel)),
        (
            "images",
            format!(
                "{} fitted on, {} calibrated on",
                images(ImageRole::Train),
                images(ImageRole::Calibrate)
            ),
        ),
        (
            "sums",
            if detector.sums().is_some() {
                "kept: an image can be taken out"
            } else {
                "not kept"
            }
            .to_owned(),
        ),
    ]
}

fn scorer(recipe: &ScorerRecipe, detector: &Detector) -> String {
    match recipe {
        ScorerRecipe::Patchcore {
            coreset_ratio,
            n_neighbors,
            ..
        } => format!(
            "PatchCore, coreset {} % ({} patches), {n_neighbors} neighbours re-weight",
            coreset_ratio * 100.0,
            bank_rows(detector)
        ),
        ScorerRecipe::Padim { regularisation, .. } => {
            format!("PaDiM, a Gaussian per position, regularisation {regularisation}")
        }
        ScorerRecipe::Gaussian { regularisation, .. } => {
            format!("one Gaussian for all positions, regularisation {regularisation}")
        }
        ScorerRecipe::GlobalKnn { n_neighbors } => format!(
            "global features, mean distance to {n_neighbors} of {} vectors",
            bank_rows(detector)
        ),
    }
}

fn image_score(score: ImageScore) -> String {
    match score {
        ImageScore::Max => "highest pixel of the anomaly map".to_owned(),
        ImageScore::TopMean(n) => format!("mean of the {n} highest pixels of the anomaly map"),
        ImageScore::Reweighted => "highest patch score, re-weighted (PatchCore eq. 7)".to_owned(),
    }
}

fn suppression(detector: &Detector) -> String {
    let rules = &detector.recipe().suppression;
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
    if stated.is_empty() {
        "none".to_owned()
    } else {
        stated.join(", ")
    }
}

fn bank_rows(detector: &Detector) -> usize {
    match detector.scorer() {
        Scorer::Patchcore(scorer) => scorer.bank_rows(),
        Scorer::GlobalKnn(scorer) => scorer.bank_rows(),
        Scorer::Padim(_) | Scorer::Gaussian(_) => 0,
    }
}
