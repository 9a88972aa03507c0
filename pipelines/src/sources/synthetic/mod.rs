//! A simulated production line: three cameras, seeded, with defects of known kind and place.
//!
//! `intakt demo`, tests and benches run on it. Every frame is a pure function of the seed, the camera and the frame's
//! number, so that frames can be rendered in any order, by any thread, on any machine, with the same bytes.

mod canvas;
mod fabric;
mod labels;
mod metal;
mod print;
mod random;
mod source;

use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};

use intakt_operators::imaging::Image;
use intakt_operators::{Label, Mask, Truth};

pub use self::source::Synthetic;
use canvas::{Canvas, Damage, Light, photograph};
use fabric::Fabric;
use metal::Metal;
use print::Artwork;
use random::{Rng, derive, evenly};

/// Rows and columns of every frame.
pub const FRAME_SIZE_PX: u32 = 256;
/// Share of the inspected frames that have a defect, unless asked otherwise.
pub const DEFECT_RATE_DEFAULT: f32 = 0.12;
/// Time between two frames of a camera: 10 frames a second.
pub const FRAME_INTERVAL_US: u64 = 100_000;
/// The lamp's slow cycle, in frames: a minute and a half.
const LIGHT_CYCLE_FRAMES: u64 = 900;
/// Event time of the first frame: 2026-01-05 06:00 UTC, the start of a Monday's early shift.
const SHIFT_START_US: u64 = 1_767_592_800_000_000;

/// Which numbers a frame is drawn from: fitting never sees an inspected part.
#[derive(Clone, Copy)]
enum Stream {
    Inspected = 1,
    Fitting = 2,
}

/// A camera of the simulated line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyntheticCamera {
    /// Woven fabric; defects `hole`, `missing_thread`, `oil_stain`.
    Fabric,
    /// Brushed metal; defects `scratch`, `dent`, `stain`.
    Metal,
    /// Printed labels; defects `misprint`, `smudge`, `tear`.
    Labels,
}

impl SyntheticCamera {
    /// Every camera, in the order in which they fire.
    pub const ALL: [Self; 3] = [Self::Fabric, Self::Metal, Self::Labels];

    /// The camera's name in frames, verdicts and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fabric => "fabric",
            Self::Metal => "metal",
            Self::Labels => "labels",
        }
    }

    /// The camera of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|camera| camera.name() == name)
    }

    /// The classes of defect that this camera sees.
    pub fn defect_classes(self) -> [&'static str; 3] {
        match self {
            Self::Fabric => ["hole", "missing_thread", "oil_stain"],
            Self::Metal => ["scratch", "dent", "stain"],
            Self::Labels => ["misprint", "smudge", "tear"],
        }
    }

    /// When the camera takes its frame `seq`, microseconds of event time; the cameras fire one after the other.
    pub fn captured_at_us(self, seq: u64) -> u64 {
        let phase_us = self as u64 * FRAME_INTERVAL_US / Self::ALL.len() as u64;
        SHIFT_START_US
            .saturating_add(seq.saturating_mul(FRAME_INTERVAL_US))
            .saturating_add(phase_us)
    }
}

/// One rendered frame and the truth about it.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticFrame {
    /// The camera that took it.
    pub camera: SyntheticCamera,
    /// Position in the camera's stream.
    pub seq: u64,
    /// Event time, microseconds.
    pub captured_at_us: u64,
    /// 256×256 pixels.
    pub image: Image,
    /// Normal, or the class of its defect.
    pub truth: Truth,
    /// The pixels that the defect may have changed, at the size of the frame; empty for a normal frame.
    pub mask: Mask,
}

impl SyntheticFrame {
    /// The truth about the frame, as a label.
    pub fn label(&self) -> Label {
        Label {
            camera: Arc::from(self.camera.name()),
            seq: self.seq,
            truth: Some(self.truth.clone()),
            captured_at_us: self.captured_at_us,
        }
    }
}

/// The simulated line.
///
/// ```
/// use intakt_pipelines::sources::synthetic::{SyntheticCamera, SyntheticLine};
///
/// let line = SyntheticLine::new(7).with_defect_rate(1.0);
/// let frame = line.render(SyntheticCamera::Metal, 3);
/// assert!(frame.truth.is_anomalous());
/// assert!(!line.normal(SyntheticCamera::Metal, 3).truth.is_anomalous());
/// assert_eq!(frame, line.render(SyntheticCamera::Metal, 3));
/// ```
pub struct SyntheticLine {
    seed: u64,
    defect_rate: f32,
    artwork: Artwork,
    #[cfg(test)]
    frames_taken: AtomicU64,
}

impl SyntheticLine {
    /// A line that makes the parts of `seed`, with defects in 12 % of the inspected frames.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            defect_rate: DEFECT_RATE_DEFAULT,
            artwork: Artwork::new(),
            #[cfg(test)]
            frames_taken: AtomicU64::new(0),
        }
    }

    /// The same line with defects in this share of the inspected frames: 0 none, 1 all. Frames that are defective at a
    /// low rate have the same defect at a higher one.
    pub fn with_defect_rate(self, defect_rate: f32) -> Self {
        Self { defect_rate, ..self }
    }

    /// The inspected frame `seq` of `camera`, with or without a defect.
    pub fn render(&self, camera: SyntheticCamera, seq: u64) -> SyntheticFrame {
        self.shoot(camera, Stream::Inspected, seq, true)
    }

    /// The inspected frame `seq` as it would be had nothing gone wrong: outside of the mask, equal to
    /// [`SyntheticLine::render`] byte for byte.
    pub fn undamaged(&self, camera: SyntheticCamera, seq: u64) -> SyntheticFrame {
        self.shoot(camera, Stream::Inspected, seq, false)
    }

    /// The `n`-th normal frame of `camera` for fitting; none of them is ever inspected. They are taken all through the
    /// lamp's cycle, so that already the first few show the whole range of the light.
    pub fn normal(&self, camera: SyntheticCamera, n: u64) -> SyntheticFrame {
        self.shoot(camera, Stream::Fitting, n, false)
    }

    /// Frames that its cameras took so far.
    #[cfg(test)]
    fn frames_taken(&self) -> u64 {
        self.frames_taken.load(Ordering::Relaxed)
    }

    fn shoot(&self, camera: SyntheticCamera, stream: Stream, seq: u64, may_be_defective: bool) -> SyntheticFrame {
        #[cfg(test)]
        self.frames_taken.fetch_add(1, Ordering::Relaxed);
        let seed = derive(self.seed, &[camera as u64, stream as u64, seq]);
        // The part, its light, its noise and its damage have separate seeds: the damage changes nothing else.
        let [mut part_rng, mut light_rng, mut damage_rng] = [1, 2, 3].map(|use_of| Rng::new(derive(seed, &[use_of])));
        let is_defective = damage_rng.unit() < self.defect_rate && may_be_defective;

        let (scene, damage) = self.scene(camera, &mut part_rng, is_defective.then_some(&mut damage_rng));
        let (damage, class) = damage.unzip();
        let light = Light::new(light_phase_turns(camera, stream, seq), &mut light_rng);
        let (image, mask) = photograph(scene, damage, &light, derive(seed, &[4]));
        SyntheticFrame {
            camera,
            seq,
            captured_at_us: camera.captured_at_us(seq),
            image,
            truth: class.map_or(Truth::Normal, |class| Truth::Anomalous(class.to_owned())),
            mask,
        }
    }

    /// The undamaged scene, and what the damage makes of it.
    fn scene(
        &self,
        camera: SyntheticCamera,
        part: &mut Rng,
        damage_rng: Option<&mut Rng>,
    ) -> (Canvas, Option<(Damage, &'static str)>) {
        match camera {
            SyntheticCamera::Fabric => {
                let fabric = Fabric::new(part);
                damaged(fabric.paint(), damage_rng, |_, damage, rng| fabric.damage(damage, rng))
            }
            SyntheticCamera::Metal => {
                let metal = Metal::new(part);
                damaged(metal.paint(), damage_rng, |clean, damage, rng| {
                    metal.damage(clean, damage, rng)
                })
            }
            SyntheticCamera::Labels => {
                let label = labels::Label::new(&self.artwork, part);
                damaged(label.paint(), damage_rng, |_, damage, rng| label.damage(damage, rng))
            }
        }
    }
}

fn damaged(
    clean: Canvas,
    rng: Option<&mut Rng>,
    inflict: impl FnOnce(&Canvas, &mut Damage, &mut Rng) -> &'static str,
) -> (Canvas, Option<(Damage, &'static str)>) {
    let damage = rng.map(|rng| {
        let mut damage = Damage::over(&clean);
        let class = inflict(&clean, &mut damage, rng);
        (damage, class)
    });
    (clean, damage)
}

fn light_phase_turns(camera: SyntheticCamera, stream: Stream, seq: u64) -> f32 {
    let own = camera as u64 as f32 * 0.37;
    match stream {
        Stream::Inspected => own + (seq % LIGHT_CYCLE_FRAMES) as f32 / LIGHT_CYCLE_FRAMES as f32,
        Stream::Fitting => own + evenly(seq),
    }
}

#[cfg(test)]
mod tests;
