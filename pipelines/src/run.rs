//! Runs one dataflow over the streams of some cameras until they end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use intakt_operators::dataflow::{Admitted, Outbox, Resources, cameras, mailbox};
use timely::dataflow::{ProbeHandle, StreamVec};

use crate::PipelineError;
use crate::sources::{Next, Source, StopFlag};

/// Frames read ahead of the dataflow per camera: the next one is there when a credit comes back.
const MAILBOX_DEPTH: usize = 2;

/// How a run is spread over the machine. No result depends on it.
#[derive(Clone)]
pub struct RunOptions {
    /// Timely workers.
    pub workers: usize,
    /// Threads for heavy work, and the histograms.
    pub resources: Resources,
}

impl RunOptions {
    /// `workers` timely workers and `pool` threads for heavy work.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub fn new(workers: usize, pool: usize) -> Result<Self, PipelineError> {
        let refused = |error| PipelineError::Refused(format!("cannot start {pool} threads: {error}"));
        Ok(Self {
            workers: workers.max(1),
            resources: Resources::new(pool).map_err(refused)?,
        })
    }

    /// Frames of one camera alive at once: every pool thread has one to work on and one to follow, so memory stays at a few
    /// frames per camera and thread whatever the length of the stream.
    fn credit_max(&self) -> usize {
        (2 * self.resources.pool.threads()).max(4)
    }
}

/// Frames that every camera delivered.
pub(crate) type Captured = BTreeMap<Arc<str>, u64>;

/// Builds the dataflow on every worker with `build` and runs it until every camera has ended. `build` is given the frames and
/// a probe that it attaches to whatever must have seen the end of the last hop.
pub(crate) fn run_dataflow(
    sources: Vec<Box<dyn Source>>,
    options: &RunOptions,
    stop: &StopFlag,
    build: impl for<'scope> Fn(StreamVec<'scope, u64, Admitted>, ProbeHandle<u64>) + Send + Sync + 'static,
) -> Result<Captured, PipelineError> {
    let counters: BTreeMap<Arc<str>, Arc<AtomicU64>> = sources
        .iter()
        .map(|source| (source.camera().clone(), Arc::default()))
        .collect();
    assert_eq!(counters.len(), sources.len(), "cameras have names of their own");
    let readers = Arc::new(Mutex::new(Vec::new()));
    let (workers, credit_max) = (options.workers, options.credit_max());
    let waiting: Mutex<Vec<Option<Box<dyn Source>>>> = Mutex::new(sources.into_iter().map(Some).collect());
    let stop = stop.clone();
    let (worker_counters, worker_readers) = (counters.clone(), readers.clone());
    let guards = timely::execute(timely_config(workers), move |worker| {
        let mine = take_every(&waiting, worker.index(), worker.peers());
        let mut inboxes = Vec::new();
        for source in mine {
            let camera = source.camera().clone();
            let (outbox, inbox) = mailbox(camera.clone(), MAILBOX_DEPTH);
            inboxes.push(inbox);
            let (counter, stop) = (worker_counters[&camera].clone(), stop.clone());
            let reader = thread::Builder::new()
                .name(format!("read-{camera}"))
                .spawn(move || read(source, &outbox, &counter, &stop))
                .expect("the system gives a thread per camera");
            worker_readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(reader);
        }
        worker.dataflow::<u64, _, _>(|scope| {
            let closed = ProbeHandle::new();
            build(cameras(scope, inboxes, credit_max, closed.clone()), closed);
        });
    })
    .map_err(|error| PipelineError::Refused(format!("cannot start the dataflow: {error}")))?;
    for outcome in guards.join() {
        outcome.map_err(PipelineError::Stopped)?;
    }
    let readers = std::mem::take(&mut *readers.lock().unwrap_or_else(PoisonError::into_inner));
    for reader in readers {
        reader
            .join()
            .map_err(|_| PipelineError::Stopped("a source panicked".to_owned()))?;
    }
    Ok(counters
        .into_iter()
        .map(|(camera, counter)| (camera, counter.load(Ordering::Acquire)))
        .collect())
}

/// Workers that park at once when they have nothing to do: at a camera's rate the microseconds that spinning saves per frame
/// are nobody's, and the processor's share of an idle line is the user's.
fn timely_config(workers: usize) -> timely::Config {
    let worker = timely::WorkerConfig::default().idle_spin(std::time::Duration::ZERO);
    timely::Config {
        worker,
        ..timely::Config::process(workers)
    }
}

fn take_every(waiting: &Mutex<Vec<Option<Box<dyn Source>>>>, index: usize, peers: usize) -> Vec<Box<dyn Source>> {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting
        .iter_mut()
        .skip(index)
        .step_by(peers)
        .filter_map(Option::take)
        .collect()
}

fn read(mut source: Box<dyn Source>, outbox: &Outbox, captured: &AtomicU64, stop: &StopFlag) {
    loop {
        match source.next(stop) {
            Next::Frame(frame) => {
                captured.fetch_add(1, Ordering::AcqRel);
                if outbox.send(frame).is_err() {
                    return;
                }
            }
            Next::Trouble(_) => {}
            Next::Ended => return,
        }
    }
}
