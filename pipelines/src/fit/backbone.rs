//! Gets the backbone ready: pretrained weights, or the closed-form fit on the normal images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use intakt_operators::Frame;
use intakt_operators::detector::backbone::builtin::{BuiltinFit, HopMoments};
use intakt_operators::detector::backbone::{ActivationRanges, Backbone, ResNet, load_pretrained};
use intakt_operators::detector::{InputRecipe, Tensor};
use intakt_operators::imaging::{FrameLayout, Image, check_input, decode};

use super::FitSettings;
use super::survey::{Surveyed, map_frames};
use crate::datasets::Item;
use crate::{PipelineError, Progress, RunOptions};

/// Training images that the built-in backbone is fitted on: its kernels are a few hundred numbers, which sixty images settle.
const BUILTIN_IMAGES_MAX: usize = 60;

/// Training images whose activations say what has to fit into 8 bits: with the headroom, more change nothing.
const RANGED_IMAGES_MAX: usize = 32;

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
pub(crate) fn pretrained(settings: &FitSettings, input: &InputRecipe) -> Result<Option<ResNet>, PipelineError> {
    check_input(input).map_err(PipelineError::Refused)?;
    let layers = settings.layers();
    match &settings.backbone {
        BackboneChoice::Builtin => {
            BuiltinFit::new(&layers).map_err(PipelineError::Refused)?;
            Ok(None)
        }
        BackboneChoice::Pretrained { name, path, tensors } => match load_pretrained(name, &layers, tensors) {
            Ok(network) => Ok(Some(network)),
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
    let items = some(images, BUILTIN_IMAGES_MAX);
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

/// So many images, chosen by content, so that the choice does not depend on names.
fn some(images: &[Surveyed], n: usize) -> Vec<Item> {
    let mut chosen: Vec<&Surveyed> = images.iter().collect();
    chosen.sort_by_key(|image| image.sha256);
    chosen.into_iter().take(n).map(|image| image.item.clone()).collect()
}

/// The network in 8-bit integers, which the activations of normal images fit.
pub(crate) fn in_int8(
    network: ResNet,
    input: &InputRecipe,
    images: &[Surveyed],
    options: &RunOptions,
    progress: &Arc<dyn Progress>,
) -> Result<ResNet, PipelineError> {
    let items = some(images, RANGED_IMAGES_MAX);
    progress.begin("ranging activations", items.len() as u64);
    let network = Arc::new(network);
    let (observing, input) = (network.clone(), input.clone());
    let observed = map_frames(&items, options, progress, move |frame| {
        ranges_of(frame, &observing, &input)
    })?;
    progress.end();
    let observed: Result<Vec<ActivationRanges>, String> = observed.into_iter().collect();
    let refuse = |reason: String| PipelineError::Refused(format!("cannot range the activations: {reason}"));
    let merged = observed.map_err(refuse)?.into_iter().reduce(|mut all, more| {
        all.merge(&more);
        all
    });
    let merged = merged.ok_or_else(|| refuse("there are no images".to_owned()))?;
    network.to_int8(&merged).map_err(PipelineError::Refused)
}

/// The largest activations on all tiles of a frame.
fn ranges_of(frame: &Frame, network: &ResNet, input: &InputRecipe) -> Result<ActivationRanges, String> {
    let mut all: Option<ActivationRanges> = None;
    each_tile(frame, input, |tile| {
        let observed = network.observe(tile)?;
        match &mut all {
            None => all = Some(observed),
            Some(all) => all.merge(&observed),
        }
        Ok(())
    })?;
    all.ok_or_else(|| "the frame has no tile".to_owned())
}

/// The sums over all tiles of a frame.
fn moments_of(frame: &Frame, fit: &BuiltinFit, input: &InputRecipe) -> Result<HopMoments, String> {
    let mut all: Option<HopMoments> = None;
    each_tile(frame, input, |tile| {
        let moments = fit.hop_moments(tile)?;
        match &mut all {
            None => all = Some(moments),
            Some(all) => all.merge(&moments)?,
        }
        Ok(())
    })?;
    all.ok_or_else(|| "the frame has no tile".to_owned())
}

/// Looks at the tiles of a frame as the network sees them.
fn each_tile(
    frame: &Frame,
    input: &InputRecipe,
    mut look: impl FnMut(&Image) -> Result<(), String>,
) -> Result<(), String> {
    let bytes = frame.bytes.as_ref().map_err(|reason| reason.to_string())?;
    let image = decode(bytes, input.sixteen_bit_max).map_err(|error| error.to_string())?;
    let layout = FrameLayout::new(input, image.width_px, image.height_px)?;
    (0..layout.tiles.len()).try_for_each(|tile_idx| look(&layout.tile_image(&image, tile_idx, input)))
}
