//! The scores of a camera's frames.

use std::sync::Arc;

use intakt_operators::detector::ScoreScale;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::telling::far_from;

/// The calibrated scores of a camera's frames that passed or were rejected, as the detector and the threshold of the newest frame put
/// them; of frames that were judged under another threshold, to 1/4096. A threshold of `k / buckets` rejects the buckets
/// from `k` on.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Histogram {
    pub(crate) camera: String,
    /// Bucket `b` holds the scores above `b / buckets` up to and including `(b + 1) / buckets`, and the first also 0.
    pub(crate) buckets: u16,
    /// Where the threshold lies.
    pub(crate) threshold: f64,
    /// All of these frames.
    pub(crate) judged: u64,
    /// Those of which nobody said what they are.
    pub(crate) unlabelled: u64,
    /// Those that are normal.
    pub(crate) normal: u64,
    /// Those that are anomalous.
    pub(crate) anomalous: u64,
    /// The buckets that hold something, lowest first.
    pub(crate) counts: Vec<Bucket>,
    /// The detector of the newest frame; null before the first.
    pub(crate) detector: Option<Arc<str>>,
    /// Its threshold, in its own unit.
    pub(crate) image_threshold: Option<f64>,
    /// The threshold that the detector came with, whatever was set since, in its own unit; null where that is not known.
    pub(crate) given_threshold: Option<f64>,
    /// Frames that other detectors judged, which are not among them.
    pub(crate) frames_of_other_detectors: u64,
    /// How calibrated scores are mapped to image scores under the threshold that holds now; null where that is not known.
    pub(crate) scale: Option<Scale>,
    /// Calibrated scores of the normal frames that the detector's threshold was chosen on, ascending; of many, quantiles that are evenly
    /// spaced. Empty where they are not known.
    pub(crate) calibration: Vec<f64>,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Bucket {
    pub(crate) bucket: u16,
    pub(crate) unlabelled: u64,
    pub(crate) normal: u64,
    pub(crate) anomalous: u64,
}

/// With `u = score / (1 - score)`, the image score is `threshold + (u - 1) * span`.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Scale {
    normal_level: f64,
    threshold: f64,
    span: f64,
    /// Under a threshold above this one hardly anything would be rejected.
    far_from: f64,
}

impl From<ScoreScale> for Scale {
    fn from(scale: ScoreScale) -> Self {
        Self {
            normal_level: scale.normal_level.into(),
            threshold: scale.threshold.into(),
            span: scale.span(),
            far_from: far_from(scale),
        }
    }
}
