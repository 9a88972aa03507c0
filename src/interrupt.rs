//! Ctrl-C and the request to terminate: end the run, and keep what was judged.

use std::process;

use intakt_pipelines::PipelineError;
use intakt_pipelines::sources::StopFlag;

use crate::{Outcome, terminal};

/// A flag that is set at the first interrupt; at the second the process ends as it stands.
pub(crate) fn stop_flag() -> Result<StopFlag, PipelineError> {
    let stop = StopFlag::default();
    let stopped = stop.clone();
    let handle = move || {
        if stopped.is_stopped() {
            process::exit(Outcome::Failed as i32);
        }
        terminal::say("ending: frames under way are still judged; interrupt again to end at once");
        stopped.stop();
    };
    ctrlc::set_handler(handle)
        .map_err(|error| PipelineError::Refused(format!("cannot listen for interrupts: {error}")))?;
    Ok(stop)
}
