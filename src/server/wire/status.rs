//! How a [`LiveStatus`](intakt_pipelines::sinks::LiveStatus), which knows nothing of OpenAPI, looks as JSON.
#![expect(dead_code, reason = "it is described, and never made")]

use utoipa::ToSchema;

use super::latencies::StageLatency;

/// How a run is at one moment. Figures of a camera are of the same moment, so `captured` is never less than what became of its frames.
#[derive(ToSchema)]
pub(crate) struct RunStatus {
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
    rates: Vec<StatusRate>,
    /// What labels say of those windows, where there are any.
    quality: Vec<StatusQuality>,
    /// How the scores of the newest window of every scope and kind of window are spread. They move once a minute.
    scores: Vec<StatusScoreRate>,
    /// The alerts that are open, by rule and scope.
    alerts: Vec<StatusAlert>,
    /// The newest answers to standing questions, by camera and name.
    what_ifs: Vec<StatusWhatIf>,
}

/// How far a run is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
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
    dropped: Vec<StatusDropped>,
    /// Frames of which nothing became yet: captured minus judged, unreadable and dropped.
    waiting: u64,
    /// The newest one, by sequence; null before the first.
    last_verdict: Option<StatusVerdict>,
    /// The newest one; null where nothing was wrong.
    last_trouble: Option<StatusTrouble>,
    /// How long its frames take, since the run began.
    stages: Vec<StageLatency>,
}

/// Frames that were dropped for one reason.
#[derive(ToSchema)]
struct StatusDropped {
    reason: StatusDropReason,
    frames: u64,
}

/// Why a frame was dropped.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum StatusDropReason {
    /// A newer frame came while the camera's queue was full.
    DropOldest,
    /// It came while the camera's queue was full.
    DropNewest,
}

/// What was decided about a frame.
#[derive(ToSchema)]
struct StatusVerdict {
    /// The frame's number in the camera's stream.
    seq: u64,
    /// When it was captured, microseconds of event time.
    captured_at_us: u64,
    decision: StatusDecision,
    /// Why it was unreadable; only of such a frame.
    #[schema(nullable = false)]
    reason: Option<String>,
    /// 0 to 1, with the threshold at 0.5.
    calibrated_score: f64,
    /// From when it was let in, microseconds; absent where nobody measured.
    #[schema(nullable = false)]
    latency_us: Option<u64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum StatusDecision {
    Pass,
    Reject,
    Unreadable,
}

/// What is or was wrong with a camera.
#[derive(ToSchema)]
struct StatusTrouble {
    /// What its source said, or how far its clock is off.
    reason: String,
    /// Whether it delivers again.
    over: bool,
}

/// Whose frames, and which of them.
#[derive(ToSchema)]
struct StatusKey {
    scope: StatusScope,
    /// The camera or the line; absent where it is all.
    #[schema(nullable = false)]
    name: Option<String>,
    window: StatusWindow,
    /// Length of a sliding window, microseconds; absent of others.
    #[schema(nullable = false)]
    length_us: Option<u64>,
    /// The lot of a window of a lot; absent of others.
    #[schema(nullable = false)]
    lot: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum StatusScope {
    Camera,
    Line,
    All,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum StatusWindow {
    Sliding,
    Shift,
    Lot,
}

/// A window, and what was said of it when.
#[derive(ToSchema)]
struct StatusRevision {
    #[schema(inline)]
    #[serde(flatten)]
    key: StatusKey,
    /// Start of the window, microseconds of event time.
    start_us: u64,
    /// End of the window (exclusive), microseconds of event time.
    end_us: u64,
    /// When it was published, microseconds of event time: at the window's end, or when it was corrected.
    at_us: u64,
    /// 0 when the window is first published, and one more at each correction.
    revision: u32,
    /// Whether the window had not ended when the run did; absent where it had.
    #[schema(nullable = false)]
    open: Option<bool>,
}

/// What happened to the frames of a window.
#[derive(ToSchema)]
struct StatusRate {
    #[schema(inline)]
    #[serde(flatten)]
    of: StatusRevision,
    /// What was published before; null at revision 0.
    before: Option<StatusTally>,
    /// What holds now.
    after: StatusTally,
}

/// How the frames of a window scored.
#[derive(ToSchema)]
struct StatusScoreRate {
    #[schema(inline)]
    #[serde(flatten)]
    of: StatusRevision,
    /// What was published before; null at revision 0.
    before: Option<StatusScores>,
    /// What holds now.
    after: StatusScores,
}

/// What was counted.
#[derive(ToSchema)]
struct StatusTally {
    /// Frames that were captured: judged, unreadable or dropped.
    frames: i64,
    /// Judged frames that were rejected.
    rejects: i64,
    unreadable: i64,
    dropped: i64,
    /// Judged frames that were rejected and are labelled anomalous.
    anomalous_rejected: i64,
    /// Judged frames that were rejected and are labelled normal: false rejects.
    normal_rejected: i64,
    /// Judged frames that passed and are labelled normal.
    normal_passed: i64,
    /// Judged frames that passed and are labelled anomalous: escapes.
    anomalous_passed: i64,
    /// Labels whose frame was older than the horizon when they came.
    labels_too_late: i64,
    /// Labels that waited for the whole horizon and whose frame never came.
    labels_unmatched: i64,
}

/// How the calibrated scores of a window are spread.
#[derive(ToSchema)]
struct StatusScores {
    /// Frames that were judged.
    judged: i64,
    /// Median.
    p50: Option<f64>,
    /// 95th percentile.
    p95: Option<f64>,
    /// 99th percentile.
    p99: Option<f64>,
    /// Population stability index against the camera's calibration; null of lines and all.
    drift: Option<f64>,
    /// Area under the ROC curve over the labelled frames; null unless both classes occur.
    auroc: Option<f64>,
}

/// Verdicts of a window against labels. What is undefined is absent.
#[derive(ToSchema)]
struct StatusQuality {
    #[schema(inline)]
    #[serde(flatten)]
    key: StatusKey,
    /// End of the window (exclusive), microseconds of event time.
    end_us: u64,
    /// Frames that passed or were rejected, and have a label.
    labelled: u64,
    /// Share of the rejected that are anomalous.
    #[schema(nullable = false)]
    precision: Option<f64>,
    /// Share of the anomalous that were rejected.
    #[schema(nullable = false)]
    recall: Option<f64>,
    /// Harmonic mean of precision and recall.
    #[schema(nullable = false)]
    f1: Option<f64>,
    /// Share of the normal that were rejected.
    #[schema(nullable = false)]
    false_reject_rate: Option<f64>,
    /// Share of the anomalous that passed.
    #[schema(nullable = false)]
    escape_rate: Option<f64>,
}

/// An alert that is open.
#[derive(ToSchema)]
struct StatusAlert {
    /// The rule, as it was written.
    rule: String,
    scope: StatusScope,
    /// The camera or the line; absent where it is all.
    #[schema(nullable = false)]
    name: Option<String>,
    /// When it opened, microseconds of event time.
    opened_at_us: u64,
    /// When this happened, microseconds of event time.
    at_us: u64,
    state: StatusAlertState,
    /// The figure that made it happen; null for silence, and where it is undefined.
    value: Option<f64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum StatusAlertState {
    Opened,
    Closed,
    Retracted,
}

/// What another threshold would have done.
#[derive(ToSchema)]
struct StatusWhatIf {
    camera: String,
    /// What the question is called.
    name: String,
    /// When the answer changed, microseconds of event time.
    at_us: u64,
    /// What was answered before.
    before: Option<StatusTally>,
    /// Judged frames of the label horizon under the threshold; null where there are none.
    after: Option<StatusTally>,
}

#[cfg(test)]
mod tests {
    use intakt_operators::dataflow::{Alert, AlertState, RateKey, Revision, Scope, ScoreFigures, WhatIf, Window};
    use intakt_operators::metrics::Tally;
    use intakt_operators::{Decision, DropReason};
    use intakt_pipelines::sinks::{
        CameraStatus, DroppedCount, LastVerdict, LiveStatus, QualityStatus, RunState, StageStatus, TroubleStatus,
    };
    use serde_json::{Value, json, to_value};
    use utoipa::OpenApi;

    use super::*;

    #[derive(OpenApi)]
    #[openapi(components(schemas(RunStatus)))]
    struct Described;

    /// Panics unless `value` is as `schema` has it, with nothing besides.
    fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
        let (mut properties, mut required) = (serde_json::Map::new(), Vec::new());
        let mut parts = vec![schema];
        while let Some(part) = parts.pop() {
            if let Some(name) = part["$ref"].as_str() {
                let name = name.strip_prefix("#/components/schemas/").unwrap();
                parts.push(&document["components"]["schemas"][name]);
            }
            parts.extend(part["allOf"].as_array().into_iter().flatten());
            if let Some(choices) = part["oneOf"].as_array() {
                let is_null = |choice: &&Value| choice["type"] == "null";
                match value.is_null() {
                    true => assert!(choices.iter().any(|choice| is_null(&choice)), "{at} is null"),
                    false => parts.extend(choices.iter().filter(|choice| !is_null(choice))),
                }
            }
            let types = match &part["type"] {
                Value::Array(types) => types.clone(),
                Value::Null => vec![],
                one => vec![one.clone()],
            };
            let is = |name: &Value| match name.as_str().unwrap() {
                "null" => value.is_null(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                other => panic!("{at}: there is no type {other}"),
            };
            assert!(
                types.is_empty() || types.iter().any(is),
                "{at}: {value} is none of {types:?}"
            );
            if let Some(words) = part["enum"].as_array() {
                assert!(words.contains(value), "{at}: {value} is none of {words:?}");
            }
            for (at_item, item) in value.as_array().into_iter().flatten().enumerate() {
                check(document, &part["items"], item, &format!("{at}[{at_item}]"));
            }
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().into_iter().flatten().cloned());
        }
        let Some(object) = value.as_object() else { return };
        for name in required {
            assert!(object.contains_key(name.as_str().unwrap()), "{at} has no {name}");
        }
        for (name, value) in object {
            let schema = properties
                .get(name)
                .unwrap_or_else(|| panic!("{at}.{name} is not described"));
            check(document, schema, value, &format!("{at}.{name}"));
        }
    }

    fn revision<T>(scope: Scope, window: Window, before: Option<T>, after: T) -> Revision<T> {
        Revision {
            key: RateKey { scope, window },
            start_us: 1,
            end_us: 2,
            at_us: 3,
            revision: 4,
            open: before.is_some(),
            before,
            after,
        }
    }

    /// With something in every list, and every word that there is.
    fn full() -> LiveStatus {
        let camera = |decision| CameraStatus {
            camera: "dock".into(),
            dropped: [DropReason::DropOldest, DropReason::DropNewest]
                .map(|reason| DroppedCount { reason, frames: 1 })
                .into(),
            last_verdict: Some(LastVerdict {
                seq: 1,
                captured_at_us: 2,
                decision,
                calibrated_score: 0.5,
                latency_us: Some(3),
            }),
            last_trouble: Some(TroubleStatus {
                reason: "no route to host".to_owned(),
                over: true,
            }),
            stages: vec![StageStatus {
                stage: "decode".to_owned(),
                count: 1,
                micros_p50: 1,
                micros_p99: 1,
                micros_max: 1,
            }],
            ..CameraStatus::default()
        };
        let reason = "cut off".to_owned();
        let cameras = [Decision::Pass, Decision::Reject, Decision::Unreadable { reason }].map(camera);
        let sliding = Window::Sliding { length_us: 60_000_000 };
        let tally = Tally::default();
        let of_dock = || Scope::Camera("dock".into());
        let alert = |state| Alert {
            rule: "silence > 5s".into(),
            scope: of_dock(),
            opened_at_us: 1,
            at_us: 2,
            state,
            value: Some(0.5),
        };
        let quality = QualityStatus {
            key: RateKey {
                scope: Scope::All,
                window: Window::Shift,
            },
            end_us: 1,
            labelled: 2,
            precision: Some(0.5),
            recall: Some(0.5),
            f1: Some(0.5),
            false_reject_rate: Some(0.5),
            escape_rate: None,
        };
        LiveStatus {
            cameras: cameras.into(),
            stages: camera(Decision::Pass).stages,
            rates: vec![
                revision(Scope::Line("hall".into()), sliding, None, tally),
                revision(Scope::All, Window::Lot { lot: "7".into() }, Some(tally), tally),
            ],
            quality: vec![quality],
            scores: vec![revision(of_dock(), Window::Shift, None, ScoreFigures::default())],
            alerts: [AlertState::Opened, AlertState::Closed, AlertState::Retracted]
                .map(alert)
                .into(),
            what_ifs: vec![WhatIf {
                camera: "dock".into(),
                name: "lower".into(),
                at_us: 1,
                before: None,
                after: Some(tally),
            }],
            ..LiveStatus::default()
        }
    }

    #[test]
    fn what_is_described_is_what_is_answered() {
        let document = to_value(Described::openapi()).unwrap();
        let schema = json!({"$ref": "#/components/schemas/RunStatus"});
        for state in [RunState::Starting, RunState::Running, RunState::Ending, RunState::Ended] {
            for status in [LiveStatus::default(), full()] {
                let answered = to_value(LiveStatus { state, ..status }).unwrap();
                check(&document, &schema, &answered, "status");
            }
        }
    }

    #[test]
    #[should_panic(expected = "status.rates[0].after.frames: \"7\" is none of")]
    fn what_is_not_as_described_is_found() {
        let document = to_value(Described::openapi()).unwrap();
        let mut answered = to_value(full()).unwrap();
        answered["rates"][0]["after"]["frames"] = json!("7");
        check(
            &document,
            &json!({"$ref": "#/components/schemas/RunStatus"}),
            &answered,
            "status",
        );
    }
}
