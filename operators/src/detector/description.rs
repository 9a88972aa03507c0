//! What is to be said of a detector, without the detector.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Calibration, Detector, ImageRole, Recipe};

/// All of a detector but its numbers: what it does, how its threshold came about, and the hashes that tell it from others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectorDescription {
    /// First 12 digits of the SHA-256 of its file.
    pub id: Arc<str>,
    /// Version of the program that fitted it.
    pub intakt_version: String,
    /// How frames become scores.
    pub recipe: Recipe,
    /// The thresholds.
    pub calibration: Calibration,
    /// SHA-256 of the list of the images that went into it, hexadecimal.
    pub manifest_sha256: String,
    /// Images that it was fitted on.
    pub n_train: usize,
    /// Images that were held out to choose the threshold.
    pub n_calibrate: usize,
    /// Vectors of its memory bank, where it has one.
    pub bank_rows: Option<usize>,
    /// Whether its sums were kept, so that an image can be taken out of it.
    pub keeps_sums: bool,
    /// What multiplies in its network on the machine that describes it, where that is known.
    pub computed_by: Option<String>,
}

impl DetectorDescription {
    /// Describes `detector`.
    pub fn of(detector: &Detector) -> Self {
        let images = |role| detector.manifest().iter().filter(|entry| entry.role == role).count();
        Self {
            id: detector.id().clone(),
            intakt_version: detector.intakt_version().to_owned(),
            recipe: detector.recipe().clone(),
            calibration: detector.calibration().clone(),
            manifest_sha256: detector.manifest_hash(),
            n_train: images(ImageRole::Train),
            n_calibrate: images(ImageRole::Calibrate),
            bank_rows: detector.scorer().bank_rows(),
            keeps_sums: detector.sums().is_some(),
            computed_by: detector.backbone().computed_by().map(str::to_owned),
        }
    }
}
