//! Convolutions out of a checkpoint: key names, shapes, and BatchNorm folded in.

use std::collections::BTreeMap;

use super::graph::FoldedConv;
use crate::detector::{Tensor, TensorData};

/// Added to the variance by PyTorch's BatchNorm.
const BATCH_NORM_EPS: f64 = 1e-5;

/// A checkpoint as torchvision and timm write it. Their key names agree for the networks here (timm names only layers
/// without parameters differently); training code puts a path in front of them, such as `module.` (DistributedDataParallel)
/// or `model.feature_extractor.` (anomalib).
pub(super) struct Checkpoint<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    prefix: String,
}

impl<'a> Checkpoint<'a> {
    /// The checkpoint in `tensors`.
    ///
    /// # Errors
    /// A sentence, if it holds several networks, for example a teacher and a student.
    pub(super) fn new(tensors: &'a BTreeMap<String, Tensor>) -> Result<Self, String> {
        Ok(Self {
            tensors,
            prefix: find_prefix(tensors)?,
        })
    }

    /// The convolution `key` with the BatchNorm that follows it folded in: w' = w γ/√(σ² + ε), b' = β − μ γ/√(σ² + ε).
    pub(super) fn conv(&self, key: &str, shape: [usize; 4]) -> Result<FoldedConv, String> {
        let weight = self.values(&format!("{key}.weight"), &shape)?;
        let batch_norm = batch_norm_key(key);
        let channel_values = |name: &str| self.values(&format!("{batch_norm}.{name}"), &shape[..1]);
        let (gamma, beta) = (channel_values("weight")?, channel_values("bias")?);
        let (mean, variance) = (channel_values("running_mean")?, channel_values("running_var")?);
        if let Some(negative) = variance.iter().find(|&&value| value < 0.0) {
            return Err(format!(
                "`{}{batch_norm}.running_var` holds {negative}, which is no variance",
                self.prefix
            ));
        }
        let mut folded = Vec::with_capacity(weight.len());
        let mut bias = Vec::with_capacity(shape[0]);
        for (channel, kernel) in weight.chunks_exact(weight.len() / shape[0]).enumerate() {
            let scale = f64::from(gamma[channel]) / (f64::from(variance[channel]) + BATCH_NORM_EPS).sqrt();
            folded.extend(kernel.iter().map(|&value| (f64::from(value) * scale) as f32));
            bias.push((f64::from(beta[channel]) - f64::from(mean[channel]) * scale) as f32);
        }
        if !folded.iter().chain(&bias).all(|value| value.is_finite()) {
            return Err(format!(
                "`{0}{key}.weight` overflows when `{0}{batch_norm}` is folded into it",
                self.prefix
            ));
        }
        Ok(FoldedConv {
            key: key.to_owned(),
            shape,
            weight: folded.into(),
            bias: bias.into(),
        })
    }

    /// Refuses a checkpoint that has parameters in `layers` which were not read, such as a deeper network's blocks: without
    /// them the features would be others than the ones the weights were made for.
    pub(super) fn check_all_read(&self, network: &str, layers: &[&str], convs: &[&str]) -> Result<(), String> {
        for key in self.tensors.keys().filter_map(|key| key.strip_prefix(&self.prefix)) {
            let Some((module, parameter)) = key.rsplit_once('.') else {
                continue;
            };
            let inside = layers
                .iter()
                .any(|layer| key.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.')));
            let read = parameter == "num_batches_tracked"
                || convs
                    .iter()
                    .any(|conv| module == batch_norm_key(conv) || (module == *conv && parameter == "weight"));
            if inside && !read {
                return Err(format!(
                    "`{}{key}` is no part of `{network}`: these are another network's weights",
                    self.prefix
                ));
            }
        }
        Ok(())
    }

    fn values(&self, key: &str, shape: &[usize]) -> Result<&'a [f32], String> {
        values(self.tensors, &format!("{}{key}", self.prefix), shape)
    }
}

/// The values under `key`.
///
/// # Errors
/// A sentence that names the key, and both shapes, if they are missing, have another shape, or are not all finite.
pub(super) fn values<'a>(
    tensors: &'a BTreeMap<String, Tensor>,
    key: &str,
    shape: &[usize],
) -> Result<&'a [f32], String> {
    let Some(tensor) = tensors.get(key) else {
        return Err(format!("`{key}` is missing: expected shape {shape:?}, found none"));
    };
    if tensor.shape != shape {
        return Err(format!(
            "`{key}` has the wrong shape: expected {shape:?}, found {:?}",
            tensor.shape
        ));
    }
    let TensorData::F32(values) = &tensor.data else {
        return Err(format!("`{key}` holds integers: expected floats"));
    };
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(format!(
            "`{key}` holds {} at index {index}: expected finite numbers",
            values[index]
        )),
    }
}

/// `layer1.0.conv2` → `layer1.0.bn2`; the projection is a sequence of the two, so `downsample.0` → `downsample.1`.
fn batch_norm_key(conv_key: &str) -> String {
    match conv_key.strip_suffix("downsample.0") {
        Some(block) => format!("{block}downsample.1"),
        None => conv_key.replace("conv", "bn"),
    }
}

/// What stands in front of the network's own key names: nothing, or a path that ends in a dot.
fn find_prefix(tensors: &BTreeMap<String, Tensor>) -> Result<String, String> {
    // Keys of the first block that no other part of a network ends in; several, so that a missing one is still reported
    // under its full name.
    const ANCHORS: [&str; 3] = ["layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.conv2.weight"];
    for anchor in ANCHORS {
        let prefixes = tensors.keys().filter_map(|key| key.strip_suffix(anchor));
        let found: Vec<_> = prefixes
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .collect();
        match found[..] {
            [] => {}
            [prefix] => return Ok(prefix.to_owned()),
            _ if found.contains(&"") => return Ok(String::new()),
            _ => {
                return Err(format!(
                    "the weights hold several networks, under {}: keep one of them",
                    found.join(", ")
                ));
            }
        }
    }
    Ok(String::new())
}
