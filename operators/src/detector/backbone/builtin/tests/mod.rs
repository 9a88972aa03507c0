//! The built-in backbone against its closed form, and against files that nobody vouches for.

mod parity;
mod real;

use super::moments::Gram;
use super::*;
use crate::detector::TensorData;

const SMALL: [HopSpec; 2] = [HopSpec { kernel: 3, kept: 6 }, HopSpec { kernel: 3, kept: 5 }];

fn names(layers: &[&str]) -> Vec<String> {
    layers.iter().map(ToString::to_string).collect()
}

/// The image of `tests/parity/builtin.py`.
fn formula(which: usize, width: usize, height: usize) -> Image {
    let byte =
        |y: usize, x: usize, c: usize| (x * x + 3 * y * (x + 7 * which + 1) + 40 * c * (y % 5) + 11 * which) % 256;
    let bytes = (0..height * width * 3).map(|at| byte(at / 3 / width, at / 3 % width, at % 3) as u8);
    Image::new(width as u32, height as u32, bytes.collect::<Vec<_>>())
}

fn flat(width: u32, height: u32, value: u8) -> Image {
    Image::new(width, height, vec![value; (width * height * 3) as usize])
}

/// Fits on `images` in the order and with the grouping that `groups` lists.
fn fit_in_groups(mut fit: BuiltinFit, images: &[Image], groups: &[&[usize]]) -> Builtin {
    while !fit.is_done() {
        let sums = groups.iter().map(|group| {
            let mut sum = fit.hop_moments(&images[group[0]]).unwrap();
            for &at in &group[1..] {
                sum.merge(&fit.hop_moments(&images[at]).unwrap()).unwrap();
            }
            sum
        });
        let total = sums.reduce(|mut sum, more| {
            sum.merge(&more).unwrap();
            sum
        });
        fit.finish_hop(&total.unwrap()).unwrap();
    }
    fit.finish()
}

fn fit(images: &[Image], layers: &[&str]) -> Builtin {
    let all: Vec<usize> = (0..images.len()).collect();
    fit_in_groups(BuiltinFit::new(&names(layers)).unwrap(), images, &[&all])
}

fn two_images() -> [Image; 2] {
    [formula(0, 26, 21), formula(1, 26, 21)]
}

#[test]
fn features_are_those_of_the_closed_form_in_numpy() {
    let images = two_images();
    let small = BuiltinFit::with_hops(&SMALL, &names(&["hop1", "hop2"])).unwrap();
    let maps = fit_in_groups(small, &images, &[&[0, 1]])
        .feature_maps(&images[0])
        .unwrap();
    for (map, expected) in maps.iter().zip([parity::HOP1.as_slice(), &parity::HOP2]) {
        assert_eq!(map.data.len(), expected.len());
        for (at, (value, expected)) in map.data.iter().zip(expected).enumerate() {
            assert!((value - expected).abs() < 1e-3, "{at}: {value}, numpy has {expected}");
        }
    }
}

#[test]
fn backbone_does_not_depend_on_order_or_grouping_of_the_images() {
    let images: Vec<Image> = (0..6).map(|which| formula(which, 40 + which, 33)).collect();
    let start = BuiltinFit::new(&names(&["hop1", "hop2", "hop3", "hop4"])).unwrap();
    let one = fit_in_groups(start.clone(), &images, &[&[0, 1, 2, 3, 4, 5]]);
    let other = fit_in_groups(start, &images, &[&[5, 1], &[3], &[2, 0, 4]]);
    assert_eq!(one, other);
    assert_eq!(one.feature_maps(&images[3]), other.feature_maps(&images[3]));
}

#[test]
fn principal_components_do_not_see_brightness() {
    let builtin = fit(&two_images(), &["hop1"]);
    let apply = |value| builtin.hops[0].apply(&pixels(&flat(9, 9, value)));
    let (dark, bright) = (apply(20), apply(220));
    assert!(bright.data[0] > dark.data[0] + 0.1, "the mean must");
    for dim in 1..24 {
        assert!((dark.data[dim] - bright.data[dim]).abs() < 1e-4, "dimension {dim}");
    }
}

#[test]
fn layers_have_a_mean_variance_of_one_on_the_training_images() {
    let images: Vec<Image> = (0..4).map(|which| formula(which, 96, 64)).collect();
    let builtin = fit(&images, &["hop1", "hop2", "hop3", "hop4"]);
    let maps: Vec<_> = images
        .iter()
        .map(|image| builtin.feature_maps(image).unwrap())
        .collect();
    for (layer, described) in builtin.layers().iter().enumerate() {
        let vectors: Vec<&[f32]> = maps
            .iter()
            .flat_map(|maps| maps[layer].data.chunks(described.dims))
            .collect();
        let variance = |dim: usize| {
            let mean = vectors.iter().map(|v| f64::from(v[dim])).sum::<f64>() / vectors.len() as f64;
            vectors.iter().map(|v| (f64::from(v[dim]) - mean).powi(2)).sum::<f64>() / vectors.len() as f64
        };
        let mean = (0..described.dims).map(variance).sum::<f64>() / described.dims as f64;
        assert!((mean - 1.0).abs() < 1e-3, "{}: {mean}", described.name);
    }
}

#[test]
fn any_image_size_works() {
    let builtin = fit(&two_images(), &["hop1", "hop2", "hop3", "hop4"]);
    for (width, height) in [(1, 1), (2, 5), (7, 8), (9, 16), (65, 31)] {
        for (map, layer) in builtin
            .feature_maps(&formula(2, width, height))
            .unwrap()
            .iter()
            .zip(builtin.layers())
        {
            let expected = (
                height.div_ceil(layer.stride_px),
                width.div_ceil(layer.stride_px),
                layer.dims,
            );
            assert_eq!(
                (map.height, map.width, map.dims),
                expected,
                "{} of {width}x{height}",
                layer.name
            );
            assert!(map.data.iter().all(|value| value.is_finite()));
        }
    }
    let error = builtin.feature_maps(&Image::new(0, 4, Vec::new())).unwrap_err();
    assert_eq!(error, "backbone `builtin` needs an image with pixels, not 0x4");
}

#[test]
fn hops_below_the_deepest_layer_are_not_there() {
    let builtin = fit(&two_images(), &["hop2"]);
    let tensors = builtin.tensors();
    let held: Vec<&str> = tensors.keys().map(String::as_str).collect();
    assert_eq!(
        held,
        ["hop1.bias", "hop1.weight", "hop2.bias", "hop2.scale", "hop2.weight"]
    );
    assert_eq!(builtin.layers()[0].name, "hop2");
}

#[test]
fn images_without_structure_give_finite_features() {
    let images = [flat(16, 16, 90), flat(16, 16, 90)];
    let builtin = fit(&images, &["hop1", "hop4"]);
    let maps = builtin.feature_maps(&formula(0, 16, 16)).unwrap();
    assert!(maps.iter().all(|map| map.data.iter().all(|value| value.is_finite())));
}

#[test]
fn samples_are_the_neighbourhoods_that_the_convolution_sees() {
    // With as many cells as positions every position is sampled, so the mean over the samples is that over the map.
    let image = pixels(&formula(3, 9, 7));
    let builtin = fit(&two_images(), &["hop1"]);
    let hop = &builtin.hops[0];
    let output = hop.apply(&image);
    let (mean, _) = Gram::of_neighbourhoods(&image, 5, 0).mean_and_covariance();
    for (dim, kernel) in hop.weights.chunks(75).enumerate() {
        let of_samples =
            kernel.iter().zip(&mean).map(|(&w, x)| f64::from(w) * x).sum::<f64>() + f64::from(hop.bias[dim]);
        let of_map = output.data.chunks(24).map(|v| f64::from(v[dim])).sum::<f64>() / output.positions() as f64;
        assert!(
            (of_samples - of_map).abs() < 2e-3,
            "dimension {dim}: {of_samples}, {of_map}"
        );
    }
}

#[test]
fn tensors_give_the_same_backbone_back() {
    let images = two_images();
    let builtin = fit(&images, &["hop1", "hop3"]);
    let read = Builtin::from_folded(&names(&["hop1", "hop3"]), &builtin.tensors()).unwrap();
    assert_eq!(builtin, read);
    assert_eq!(builtin.feature_maps(&images[1]), read.feature_maps(&images[1]));
}

#[test]
fn unknown_layers_are_refused() {
    let refused = |layers: &[&str]| BuiltinFit::new(&names(layers)).unwrap_err();
    assert_eq!(
        refused(&[]),
        "backbone `builtin` needs a layer: known are hop1, hop2, hop3, hop4"
    );
    assert_eq!(
        refused(&["layer2"]),
        "backbone `builtin` has no layer `layer2`: known are hop1, hop2, hop3, hop4"
    );
    let order = "layers of backbone `builtin` go from shallow to deep, each once: `hop1` does not follow `hop1`";
    assert_eq!(refused(&["hop1", "hop1"]), order);
    assert!(Builtin::from_folded(&names(&["hop9"]), &BTreeMap::new()).is_err());
}

#[test]
fn foreign_tensors_are_refused_with_a_reason() {
    let good = fit(&two_images(), &["hop1", "hop2"]).tensors();
    let layers = names(&["hop1", "hop2"]);
    let refused = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        Builtin::from_folded(&layers, &tensors).unwrap_err()
    };
    let shaped = |name: &'static str, shape: &'static [usize]| {
        refused(&move |tensors| {
            tensors.get_mut(name).unwrap().shape = shape.to_vec();
        })
    };

    let missing = refused(&|tensors| drop(tensors.remove("hop2.bias")));
    assert_eq!(missing, "tensor `hop2.bias` is missing: backbone `builtin` needs it");
    let integers = refused(&|tensors| drop(tensors.insert("hop1.bias".to_string(), Tensor::i64(&[24], vec![0; 24]))));
    assert_eq!(
        integers,
        "tensor `hop1.bias` holds integers: backbone `builtin` needs floats"
    );
    let scaled = shaped("hop1.scale", &[2]);
    assert_eq!(
        scaled,
        "tensor `hop1.scale` has shape [2] and 1 values: backbone `builtin` needs [1]"
    );
    let infinite = refused(&|tensors| {
        if let TensorData::F32(values) = &mut tensors.get_mut("hop1.weight").unwrap().data {
            values[7] = f32::INFINITY;
        }
    });
    assert_eq!(
        infinite,
        "tensor `hop1.weight` holds inf: backbone `builtin` needs finite numbers"
    );

    let shapes: [&[usize]; 8] = [
        &[24, 3, 3],
        &[0, 3, 3, 24],
        &[24, 3, 3, 25],
        &[24, 2, 2, 24],
        &[24, 3, 5, 24],
        &[24, 1, 1, 24],
        &[usize::MAX, 3, 3, 24],
        &[24, 1 << 40, 1 << 40, 24],
    ];
    for shape in shapes {
        let error = shaped("hop2.weight", shape);
        assert!(error.starts_with("tensor `hop2.weight` has shape ["), "{error}");
    }
}
