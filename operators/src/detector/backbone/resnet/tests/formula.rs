//! Weights and an image from a formula: the same as in tests/parity/resnet.py.

use std::collections::BTreeMap;

use super::super::ResNet;
use super::super::architecture::{Architecture, LAYER_NAMES};
use super::super::graph::{Builder, FoldedConv};
use crate::detector::Tensor;
use crate::imaging::Image;

/// splitmix64 from the FNV-1a hash of `key`.
pub(super) fn random_bits(key: &str) -> impl Iterator<Item = u64> {
    let hash = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let mut state = key.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    std::iter::repeat_with(move || {
        state = u64::wrapping_add(state, 0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// An image of random bytes.
pub(super) fn image(width_px: u32, height_px: u32) -> Image {
    let bytes = (width_px * height_px * 3) as usize;
    Image::new(
        width_px,
        height_px,
        random_bits("image")
            .map(|bits| (bits >> 56) as u8)
            .take(bytes)
            .collect::<Vec<_>>(),
    )
}

fn parameter(key: &str, shape: &[usize]) -> Tensor {
    let scale: fn(f64, f64) -> f64 = match key.rsplit_once('.') {
        _ if shape.len() == 4 => |u, fan_in| (2.0 * u - 1.0) * (6.0 / fan_in).sqrt(),
        Some((_, "weight")) => |u, _| 0.25 + 0.5 * u,
        Some((_, "running_var")) => |u, _| 0.5 + u,
        _ => |u, _| 0.4 * u - 0.2,
    };
    let fan_in = shape[1..].iter().product::<usize>() as f64;
    let uniform = random_bits(key).map(|bits| (bits >> 11) as f64 / (1u64 << 53) as f64);
    let values = uniform.map(|u| scale(u, fan_in) as f32).take(shape.iter().product());
    Tensor::f32(shape, values.collect())
}

/// A whole checkpoint of `network` down to the layer `deepest`, every key under `prefix`, in torchvision's order of names.
pub(super) fn checkpoint(network: &str, deepest: &str, prefix: &str) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    let mut add = |key: &str, shape: [usize; 4]| {
        tensors.insert(
            format!("{prefix}{key}.weight"),
            parameter(&format!("{key}.weight"), &shape),
        );
        let batch_norm = match key.strip_suffix("downsample.0") {
            Some(block) => format!("{block}downsample.1"),
            None => key.replace("conv", "bn"),
        };
        for name in ["weight", "bias", "running_mean", "running_var"] {
            let key = format!("{batch_norm}.{name}");
            tensors.insert(format!("{prefix}{key}"), parameter(&key, &shape[..1]));
        }
        tensors.insert(
            format!("{prefix}{batch_norm}.num_batches_tracked"),
            Tensor::i64(&[], vec![7]),
        );
        // Only the keys and shapes are wanted: zeros do.
        Ok(FoldedConv {
            key: key.to_owned(),
            shape,
            weight: vec![0.0; shape.iter().product()].into(),
            bias: vec![0.0; shape[0]].into(),
        })
    };
    let depth = LAYER_NAMES.iter().position(|layer| *layer == deepest).unwrap();
    let architecture = Architecture::named(network).unwrap();
    Builder::new(architecture, &mut add).build(&[depth]).unwrap();
    tensors
}

/// The layer names of a tap list.
pub(super) fn layers(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// ResNet-18 on formula weights.
pub(super) fn resnet18(taps: &[&str]) -> ResNet {
    let tensors = checkpoint("resnet18", taps.last().unwrap(), "");
    super::super::load_pretrained("resnet18", &layers(taps), &tensors).unwrap()
}
