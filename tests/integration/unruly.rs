//! Live cameras that misbehave, and what comes out when they are inspected.

use std::sync::{Arc, Mutex};

use intakt_operators::dataflow::{Overflow, Rate};
use intakt_operators::detector::Detector;
use intakt_operators::{Frame, Outcome};
use intakt_pipelines::recording::Recorder;
use intakt_pipelines::sinks::{Sink, outcome_json};
use intakt_pipelines::sources::{Next, Source, StopFlag};
use intakt_pipelines::{Camera, Detectors, Inspection, InspectionReport, RunOptions, inspect};

use crate::idle;

/// Frames of a camera.
pub(crate) const FRAMES: u64 = 1_000;

/// A live camera of 30 frames a second: its times jitter, some frames come a second late, some are broken.
pub(crate) struct Unruly {
    camera: Arc<str>,
    images: Vec<Arc<[u8]>>,
    pub(crate) seq: u64,
    state: u64,
}

impl Unruly {
    pub(crate) fn new(camera: &str, seed: u64, images: Vec<Arc<[u8]>>) -> Self {
        Self {
            camera: camera.into(),
            images,
            seq: 0,
            state: seed,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 33) % below
    }
}

impl Source for Unruly {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    fn is_live(&self) -> bool {
        true
    }

    fn resume_at(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        if self.seq == FRAMES || stop.is_stopped() {
            return Next::Ended;
        }
        let seq = self.seq;
        self.seq += 1;
        let late_us = if self.random(50) == 0 {
            1_000_000
        } else {
            self.random(150_000)
        };
        let broken = self.random(40) == 0;
        let image = self.random(self.images.len() as u64) as usize;
        let bytes = if broken {
            Arc::from(*b"torn")
        } else {
            self.images[image].clone()
        };
        Next::Frame(Frame {
            camera: self.camera.clone(),
            seq,
            captured_at_us: 2_000_000 + seq * 33_333 - late_us,
            origin: "".into(),
            bytes: Ok(bytes),
            recorded: None,
        })
    }
}

/// What came out, line by line.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) outcomes: Mutex<Vec<Vec<u8>>>,
    pub(crate) rates: Mutex<Vec<Rate>>,
}

impl Sink for Lines {
    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        self.outcomes.lock().unwrap().push(outcome_json(outcome).unwrap());
        Ok(())
    }

    fn rate(&self, rate: &Rate) -> Result<(), String> {
        self.rates.lock().unwrap().push(rate.clone());
        Ok(())
    }
}

pub(crate) type Results = (Vec<Vec<u8>>, Vec<Rate>, InspectionReport);

/// Inspects, and returns what came out.
pub(crate) fn run(
    cameras: Vec<Camera>,
    detector: Detector,
    workers: usize,
    pool: usize,
    recorder: Option<Arc<Recorder>>,
) -> Results {
    let lines = Arc::new(Lines::default());
    let inspection = Inspection {
        recorder,
        ..Inspection::new(cameras, Arc::new(Detectors::common(detector)), vec![lines.clone()])
    };
    let report = inspect(inspection, &RunOptions::new(workers, pool).unwrap()).unwrap();
    let lines = Arc::into_inner(lines).unwrap();
    (
        lines.outcomes.into_inner().unwrap(),
        lines.rates.into_inner().unwrap(),
        report,
    )
}

/// The one image that the idle detector is shown.
pub(crate) fn idle_images() -> Vec<Arc<[u8]>> {
    let mut frames = idle::stream("left", 1, |_| ()).frames;
    vec![frames.next().unwrap().bytes.unwrap()]
}

/// Three of them, each with another overflow policy.
pub(crate) fn unruly_cameras(images: &[Arc<[u8]>]) -> Vec<Camera> {
    let names = ["left", "right", "top"];
    let camera = |(seed, name): (usize, &&str)| {
        let mut camera = Camera::from(Unruly::new(name, seed as u64 + 1, images.to_vec()));
        // Cameras without pause are too fast for the others; of this one every frame is judged.
        camera.intake.overflow = match *name {
            "left" => Overflow::Block,
            "right" => Overflow::DropOldest,
            _ => Overflow::DropNewest,
        };
        camera
    };
    names.iter().enumerate().map(camera).collect()
}
