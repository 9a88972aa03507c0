//! One run in several processes, on one machine or more.
//!
//! Every camera belongs to one process, where its frames are let in, judged and drawn; pixels never leave it. What became of
//! frames goes to worker 0 of process 0, which has the ordered log and the rates.

mod beginning;
mod hello;
mod hosts;
mod join;
#[cfg(test)]
mod own_port;
mod pulse;
mod watchdog;

pub use beginning::Beginning;
pub use hosts::{Hosts, PROCESSES_MAX};

pub(crate) use pulse::{Pulse, Shared};
pub(crate) use watchdog::Watchdog;

use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

use self::join::join;
use crate::PipelineError;
use crate::sources::StopFlag;

/// How often the watchdog looks.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// Says a sentence to people.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// What all processes must agree on: the run file's text, the detectors of its cameras, the hosts, and the program.
pub fn identity(run_file: &str, hosts: &Hosts, detectors: impl IntoIterator<Item = Arc<str>>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(env!("CARGO_PKG_VERSION"));
    add(run_file);
    (0..hosts.processes()).for_each(|process| add(hosts.of(process)));
    detectors.into_iter().for_each(|detector| add(&detector));
    hash.finalize().into()
}

/// The processes of a run, and which of them this one is.
#[derive(Clone)]
pub struct Cluster {
    /// Where the processes listen for each other.
    pub hosts: Hosts,
    /// Number of this process.
    pub process: usize,
    /// What all processes must agree on, as a hash.
    pub run: [u8; 32],
    /// How often the run was started again. Processes of an older generation take over the highest one before they begin.
    pub generation: u64,
    /// How long a process may be silent, or the log stand still, before the run is given up.
    pub patience: Duration,
    /// Where the run begins; process 0 states it, the others are told.
    pub beginning: Beginning,
    /// Is told whom this process waits for.
    pub on_note: Say,
    /// Is told why the run has to be given up. It must end the process: a dataflow that lost a part cannot go on.
    pub on_stall: Say,
}

impl Cluster {
    /// Waits until all processes are there; what timely needs to talk to them, and where the run begins.
    pub(crate) fn connect(&self, workers: usize, stop: &StopFlag) -> Result<Connected, PipelineError> {
        let mut sockets = join(self, workers, stop)?;
        let beginning = self.begin(&mut sockets);
        let beginning =
            beginning.map_err(|error| PipelineError::Refused(format!("cannot learn where the run begins: {error}")))?;
        let hooks = Hooks::default();
        let threads = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
        let (builders, guard) = initialize_networking_from_sockets(threads, sockets, self.process, workers, hooks)
            .map_err(|error| PipelineError::Refused(format!("cannot talk to the other processes: {error}")))?;
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        Ok(Connected {
            builders,
            network: Box::new(guard),
            beginning,
        })
    }

    /// Tells the others where the run begins, or is told by process 0.
    fn begin(&self, sockets: &mut [Option<TcpStream>]) -> io::Result<Beginning> {
        if self.process > 0 {
            let first = sockets.first_mut().and_then(Option::as_mut);
            let first = first.ok_or_else(|| io::Error::other("process 0 is not there"))?;
            return Beginning::receive(first);
        }
        let mut others = sockets.iter_mut().flatten();
        others.try_for_each(|other| self.beginning.send(other))?;
        Ok(self.beginning.clone())
    }

    /// Watches over a run until the guard is dropped.
    pub(crate) fn watch(&self, watchdog: &Arc<Mutex<Watchdog>>) -> Result<Watching, PipelineError> {
        let ended = StopFlag::default();
        let (watchdog, stop, cluster) = (watchdog.clone(), ended.clone(), self.clone());
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            while !stop.wait(WATCH_EVERY) {
                let stall = watchdog
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .look(Instant::now());
                if let Some(stall) = stall {
                    (cluster.on_stall)(&stall.sentence(&cluster.hosts));
                }
            }
        });
        let refused = |error| PipelineError::Refused(format!("cannot start the watchdog: {error}"));
        Ok(Watching {
            ended,
            thread: Some(thread.map_err(refused)?),
        })
    }
}

/// The other processes are there.
pub(crate) struct Connected {
    pub(crate) builders: Vec<AllocatorBuilder>,
    /// Keeps the connections.
    pub(crate) network: Box<dyn std::any::Any + Send>,
    pub(crate) beginning: Beginning,
}

/// A watchdog that looks until this is dropped.
pub(crate) struct Watching {
    ended: StopFlag,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ended.stop();
        // It panics only if the sentence's reader does, and then the process has ended.
        self.thread.take().map(thread::JoinHandle::join);
    }
}
