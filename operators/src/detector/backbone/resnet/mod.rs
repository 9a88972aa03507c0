//! Residual networks with ImageNet weights: ResNet-18, ResNet-50 and WideResNet-50-2, in `f32`, `bf16` or 8-bit integers.
//!
//! The values of an image depend on nothing but its pixels, the weights and, in 8 bits, the ranges of the activations: neither
//! on other images nor on the number of threads nor on the CPU.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use intakt_kernels::network::{CompiledNetwork, Extent, Network, Plan, StepTime, Team};

use self::architecture::{Architecture, LAYER_NAMES};
use self::checkpoint::Checkpoint;
use self::graph::{Builder, ConvSource, FoldedConv};
use super::{Backbone, Layer};
use crate::FeatureMapView;
use crate::detector::{Precision, Tensor};
use crate::imaging::Image;

mod architecture;
mod checkpoint;
mod graph;
#[cfg(test)]
mod tests;

/// How much larger than any activation of the normal frames one may be before it no longer fits into 8 bits. An anomaly is what
/// leaves the normal range, so there has to be room for it; each doubling costs a bit of resolution.
const HEADROOM: f32 = 1.5;

/// Name of the tensor with the ranges of the activations, which a network in 8 bits has.
const RANGES: &str = "activation_ranges";

/// Sizes of images whose plans are kept: a detector sees one.
const SIZES_KEPT: usize = 4;

/// A residual network, cut off after its deepest tap.
pub struct ResNet {
    folded: Folded,
    compiled: CompiledNetwork,
    arithmetic: Arithmetic,
    /// Plans that nobody uses at the moment, by the height and width of their images.
    plans: Mutex<BTreeMap<(usize, usize), Vec<Plan>>>,
}

/// What it computes in.
enum Arithmetic {
    F32,
    Bf16,
    /// What fits of each activation.
    Int8 {
        ranges: Vec<f32>,
    },
}

/// What the network is, whatever it computes in.
#[derive(Clone)]
struct Folded {
    name: &'static str,
    layers: Vec<Layer>,
    convs: Vec<FoldedConv>,
    network: Network,
}

impl std::fmt::Debug for ResNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResNet")
            .field("name", &self.folded.name)
            .field("layers", &self.folded.layers)
            .finish_non_exhaustive()
    }
}

/// Builds the network `name` in `f32`, tapped at `layers` (from shallow to deep), from a checkpoint with torchvision's or timm's
/// key names, as [`read_weights`](super::read_weights) gives it. BatchNorm is folded into the convolutions, in `f64`. Only what
/// the deepest of `layers` needs is read, so the checkpoint may stop there.
///
/// # Errors
/// A sentence, if the network or a layer is unknown (with those that are), if a weight is missing or has another shape (with
/// the first such key in the order of the network, and both shapes), if a weight is not finite, or if the layers that are
/// read hold more than this network.
pub fn load_pretrained(name: &str, layers: &[String], tensors: &BTreeMap<String, Tensor>) -> Result<ResNet, String> {
    let checkpoint = Checkpoint::new(tensors)?;
    let folded = Folded::load(name, layers, &mut |key, shape| checkpoint.conv(key, shape))?;
    let convs: Vec<_> = folded.convs.iter().map(|conv| conv.key.as_str()).collect();
    let depths = Architecture::named(name)?.depths(layers)?;
    let deepest = depths.iter().copied().max().unwrap_or(0);
    checkpoint.check_all_read(folded.name, &LAYER_NAMES[..=deepest], &convs)?;
    ResNet::new(folded, Arithmetic::F32)
}

/// Builds the network `name`, tapped at `layers`, from what [`Backbone::tensors`] returned. The round trip is exact.
///
/// # Errors
/// As [`load_pretrained`].
pub fn from_folded(
    name: &str,
    layers: &[String],
    precision: Precision,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<ResNet, String> {
    let folded = Folded::load(name, layers, &mut |key, shape| {
        let weight = checkpoint::values(tensors, &format!("{key}.weight"), &shape)?;
        let bias = checkpoint::values(tensors, &format!("{key}.bias"), &shape[..1])?;
        Ok(FoldedConv {
            key: key.to_owned(),
            shape,
            weight: weight.into(),
            bias: bias.into(),
        })
    })?;
    let arithmetic = match precision {
        Precision::F32 => Arithmetic::F32,
        Precision::Bf16 => Arithmetic::Bf16,
        Precision::Int8 => {
            let n_ranges = folded.network.ranged().count();
            let ranges = checkpoint::values(tensors, RANGES, &[n_ranges])?.to_vec();
            Arithmetic::Int8 { ranges }
        }
    };
    ResNet::new(folded, arithmetic)
}

/// The largest activations that were seen on images.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationRanges(Vec<f32>);

impl ActivationRanges {
    /// Those of both.
    ///
    /// Panics if they are of different networks.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.0.len(), other.0.len(), "ranges of one network");
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(own, other)| *own = own.max(*other));
    }
}

impl Folded {
    fn load<'a>(name: &str, layers: &[String], source: &'a mut ConvSource<'a>) -> Result<Self, String> {
        let architecture = Architecture::named(name)?;
        let depths = architecture.depths(layers)?;
        let (network, convs) = Builder::new(architecture, source).build(&depths)?;
        let layer = |depth: usize| Layer {
            name: LAYER_NAMES[depth].to_owned(),
            dims: architecture.dims(depth),
            stride_px: 4 << depth,
        };
        Ok(Self {
            name: architecture.name,
            layers: depths.into_iter().map(layer).collect(),
            convs,
            network,
        })
    }
}

impl ResNet {
    fn new(folded: Folded, arithmetic: Arithmetic) -> Result<Self, String> {
        let compiled = match &arithmetic {
            Arithmetic::F32 => CompiledNetwork::f32(&folded.network),
            Arithmetic::Bf16 => CompiledNetwork::bf16(&folded.network),
            Arithmetic::Int8 { ranges } => CompiledNetwork::int8(&folded.network, ranges)
                .map_err(|reason| format!("cannot run {} in 8-bit integers: {reason}", folded.name))?,
        };
        Ok(Self {
            folded,
            compiled,
            arithmetic,
            plans: Mutex::default(),
        })
    }

    /// The largest activations of a network in `f32` on one image.
    ///
    /// # Errors
    /// As [`Backbone::with_feature_maps`].
    pub fn observe(&self, image: &Image) -> Result<ActivationRanges, String> {
        let mut largest = vec![0.0; self.folded.network.ranged().count()];
        let (height, width) = self.size_of(image)?;
        self.compiled.observe(height, width, &image.rgb, &mut largest)?;
        Ok(ActivationRanges(largest))
    }

    /// The same network in 16-bit floating point.
    pub fn to_bf16(&self) -> Self {
        Self::new(self.folded.clone(), Arithmetic::Bf16).expect("every network runs in bf16")
    }

    /// The same network in 8-bit integers, with room for half as much again as was `observed`.
    ///
    /// # Errors
    /// A sentence, if an activation was not finite.
    pub fn to_int8(&self, observed: &ActivationRanges) -> Result<Self, String> {
        let ranges = observed.0.iter().map(|largest| largest * HEADROOM).collect();
        Self::new(self.folded.clone(), Arithmetic::Int8 { ranges })
    }

    /// Height and width of an image that is large enough.
    fn size_of(&self, image: &Image) -> Result<(usize, usize), String> {
        let (height, width) = (image.height_px as usize, image.width_px as usize);
        let deepest = self
            .folded
            .layers
            .last()
            .expect("a network is built with at least one layer");
        // Below that the deepest map would be one position that mostly sees the zeros beyond the edge.
        if height.min(width) < deepest.stride_px {
            return Err(format!(
                "an image of {width}x{height} pixels is too small for {} of {}, whose positions are {} pixels apart",
                deepest.name, self.folded.name, deepest.stride_px
            ));
        }
        Ok((height, width))
    }

    /// Lets a plan for images of this size do something, and keeps it for the next.
    fn run<R>(&self, image: &Image, work: impl FnOnce(&mut Plan) -> R) -> Result<R, String> {
        let size = self.size_of(image)?;
        let free = self.plans().get_mut(&size).and_then(Vec::pop);
        let mut plan = match free {
            Some(plan) => plan,
            None => self.compiled.plan(size.0, size.1)?,
        };
        let result = work(&mut plan);
        let mut plans = self.plans();
        if !plans.contains_key(&size) && plans.len() >= SIZES_KEPT {
            plans.clear();
        }
        plans.entry(size).or_default().push(plan);
        Ok(result)
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, BTreeMap<(usize, usize), Vec<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backbone for ResNet {
    fn name(&self) -> &str {
        self.folded.name
    }

    fn layers(&self) -> &[Layer] {
        &self.folded.layers
    }

    fn precision(&self) -> Precision {
        match self.arithmetic {
            Arithmetic::F32 => Precision::F32,
            Arithmetic::Bf16 => Precision::Bf16,
            Arithmetic::Int8 { .. } => Precision::Int8,
        }
    }

    fn with_feature_maps(&self, image: &Image, work: &mut dyn FnMut(&[FeatureMapView<'_>])) -> Result<(), String> {
        self.run(image, |plan| {
            plan.run(&image.rgb);
            let maps = plan.maps().zip(&self.folded.layers).map(|((extent, data), layer)| {
                let Extent {
                    height,
                    width,
                    channels: dims,
                } = extent;
                match data.iter().all(|value| value.is_finite()) {
                    true => Ok(FeatureMapView {
                        height,
                        width,
                        dims,
                        data,
                    }),
                    false => Err(format!(
                        "{} of {} overflows: are its weights damaged?",
                        layer.name, self.folded.name
                    )),
                }
            });
            maps.collect::<Result<Vec<_>, String>>().map(|maps| work(&maps))
        })?
    }

    fn profiles(&self, image: &Image, threads: usize, runs: usize) -> Result<Vec<Vec<StepTime>>, String> {
        self.run(image, |plan| {
            let mut team = Team::new(threads);
            plan.profile(&mut team, threads, &image.rgb);
            let profiles = (0..runs).map(|_| plan.profile(&mut team, threads, &image.rgb));
            profiles.collect()
        })
    }

    fn computed_by(&self) -> Option<&'static str> {
        Some(self.compiled.computed_by())
    }

    fn peak_operations(&self) -> Option<f64> {
        Some(self.compiled.peak_operations())
    }

    /// `<conv>.weight` `(out, in, kernel, kernel)` and `<conv>.bias` `(out)` of every convolution, BatchNorm folded in, under
    /// torchvision's names of the convolutions; in 8 bits also what fits of each activation, in the order of the network.
    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        for conv in &self.folded.convs {
            tensors.insert(
                format!("{}.weight", conv.key),
                Tensor::f32(&conv.shape, conv.weight.to_vec()),
            );
            tensors.insert(
                format!("{}.bias", conv.key),
                Tensor::f32(&conv.shape[..1], conv.bias.to_vec()),
            );
        }
        if let Arithmetic::Int8 { ranges } = &self.arithmetic {
            tensors.insert(RANGES.to_owned(), Tensor::f32(&[ranges.len()], ranges.clone()));
        }
        tensors
    }
}
