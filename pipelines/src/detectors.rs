//! Which detector looks at which camera.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use intakt_operators::detector::{Detector, InputRecipe};

use crate::store::ChangeKind;

/// A detector for every camera: its own, or the common one. Setup 0 is what a camera begins with; each later one is another
/// detector, or the same with another threshold.
#[derive(Clone)]
pub struct Detectors {
    common: Assigned,
    own: BTreeMap<Arc<str>, Assigned>,
    /// By camera, the setups from 1 on.
    later: Arc<RwLock<BTreeMap<Arc<str>, Setups>>>,
}

type Setups = Vec<(Assigned, ChangeKind)>;

#[derive(Clone)]
struct Assigned {
    detector: Arc<Detector>,
    input: Arc<InputRecipe>,
}

impl From<Arc<Detector>> for Assigned {
    fn from(detector: Arc<Detector>) -> Self {
        Self {
            input: Arc::new(detector.recipe().input.clone()),
            detector,
        }
    }
}

impl Detectors {
    /// One detector for all cameras.
    pub fn common(detector: impl Into<Arc<Detector>>) -> Self {
        Self {
            common: detector.into().into(),
            own: BTreeMap::new(),
            later: Arc::default(),
        }
    }

    /// Lets `camera` be looked at by a detector of its own.
    pub fn assign(&mut self, camera: &str, detector: impl Into<Arc<Detector>>) {
        self.own.insert(camera.into(), detector.into().into());
    }

    /// The detector that `camera` begins with.
    pub fn of(&self, camera: &str) -> Arc<Detector> {
        self.at(camera, 0)
    }

    /// The detector of one of the camera's setups; the first where these detectors know of no such setup, because they are
    /// shadows that nobody switches.
    pub fn at(&self, camera: &str, setup: u32) -> Arc<Detector> {
        self.assigned(camera, setup).detector
    }

    /// How frames of `camera` become the network's input under a setup, as [`Detectors::at`].
    pub fn input_of(&self, camera: &str, setup: u32) -> Arc<InputRecipe> {
        self.assigned(camera, setup).input
    }

    /// The detector of the camera's newest setup, which may not look yet.
    pub fn newest(&self, camera: &str) -> Arc<Detector> {
        let later = self.later.read().unwrap_or_else(PoisonError::into_inner);
        match later.get(camera).and_then(|setups| setups.last()) {
            Some((assigned, _)) => assigned.detector.clone(),
            None => self.own.get(camera).unwrap_or(&self.common).detector.clone(),
        }
    }

    /// Adds a setup; its number.
    pub fn add(&self, camera: &str, detector: Arc<Detector>, change: ChangeKind) -> u32 {
        let mut later = self.later.write().unwrap_or_else(PoisonError::into_inner);
        let setups = later.entry(camera.into()).or_default();
        setups.push((detector.into(), change));
        setups.len() as u32
    }

    /// What one of the camera's setups from 1 on changed. Panics on a setup that there is not (a bug of ours).
    pub fn change(&self, camera: &str, setup: u32) -> ChangeKind {
        self.later(camera, setup).expect("a setup that was added").1
    }

    fn assigned(&self, camera: &str, setup: u32) -> Assigned {
        match self.later(camera, setup) {
            Some((assigned, _)) => assigned,
            None => self.own.get(camera).unwrap_or(&self.common).clone(),
        }
    }

    fn later(&self, camera: &str, setup: u32) -> Option<(Assigned, ChangeKind)> {
        let later = self.later.read().unwrap_or_else(PoisonError::into_inner);
        let idx = (setup as usize).checked_sub(1)?;
        later.get(camera)?.get(idx).cloned()
    }
}
