//! What can be said to an inspection while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::Label;
use intakt_operators::dataflow::{ArrivedLabel, Control, ControlQueue};
use intakt_operators::detector::Detector;

use crate::store::ChangeKind;
use crate::{Camera, Detectors};

/// Says things to the cameras of one inspection; clones say them to the same one.
#[derive(Clone)]
pub struct Controls {
    cameras: BTreeMap<Arc<str>, ControlQueue>,
    /// Cameras that other processes read: labels about their frames are heard here too.
    elsewhere: Vec<Arc<str>>,
    detectors: Option<Arc<Detectors>>,
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

    /// From the camera's next frame on, frames with a higher image score than `threshold` are rejected.
    ///
    /// # Errors
    /// As [`Controls::label`]; the threshold is not finite.
    pub fn threshold(&self, camera: &str, threshold: f32) -> Result<(), String> {
        self.queue(camera)?;
        let detector = self.detectors()?.newest(camera).with_image_threshold(threshold)?;
        self.set_up(camera, detector.into(), ChangeKind::Threshold(threshold.into()))
    }

    /// From the camera's next frame on, `detector` looks.
    ///
    /// # Errors
    /// As [`Controls::label`].
    pub fn detector(&self, camera: &str, detector: Arc<Detector>) -> Result<(), String> {
        let change = ChangeKind::Detector(detector.id().clone());
        self.set_up(camera, detector, change)
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

    /// Whether another process reads the camera.
    pub fn is_elsewhere(&self, camera: &str) -> bool {
        self.elsewhere.iter().any(|other| **other == *camera)
    }

    /// The cameras that can be spoken to.
    pub fn cameras(&self) -> impl Iterator<Item = &Arc<str>> {
        self.cameras.keys()
    }

    fn set_up(&self, camera: &str, detector: Arc<Detector>, change: ChangeKind) -> Result<(), String> {
        let queue = self.queue(camera)?;
        let setup = self.detectors()?.add(camera, detector, change);
        said(queue, Control::Setup(setup))
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

fn said(queue: &ControlQueue, control: Control) -> Result<(), String> {
    queue
        .say(control, None)
        .map_err(|_| "too much waits to be heard; try again in a moment".to_owned())
}
