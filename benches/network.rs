//! Backbones at 256×256 on the kernels, with random weights: milliseconds an image, and how much of it is where.
//!
//! `cargo bench --bench network` prints medians; `-- --layers` every step of them, with its share of what the CPU could do.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::time::Instant;

use intakt_kernels::network::{CompiledNetwork, Conv, Network, NodeId, Plan, Team, Window};

const SIDE_PX: usize = 256;
const RUNS: usize = 30;

/// Weights that keep activations about as large as they are.
fn conv(window: Window, in_channels: usize, out_channels: usize, seed: &mut u64) -> Conv {
    let mut value = || {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let inputs = in_channels * window.kernel * window.kernel;
    let gain = (6.0 / inputs as f32).sqrt();
    Conv {
        window,
        in_channels,
        depthwise: false,
        weight: (0..out_channels * inputs).map(|_| value() * gain).collect(),
        bias: (0..out_channels).map(|_| value() * 0.1).collect(),
    }
}

fn stem(network: &mut Network, seed: &mut u64) -> NodeId {
    let image = network.image();
    let x = network.conv(image, conv(Window::centred(7, 2), 3, 64, seed), None, true);
    network.max_pool(x, Window::centred(3, 2))
}

/// ResNet-18 to layer3, tapped at layer1 to layer3.
fn resnet18() -> Network {
    let (mut network, mut seed) = (Network::new([0.45; 3], [0.225; 3]), 1);
    let mut x = stem(&mut network, &mut seed);
    for (depth, channels) in [64, 128, 256].into_iter().enumerate() {
        for block in 0..2 {
            let (from, stride) = (network.channels(x), if depth > 0 && block == 0 { 2 } else { 1 });
            let shortcut = match stride {
                1 => x,
                _ => network.conv(x, conv(Window::centred(1, 2), from, channels, &mut seed), None, false),
            };
            let inner = network.conv(
                x,
                conv(Window::centred(3, stride), from, channels, &mut seed),
                None,
                true,
            );
            let second = conv(Window::centred(3, 1), channels, channels, &mut seed);
            x = network.conv(inner, second, Some(shortcut), true);
        }
        network.tap(x);
    }
    network
}

/// WideResNet-50-2 to layer3, tapped at layer2 and layer3.
fn wide_resnet50_2() -> Network {
    let (mut network, mut seed) = (Network::new([0.45; 3], [0.225; 3]), 2);
    let mut x = stem(&mut network, &mut seed);
    for (depth, blocks) in [3, 4, 6].into_iter().enumerate() {
        let (width, channels) = (128 << depth, 256 << depth);
        for block in 0..blocks {
            let (from, stride) = (network.channels(x), if depth > 0 && block == 0 { 2 } else { 1 });
            let shortcut = match block {
                0 => network.conv(
                    x,
                    conv(Window::centred(1, stride), from, channels, &mut seed),
                    None,
                    false,
                ),
                _ => x,
            };
            let inner = network.conv(x, conv(Window::centred(1, 1), from, width, &mut seed), None, true);
            let inner = network.conv(
                inner,
                conv(Window::centred(3, stride), width, width, &mut seed),
                None,
                true,
            );
            let last = conv(Window::centred(1, 1), width, channels, &mut seed);
            x = network.conv(inner, last, Some(shortcut), true);
        }
        if depth > 0 {
            network.tap(x);
        }
    }
    network
}

/// The student of EfficientAD (Batzner, Heckler and König 2024, table 6), small, without padding as anomalib has it.
fn pdn_small() -> Network {
    let (mut network, mut seed) = (Network::new([0.45; 3], [0.225; 3]), 3);
    let window = |kernel, stride| Window {
        kernel,
        stride,
        padding: 0,
    };
    let mut x = network.image();
    for (kernel, from, channels) in [(4, 3, 128), (4, 128, 256)] {
        x = network.conv(x, conv(window(kernel, 1), from, channels, &mut seed), None, true);
        x = network.avg_pool(x, window(2, 2));
    }
    x = network.conv(x, conv(window(3, 1), 256, 256, &mut seed), None, true);
    let last = network.conv(x, conv(window(4, 1), 256, 384, &mut seed), None, false);
    network.tap(last);
    network
}

fn networks() -> [(&'static str, Network); 3] {
    [
        ("ResNet-18 to layer3", resnet18()),
        ("WideResNet-50-2 to layer3", wide_resnet50_2()),
        ("PDN-small", pdn_small()),
    ]
}

fn main() {
    let layers = std::env::args().any(|arg| arg == "--layers");
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let mut seed = 7u64;
    let mut byte = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    let rgb: Vec<u8> = (0..3 * SIDE_PX * SIDE_PX).map(|_| byte()).collect();
    let mut team = Team::new(2);
    for (name, network) in networks() {
        let in_f32 = CompiledNetwork::f32(&network);
        let mut largest = vec![0.0; network.ranged().count()];
        in_f32
            .observe(SIDE_PX, SIDE_PX, &rgb, &mut largest)
            .expect("large enough");
        let in_int8 = CompiledNetwork::int8(&network, &largest).expect("finite weights");
        let in_bf16 = CompiledNetwork::bf16(&network);
        for (precision, compiled) in [("int8", &in_int8), ("bf16", &in_bf16), ("f32", &in_f32)] {
            let mut plan = compiled.plan(SIDE_PX, SIDE_PX).expect("large enough");
            let peak = layers.then(|| compiled.peak_operations());
            for threads in [1, 2] {
                report(name, precision, &mut plan, &mut team, threads, &rgb, peak);
            }
            let megabytes = |bytes: usize| bytes as f64 / 1e6;
            println!(
                "{name:<28} {precision:<5} weights {:.1} MB, maps {:.1} MB",
                megabytes(compiled.weight_bytes()),
                megabytes(plan.bytes())
            );
        }
    }
}

/// Prints medians, and every step where the `peak` of a thread is given, in operations a second.
fn report(
    name: &str,
    precision: &str,
    plan: &mut Plan,
    team: &mut Team,
    threads: usize,
    rgb: &[u8],
    peak: Option<f64>,
) {
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            plan.run_with(team, threads, rgb);
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let profiles: Vec<_> = (0..RUNS).map(|_| plan.profile(team, threads, rgb)).collect();
    let multiplications: u64 = profiles[0].iter().map(|step| step.multiplications).sum();
    let giga = |multiplications: u64, seconds: f64| 2.0 * multiplications as f64 / seconds / 1e9;
    println!(
        "{name:<28} {precision:<5} {threads} thread(s): median {:7.2} ms, best {:7.2} ms, {:4.0} GOP/s",
        seconds[RUNS / 2] * 1e3,
        seconds[0] * 1e3,
        giga(multiplications, seconds[RUNS / 2])
    );
    let Some(peak) = peak.map(|peak| peak * threads as f64) else {
        return;
    };
    for (at, step) in profiles[0].iter().enumerate() {
        let mut of_step: Vec<f64> = profiles.iter().map(|profile| profile[at].seconds).collect();
        of_step.sort_by(f64::total_cmp);
        let median = of_step[RUNS / 2];
        println!(
            "    {:<56} {:8.3} ms {:5.0} GOP/s {:3.0} % of {:.0}",
            step.what,
            median * 1e3,
            giga(step.multiplications, median),
            100.0 * 2.0 * step.multiplications as f64 / median / peak,
            peak / 1e9
        );
    }
}
