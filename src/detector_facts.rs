//! What there is to say of a detector, for people.

use intakt_operators::detector::{Detector, DetectorDescription, Provenance, ScoreScale};

use crate::document::detectors::{ignored, image_score, scorer};

/// Names and sentences, in the order in which a person reads them.
pub(crate) fn facts(detector: &Detector) -> Vec<(&'static str, String)> {
    let mut facts = described_facts(&DetectorDescription::of(detector));
    let provenance = detector.provenance().map_or("not kept".to_owned(), provenance);
    facts.push(("provenance", provenance));
    facts
}

/// What of it there is to say without the detector.
pub(crate) fn described_facts(described: &DetectorDescription) -> Vec<(&'static str, String)> {
    let (recipe, calibration) = (&described.recipe, &described.calibration);
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
    let by = &described.computed_by;
    vec![
        (
            "detector",
            format!("{} (Intakt {})", described.id, described.intakt_version),
        ),
        (
            "backbone",
            format!(
                "{}, {}, {}, weights {}{}",
                recipe.backbone.name,
                recipe.backbone.layers.join(" + "),
                recipe.backbone.precision,
                &recipe.backbone.hash[..12],
                by.as_ref()
                    .map_or(String::new(), |by| format!(", on this machine by {by}"))
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
        ("scorer", scorer(&recipe.scorer, described.bank_rows)),
        ("image score", image_score(recipe.image_score)),
        ("smoothing", format!("Gaussian, {} px", recipe.blur_sigma_px)),
        ("suppression", ignored(&recipe.suppression)),
        ("calibration", calibration.statement.clone()),
        ("image threshold", scale(&calibration.image)),
        ("pixel threshold", scale(&calibration.pixel)),
        (
            "images",
            format!(
                "{} fitted on, {} calibrated on",
                described.n_train, described.n_calibrate
            ),
        ),
        (
            "sums",
            if described.keeps_sums {
                "kept: an image can be taken out"
            } else {
                "not kept"
            }
            .to_owned(),
        ),
    ]
}

/// How much of a detector is there to say where its normal patches come from.
fn provenance(provenance: &Provenance) -> String {
    let images = provenance.images();
    let pictures = images.iter().filter(|image| !image.jpeg.is_empty()).count();
    format!(
        "kept: {} rows of the memory bank from {} images, {pictures} of them with pictures of {} kB in all",
        provenance.n_rows(),
        images.len(),
        provenance.picture_bytes().div_ceil(1000)
    )
}
