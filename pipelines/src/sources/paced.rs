//! Files at the pace of the line that made them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Next, Source, StopFlag};

/// Longest pause between two frames: a gap of event time beyond a day is not waited for.
const PAUSE_MAX: Duration = Duration::from_secs(86_400);

/// A source whose frames come when their event time says, counted from the first, as from a live camera: nothing waits for
/// whoever is too slow.
pub struct Paced {
    source: Box<dyn Source>,
    begun: Option<(u64, Instant)>,
}

impl Paced {
    /// Lets the frames of `source` come at their pace.
    pub fn new(source: Box<dyn Source>) -> Self {
        Self { source, begun: None }
    }
}

impl Source for Paced {
    fn camera(&self) -> &Arc<str> {
        self.source.camera()
    }

    fn is_live(&self) -> bool {
        true
    }

    /// Its files can be read again.
    fn has_own_clock(&self) -> bool {
        self.source.has_own_clock()
    }

    fn resume_at(&mut self, seq: u64) {
        self.source.resume_at(seq);
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        let next = self.source.next(stop);
        let Next::Frame(frame) = &next else { return next };
        let now = Instant::now();
        let (first_us, begun_at) = *self.begun.get_or_insert((frame.captured_at_us, now));
        let due = Duration::from_micros(frame.captured_at_us.saturating_sub(first_us));
        let pause = due.saturating_sub(now.duration_since(begun_at));
        match stop.wait(pause.min(PAUSE_MAX)) {
            true => Next::Ended,
            false => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compliance::{Counter, Subject, Taken, counted_frames};
    use super::*;

    #[test]
    fn paced_frames_comply() {
        let counter = Counter::default();
        Subject {
            fresh: &|| Box::new(Paced::new(Box::new(counted_frames(&counter)))),
            frames: 6,
            ends: true,
            replayable: true,
            broken: &[3],
            taken: Taken::Counted(&|| counter.count()),
            ahead_max: 1,
        }
        .complies();
    }
}
