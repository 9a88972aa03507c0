//! What a running inspection is doing now: a consistent picture that can be asked for at any time.

mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intakt_operators::dataflow::{
    Alert, AlertState, JudgedFrame, Latencies, LatencyBuckets, Rate, RateKey, Revision, Scope, ScoreRate, WhatIf,
    Window,
};
use intakt_operators::{Decision, DropReason, DroppedFrame, Outcome, Verdict};

pub use self::status::{
    CameraStatus, DroppedCount, LastVerdict, LiveStatus, QualityStatus, RunState, StageStatus, TroubleStatus,
};
use super::Sink;
use crate::sources::{Clock, StopFlag};

/// Longest text of a trouble that is kept, characters: it may come from the other end of a network.
const TROUBLE_CHARS_MAX: usize = 500;

/// Frames of a camera whose wait for the log is measured: more than wait unless the log stands still, and then the oldest of them
/// is what counts.
const UNLOGGED_MAX: usize = 4_096;

/// Keeps the picture of a run. What it holds is bounded by cameras, scopes, kinds of windows and questions, however long the run.
pub struct LiveBoard {
    seen: Mutex<Seen>,
    latencies: Latencies,
    stop: StopFlag,
    clock: Arc<dyn Clock>,
    /// The number of this process, where there are several.
    process: Option<usize>,
}

#[derive(Default)]
struct Seen {
    started: bool,
    ended: bool,
    frontier_us: Option<u64>,
    /// When the frontier moved last, wall clock, microseconds.
    moved_at_us: u64,
    newest_captured_at_us: Option<u64>,
    cameras: BTreeMap<Arc<str>, SeenCamera>,
    rates: BTreeMap<RateKey, Rate>,
    scores: BTreeMap<RateKey, ScoreRate>,
    /// By rule and scope.
    alerts: BTreeMap<(Arc<str>, Scope), Alert>,
    /// By camera and name.
    what_ifs: BTreeMap<(Arc<str>, Arc<str>), WhatIf>,
}

#[derive(Default)]
struct SeenCamera {
    captured: u64,
    passed: u64,
    rejected: u64,
    unreadable: u64,
    dropped: BTreeMap<DropReason, u64>,
    last_verdict: Option<LastVerdict>,
    last_trouble: Option<TroubleStatus>,
    /// When the frames that are not logged yet were captured, by sequence, wall clock, microseconds.
    unlogged: BTreeMap<u64, u64>,
}

impl LiveBoard {
    /// The board of a run of `cameras` that ends when `stop` is set and times its stages with `latencies`.
    pub fn new(
        cameras: impl IntoIterator<Item = Arc<str>>,
        latencies: Latencies,
        stop: StopFlag,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let cameras = cameras.into_iter().map(|camera| (camera, SeenCamera::default()));
        Self {
            seen: Mutex::new(Seen {
                cameras: cameras.collect(),
                ..Seen::default()
            }),
            latencies,
            stop,
            clock,
            process: None,
        }
    }

    /// The same in one of several processes, of which only process 0 keeps the log.
    pub fn in_process(mut self, process: usize) -> Self {
        self.process = Some(process);
        self
    }

    /// Notes that the run is over.
    pub fn end(&self) {
        self.lock().ended = true;
    }

    /// The run as it is now.
    pub fn status(&self) -> LiveStatus {
        let (said_at_us, stopped) = (self.clock.now_us(), self.stop.is_stopped());
        let mut status = self.seen(said_at_us, stopped);
        // No frame waits for these.
        for camera in &mut status.cameras {
            camera.stages = self.stages(Some(&camera.camera), None);
        }
        LiveStatus {
            stages: self.stages(None, None),
            ..status
        }
    }

    /// All of it but the stages, of one moment.
    fn seen(&self, said_at_us: u64, stopped: bool) -> LiveStatus {
        let seen = self.lock();
        let lag_us = seen.frontier_us.map(|_| {
            // What waits in other processes is not known here. Time goes on everywhere, so that a log which stands still shows.
            let stands_us = self.process.map_or(0, |_| said_at_us.saturating_sub(seen.moved_at_us));
            seen.waited_us(said_at_us).max(stands_us)
        });
        LiveStatus {
            state: seen.state(stopped),
            said_at_us,
            keeps_log: self.process.is_none_or(|process| process == 0),
            frontier_us: seen.frontier_us,
            newest_captured_at_us: seen.newest_captured_at_us,
            frontier_lag_seconds: lag_us.map(|lag_us| lag_us as f64 / 1e6),
            cameras: seen.cameras.iter().map(|(name, camera)| camera.status(name)).collect(),
            stages: Vec::new(),
            rates: seen.rates.values().cloned().collect(),
            quality: seen.rates.values().filter_map(QualityStatus::of).collect(),
            scores: seen.scores.values().cloned().collect(),
            alerts: seen.alerts.values().cloned().collect(),
            what_ifs: seen.what_ifs.values().cloned().collect(),
        }
    }

    /// How long the stages take, of all cameras or of one: since the run began, or in the last minutes, at most [`LATENCY_MINUTES_MAX`].
    pub fn stages(&self, camera: Option<&str>, minutes: Option<u64>) -> Vec<StageStatus> {
        let summaries = match minutes {
            Some(minutes) => self.latencies.recent(camera, minutes),
            None => self.latencies.summaries(camera),
        };
        summaries.into_iter().map(StageStatus::from).collect()
    }

    /// How long the stages took, as counts in buckets.
    pub fn buckets(&self) -> Vec<LatencyBuckets> {
        self.latencies.buckets()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn state(&self, stopped: bool) -> RunState {
        match (self.ended, stopped, self.started) {
            (true, ..) => RunState::Ended,
            (_, true, _) => RunState::Ending,
            (_, _, true) => RunState::Running,
            _ => RunState::Starting,
        }
    }

    /// How long the frame that waits for the log for longest has waited, microseconds.
    fn waited_us(&self, now_us: u64) -> u64 {
        let oldest = self
            .cameras
            .values()
            .filter_map(|camera| camera.unlogged.values().next());
        oldest.min().map_or(0, |&oldest_us| now_us.saturating_sub(oldest_us))
    }

    fn camera(&mut self, camera: &Arc<str>) -> &mut SeenCamera {
        self.cameras.entry(camera.clone()).or_default()
    }
}

impl SeenCamera {
    fn status(&self, name: &Arc<str>) -> CameraStatus {
        let dropped = self
            .dropped
            .iter()
            .map(|(&reason, &frames)| DroppedCount { reason, frames });
        let judged = self.passed + self.rejected;
        let accounted = judged + self.unreadable + self.dropped.values().sum::<u64>();
        CameraStatus {
            camera: name.clone(),
            captured: self.captured,
            judged,
            passed: self.passed,
            rejected: self.rejected,
            unreadable: self.unreadable,
            dropped: dropped.collect(),
            waiting: self.captured.saturating_sub(accounted),
            last_verdict: self.last_verdict.clone(),
            last_trouble: self.last_trouble.clone(),
            stages: Vec::new(),
        }
    }

    fn judged(&mut self, verdict: &Verdict, latency_us: Option<u64>) {
        match verdict.decision {
            Decision::Pass => self.passed += 1,
            Decision::Reject => self.rejected += 1,
            Decision::Unreadable { .. } => self.unreadable += 1,
        }
        if self.last_verdict.as_ref().is_none_or(|last| last.seq <= verdict.seq) {
            self.last_verdict = Some(LastVerdict {
                seq: verdict.seq,
                captured_at_us: verdict.captured_at_us,
                decision: verdict.decision.clone(),
                calibrated_score: verdict.calibrated_score,
                latency_us,
            });
        }
    }
}

impl Sink for LiveBoard {
    fn started(&self) {
        self.lock().started = true;
    }

    fn captured(&self, camera: &Arc<str>, seq: u64, captured_at_us: u64) {
        let now_us = self.clock.now_us();
        let mut seen = self.lock();
        seen.newest_captured_at_us = seen.newest_captured_at_us.max(Some(captured_at_us));
        let camera = seen.camera(camera);
        camera.captured += 1;
        if camera.unlogged.len() < UNLOGGED_MAX {
            camera.unlogged.insert(seq, now_us);
        }
        if let Some(trouble) = &mut camera.last_trouble {
            trouble.over = true;
        }
    }

    fn dropped(&self, dropped: &DroppedFrame) {
        let mut seen = self.lock();
        *seen.camera(&dropped.camera).dropped.entry(dropped.reason).or_default() += 1;
    }

    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let admitted_at = judged.evidence.as_ref().map(|found| found.scored.frame.admitted_at);
        let latency_us = admitted_at.map(|admitted_at| admitted_at.elapsed().as_micros() as u64);
        let mut seen = self.lock();
        seen.camera(&judged.verdict.camera).judged(&judged.verdict, latency_us);
        Ok(())
    }

    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        // The log is also that of cameras of other processes, which are not shown here.
        if let Some(camera) = self.lock().cameras.get_mut(outcome.camera()) {
            camera.unlogged.remove(&outcome.seq());
        }
        Ok(())
    }

    fn trouble(&self, camera: &Arc<str>, reason: &str) {
        let reason = reason.chars().take(TROUBLE_CHARS_MAX).collect();
        self.lock().camera(camera).last_trouble = Some(TroubleStatus { reason, over: false });
    }

    fn rate(&self, rate: &Rate) -> Result<(), String> {
        note_newest(&mut self.lock().rates, rate);
        Ok(())
    }

    fn score_rate(&self, rate: &ScoreRate) -> Result<(), String> {
        note_newest(&mut self.lock().scores, rate);
        Ok(())
    }

    fn alert(&self, alert: &Alert) -> Result<(), String> {
        let key = (alert.rule.clone(), alert.scope.clone());
        let open = &mut self.lock().alerts;
        match alert.state {
            AlertState::Opened => drop(open.insert(key, alert.clone())),
            AlertState::Closed | AlertState::Retracted => {
                // An older one of the same rule may be retracted while a newer one is open.
                if open
                    .get(&key)
                    .is_some_and(|newest| newest.opened_at_us == alert.opened_at_us)
                {
                    open.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn what_if(&self, answer: &WhatIf) -> Result<(), String> {
        let key = (answer.camera.clone(), answer.name.clone());
        let what_ifs = &mut self.lock().what_ifs;
        match answer.after {
            Some(_) => drop(what_ifs.insert(key, answer.clone())),
            None => drop(what_ifs.remove(&key)),
        }
        Ok(())
    }

    fn passed(&self, frontier_us: u64) -> Result<(), String> {
        let now_us = self.clock.now_us();
        let mut seen = self.lock();
        seen.frontier_us = Some(frontier_us);
        seen.moved_at_us = now_us;
        Ok(())
    }
}

/// Keeps the newest window of each kind that has ended.
fn note_newest<T: Clone>(newest: &mut BTreeMap<RateKey, Revision<T>>, rate: &Revision<T>) {
    if rate.open {
        return;
    }
    let known = newest.entry(kind_of_window(&rate.key)).or_insert_with(|| rate.clone());
    // A correction of an older window is no news of the present.
    if (known.end_us, known.revision) <= (rate.end_us, rate.revision) {
        known.clone_from(rate);
    }
}

/// The key without a lot's name: lots come and go, and only the present one is shown.
fn kind_of_window(key: &RateKey) -> RateKey {
    let window = match &key.window {
        Window::Lot { .. } => Window::Lot { lot: "".into() },
        other => other.clone(),
    };
    RateKey {
        scope: key.scope.clone(),
        window,
    }
}

#[cfg(test)]
mod tests;
