//! Gets the backbone ready: pretrained weights, or the closed-form fit on the normal images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use intakt_operators::Frame;
use intakt_operators::detector::backbone::builtin::{BuiltinFit, HopMoments};
use intakt_operators::detector::backbone::{Backbone, load_pretrained};
use intakt_operators::detector::{InputRecipe, Tensor};
use intakt_operators::imaging::{FrameLayout, check_input, decode};

use super::FitSettings;
use super::survey::{Surveyed, map_frames};
use crate::datasets::Item;
use crate::{PipelineError, Progress, RunOptions};

/// Training images that the built-in backbone is fitted on: its kernels are a few hundred numbers, which sixty images settle.
const BUILTIN_IMAGES_MAX: usize = 60;

/// Which network to use.
#[derive(Clone)]
pub enum BackboneChoice {
    /// The one that is fitted on the normal images.
    Builtin,
    /// A network whose weights the user gave.
    Pretrained {
        /// torchvision's name.
        name: String,
        /// The file that the weights are from, for people.
        path: PathBuf,
        /// The weights by key, as in the file.
        tensors: Arc<BTreeMap<String, Tensor>>,
    },
}

/// The pretrained backbone that `settings` ask for, or none where it is to be fitted by [`fit_builtin`]. Refuses settings
/// that no backbone takes, before any image is read.
pub(crate) fn pretrained(
    settings: &FitSettings,
    input: &InputRecipe,
) -> Result<Option<Arc<dyn Backbone>>, PipelineError> {
    check_input(input).map_err(PipelineError::Refused)?;
    let layers = settings.layers();
    match &settings.backbone {
        BackboneChoice::Builtin => {
            BuiltinFit::new(&layers).map_err(PipelineError::Refused)?;
            Ok(None)
        }
        BackboneChoice::Pretrained { name, path, tensors } => match load_pretrained(name, &layers, tensors) {
            Ok(network) => Ok(Some(Arc::new(network))),
            Err(cause) => Err(PipelineError::Load {
                what: "weights",
                path: path.clone(),
                cause: format!("as {name}: {cause}"),
            }),
        },
    }
}

/// Fits the built-in backbone.
pub(crate) fn fit_builtin(
    layers: &[String],
    input: &InputRecipe,
    images: &[Surveyed],
    options: &RunOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Arc<dyn Backbone>, PipelineError> {
    // By content, so that the choice does not depend on names; in order of name again, because any order gives the same sums.
    let mut chosen: Vec<&Surveyed> = images.iter().collect();
    chosen.sort_by_key(|image| image.sha256);
    chosen.truncate(BUILTIN_IMAGES_MAX);
    let items: Vec<Item> = chosen.into_iter().map(|image| image.item.clone()).collect();
    let mut fit = BuiltinFit::new(layers).map_err(PipelineError::Refused)?;
    progress.begin("fitting the backbone", (items.len() * fit.passes()) as u64);
    while !fit.is_done() {
        let (present, input) = (Arc::new(fit.clone()), input.clone());
        let sums = map_frames(&items, options, progress, move |frame| {
            moments_of(frame, &present, &input)
        })?;
        let mut sums = sums.into_iter();
        let all = sums.next().unwrap_or_else(|| Err("there are no images".to_owned()));
        let all = sums.fold(all, |all, more| {
            let mut all = all?;
            all.merge(&more?).map(|()| all)
        });
        let moments = all.map_err(|reason| PipelineError::Refused(format!("cannot fit the backbone: {reason}")))?;
        fit.finish_hop(&moments).map_err(PipelineError::Refused)?;
    }
    progress.end();
    Ok(Arc::new(fit.finish()))
}

/// The sums over all tiles of a frame.
fn moments_of(frame: &Frame, fit: &BuiltinFit, input: &InputRecipe) -> Result<HopMoments, String> {
    let bytes = frame.bytes.as_ref().map_err(|reason| reason.to_string())?;
    let image = decode(bytes, input.sixteen_bit_max).map_err(|error| error.to_string())?;
    let layout = FrameLayout::new(input, image.width_px, image.height_px)?;
    let of_tile = |tile_idx: usize| fit.hop_moments(&layout.tile_image(&image, tile_idx, input));
    let mut all = of_tile(0)?;
    for tile_idx in 1..layout.tiles.len() {
        all.merge(&of_tile(tile_idx)?)?;
    }
    Ok(all)
}
