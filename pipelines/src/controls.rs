//! What can be said to an inspection while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::dataflow::{ArrivedLabel, Control, ControlQueue};
use intakt_operators::detector::Detector;
use intakt_operators::{Label, fixed_point};

use crate::store::ChangeKind;
use crate::{Camera, Detectors};

/// Says things to the cameras of one inspection; clones say them to the same one.
#[derive(Clone)]
pub struct Controls {
    cameras: BTreeMap<Arc<str>, ControlQueue>,
    /// Cameras that other processes read: labels about their frames are heard here too.
    elsewhere: Vec<Arc<str>>,
    detectors: Option<Arc<Detectors>>,
    /// Held while a camera is set up, because that rests on what it was before.
    setting_up: Arc<Mutex<()>>,
}

/// A setup that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Which of its setups.
    pub setup: u32,
    /// The first frame that it looked at.
    pub seq: u64,
}

impl Controls {
    /// For `cameras` that `detectors` look at; none where nobody looks and only labels are heard.
    pub fn new(cameras: &[Camera], detectors: Option<Arc<Detectors>>) -> Self {
        let queues = cameras
            .iter()
            .map(|camera| (camera.source.camera().clone(), camera.controls.clone()));
        Self {
            cameras: queues.collect(),
            elsewhere: Vec::new(),
            detectors,
            setting_up: Arc::default(),
        }
    }

    /// What a frame truly is. `ordinal` tells labels apart that were given one after the other.
    ///
    /// # Errors
    /// There is no such camera, no camera is read here, or too much waits to be heard.
    pub fn label(&self, ordinal: u64, label: Label) -> Result<(), String> {
        let queue = match self.cameras.values().next() {
            Some(any) if self.is_elsewhere(&label.camera) => any,
            None if self.is_elsewhere(&label.camera) => {
                return Err("this process reads no camera, so that labels count once the run has ended".to_owned());
            }
            _ => self.queue(&label.camera)?,
        };
        said(queue, Control::Label(ArrivedLabel { ordinal, label }))
    }

    /// The same, for a run of which other processes read these cameras.
    pub fn with_cameras_elsewhere(mut self, elsewhere: Vec<Arc<str>>) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    /// From the camera's next frame on, or from frame `at_seq`, frames with a higher image score than `threshold` are rejected.
    /// What was planned for a later frame is given up. Under the threshold that it came with, the detector is the one that it was, with
    /// what that guarantees. The number of the setup, see [`Controls::begun`].
    ///
    /// # Errors
    /// As [`Controls::label`]; the threshold is not finite.
    pub fn threshold(&self, camera: &str, threshold: f32, at_seq: Option<u64>) -> Result<u32, String> {
        if !threshold.is_finite() {
            return Err(format!("a threshold is a finite number, not {threshold}"));
        }
        self.set_up(camera, at_seq, |current| {
            match self.given(camera, &current, threshold)? {
                Some(given) => Ok(as_given(given)),
                None => {
                    let other = current.with_image_threshold(threshold)?.into();
                    Ok((other, ChangeKind::threshold(threshold)))
                }
            }
        })
    }

    /// From the camera's next frame on, or from frame `at_seq`, `detector` looks. What was planned for a later frame is given up.
    /// The number of the setup, see [`Controls::begun`].
    ///
    /// # Errors
    /// As [`Controls::label`].
    pub fn detector(&self, camera: &str, detector: Arc<Detector>, at_seq: Option<u64>) -> Result<u32, String> {
        self.set_up(camera, at_seq, |_| Ok(as_given(detector)))
    }

    /// The setups that took effect since this was asked last.
    pub fn begun(&self) -> Vec<Begun> {
        let of_camera = |(camera, queue): (&Arc<str>, &ControlQueue)| {
            let begun = queue.begun().into_iter();
            let begun = begun.map(|(setup, seq)| Begun {
                camera: camera.clone(),
                setup,
                seq,
            });
            begun.collect::<Vec<_>>()
        };
        self.cameras.iter().flat_map(of_camera).collect()
    }

    /// The camera's next frames show parts of `lot`.
    ///
    /// # Errors
    /// As [`Controls::label`].
    pub fn lot(&self, camera: &str, lot: Arc<str>) -> Result<(), String> {
        self.say(camera, Control::LotStarted(lot))
    }

    /// Asks what another threshold would do, a calibrated score; none: asks no more.
    ///
    /// # Errors
    /// As [`Controls::label`].
    pub fn what_if(&self, camera: &str, name: Arc<str>, threshold: Option<f64>) -> Result<(), String> {
        self.say(camera, Control::WhatIf { name, threshold })
    }

    /// The detector that looks at a camera, or will at its next frame.
    ///
    /// # Errors
    /// There is no such camera here, or nobody looks.
    pub fn newest(&self, camera: &str) -> Result<Arc<Detector>, String> {
        let planned = self.queue(camera)?.planned().map(|(setup, _)| setup);
        Ok(self.detectors()?.newest(camera, planned))
    }

    /// The frame for which a change of how the camera is looked at waits: another one gives that up.
    pub fn waits_for(&self, camera: &str) -> Option<u64> {
        let (_, seq) = self.cameras.get(camera)?.planned()?;
        Some(seq)
    }

    /// The detectors that look at a camera, did, or were to; `is_given`: without those that are another one under a threshold that
    /// somebody set.
    ///
    /// # Errors
    /// As [`Controls::newest`].
    pub fn known(&self, camera: &str, is_given: bool) -> Result<Vec<Arc<Detector>>, String> {
        self.queue(camera)?;
        Ok(self.detectors()?.all(camera, is_given))
    }

    /// Whether another process reads the camera.
    pub fn is_elsewhere(&self, camera: &str) -> bool {
        self.elsewhere.iter().any(|other| **other == *camera)
    }

    /// The cameras that can be spoken to.
    pub fn cameras(&self) -> impl Iterator<Item = &Arc<str>> {
        self.cameras.keys()
    }

    /// The detector that `current` is under another threshold, or is itself, if it came with `threshold`.
    fn given(&self, camera: &str, current: &Detector, threshold: f32) -> Result<Option<Arc<Detector>>, String> {
        let image_threshold = |detector: &Detector| detector.calibration().image.threshold;
        for given in self.known(camera, true)? {
            if fixed_point(image_threshold(&given)) == fixed_point(threshold)
                && (given.id() == current.id()
                    || given.with_image_threshold(image_threshold(current))?.id() == current.id())
            {
                return Ok(Some(given));
            }
        }
        Ok(None)
    }

    fn set_up(
        &self,
        camera: &str,
        at_seq: Option<u64>,
        made_of: impl FnOnce(Arc<Detector>) -> Result<(Arc<Detector>, ChangeKind), String>,
    ) -> Result<u32, String> {
        let (queue, detectors) = (self.queue(camera)?, self.detectors()?);
        let _setting_up = self.setting_up.lock().unwrap_or_else(PoisonError::into_inner);
        // First, because a plan that has taken effect by now is what the next one rests on.
        if let Some(planned) = queue.give_up_plan() {
            detectors.give_up(camera, planned);
        }
        let (detector, change) = made_of(self.newest(camera)?)?;
        let setup = detectors.add(camera, detector, change);
        match at_seq {
            None => said(queue, Control::Setup(setup))?,
            Some(at_seq) => queue.plan(setup, at_seq),
        }
        Ok(setup)
    }

    fn detectors(&self) -> Result<&Detectors, String> {
        self.detectors.as_deref().ok_or_else(|| "no detector looks".to_owned())
    }

    fn say(&self, camera: &str, control: Control) -> Result<(), String> {
        said(self.queue(camera)?, control)
    }

    fn queue(&self, camera: &str) -> Result<&ControlQueue, String> {
        self.cameras.get(camera).ok_or_else(|| {
            let known: Vec<String> = self.cameras.keys().map(|known| format!("\"{known}\"")).collect();
            format!("there is no camera \"{camera}\"; there are {}", known.join(", "))
        })
    }
}

fn as_given(detector: Arc<Detector>) -> (Arc<Detector>, ChangeKind) {
    let change = ChangeKind::Detector(detector.id().clone());
    (detector, change)
}

fn said(queue: &ControlQueue, control: Control) -> Result<(), String> {
    queue
        .say(control, None)
        .map_err(|_| "too much waits to be heard; try again in a moment".to_owned())
}
