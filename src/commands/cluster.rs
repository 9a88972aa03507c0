//! The other processes of a run.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use intakt_pipelines::cluster::{Beginning, Cluster, Hosts, identity};
use intakt_pipelines::{Figures, PipelineError};

use crate::cli::HostsArgs;
use crate::run_file::Place;
use crate::{exit, supervise, terminal};

/// Seconds a process may be silent unless the user says otherwise: longer than a disk that is slow to sync, or a camera's network
/// that comes back.
const WATCHDOG_SECONDS: u64 = 30;

/// The hosts of this run, for the sentence that says which of them was lost.
static HOSTS: OnceLock<Hosts> = OnceLock::new();

/// The processes of the run, if there are several, with the number of this one.
pub(crate) fn hosts(args: &HostsArgs) -> Result<Option<(Hosts, usize)>, PipelineError> {
    let (Some(path), Some(process)) = (&args.hosts, args.process) else {
        return Ok(None);
    };
    let hosts = Hosts::load(path)?;
    if process >= hosts.processes() {
        return Err(PipelineError::Refused(format!(
            "cannot be process {process}: hosts file \"{}\" names {}, counted from 0",
            path.display(),
            match hosts.processes() {
                1 => "1 process".to_owned(),
                several => format!("{several} processes"),
            }
        )));
    }
    Ok(Some((hosts, process)))
}

/// Where a run file is run.
pub(crate) fn place(hosts: Option<&(Hosts, usize)>) -> Place {
    match hosts {
        Some((hosts, process)) => Place::Process {
            process: *process,
            processes: hosts.processes(),
        },
        None => Place::Alone,
    }
}

/// What the run needs to know about its processes. All of them build the same dataflow from the same detectors: what shapes it,
/// `text` and `agreed`, must be the same everywhere.
pub(crate) fn cluster(
    (hosts, process): (Hosts, usize),
    args: &HostsArgs,
    text: &str,
    agreed: impl IntoIterator<Item = Arc<str>>,
    figures: &Figures,
) -> Cluster {
    let figures: Arc<str> = format!("{figures:?}").into();
    let hosts = HOSTS.get_or_init(|| hosts).clone();
    Cluster {
        run: identity(text, &hosts, agreed.into_iter().chain([figures])),
        hosts,
        process,
        generation: supervise::generation(),
        beginning: Beginning::default(),
        patience: Duration::from_secs(args.watchdog.unwrap_or(WATCHDOG_SECONDS)),
        on_note: Arc::new(terminal::say),
        on_stall: Arc::new(|reason| exit::give_up(|| terminal::error(reason))),
    }
}

/// The sentence for the end of a connection, if a panic of this thread is about one.
pub(crate) fn lost_peer(thread: &str, message: &str) -> Option<String> {
    let process = thread
        .strip_prefix("timely:recv-")
        .or(thread.strip_prefix("timely:send-"))?;
    let cause = message.strip_prefix("timely communication error: ")?;
    let host = process.parse().ok().and_then(|process| Some(HOSTS.get()?.of(process)));
    Some(format!(
        "the run cannot go on: process {process} ({}) is gone ({cause})\n  hint: it failed, was killed, or its machine or the \
         network did, and what it printed says why; start all processes again",
        host.unwrap_or("unknown")
    ))
}
