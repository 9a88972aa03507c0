//! The line as it is now.

use std::sync::Arc;

use intakt_pipelines::pictures::AboutPicture;
use intakt_pipelines::sinks::RunState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::verdicts::DecisionName;

/// What those who look at a line are told: events called `line` and `picture`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum LineEvent<'a> {
    Line(&'a Line),
    Picture(&'a CameraPicture),
}

/// A run at one moment.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Line {
    #[schema(value_type = String)]
    pub(crate) state: RunState,
    /// When the run was begun, wall clock, microseconds since 1970: what is shown of a run with another time is out of date.
    pub(crate) begun_at_us: u64,
    /// Since when the counts of a run that went on count; null: since it was begun.
    pub(crate) counts_since_us: Option<u64>,
    /// Wall clock, microseconds since 1970.
    pub(crate) said_at_us: u64,
    /// How long the oldest frame waits that is not in the log yet.
    pub(crate) behind_seconds: Option<f64>,
    pub(crate) cameras: Vec<LineCamera>,
    pub(crate) alerts: Vec<LineAlert>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct LineCamera {
    pub(crate) camera: Arc<str>,
    pub(crate) state: CameraState,
    /// What is wrong with it.
    pub(crate) reason: Option<String>,
    pub(crate) captured: u64,
    pub(crate) judged: u64,
    pub(crate) rejected: u64,
    pub(crate) unreadable: u64,
    pub(crate) dropped: u64,
    pub(crate) last: Option<LineVerdict>,
    /// Of the frames of the last five minutes, unreadable and dropped ones included, or of a run that has ended, of its last five.
    pub(crate) reject_rate: Option<f64>,
    /// The same by five seconds, the newest last; none where there were no frames.
    pub(crate) rejects: Vec<Option<f64>>,
    pub(crate) picture: Option<LinePicture>,
    pub(crate) rejected_picture: Option<LinePicture>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CameraState {
    /// Nothing came yet.
    Starting,
    /// Frames come and are judged.
    Live,
    /// Nothing came for ten seconds.
    Idle,
    /// Frames wait, and none was judged for two seconds.
    Late,
    /// A frame was dropped in the last ten seconds.
    Dropping,
    /// Its source delivers nothing, and says why.
    Reconnecting,
    /// The run has ended.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct LineVerdict {
    pub(crate) seq: u64,
    pub(crate) captured_at_us: u64,
    pub(crate) decision: DecisionName,
    /// Calibrated: 0 to 1, rejected from 0.5.
    pub(crate) score: f64,
    /// From when it was let in.
    pub(crate) latency_ms: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct LinePicture {
    seq: u64,
    is_rejected: bool,
    drawn_at_us: u64,
}

/// How a frame of a camera looks: the newest that was drawn, or the newest of those that were rejected, which may have come before it.
#[derive(Serialize, ToSchema)]
pub(crate) struct CameraPicture {
    pub(crate) camera: Arc<str>,
    #[serde(flatten)]
    pub(crate) picture: LinePicture,
    /// A JPEG file with the frame and its heatmap, at most 400 px wide and high, in Base64.
    pub(crate) jpeg: String,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct LineAlert {
    pub(crate) rule: Arc<str>,
    pub(crate) scope: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhichPicture {
    Newest,
    Rejected,
}

impl From<AboutPicture> for LinePicture {
    fn from(about: AboutPicture) -> Self {
        Self {
            seq: about.seq,
            is_rejected: about.is_rejected,
            drawn_at_us: about.drawn_at_us,
        }
    }
}
