//! Backbones, one image at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use intakt_kernels::network::{CompiledNetwork, Conv, Crew, Extent, Network, Plan, Window};
use intakt_operators::detector::Precision;
use intakt_operators::detector::backbone::{ActivationRanges, Backbone, ResNet, load_pretrained};
use intakt_operators::imaging::{Image, decode};
use serde::Deserialize;

use crate::arrays::{Array, read, take};
use crate::{Ran, Work};

/// A residual network with torchvision's key names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResnetRecipe {
    network: String,
    layers: Vec<String>,
    weights: PathBuf,
    precision: Precision,
    /// Images, as large as `image`, whose activations have to fit into 8 bits.
    ranged: Vec<PathBuf>,
    image: PathBuf,
    threads: usize,
}

/// The student of EfficientAD, small (Batzner, Heckler and König 2024, table 6): `conv1.weight`, `conv1.bias` … `conv4.bias`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PdnRecipe {
    weights: PathBuf,
    precision: Precision,
    ranged: Vec<PathBuf>,
    image: PathBuf,
    threads: usize,
}

struct Resnet {
    network: ResNet,
    image: Image,
    crew: Arc<Crew>,
}

struct Pdn {
    plan: Plan,
    image: Image,
    crew: Arc<Crew>,
}

impl ResnetRecipe {
    pub(crate) fn prepare(self) -> Result<Box<dyn Work>, String> {
        let mut network = load_pretrained(&self.network, &self.layers, &read(&self.weights)?)?;
        match self.precision {
            Precision::F32 => {}
            Precision::Bf16 => network = network.to_bf16(),
            Precision::Int8 => {
                let mut all: Option<ActivationRanges> = None;
                for path in &self.ranged {
                    let observed = network.observe(&image(path)?)?;
                    match &mut all {
                        None => all = Some(observed),
                        Some(all) => all.merge(&observed),
                    }
                }
                network = network.to_int8(&all.ok_or("8 bits need images whose activations fit")?)?;
            }
        }
        Ok(Box::new(Resnet {
            network,
            image: image(&self.image)?,
            crew: Crew::new(self.threads),
        }))
    }
}

impl Work for Resnet {
    fn run(&mut self) -> Result<Ran, String> {
        let _at_work = self.crew.begin();
        let started = Instant::now();
        let (mut nanos, mut results) = (0, Vec::new());
        self.network.with_feature_maps(&self.image, &mut |maps| {
            nanos = started.elapsed().as_nanos() as u64;
            results = maps
                .iter()
                .map(|map| Array {
                    shape: vec![map.height, map.width, map.dims],
                    values: map.data.to_vec(),
                })
                .collect();
        })?;
        Ok(Ran {
            nanos,
            results,
            ..Ran::default()
        })
    }
}

impl PdnRecipe {
    pub(crate) fn prepare(self) -> Result<Box<dyn Work>, String> {
        let (network, image_) = (pdn_small(&self.weights)?, image(&self.image)?);
        let (height, width) = (image_.height_px as usize, image_.width_px as usize);
        let mut compiled = CompiledNetwork::f32(&network);
        match self.precision {
            Precision::F32 => {}
            Precision::Bf16 => compiled = CompiledNetwork::bf16(&network),
            Precision::Int8 => {
                let mut largest = vec![0.0; network.ranged().count()];
                for path in &self.ranged {
                    compiled.observe(height, width, &image(path)?.rgb, &mut largest)?;
                }
                // As backbones have it: room for half as much again as was seen.
                largest.iter_mut().for_each(|largest| *largest *= 1.5);
                compiled = CompiledNetwork::int8(&network, &largest)?;
            }
        }
        Ok(Box::new(Pdn {
            plan: compiled.plan(height, width)?,
            image: image_,
            crew: Crew::new(self.threads),
        }))
    }
}

impl Work for Pdn {
    fn run(&mut self) -> Result<Ran, String> {
        let _at_work = self.crew.begin();
        let started = Instant::now();
        self.plan.run(&self.image.rgb);
        let nanos = started.elapsed().as_nanos() as u64;
        let results = self.plan.maps().map(|(extent, values)| {
            let Extent {
                height,
                width,
                channels,
            } = extent;
            Array {
                shape: vec![height, width, channels],
                values: values.to_vec(),
            }
        });
        Ok(Ran {
            nanos,
            results: results.collect(),
            ..Ran::default()
        })
    }
}

fn pdn_small(weights: &Path) -> Result<Network, String> {
    let mut tensors = read(weights)?;
    let mut conv = |at: usize| -> Result<Conv, String> {
        let weight = take(&mut tensors, &format!("conv{at}.weight"))?;
        let bias = take(&mut tensors, &format!("conv{at}.bias"))?;
        let [_, in_channels, kernel, _] = weight.shape[..] else {
            return Err(format!("conv{at} is no convolution: {:?}", weight.shape));
        };
        Ok(Conv {
            window: Window {
                kernel,
                stride: 1,
                padding: 0,
            },
            in_channels,
            depthwise: false,
            weight: weight.values.into(),
            bias: bias.values.into(),
        })
    };
    let half = Window {
        kernel: 2,
        stride: 2,
        padding: 0,
    };
    let mut network = Network::new([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let mut x = network.image();
    for at in [1, 2] {
        x = network.conv(x, conv(at)?, None, true);
        x = network.avg_pool(x, half);
    }
    x = network.conv(x, conv(3)?, None, true);
    let last = network.conv(x, conv(4)?, None, false);
    network.tap(last);
    Ok(network)
}

fn image(path: &Path) -> Result<Image, String> {
    let cannot = |reason: String| format!("cannot read {}: {reason}", path.display());
    let bytes = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    decode(&bytes, u16::MAX).map_err(|error| cannot(error.to_string()))
}
