//! Backbones: frozen networks that turn an image into named feature maps.

pub mod builtin;

use std::collections::BTreeMap;

use crate::FeatureMap;
use crate::detector::Tensor;
use crate::imaging::Image;

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

    /// Feature maps of one image, one per layer of [`Backbone::layers`] and in that order, each
    /// `(height / stride, width / stride, dims)` rounded up. Any image size works. The result for an image never depends
    /// on other images.
    ///
    /// # Errors
    /// A sentence that says what the network could not do, for example because the image is too small for it.
    fn feature_maps(&self, image: &Image) -> Result<Vec<FeatureMap>, String>;

    /// Its weights by name, for the detector file: shapes and values, all of what [`Backbone::name`] needs to be rebuilt.
    fn tensors(&self) -> BTreeMap<String, Tensor>;
}
