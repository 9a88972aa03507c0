//! Fits a detector on normal images and calibrates it on normal images that it was not fitted on.

mod backbone;
mod calibrate;
mod global_knn;
mod patchcore;
mod provenance;
mod recipe;
mod sums;
mod survey;
mod training;
mod without;

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::Truth;
use intakt_operators::detector::backbone::Backbone;
use intakt_operators::detector::{
    CalibrationMethod, Detector, DetectorParts, ImageRole, Precision, Provenance, Scorer, ScorerRecipe, Tensor,
};

pub use backbone::BackboneChoice;
pub use recipe::{DetectorKind, FitSettings};
pub use survey::UNREADABLE_SHARE_MAX;
pub use without::fit_without;

use crate::datasets::{Dataset, Item, Need, Split};
use crate::{PipelineError, Progress, RunOptions};
use provenance::RowSource;
use survey::{Surveyed, survey};
use training::Training;

/// Fits a detector on `dataset`: embeds the training images, fits the scorer, and calibrates on the frames of the
/// `calibrate` split, or where there is none on every fifth training image or so, chosen by content and held out. The same
/// images give the same detector, bit for bit, for any number of workers and threads.
///
/// # Errors
/// The dataset or the settings are refused, or more than [`UNREADABLE_SHARE_MAX`] of the images are unreadable.
pub fn fit(
    dataset: &Dataset,
    settings: &FitSettings,
    options: &RunOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Detector, PipelineError> {
    settings.check().map_err(PipelineError::Refused)?;
    dataset.check(Need::Fit)?;
    let pretrained = backbone::pretrained(settings, &settings.input(u16::MAX, dataset.layout))?;
    let kept_back = dataset
        .split(Split::Test)
        .filter(|item| item.truth == Truth::Normal)
        .count();
    if kept_back > 0 {
        progress.note(&format!(
            "{kept_back} normal images are left to `evaluate`: the detector never sees them"
        ));
    }
    let (fitted_on, held_out) = select(dataset, options, progress)?;
    refuse_too_few(&fitted_on, &held_out)?;
    let sixteen_bit_max = survey::sixteen_bit_max(fitted_on.iter().chain(&held_out));
    let input = settings.input(sixteen_bit_max, dataset.layout);
    let backbone: Arc<dyn Backbone> = match pretrained {
        Some(network) if settings.precision() == Precision::Int8 => {
            Arc::new(backbone::in_int8(network, &input, &fitted_on, options, progress)?)
        }
        Some(network) if settings.precision() == Precision::Bf16 => Arc::new(network.to_bf16()),
        Some(network) => Arc::new(network),
        None => backbone::fit_builtin(&settings.layers(), &input, &fitted_on, options, progress)?,
    };
    if let Some(by) = backbone.computed_by() {
        progress.note(&format!(
            "{} computes in {}, on this machine by {by}",
            backbone.name(),
            backbone.precision()
        ));
    }
    let recipe = settings
        .recipe(input, backbone.as_ref())
        .map_err(PipelineError::Refused)?;
    let training = Training {
        recipe: Arc::new(recipe),
        backbone,
        options,
        progress,
    };
    let mut fitted = fit_scorer(&training, &fitted_on)?;
    fitted.sums = fitted.sums.filter(|_| settings.keep_sums);
    finish(&training, fitted, &fitted_on, &held_out, settings.calibration)
}

/// The images to fit on and those to calibrate on.
fn select(
    dataset: &Dataset,
    options: &RunOptions,
    progress: &Arc<dyn Progress>,
) -> Result<(Vec<Surveyed>, Vec<Surveyed>), PipelineError> {
    let of = |split: Split| -> Vec<Item> {
        dataset
            .items
            .iter()
            .filter(|item| item.split == split)
            .cloned()
            .collect()
    };
    let (train, calibrate) = (of(Split::Train), of(Split::Calibrate));
    let train = survey(train, options, progress)?;
    if calibrate.is_empty() {
        return Ok(survey::hold_out(train));
    }
    Ok((train, survey(calibrate, options, progress)?))
}

/// Two images give a spread, and one more a threshold.
fn refuse_too_few(fitted_on: &[Surveyed], held_out: &[Surveyed]) -> Result<(), PipelineError> {
    if fitted_on.len() >= 2 && !held_out.is_empty() {
        return Ok(());
    }
    Err(PipelineError::Refused(format!(
        "cannot fit on {} images with {} held out to calibrate on: it takes 2 and 1\n  hint: give at least 3 normal \
         images; some hundred make a good detector",
        fitted_on.len(),
        held_out.len()
    )))
}

/// A scorer, and what is known of how it came about.
struct Fitted {
    scorer: Scorer,
    sums: Option<BTreeMap<String, Tensor>>,
    provenance: Option<Provenance>,
}

fn fit_scorer(training: &Training<'_>, images: &[Surveyed]) -> Result<Fitted, PipelineError> {
    match training.recipe.scorer {
        ScorerRecipe::Patchcore { .. } => with_provenance(training, images, patchcore::fit(training, images)?),
        ScorerRecipe::GlobalKnn { .. } => with_provenance(training, images, global_knn::fit(training, images)?),
        ScorerRecipe::Padim { .. } | ScorerRecipe::Gaussian { .. } => {
            let sums = sums::accumulate(training, images)?;
            Ok(Fitted {
                scorer: sums::fit(training, &sums)?,
                sums: Some(sums.tensors()),
                provenance: None,
            })
        }
    }
}

fn with_provenance(
    training: &Training<'_>,
    images: &[Surveyed],
    (scorer, sources): (Scorer, Vec<RowSource>),
) -> Result<Fitted, PipelineError> {
    Ok(Fitted {
        scorer,
        sums: None,
        provenance: Some(provenance::keep(training, images, &sources)?),
    })
}

/// Calibrates, and puts the detector together.
fn finish(
    training: &Training<'_>,
    fitted: Fitted,
    fitted_on: &[Surveyed],
    held_out: &[Surveyed],
    method: CalibrationMethod,
) -> Result<Detector, PipelineError> {
    let (scorer, calibration) = calibrate::calibrate(training, fitted.scorer, held_out, method)?;
    let entries = |images: &[Surveyed], role: ImageRole| -> Vec<_> {
        images.iter().map(|image| image.manifest_entry(role)).collect()
    };
    let mut manifest = entries(fitted_on, ImageRole::Train);
    manifest.extend(entries(held_out, ImageRole::Calibrate));
    let parts = DetectorParts {
        recipe: training.recipe.as_ref().clone(),
        backbone: training.backbone.clone(),
        scorer,
        calibration,
        manifest,
        sums: fitted.sums,
        provenance: fitted.provenance.map(Arc::new),
        intakt_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Detector::new(parts).map_err(PipelineError::Refused)
}
