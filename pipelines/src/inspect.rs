//! Streams frames through a detector: a verdict for each, and running rates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use intakt_operators::dataflow::{
    ArrivedLabel, Cameras, InOrder, JudgedFrame, LatencySummary, LotStarted, MatchLabels, Offload, Passed, Rate,
    RateKey, RatePlan, Rates, Scope,
};
use intakt_operators::{Decision, Outcome};
use serde::Serialize;
use timely::dataflow::operators::vec::{Filter, Map, ToStream};
use timely::dataflow::operators::{Concat, Inspect, Probe};

use crate::graph::judged;
use crate::recording::Recorder;
use crate::run::{Camera, OnRead, run_dataflow};
use crate::sinks::Sink;
use crate::sources::StopFlag;
use crate::{Detectors, PipelineError, RunOptions};

/// What became of the frames of one camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CameraAccount {
    /// Frames its source delivered.
    pub captured: u64,
    /// Frames that passed or were rejected.
    pub judged: u64,
    /// Frames that were rejected.
    pub rejected: u64,
    /// Frames of which no image could be made.
    pub unreadable: u64,
    /// Frames dropped under overload. Files wait instead, so there are none.
    pub dropped: u64,
}

/// A run, in figures.
#[derive(Clone, Debug, Serialize)]
pub struct InspectionReport {
    /// Per camera.
    pub cameras: BTreeMap<Arc<str>, CameraAccount>,
    /// The rates at the end of the last hop, per window and camera.
    pub rates: Vec<Rate>,
    /// Per stage.
    pub latencies: Vec<LatencySummary>,
    /// Wall time of the run.
    pub seconds: f64,
}

impl InspectionReport {
    /// Sum of one figure over the cameras.
    pub fn total(&self, figure: impl Fn(&CameraAccount) -> u64) -> u64 {
        self.cameras.values().map(figure).sum()
    }
}

/// What is to be inspected.
pub struct Inspection {
    /// Where frames come from.
    pub cameras: Vec<Camera>,
    /// What looks at them.
    pub detectors: Arc<Detectors>,
    /// What takes the results.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// What is given the frames that were let in and those that were dropped. It is not finished here, and its troubles are
    /// no failure of the inspection.
    pub recorder: Option<Arc<Recorder>>,
    /// Ends the run when it is set: frames under way are still judged.
    pub stop: StopFlag,
}

impl Inspection {
    /// An inspection that is not recorded and goes on until every camera has ended.
    pub fn new(cameras: Vec<Camera>, detectors: Arc<Detectors>, sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self {
            cameras,
            detectors,
            sinks,
            recorder: None,
            stop: StopFlag::default(),
        }
    }
}

/// Runs until every camera has ended. Every frame gets exactly one outcome; the sinks are given the outcomes in order of time,
/// camera and sequence, and the rates as windows move. Nothing that they see depends on `options`.
///
/// # Errors
/// A sink that fails stops the run: frames that are under way are still judged, no further ones are read.
pub fn inspect(inspection: Inspection, options: &RunOptions) -> Result<InspectionReport, PipelineError> {
    let Inspection {
        cameras,
        detectors,
        sinks,
        recorder,
        stop,
    } = inspection;
    let started = Instant::now();
    let board = Arc::new(Board {
        stop: stop.clone(),
        ..Board::default()
    });
    let sinks: Arc<[Arc<dyn Sink>]> = sinks.into();
    let resources = options.resources.clone();
    let watching = board.clone();
    let drawing = sinks.iter().any(|sink| sink.draws());
    let told = sinks.clone();
    let on_read: OnRead = Arc::new(move |camera, read| {
        told.iter().for_each(|sink| match read {
            Ok(captured_at_us) => sink.captured(camera, captured_at_us),
            Err(reason) => sink.trouble(camera, reason),
        });
    });
    let captured = run_dataflow(
        cameras,
        options,
        &board.stop.clone(),
        on_read,
        recorder,
        move |cameras, closed| {
            sinks.iter().for_each(|sink| sink.started());
            let Cameras { frames, dropped } = cameras;
            let mut judged = judged(frames, &resources, &detectors);
            if drawing {
                let (board, sinks) = (watching.clone(), sinks.clone());
                let broken = watching.clone();
                let drawing_panicked = move |judged: &JudgedFrame, message: String| {
                    broken.watch(Err(format!("drawing frame {} panicked: {message}", judged.verdict.seq)));
                    judged.clone()
                };
                let draw = move |judged: &JudgedFrame| {
                    sinks.iter().for_each(|sink| board.watch(sink.draw(judged)));
                    judged.clone()
                };
                judged = judged.offload("draw", &resources, draw, drawing_panicked);
            }
            let (board, at_once, told) = (watching.clone(), sinks.clone(), sinks.clone());
            let outcomes = judged
                .map(move |judged| {
                    at_once.iter().for_each(|sink| board.watch(sink.at_once(&judged)));
                    Outcome::Judged(judged.verdict)
                })
                .concat(dropped.map(move |(dropped, _)| {
                    told.iter().for_each(|sink| sink.dropped(&dropped));
                    Outcome::Dropped(dropped)
                }));
            let (board, log) = (watching.clone(), sinks.clone());
            let logged = outcomes
                .clone()
                .in_order(|outcome| (outcome.camera().clone(), outcome.seq()))
                .inspect_core(move |event| {
                    let Ok((stamp, outcomes)) = event else { return };
                    let Some(&time_us) = stamp.least() else { return };
                    for outcome in outcomes {
                        board.count(outcome);
                        log.iter().for_each(|sink| board.watch(sink.outcome(time_us, outcome)));
                    }
                });
            let (board, published) = (watching.clone(), sinks.clone());
            // Nobody can label a frame of this run while it lasts, so nothing is kept to be corrected.
            let plan = Arc::new(RatePlan {
                horizon_us: 0,
                ..RatePlan::default()
            });
            let scope = outcomes.scope();
            let rates = outcomes
                .match_labels(Vec::<ArrivedLabel>::new().to_stream(scope), plan.horizon_us)
                .rates(Vec::<LotStarted>::new().to_stream(scope), &plan)
                .filter(|rate| matches!(rate.key.scope, Scope::Camera(_)))
                .inspect(move |rate| {
                    board.rate(rate);
                    published.iter().for_each(|sink| board.watch(sink.rate(rate)));
                });
            let (board, told) = (watching.clone(), sinks.clone());
            logged
                .flat_map(|_| None::<()>)
                .concat(rates.flat_map(|_| None))
                .passed(move |frontier_us| {
                    if let Some(frontier_us) = frontier_us {
                        told.iter().for_each(|sink| board.watch(sink.passed(frontier_us)));
                    }
                })
                .probe_with(&closed);
        },
    )?;
    board.report(
        captured,
        options.resources.latencies.summaries(),
        started.elapsed().as_secs_f64(),
    )
}

/// What the workers of a run write on together.
#[derive(Default)]
struct Board {
    accounts: Mutex<BTreeMap<Arc<str>, CameraAccount>>,
    rates: Mutex<BTreeMap<RateKey, Rate>>,
    failure: Mutex<Option<String>>,
    stop: StopFlag,
}

impl Board {
    fn watch(&self, outcome: Result<(), String>) {
        if let Err(reason) = outcome {
            self.stop.stop();
            self.failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(reason);
        }
    }

    fn count(&self, outcome: &Outcome) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(outcome.camera().clone()).or_default();
        let Outcome::Judged(verdict) = outcome else {
            account.dropped += 1;
            return;
        };
        match verdict.decision {
            Decision::Unreadable { .. } => account.unreadable += 1,
            Decision::Pass => account.judged += 1,
            Decision::Reject => {
                account.judged += 1;
                account.rejected += 1;
            }
        }
    }

    fn rate(&self, rate: &Rate) {
        self.rates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(rate.key.clone(), rate.clone());
    }

    fn report(
        &self,
        captured: BTreeMap<Arc<str>, u64>,
        latencies: Vec<LatencySummary>,
        seconds: f64,
    ) -> Result<InspectionReport, PipelineError> {
        if let Some(reason) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(PipelineError::Stopped(reason));
        }
        let mut cameras = std::mem::take(&mut *self.accounts.lock().unwrap_or_else(PoisonError::into_inner));
        for (camera, captured) in captured {
            cameras.entry(camera).or_default().captured = captured;
        }
        for (camera, account) in &cameras {
            let accounted = account.judged + account.unreadable + account.dropped;
            assert_eq!(
                account.captured, accounted,
                "every frame of camera {camera} has one verdict"
            );
        }
        let rates = std::mem::take(&mut *self.rates.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(InspectionReport {
            cameras,
            rates: rates.into_values().collect(),
            latencies,
            seconds,
        })
    }
}
