//! Images in, their verdicts out.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::File;
use super::problem::Problem;
use super::verdicts::{DecisionName, Region, Suppressed};

/// The verdict on a posted image.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it says how the log's own JSON looks")]
pub(crate) struct FrameVerdict {
    camera: String,
    /// Its number in the camera's stream.
    seq: u64,
    /// When it was captured, microseconds of event time.
    captured_at_us: u64,
    origin: String,
    /// The first 12 digits of the detector's SHA-256.
    detector: String,
    decision: DecisionName,
    /// Why it was unreadable; absent otherwise.
    #[schema(required = false)]
    reason: Option<String>,
    /// In the detector's own unit.
    image_score: f64,
    /// The image score above which it is rejected.
    threshold: f64,
    /// 0 to 1, with the threshold at 0.5.
    calibrated_score: f64,
    /// What counted, strongest peak first.
    regions: Vec<Region>,
    /// What did not count.
    suppressed: Vec<Suppressed>,
}

/// Where a frame is whose verdict nobody waits for.
#[derive(Serialize, ToSchema)]
pub(crate) struct TakenFrame {
    pub(crate) camera: Arc<str>,
    /// Its number in the camera's stream.
    pub(crate) seq: u64,
}

/// The body of a batch.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it says how a body of several parts looks")]
pub(crate) struct BatchBody {
    /// PNG, JPEG, BMP or TIFF files; what the parts are called does not matter.
    image: Vec<File>,
}

/// What became of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct Batch {
    pub(crate) camera: Arc<str>,
    /// Of each image that arrived, in the order of the batch.
    pub(crate) images: Vec<BatchImage>,
    /// Why the rest of the batch was not taken; null where all of it was.
    pub(crate) stopped: Option<Problem>,
}

/// What became of an image: a verdict, or a problem.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchImage {
    /// What it would have been answered alone.
    pub(crate) status: u16,
    #[schema(value_type = Option<FrameVerdict>)]
    pub(crate) verdict: Option<Value>,
    pub(crate) problem: Option<Problem>,
}
