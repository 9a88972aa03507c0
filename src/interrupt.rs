//! Ctrl-C and the request to terminate: end the run, and keep what was judged.

use std::sync::atomic::{AtomicBool, Ordering};

use intakt_pipelines::PipelineError;
use intakt_pipelines::sources::StopFlag;

use crate::{exit, supervise, terminal};

/// What happens to the frames of a run that ends.
pub(crate) const JUDGED: &str = "frames under way are still judged";

/// A flag that is set at the first interrupt, which is answered with `ending`; at the second the process ends as it stands.
pub(crate) fn stop_flag(ending: &'static str) -> Result<StopFlag, PipelineError> {
    let stop = StopFlag::default();
    let stopped = stop.clone();
    // Not the flag itself: others set it too, for example another process of the run.
    let interrupted = AtomicBool::new(false);
    let handle = move || {
        if interrupted.swap(true, Ordering::AcqRel) {
            exit::at_once();
        }
        terminal::say(&format!("ending: {ending}; interrupt again to end at once"));
        stopped.stop();
    };
    ctrlc::set_handler(handle)
        .map_err(|error| PipelineError::Refused(format!("cannot listen for interrupts: {error}")))?;
    supervise::obey(stop.clone());
    Ok(stop)
}
