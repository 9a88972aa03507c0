//! Convolutional networks, compiled once and run without allocating, in 8-bit integers or in `f32`.
//!
//! A [`Network`] says what is computed. [`CompiledNetwork`] holds its weights in the order in which they are read; a [`Plan`] adds
//! the memory for images of one size and runs on the calling thread, or on those of a [`Team`]. Every value is computed in one
//! order whatever the machine and the number of threads, so all of them give the same bytes.

mod bias;
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
mod tile;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub use self::crew::{AtWork, Crew};
use self::element::Unit;
use self::graph::Node;
pub use self::graph::{Conv, Network, NodeId, Window};
use self::pack::PackedConv;
use self::plan::Compiled;
pub use self::plan::Extent;
use self::quantise::{PRODUCTS_MAX, activation_scale, quantise_weights};
use self::run::Running;
pub use self::team::Team;

#[cfg(test)]
mod tests;

/// A network whose weights are ready to be multiplied.
pub struct CompiledNetwork(Kind);

enum Kind {
    F32(Arc<Compiled<f32>>),
    Int8(Arc<Compiled<u8>>),
}

/// A network for images of one size, with all the memory that running it takes.
pub struct Plan {
    running: PlanKind,
    size: [usize; 2],
    unit: Unit,
}

enum PlanKind {
    F32(Running<f32>),
    Int8(Running<u8>),
}

impl CompiledNetwork {
    /// In `f32`: products are fused with their additions, in the order of rows, columns and channels of the window.
    pub fn f32(network: &Network) -> Self {
        let convs = network.nodes.iter().map(|node| match node {
            Node::Conv { conv, .. } => Some(Arc::new(PackedConv::f32(conv))),
            _ => None,
        });
        Self(Kind::F32(Arc::new(Compiled {
            convs: convs.collect(),
            scales: vec![1.0; network.nodes.len()],
            raw_weight: None,
            network: network.clone(),
        })))
    }

    /// In 8 bits. `largest` are the activations of [`Network::ranged`] that just fit; larger ones become those.
    ///
    /// # Errors
    /// A sentence, if there are not as many ranges, one is negative or not finite, or a window has too many values for 32-bit
    /// sums.
    pub fn int8(network: &Network, largest: &[f32]) -> Result<Self, String> {
        let ranged: Vec<NodeId> = network.ranged().collect();
        if ranged.len() != largest.len() {
            return Err(format!(
                "the network has {} activations, and {} ranges are given",
                ranged.len(),
                largest.len()
            ));
        }
        if let Some(range) = largest.iter().find(|range| !(range.is_finite() && **range >= 0.0)) {
            return Err(format!("an activation cannot have the range {range}"));
        }
        let mut scales = vec![1.0; network.nodes.len()];
        for (node, largest) in ranged.iter().zip(largest) {
            scales[node.0] = activation_scale(*largest);
        }
        let mut convs = Vec::with_capacity(network.nodes.len());
        let mut raw_weight = None;
        for (at, node) in network.nodes.iter().enumerate() {
            // The maximum of activations is on their scale.
            if let Node::MaxPool { input, .. } = node {
                scales[at] = scales[input.0];
            }
            let Node::Conv { input, conv, .. } = node else {
                convs.push(None);
                continue;
            };
            let products = conv.in_channels * conv.window.kernel * conv.window.kernel;
            if products > PRODUCTS_MAX {
                return Err(format!(
                    "a window of {products} values is too large for sums of 32 bits"
                ));
            }
            if *input == network.image() {
                let (weight, raw) = of_raw_pixels(network, conv);
                convs.push(Some(Arc::new(PackedConv::u8(conv, &weight, 1.0))));
                raw_weight = Some(raw);
            } else {
                convs.push(Some(Arc::new(PackedConv::u8(conv, &conv.weight, scales[input.0]))));
            }
        }
        Ok(Self(Kind::Int8(Arc::new(Compiled {
            network: network.clone(),
            convs,
            scales,
            raw_weight,
        }))))
    }

    /// For images of this size, in pixels.
    ///
    /// # Errors
    /// A sentence, if the images are too small for the network or too large for anybody.
    pub fn plan(&self, height: usize, width: usize) -> Result<Plan, String> {
        self.plan_on(Unit::best(), height, width)
    }

    fn plan_on(&self, unit: Unit, height: usize, width: usize) -> Result<Plan, String> {
        let running = match &self.0 {
            Kind::F32(compiled) => PlanKind::F32(Running::new(compiled, compiled.schedule(height, width)?)),
            Kind::Int8(compiled) => PlanKind::Int8(Running::new(compiled, compiled.schedule(height, width)?)),
        };
        Ok(Plan {
            running,
            size: [height, width],
            unit,
        })
    }

    /// Bytes of the weights.
    pub fn weight_bytes(&self) -> usize {
        fn sum<E: element::Element>(compiled: &Compiled<E>) -> usize {
            compiled.convs.iter().flatten().map(|conv| conv.bytes()).sum()
        }
        match &self.0 {
            Kind::F32(compiled) => sum(compiled),
            Kind::Int8(compiled) => sum(compiled),
        }
    }
}

/// Whether 8-bit integers are the fastest that this machine multiplies: it takes VNNI.
pub fn has_fast_int8() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Unit::best() == Unit::Avx512;
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The weights of the first layer for raw pixels, and what they are once quantised.
fn of_raw_pixels(network: &Network, conv: &Conv) -> (Vec<f32>, Vec<f64>) {
    let area = conv.window.kernel * conv.window.kernel;
    let weight: Vec<f32> = conv
        .weight
        .iter()
        .enumerate()
        .map(|(at, weight)| (f64::from(*weight) / (255.0 * f64::from(network.std[at / area % 3]))) as f32)
        .collect();
    let quantised = quantise_weights(&weight, conv.bias.len());
    let raw = quantised.values.iter().enumerate();
    let raw = raw
        .map(|(at, q)| f64::from(*q) * f64::from(quantised.scales[at / (3 * area)]))
        .collect();
    (weight, raw)
}

impl Plan {
    /// The feature maps of an RGB image of `(height, width, 3)` bytes, in the order of the taps, each `(height, width, channels)`
    /// as [`Plan::taps`] says. A thread of a pool with a [`Crew`] is helped by those that are idle.
    ///
    /// Panics unless the image has the plan's size.
    pub fn run(&mut self, rgb: &[u8]) -> Vec<Vec<f32>> {
        crew::with_idle(|team, threads| self.run_with(team, threads, rgb))
    }

    /// The same with up to `threads` threads of a team: the bytes are the same for all numbers of them.
    ///
    /// Panics unless the image has the plan's size.
    pub fn run_with(&mut self, team: &mut Team, threads: usize, rgb: &[u8]) -> Vec<Vec<f32>> {
        self.run_and(rgb, team, threads, None)
    }

    /// The same, and lets `largest` grow to the activations of [`Network::ranged`] where they are larger. Only in `f32` do they
    /// mean anything.
    ///
    /// Panics unless `largest` has one for each of them.
    pub fn observe(&mut self, rgb: &[u8], network: &Network, largest: &mut [f32]) -> Vec<Vec<f32>> {
        let ranged: Vec<NodeId> = network.ranged().collect();
        assert_eq!(ranged.len(), largest.len(), "one range for each activation");
        self.run_and(
            rgb,
            &mut Team::new(1),
            1,
            Some(&mut |node, value| {
                if let Some(at) = ranged.iter().position(|ranged| *ranged == node) {
                    largest[at] = largest[at].max(value);
                }
            }),
        )
    }

    /// Runs the image with a team and takes the time of every step.
    ///
    /// Panics unless the image has the plan's size.
    pub fn profile(&mut self, team: &mut Team, threads: usize, rgb: &[u8]) -> Vec<StepTime> {
        let [height, width] = self.size;
        assert_eq!(rgb.len(), 3 * height * width, "an image of {width}x{height} pixels");
        fn of<E: run::Pixels>(
            running: &Running<E>,
            unit: Unit,
            rgb: &[u8],
            team: &mut Team,
            threads: usize,
        ) -> Vec<StepTime> {
            let times = Mutex::new(Vec::new());
            team.run(threads, &|member, barrier| {
                for at in 0..running.schedule.steps.len() {
                    let started = Instant::now();
                    // SAFETY: as in `run_all`.
                    unsafe { running.step(at, unit, rgb, member, barrier.members()) };
                    barrier.wait();
                    if member == 0 {
                        let (what, multiplications) = running.schedule.describe(at);
                        let time = StepTime {
                            what,
                            multiplications,
                            seconds: started.elapsed().as_secs_f64(),
                        };
                        times.lock().unwrap_or_else(PoisonError::into_inner).push(time);
                    }
                }
            });
            times.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
        match &self.running {
            PlanKind::F32(running) => of(running, self.unit, rgb, team, threads),
            PlanKind::Int8(running) => of(running, self.unit, rgb, team, threads),
        }
    }

    /// Extents of the results.
    pub fn taps(&self) -> Vec<Extent> {
        fn of<E: element::Element>(running: &Running<E>) -> Vec<Extent> {
            let schedule = &running.schedule;
            schedule.taps.iter().map(|&tap| schedule.wides[tap]).collect()
        }
        match &self.running {
            PlanKind::F32(running) => of(running),
            PlanKind::Int8(running) => of(running),
        }
    }

    /// Bytes of all maps.
    pub fn bytes(&self) -> usize {
        match &self.running {
            PlanKind::F32(running) => running.bytes(),
            PlanKind::Int8(running) => running.bytes(),
        }
    }

    fn run_and(&mut self, rgb: &[u8], team: &mut Team, threads: usize, see: Option<See<'_>>) -> Vec<Vec<f32>> {
        let [height, width] = self.size;
        assert_eq!(rgb.len(), 3 * height * width, "an image of {width}x{height} pixels");
        match (&mut self.running, see) {
            (PlanKind::F32(running), None) => run_all(running, self.unit, rgb, team, threads),
            (PlanKind::F32(running), Some(see)) => see_all(running, self.unit, rgb, see),
            (PlanKind::Int8(running), _) => run_all(running, self.unit, rgb, team, threads),
        }
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

/// What is told of the largest activation of a node.
type See<'a> = &'a mut dyn FnMut(NodeId, f32);

fn run_all<E: run::Pixels>(
    running: &mut Running<E>,
    unit: Unit,
    rgb: &[u8],
    team: &mut Team,
    threads: usize,
) -> Vec<Vec<f32>> {
    let shared = &*running;
    team.run(threads, &|member, barrier| {
        for at in 0..shared.schedule.steps.len() {
            // SAFETY: all members are at this step, because they meet after each, and the plan is borrowed by this team alone.
            unsafe { shared.step(at, unit, rgb, member, barrier.members()) };
            barrier.wait();
        }
    });
    running.taps()
}

fn see_all(running: &mut Running<f32>, unit: Unit, rgb: &[u8], see: See<'_>) -> Vec<Vec<f32>> {
    for at in 0..running.schedule.steps.len() {
        // SAFETY: there is one member, and the plan is borrowed by it alone.
        unsafe { running.step(at, unit, rgb, 0, 1) };
        if let Some(largest) = running.largest(at) {
            see(running.schedule.nodes[at], largest);
        }
    }
    running.taps()
}
