//! What the processes of a run tell each other beside its results: that they live, where they are, that it is to end, and how
//! many frames they captured.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use intakt_operators::dataflow::{Abreast, Position, Wire};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{ProbeHandle, StreamVec};
use timely::worker::Worker;

use super::Watchdog;
use crate::run::Captured;
use crate::sources::StopFlag;

/// How often a worker says that it lives.
const BEAT_EVERY: Duration = Duration::from_millis(100);

/// What a worker says.
#[derive(Clone, Serialize, Deserialize)]
struct Beat {
    worker: usize,
    position: Position,
    /// Whether the run is to end.
    stop: bool,
    /// At the end: the frames that its process captured.
    captured: Option<Vec<(Arc<str>, u64)>>,
}

/// What the workers of a process know together.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) abreast: Abreast,
    /// The workers of this process, whose positions are known here first.
    pub(crate) own: std::ops::Range<usize>,
    /// Ends the cameras of this process. In others than process 0 it is set when process 0 has said that it knows: then
    /// nothing that ends before its time is committed there as if it were whole.
    pub(crate) stop: StopFlag,
    /// Set when this process wants the run to end.
    pub(crate) asked: StopFlag,
    pub(crate) watchdog: Arc<Mutex<Watchdog>>,
    /// Of cameras that have ended; in the end those of all processes.
    pub(crate) captured: Arc<Mutex<Captured>>,
}

impl Shared {
    fn watchdog(&self) -> std::sync::MutexGuard<'_, Watchdog> {
        self.watchdog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pulse of a worker: a dataflow of its own beside that of the run, so that it goes on whatever the run waits for.
pub(crate) struct Pulse {
    pub(crate) shared: Shared,
    /// How far the log of the run is.
    pub(crate) logged: ProbeHandle<u64>,
    /// What is passed when the run is over.
    pub(crate) closed: ProbeHandle<u64>,
}

impl Pulse {
    /// Beats until the run is over on all workers, and hears the others. A process that is to end ends all.
    pub(crate) fn start(self, worker: &mut Worker) {
        let (index, shared) = (worker.index(), self.shared.clone());
        worker.dataflow::<u64, _, _>(|scope| {
            let beats: StreamVec<'_, u64, Wire<Beat>> =
                source::<_, CapacityContainerBuilder<Vec<Wire<Beat>>>, _, _>(scope, "Beat", |capability, info| {
                    let activator = scope.activator_for(info.address);
                    let mut capability = Some(capability);
                    let mut next = Instant::now();
                    move |output| {
                        let now = Instant::now();
                        let Some(held) = capability.as_ref().filter(|_| now >= next) else {
                            return;
                        };
                        next = now + BEAT_EVERY;
                        let beat = self.beat(index, now);
                        let last = beat.captured.is_some();
                        output.session(held).give(Wire(beat));
                        match last {
                            true => capability = None,
                            false => activator.activate_after(BEAT_EVERY),
                        }
                    }
                });
            beats
                .broadcast()
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Hear", |_, _| {
                    move |input, _| {
                        input.for_each(|_, beats| beats.drain(..).for_each(|Wire(beat)| hear(&shared, beat)));
                    }
                });
        });
    }

    fn beat(&self, worker: usize, now: Instant) -> Beat {
        let log_us = self.logged.with_frontier(|frontier| frontier.first().copied());
        let reached_us = self.shared.abreast.reached_us();
        self.shared
            .watchdog()
            .logged(log_us.unwrap_or(u64::MAX), reached_us.unwrap_or(u64::MAX), now);
        let captured = || {
            let captured = self.shared.captured.lock().unwrap_or_else(PoisonError::into_inner);
            captured
                .iter()
                .map(|(camera, frames)| (camera.clone(), *frames))
                .collect()
        };
        Beat {
            worker,
            position: self.shared.abreast.position(worker),
            stop: self.shared.asked.is_stopped(),
            captured: self.closed.done().then(captured),
        }
    }
}

fn hear(shared: &Shared, beat: Beat) {
    shared
        .watchdog()
        .heard(beat.worker, beat.captured.is_some(), Instant::now());
    if !shared.own.contains(&beat.worker) {
        shared.abreast.tell(beat.worker, beat.position);
    }
    let (is_first, of_first) = (shared.own.contains(&0), beat.worker < shared.own.len());
    if beat.stop && (is_first || of_first) {
        shared.asked.stop();
        shared.stop.stop();
    }
    let mut captured = shared.captured.lock().unwrap_or_else(PoisonError::into_inner);
    captured.extend(beat.captured.into_iter().flatten());
}
