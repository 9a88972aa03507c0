//! The built-in backbone: no download, fitted in closed form on the normal images themselves.
//!
//! A chain of hops. Each takes the k × k neighbourhoods of its input, keeps their mean and their leading principal
//! components as the dimensions of its output, and hands the next hop the maximum of every 2 × 2 square: a successive
//! subspace (Saab) network, Kuo et al. 2019, "Interpretable convolutional neural networks via feedforward design"; for
//! anomaly detection Zhang et al. 2021, "AnomalyHop" (arXiv 2105.03797). Every hop is tapped on the same grid, one position
//! per 8 × 8 pixels, each layer scaled to a mean variance of 1.

mod fit;
mod hop;
mod moments;
mod pooling;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{Backbone, Layer};
use crate::detector::{Precision, Tensor};
use crate::imaging::Image;
use crate::{FeatureMap, FeatureMapView};
pub use fit::BuiltinFit;
pub use hop::HopSpec;
use hop::{Hop, halve, pixels};
pub use moments::HopMoments;
use pooling::{Pooling, pool_squares};

/// The hops of the network. All keep 24 dimensions, so that a Gaussian over the four (96) needs no random selection and no
/// hop outweighs another. With 24, 32, 40 and 48, MVTec AD bottle has the same image AUROC and a pixel AUROC 0.001 lower.
pub const HOPS: [HopSpec; 4] = [
    HopSpec { kernel: 5, kept: 24 },
    HopSpec { kernel: 3, kept: 24 },
    HopSpec { kernel: 3, kept: 24 },
    HopSpec { kernel: 3, kept: 24 },
];

/// How each of [`HOPS`] is pooled for its tap: the first is fine texture, of which the energy counts; the second sees
/// small defects, which a mean would dilute; the others are coarse already.
const POOLINGS: [Pooling; HOPS.len()] = [Pooling::Energy, Pooling::Maximum, Pooling::Mean, Pooling::Mean];

/// Input pixels per position of every tap. Hop 4 has this stride by itself.
const TAP_STRIDE_PX: usize = 8;

/// The fitted network. [`BuiltinFit`] makes it; [`Builtin::from_folded`] reads it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Builtin {
    hops: Vec<Hop>,
    taps: Vec<Tap>,
    layers: Vec<Layer>,
}

/// A hop whose output is a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tap {
    /// Index of the hop.
    hop: usize,
    /// Brings the mean variance of the pooled output to 1 on the training images.
    scale: f32,
}

impl Builtin {
    /// The network of these hops, up to the deepest tap.
    fn new(hops: Vec<Hop>, taps: Vec<Tap>) -> Self {
        let layers = taps.iter().map(|tap| Layer {
            name: layer_name(tap.hop),
            dims: hops[tap.hop].spec.kept,
            stride_px: TAP_STRIDE_PX,
        });
        Self {
            layers: layers.collect(),
            hops,
            taps,
        }
    }
}

impl Backbone for Builtin {
    fn name(&self) -> &str {
        "builtin"
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn with_feature_maps(&self, image: &Image, work: &mut dyn FnMut(&[FeatureMapView<'_>])) -> Result<(), String> {
        checked(image)?;
        let mut maps = Vec::with_capacity(self.taps.len());
        let mut taps = self.taps.iter().peekable();
        let mut input = pixels(image);
        for (index, hop) in self.hops.iter().enumerate() {
            let output = hop.apply(&input);
            if let Some(tap) = taps.next_if(|tap| tap.hop == index) {
                let mut map = pool(&output, index);
                map.data.iter_mut().for_each(|value| *value *= tap.scale);
                maps.push(map);
            }
            if index + 1 < self.hops.len() {
                input = halve(&output);
            }
        }
        work(&maps.iter().map(FeatureMap::view).collect::<Vec<_>>());
        Ok(())
    }

    fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.to_tensors()
    }
}

/// The output of a hop on the grid of the taps.
fn pool(output: &FeatureMap, hop: usize) -> FeatureMap {
    pool_squares(output, TAP_STRIDE_PX >> hop, POOLINGS[hop])
}

fn layer_name(hop: usize) -> String {
    format!("hop{}", hop + 1)
}

/// The hops that `layers` names, of `count` that there are.
fn layer_indices(layers: &[String], count: usize) -> Result<Vec<usize>, String> {
    let known = || (0..count).map(layer_name).collect::<Vec<_>>().join(", ");
    if layers.is_empty() {
        return Err(format!("backbone `builtin` needs a layer: known are {}", known()));
    }
    let mut indices = Vec::with_capacity(layers.len());
    for layer in layers {
        let Some(index) = (0..count).find(|&hop| layer_name(hop) == *layer) else {
            return Err(format!(
                "backbone `builtin` has no layer `{layer}`: known are {}",
                known()
            ));
        };
        if indices.last().is_some_and(|&last| last >= index) {
            return Err(format!(
                "layers of backbone `builtin` go from shallow to deep, each once: `{layer}` does not follow `{}`",
                layer_name(indices[indices.len() - 1])
            ));
        }
        indices.push(index);
    }
    Ok(indices)
}

/// Refuses an image without pixels.
fn checked(image: &Image) -> Result<(), String> {
    if image.width_px > 0 && image.height_px > 0 {
        return Ok(());
    }
    Err(format!(
        "backbone `builtin` needs an image with pixels, not {}x{}",
        image.width_px, image.height_px
    ))
}
