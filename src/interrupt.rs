//! Ctrl-C and the request to terminate: end the run, and keep what was judged.

use std::sync::atomic::{AtomicBool, Ordering};

use intakt_pipelines::PipelineError;
use intakt_pipelines::sources::StopFlag;

use crate::{exit, supervise, terminal};

/// A flag that is set at the first interrupt; at the second the process ends as it stands.
pub(crate) fn stop_flag() -> Result<StopFlag, PipelineError> {
    let stop = StopFlag::default();
    let stopped = stop.clone();
    // Not the flag itself: others set it too, for example another process of the run.
    let interrupted = AtomicBool::new(false);
    let handle = move || {
        if interrupted.swap(true, Ordering::AcqRel) {
            exit::at_once();
        }
        terminal::say("ending: frames under way are still judged; interrupt again to end at once");
        stopped.stop();
    };
    ctrlc::set_handler(handle)
        .map_err(|error| PipelineError::Refused(format!("cannot listen for interrupts: {error}")))?;
    supervise::obey(stop.clone());
    Ok(stop)
}
