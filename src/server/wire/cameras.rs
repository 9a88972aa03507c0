//! The cameras of a run, and what is said to one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::line::CameraState;

/// The cameras of the run, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cameras {
    pub(crate) cameras: Vec<Camera>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Camera {
    pub(crate) camera: Arc<str>,
    pub(crate) state: CameraState,
    /// What is wrong with it.
    pub(crate) reason: Option<String>,
    /// Frames that its source delivered.
    pub(crate) captured: u64,
    /// Frames that passed or were rejected.
    pub(crate) judged: u64,
    pub(crate) rejected: u64,
    pub(crate) unreadable: u64,
    pub(crate) dropped: u64,
    /// Whether frames can be posted to it here.
    pub(crate) takes_frames: bool,
    /// The first 12 digits of the SHA-256 of the detector that looks at it; null where that is not known.
    pub(crate) detector: Option<Arc<str>>,
    /// The image score above which its frames are rejected, in the detector's own unit.
    pub(crate) threshold: Option<f64>,
}

/// From which image score on frames are rejected, in the detector's own unit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedThreshold {
    pub(crate) threshold: f32,
    /// The first frame that it holds for, or the next one if that has come; without it, the next one. A later change gives up one
    /// that still waits, and so does the end of the run.
    pub(crate) at_seq: Option<u64>,
}

/// A threshold that is asked about, calibrated: 0.5 is the one that counts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedThreshold {
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) threshold: f64,
}

/// Parts that are made together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedLot {
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) lot: String,
}

/// What was said to a camera.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct SaidToCamera {
    pub(crate) camera: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threshold: Option<f64>,
    /// The first 12 digits of the detector's SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detector: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lot: Option<String>,
    /// The name of the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) what_if: Option<String>,
    /// The first frame that it holds for, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_seq: Option<u64>,
    /// What whoever said it may not have meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}
