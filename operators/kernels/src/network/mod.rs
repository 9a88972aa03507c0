//! Convolutional networks, compiled once and run without allocating, in 8-bit integers, `bf16` or `f32`.
//!
//! A [`Network`] says what is computed. [`CompiledNetwork`] holds its weights in the order in which they are read; a [`Plan`] adds
//! the memory for images of one size and runs on the calling thread, or on those of a [`Team`]. Every value is computed in one
//! order whatever the machine and the number of threads, so all of them give the same bytes.

#[macro_use]
mod tile;

mod bfloat16;
mod bias;
mod byte_products;
mod cells;
mod crew;
mod element;
mod finish;
mod graph;
mod memory;
mod pack;
mod plan;
mod quantise;
mod run;
mod team;
mod winograd;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use half::bf16;

use self::bfloat16::narrowed_weights;
pub(crate) use self::byte_products::{BYTE_DIMS, BYTE_GROUP, ByteProducts};
pub use self::crew::{AtWork, Crew, pipelined, share};
pub(crate) use self::element::Unit;
use self::graph::Node;
pub use self::graph::{Conv, Network, NodeId, Window};
use self::pack::PackedConv;
use self::plan::Compiled;
pub use self::plan::Extent;
use self::quantise::{PRODUCTS_MAX, activation_scale, quantise_weights};
use self::run::{Run, Running};
pub use self::team::{HELPER_THREAD_PREFIX, Team};
pub(crate) use self::tile::BLOCK;

#[cfg(test)]
mod tests;

/// A network whose weights are ready to be multiplied.
pub struct CompiledNetwork(Kind);

enum Kind {
    F32(Compiled<f32>),
    Bf16(Compiled<bf16>),
    Int8(Compiled<u8>),
}

/// A network for images of one size, with all the memory that running it takes.
pub struct Plan {
    running: Box<dyn Run>,
    /// Height and width of the images.
    size: [usize; 2],
    unit: Unit,
}

impl CompiledNetwork {
    /// In `f32`: products are fused with their additions, in the order of rows, columns and channels of the window.
    pub fn f32(network: &Network) -> Self {
        let convs = network.nodes.iter().map(|node| match node {
            Node::Conv { conv, .. } => Some(Arc::new(PackedConv::f32(conv))),
            _ => None,
        });
        Self(Kind::F32(Compiled {
            convs: convs.collect(),
            scales: vec![1.0; network.nodes.len()],
            raw_weight: None,
            cell: 1,
            network: network.clone(),
        }))
    }

    /// In 16 bits: weights and activations are rounded to `bf16`, their products added up in `f32`.
    pub fn bf16(network: &Network) -> Self {
        Self::bf16_for(Unit::best(), network)
    }

    fn bf16_for(unit: Unit, network: &Network) -> Self {
        let mut convs = Vec::with_capacity(network.nodes.len());
        let mut raw_weight = None;
        for node in &network.nodes {
            let Node::Conv { input, conv, .. } = node else {
                convs.push(None);
                continue;
            };
            let is_first = *input == network.image();
            let weight = match is_first {
                true => narrowed_weights(&weight_for_raw_pixels(network, conv)),
                false => narrowed_weights(&conv.weight),
            };
            convs.push(Some(Arc::new(PackedConv::bf16(unit, conv, &weight))));
            if is_first {
                raw_weight = Some(weight.iter().copied().map(f64::from).collect());
            }
        }
        Self(Kind::Bf16(Compiled {
            convs,
            scales: vec![1.0; network.nodes.len()],
            raw_weight,
            cell: 1,
            network: network.clone(),
        }))
    }

    /// In 8 bits. `largest` are the activations of [`Network::ranged`] that just fit; larger ones become those.
    ///
    /// # Errors
    /// A sentence, if there are not as many ranges, one is negative or not finite, a window has too many values for 32-bit sums, or
    /// values may be larger than `f32` holds.
    pub fn int8(network: &Network, largest: &[f32]) -> Result<Self, String> {
        Self::int8_for(Unit::best(), network, largest)
    }

    fn int8_for(unit: Unit, network: &Network, largest: &[f32]) -> Result<Self, String> {
        let ranged: Vec<NodeId> = network.ranged().collect();
        if ranged.len() != largest.len() {
            return Err(format!(
                "the network has {} activations, and {} ranges are given",
                ranged.len(),
                largest.len()
            ));
        }
        if let Some(range) = largest.iter().find(|range| !(0.0..=LARGEST).contains(*range)) {
            return Err(format!("an activation cannot have the range {range}"));
        }
        let mut scales = vec![1.0; network.nodes.len()];
        for (node, largest) in ranged.iter().zip(largest) {
            scales[node.0] = activation_scale(*largest);
        }
        let mut convs = Vec::with_capacity(network.nodes.len());
        let (mut raw_weight, mut cell) = (None, 1);
        for (at, node) in network.nodes.iter().enumerate() {
            // The maximum of activations is on their scale, and so is their mean.
            if let Node::MaxPool { input, .. } | Node::AvgPool { input, .. } = node {
                scales[at] = scales[input.0];
            }
            let Node::Conv { input, conv, .. } = node else {
                convs.push(None);
                continue;
            };
            let products = conv.products();
            if products > PRODUCTS_MAX {
                return Err(format!(
                    "a window of {products} values is too large for sums of 32 bits"
                ));
            }
            if *input != network.image() {
                let packed = PackedConv::u8(unit, conv, scales[input.0]);
                check_sums(&packed.scales, conv)?;
                convs.push(Some(Arc::new(packed)));
                continue;
            }
            let raw = Conv {
                weight: weight_for_raw_pixels(network, conv).into(),
                ..conv.clone()
            };
            raw_weight = Some(quantise_weights(&raw.weight, conv.bias.len()).weight());
            let packed = if unit.in_groups::<u8>() && cells::suit(conv) {
                cell = cells::SIDE;
                PackedConv::u8(unit, &cells::over_cells(&raw), 1.0)
            } else {
                PackedConv::u8(unit, &raw, 1.0)
            };
            check_sums(&packed.scales, conv)?;
            convs.push(Some(Arc::new(packed)));
        }
        Ok(Self(Kind::Int8(Compiled {
            network: network.clone(),
            convs,
            scales,
            raw_weight,
            cell,
        })))
    }

    /// For images of this size, in pixels.
    ///
    /// # Errors
    /// A sentence, if the images are too small for the network or too large for anybody.
    pub fn plan(&self, height: usize, width: usize) -> Result<Plan, String> {
        self.plan_on(Unit::best(), height, width)
    }

    fn plan_on(&self, unit: Unit, height: usize, width: usize) -> Result<Plan, String> {
        let running: Box<dyn Run> = match &self.0 {
            Kind::F32(compiled) => Box::new(Running::new(compiled, height, width, false)?),
            Kind::Bf16(compiled) => Box::new(Running::new(compiled, height, width, false)?),
            Kind::Int8(compiled) => Box::new(Running::new(compiled, height, width, false)?),
        };
        Ok(Plan {
            running,
            size: [height, width],
            unit,
        })
    }

    /// Lets `largest` grow to the activations of [`Network::ranged`] on an RGB image of `(height, width, 3)` bytes where they are larger.
    /// It takes the memory for all activations, and gives it back.
    ///
    /// Panics unless this is a network in `f32`, `largest` has one for each of its activations, and the image the size that is given.
    ///
    /// # Errors
    /// As [`CompiledNetwork::plan`].
    pub fn observe(&self, height: usize, width: usize, rgb: &[u8], largest: &mut [f32]) -> Result<(), String> {
        let Kind::F32(compiled) = &self.0 else {
            panic!("activations are observed in f32");
        };
        let ranged: Vec<NodeId> = compiled.network.ranged().collect();
        assert_eq!(ranged.len(), largest.len(), "one range for each activation");
        let plan = Plan {
            running: Box::new(Running::new(compiled, height, width, true)?),
            size: [height, width],
            unit: Unit::best(),
        };
        let largest = Mutex::new(largest);
        plan.each_step(&mut Team::new(1), 1, rgb, &|at| {
            // SAFETY: there is one member, and it is here.
            let Some((node, value)) = (unsafe { plan.running.largest(at) }) else {
                return;
            };
            if let Some(range) = ranged.iter().position(|ranged| *ranged == node) {
                let mut largest = largest.lock().unwrap_or_else(PoisonError::into_inner);
                largest[range] = largest[range].max(value);
            }
        });
        Ok(())
    }

    /// What this machine multiplies it with.
    pub fn computed_by(&self) -> &'static str {
        match (&self.0, Unit::best()) {
            #[cfg(target_arch = "x86_64")]
            (Kind::Int8(_) | Kind::Bf16(_), Unit::Amx) => "AMX",
            #[cfg(target_arch = "x86_64")]
            (Kind::Int8(_), Unit::Avx512) => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            (Kind::Bf16(_), Unit::Avx512) if is_x86_feature_detected!("avx512bf16") => "AVX-512 BF16",
            #[cfg(target_arch = "x86_64")]
            (_, Unit::Amx | Unit::Avx512) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            (Kind::Int8(_), Unit::AvxVnni) => "AVX-VNNI",
            #[cfg(target_arch = "x86_64")]
            (_, Unit::AvxVnni | Unit::Avx2) => "AVX2",
            (_, Unit::Portable) => "no vector unit of its own",
        }
    }

    /// Operations a second, two per product, that one thread reaches with everything in its first-level cache: what the steps of a
    /// profile can be measured against. Takes a tenth of a second.
    pub fn peak_operations(&self) -> f64 {
        let unit = Unit::best();
        match &self.0 {
            Kind::F32(_) => tile::peak_operations::<f32>(unit),
            Kind::Bf16(_) => tile::peak_operations::<bf16>(unit),
            Kind::Int8(_) => tile::peak_operations::<u8>(unit),
        }
    }

    /// Bytes of the weights.
    pub fn weight_bytes(&self) -> usize {
        fn sum<E: element::Element>(compiled: &Compiled<E>) -> usize {
            compiled.convs.iter().flatten().map(|conv| conv.bytes()).sum()
        }
        match &self.0 {
            Kind::F32(compiled) => sum(compiled),
            Kind::Bf16(compiled) => sum(compiled),
            Kind::Int8(compiled) => sum(compiled),
        }
    }
}

/// Whether 8-bit integers are the fastest that this machine multiplies: it takes VNNI, or is so old that `f32` has no fused
/// instruction.
pub fn has_fast_int8() -> bool {
    match Unit::best() {
        #[cfg(target_arch = "x86_64")]
        Unit::Amx | Unit::Avx512 | Unit::AvxVnni => true,
        #[cfg(target_arch = "x86_64")]
        Unit::Avx2 => false,
        Unit::Portable => cfg!(target_arch = "x86_64"),
    }
}

/// Largest range of an activation, bias, and scaled sum in 8 bits: what is added up of them stays below the largest `f32`, so no
/// infinity comes of them, and no not-a-number, which units round in ways of their own.
const LARGEST: f32 = 1e37;

/// Refuses sums that could be larger than that.
fn check_sums(scales: &[f32], conv: &Conv) -> Result<(), String> {
    const SUM_MAX: f32 = (1_u32 << 31) as f32;
    let is_small = |value: f32| value.abs() <= LARGEST;
    match scales.iter().all(|scale| is_small(scale * SUM_MAX)) && conv.bias.iter().all(|bias| is_small(*bias)) {
        true => Ok(()),
        false => Err("its sums can be larger than 32 bits hold: are its weights damaged?".to_owned()),
    }
}

/// The weights of the first layer, to be multiplied with raw pixels of 0 … 255.
fn weight_for_raw_pixels(network: &Network, conv: &Conv) -> Vec<f32> {
    let area = conv.window.kernel * conv.window.kernel;
    let weights = conv.weight.iter().enumerate();
    let weights = weights.map(|(at, weight)| f64::from(*weight) / (255.0 * f64::from(network.std[at / area % 3])));
    weights.map(|weight| weight as f32).collect()
}

impl Plan {
    /// Computes the feature maps of an RGB image of `(height, width, 3)` bytes, for [`Plan::maps`]. Nothing is allocated but, with
    /// the first image of a thread, what it pools in. A thread of a pool with a [`Crew`] is helped by those that are idle.
    ///
    /// Panics unless the image has the plan's size.
    pub fn run(&mut self, rgb: &[u8]) {
        crew::with_idle(|team, threads| self.run_with(team, threads, rgb));
    }

    /// The same with up to `threads` threads of a team: the bytes are the same for all numbers of them.
    ///
    /// Panics unless the image has the plan's size.
    pub fn run_with(&mut self, team: &mut Team, threads: usize, rgb: &[u8]) {
        self.each_step(team, threads, rgb, &|_| ());
    }

    /// The feature maps of the image that was run last, in the order of the taps: what each extends over, and its `(height, width,
    /// channels)` values. Zeros before the first.
    pub fn maps(&self) -> impl ExactSizeIterator<Item = (Extent, &[f32])> {
        (0..self.running.n_results()).map(|at| {
            // SAFETY: steps are taken by whoever has borrowed the plan mutably.
            let values = unsafe { self.running.result(at) };
            (self.running.extent(at), values)
        })
    }

    /// Runs the image with a team and takes the time of every step.
    ///
    /// Panics unless the image has the plan's size.
    pub fn profile(&mut self, team: &mut Team, threads: usize, rgb: &[u8]) -> Vec<StepTime> {
        let seen = Mutex::new((Instant::now(), Vec::new()));
        self.each_step(team, threads, rgb, &|at| {
            let (began, times) = &mut *seen.lock().unwrap_or_else(PoisonError::into_inner);
            let (what, multiplications) = self.running.describe(at);
            times.push(StepTime {
                what,
                multiplications,
                seconds: began.elapsed().as_secs_f64(),
            });
            *began = Instant::now();
        });
        seen.into_inner().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Bytes of all maps. Where pooling belongs to a convolution, every thread keeps some 256 KiB more, from its first image on.
    pub fn bytes(&self) -> usize {
        self.running.bytes()
    }

    /// Lets the team take all steps; its first member says after each that it is done. Whoever calls it has the plan for itself.
    fn each_step(&self, team: &mut Team, threads: usize, rgb: &[u8], done: &(dyn Fn(usize) + Sync)) {
        let [height, width] = self.size;
        assert_eq!(rgb.len(), 3 * height * width, "an image of {width}x{height} pixels");
        team.run(threads, &|member, barrier| {
            for at in 0..self.running.n_steps() {
                // SAFETY: all members are at this step, because they meet after each, and the callers borrow the plan mutably.
                unsafe { self.running.step(at, self.unit, rgb, member, barrier.members()) };
                barrier.wait();
                if member == 0 {
                    done(at);
                }
            }
        });
    }
}

/// How long a step of a plan took.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// Kind and shape.
    pub what: String,
    /// Products of an activation and a weight; two operations each.
    pub multiplications: u64,
    /// Wall time.
    pub seconds: f64,
}
