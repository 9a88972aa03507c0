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
    /// Nobody runs it any more, and its sources had not come to their end: with `--resume` it goes on.
    Interrupted,
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
