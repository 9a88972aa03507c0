//! Runs one dataflow over the streams of some cameras until they end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use intakt_operators::dataflow::{
    Admitted, CameraInput, Cameras, Control, ControlQueue, Controlled, Entry, OnEntry, Outbox, Overflow, Patience,
    Place, Resources, cameras, mailbox,
};
use intakt_operators::{DroppedFrame, Frame};
use timely::dataflow::{ProbeHandle, StreamVec};

use crate::recording::{RecordedEvent, Recorder};
use crate::sources::{Next, Source, StopFlag};
use crate::store::ChangeKind;
use crate::{Detectors, PipelineError};

/// How long a replay waits until what was said before is heard.
const REPEAT_PAUSE: Duration = Duration::from_millis(1);

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
    /// Frames that the source gives again although they were judged before the run was interrupted. They are left out.
    pub judged_before: BTreeSet<u64>,
    /// What is said about the camera while it runs.
    pub controls: ControlQueue,
}

impl<S: Source + 'static> From<S> for Camera {
    fn from(source: S) -> Self {
        Box::<dyn Source>::from(Box::new(source)).into()
    }
}

impl From<Box<dyn Source>> for Camera {
    fn from(source: Box<dyn Source>) -> Self {
        let intake = if source.is_live() { Intake::LIVE } else { Intake::FILES };
        Self {
            source,
            intake,
            judged_before: BTreeSet::new(),
            controls: ControlQueue::default(),
        }
    }
}

/// Frames that every camera delivered.
pub(crate) type Captured = BTreeMap<Arc<str>, u64>;

/// A thread that reads a camera: its name and the frames it delivered.
type Reader = thread::JoinHandle<(Arc<str>, u64)>;

/// What is told what the threads that read cameras see: the camera, and the event time of the frame that it delivered or why
/// it delivers nothing.
pub(crate) type OnRead = Arc<dyn Fn(&Arc<str>, Result<u64, &str>) + Send + Sync>;

/// What is around a run.
pub(crate) struct Surroundings {
    /// Ends the run.
    pub(crate) stop: StopFlag,
    /// Is told what cameras deliver.
    pub(crate) on_read: OnRead,
    /// Is offered what enters.
    pub(crate) recorder: Option<Arc<Recorder>>,
    /// Nothing enters before: 0, or where a run goes on.
    pub(crate) from_us: u64,
    /// What setups are, for the recorder.
    pub(crate) detectors: Option<Arc<Detectors>>,
}

/// Builds the dataflow on every worker with `build` and runs it until every camera has ended. `build` is given what the
/// cameras deliver and a probe that it attaches to whatever must have seen the end of the last hop.
pub(crate) fn run_dataflow(
    cameras_of_run: Vec<Camera>,
    options: &RunOptions,
    surroundings: Surroundings,
    build: impl for<'scope> Fn(Cameras<'scope>, ProbeHandle<u64>) + Send + Sync + 'static,
) -> Result<Captured, PipelineError> {
    let Surroundings {
        stop,
        on_read,
        recorder,
        from_us,
        detectors,
    } = surroundings;
    let names: Captured = cameras_of_run
        .iter()
        .map(|camera| (camera.source.camera().clone(), 0))
        .collect();
    assert_eq!(names.len(), cameras_of_run.len(), "cameras have names of their own");
    let readers: Arc<Mutex<Vec<Reader>>> = Arc::default();
    let (workers, credit_max) = (options.workers, options.credit_max());
    let waiting: Mutex<Vec<Option<Camera>>> = Mutex::new(cameras_of_run.into_iter().map(Some).collect());
    let worker_readers = readers.clone();
    let guards = timely::execute(timely_config(workers), move |worker| {
        let mut inputs = Vec::new();
        for Camera {
            source,
            intake,
            judged_before,
            controls,
        } in take_every(&waiting, worker.index(), worker.peers())
        {
            let camera = source.camera().clone();
            let (outbox, inbox) = mailbox(camera.clone(), intake.depth, intake.overflow);
            inputs.push(CameraInput {
                inbox,
                controls: controls.clone(),
                credit_max: intake.credit.unwrap_or(credit_max),
                patience: intake.patience,
            });
            let (stop, on_read) = (stop.clone(), on_read.clone());
            let reader = thread::Builder::new()
                .name(format!("read-{camera}"))
                .spawn(move || read(source, &judged_before, &outbox, &controls, &stop, &on_read))
                .expect("the system gives a thread per camera");
            let mut readers = worker_readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.push(reader);
        }
        worker.dataflow::<u64, _, _>(|scope| {
            let closed = ProbeHandle::new();
            let on_entry = recorder.clone().zip(detectors.clone()).map(recording);
            build(cameras(scope, inputs, from_us, closed.clone(), on_entry), closed);
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
    let surroundings = Surroundings {
        stop: StopFlag::default(),
        on_read: Arc::new(|_, _| ()),
        recorder: None,
        from_us: 0,
        detectors: None,
    };
    let build = move |cameras: Cameras<'_>, closed| build(cameras.frames, closed);
    run_dataflow(files, options, surroundings, build).map(drop)
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
fn recording((recorder, detectors): (Arc<Recorder>, Arc<Detectors>)) -> OnEntry {
    Box::new(move |entry| {
        let event = match entry {
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
            Entry::Control(controlled, time_us) => match control_event(controlled, time_us, &detectors) {
                Some(event) => event,
                None => return,
            },
        };
        recorder.record(event);
    })
}

/// A control as it is recorded. A question changes nothing that a replay repeats.
fn control_event(controlled: &Controlled, time_us: u64, detectors: &Detectors) -> Option<RecordedEvent> {
    let camera = controlled.camera.clone();
    Some(match &controlled.control {
        Control::Label(arrived) => RecordedEvent::Label {
            label: arrived.label.clone(),
            time_us,
        },
        Control::LotStarted(lot) => RecordedEvent::Lot {
            camera,
            lot: lot.clone(),
            time_us,
        },
        Control::Setup(setup) => match detectors.change(&camera, *setup) {
            ChangeKind::Threshold(threshold) => RecordedEvent::Threshold {
                camera,
                threshold,
                time_us,
            },
            ChangeKind::Lot(_) => return None,
            ChangeKind::Detector(detector) => RecordedEvent::Detector {
                camera,
                path: format!("{detector}.intakt").into(),
                detector,
                time_us,
            },
        },
        Control::WhatIf { .. } => return None,
    })
}

/// Says again what was said in a recording. Whether the run is over.
fn repeat(controls: &ControlQueue, control: Control, place: Place, stop: &StopFlag) -> bool {
    let mut unsaid = control;
    while let Err(control) = controls.say(unsaid, Some(place)) {
        if stop.wait(REPEAT_PAUSE) {
            return true;
        }
        unsaid = control;
    }
    false
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

/// Reads a source to its end, but for what was `judged_before`; its camera, and how many frames it captured.
fn read(
    mut source: Box<dyn Source>,
    judged_before: &BTreeSet<u64>,
    outbox: &Outbox,
    controls: &ControlQueue,
    stop: &StopFlag,
    on_read: &OnRead,
) -> (Arc<str>, u64) {
    let camera = source.camera().clone();
    let mut next_seq = 0;
    loop {
        let gone = match source.next(stop) {
            Next::Frame(Frame { seq, .. }) | Next::Dropped(DroppedFrame { seq, .. }, _)
                if judged_before.contains(&seq) =>
            {
                false
            }
            Next::Frame(frame) => {
                on_read(&camera, Ok(frame.captured_at_us));
                next_seq = frame.seq + 1;
                outbox.send(frame).is_err()
            }
            Next::Dropped(dropped, stamp) => {
                on_read(&camera, Ok(dropped.captured_at_us));
                outbox.send_dropped(dropped, stamp).is_err()
            }
            Next::Control(control, time_us) => {
                let place = Place {
                    time_us,
                    before_seq: next_seq,
                };
                repeat(controls, control, place, stop)
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
