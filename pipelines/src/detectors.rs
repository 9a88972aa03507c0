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

type Setups = Vec<Setup>;

#[derive(Clone)]
struct Setup {
    assigned: Assigned,
    change: ChangeKind,
    /// It was given up before it took effect.
    given_up: bool,
}

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

    /// The detector of the camera's newest setup, which may not look yet; not of the one that is `planned` for a later frame.
    pub fn newest(&self, camera: &str, planned: Option<u32>) -> Arc<Detector> {
        let later = self.later.read().unwrap_or_else(PoisonError::into_inner);
        let setups = later.get(camera).map_or(&[][..], Vec::as_slice);
        let mut newest = setups.iter().enumerate().rev();
        let is_planned = |idx: usize| planned == Some(idx as u32 + 1);
        match newest.find(|(idx, setup)| !setup.given_up && !is_planned(*idx)) {
            Some((_, setup)) => setup.assigned.detector.clone(),
            None => self.own.get(camera).unwrap_or(&self.common).detector.clone(),
        }
    }

    /// The detectors of all setups of `camera`, beginning with the first; `is_given`: without those that are an earlier one under another
    /// threshold.
    pub fn all(&self, camera: &str, is_given: bool) -> Vec<Arc<Detector>> {
        let later = self.later.read().unwrap_or_else(PoisonError::into_inner);
        let first = &self.own.get(camera).unwrap_or(&self.common).detector;
        let later = later.get(camera).into_iter().flatten();
        let later = later.filter(|setup| !is_given || matches!(setup.change, ChangeKind::Detector(_)));
        std::iter::once(first)
            .chain(later.map(|setup| &setup.assigned.detector))
            .cloned()
            .collect()
    }

    /// Notes that a setup from 1 on will never take effect.
    pub fn give_up(&self, camera: &str, setup: u32) {
        let mut later = self.later.write().unwrap_or_else(PoisonError::into_inner);
        let setups = later.get_mut(camera).expect("a setup that was added");
        setups[setup as usize - 1].given_up = true;
    }

    /// Adds a setup; its number.
    pub fn add(&self, camera: &str, detector: Arc<Detector>, change: ChangeKind) -> u32 {
        let mut later = self.later.write().unwrap_or_else(PoisonError::into_inner);
        let setups = later.entry(camera.into()).or_default();
        setups.push(Setup {
            assigned: detector.into(),
            change,
            given_up: false,
        });
        setups.len() as u32
    }

    /// What one of the camera's setups from 1 on changed. Panics on a setup that there is not (a bug of ours).
    pub fn change(&self, camera: &str, setup: u32) -> ChangeKind {
        self.later(camera, setup).expect("a setup that was added").change
    }

    fn assigned(&self, camera: &str, setup: u32) -> Assigned {
        match self.later(camera, setup) {
            Some(setup) => setup.assigned,
            None => self.own.get(camera).unwrap_or(&self.common).clone(),
        }
    }

    fn later(&self, camera: &str, setup: u32) -> Option<Setup> {
        let later = self.later.read().unwrap_or_else(PoisonError::into_inner);
        let idx = (setup as usize).checked_sub(1)?;
        later.get(camera)?.get(idx).cloned()
    }
}
