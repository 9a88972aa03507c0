//! From findings to a verdict.

use std::sync::Arc;

use super::suppress::Findings;
use crate::detector::Calibration;
use crate::{Decision, Frame, Verdict, fixed_point};

/// Which frame a verdict is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameStamp {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Position in the camera's stream.
    pub seq: u64,
    /// Event time, microseconds.
    pub captured_at_us: u64,
    /// Where the frame came from, as the user gave it.
    pub origin: Arc<str>,
}

impl From<&Frame> for FrameStamp {
    fn from(frame: &Frame) -> Self {
        Self {
            camera: Arc::clone(&frame.camera),
            seq: frame.seq,
            captured_at_us: frame.captured_at_us,
            origin: Arc::clone(&frame.origin),
        }
    }
}

/// The verdict on a frame that could be scored: rejected where its image score is above the threshold, both in the fixed
/// point that is printed.
pub fn judge(stamp: &FrameStamp, detector: &Arc<str>, findings: &Findings, calibration: &Calibration) -> Verdict {
    let image_score = findings.image_score;
    let decision = match calibration.image.exceeds(image_score) {
        true => Decision::Reject,
        false => Decision::Pass,
    };
    Verdict {
        image_score: fixed_point(image_score),
        calibrated_score: fixed_point(calibration.image.calibrated(image_score) as f32),
        regions: findings.regions.clone(),
        suppressed: findings.suppressed.clone(),
        ..empty(stamp, detector, decision, calibration)
    }
}

/// The verdict on a frame that no image could be made of, or that the detector could not score.
pub fn unreadable(
    stamp: &FrameStamp,
    detector: &Arc<str>,
    reason: impl Into<String>,
    calibration: &Calibration,
) -> Verdict {
    let reason = reason.into();
    empty(stamp, detector, Decision::Unreadable { reason }, calibration)
}

fn empty(stamp: &FrameStamp, detector: &Arc<str>, decision: Decision, calibration: &Calibration) -> Verdict {
    Verdict {
        camera: Arc::clone(&stamp.camera),
        seq: stamp.seq,
        captured_at_us: stamp.captured_at_us,
        origin: Arc::clone(&stamp.origin),
        detector: Arc::clone(detector),
        decision,
        image_score: 0.0,
        threshold: fixed_point(calibration.image.threshold),
        calibrated_score: 0.0,
        regions: Vec::new(),
        suppressed: Vec::new(),
    }
}
