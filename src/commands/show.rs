//! `intakt show`: what is in a detector file, for people.

use intakt_operators::detector::{Detector, DetectorDescription};
use intakt_pipelines::{PipelineError, load_detector};

use crate::cli::ShowArgs;
use crate::document::detectors::{ignored, image_score, scorer};
use crate::{Outcome, terminal};

/// Prints the detector.
pub(crate) fn run(args: &ShowArgs) -> Result<Outcome, PipelineError> {
    let detector = load_detector(&args.detector)?;
    terminal::print(&described(&detector))?;
    Ok(Outcome::Passed)
}

fn described(detector: &Detector) -> String {
    let description = DetectorDescription::of(detector);
    let recipe = &description.recipe;
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
    let scale = |name: &str, scale: &intakt_operators::detector::ScoreScale| {
        format!(
            "{name} threshold {:.4}, normal level {:.4}",
            scale.threshold, scale.normal_level
        )
    };
    let by = detector.backbone().computed_by();
    let lines = [
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
        ("scorer", scorer(&recipe.scorer, description.bank_rows)),
        ("image score", image_score(recipe.image_score)),
        ("smoothing", format!("Gaussian, {} px", recipe.blur_sigma_px)),
        ("suppression", ignored(&recipe.suppression)),
        ("calibration", detector.calibration().statement.clone()),
        ("", scale("image", &detector.calibration().image)),
        ("", scale("pixel", &detector.calibration().pixel)),
        (
            "images",
            format!(
                "{} fitted on, {} calibrated on",
                description.n_train, description.n_calibrate
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
    ];
    lines.map(|(name, text)| format!("{name:12} {text}")).join("\n")
}
