//! Whole networks against naive ones, on random shapes.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::quantise::{ACTIVATION_MAX, activation_scale, quantise_weights};
use super::*;
#[cfg(target_arch = "x86_64")]
use crate::simd::Level;
use crate::testing::{Dice, allocations, assert_close, splitmix64, values};

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

fn conv(window: Window, in_channels: usize, out_channels: usize, seed: u64) -> Conv {
    conv_over(window, in_channels, in_channels, out_channels, seed)
}

fn depthwise(window: Window, channels: usize, seed: u64) -> Conv {
    conv_over(window, 1, channels, channels, seed)
}

/// Each output reads `read` of the `in_channels`: all, or its own.
fn conv_over(window: Window, read: usize, in_channels: usize, out_channels: usize, seed: u64) -> Conv {
    let len = out_channels * read * window.kernel * window.kernel;
    let gain = (2.0 / (read * window.kernel * window.kernel) as f32).sqrt() * 1.7;
    Conv {
        window,
        in_channels,
        depthwise: read < in_channels,
        weight: values(len, seed).iter().map(|value| value * gain).collect(),
        bias: values(out_channels, seed + 1).iter().map(|value| value * 0.3).collect(),
    }
}

/// A stem, a pool, and a few blocks with shortcuts of both kinds. Miri takes a thousand times as long, and gets few channels.
fn network(seed: u64) -> Network {
    let mut dice = Dice(seed);
    let mut network = Network::new(MEAN, STD);
    let stem_channels = dice.of(if cfg!(miri) { &[5] } else { &[5, 16, 64, 70] });
    let mut stem = Window {
        kernel: dice.of(&[1, 3, 4, 7]),
        stride: 1 + dice.roll(2),
        padding: dice.roll(2),
    };
    if dice.roll(3) == 0 {
        stem = Window::centred(dice.of(&[3, 7]), 2);
    }
    let mut x = network.conv(network.image(), conv(stem, 3, stem_channels, seed + 10), None, true);
    match dice.roll(4) {
        0 => x = network.max_pool(x, Window::centred(3, 2)),
        1 => x = network.avg_pool(x, Window::centred(3, 2)),
        2 => {
            let halves = Window {
                kernel: 2,
                stride: 2,
                padding: dice.roll(2),
            };
            x = network.avg_pool(x, halves);
        }
        _ => {}
    }
    for block in 0..if cfg!(miri) { 1 } else { 1 + dice.roll(3) } {
        let (channels, out_channels) = (
            network.channels(x),
            dice.of(if cfg!(miri) { &[3, 7] } else { &[3, 8, 64, 66, 130] }),
        );
        let (stride, seed) = (1 + dice.roll(2), seed + 100 * block as u64);
        // PDN's windows are not centred.
        let first = match dice.roll(4) {
            0 => Window {
                kernel: 4,
                stride,
                padding: dice.of(&[2, 3]),
            },
            _ => Window::centred(dice.of(&[1, 3, 5, 7]), stride),
        };
        let mut inner = network.conv(x, conv(first, channels, out_channels, seed + 20), None, true);
        let mut halved = 1;
        if dice.roll(2) == 0 {
            halved = 1 + usize::from(dice.roll(3) == 0);
            let window = Window::centred(dice.of(&[3, 5]), halved);
            inner = network.conv(inner, depthwise(window, out_channels, seed + 60), None, true);
        }
        let added = match dice.roll(3) {
            0 => None,
            // There is no shortcut of that size.
            _ if halved > 1 || first.kernel == 4 => None,
            1 if channels == out_channels && stride == 1 => Some(x),
            _ => Some(network.conv(
                x,
                conv(Window::centred(1, stride), channels, out_channels, seed + 30),
                None,
                false,
            )),
        };
        x = network.conv(
            inner,
            conv(Window::centred(3, 1), out_channels, out_channels, seed + 40),
            added,
            true,
        );
        if dice.roll(2) == 0 {
            network.tap(x);
        }
    }
    let last = network.conv(
        x,
        conv(Window::centred(1, 1), network.channels(x), 9, seed + 50),
        None,
        dice.roll(2) == 0,
    );
    network.tap(last);
    network
}

fn image(height: usize, width: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    (0..3 * height * width)
        .map(|_| (splitmix64(&mut state) >> 56) as u8)
        .collect()
}

/// A map, and its value at a place or zero beyond the edge.
#[derive(Clone)]
struct Map<T> {
    extent: Extent,
    values: Vec<T>,
}

impl<T: Copy + Default> Map<T> {
    fn at(&self, y: isize, x: isize, channel: usize) -> T {
        let Extent {
            height,
            width,
            channels,
        } = self.extent;
        if (0..height as isize).contains(&y) && (0..width as isize).contains(&x) {
            self.values[(y as usize * width + x as usize) * channels + channel]
        } else {
            T::default()
        }
    }

    /// One value of a map under a window.
    fn under<S>(&self, window: Window, out_channels: usize, mut value: impl FnMut(isize, isize, usize) -> S) -> Map<S> {
        let height = window.positions(self.extent.height).unwrap();
        let width = window.positions(self.extent.width).unwrap();
        let mut values = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let start = |at: usize| (at * window.stride) as isize - window.padding as isize;
                values.extend((0..out_channels).map(|out| value(start(y), start(x), out)));
            }
        }
        Map {
            extent: Extent {
                height,
                width,
                channels: out_channels,
            },
            values,
        }
    }
}

/// Every sum of products under a window, as `product(weight index, input)` gives them.
fn sums<T: Copy + Default>(input: &Map<T>, conv: &Conv, product: impl Fn(usize, T) -> f64) -> Map<f64> {
    let (kernel, read) = (conv.window.kernel, if conv.depthwise { 1 } else { conv.in_channels });
    input.under(conv.window, conv.bias.len(), |top, left, out| {
        let mut sum = 0.0;
        for ky in 0..kernel {
            for kx in 0..kernel {
                for channel in 0..read {
                    let weight = ((out * read + channel) * kernel + ky) * kernel + kx;
                    let of = if conv.depthwise { out } else { channel };
                    sum += product(weight, input.at(top + ky as isize, left + kx as isize, of));
                }
            }
        }
        sum
    })
}

fn pooled<T: Copy + Default + PartialOrd>(input: &Map<T>, window: Window) -> Map<T> {
    input.under(window, input.extent.channels, |top, left, channel| {
        let mut largest = T::default();
        for ky in 0..window.kernel as isize {
            for kx in 0..window.kernel as isize {
                let value = input.at(top + ky, left + kx, channel);
                if value > largest {
                    largest = value;
                }
            }
        }
        largest
    })
}

/// The mean under a window, as `mean` makes it of a sum.
fn averaged<T: Copy + Default + Into<f64>>(input: &Map<T>, window: Window, mean: impl Fn(f64) -> T) -> Map<T> {
    input.under(window, input.extent.channels, |top, left, channel| {
        let mut sum = 0.0;
        for ky in 0..window.kernel as isize {
            for kx in 0..window.kernel as isize {
                sum += input.at(top + ky, left + kx, channel).into();
            }
        }
        mean(sum)
    })
}

/// All nodes in f64, and the largest activations.
fn naive_f32(network: &Network, size: [usize; 2], rgb: &[u8]) -> Vec<Map<f64>> {
    let mut maps: Vec<Map<f64>> = Vec::new();
    for node in &network.nodes {
        let map = match node {
            Node::Image => {
                let normalised = |(at, byte): (usize, &u8)| {
                    (f64::from(*byte) / 255.0 - f64::from(MEAN[at % 3])) / f64::from(STD[at % 3])
                };
                let extent = Extent {
                    height: size[0],
                    width: size[1],
                    channels: 3,
                };
                Map {
                    extent,
                    values: rgb.iter().enumerate().map(normalised).collect(),
                }
            }
            Node::MaxPool { input, window } => pooled(&maps[input.0], *window),
            Node::AvgPool { input, window } => {
                let pixels = (window.kernel * window.kernel) as f64;
                averaged(&maps[input.0], *window, |sum| sum / pixels)
            }
            Node::Conv { input, conv, add, relu } => {
                let mut map = sums(&maps[input.0], conv, |weight, value| {
                    f64::from(conv.weight[weight]) * value
                });
                for (at, value) in map.values.iter_mut().enumerate() {
                    *value +=
                        f64::from(conv.bias[at % conv.bias.len()]) + add.map_or(0.0, |add| maps[add.0].values[at]);
                    if *relu {
                        *value = value.max(0.0);
                    }
                }
                map
            }
        };
        maps.push(map);
    }
    maps
}

/// The arithmetic of `quantise.rs`, one value at a time: per node its 8-bit activations and its values in `f32`.
fn naive_int8(network: &Network, size: [usize; 2], rgb: &[u8], largest: &[f32]) -> Vec<Map<f32>> {
    let ranged: Vec<NodeId> = network.ranged().collect();
    let scale = |node: NodeId| {
        let at = ranged.iter().position(|ranged| *ranged == node);
        at.map_or(1.0, |at| activation_scale(largest[at]))
    };
    let (mut bytes, mut wides): (Vec<Map<u8>>, Vec<Map<f32>>) = (Vec::new(), Vec::new());
    let mut scales: Vec<f32> = Vec::new();
    for (at, node) in network.nodes.iter().enumerate() {
        let (map, wide, scale) = match node {
            Node::Image => {
                let extent = Extent {
                    height: size[0],
                    width: size[1],
                    channels: 3,
                };
                (
                    Map {
                        extent,
                        values: rgb.to_vec(),
                    },
                    Map { extent, values: vec![] },
                    1.0,
                )
            }
            node @ (Node::MaxPool { input, window } | Node::AvgPool { input, window }) => {
                let inverse = 1.0 / (window.kernel * window.kernel) as f32;
                let map = match node {
                    Node::MaxPool { .. } => pooled(&bytes[input.0], *window),
                    _ => averaged(&bytes[input.0], *window, |sum| {
                        (sum as f32 * inverse).round_ties_even() as u8
                    }),
                };
                let wide = Map {
                    extent: map.extent,
                    values: vec![],
                };
                (map, wide, scales[input.0])
            }
            Node::Conv { input, conv, add, relu } => {
                let (is_first, kernel) = (*input == network.image(), conv.window.kernel);
                let weight = match is_first {
                    true => weight_for_raw_pixels(network, conv),
                    false => conv.weight.to_vec(),
                };
                let quantised = quantise_weights(&weight, conv.bias.len());
                let raw = quantised.weight();
                let sums = sums(&bytes[input.0], conv, |at, value| {
                    f64::from(quantised.values[at]) * f64::from(value)
                });
                // What the mean takes away, over the pixels that exist.
                let ones = Map {
                    extent: bytes[input.0].extent,
                    values: vec![1u8; bytes[input.0].values.len()],
                };
                let taken = super::tests::sums(&ones, conv, |at, one| {
                    if is_first {
                        raw[at] * 255.0 * f64::from(MEAN[at / (kernel * kernel) % 3]) * f64::from(one)
                    } else {
                        0.0
                    }
                });
                let own = scale(NodeId(at));
                let mut wide = Map {
                    extent: sums.extent,
                    values: Vec::new(),
                };
                for (place, sum) in sums.values.iter().enumerate() {
                    let out = place % conv.bias.len();
                    let bias = (f64::from(conv.bias[out]) - taken.values[place]) as f32;
                    let mut value = *sum as i32 as f32 * (quantised.scales[out] * scales[input.0]) + bias;
                    if let Some(add) = add {
                        value += match &network.nodes[add.0] {
                            Node::Conv { relu: false, .. } => wides[add.0].values[place],
                            _ => f32::from(bytes[add.0].values[place]) * scales[add.0],
                        };
                    }
                    wide.values.push(if *relu && value < 0.0 { 0.0 } else { value });
                }
                let narrow = |value: &f32| (value * (1.0 / own)).round_ties_even().clamp(0.0, ACTIVATION_MAX) as u8;
                (
                    Map {
                        extent: wide.extent,
                        values: wide.values.iter().map(narrow).collect(),
                    },
                    wide,
                    own,
                )
            }
        };
        bytes.push(map);
        wides.push(wide);
        scales.push(scale);
    }
    wides
}

/// The arithmetic of `bfloat16.rs`, one value at a time: per node its values in `f32`.
fn naive_bf16(network: &Network, size: [usize; 2], rgb: &[u8]) -> Vec<Map<f32>> {
    let narrow = |value: f32| {
        if value.abs() < 1.0 / (1_u64 << 50) as f32 {
            0.0
        } else {
            bf16::from_f32(value).to_f32()
        }
    };
    let (mut maps, mut wides): (Vec<Map<f32>>, Vec<Map<f32>>) = (Vec::new(), Vec::new());
    for node in &network.nodes {
        let wide = match node {
            Node::Image => Map {
                extent: Extent {
                    height: size[0],
                    width: size[1],
                    channels: 3,
                },
                values: rgb.iter().copied().map(f32::from).collect(),
            },
            Node::MaxPool { input, window } => pooled(&maps[input.0], *window),
            Node::AvgPool { input, window } => {
                let inverse = 1.0 / (window.kernel * window.kernel) as f32;
                averaged(&maps[input.0], *window, |sum| sum as f32 * inverse)
            }
            Node::Conv { input, conv, add, relu } => {
                let (of, kernel) = (&maps[input.0], conv.window.kernel);
                let is_first = *input == network.image();
                let weight = match is_first {
                    true => weight_for_raw_pixels(network, conv),
                    false => conv.weight.to_vec(),
                };
                let weight: Vec<f32> = weight.into_iter().map(narrow).collect();
                let read = if conv.depthwise { 1 } else { conv.in_channels };
                let mut wide = of.under(conv.window, conv.bias.len(), |top, left, out| {
                    let (mut sum, mut taken) = (0f32, [0f64; 3]);
                    for ky in 0..kernel {
                        let mut row = Vec::new();
                        for kx in 0..kernel {
                            for channel in 0..read {
                                let weight = weight[((out * read + channel) * kernel + ky) * kernel + kx];
                                let (y, x) = (top + ky as isize, left + kx as isize);
                                row.push(of.at(y, x, if conv.depthwise { out } else { channel }) * weight);
                                let is_there = (0..of.extent.height as isize).contains(&y)
                                    && (0..of.extent.width as isize).contains(&x);
                                if is_first && is_there {
                                    taken[channel] += f64::from(weight);
                                }
                            }
                        }
                        if conv.depthwise {
                            row.iter().for_each(|product| sum += product);
                            continue;
                        }
                        for products in row.chunks(32) {
                            let [even, odd] = [0, 1].map(|from| {
                                let products = products.iter().skip(from).step_by(2);
                                products.fold(0.0, |sum: f32, product| sum + product)
                            });
                            sum += even + odd;
                        }
                    }
                    let taken: f64 = (0..3)
                        .map(|channel| taken[channel] * 255.0 * f64::from(MEAN[channel]))
                        .sum();
                    sum + (f64::from(conv.bias[out]) - taken) as f32
                });
                for (at, value) in wide.values.iter_mut().enumerate() {
                    if let Some(add) = add {
                        *value += match &network.nodes[add.0] {
                            Node::Conv { relu: false, .. } => wides[add.0].values[at],
                            _ => maps[add.0].values[at],
                        };
                    }
                    if *relu && *value < 0.0 {
                        *value = 0.0;
                    }
                }
                wide
            }
        };
        let mut map = wide.clone();
        map.values.iter_mut().for_each(|value| *value = narrow(*value));
        maps.push(map);
        wides.push(wide);
    }
    wides
}

fn ranges(network: &Network, maps: &[Map<f64>], share: f64) -> Vec<f32> {
    let largest = |node: NodeId| maps[node.0].values.iter().copied().fold(0.0, f64::max);
    network.ranged().map(|node| (largest(node) * share) as f32).collect()
}

/// The versions of plain code that a machine with no more than `unit` has; other tests wait until the answer is dropped.
fn as_on(unit: Unit) -> impl Sized {
    #[cfg(target_arch = "x86_64")]
    return crate::simd::lowered::to(match unit {
        Unit::Amx | Unit::Avx512 => Level::Avx512,
        Unit::AvxVnni | Unit::Avx2 => Level::Avx2,
        Unit::Portable => Level::Plain,
    });
    #[cfg(not(target_arch = "x86_64"))]
    unit
}

/// What weights are packed for, and what runs them: every unit has its own, and all can run those of AMX, which are filled up.
fn packed_and_run() -> Vec<(Unit, Unit)> {
    let units = Unit::available();
    let best = units[0];
    let own = units.iter().map(|unit| (*unit, *unit));
    let of_best = units.iter().skip(1).map(|unit| (best, *unit));
    own.chain(of_best).collect()
}

const SIZES: [[usize; 2]; 4] = match cfg!(miri) {
    true => [[3, 5]; 4],
    false => [[16, 16], [9, 23], [31, 12], [40, 40]],
};

/// An image, at times one that is black or white all over.
fn image_or_edge([height, width]: [usize; 2], seed: u64) -> Vec<u8> {
    match seed % 6 {
        3 => vec![0; 3 * height * width],
        4 => vec![255; 3 * height * width],
        _ => image(height, width, seed),
    }
}

/// The maps of an image, by this thread.
fn maps_of(plan: &mut Plan, rgb: &[u8]) -> Vec<Vec<f32>> {
    maps_by(&mut Team::new(1), 1, plan, rgb)
}

fn maps_by(team: &mut Team, threads: usize, plan: &mut Plan, rgb: &[u8]) -> Vec<Vec<f32>> {
    plan.run_with(team, threads, rgb);
    plan.maps().map(|(_, values)| values.to_vec()).collect()
}

#[test]
fn f32_networks_match_naive_ones_and_are_the_same_on_every_unit() {
    let mut team = Team::new(3);
    for seed in 0..if cfg!(miri) { 1 } else { 24 } {
        let network = network(1_000 * seed);
        let size = SIZES[seed as usize % SIZES.len()];
        let rgb = image_or_edge(size, seed);
        let naive = naive_f32(&network, size, &rgb);
        let compiled = CompiledNetwork::f32(&network);
        let mut found = Vec::new();
        for unit in Unit::available() {
            let _lowered = as_on(unit);
            let mut plan = compiled.plan_on(unit, size[0], size[1]).unwrap();
            let taps = maps_of(&mut plan, &rgb);
            for ((tap, node), (extent, _)) in taps.iter().zip(&network.taps).zip(plan.maps()) {
                let expected: Vec<f32> = naive[node.0].values.iter().map(|value| *value as f32).collect();
                assert_eq!(extent, naive[node.0].extent);
                assert_close(tap, &expected, 2e-4);
            }
            assert_eq!(
                maps_of(&mut plan, &rgb),
                taps,
                "a second image finds nothing of the first"
            );
            let threads = 1 + seed as usize % 3;
            assert_eq!(
                maps_by(&mut team, threads, &mut plan, &rgb),
                taps,
                "threads change nothing"
            );
            found.push(taps);
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "units differ");
    }
}

#[test]
fn int8_networks_are_exactly_what_is_stated_on_every_unit() {
    let mut team = Team::new(3);
    for seed in 0..if cfg!(miri) { 1 } else { 24 } {
        let mut network = network(1_000 * seed + 7);
        let size = SIZES[seed as usize % SIZES.len()];
        let mut rgb = image(size[0], size[1], seed);
        // What is largest: every pixel, and every weight.
        match seed % 6 {
            3 => rgb.fill(0),
            4 => rgb.fill(255),
            5 => {
                rgb.fill(255);
                for node in &mut network.nodes {
                    if let Node::Conv { conv, .. } = node {
                        conv.weight = conv.weight.iter().map(|weight| 0.05f32.copysign(*weight)).collect();
                    }
                }
            }
            _ => {}
        }
        // Some activations are above their range.
        let largest = ranges(&network, &naive_f32(&network, size, &rgb), 0.7);
        let naive = naive_int8(&network, size, &rgb, &largest);
        for (packed_for, unit) in packed_and_run() {
            let _lowered = as_on(unit);
            let compiled = CompiledNetwork::int8_for(packed_for, &network, &largest).unwrap();
            let mut plan = compiled.plan_on(unit, size[0], size[1]).unwrap();
            let taps = maps_by(&mut team, 1 + seed as usize % 3, &mut plan, &rgb);
            for (tap, node) in taps.iter().zip(&network.taps) {
                let same = tap
                    .iter()
                    .zip(&naive[node.0].values)
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(
                    same && tap.len() == naive[node.0].values.len(),
                    "{unit:?}, packed for {packed_for:?}, seed {seed}, {node:?}"
                );
            }
        }
    }
}

#[test]
fn bf16_networks_are_exactly_what_is_stated_on_every_unit() {
    let mut team = Team::new(3);
    for seed in 0..if cfg!(miri) { 1 } else { 24 } {
        let mut network = network(1_000 * seed + 3);
        for node in &mut network.nodes {
            // Some weights are so small that they count as zero.
            if let Node::Conv { conv, .. } = node {
                let small = |(at, weight): (usize, &f32)| if at % 7 == 0 { weight * 1e-15 } else { *weight };
                conv.weight = conv.weight.iter().enumerate().map(small).collect();
            }
        }
        let size = SIZES[seed as usize % SIZES.len()];
        let rgb = image_or_edge(size, seed);
        let naive = naive_bf16(&network, size, &rgb);
        let exact = naive_f32(&network, size, &rgb);
        for (packed_for, unit) in packed_and_run() {
            let _lowered = as_on(unit);
            let compiled = CompiledNetwork::bf16_for(packed_for, &network);
            let mut plan = compiled.plan_on(unit, size[0], size[1]).unwrap();
            let taps = maps_by(&mut team, 1 + seed as usize % 3, &mut plan, &rgb);
            assert_eq!(taps.len(), network.taps.len());
            for (tap, node) in taps.iter().zip(&network.taps) {
                let expected = &naive[node.0].values;
                let differ = tap
                    .iter()
                    .zip(expected)
                    .filter(|(a, b)| a.to_bits() != b.to_bits())
                    .count();
                assert!(
                    differ == 0 && tap.len() == expected.len(),
                    "{unit:?}, packed for {packed_for:?}, seed {seed}, {node:?}: {differ} of {} differ",
                    tap.len()
                );
                let exact = &exact[node.0].values;
                let error: f64 = tap.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
                let power: f64 = exact.iter().map(|value| value.powi(2)).sum();
                assert!(error < 3e-4 * power, "seed {seed}: {error} of {power}");
            }
            assert_eq!(
                maps_of(&mut plan, &rgb),
                taps,
                "a second image finds nothing of the first"
            );
        }
    }
}

#[test]
fn a_network_that_ran_once_allocates_nothing() {
    let before = allocations();
    drop(std::hint::black_box(vec![0_u8; 9]));
    assert!(allocations() > before, "allocations are seen");
    for seed in 0..if cfg!(miri) { 1 } else { 8 } {
        let network = network(1_000 * seed + 5);
        let size = SIZES[seed as usize % SIZES.len()];
        let rgb = image(size[0], size[1], seed);
        let largest = ranges(&network, &naive_f32(&network, size, &rgb), 1.0);
        let compiled = [
            CompiledNetwork::int8(&network, &largest).unwrap(),
            CompiledNetwork::f32(&network),
            CompiledNetwork::bf16(&network),
        ];
        for compiled in &compiled[..if cfg!(miri) { 1 } else { 3 }] {
            let mut plan = compiled.plan(size[0], size[1]).unwrap();
            let mut team = Team::new(2);
            for threads in [1, 2] {
                plan.run_with(&mut team, threads, &rgb);
                // Of the helper, too, who is asked by itself.
                let counted = [const { AtomicUsize::new(0) }; 2];
                let count = |team: &mut Team| {
                    team.run(2, &|member, _| counted[member].store(allocations(), Ordering::Relaxed));
                    counted.each_ref().map(|count| count.load(Ordering::Relaxed))
                };
                let before = count(&mut team);
                plan.run_with(&mut team, threads, &rgb);
                assert!(plan.maps().all(|(_, values)| !values.is_empty()));
                assert_eq!(count(&mut team), before, "seed {seed}, {threads} threads");
            }
        }
    }
}

#[test]
fn int8_is_close_to_f32_where_ranges_fit() {
    for seed in 0..if cfg!(miri) { 1 } else { 8 } {
        let network = network(1_000 * seed + 13);
        let size = [if cfg!(miri) { 5 } else { 24 }; 2];
        let rgb = image(size[0], size[1], seed);
        let naive = naive_f32(&network, size, &rgb);
        let largest = ranges(&network, &naive, 1.0);
        let compiled = CompiledNetwork::int8(&network, &largest).unwrap();
        let taps = maps_of(&mut compiled.plan(size[0], size[1]).unwrap(), &rgb);
        for (tap, node) in taps.iter().zip(&network.taps) {
            let exact = &naive[node.0].values;
            let error: f64 = tap.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
            let power: f64 = exact.iter().map(|value| value.powi(2)).sum();
            assert!(error < 0.001 * power, "seed {seed}: {error} of {power}");
        }
    }
}

#[test]
fn the_largest_activations_are_observed() {
    let network = network(3_000);
    let [height, width] = SIZES[0];
    let rgb = image(height, width, 3);
    let expected = ranges(&network, &naive_f32(&network, [height, width], &rgb), 1.0);
    let mut largest = vec![0.0; expected.len()];
    CompiledNetwork::f32(&network)
        .observe(height, width, &rgb, &mut largest)
        .unwrap();
    let n_observed = largest.iter().filter(|value| **value > 0.0).count();
    // The last is only tapped, so it needs no range.
    assert!(n_observed + 1 >= expected.len());
    for (found, expected) in largest.iter().zip(&expected).filter(|(found, _)| **found > 0.0) {
        assert_close(&[*found], &[*expected], 1e-4);
    }
}

#[test]
fn sums_that_leave_f32_are_refused_in_8_bits() {
    let with_weights = |gain: f32, bias: f32| {
        let mut network = Network::new(MEAN, STD);
        let x = network.conv(network.image(), conv(Window::centred(3, 2), 3, 4, 1), None, true);
        let mut second = conv(Window::centred(3, 1), 4, 4, 2);
        second.weight = second.weight.iter().map(|weight| weight * gain).collect();
        second.bias = second.bias.iter().map(|value| value * bias).collect();
        let x = network.conv(x, second, None, true);
        network.tap(x);
        network
    };
    let compiled = |gain, bias, range| CompiledNetwork::int8(&with_weights(gain, bias), &[range, range]).err();
    assert_eq!(compiled(1.0, 1.0, 1.0), None);
    for (gain, bias, range) in [(1e38, 1.0, 1e9), (1.0, 1e38, 1.0), (1e30, 1.0, 1e3)] {
        let refused = compiled(gain, bias, range).unwrap();
        assert!(refused.contains("are its weights damaged?"), "{refused}");
    }
    assert!(compiled(1.0, 1.0, 1e38).unwrap().contains("cannot have the range"));
}

#[test]
fn a_window_may_lie_beyond_the_edge() {
    let mut network = Network::new(MEAN, STD);
    let window = Window {
        kernel: 1,
        stride: 2,
        padding: 3,
    };
    let x = network.conv(network.image(), conv(window, 3, 4, 1), None, true);
    network.tap(x);
    let compiled = CompiledNetwork::int8(&network, &[1.0]).unwrap();
    let taps = maps_of(&mut compiled.plan(1, 1).unwrap(), &[200, 100, 0]);
    // Of four positions along each side the second is a pixel beyond the edge: none sees the image.
    let bias = conv(window, 3, 4, 1).bias;
    assert!(
        taps[0]
            .chunks_exact(4)
            .all(|values| values.iter().zip(&*bias).all(|(a, b)| *a == b.max(0.0)))
    );
}

/// Prints what the README says of other machines, and which units were tested nowhere here.
#[test]
#[ignore = "measures"]
fn times_by_unit() {
    let mut network = Network::new(MEAN, STD);
    let mut x = network.conv(network.image(), conv(Window::centred(7, 2), 3, 64, 1), None, true);
    x = network.max_pool(x, Window::centred(3, 2));
    for seed in 0..4 {
        x = network.conv(x, conv(Window::centred(3, 1), 64, 64, seed), None, true);
    }
    for (channels, seed) in [(128, 20), (256, 40)] {
        x = network.conv(x, conv(Window::centred(3, 2), channels / 2, channels, seed), None, true);
        for seed in seed..seed + 3 {
            x = network.conv(x, conv(Window::centred(3, 1), channels, channels, seed), None, true);
        }
    }
    network.tap(x);
    let rgb = image(256, 256, 1);
    let mut largest = vec![0.0; network.ranged().count()];
    CompiledNetwork::f32(&network)
        .observe(256, 256, &rgb, &mut largest)
        .unwrap();
    let available = Unit::available();
    #[cfg(target_arch = "x86_64")]
    for unit in [Unit::Amx, Unit::Avx512, Unit::AvxVnni, Unit::Avx2] {
        if !available.contains(&unit) {
            println!("NOT RUN: this CPU has no {unit:?}, so that its kernels were not tested");
        }
    }
    for unit in available {
        let _lowered = as_on(unit);
        for (precision, compiled) in [
            ("int8", CompiledNetwork::int8_for(unit, &network, &largest).unwrap()),
            ("bf16", CompiledNetwork::bf16_for(unit, &network)),
            ("f32", CompiledNetwork::f32(&network)),
        ] {
            let mut plan = compiled.plan_on(unit, 256, 256).unwrap();
            let seconds = (0..7).map(|_| {
                let began = Instant::now();
                plan.run_with(&mut Team::new(1), 1, &rgb);
                began.elapsed().as_secs_f64()
            });
            let best = seconds.reduce(f64::min).unwrap();
            println!("{unit:?} {precision}: {:.1} ms", best * 1e3);
        }
    }
}

#[test]
fn what_cannot_be_run_is_refused() {
    let mut network = Network::new(MEAN, STD);
    let x = network.conv(
        network.image(),
        conv(
            Window {
                kernel: 7,
                stride: 2,
                padding: 0,
            },
            3,
            4,
            1,
        ),
        None,
        true,
    );
    let x = network.conv(x, conv(Window::centred(3, 1), 4, 4, 2), None, true);
    network.tap(x);
    let compiled = CompiledNetwork::f32(&network);
    assert!(compiled.plan(6, 40).err().unwrap().contains("too small"));
    assert!(compiled.plan(20_000, 40).err().unwrap().contains("larger than"));
    assert!(compiled.plan(7, 7).is_ok());
    assert!(
        CompiledNetwork::int8(&network, &[1.0])
            .err()
            .unwrap()
            .contains("2 activations")
    );
    assert!(
        CompiledNetwork::int8(&network, &[1.0, f32::NAN])
            .err()
            .unwrap()
            .contains("NaN")
    );
    assert!(compiled.weight_bytes() > 0 && compiled.plan(16, 16).unwrap().bytes() > 0);
}
