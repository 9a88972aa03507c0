//! `GET /api/v1/status`: all that is known of the run at this moment.

use axum::Json;
use axum::extract::State;
use intakt_pipelines::sinks::LiveStatus;
use utoipa::ToSchema;

use super::latencies::StageLatency;
use super::routes::Shared;

/// How a run is at one moment. Figures of a camera are of the same moment, so `captured` is never less than what became of its frames.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it says how a `LiveStatus` looks, which knows nothing of OpenAPI"
)]
struct RunStatus {
    state: StatusState,
    /// When this was said, wall clock, microseconds since 1970.
    said_at_us: u64,
    /// Whether the log is kept by this process: of several, by process 0.
    keeps_log: bool,
    /// The time before which everything was given to whoever keeps it, microseconds of event time; null before it first moved.
    frontier_us: Option<u64>,
    /// Newest event time that was captured, microseconds; null before the first frame.
    newest_captured_at_us: Option<u64>,
    /// How long the oldest frame that was captured and is not logged yet has waited, seconds of wall clock; 0 if none waits, null before the
    /// frontier first moved. Of several processes: how long the frontier has stood, if that is longer.
    frontier_lag_seconds: Option<f64>,
    /// By name.
    cameras: Vec<StatusCamera>,
    /// Of all cameras since the run began, by name.
    stages: Vec<StageLatency>,
    /// The newest window of every scope and kind of window, as `rates.jsonl` has them.
    #[schema(value_type = Vec<Object>)]
    rates: (),
    /// What labels say of those windows, where there are any.
    #[schema(value_type = Vec<Object>)]
    quality: (),
    /// How the scores of the newest window of every scope and kind of window are spread. They move once a minute.
    #[schema(value_type = Vec<Object>)]
    scores: (),
    /// The alerts that are open, by rule and scope.
    #[schema(value_type = Vec<Object>)]
    alerts: (),
    /// The newest answers to standing questions, by camera and name.
    #[schema(value_type = Vec<Object>)]
    what_ifs: (),
}

/// How far a run is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "as above")]
enum StatusState {
    /// No worker stands ready yet.
    Starting,
    /// Frames are looked at.
    Running,
    /// No further frame is read; those under way are still judged.
    Ending,
    /// Nothing more will happen.
    Ended,
}

/// One camera of a run.
#[derive(ToSchema)]
#[expect(dead_code, reason = "as above")]
struct StatusCamera {
    /// Its name.
    camera: String,
    /// Frames its source delivered.
    captured: u64,
    /// Frames that passed or were rejected.
    judged: u64,
    /// Frames that passed.
    passed: u64,
    /// Frames that were rejected.
    rejected: u64,
    /// Frames of which no image could be made.
    unreadable: u64,
    /// Frames that were dropped, by reason.
    #[schema(value_type = Vec<Object>)]
    dropped: (),
    /// Frames of which nothing became yet: captured minus judged, unreadable and dropped.
    waiting: u64,
    /// The newest one, by sequence; null before the first.
    #[schema(value_type = Option<Object>)]
    last_verdict: (),
    /// The newest one; null where nothing was wrong.
    #[schema(value_type = Option<Object>)]
    last_trouble: (),
    /// How long its frames take, since the run began.
    stages: Vec<StageLatency>,
}

/// All that is known of the run at this moment: cameras, latencies, the newest windows, alerts, answers to standing questions.
#[utoipa::path(get, path = "/status", tag = "line", responses((status = 200, body = RunStatus)))]
pub(super) async fn status(State(shared): State<Shared>) -> Json<LiveStatus> {
    Json(shared.status())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use intakt_pipelines::sinks::{CameraStatus, RunState, StageStatus};
    use serde::Serialize;
    use serde_json::{Value, to_value};
    use utoipa::PartialSchema;

    use super::*;

    fn keys(object: &Value) -> BTreeSet<&String> {
        object.as_object().unwrap().keys().collect()
    }

    #[test]
    fn what_is_described_is_what_is_answered() {
        fn is_described<S: PartialSchema>(answered: impl Serialize) {
            let (schema, answered) = (to_value(S::schema()).unwrap(), to_value(answered).unwrap());
            assert_eq!(keys(&schema["properties"]), keys(&answered));
            for (name, value) in answered
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, value)| value.is_null())
            {
                let described = schema["properties"][name].to_string();
                assert!(described.contains("null"), "{name} is {value}, not {described}");
            }
        }
        is_described::<RunStatus>(LiveStatus::default());
        is_described::<StatusCamera>(CameraStatus::default());
        is_described::<StageLatency>(StageStatus {
            stage: "decode".to_owned(),
            count: 1,
            micros_p50: 1,
            micros_p99: 1,
            micros_max: 1,
        });
        let states = [RunState::Starting, RunState::Running, RunState::Ending, RunState::Ended];
        let words = to_value(StatusState::schema()).unwrap()["enum"].clone();
        assert_eq!(words, to_value(states).unwrap());
    }
}
