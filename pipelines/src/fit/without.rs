//! Takes one image out of a detector again.

use std::path::Path;
use std::sync::Arc;

use intakt_operators::FeatureMap;
use intakt_operators::dataflow::Tile;
use intakt_operators::detector::{Detector, ImageRole, PadimSums};
use timely::dataflow::operators::vec::Map;

use super::Fitted;
use super::sums::{Sums, fit};
use super::survey::{Surveyed, hold_out, sixteen_bit_max, survey};
use super::training::Training;
use crate::datasets::{Dataset, Item, Split};
use crate::{PipelineError, Progress, RunOptions};

/// Takes the image called `name` out of `detector`, which keeps PaDiM's sums: the result is bit for bit the detector that never
/// saw it. `dataset` is the one it was fitted on; the image and the held-out frames are read from it again, to subtract the
/// one and to calibrate on the others.
///
/// # Errors
/// The detector keeps no sums, the image is not in it, or a file is no longer what it was.
pub fn fit_without(
    detector: Detector,
    dataset: &Dataset,
    name: &str,
    options: &RunOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Detector, PipelineError> {
    let refuse = |sentence: String| PipelineError::Refused(format!("cannot take \"{name}\" out: {sentence}"));
    let item = item_of(dataset, name);
    let name = item.map_or(name, |item| item.name.as_str());
    let Some(kept) = detector.sums() else {
        return Err(refuse(
            "the detector keeps no sums\n  hint: fit it with `--keep-sums`".to_owned(),
        ));
    };
    let Some(entry) = detector.manifest().iter().find(|entry| entry.name == name) else {
        return Err(refuse(match item.map(|item| item.split) {
            None => {
                "the dataset has no such image\n  hint: give its path, or its name relative to the dataset".to_owned()
            }
            Some(Split::Test) => "the detector was not fitted on it: it is left to `evaluate`".to_owned(),
            Some(_) => "the detector was not fitted on it: it came later, or was taken out before".to_owned(),
        }));
    };
    let role = entry.role;
    let images = reread(&detector, dataset, options, progress)?;
    let (gone, left): (Vec<Surveyed>, Vec<Surveyed>) = images.into_iter().partition(|image| image.item.name == name);
    let (fitted_on, held_out) = same_division(&detector, left).map_err(refuse)?;
    let mut recipe = detector.recipe().clone();
    recipe.input.sixteen_bit_max = sixteen_bit_max(fitted_on.iter().chain(&held_out));
    if recipe.input.sixteen_bit_max != detector.recipe().input.sixteen_bit_max {
        return Err(refuse(
            "the range of 16-bit values changes without it, and all images with it\n  hint: refit".to_owned(),
        ));
    }
    let training = Training {
        recipe: Arc::new(recipe),
        backbone: detector.backbone().clone(),
        options,
        progress,
    };
    let n_blocks = options.resources.pool.threads();
    let mut sums = PadimSums::from_tensors(kept, n_blocks).map_err(refuse)?;
    if role == ImageRole::Train {
        for embedding in embeddings(&training, &gone)? {
            sums.subtract(&embedding).map_err(refuse)?;
        }
    }
    let sums = Sums::Padim(sums);
    let fitted = Fitted {
        scorer: fit(&training, &sums)?,
        sums: Some(sums.tensors()),
        provenance: None,
    };
    super::finish(&training, fitted, &fitted_on, &held_out, detector.calibration().method)
}

/// The image of this name, or at this path.
fn item_of<'a>(dataset: &'a Dataset, typed: &str) -> Option<&'a Item> {
    let named = dataset.items.iter().find(|item| item.name == typed);
    let at_path = || {
        let path = Path::new(typed).canonicalize().ok()?;
        dataset
            .items
            .iter()
            .find(|item| item.path.canonicalize().is_ok_and(|item| item == path))
    };
    named.or_else(at_path)
}

/// The detector's images as they are now; each must be the file it was.
fn reread(
    detector: &Detector,
    dataset: &Dataset,
    options: &RunOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Surveyed>, PipelineError> {
    let in_detector = |item: &&Item| detector.manifest().iter().any(|entry| entry.name == item.name);
    let items: Vec<Item> = dataset.items.iter().filter(in_detector).cloned().collect();
    let images = survey(items, options, progress)?;
    for entry in detector.manifest() {
        let now = images.iter().find(|image| image.item.name == entry.name);
        if now.is_none_or(|image| image.manifest_entry(entry.role) != *entry) {
            return Err(PipelineError::Refused(format!(
                "cannot work from \"{}\": image \"{}\" is missing or no longer what the detector was fitted on\n  hint: refit",
                dataset.root.display(),
                entry.name
            )));
        }
    }
    Ok(images)
}

/// Divides what is left as the detector did, provided that a fit on it would do the same.
fn same_division(detector: &Detector, left: Vec<Surveyed>) -> Result<(Vec<Surveyed>, Vec<Surveyed>), String> {
    let role_of = |image: &Surveyed| {
        detector
            .manifest()
            .iter()
            .find(|entry| entry.name == image.item.name)
            .map(|entry| entry.role)
    };
    let by_manifest = |images: Vec<Surveyed>| -> (Vec<Surveyed>, Vec<Surveyed>) {
        images
            .into_iter()
            .partition(|image| role_of(image) == Some(ImageRole::Train))
    };
    let stated = left.iter().any(|image| image.item.split == Split::Calibrate);
    let (fitted_on, held_out) = by_manifest(left.clone());
    if !stated {
        let names =
            |images: &[Surveyed]| -> Vec<String> { images.iter().map(|image| image.item.name.clone()).collect() };
        if names(&hold_out(left).1) != names(&held_out) {
            return Err("without it other images would be held out\n  hint: refit".to_owned());
        }
    }
    Ok((fitted_on, held_out))
}

fn embeddings(training: &Training<'_>, images: &[Surveyed]) -> Result<Vec<FeatureMap>, PipelineError> {
    let collected = Arc::new(std::sync::Mutex::new(Vec::new()));
    let filling = collected.clone();
    training.each_tile(images, move |tiles| {
        let filling = filling.clone();
        tiles.flat_map(move |(_, embedding): (Tile, FeatureMap)| {
            filling
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(embedding);
            None
        })
    })?;
    let collected = std::mem::take(&mut *collected.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    Ok(collected)
}
