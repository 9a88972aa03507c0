//! Streams frames through a detector: a verdict for each, and figures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use intakt_operators::dataflow::{
    Account, Admitted, Cameras, Compare, Compared, InOrder, JudgedFrame, Latencies, LatencySummary, Offload, Passed,
    Rate, Resources,
};
use intakt_operators::{Outcome, Verdict};
use serde::Serialize;
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Concat, Inspect, Probe};
use timely::dataflow::{ProbeHandle, StreamVec};

use crate::board::Board;
use crate::figures::{Figures, Known, figures, said};
use crate::graph::{Remembered, judged};
use crate::recording::Recorder;
use crate::run::{OnRead, Surroundings, run_dataflow};
use crate::sinks::Sink;
use crate::sources::StopFlag;
use crate::store::Resumed;
use crate::{Camera, Detectors, PipelineError, RunOptions};

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
    /// What looks at the same frames without deciding anything: its disagreements are told.
    pub shadow: Option<Arc<Detectors>>,
    /// What takes the results.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// What is counted besides.
    pub figures: Figures,
    /// What is given the frames that were let in and those that were dropped. It is not finished here, and its troubles are
    /// no failure of the inspection.
    pub recorder: Option<Arc<Recorder>>,
    /// Ends the run when it is set: frames under way are still judged.
    pub stop: StopFlag,
    /// Where the run goes on; none: it begins.
    pub resumed: Option<Resumed>,
}

impl Inspection {
    /// An inspection that is not recorded and goes on until every camera has ended.
    pub fn new(cameras: Vec<Camera>, detectors: Arc<Detectors>, sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self {
            cameras,
            detectors,
            shadow: None,
            sinks,
            figures: Figures::default(),
            recorder: None,
            stop: StopFlag::default(),
            resumed: None,
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
        shadow,
        sinks,
        figures: wanted,
        recorder,
        stop,
        resumed,
    } = inspection;
    let started = Instant::now();
    let board = Arc::new(Board::new(sinks, stop.clone()));
    let told = board.clone();
    let on_read: OnRead = Arc::new(move |camera, read| {
        told.tell(|sink| {
            match read {
                Ok((seq, captured_at_us)) => sink.captured(camera, seq, captured_at_us),
                Err(reason) => sink.trouble(camera, reason),
            }
            Ok(())
        });
    });
    let (known, remembered) = known(resumed)?;
    let surroundings = Surroundings {
        stop,
        on_read,
        recorder,
        from_us: known.from_us,
        detectors: Some(detectors.clone()),
    };
    let (resources, watching) = (options.resources.clone(), board.clone());
    // All processes build the same operators, whatever their sinks.
    let in_cluster = options.cluster.is_some();
    let draws = in_cluster || board.draws();
    let keeps_the_log = options.keeps_the_log();
    let captured = run_dataflow(cameras, options, surroundings, move |cameras, probes| {
        watching.tell(|sink| {
            sink.started();
            Ok(())
        });
        let Cameras {
            frames,
            dropped,
            controls,
            ledger,
        } = cameras;
        let shadowed = shadow
            .as_ref()
            .map(|shadow| looked_at_too(frames.clone(), shadow, &resources));
        let judged = judged(frames, &resources, &detectors, &remembered);
        let judged = match draws {
            true => drawn(judged, &resources, &watching),
            false => judged,
        };
        let board = watching.clone();
        let verdicts = judged.map(move |judged| {
            board.tell(|sink| sink.at_once(&judged));
            judged.verdict
        });
        let compared = shadowed.map(|shadowed| disagreements(verdicts.clone(), shadowed, &watching));
        let board = watching.clone();
        let dropped = dropped.map(move |(dropped, _)| {
            board.tell(|sink| {
                sink.dropped(&dropped);
                Ok(())
            });
            Outcome::Dropped(dropped)
        });
        let mut outcomes = verdicts.map(Outcome::Judged).concat(dropped).account(ledger);
        if in_cluster {
            // In the process that keeps the log they are counted there.
            let board = watching.clone();
            outcomes = outcomes.inspect(move |outcome| {
                if !keeps_the_log {
                    board.count(outcome);
                }
            });
        }
        let board = watching.clone();
        let setups = detectors.clone();
        let change_of = move |camera: &str, setup| setups.change(camera, setup);
        let logged = logged(outcomes.clone(), &watching, &probes.logged);
        let progress = said(controls.clone(), change_of, &watching)
            .concat(figures(outcomes, controls, &known, &wanted, &watching));
        let progress = compared.into_iter().fold(progress, Concat::concat);
        logged
            .passed(progress, move |frontier_us| board.tell(|sink| sink.passed(frontier_us)))
            .probe_with(&probes.closed);
    })?;
    let cameras = board.accounts(captured)?;
    Ok(InspectionReport {
        cameras,
        rates: board.rates(),
        latencies: options.resources.latencies.summaries(None),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// What is known of the run so far.
fn known(resumed: Option<Resumed>) -> Result<(Known, Arc<Remembered>), PipelineError> {
    let Some(resumed) = resumed else {
        return Ok((Known::default(), Arc::default()));
    };
    let known = Known {
        outcomes: Mutex::new(Some(resumed.past.pages()?)),
        labels: Mutex::new(resumed.labels),
        lots: Mutex::new(resumed.lots),
        from_us: resumed.from_us,
        silences: Some(resumed.silences),
    };
    Ok((known, Arc::new(resumed.remembered)))
}

/// The verdicts of detectors that decide nothing. Their times are not counted among those of the stages.
fn looked_at_too<'scope>(
    frames: StreamVec<'scope, u64, Admitted>,
    shadow: &Arc<Detectors>,
    resources: &Resources,
) -> StreamVec<'scope, u64, Arc<Verdict>> {
    let unwatched = Resources {
        pool: resources.pool.clone(),
        latencies: Latencies::default(),
    };
    judged(frames, &unwatched, shadow, &Arc::default()).map(|judged| judged.verdict)
}

/// Tells the sinks where the two decide differently; what is left is the progress of that.
fn disagreements<'scope>(
    verdicts: StreamVec<'scope, u64, Arc<Verdict>>,
    shadowed: StreamVec<'scope, u64, Arc<Verdict>>,
    board: &Arc<Board>,
) -> StreamVec<'scope, u64, ()> {
    let board = board.clone();
    verdicts
        .compare(shadowed)
        .filter(Compared::disagrees)
        .in_order(|compared| (compared.verdict.camera.clone(), compared.verdict.seq))
        .inspect(move |compared| board.tell(|sink| sink.disagreement(compared)))
        .flat_map(|_| None)
}

/// Lets the sinks draw that want to; frames are kept alive for it only then.
fn drawn<'scope>(
    judged: StreamVec<'scope, u64, JudgedFrame>,
    resources: &Resources,
    board: &Arc<Board>,
) -> StreamVec<'scope, u64, JudgedFrame> {
    let (drawing, broken) = (board.clone(), board.clone());
    let panicked = move |judged: &JudgedFrame, message: String| {
        broken.fail(format!("drawing frame {} panicked: {message}", judged.verdict.seq));
        judged.clone()
    };
    let latencies = resources.latencies.clone();
    let draw = move |judged: &JudgedFrame| {
        latencies.timed("draw", &judged.verdict.camera, || {
            drawing.tell(|sink| sink.draw(judged));
        });
        judged.clone()
    };
    judged.offload("draw", resources, draw, panicked)
}

/// Tells the sinks what became of every frame, in order; what is left is the progress of that.
fn logged<'scope>(
    outcomes: StreamVec<'scope, u64, Outcome>,
    board: &Arc<Board>,
    logged: &ProbeHandle<u64>,
) -> StreamVec<'scope, u64, ()> {
    let board = board.clone();
    outcomes
        .in_order(|outcome| (outcome.camera().clone(), outcome.seq()))
        .inspect_core(move |event| {
            let Ok((stamp, outcomes)) = event else { return };
            let Some(&time_us) = stamp.least() else { return };
            for outcome in outcomes {
                board.count(outcome);
                board.tell(|sink| sink.outcome(time_us, outcome));
            }
        })
        .probe_with(logged)
        .flat_map(|_| None)
}
