//! How long the stages take.

use intakt_pipelines::sinks::StageStatus;
use serde::Serialize;
use utoipa::ToSchema;

/// How long the stages take.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LatenciesOfStages {
    /// The last minutes, to the minute, that they are of; null: since the run began.
    pub(crate) minutes: Option<u64>,
    /// By name. Those that did not run are left out.
    pub(crate) stages: Vec<StageLatency>,
}

/// How long a stage takes.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct StageLatency {
    /// Its name; `frame` is from when a frame was let in to its verdict.
    stage: String,
    /// Times it ran.
    count: u64,
    /// Median, microseconds.
    micros_p50: u64,
    /// 99th percentile, microseconds.
    micros_p99: u64,
    /// Longest, microseconds.
    micros_max: u64,
}

impl From<StageStatus> for StageLatency {
    fn from(of: StageStatus) -> Self {
        Self {
            stage: of.stage,
            count: of.count,
            micros_p50: of.micros_p50,
            micros_p99: of.micros_p99,
            micros_max: of.micros_max,
        }
    }
}
