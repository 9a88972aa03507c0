use super::super::from_folded;
use super::formula;
use crate::FeatureMap;
use crate::detector::Precision;
use crate::detector::backbone::{Backbone, hash};
use crate::imaging::Image;

const LAYERS: [&str; 3] = ["layer1", "layer2", "layer3"];

#[test]
fn int8_is_close_to_f32_and_survives_the_detector_file() {
    let network = formula::resnet18(&LAYERS);
    let image = formula::image(96, 80);
    let mut observed = network.observe(&image).unwrap();
    observed.merge(&network.observe(&formula::image(80, 96)).unwrap());
    let in_int8 = network.to_int8(&observed).unwrap();
    assert_eq!(
        (network.precision(), in_int8.precision()),
        (Precision::F32, Precision::Int8)
    );
    let (exact, maps) = (
        network.feature_maps(&image).unwrap(),
        in_int8.feature_maps(&image).unwrap(),
    );
    for ((exact, map), layer) in exact.iter().zip(&maps).zip(LAYERS) {
        let error: f32 = exact.data.iter().zip(&map.data).map(|(a, b)| (a - b).powi(2)).sum();
        let power: f32 = exact.data.iter().map(|value| value.powi(2)).sum();
        println!("{layer}: {:.4} of the power", error / power);
        assert!(error > 0.0 && error < 0.02 * power, "{layer}: {error} of {power}");
    }

    let tensors = in_int8.tensors();
    let read = from_folded("resnet18", &formula::layers(&LAYERS), Precision::Int8, &tensors).unwrap();
    assert_eq!(read.precision(), Precision::Int8);
    assert_eq!(hash(&read), hash(&in_int8));
    assert_ne!(hash(&network), hash(&in_int8), "the ranges are part of what is hashed");
    assert!(read.feature_maps(&image).unwrap() == maps);
}

#[test]
fn bf16_is_close_to_f32_and_survives_the_detector_file() {
    let network = formula::resnet18(&LAYERS);
    let image = formula::image(96, 80);
    let in_bf16 = network.to_bf16();
    assert_eq!(in_bf16.precision(), Precision::Bf16);
    let exact = network.feature_maps(&image).unwrap();
    let maps = in_bf16.feature_maps(&image).unwrap();
    for ((exact, map), layer) in exact.iter().zip(&maps).zip(LAYERS) {
        let error: f32 = exact.data.iter().zip(&map.data).map(|(a, b)| (a - b).powi(2)).sum();
        let power: f32 = exact.data.iter().map(|value| value.powi(2)).sum();
        println!("{layer}: {:.6} of the power", error / power);
        assert!(error > 0.0 && error < 0.0002 * power, "{layer}: {error} of {power}");
    }
    let tensors = in_bf16.tensors();
    let read = from_folded("resnet18", &formula::layers(&LAYERS), Precision::Bf16, &tensors).unwrap();
    assert_eq!((read.precision(), hash(&read)), (Precision::Bf16, hash(&in_bf16)));
    assert!(read.feature_maps(&image).unwrap() == maps);
}

#[test]
fn what_leaves_the_normal_range_still_shows() {
    let network = formula::resnet18(&["layer1"]);
    let dim = formula::image(64, 64);
    let calm: Vec<u8> = dim.rgb.iter().map(|value| 110 + value / 8).collect();
    let calm = Image::new(64, 64, calm);
    let in_int8 = network.to_int8(&network.observe(&calm).unwrap()).unwrap();
    let largest = |maps: &[FeatureMap]| maps[0].data.iter().copied().fold(0.0, f32::max);
    let [normal, strange] = [&calm, &dim].map(|image| largest(&in_int8.feature_maps(image).unwrap()));
    assert!(
        strange > 1.5 * normal,
        "{strange} after {normal}: taps are taken before they are narrowed"
    );
}

#[test]
fn activations_have_half_as_much_room_again_as_normal_frames_take() {
    let network = formula::resnet18(&["layer1"]);
    let observed = network.observe(&formula::image(64, 64)).unwrap();
    let tensors = network.to_int8(&observed).unwrap().tensors();
    let crate::detector::TensorData::F32(ranges) = &tensors["activation_ranges"].data else {
        panic!()
    };
    assert!(ranges.iter().any(|range| *range > 0.0));
    let expected: Vec<f32> = observed.0.iter().map(|largest| 1.5 * largest).collect();
    assert_eq!(*ranges, expected);
}

#[test]
fn weights_whose_sums_overflow_are_refused_in_8_bits() {
    let network = formula::resnet18(&["layer1"]);
    let observed = network.observe(&formula::image(64, 64)).unwrap();
    let mut tensors = network.to_int8(&observed).unwrap().tensors();
    let crate::detector::TensorData::F32(weights) = &mut tensors.get_mut("layer1.1.conv1.weight").unwrap().data else {
        panic!()
    };
    weights.iter_mut().for_each(|weight| *weight *= 1e37);
    let error = from_folded("resnet18", &formula::layers(&["layer1"]), Precision::Int8, &tensors).unwrap_err();
    assert!(error.contains("are its weights damaged?"), "{error}");
}

#[test]
fn ranges_that_cannot_be_are_refused() {
    let network = formula::resnet18(&["layer1"]);
    let observed = network.observe(&formula::image(64, 64)).unwrap();
    let mut tensors = network.to_int8(&observed).unwrap().tensors();
    let n = tensors["activation_ranges"].shape[0];
    let layers = formula::layers(&["layer1"]);
    tensors.insert(
        "activation_ranges".into(),
        crate::detector::Tensor::f32(&[n], vec![-1.0; n]),
    );
    let error = from_folded("resnet18", &layers, Precision::Int8, &tensors).unwrap_err();
    assert!(error.contains("cannot have the range -1"), "{error}");
    tensors.insert(
        "activation_ranges".into(),
        crate::detector::Tensor::f32(&[n + 1], vec![1.0; n + 1]),
    );
    let error = from_folded("resnet18", &layers, Precision::Int8, &tensors).unwrap_err();
    assert!(error.contains("wrong shape"), "{error}");
    tensors.remove("activation_ranges");
    let error = from_folded("resnet18", &layers, Precision::Int8, &tensors).unwrap_err();
    assert!(error.contains("activation_ranges"), "{error}");
}
