//! A run over one source whose taker stalls at its first frame, and what became of the frames.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use intakt_operators::dataflow::{Cameras, Overflow, Patience, Permit};
use timely::dataflow::operators::{Inspect, Probe};

use super::compliance::{HANG, SILENCE};
use super::{Source, StopFlag};
use crate::run::{OnRead, Probes, Surroundings, run_dataflow};
use crate::{Camera, Intake, RunOptions};

/// Frames that wait in the queue between the camera's thread and the dataflow.
pub(super) const DEPTH: u64 = 1;

/// What became of the frames of a camera.
#[derive(Default)]
pub(super) struct Account {
    /// Frames that the camera's thread handed over.
    pub(super) captured: u64,
    /// Numbers of those that entered the dataflow, in their order.
    pub(super) taken: Vec<u64>,
    /// Numbers of those that were dropped before, in their order.
    pub(super) dropped: Vec<u64>,
}

/// Whoever takes the frames. It lets none go before it goes on, so that no second one enters.
#[derive(Default)]
struct Taker {
    account: Account,
    held: Vec<Arc<Permit>>,
    goes_on: bool,
}

/// A run that has begun.
pub(super) struct Run {
    taker: Arc<Mutex<Taker>>,
    read: Receiver<u64>,
    captured: Receiver<u64>,
}

impl Run {
    /// Begins to read the source, and stops it at frame `last`, if one is given.
    pub(super) fn start(source: Box<dyn Source>, overflow: Overflow, last: Option<u64>) -> Self {
        let camera = Camera {
            intake: Intake {
                overflow,
                depth: DEPTH as usize,
                credit: Some(1),
                patience: Patience::FILES,
            },
            ..Camera::from(source)
        };
        let (stop, taker) = (StopFlag::default(), Arc::<Mutex<Taker>>::default());
        let (reads, read) = channel();
        let (ends, captured) = channel();
        let (takes, stops) = (taker.clone(), stop.clone());
        let on_read: OnRead = Arc::new(move |_, read| {
            let Ok((seq, _)) = read else { return };
            if last == Some(seq) {
                stops.stop();
            }
            // Nobody listens any more once the taker goes on.
            let _ = reads.send(seq);
        });
        thread::spawn(move || {
            let options = RunOptions::new(1, 1).expect("threads");
            let surroundings = Surroundings {
                stop,
                on_read,
                recorder: None,
                from_us: 0,
                detectors: None,
            };
            let build = move |cameras: Cameras<'_>, probes: Probes| take(&takes, cameras, &probes);
            let captured = run_dataflow(vec![camera], &options, surroundings, build).expect("runs");
            // The test may have failed meanwhile.
            let _ = ends.send(captured.values().sum());
        });
        Self { taker, read, captured }
    }

    /// Waits until the camera's thread has read so many frames.
    pub(super) fn has_read(&self, frames: u64) {
        for seq in 0..frames {
            let read = self.read.recv_timeout(HANG).expect("a frame is read");
            assert_eq!(read, seq, "frames are read in their order");
        }
    }

    /// Whether the camera's thread reads nothing more.
    pub(super) fn is_held(&self) -> bool {
        self.read.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout)
    }

    /// Lets the taker go on until the run is over.
    pub(super) fn finish(self) -> Account {
        let held = {
            let mut taker = lock(&self.taker);
            taker.goes_on = true;
            std::mem::take(&mut taker.held)
        };
        drop(held);
        let captured = self.captured.recv_timeout(HANG).expect("the run ends");
        let account = std::mem::take(&mut lock(&self.taker).account);
        Account { captured, ..account }
    }
}

fn take(taker: &Arc<Mutex<Taker>>, cameras: Cameras<'_>, probes: &Probes) {
    let (takes, hears) = (taker.clone(), taker.clone());
    let taken = cameras.frames.inspect(move |admitted| {
        let mut taker = lock(&takes);
        taker.account.taken.push(admitted.frame.seq);
        if !taker.goes_on {
            taker.held.push(admitted.permit.clone());
        }
    });
    taken.probe_with(&probes.closed);
    let dropped = cameras.dropped.inspect(move |(dropped, _)| {
        lock(&hears).account.dropped.push(dropped.seq);
    });
    dropped.probe_with(&probes.closed);
}

fn lock(taker: &Mutex<Taker>) -> MutexGuard<'_, Taker> {
    taker.lock().unwrap_or_else(PoisonError::into_inner)
}
