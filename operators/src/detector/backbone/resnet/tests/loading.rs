use std::collections::BTreeMap;

use super::super::{from_folded, load_pretrained};
use super::formula::{self, checkpoint, layers};
use crate::detector::backbone::{Backbone, PRETRAINED, backbone_from_tensors, hash};
use crate::detector::{BackboneRecipe, Precision};
use crate::detector::{Tensor, TensorData};

/// The error of loading ResNet-18 to layer2 from a formula checkpoint after `edit`.
fn error_after(edit: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> String {
    let mut tensors = checkpoint("resnet18", "layer2", "");
    edit(&mut tensors);
    load_pretrained("resnet18", &layers(&["layer1", "layer2"]), &tensors).unwrap_err()
}

#[test]
fn missing_keys_name_the_first_in_network_order() {
    let error = error_after(|tensors| {
        // Alphabetically `layer1.0.bn1.weight` comes before `layer1.0.conv1.weight`, in the network after it.
        for key in ["layer1.0.bn1.weight", "layer1.0.conv1.weight", "layer2.0.conv1.weight"] {
            tensors.remove(key).unwrap();
        }
    });
    assert_eq!(
        error,
        "`layer1.0.conv1.weight` is missing: expected shape [64, 64, 3, 3], found none"
    );
    let error = error_after(|tensors| {
        tensors.remove("layer2.0.downsample.1.running_var").unwrap();
    });
    assert_eq!(
        error,
        "`layer2.0.downsample.1.running_var` is missing: expected shape [128], found none"
    );
}

#[test]
fn missing_keys_are_named_with_their_prefix() {
    let mut tensors = checkpoint("resnet18", "layer1", "module.backbone.");
    tensors.remove("module.backbone.bn1.bias").unwrap();
    let error = load_pretrained("resnet18", &layers(&["layer1"]), &tensors).unwrap_err();
    assert_eq!(
        error,
        "`module.backbone.bn1.bias` is missing: expected shape [64], found none"
    );
}

#[test]
fn wrong_shapes_name_the_key_and_both_shapes() {
    let error = error_after(|tensors| {
        tensors.insert(
            "layer1.1.conv2.weight".to_owned(),
            Tensor::f32(&[64, 64, 1, 1], vec![0.0; 4096]),
        );
    });
    assert_eq!(
        error,
        "`layer1.1.conv2.weight` has the wrong shape: expected [64, 64, 3, 3], found [64, 64, 1, 1]"
    );
    let tensors = checkpoint("resnet50", "layer1", "");
    let error = load_pretrained("wide_resnet50_2", &layers(&["layer1"]), &tensors).unwrap_err();
    assert_eq!(
        error,
        "`layer1.0.conv1.weight` has the wrong shape: expected [128, 64, 1, 1], found [64, 64, 1, 1]"
    );
}

fn set(tensors: &mut BTreeMap<String, Tensor>, key: &str, index: usize, value: f32) {
    match &mut tensors.get_mut(key).unwrap().data {
        TensorData::F32(values) => values[index] = value,
        TensorData::I64(_) | TensorData::U8(_) => panic!("{key} holds integers"),
    }
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_key() {
    let error = error_after(|tensors| set(tensors, "layer1.0.conv2.weight", 5, f32::NAN));
    assert_eq!(
        error,
        "`layer1.0.conv2.weight` holds NaN at index 5: expected finite numbers"
    );
    let error = error_after(|tensors| set(tensors, "layer2.1.bn1.bias", 0, f32::INFINITY));
    assert_eq!(
        error,
        "`layer2.1.bn1.bias` holds inf at index 0: expected finite numbers"
    );
}

#[test]
fn batch_norms_that_cannot_be_folded_are_refused_with_their_key() {
    let error = error_after(|tensors| set(tensors, "bn1.running_var", 3, -1.0));
    assert_eq!(error, "`bn1.running_var` holds -1, which is no variance");
    let error = error_after(|tensors| {
        set(tensors, "layer1.1.bn2.weight", 3, f32::MAX);
        set(tensors, "layer1.1.bn2.running_var", 3, 0.0);
    });
    assert_eq!(
        error,
        "`layer1.1.conv2.weight` overflows when `layer1.1.bn2` is folded into it"
    );
}

#[test]
fn keys_beyond_the_deepest_tap_are_ignored() {
    let mut tensors = checkpoint("resnet18", "layer3", "");
    tensors.insert("fc.weight".to_owned(), Tensor::f32(&[1], vec![f32::NAN]));
    tensors.insert("memory_bank".to_owned(), Tensor::f32(&[1], vec![0.0]));
    let cut = load_pretrained("resnet18", &layers(&["layer1"]), &tensors).unwrap();
    assert_eq!(cut.tensors().len(), 2 * 5);
    assert_eq!(hash(&cut), hash(&formula::resnet18(&["layer1"])));
    let error = load_pretrained("resnet18", &layers(&["layer2", "layer4"]), &tensors).unwrap_err();
    assert_eq!(
        error,
        "`layer4.0.conv1.weight` is missing: expected shape [512, 256, 3, 3], found none"
    );
}

#[test]
fn weights_of_a_deeper_network_are_refused() {
    // ResNet-34 has every key of ResNet-18 in the same shapes, and further blocks.
    let error = error_after(|tensors| {
        let block = tensors["layer1.1.conv1.weight"].clone();
        tensors.insert("layer1.2.conv1.weight".to_owned(), block);
    });
    assert_eq!(
        error,
        "`layer1.2.conv1.weight` is no part of `resnet18`: these are another network's weights"
    );
    let error = error_after(|tensors| {
        tensors.insert("layer1.0.se.fc1.weight".to_owned(), Tensor::f32(&[1], vec![1.0]));
    });
    assert_eq!(
        error,
        "`layer1.0.se.fc1.weight` is no part of `resnet18`: these are another network's weights"
    );
}

#[test]
fn several_networks_in_one_file_are_refused() {
    let mut tensors = checkpoint("resnet18", "layer1", "teacher.");
    tensors.extend(checkpoint("resnet18", "layer1", "student."));
    let error = load_pretrained("resnet18", &layers(&["layer1"]), &tensors).unwrap_err();
    assert_eq!(
        error,
        "the weights hold several networks, under student., teacher.: keep one of them"
    );
}

#[test]
fn unknown_names_list_the_known_ones() {
    let tensors = BTreeMap::new();
    let error = load_pretrained("resnet81", &layers(&["layer1"]), &tensors).unwrap_err();
    assert_eq!(
        error,
        "unknown network `resnet81`: the pretrained ones are resnet18, resnet50, wide_resnet50_2"
    );
    let error = load_pretrained("resnet18", &layers(&["layer1", "layer5"]), &tensors).unwrap_err();
    assert_eq!(
        error,
        "`resnet18` has no layer `layer5`: it has layer1, layer2, layer3, layer4"
    );
    let error = load_pretrained("resnet18", &[], &tensors).unwrap_err();
    assert_eq!(
        error,
        "no layer of `resnet18` is asked for: it has layer1, layer2, layer3, layer4"
    );
    for order in [["layer2", "layer1"], ["layer2", "layer2"]] {
        let error = load_pretrained("resnet18", &layers(&order), &tensors).unwrap_err();
        assert!(
            error.starts_with("layers must go from shallow to deep, each once, but are layer2,"),
            "{error}"
        );
    }
    let error = backbone_from_tensors(&recipe("squeezenet", &["layer1"]), &tensors)
        .err()
        .unwrap();
    assert!(PRETRAINED.iter().all(|name| error.contains(name)), "{error}");
}

fn recipe(name: &str, names: &[&str]) -> BackboneRecipe {
    BackboneRecipe {
        name: name.to_owned(),
        layers: layers(names),
        precision: Precision::F32,
        hash: String::new(),
    }
}

#[test]
fn folded_weights_make_the_round_trip_exactly() {
    let network = formula::resnet18(&["layer1", "layer3"]);
    let tensors = network.tensors();
    let again = backbone_from_tensors(&recipe("resnet18", &["layer1", "layer3"]), &tensors).unwrap();
    assert!(again.tensors() == tensors);
    assert_eq!(again.layers(), network.layers());
    assert_eq!(hash(again.as_ref()), hash(&network));
    let image = formula::image(64, 48);
    assert!(again.feature_maps(&image).unwrap() == network.feature_maps(&image).unwrap());
}

#[test]
fn folded_weights_with_a_missing_bias_are_refused() {
    let mut tensors = formula::resnet18(&["layer1"]).tensors();
    tensors.remove("layer1.0.conv2.bias").unwrap();
    let error = from_folded("resnet18", &layers(&["layer1"]), Precision::F32, &tensors).unwrap_err();
    assert_eq!(
        error,
        "`layer1.0.conv2.bias` is missing: expected shape [64], found none"
    );
}

#[test]
fn every_bit_of_the_weights_shows_in_the_hash() {
    let network = formula::resnet18(&["layer1"]);
    let mut tensors = network.tensors();
    let TensorData::F32(values) = &mut tensors.get_mut("layer1.1.conv2.bias").unwrap().data else {
        panic!()
    };
    values[63] = f32::from_bits(values[63].to_bits() ^ 1);
    let other = from_folded("resnet18", &layers(&["layer1"]), Precision::F32, &tensors).unwrap();
    assert_ne!(hash(&other), hash(&network));
    assert_eq!(hash(&other).len(), 64);
}

#[test]
fn images_smaller_than_one_position_are_refused() {
    let network = formula::resnet18(&["layer1", "layer3"]);
    let error = network.feature_maps(&formula::image(64, 15)).unwrap_err();
    assert_eq!(
        error,
        "an image of 64x15 pixels is too small for layer3 of resnet18, whose positions are 16 pixels apart"
    );
    let maps = network.feature_maps(&formula::image(17, 16)).unwrap();
    assert_eq!((maps[0].height, maps[0].width, maps[0].dims), (4, 5, 64));
    assert_eq!((maps[1].height, maps[1].width, maps[1].dims), (1, 2, 256));
    assert!(network.feature_maps(&formula::image(0, 0)).is_err());
}

#[test]
fn weights_that_overflow_are_an_error_and_not_a_score() {
    let mut tensors = formula::resnet18(&["layer1"]).tensors();
    for key in ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight"] {
        let TensorData::F32(values) = &mut tensors.get_mut(key).unwrap().data else {
            panic!()
        };
        values.iter_mut().for_each(|value| *value *= 1e25);
    }
    let network = from_folded("resnet18", &layers(&["layer1"]), Precision::F32, &tensors).unwrap();
    let error = network.feature_maps(&formula::image(32, 32)).unwrap_err();
    assert_eq!(error, "layer1 of resnet18 overflows: are its weights damaged?");
}
