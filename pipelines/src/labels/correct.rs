//! Corrects the figures of a run that has ended.

use std::sync::{Arc, Mutex};

use intakt_operators::Outcome;
use intakt_operators::dataflow::{Cameras, Passed};
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::vec::Map;

use crate::board::Board;
use crate::figures::{Figures, Known, figures, said};
use crate::run::{OnRead, Surroundings, run_dataflow};
use crate::sinks::Sink;
use crate::sources::StopFlag;
use crate::store::Resumed;
use crate::{Camera, PipelineError, RunOptions};

/// Tells `sinks` what the controls that wait at `cameras` change in the figures of a run. The cameras deliver no frames.
///
/// # Errors
/// The store cannot be read, or a sink fails.
pub fn correct(
    cameras: Vec<Camera>,
    wanted: Figures,
    resumed: Resumed,
    sinks: Vec<Arc<dyn Sink>>,
    options: &RunOptions,
) -> Result<(), PipelineError> {
    let stop = StopFlag::default();
    let board = Arc::new(Board::new(sinks, stop.clone()));
    let on_read: OnRead = Arc::new(|_, _| ());
    let known = Known {
        outcomes: Mutex::new(Some(resumed.past.pages()?)),
        labels: Mutex::new(resumed.labels),
        lots: Mutex::new(resumed.lots),
        from_us: resumed.from_us,
        silences: Some(resumed.silences),
    };
    let surroundings = Surroundings {
        stop,
        on_read,
        recorder: None,
        from_us: known.from_us,
        detectors: None,
    };
    let watching = board.clone();
    let captured = run_dataflow(cameras, options, surroundings, move |cameras, probes| {
        let Cameras { dropped, controls, .. } = cameras;
        // Nothing is captured: what keeps the counting from running ahead of what is said is the cameras' frontier.
        let outcomes = dropped.flat_map(|_| None::<Outcome>);
        let board = watching.clone();
        let change_of = |_: &str, _: u32| unreachable!("nobody changes a detector of a run that has ended");
        let figures = figures(outcomes, controls.clone(), &known, &wanted, &watching);
        said(controls, change_of, &watching)
            .passed(figures, move |frontier_us| board.tell(|sink| sink.passed(frontier_us)))
            .probe_with(&probes.closed);
    })?;
    board.accounts(captured).map(drop)
}
