//! Random ResNet-18 weights to layer3 under torchvision's key names: the right shapes, nothing learned.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::json;

use crate::support::directory_of_this_run;

/// Tensors by key: shape and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A file with [`random_resnet18`], made once a run.
pub(crate) static RESNET18: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = directory_of_this_run().join("resnet18.safetensors");
    write_safetensors(&path, &random_resnet18());
    path
});

/// Convolutions with uniform weights of He's variance; BatchNorms that change nothing.
pub(crate) fn random_resnet18() -> Tensors {
    let mut tensors = Tensors::new();
    let mut state = 1_u64;
    let mut convolution = |name: String, norm: String, shape: [usize; 4]| {
        let [outputs, inputs, height, width] = shape;
        let bound = (6.0 / (inputs * height * width) as f32).sqrt();
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let weights = (0..shape.iter().product())
            .map(|_| (2.0 * next() - 1.0) * bound)
            .collect();
        tensors.insert(format!("{name}.weight"), (shape.to_vec(), weights));
        for (part, value) in [
            ("weight", 1.0),
            ("bias", 0.0),
            ("running_mean", 0.0),
            ("running_var", 1.0),
        ] {
            tensors.insert(format!("{norm}.{part}"), (vec![outputs], vec![value; outputs]));
        }
    };
    convolution("conv1".into(), "bn1".into(), [64, 3, 7, 7]);
    let mut inputs = 64;
    for (layer, outputs) in [(1, 64), (2, 128), (3, 256)] {
        for block in 0..2 {
            let at = format!("layer{layer}.{block}");
            convolution(format!("{at}.conv1"), format!("{at}.bn1"), [outputs, inputs, 3, 3]);
            convolution(format!("{at}.conv2"), format!("{at}.bn2"), [outputs, outputs, 3, 3]);
            if inputs != outputs {
                convolution(
                    format!("{at}.downsample.0"),
                    format!("{at}.downsample.1"),
                    [outputs, inputs, 1, 1],
                );
            }
            inputs = outputs;
        }
    }
    tensors
}

/// Writes a safetensors file: the length of the header, the header, the values.
pub(crate) fn write_safetensors(path: &Path, tensors: &Tensors) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], &header, &data].concat()).unwrap();
}
