//! Runs one dataflow over the streams of some cameras until they end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use intakt_operators::dataflow::{
    Abreast, Admitted, CameraInput, Cameras, Control, ControlQueue, Controlled, Entry, OnEntry, Outbox, Place,
    Resources, cameras, mailbox,
};
use intakt_operators::{DroppedFrame, Frame};
use timely::dataflow::{ProbeHandle, StreamVec};
use timely::worker::Worker;

use crate::cluster::{Beginning, Cluster, Pulse, Shared, Watchdog};
use crate::recording::{RecordedEvent, Recorder};
use crate::sources::{Next, Source, StopFlag};
use crate::store::ChangeKind;
use crate::{Camera, Detectors, PipelineError};

/// How long a replay waits until what was said before is heard.
const REPEAT_PAUSE: Duration = Duration::from_millis(1);

/// How a run is spread over the machine. No result depends on it.
#[derive(Clone)]
pub struct RunOptions {
    /// Timely workers.
    pub workers: usize,
    /// Threads for heavy work, and the histograms.
    pub resources: Resources,
    /// The other processes of the run; none if there are none.
    pub cluster: Option<Arc<Cluster>>,
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
            cluster: None,
        })
    }

    /// Whether this process keeps the log of the run.
    pub(crate) fn keeps_the_log(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.process == 0)
    }

    /// Frames of one camera alive at once, where nothing else is asked for: every pool thread has one to work on and one to
    /// follow, so memory stays at a few frames per camera and thread whatever the length of the stream.
    fn credit_max(&self) -> usize {
        (2 * self.resources.pool.threads()).max(4)
    }
}

/// Frames that every camera delivered: in the process that keeps the log those of all processes, in others their own.
pub(crate) type Captured = BTreeMap<Arc<str>, u64>;

/// How far a run is.
#[derive(Clone)]
pub(crate) struct Probes {
    /// Attached to the log.
    pub(crate) logged: ProbeHandle<u64>,
    /// Attached to whatever must have seen the end of the last hop.
    pub(crate) closed: ProbeHandle<u64>,
}

/// What is told what the threads that read cameras see: the camera, and the number and event time of the frame that it delivered,
/// or what is wrong with it.
pub(crate) type OnRead = Arc<dyn Fn(&Arc<str>, Result<(u64, u64), &str>) + Send + Sync>;

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

/// Builds the dataflow on every worker with `build` and runs it until every camera of every process has ended. `build` is given
/// what the cameras deliver and the probes that it attaches.
pub(crate) fn run_dataflow(
    mut cameras_of_run: Vec<Camera>,
    options: &RunOptions,
    surroundings: Surroundings,
    build: impl for<'scope> Fn(Cameras<'scope>, Probes) + Send + Sync + 'static,
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
    let (workers, credit_max) = (options.workers, options.credit_max());
    let mut from_us = from_us;
    let (builders, network) = match &options.cluster {
        Some(cluster) => {
            let connected = cluster.connect(workers, &stop)?;
            if !options.keeps_the_log() {
                from_us = connected.beginning.from_us;
                go_on(&mut cameras_of_run, &connected.beginning, detectors.as_deref())?;
            }
            (connected.builders, connected.network)
        }
        None => {
            let threads = timely::Config::process(workers).communication;
            threads.try_build().map_err(refused)?
        }
    };
    let shared = shared(options, names.clone(), &stop);
    let watching = options.cluster.as_ref().map(|cluster| cluster.watch(&shared.watchdog));
    let _watching = watching.transpose()?;
    let readers: Readers = Arc::default();
    let waiting: Mutex<Vec<Option<Camera>>> = Mutex::new(cameras_of_run.into_iter().map(Some).collect());
    let (of_workers, of_readers, in_cluster) = (shared.clone(), readers.clone(), options.cluster.is_some());
    let build_worker = move |worker: &mut Worker| {
        let shared = &of_workers;
        let own = take_every(&waiting, worker.index() - shared.own.start, workers);
        let inputs: Vec<CameraInput> = own
            .into_iter()
            .map(|camera| start_reader(camera, credit_max, shared, &on_read, &of_readers))
            .collect();
        let probes = Probes {
            logged: ProbeHandle::new(),
            closed: ProbeHandle::new(),
        };
        worker.dataflow::<u64, _, _>(|scope| {
            let on_entry = recorder.clone().zip(detectors.clone()).map(recording);
            let cameras = cameras(
                scope,
                inputs,
                from_us,
                probes.closed.clone(),
                shared.abreast.clone(),
                on_entry,
            );
            build(cameras, probes.clone());
        });
        if in_cluster {
            let Probes { logged, closed } = probes;
            let shared = shared.clone();
            Pulse { shared, logged, closed }.start(worker);
        }
    };
    let guards = timely::execute::execute_from(builders, network, worker_config(), build_worker).map_err(refused)?;
    for outcome in guards.join() {
        outcome.map_err(PipelineError::Stopped)?;
    }
    let readers = std::mem::take(&mut *readers.lock().unwrap_or_else(PoisonError::into_inner));
    let panicked = |_| PipelineError::Stopped("a source panicked".to_owned());
    readers
        .into_iter()
        .try_for_each(|reader| reader.join().map_err(panicked))?;
    let mut captured = std::mem::take(&mut *shared.captured.lock().unwrap_or_else(PoisonError::into_inner));
    captured.retain(|camera, _| options.keeps_the_log() || names.contains_key(camera));
    Ok(captured)
}

/// Lets cameras go on where process 0 says.
fn go_on(cameras: &mut [Camera], beginning: &Beginning, detectors: Option<&Detectors>) -> Result<(), PipelineError> {
    for camera in cameras {
        let name = camera.source.camera().clone();
        if let Some(point) = beginning.cameras.get(&name) {
            camera.go_on(point, beginning.was_ended);
        }
        if let (Some(&threshold), Some(detectors)) = (beginning.thresholds.get(&name), detectors) {
            let changed = detectors.newest(&name, None).with_image_threshold(threshold as f32);
            let changed = changed.map_err(PipelineError::Refused)?;
            let setup = detectors.add(&name, changed.into(), ChangeKind::Threshold(threshold));
            // It was told before the run was interrupted, so it is not told again.
            let before = Place {
                time_us: 0,
                before_seq: 0,
            };
            let said = camera.controls.say(Control::Setup(setup), Some(before));
            said.expect("nothing was said to the camera before");
        }
    }
    Ok(())
}

fn shared(options: &RunOptions, names: Captured, stop: &StopFlag) -> Shared {
    let cluster = options.cluster.as_ref();
    let processes = cluster.map_or(1, |cluster| cluster.hosts.processes());
    let first = cluster.map_or(0, |cluster| cluster.process * options.workers);
    let patience = cluster.map_or(Duration::MAX, |cluster| cluster.patience);
    Shared {
        abreast: Abreast::new(processes * options.workers),
        own: first..first + options.workers,
        stop: if options.keeps_the_log() {
            stop.clone()
        } else {
            StopFlag::default()
        },
        asked: stop.clone(),
        watchdog: Arc::new(Mutex::new(Watchdog::new(
            patience,
            processes,
            options.workers,
            Instant::now(),
        ))),
        captured: Arc::new(Mutex::new(names)),
    }
}

/// The threads that read cameras.
type Readers = Arc<Mutex<Vec<thread::JoinHandle<()>>>>;

/// Starts to read a camera; the other end of its mailbox.
fn start_reader(
    Camera {
        source,
        intake,
        judged_before,
        controls,
        ..
    }: Camera,
    credit_max: usize,
    shared: &Shared,
    on_read: &OnRead,
    readers: &Readers,
) -> CameraInput {
    let camera = source.camera().clone();
    let (outbox, inbox) = mailbox(camera.clone(), intake.depth, intake.overflow);
    let (told, of_clock) = (on_read.clone(), camera.clone());
    let (shared, on_read, said) = (shared.clone(), on_read.clone(), controls.clone());
    let reader = thread::Builder::new()
        .name(format!("read-{camera}"))
        .spawn(move || read(source, &judged_before, outbox, &said, &shared, &on_read))
        .expect("the system gives a thread per camera");
    readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    CameraInput {
        inbox,
        controls,
        credit_max: intake.credit.unwrap_or(credit_max),
        patience: intake.patience,
        on_clock_off: Box::new(move |off| told(&of_clock, Err(&off.to_string()))),
    }
}

fn refused(error: String) -> PipelineError {
    PipelineError::Refused(format!("cannot start the dataflow: {error}"))
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
    let build = move |cameras: Cameras<'_>, probes: Probes| build(cameras.frames, probes.closed);
    run_dataflow(files, options, surroundings, build).map(drop)
}

/// Workers that park at once when they have nothing to do: at a camera's rate the microseconds that spinning saves per frame
/// are nobody's, and the processor's share of an idle line is the user's.
fn worker_config() -> timely::WorkerConfig {
    timely::WorkerConfig::default().idle_spin(Duration::ZERO)
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

/// Reads a source to its end, but for what was `judged_before`, and notes how many frames it captured before the dataflow learns
/// that the camera has ended.
fn read(
    mut source: Box<dyn Source>,
    judged_before: &BTreeSet<u64>,
    outbox: Outbox,
    controls: &ControlQueue,
    shared: &Shared,
    on_read: &OnRead,
) {
    let camera = source.camera().clone();
    let mut next_seq = 0;
    loop {
        let gone = match source.next(&shared.stop) {
            Next::Frame(Frame { seq, .. }) | Next::Dropped(DroppedFrame { seq, .. }, _)
                if judged_before.contains(&seq) =>
            {
                false
            }
            Next::Frame(frame) => {
                on_read(&camera, Ok((frame.seq, frame.captured_at_us)));
                next_seq = frame.seq + 1;
                outbox.send(frame).is_err()
            }
            Next::Dropped(dropped, stamp) => {
                on_read(&camera, Ok((dropped.seq, dropped.captured_at_us)));
                outbox.send_dropped(dropped, stamp).is_err()
            }
            Next::Control(control, time_us) => {
                let place = Place {
                    time_us,
                    before_seq: next_seq,
                };
                repeat(controls, control, place, &shared.stop)
            }
            Next::Trouble(reason) => {
                on_read(&camera, Err(&reason));
                false
            }
            Next::Ended => true,
        };
        if gone {
            break;
        }
    }
    let mut captured = shared.captured.lock().unwrap_or_else(PoisonError::into_inner);
    captured.insert(camera, outbox.captured());
}
