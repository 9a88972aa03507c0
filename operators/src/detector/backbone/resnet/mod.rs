//! Residual networks with ImageNet weights: ResNet-18, ResNet-50 and WideResNet-50-2, run by candle.
//!
//! This is the reference engine: plain `f32`, one image at a time. The values of an image depend on nothing but its pixels
//! and the weights, so neither on other images nor on the number of threads.

use std::collections::BTreeMap;

use candle_core::Device;

use self::architecture::{Architecture, LAYER_NAMES, STEM_CHANNELS};
use self::block::{Block, ConvSource};
use self::checkpoint::Checkpoint;
use self::conv::{Conv, Then, Window};
use super::{Backbone, Layer};
use crate::FeatureMap;
use crate::detector::Tensor;
use crate::imaging::Image;

mod architecture;
mod block;
mod checkpoint;
mod conv;
#[cfg(test)]
mod tests;

/// Mean of ImageNet's training images per channel (red, green, blue), of 1.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's training images per channel, of 1.
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A residual network, cut off after its deepest tap.
pub struct ResNet {
    name: &'static str,
    layers: Vec<Layer>,
    conv1: Conv,
    stages: Vec<Stage>,
}

/// One of `layer1` … `layer4`.
struct Stage {
    blocks: Vec<Block>,
    is_tapped: bool,
}

impl std::fmt::Debug for ResNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResNet")
            .field("name", &self.name)
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

/// Builds the network `name`, tapped at `layers` (from shallow to deep), from a checkpoint with torchvision's or timm's key
/// names, as [`read_weights`](super::read_weights) gives it. BatchNorm is folded into the convolutions, in `f64`. Only what
/// the deepest of `layers` needs is read, so the checkpoint may stop there.
///
/// # Errors
/// A sentence, if the network or a layer is unknown (with those that are), if a weight is missing or has another shape (with
/// the first such key in the order of the network, and both shapes), if a weight is not finite, or if the layers that are
/// read hold more than this network.
pub fn load_pretrained(name: &str, layers: &[String], tensors: &BTreeMap<String, Tensor>) -> Result<ResNet, String> {
    let checkpoint = Checkpoint::new(tensors)?;
    let network = ResNet::load(name, layers, &mut |key, window, shape| {
        checkpoint.conv(key, window, shape)
    })?;
    let convs: Vec<_> = network.convs().map(|conv| conv.key.as_str()).collect();
    checkpoint.check_all_read(network.name, &LAYER_NAMES[..network.stages.len()], &convs)?;
    Ok(network)
}

/// Builds the network `name`, tapped at `layers`, from what [`Backbone::tensors`] returned. The round trip is exact.
///
/// # Errors
/// As [`load_pretrained`].
pub fn from_folded(name: &str, layers: &[String], tensors: &BTreeMap<String, Tensor>) -> Result<ResNet, String> {
    ResNet::load(name, layers, &mut |key, window, shape| {
        let weight = checkpoint::values(tensors, &format!("{key}.weight"), &shape)?;
        let bias = checkpoint::values(tensors, &format!("{key}.bias"), &shape[..1])?;
        Conv::new(key, window, shape, weight, bias.to_vec()).map_err(|error| format!("cannot build `{key}`: {error}"))
    })
}

impl ResNet {
    /// Asks `source` for every convolution, in the order of the network.
    fn load(name: &str, layers: &[String], source: &mut ConvSource) -> Result<Self, String> {
        let architecture = Architecture::named(name)?;
        let depths = architecture.depths(layers)?;
        let deepest = depths.iter().copied().max().unwrap_or(0);
        let conv1 = source("conv1", Window::centred(7, 2), [STEM_CHANNELS, 3, 7, 7])?;
        let mut stages = Vec::new();
        for (depth, layer) in LAYER_NAMES.iter().enumerate().take(deepest + 1) {
            let block = |index| Block::load(architecture, depth, index, &format!("{layer}.{index}"), source);
            let blocks = (0..architecture.n_blocks[depth]).map(block).collect::<Result<_, _>>()?;
            let is_tapped = depths.contains(&depth);
            stages.push(Stage { blocks, is_tapped });
        }
        let layer = |depth: usize| Layer {
            name: LAYER_NAMES[depth].to_owned(),
            dims: architecture.dims(depth),
            stride_px: 4 << depth,
        };
        Ok(Self {
            name: architecture.name,
            layers: depths.into_iter().map(layer).collect(),
            conv1,
            stages,
        })
    }

    /// All convolutions, in the order of the network.
    fn convs(&self) -> impl Iterator<Item = &Conv> {
        let blocks = self.stages.iter().flat_map(|stage| &stage.blocks);
        std::iter::once(&self.conv1).chain(blocks.flat_map(Block::convs))
    }

    /// Feature maps of an image that is already normalised, `(height, width, 3)`.
    fn forward(&self, height: usize, width: usize, pixels: Vec<f32>) -> candle_core::Result<Vec<FeatureMap>> {
        let image = candle_core::Tensor::from_vec(pixels, (height, width, 3), &Device::Cpu)?;
        let mut x = conv::max_pool(&self.conv1.forward(&image, &Then::Relu)?)?;
        let mut maps = Vec::with_capacity(self.layers.len());
        for stage in &self.stages {
            for block in &stage.blocks {
                x = block.forward(&x)?;
            }
            if stage.is_tapped {
                let (height, width, dims) = x.dims3()?;
                maps.push(FeatureMap::new(height, width, dims, x.flatten_all()?.to_vec1()?));
            }
        }
        Ok(maps)
    }
}

impl Backbone for ResNet {
    fn name(&self) -> &str {
        self.name
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn feature_maps(&self, image: &Image) -> Result<Vec<FeatureMap>, String> {
        let (height, width) = (image.height_px as usize, image.width_px as usize);
        let deepest = self.layers.last().expect("a network is built with at least one layer");
        // Below that the deepest map would be one position that mostly sees the zeros beyond the edge.
        if height.min(width) < deepest.stride_px {
            return Err(format!(
                "an image of {width}x{height} pixels is too small for {} of {}, whose positions are {} pixels apart",
                deepest.name, self.name, deepest.stride_px
            ));
        }
        let maps = self.forward(height, width, normalise(image));
        let maps =
            maps.map_err(|error| format!("{} failed on an image of {width}x{height} pixels: {error}", self.name))?;
        for (map, layer) in maps.iter().zip(&self.layers) {
            if !map.data.iter().all(|value| value.is_finite()) {
                return Err(format!(
                    "{} of {} overflows: are its weights damaged?",
                    layer.name, self.name
                ));
            }
        }
        Ok(maps)
    }

    /// `<conv>.weight` `(out, in, kernel, kernel)` and `<conv>.bias` `(out)` of every convolution, BatchNorm folded in, under
    /// torchvision's names of the convolutions.
    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        for conv in self.convs() {
            let (shape, weight, bias) = conv
                .weight_and_bias()
                .expect("a permutation of a tensor that was built here");
            tensors.insert(format!("{}.weight", conv.key), Tensor::f32(&shape, weight));
            tensors.insert(format!("{}.bias", conv.key), Tensor::f32(&shape[..1], bias));
        }
        tensors
    }
}

/// (x / 255 − mean) / standard deviation per channel: what the networks were trained on.
fn normalise(image: &Image) -> Vec<f32> {
    let table: [[f32; 3]; 256] = std::array::from_fn(|byte| {
        std::array::from_fn(|channel| (byte as f32 / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel])
    });
    let channels = image.rgb.iter().enumerate();
    channels
        .map(|(index, &byte)| table[usize::from(byte)][index % 3])
        .collect()
}
