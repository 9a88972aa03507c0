//! What a camera did in the last minutes, from how its counts grow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use intakt_operators::Decision;
use intakt_pipelines::pictures::NewestPictures;
use intakt_pipelines::sinks::{CameraStatus, LiveStatus};
use intakt_pipelines::store::{BAR_US, BARS, Bar};

use super::super::served::Starts;
use super::super::wire::line::{CameraState, Line, LineAlert, LineCamera, LineVerdict};
use super::super::wire::verdicts::DecisionName;

/// A camera of which nothing came for so long is idle.
const IDLE_US: u64 = 10_000_000;

/// A camera whose frames wait for so long without one being judged is late.
const LATE_US: u64 = 2_000_000;

/// A camera that dropped a frame is said to be dropping for so long.
const DROPPING_US: u64 = 10_000_000;

/// What is seen of a camera beside its counts.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) pictures: NewestPictures,
    /// The newest bars of a run that has ended.
    pub(super) recent: Option<Vec<Bar>>,
}

/// What is known of a camera's last minutes.
struct Lately {
    captured: u64,
    captured_changed_us: u64,
    judged: u64,
    judged_changed_us: u64,
    dropped: u64,
    dropped_changed_us: Option<u64>,
    /// What was counted before each bar began, the oldest first.
    begins: VecDeque<Bar>,
    bar_began_us: u64,
    said_us: u64,
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
            begins: VecDeque::from([so_far(camera)]),
            bar_began_us: now_us,
            said_us: now_us,
        }
    }

    fn note(&mut self, camera: &CameraStatus, now_us: u64) {
        if now_us < self.said_us {
            self.begin_again_at(now_us);
        }
        self.said_us = now_us;
        if camera.captured != self.captured {
            (self.captured, self.captured_changed_us) = (camera.captured, now_us);
        }
        if camera.judged != self.judged || camera.waiting == 0 {
            (self.judged, self.judged_changed_us) = (camera.judged, now_us);
        }
        if camera.dropped_total() != self.dropped {
            (self.dropped, self.dropped_changed_us) = (camera.dropped_total(), Some(now_us));
        }
        let ended = (now_us - self.bar_began_us) / BAR_US;
        self.bar_began_us += ended * BAR_US;
        // A clock that is set ahead ends more bars than are shown.
        for _ in 0..ended.min(BARS as u64) {
            self.begins.push_back(so_far(camera));
            if self.begins.len() > BARS {
                self.begins.pop_front();
            }
        }
    }

    /// The clock was set back: what was, was until now.
    fn begin_again_at(&mut self, now_us: u64) {
        let dropped = self.dropped_changed_us.as_mut();
        let others = [
            &mut self.captured_changed_us,
            &mut self.judged_changed_us,
            &mut self.bar_began_us,
        ];
        for changed_us in others.into_iter().chain(dropped) {
            *changed_us = (*changed_us).min(now_us);
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

    fn bars(&self, camera: &CameraStatus) -> Vec<Bar> {
        let ends = self.begins.iter().copied().skip(1).chain([so_far(camera)]);
        let bars = self.begins.iter().zip(ends).map(|(begin, end)| Bar {
            captured: end.captured.saturating_sub(begin.captured),
            rejected: end.rejected.saturating_sub(begin.rejected),
        });
        let mut all = vec![Bar::default(); BARS - self.begins.len()];
        all.extend(bars);
        all
    }
}

fn so_far(camera: &CameraStatus) -> Bar {
    // Those that wait are counted when it is known what became of them.
    Bar {
        captured: camera.judged + camera.unreadable + camera.dropped_total(),
        rejected: camera.rejected,
    }
}

fn share(bar: Bar) -> Option<f64> {
    (bar.captured > 0).then(|| bar.rejected as f64 / bar.captured as f64)
}

fn share_of_all(bars: &[Bar]) -> Option<f64> {
    let sum = |of: fn(&Bar) -> u64| bars.iter().map(of).sum();
    share(Bar {
        captured: sum(|bar| bar.captured),
        rejected: sum(|bar| bar.rejected),
    })
}

/// Looks at a run again and again.
#[derive(Default)]
pub(super) struct Watcher {
    starts: Starts,
    lately: BTreeMap<Arc<str>, Lately>,
}

impl Watcher {
    pub(super) fn new(starts: Starts) -> Self {
        Self {
            starts,
            ..Self::default()
        }
    }

    pub(super) fn line(&mut self, status: &LiveStatus, mut seen: impl FnMut(&str) -> Seen) -> Line {
        let now_us = status.said_at_us;
        let cameras = status.cameras.iter().map(|camera| {
            let name = &camera.camera;
            let lately = self.lately.entry(name.clone());
            let lately = lately.or_insert_with(|| Lately::new(camera, now_us));
            lately.note(camera, now_us);
            let state = match status.state.is_over() {
                true => CameraState::Ended,
                false => lately.state(camera, now_us),
            };
            let Seen { pictures, recent } = seen(name);
            let bars = recent.unwrap_or_else(|| lately.bars(camera));
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
                reject_rate: share_of_all(&bars),
                rejects: bars.into_iter().map(share).collect(),
                picture: pictures.newest.map(Into::into),
                rejected_picture: pictures.rejected.map(Into::into),
            }
        });
        let alerts = status.alerts.iter().map(|alert| LineAlert {
            rule: alert.rule.clone(),
            scope: alert.scope.to_string(),
        });
        // Those of a run that has ended are from its store.
        let went_on = self.starts.last_us > self.starts.first_us && !status.state.is_over();
        Line {
            state: status.state,
            begun_at_us: self.starts.first_us,
            counts_since_us: went_on.then_some(self.starts.last_us),
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
            Decision::Pass => DecisionName::Pass,
            Decision::Reject => DecisionName::Reject,
            Decision::Unreadable { .. } => DecisionName::Unreadable,
        },
        score: last.calibrated_score,
        latency_ms: last.latency_us.map(|us| us as f64 / 1e3),
    })
}

#[cfg(test)]
mod tests {
    use intakt_pipelines::sinks::{LastVerdict, RunState, TroubleStatus};

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
        let line = watcher.line(&status(at_seconds, camera), |_| Seen::default());
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

    /// A camera of which every frame that came is judged.
    fn of(judged: u64, rejected: u64) -> CameraStatus {
        CameraStatus {
            captured: judged,
            judged,
            rejected,
            ..CameraStatus::default()
        }
    }

    #[test]
    fn rejects_are_counted_by_five_seconds() {
        let mut watcher = Watcher::default();
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
        // What could not be read is a part of what was captured.
        let with_unreadable = CameraStatus {
            captured: 118,
            unreadable: 3,
            ..of(115, 54)
        };
        assert_eq!(bars(13, with_unreadable.clone()).0, [Some(0.1), Some(0.5), Some(0.25)]);
        assert_eq!(bars(1_000, with_unreadable), (vec![None; 3], None));
    }

    #[test]
    fn a_clock_that_is_set_hides_nothing() {
        let mut watcher = Watcher::default();
        const YEARS: u64 = 1_700_000_000;
        said(&mut watcher, YEARS, of(10, 0));
        assert_eq!(said(&mut watcher, YEARS + 1, of(20, 1)).state, CameraState::Live);
        // An hour back: the bars and the states go on from there.
        let back = YEARS - 3_600;
        assert_eq!(said(&mut watcher, back, of(20, 1)).state, CameraState::Live);
        let camera = said(&mut watcher, back + 10, of(20, 1));
        assert_eq!(camera.state, CameraState::Idle);
        assert_eq!(camera.rejects[BARS - 3..], [Some(0.1), None, None]);
        let camera = said(&mut watcher, back + 12, of(30, 6));
        assert_eq!((camera.state, camera.rejects[BARS - 1]), (CameraState::Live, Some(0.5)));
        // From 1970 to now.
        let mut watcher = Watcher::default();
        said(&mut watcher, 0, of(10, 0));
        let camera = said(&mut watcher, YEARS, of(20, 1));
        assert_eq!((camera.state, camera.reject_rate), (CameraState::Live, None));
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
        assert_eq!(camera.last.unwrap().decision, DecisionName::Unreadable);
        let camera = said(&mut watcher, 1, verdict(Decision::Reject));
        assert_eq!(camera.reason, None);
        let last = camera.last.unwrap();
        assert_eq!(
            (last.decision, last.score, last.latency_ms),
            (DecisionName::Reject, 0.25, Some(1.5))
        );
    }
}
