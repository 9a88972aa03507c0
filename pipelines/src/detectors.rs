//! Which detector looks at which camera.

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::detector::{Detector, InputRecipe};

/// A detector for every camera: its own, or the common one.
#[derive(Clone)]
pub struct Detectors {
    common: Assigned,
    own: BTreeMap<Arc<str>, Assigned>,
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
        }
    }

    /// Lets `camera` be looked at by a detector of its own.
    pub fn assign(&mut self, camera: &str, detector: impl Into<Arc<Detector>>) {
        self.own.insert(camera.into(), detector.into().into());
    }

    /// The detector of `camera`.
    pub fn of(&self, camera: &str) -> Arc<Detector> {
        self.assigned(camera).detector.clone()
    }

    /// How frames of `camera` become the network's input.
    pub fn input_of(&self, camera: &str) -> Arc<InputRecipe> {
        self.assigned(camera).input.clone()
    }

    fn assigned(&self, camera: &str) -> &Assigned {
        self.own.get(camera).unwrap_or(&self.common)
    }
}
