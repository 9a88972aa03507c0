//! What can be said of a run at one moment.

use std::sync::Arc;

use intakt_operators::dataflow::{Alert, LatencySummary, Rate, RateKey, ScoreRate, WhatIf};
use intakt_operators::{Decision, DropReason};
use serde::{Deserialize, Serialize};

/// A run at one moment. Every camera's figures are of the same moment, so `captured` is never less than what became of the
/// frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    /// How far the run is.
    pub state: RunState,
    /// When this was said, wall clock, microseconds since 1970.
    pub said_at_us: u64,
    /// Whether the log is kept by this process: of several, by process 0.
    #[serde(default = "yes")]
    pub keeps_log: bool,
    /// The time before which everything was given to the sinks, microseconds of event time; none before it first moved.
    pub frontier_us: Option<u64>,
    /// Newest event time that was captured, microseconds; none before the first frame.
    pub newest_captured_at_us: Option<u64>,
    /// How long the oldest frame that was captured and is not logged yet has waited, seconds of wall clock; 0 if none waits, none
    /// before the frontier first moved. Of several processes: how long the frontier has stood, if that is longer. A log that stands
    /// still shows here.
    pub frontier_lag_seconds: Option<f64>,
    /// By name.
    pub cameras: Vec<CameraStatus>,
    /// Of all cameras since the run began, by name.
    pub stages: Vec<StageStatus>,
    /// The newest window of every scope and kind of window.
    pub rates: Vec<Rate>,
    /// What labels say of those windows, where there are any.
    #[serde(default)]
    pub quality: Vec<QualityStatus>,
    /// How the scores of the newest window of every scope and kind of window are spread. They move once a minute.
    #[serde(default)]
    pub scores: Vec<ScoreRate>,
    /// The alerts that are open, by rule and scope.
    pub alerts: Vec<Alert>,
    /// The newest answers to standing questions, by camera and name.
    #[serde(default)]
    pub what_ifs: Vec<WhatIf>,
}

fn yes() -> bool {
    true
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// No worker stands ready yet.
    #[default]
    Starting,
    /// Frames are looked at.
    Running,
    /// No further frame is read; those under way are still judged.
    Ending,
    /// Nothing more will happen.
    Ended,
    /// Nobody runs it any more, and its sources had not come to their end: with `--resume` it goes on. Only who looks later says so.
    Interrupted,
}

impl RunState {
    /// Whether nobody runs it any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Interrupted)
    }
}

/// One camera of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CameraStatus {
    /// Its name.
    pub camera: Arc<str>,
    /// Frames its source delivered.
    pub captured: u64,
    /// Frames that passed or were rejected.
    pub judged: u64,
    /// Frames that passed.
    pub passed: u64,
    /// Frames that were rejected.
    pub rejected: u64,
    /// Frames of which no image could be made.
    pub unreadable: u64,
    /// Frames that were dropped, by reason.
    pub dropped: Vec<DroppedCount>,
    /// Frames of which nothing became yet: captured minus judged, unreadable and dropped.
    pub waiting: u64,
    /// The newest one, by sequence.
    pub last_verdict: Option<LastVerdict>,
    /// The newest one.
    pub last_trouble: Option<TroubleStatus>,
    /// How long its frames take, since the run began.
    #[serde(default)]
    pub stages: Vec<StageStatus>,
}

impl CameraStatus {
    /// Frames that were dropped, for whatever reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|dropped| dropped.frames).sum()
    }
}

/// Frames that were dropped for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedCount {
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub frames: u64,
}

/// A verdict, without its regions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastVerdict {
    /// Position in the camera's stream.
    pub seq: u64,
    /// Event time, microseconds.
    pub captured_at_us: u64,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
    /// The score mapped to 0…1 with the threshold at 0.5.
    pub calibrated_score: f64,
    /// From when the frame was let in to its verdict, microseconds; none where it was unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
}

/// Verdicts of a window against labels. What is undefined is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityStatus {
    /// Scope and window.
    #[serde(flatten)]
    pub key: RateKey,
    /// End of the window (exclusive), microseconds of event time.
    pub end_us: u64,
    /// Frames that passed or were rejected, and have a label.
    pub labelled: u64,
    /// Share of the rejected that are anomalous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Share of the anomalous that were rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// Harmonic mean of precision and recall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f1: Option<f64>,
    /// Share of the normal that were rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_reject_rate: Option<f64>,
    /// Share of the anomalous that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escape_rate: Option<f64>,
}

impl QualityStatus {
    /// What labels say of a window; none without labels.
    pub(super) fn of(rate: &Rate) -> Option<Self> {
        let confusion = rate.after.confusion();
        let labelled = confusion.tp + confusion.fp + confusion.tn + confusion.fn_;
        (labelled > 0).then(|| Self {
            key: rate.key.clone(),
            end_us: rate.end_us,
            labelled,
            precision: confusion.precision(),
            recall: confusion.recall(),
            f1: confusion.f1(),
            false_reject_rate: confusion.false_reject_rate(),
            escape_rate: confusion.escape_rate(),
        })
    }
}

/// What is or was wrong with a camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleStatus {
    /// What its source said, or how far its clock is off.
    pub reason: String,
    /// Whether a frame has come since.
    pub over: bool,
}

/// Latency of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageStatus {
    /// Name of the stage.
    pub stage: String,
    /// Times it ran.
    pub count: u64,
    /// Median, microseconds.
    pub micros_p50: u64,
    /// 99th percentile, microseconds.
    pub micros_p99: u64,
    /// Longest, microseconds.
    pub micros_max: u64,
}

impl From<LatencySummary> for StageStatus {
    fn from(summary: LatencySummary) -> Self {
        Self {
            stage: summary.stage.to_owned(),
            count: summary.count,
            micros_p50: summary.micros_p50,
            micros_p99: summary.micros_p99,
            micros_max: summary.micros_max,
        }
    }
}
