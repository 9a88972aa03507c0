//! A source in a run, and how its frames are let in.

use std::collections::BTreeSet;

use intakt_operators::dataflow::{ControlQueue, Overflow, Patience};

use crate::sources::Source;
use crate::store::ResumePoint;

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

    /// Of a hot folder, whose files wait while nobody else waits for them.
    pub const WATCHED: Self = Self {
        overflow: Overflow::Block,
        patience: Patience::LIVE,
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
    /// Numbers below this are taken, of a source that cannot be read again, by frames that were recorded and perhaps not judged for good.
    pub numbers_from: u64,
    /// What is said about the camera while it runs.
    pub controls: ControlQueue,
}

impl Camera {
    /// Lets it go on where the run stopped: a source that can be read again behind what is committed, others with numbers that
    /// are free. `was_ended` says that nothing was lost at the end. Where it goes on.
    pub fn go_on(&mut self, point: &ResumePoint, was_ended: bool) -> ResumePoint {
        if self.source.has_own_clock() {
            self.source.resume_at(point.next_seq);
            self.judged_before.clone_from(&point.already_stored);
            return point.clone();
        }
        let mut free = point.of_live(was_ended);
        free.next_seq = free.next_seq.max(self.numbers_from);
        self.source.resume_at(free.next_seq);
        free
    }
}

impl<S: Source + 'static> From<S> for Camera {
    fn from(source: S) -> Self {
        Box::<dyn Source>::from(Box::new(source)).into()
    }
}

impl From<Box<dyn Source>> for Camera {
    fn from(source: Box<dyn Source>) -> Self {
        let intake = match (source.is_live(), source.has_own_clock()) {
            (true, _) => Intake::LIVE,
            (false, true) => Intake::FILES,
            (false, false) => Intake::WATCHED,
        };
        Self {
            source,
            intake,
            judged_before: BTreeSet::new(),
            numbers_from: 0,
            controls: ControlQueue::default(),
        }
    }
}
