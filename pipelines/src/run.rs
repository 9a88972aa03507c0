//! Runs one dataflow over the streams of some cameras until they end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use intakt_operators::dataflow::{
    Admitted, CameraInput, Cameras, Entry, OnEntry, Outbox, Overflow, Patience, Resources, cameras, mailbox,
};
use timely::dataflow::{ProbeHandle, StreamVec};

use crate::PipelineError;
use crate::recording::{RecordedEvent, Recorder};
use crate::sources::{Next, Source, StopFlag};

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

    /// Frames of one camera alive at once, where nothing else is asked for: every pool thread has one to work on and one to
    /// follow, so memory stays at a few frames per camera and thread whatever the length of the stream.
    fn credit_max(&self) -> usize {
        (2 * self.resources.pool.threads()).max(4)
    }
}

/// How the frames of a camera are let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intake {
    /// What happens to a frame that finds the camera's queue full.
    pub overflow: Overflow,
    /// Frames that wait in the queue.
    pub depth: usize,
    /// Frames alive in the dataflow; none: as many as keep the threads busy.
    pub credit: Option<usize>,
    /// When frames are late, and when others no longer wait for them.
    pub patience: Patience,
}

impl Intake {
    /// Of files, which wait: the next frame is there when a credit comes back.
    pub const FILES: Self = Self {
        overflow: Overflow::Block,
        depth: 2,
        credit: None,
        patience: Patience::FILES,
    };

    /// Of a recording, whose frames enter when they did: its cameras are as far apart as they were.
    pub const REPLAY: Self = Self {
        patience: Patience {
            skew_max_us: None,
            ..Patience::FILES
        },
        ..Self::FILES
    };

    /// Of a live camera, whose newest frames count: a quarter of a second of slack at 15 frames a second.
    pub const LIVE: Self = Self {
        overflow: Overflow::DropOldest,
        depth: 4,
        credit: None,
        patience: Patience::LIVE,
    };
}

/// A source, and how its frames are let in.
pub struct Camera {
    /// Where the frames come from.
    pub source: Box<dyn Source>,
    /// How they are let in.
    pub intake: Intake,
}

impl<S: Source + 'static> From<S> for Camera {
    fn from(source: S) -> Self {
        Box::<dyn Source>::from(Box::new(source)).into()
    }
}

impl From<Box<dyn Source>> for Camera {
    fn from(source: Box<dyn Source>) -> Self {
        let intake = if source.is_live() { Intake::LIVE } else { Intake::FILES };
        Self { source, intake }
    }
}

/// Frames that every camera delivered.
pub(crate) type Captured = BTreeMap<Arc<str>, u64>;

/// A thread that reads a camera: its name and the frames it delivered.
type Reader = thread::JoinHandle<(Arc<str>, u64)>;

/// What is told what the threads that read cameras see: the camera, and the event time of the frame that it delivered or why
/// it delivers nothing.
pub(crate) type OnRead = Arc<dyn Fn(&Arc<str>, Result<u64, &str>) + Send + Sync>;

/// Builds the dataflow on every worker with `build` and runs it until every camera has ended. `build` is given what the
/// cameras deliver and a probe that it attaches to whatever must have seen the end of the last hop. `recorder` is offered
/// what enters.
pub(crate) fn run_dataflow(
    cameras_of_run: Vec<Camera>,
    options: &RunOptions,
    stop: &StopFlag,
    on_read: OnRead,
    recorder: Option<Arc<Recorder>>,
    build: impl for<'scope> Fn(Cameras<'scope>, ProbeHandle<u64>) + Send + Sync + 'static,
) -> Result<Captured, PipelineError> {
    let names: Captured = cameras_of_run
        .iter()
        .map(|camera| (camera.source.camera().clone(), 0))
        .collect();
    assert_eq!(names.len(), cameras_of_run.len(), "cameras have names of their own");
    let readers: Arc<Mutex<Vec<Reader>>> = Arc::default();
    let (workers, credit_max) = (options.workers, options.credit_max());
    let waiting: Mutex<Vec<Option<Camera>>> = Mutex::new(cameras_of_run.into_iter().map(Some).collect());
    let (stop, worker_readers) = (stop.clone(), readers.clone());
    let guards = timely::execute(timely_config(workers), move |worker| {
        let mut inputs = Vec::new();
        for Camera { source, intake } in take_every(&waiting, worker.index(), worker.peers()) {
            let camera = source.camera().clone();
            let (outbox, inbox) = mailbox(camera.clone(), intake.depth, intake.overflow);
            inputs.push(CameraInput {
                inbox,
                credit_max: intake.credit.unwrap_or(credit_max),
                patience: intake.patience,
            });
            let (stop, on_read) = (stop.clone(), on_read.clone());
            let reader = thread::Builder::new()
                .name(format!("read-{camera}"))
                .spawn(move || read(source, &outbox, &stop, &on_read))
                .expect("the system gives a thread per camera");
            let mut readers = worker_readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.push(reader);
        }
        worker.dataflow::<u64, _, _>(|scope| {
            let closed = ProbeHandle::new();
            let on_entry = recorder.clone().map(recording);
            build(cameras(scope, inputs, closed.clone(), on_entry), closed);
        });
    })
    .map_err(|error| PipelineError::Refused(format!("cannot start the dataflow: {error}")))?;
    for outcome in guards.join() {
        outcome.map_err(PipelineError::Stopped)?;
    }
    let readers = std::mem::take(&mut *readers.lock().unwrap_or_else(PoisonError::into_inner));
    let panicked = |_| PipelineError::Stopped("a source panicked".to_owned());
    readers
        .into_iter()
        .map(|reader| reader.join().map_err(panicked))
        .collect()
}

/// [`run_dataflow`] over files, which wait instead of being dropped and can have no trouble.
pub(crate) fn run_files(
    files: Vec<Camera>,
    options: &RunOptions,
    build: impl for<'scope> Fn(StreamVec<'scope, u64, Admitted>, ProbeHandle<u64>) + Send + Sync + 'static,
) -> Result<(), PipelineError> {
    let on_read: OnRead = Arc::new(|_, _| ());
    let build = move |cameras: Cameras<'_>, closed| build(cameras.frames, closed);
    run_dataflow(files, options, &StopFlag::default(), on_read, None, build).map(drop)
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

/// Offers what enters to a recorder, which never waits for the disk.
fn recording(recorder: Arc<Recorder>) -> OnEntry {
    Box::new(move |entry| {
        recorder.record(match entry {
            Entry::Frame(Admitted { frame, stamp, .. }) => RecordedEvent::Frame {
                frame: frame.clone(),
                time_us: stamp.time_us,
                low_us: stamp.low_us,
            },
            Entry::Dropped(dropped, stamp) => RecordedEvent::Dropped {
                dropped: dropped.clone(),
                time_us: stamp.time_us,
                low_us: stamp.low_us,
            },
        });
    })
}

fn take_every(waiting: &Mutex<Vec<Option<Camera>>>, index: usize, peers: usize) -> Vec<Camera> {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting
        .iter_mut()
        .skip(index)
        .step_by(peers)
        .filter_map(Option::take)
        .collect()
}

/// Reads a source to its end; its camera, and how many frames it captured.
fn read(mut source: Box<dyn Source>, outbox: &Outbox, stop: &StopFlag, on_read: &OnRead) -> (Arc<str>, u64) {
    let camera = source.camera().clone();
    loop {
        let gone = match source.next(stop) {
            Next::Frame(frame) => {
                on_read(&camera, Ok(frame.captured_at_us));
                outbox.send(frame).is_err()
            }
            Next::Dropped(dropped, stamp) => {
                on_read(&camera, Ok(dropped.captured_at_us));
                outbox.send_dropped(dropped, stamp).is_err()
            }
            Next::Trouble(reason) => {
                on_read(&camera, Err(&reason));
                false
            }
            Next::Ended => true,
        };
        if gone {
            return (camera, outbox.captured());
        }
    }
}
