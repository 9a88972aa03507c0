use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use rayon::ThreadPoolBuilder;

use super::super::conv::{Conv, Then, Window};
use super::formula;
use crate::detector::backbone::Backbone;

#[test]
fn feature_maps_do_not_depend_on_threads() {
    let network = formula::resnet18(&["layer1", "layer2", "layer3"]);
    for size_px in [224, 256] {
        let image = formula::image(size_px, size_px);
        let maps = network.feature_maps(&image).unwrap();
        for threads in [1, 2] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let same = pool.install(|| network.feature_maps(&image).unwrap()) == maps;
            assert!(same, "{size_px} pixels on {threads} threads");
        }
        // As an inspecting thread runs it: alone in a pool of its own.
        let run_alone = || {
            let pool = ThreadPoolBuilder::new()
                .num_threads(1)
                .use_current_thread()
                .build()
                .unwrap();
            pool.install(|| network.feature_maps(&image).unwrap())
        };
        let at_once: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(run_alone)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(
            at_once.iter().all(|concurrent| *concurrent == maps),
            "{size_px} pixels, two images at once"
        );
    }
}

#[test]
fn maps_of_an_image_do_not_depend_on_the_image_before() {
    let network = formula::resnet18(&["layer2"]);
    let image = formula::image(96, 64);
    let first = network.feature_maps(&image).unwrap();
    network.feature_maps(&formula::image(64, 64)).unwrap();
    assert!(network.feature_maps(&image).unwrap() == first);
}

/// Fastest and median of 30 runs on one thread, in milliseconds.
fn milliseconds(run: impl Fn() + Sync) -> (f64, f64) {
    let pool = ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut times: Vec<_> = (0..30)
        .map(|_| {
            let start = Instant::now();
            pool.install(&run);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

#[test]
#[ignore = "prints durations: run it alone, with --release --nocapture"]
fn milliseconds_on_one_thread() {
    let network = formula::resnet18(&["layer1", "layer2", "layer3"]);
    let image = formula::image(256, 256);
    let (fastest, median) = milliseconds(|| assert_eq!(network.feature_maps(&image).unwrap().len(), 3));
    println!("resnet18 to layer3, 256x256: fastest {fastest:.1}, median {median:.1} ms");
    for (size, channels) in [(64, 64), (32, 128), (16, 256)] {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let shape = [channels, channels, 3, 3];
        let weight = vec![0.0; channels * channels * 9];
        let conv = Conv::new("conv1", Window::centred(3, 1), shape, &weight, vec![0.0; channels]).unwrap();
        let (ours, candles) = (zeros(&[size, size, channels]), zeros(&[1, channels, size, size]));
        let weight = zeros(&shape);
        let (ours, _) = milliseconds(|| assert_eq!(conv.forward(&ours, &Then::Relu).unwrap().rank(), 3));
        let (candles, _) = milliseconds(|| assert_eq!(candles.conv2d(&weight, 1, 1, 1, 1).unwrap().rank(), 4));
        println!("3x3, {channels} channels, {size}x{size}: fastest {ours:.2} ms, candle's conv2d {candles:.2} ms");
    }
}
