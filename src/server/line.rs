//! The line as it is now: what the page is told four times a second, and the pictures that it asks for.
//!
//! [`Line`] is all that a browser learns of a run. It is put together and encoded once for all who look.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use intakt_operators::Decision;
use intakt_pipelines::sinks::{CameraStatus, CameraThumbnails, LiveStatus, RunState, Thumbnail};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};

use super::asked::{Named, Wanted};
use super::audit_log::Audit;
use super::frames::jpeg;
use super::openapi::File;
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{Live, LiveRun, Run, Served, SharedCounted, Shown, blocking, lock};

/// How often the page is told.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// How often it is looked whether there is news of a run that does not go on here.
const LOOKED_EVERY: Duration = Duration::from_secs(2);

/// How long one bar of a camera's rejects is, and how many there are: five minutes.
const BAR_US: u64 = 5_000_000;
const BARS: usize = 60;

/// A camera of which nothing came for so long is idle.
const IDLE_US: u64 = 10_000_000;

/// A camera whose frames wait for so long without one being judged is late.
const LATE_US: u64 = 2_000_000;

/// A camera that dropped a frame is said to be dropping for so long.
const DROPPING_US: u64 = 10_000_000;

/// What was said last of a run.
pub(super) struct Said {
    pub(super) status: LiveStatus,
    pub(super) line: Line,
    /// The line as JSON.
    json: Arc<str>,
}

/// A run at one moment.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Line {
    #[schema(value_type = String)]
    state: RunState,
    /// Wall clock, microseconds since 1970.
    said_at_us: u64,
    /// How long the oldest frame waits that is not in the log yet.
    behind_seconds: Option<f64>,
    pub(super) cameras: Vec<LineCamera>,
    alerts: Vec<LineAlert>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct LineCamera {
    pub(super) camera: Arc<str>,
    pub(super) state: CameraState,
    /// What is wrong with it.
    pub(super) reason: Option<String>,
    pub(super) captured: u64,
    pub(super) judged: u64,
    pub(super) rejected: u64,
    pub(super) unreadable: u64,
    pub(super) dropped: u64,
    last: Option<LineVerdict>,
    /// Of the frames that were judged in the last five minutes.
    reject_rate: Option<f64>,
    /// The same by five seconds, the newest last; none where nothing was judged.
    rejects: Vec<Option<f64>>,
    picture: Option<LinePicture>,
    rejected_picture: Option<LinePicture>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct LineVerdict {
    seq: u64,
    captured_at_us: u64,
    decision: &'static str,
    /// Calibrated: 0 to 1, rejected from 0.5.
    score: f64,
    /// From when it was let in.
    latency_ms: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct LinePicture {
    seq: u64,
    is_rejected: bool,
    drawn_at_us: u64,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct LineAlert {
    rule: Arc<str>,
    scope: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CameraState {
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

/// What is known of a camera's last minutes.
struct Lately {
    captured: u64,
    captured_changed_us: u64,
    judged: u64,
    judged_changed_us: u64,
    dropped: u64,
    dropped_changed_us: Option<u64>,
    /// Judged and rejected frames before each bar began, the oldest first.
    bars: VecDeque<(u64, u64)>,
    bar_began_us: u64,
}

impl Lately {
    fn new(camera: &CameraStatus, now_us: u64) -> Self {
        Self {
            captured: camera.captured,
            captured_changed_us: now_us,
            judged: camera.judged,
            judged_changed_us: now_us,
            dropped: camera.dropped_total(),
            dropped_changed_us: None,
            bars: VecDeque::from([(camera.judged, camera.rejected)]),
            bar_began_us: now_us,
        }
    }

    fn note(&mut self, camera: &CameraStatus, now_us: u64) {
        if camera.captured != self.captured {
            (self.captured, self.captured_changed_us) = (camera.captured, now_us);
        }
        if camera.judged != self.judged || camera.waiting == 0 {
            (self.judged, self.judged_changed_us) = (camera.judged, now_us);
        }
        if camera.dropped_total() != self.dropped {
            (self.dropped, self.dropped_changed_us) = (camera.dropped_total(), Some(now_us));
        }
        while now_us >= self.bar_began_us + BAR_US {
            self.bar_began_us += BAR_US;
            self.bars.push_back((camera.judged, camera.rejected));
            if self.bars.len() > BARS {
                self.bars.pop_front();
            }
        }
    }

    fn state(&self, camera: &CameraStatus, now_us: u64) -> CameraState {
        let is_since = |since_us: u64, for_us: u64| now_us.saturating_sub(since_us) >= for_us;
        if camera.last_trouble.as_ref().is_some_and(|trouble| !trouble.over) {
            CameraState::Reconnecting
        } else if camera.captured == 0 {
            CameraState::Starting
        } else if self
            .dropped_changed_us
            .is_some_and(|since_us| !is_since(since_us, DROPPING_US))
        {
            CameraState::Dropping
        } else if camera.waiting > 0 && is_since(self.judged_changed_us, LATE_US) {
            CameraState::Late
        } else if is_since(self.captured_changed_us, IDLE_US) {
            CameraState::Idle
        } else {
            CameraState::Live
        }
    }

    /// The share of rejects, bar by bar and of all bars.
    fn rejects(&self, camera: &CameraStatus) -> (Vec<Option<f64>>, Option<f64>) {
        let share = |(judged, rejected): (u64, u64), (judged_before, rejected_before): (u64, u64)| {
            let judged = judged.saturating_sub(judged_before);
            (judged > 0).then(|| rejected.saturating_sub(rejected_before) as f64 / judged as f64)
        };
        let now = (camera.judged, camera.rejected);
        let begins = self.bars.iter().copied();
        let ends = self.bars.iter().copied().skip(1).chain([now]);
        let known = begins.zip(ends).map(|(begin, end)| share(end, begin));
        let mut bars = vec![None; BARS - self.bars.len()];
        bars.extend(known);
        (bars, self.bars.front().and_then(|first| share(now, *first)))
    }
}

/// Looks at a run again and again.
#[derive(Default)]
struct Watcher {
    lately: BTreeMap<Arc<str>, Lately>,
}

impl Watcher {
    fn line(&mut self, status: &LiveStatus, pictures: impl Fn(&str) -> CameraThumbnails) -> Line {
        let now_us = status.said_at_us;
        let cameras = status.cameras.iter().map(|camera| {
            let name = &camera.camera;
            let lately = self.lately.entry(name.clone());
            let lately = lately.or_insert_with(|| Lately::new(camera, now_us));
            lately.note(camera, now_us);
            let state = match status.state {
                RunState::Ended => CameraState::Ended,
                _ => lately.state(camera, now_us),
            };
            let (rejects, reject_rate) = lately.rejects(camera);
            let CameraThumbnails { newest, rejected } = pictures(name);
            let picture = |thumbnail: Thumbnail| LinePicture {
                seq: thumbnail.seq,
                is_rejected: thumbnail.is_rejected,
                drawn_at_us: thumbnail.drawn_at_us,
            };
            LineCamera {
                camera: name.clone(),
                state,
                reason: reason(camera),
                captured: camera.captured,
                judged: camera.judged,
                rejected: camera.rejected,
                unreadable: camera.unreadable,
                dropped: camera.dropped_total(),
                last: last(camera),
                reject_rate,
                rejects,
                picture: newest.map(picture),
                rejected_picture: rejected.map(picture),
            }
        });
        let alerts = status.alerts.iter().map(|alert| LineAlert {
            rule: alert.rule.clone(),
            scope: alert.scope.to_string(),
        });
        Line {
            state: status.state,
            said_at_us: now_us,
            behind_seconds: status.frontier_lag_seconds,
            cameras: cameras.collect(),
            alerts: alerts.collect(),
        }
    }
}

fn reason(camera: &CameraStatus) -> Option<String> {
    let trouble = camera.last_trouble.as_ref().filter(|trouble| !trouble.over);
    let unreadable = camera.last_verdict.as_ref().and_then(|last| match &last.decision {
        Decision::Unreadable { reason } => Some(reason.clone()),
        Decision::Pass | Decision::Reject => None,
    });
    trouble.map(|trouble| trouble.reason.clone()).or(unreadable)
}

fn last(camera: &CameraStatus) -> Option<LineVerdict> {
    let last = camera.last_verdict.as_ref()?;
    Some(LineVerdict {
        seq: last.seq,
        captured_at_us: last.captured_at_us,
        decision: match last.decision {
            Decision::Pass => "pass",
            Decision::Reject => "reject",
            Decision::Unreadable { .. } => "unreadable",
        },
        score: last.calibrated_score,
        latency_ms: last.latency_us.map(|us| us as f64 / 1e3),
    })
}

/// Where it is told how a run is.
pub(super) type Told = watch::Sender<Arc<Said>>;

impl Said {
    /// Before anybody asks. Of a run elsewhere that cannot be read at the moment, nothing yet.
    pub(super) fn at_the_beginning(served: &Served, counted: &SharedCounted) -> Self {
        let status = match &served.run {
            Run::Here(live) => live.board.status(),
            Run::Elsewhere(shown) => shown.status(&mut lock(counted)).unwrap_or_default(),
        };
        Self::of(&mut Watcher::default(), status, |_| CameraThumbnails::default())
    }

    fn of(watcher: &mut Watcher, status: LiveStatus, pictures: impl Fn(&str) -> CameraThumbnails) -> Self {
        let line = watcher.line(&status, pictures);
        let json = serde_json::to_string(&line).expect("what is said of a line is JSON");
        Self {
            json: json.into(),
            status,
            line,
        }
    }
}

/// Tells how the run is, until nobody can hear it any more.
pub(super) async fn tell(served: Served, counted: SharedCounted, told: Told) {
    match served.run {
        Run::Here(live) => tell_live(live, served.audit, told).await,
        Run::Elsewhere(shown) => tell_shown(shown, counted, told).await,
    }
}

async fn tell_live(live: Live, audit: Option<Arc<Audit>>, told: Told) {
    let (mut watcher, mut every) = (Watcher::default(), regularly(TOLD_EVERY));
    loop {
        every.tick().await;
        if told.receiver_count() > 1 {
            live.thumbnails.watch();
        }
        // Also while nobody looks: who comes sees the last five minutes.
        let said = Said::of(&mut watcher, live.board.status(), |camera| live.thumbnails.of(camera));
        if told.send(Arc::new(said)).is_err() {
            return;
        }
        let begun = live.controls.begun();
        if let (Some(audit), false) = (&audit, begun.is_empty()) {
            let audit = audit.clone();
            // What cannot be noted took effect nevertheless, as its entry says that it would.
            let _ = blocking(move || begun.into_iter().try_for_each(|begun| audit.took_effect(begun))).await;
        }
    }
}

async fn tell_shown(shown: Arc<dyn Shown>, counted: SharedCounted, told: Told) {
    let (mut watcher, mut every) = (Watcher::default(), regularly(LOOKED_EVERY));
    loop {
        every.tick().await;
        let (shown, counted) = (shown.clone(), counted.clone());
        let status = blocking(move || shown.status(&mut lock(&counted))).await;
        // A store that cannot be read at the moment is read the next time; who asks for more is told why.
        let Ok(Ok(status)) = status else { continue };
        let said = Said::of(&mut watcher, status, |_| CameraThumbnails::default());
        if told.send(Arc::new(said)).is_err() {
            return;
        }
    }
}

fn regularly(every: Duration) -> tokio::time::Interval {
    let mut every = tokio::time::interval(every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    every
}

/// How the line is, four times a second, as server-sent events called `line`. The data of each is JSON.
#[utoipa::path(get, path = "/events", tag = "line", responses(
    (status = 200, body = Line, content_type = "text/event-stream", description = "Events; the schema is that of their data"),
))]
pub(super) async fn events(State(shared): State<Shared>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut lines = shared.line.clone();
    if lines.borrow().status.said_at_us > 0 {
        // Of a run that has ended there may be no news for long.
        lines.mark_changed();
    }
    let events = futures::stream::unfold(lines, |mut lines| async {
        lines.changed().await.ok()?;
        let json = lines.borrow_and_update().json.clone();
        Some((Ok(Event::default().event("line").data(&*json)), lines))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Which picture is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedPicture {
    /// Of the newest frame, or of the newest that was rejected.
    #[param(inline)]
    which: Which,
    /// The frame that is meant; a later one may have taken its place.
    seq: Option<u64>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Which {
    Newest,
    Rejected,
}

/// A small picture of a camera's newest frame, or of the newest that was rejected, with its heatmap.
#[utoipa::path(get, path = "/cameras/{camera}/picture", tag = "line",
    params(("camera" = String, Path), WantedPicture),
    responses(
        (status = 200, content_type = "image/jpeg", body = File),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "There is no such picture yet"),
        (status = 409, description = "No run goes on here"),
    ))]
pub(super) async fn picture(
    LiveRun(live): LiveRun,
    Named(camera): Named<String>,
    Wanted(wanted): Wanted<WantedPicture>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let pictures = live.thumbnails.of(&camera);
    let picture = match wanted.which {
        Which::Newest => pictures.newest,
        Which::Rejected => pictures.rejected,
    };
    let Some(picture) = picture else {
        let error = format!("there is no such picture of camera \"{camera}\" yet");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    };
    let tag = format!("\"{}-{}\"", picture.seq, picture.drawn_at_us);
    // What was asked for by its number does not change; the newest does.
    let cache = match wanted.seq == Some(picture.seq) {
        true => "private, max-age=3600, immutable",
        false => "no-cache",
    };
    Ok(jpeg(&headers, tag, cache, Bytes::from_owner(picture.jpeg)))
}

#[cfg(test)]
mod tests {
    use intakt_pipelines::sinks::{LastVerdict, TroubleStatus};

    use super::*;

    const SECOND_US: u64 = 1_000_000;

    fn status(at_seconds: u64, camera: CameraStatus) -> LiveStatus {
        LiveStatus {
            state: RunState::Running,
            said_at_us: at_seconds * SECOND_US,
            cameras: vec![CameraStatus {
                camera: "dock".into(),
                ..camera
            }],
            ..LiveStatus::default()
        }
    }

    fn said(watcher: &mut Watcher, at_seconds: u64, camera: CameraStatus) -> LineCamera {
        let line = watcher.line(&status(at_seconds, camera), |_| CameraThumbnails::default());
        line.cameras.into_iter().next().unwrap()
    }

    #[test]
    fn a_camera_is_what_it_did_lately() {
        let mut watcher = Watcher::default();
        let of = |captured: u64, judged: u64, waiting: u64| CameraStatus {
            captured,
            judged,
            waiting,
            ..CameraStatus::default()
        };
        let mut state = |at_seconds, camera| said(&mut watcher, at_seconds, camera).state;
        assert_eq!(state(0, of(0, 0, 0)), CameraState::Starting);
        assert_eq!(state(1, of(1, 1, 0)), CameraState::Live);
        assert_eq!(state(2, of(3, 1, 2)), CameraState::Live);
        assert_eq!(state(4, of(3, 1, 2)), CameraState::Late);
        assert_eq!(state(5, of(3, 3, 0)), CameraState::Live);
        assert_eq!(state(12, of(3, 3, 0)), CameraState::Idle);
        let dropped = vec![intakt_pipelines::sinks::DroppedCount {
            reason: intakt_operators::DropReason::DropOldest,
            frames: 1,
        }];
        let dropping = CameraStatus { dropped, ..of(5, 4, 0) };
        assert_eq!(state(13, dropping.clone()), CameraState::Dropping);
        assert_eq!(state(23, dropping.clone()), CameraState::Idle);
        let trouble = |over| {
            Some(TroubleStatus {
                reason: "no route to host".into(),
                over,
            })
        };
        let lost = CameraStatus {
            last_trouble: trouble(false),
            ..dropping.clone()
        };
        assert_eq!(state(24, lost), CameraState::Reconnecting);
        let back = CameraStatus {
            last_trouble: trouble(true),
            captured: 6,
            ..dropping
        };
        assert_eq!(state(25, back), CameraState::Live);
    }

    #[test]
    fn rejects_are_counted_by_five_seconds() {
        let mut watcher = Watcher::default();
        let of = |judged: u64, rejected: u64| CameraStatus {
            captured: judged,
            judged,
            rejected,
            ..CameraStatus::default()
        };
        let mut bars = |at_seconds, camera| {
            let camera = said(&mut watcher, at_seconds, camera);
            assert_eq!(camera.rejects.len(), BARS);
            (camera.rejects[BARS - 3..].to_vec(), camera.reject_rate)
        };
        // What was before somebody began to count does not count.
        assert_eq!(bars(0, of(100, 50)).1, None);
        assert_eq!(bars(4, of(110, 51)), (vec![None, None, Some(0.1)], Some(0.1)));
        assert_eq!(bars(5, of(110, 51)), (vec![None, Some(0.1), None], Some(0.1)));
        assert_eq!(bars(9, of(114, 53)).0, [None, Some(0.1), Some(0.5)]);
        assert_eq!(
            bars(12, of(114, 53)),
            (vec![Some(0.1), Some(0.5), None], Some(3.0 / 14.0))
        );
        assert_eq!(bars(1_000, of(114, 53)), (vec![None; 3], None));
    }

    #[test]
    fn the_last_verdict_is_said_with_its_reason() {
        let mut watcher = Watcher::default();
        let verdict = |decision| CameraStatus {
            captured: 1,
            last_verdict: Some(LastVerdict {
                seq: 7,
                captured_at_us: 3,
                decision,
                calibrated_score: 0.25,
                latency_us: Some(1_500),
            }),
            ..CameraStatus::default()
        };
        let unreadable = Decision::Unreadable {
            reason: "cut off".into(),
        };
        let camera = said(&mut watcher, 0, verdict(unreadable));
        assert_eq!(camera.reason.as_deref(), Some("cut off"));
        assert_eq!(camera.last.unwrap().decision, "unreadable");
        let camera = said(&mut watcher, 1, verdict(Decision::Reject));
        assert_eq!(camera.reason, None);
        let last = camera.last.unwrap();
        assert_eq!(
            (last.decision, last.score, last.latency_ms),
            ("reject", 0.25, Some(1.5))
        );
    }
}
