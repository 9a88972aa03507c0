//! Backbones: frozen networks that turn an image into named feature maps.

pub mod builtin;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use intakt_kernels::network::StepTime;
use sha2::{Digest, Sha256};

use crate::detector::{BackboneRecipe, Precision, Tensor, TensorData};
use crate::imaging::Image;
use crate::{FeatureMap, FeatureMapView};

mod resnet;
mod weights;
pub use resnet::{ActivationRanges, ResNet, from_folded, load_pretrained};
pub use weights::{WEIGHTS_BYTES_MAX, read_weights};

/// The backbone that needs no weights: it is fitted on the normal images.
pub const BUILTIN: &str = "builtin";

/// The backbones that take weights trained on ImageNet, under torchvision's names.
pub const PRETRAINED: [&str; 3] = ["resnet18", "resnet50", "wide_resnet50_2"];

/// One layer a backbone can be tapped at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// torchvision's name of it: `layer1` … `layer4`; `hop1` … for the built-in backbone.
    pub name: String,
    /// Dimensions of its feature vectors.
    pub dims: usize,
    /// Input pixels per position, in both directions.
    pub stride_px: usize,
}

/// A frozen network. The engine that runs it is the implementor's business: nothing else in Intakt knows.
pub trait Backbone: Send + Sync {
    /// torchvision's name of the network (`resnet18`, `wide_resnet50_2`), or `builtin`.
    fn name(&self) -> &str;

    /// The layers it was built with, from shallow to deep. Only these are computed.
    fn layers(&self) -> &[Layer];

    /// What its values are computed in.
    fn precision(&self) -> Precision;

    /// Lends `work` the feature maps of one image, one per layer of [`Backbone::layers`] and in that order, each
    /// `(height / stride, width / stride, dims)` rounded up. Any image size works. The result for an image never depends
    /// on other images.
    ///
    /// # Errors
    /// A sentence that says what the network could not do, for example because the image is too small for it; `work` is not called then.
    fn with_feature_maps(&self, image: &Image, work: &mut dyn FnMut(&[FeatureMapView<'_>])) -> Result<(), String>;

    /// The feature maps of one image, of one's own.
    ///
    /// # Errors
    /// As [`Backbone::with_feature_maps`].
    fn feature_maps(&self, image: &Image) -> Result<Vec<FeatureMap>, String> {
        let mut maps = Vec::new();
        self.with_feature_maps(image, &mut |lent| {
            maps = lent.iter().map(FeatureMapView::to_map).collect()
        })?;
        Ok(maps)
    }

    /// How long every step of it takes on one image with so many threads, `runs` times over after one that does not count; no steps
    /// where it has none to tell.
    ///
    /// # Errors
    /// As [`Backbone::feature_maps`].
    fn profiles(&self, _image: &Image, _threads: usize, runs: usize) -> Result<Vec<Vec<StepTime>>, String> {
        Ok(vec![Vec::new(); runs])
    }

    /// What this machine multiplies it with, for people; none where nothing is chosen.
    fn computed_by(&self) -> Option<&'static str> {
        None
    }

    /// Operations a second that one thread reaches at most: what the steps of a profile can be measured against. None where there
    /// are no steps.
    fn peak_operations(&self) -> Option<f64> {
        None
    }

    /// Its weights by name, for the detector file: shapes and values, all of what [`Backbone::name`] needs to be rebuilt.
    fn tensors(&self) -> BTreeMap<String, Tensor>;
}

/// Rebuilds the backbone of a detector file: `tensors` is what [`Backbone::tensors`] returned.
///
/// # Errors
/// A sentence, if the backbone or a layer is unknown (with those that are), or if a tensor is missing or has another shape
/// than the backbone needs (with its name and both shapes).
pub fn backbone_from_tensors(
    recipe: &BackboneRecipe,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Arc<dyn Backbone>, String> {
    let BackboneRecipe {
        name,
        layers,
        precision,
        ..
    } = recipe;
    match name.as_str() {
        name if PRETRAINED.contains(&name) => Ok(Arc::new(from_folded(name, layers, *precision, tensors)?)),
        BUILTIN => Ok(Arc::new(builtin::Builtin::from_folded(layers, tensors)?)),
        _ => Err(format!(
            "unknown backbone `{name}`: known are {BUILTIN}, {}",
            PRETRAINED.join(", ")
        )),
    }
}

/// SHA-256 of a backbone's weights, hexadecimal: of every tensor in the order of their names, the length of the name and the
/// name, the number of axes and their extents, and the values; numbers little-endian, lengths as `u64`.
pub fn hash(backbone: &dyn Backbone) -> String {
    let mut sha = Sha256::new();
    for (name, tensor) in backbone.tensors() {
        sha.update((name.len() as u64).to_le_bytes());
        sha.update(&name);
        sha.update((tensor.shape.len() as u64).to_le_bytes());
        tensor
            .shape
            .iter()
            .for_each(|&extent| sha.update((extent as u64).to_le_bytes()));
        match tensor.data {
            TensorData::F32(values) => values.iter().for_each(|value| sha.update(value.to_le_bytes())),
            TensorData::I64(values) => values.iter().for_each(|value| sha.update(value.to_le_bytes())),
            TensorData::U8(values) => sha.update(values),
        }
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
