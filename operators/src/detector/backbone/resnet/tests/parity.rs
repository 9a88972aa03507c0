use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::{LAYER_NAMES, load_pretrained};
use super::formula;
use crate::FeatureMap;
use crate::detector::backbone::{Backbone, read_weights};
use crate::imaging::Image;

/// Printed by tests/parity/resnet.py with PyTorch and torchvision.
const CASES: &str = include_str!("../../../../../../tests/parity/resnet_cases.json");

/// Largest difference to the reference, as a share of the map's largest value.
const TOLERANCE: f64 = 1e-5;

fn check_network(name: &str, prefix: &str) {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let [width, height] = ["width", "height"].map(|key| cases[key].as_u64().unwrap() as u32);
    let tensors = formula::checkpoint(name, "layer4", prefix);
    let network = load_pretrained(name, &formula::layers(&LAYER_NAMES), &tensors).unwrap();
    let maps = network.feature_maps(&formula::image(width, height)).unwrap();
    for (layer, map) in network.layers().iter().zip(&maps) {
        let expected = &cases["networks"][name][&layer.name];
        assert_eq!(
            serde_json::json!([map.height, map.width, map.dims]),
            expected["shape"],
            "{name} {}",
            layer.name
        );
        assert_eq!(map.dims, layer.dims);
        assert_eq!(map.height, (height as usize).div_ceil(layer.stride_px));
        let error = difference(map, expected);
        println!("{name} {} relative difference {error:.1e}", layer.name);
        assert!(error < TOLERANCE, "{name} {}: {error}", layer.name);
    }
}

/// The largest difference of the stored values and means, relative to the largest value.
fn difference(map: &FeatureMap, expected: &Value) -> f64 {
    let number = |value: &Value| value.as_f64().unwrap();
    let n = map.data.len();
    let at = |index: usize| f64::from(map.data[index]);
    let max = map.data.iter().copied().fold(f32::MIN, f32::max);
    let mean = (0..n).map(at).sum::<f64>() / n as f64;
    let ramp_mean = (0..n).map(|i| at(i) * (i + 1) as f64 / n as f64).sum::<f64>() / n as f64;
    let mut differences = vec![
        f64::from(max) - number(&expected["max"]),
        mean - number(&expected["mean"]),
        ramp_mean - number(&expected["ramp_mean"]),
    ];
    let values = expected["values"].as_array().unwrap();
    let index = |i: usize| i * (n - 1) / (values.len() - 1);
    differences.extend(values.iter().enumerate().map(|(i, value)| at(index(i)) - number(value)));
    let differences = differences.iter().map(|difference| difference.abs());
    // In the total order not-a-number is the largest: it must not pass as equal.
    differences.max_by(f64::total_cmp).unwrap() / number(&expected["max"])
}

#[test]
fn resnet18_matches_torchvision() {
    check_network("resnet18", "");
}

#[test]
fn resnet50_matches_torchvision() {
    check_network("resnet50", "module.");
}

#[test]
fn wide_resnet50_2_matches_torchvision() {
    check_network("wide_resnet50_2", "model.feature_extractor.feature_extractor.");
}

#[test]
#[ignore = "needs the real images: INTAKT_DATA"]
fn trained_resnet18_matches_its_golden_feature_maps() {
    let data = std::env::var_os("INTAKT_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let weights = read_weights(&std::fs::read(data.join("weights/resnet18.safetensors")).unwrap()).unwrap();
    let network = load_pretrained("resnet18", &formula::layers(&["layer2", "layer3"]), &weights).unwrap();
    let golden = |name: &str| read_npy(&std::fs::read(data.join("weights/resnet18_golden").join(name)).unwrap());
    let ([height, width, _], pixels) = golden("input_1x3x224x224.npy");
    // The tensor is a normalised picture.
    let byte = |(at, value): (usize, &f32)| {
        let byte = (value * [0.229, 0.224, 0.225][at % 3] + [0.485, 0.456, 0.406][at % 3]) * 255.0;
        assert!((byte - byte.round()).abs() < 1e-3, "{byte}");
        byte.round() as u8
    };
    let rgb = pixels.iter().enumerate().map(byte).collect();
    let image = Image::new(width as u32, height as u32, rgb);
    let maps = network.feature_maps(&image).unwrap();
    for (map, name) in maps.iter().zip(["layer2_1x128x28x28.npy", "layer3_1x256x14x14.npy"]) {
        let (shape, expected) = golden(name);
        assert_eq!([map.height, map.width, map.dims], shape);
        let largest = expected.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        let differences = map
            .data
            .iter()
            .zip(&expected)
            .map(|(value, expected)| (value - expected).abs());
        let error = differences.max_by(f32::total_cmp).unwrap() / largest;
        println!("{name}: relative difference {error:.1e}");
        assert!(error < 1e-3, "{name}: {error}");
    }
}

/// A little-endian `f32` array `(1, channels, height, width)` in NumPy's format, as `(height, width, channels)`.
fn read_npy(bytes: &[u8]) -> ([usize; 3], Vec<f32>) {
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(
        header.contains("'<f4'") && header.contains("'fortran_order': False"),
        "{header}"
    );
    let shape = header.split(['(', ')']).nth(1).unwrap();
    let shape: Vec<usize> = shape
        .split(',')
        .filter_map(|extent| extent.trim().parse().ok())
        .collect();
    let [1, channels, height, width] = shape[..] else {
        panic!("{header}")
    };
    let values: Vec<f32> = bytes[start..]
        .as_chunks::<4>()
        .0
        .iter()
        .copied()
        .map(f32::from_le_bytes)
        .collect();
    let channel_last = |i: usize| values[(i % channels) * height * width + i / channels];
    ([height, width, channels], (0..values.len()).map(channel_last).collect())
}
