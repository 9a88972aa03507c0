//! From the bytes of a frame to its feature maps, on one thread as a thread of the pool runs it.

mod support;

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::Criterion;
use intakt_operators::detector::backbone::builtin::{Builtin, BuiltinFit};
use intakt_operators::detector::backbone::{Backbone, from_folded};
use intakt_operators::detector::{Precision, Tensor};
use intakt_operators::imaging::{decode, resize};
use intakt_pipelines::png::encode_png;
use support::{surface, values};

fn main() {
    // As in the pool: a tensor library that spreads over rayon stays on this one thread.
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    one_thread.expect("the system gives a thread").install(|| {
        let mut criterion = support::criterion();
        decoding(&mut criterion);
        backbones(&mut criterion);
        criterion.final_summary();
    });
}

fn decoding(criterion: &mut Criterion) {
    let png = encode_png(&surface(448, 1)).expect("an image with pixels");
    let image = surface(448, 1);
    let mut group = criterion.benchmark_group("embed");
    group.bench_function("decode PNG 448x448", |b| b.iter(|| decode(black_box(&png), u16::MAX)));
    group.bench_function("resize 448x448 to 256x256", |b| {
        b.iter(|| resize(black_box(&image), 256, 256))
    });
    group.bench_function("decode PNG 448x448 and resize to 256x256", |b| {
        b.iter(|| decode(black_box(&png), u16::MAX).map(|image| resize(&image, 256, 256)))
    });
    group.finish();
}

fn backbones(criterion: &mut Criterion) {
    let image = surface(256, 9);
    let builtin = fitted_builtin();
    let resnet = random_resnet18();
    let mut group = criterion.benchmark_group("embed");
    group.bench_function("builtin 256x256, hop1 to hop4", |b| {
        b.iter(|| builtin.feature_maps(black_box(&image)))
    });
    group.bench_function("resnet18 256x256, layer1 to layer3", |b| {
        b.iter(|| resnet.feature_maps(black_box(&image)))
    });
    group.finish();
}

fn fitted_builtin() -> Builtin {
    let layers: Vec<String> = (1..=4).map(|hop| format!("hop{hop}")).collect();
    let images: Vec<_> = (0..4).map(|seed| surface(256, seed)).collect();
    let mut fit = BuiltinFit::new(&layers).expect("the layers are known");
    while !fit.is_done() {
        let mut moments = fit.hop_moments(&images[0]).expect("an image with pixels");
        for image in &images[1..] {
            let more = fit.hop_moments(image).expect("an image with pixels");
            moments.merge(&more).expect("moments of one pass");
        }
        fit.finish_hop(&moments).expect("the images have structure");
    }
    fit.finish()
}

/// Weights of the size that keeps activations level (He et al. 2015, arXiv 1502.01852): what they mean costs no time.
fn random_resnet18() -> impl Backbone {
    let mut tensors = BTreeMap::new();
    let mut add = |key: String, shape: [usize; 4]| {
        let fan_in = (shape[1] * shape[2] * shape[3]) as f32;
        let mut weight = values(shape.iter().product(), tensors.len() as u64);
        weight.iter_mut().for_each(|value| *value *= (3.0 / fan_in).sqrt());
        tensors.insert(format!("{key}.weight"), Tensor::f32(&shape, weight));
        tensors.insert(format!("{key}.bias"), Tensor::f32(&shape[..1], vec![0.0; shape[0]]));
    };
    add("conv1".to_owned(), [64, 3, 7, 7]);
    for (depth, channels) in [64, 128, 256].into_iter().enumerate() {
        let layer = format!("layer{}", depth + 1);
        let below = if depth == 0 { channels } else { channels / 2 };
        add(format!("{layer}.0.conv1"), [channels, below, 3, 3]);
        add(format!("{layer}.0.conv2"), [channels, channels, 3, 3]);
        add(format!("{layer}.1.conv1"), [channels, channels, 3, 3]);
        add(format!("{layer}.1.conv2"), [channels, channels, 3, 3]);
        if depth > 0 {
            add(format!("{layer}.0.downsample.0"), [channels, below, 1, 1]);
        }
    }
    let layers: Vec<String> = (1..=3).map(|layer| format!("layer{layer}")).collect();
    from_folded("resnet18", &layers, Precision::F32, &tensors).expect("the tensors are those of the network")
}
