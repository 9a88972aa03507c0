//! Streams frames through a detector: a verdict for each, and running rates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use intakt_operators::dataflow::{
    ArrivedLabel, InOrder, JudgedFrame, LatencySummary, LotStarted, MatchLabels, Offload, Rate, RateKey, RatePlan,
    Rates, Scope,
};
use intakt_operators::{Decision, Outcome, Verdict};
use serde::Serialize;
use timely::dataflow::operators::vec::{Filter, Map, ToStream};
use timely::dataflow::operators::{Inspect, Probe};

use crate::graph::judged;
use crate::run::run_dataflow;
use crate::sinks::Sink;
use crate::sources::{Source, StopFlag};
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
    /// Frames discarded under overload. Files wait instead, so there are none.
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

/// Runs `sources` through `detectors` until they end. Every frame gets exactly one verdict; `sinks` are given the verdicts in
/// order of time, camera and sequence, and the rates as windows move. Nothing that they see depends on `options`.
///
/// # Errors
/// A sink that fails stops the run: frames that are under way are still judged, no further ones are read.
pub fn inspect(
    sources: Vec<Box<dyn Source>>,
    detectors: Arc<Detectors>,
    options: &RunOptions,
    sinks: Vec<Arc<dyn Sink>>,
) -> Result<InspectionReport, PipelineError> {
    let started = Instant::now();
    let board = Arc::new(Board::default());
    let sinks: Arc<[Arc<dyn Sink>]> = sinks.into();
    let resources = options.resources.clone();
    let watching = board.clone();
    let drawing = sinks.iter().any(|sink| sink.draws());
    let captured = run_dataflow(sources, options, &board.stop, move |frames, closed| {
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
        let (board, at_once) = (watching.clone(), sinks.clone());
        let verdicts = judged.map(move |judged| {
            at_once.iter().for_each(|sink| board.watch(sink.at_once(&judged)));
            judged.verdict
        });
        let (board, log) = (watching.clone(), sinks.clone());
        verdicts
            .clone()
            .in_order(|verdict| (verdict.camera.clone(), verdict.seq))
            .inspect(move |verdict| {
                board.count(verdict);
                log.iter().for_each(|sink| board.watch(sink.verdict(verdict)));
            });
        let (board, published) = (watching.clone(), sinks.clone());
        // Nobody can label a frame of this run while it lasts, so nothing is kept to be corrected.
        let plan = Arc::new(RatePlan {
            horizon_us: 0,
            ..RatePlan::default()
        });
        let scope = verdicts.scope();
        verdicts
            .map(Outcome::Judged)
            .match_labels(Vec::<ArrivedLabel>::new().to_stream(scope), plan.horizon_us)
            .rates(Vec::<LotStarted>::new().to_stream(scope), &plan)
            .filter(|rate| matches!(rate.key.scope, Scope::Camera(_)))
            .inspect(move |rate| {
                board.rate(rate);
                published.iter().for_each(|sink| board.watch(sink.rate(rate)));
            })
            .probe_with(&closed);
    })?;
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

    fn count(&self, verdict: &Verdict) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(verdict.camera.clone()).or_default();
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
