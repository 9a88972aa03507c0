//! What every source of frames keeps to.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use intakt_operators::dataflow::Control;
use intakt_operators::{DroppedFrame, Frame, Stamp};

/// Longest time that [`Source::next`] goes on after its stop flag was set.
pub const STOP_WAIT_MAX: Duration = Duration::from_millis(500);

/// How often a wait looks whether it was stopped: well within [`STOP_WAIT_MAX`].
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Name of the threads that speak to a driver through a crate that panics where it should return an error. Their panics are told
/// as a trouble of the camera.
pub const DEVICE_THREAD: &str = "intakt-device";

/// The frames of one camera, drained by a thread of its own.
///
/// A source numbers its frames from 0 (or from where [`Source::resume_at`] put it) without gaps: also those that turn out to
/// be broken, whose `bytes` are then the reason. It holds at most one frame beyond the one it hands out (a recording a few, which
/// it reads on a thread of its own), so that memory and back-pressure are the mailbox's affair. What goes wrong with a camera is told, not hidden, and does not end it.
pub trait Source: Send {
    /// Name of the camera; every frame carries it.
    fn camera(&self) -> &Arc<str>;

    /// Whether the camera goes on while nobody takes its frames. A live camera's oldest frames are dropped under overload,
    /// the others' wait.
    fn is_live(&self) -> bool;

    /// Whether it can be read again, and its frames then have the same numbers and times. What the others have taken is gone, or
    /// comes under another number; so the last second of a run is kept although it was interrupted.
    fn has_own_clock(&self) -> bool {
        !self.is_live()
    }

    /// The files that its frames are, in their order, where all of them are there beforehand.
    fn files(&self) -> Option<&[PathBuf]> {
        None
    }

    /// Continues at frame `seq`. A source that can be read again leaves out the frames before it; a live one numbers on.
    fn resume_at(&mut self, seq: u64);

    /// Leaves out what was judged before the run was interrupted, where that is not told by the number: what still lies in a folder.
    fn leave_out(&mut self, _judged: Judged) {}

    /// Waits for what comes next, at most [`STOP_WAIT_MAX`] longer than `stop` is not set.
    fn next(&mut self, stop: &StopFlag) -> Next;
}

/// Tells of every frame of a camera that has a verdict, in order, where it came from and when it was captured, microseconds; as
/// long as whoever listens wants to hear more.
pub type Judged = Box<dyn Fn(&mut dyn FnMut(&str, u64) -> bool) -> Result<(), String> + Send>;

/// What a source has to say.
#[derive(Debug)]
pub enum Next {
    /// A frame.
    Frame(Frame),
    /// A frame that was dropped when the recording was made; it has no number in this source.
    Dropped(DroppedFrame, Stamp),
    /// Something that was said when the recording was made, and its time in the dataflow, microseconds.
    Control(Control, u64),
    /// Why no frame comes at the moment, once per trouble: "connection refused, next try in 2 s". Ask again.
    Trouble(String),
    /// No further frame will come, or `stop` is set.
    Ended,
}

/// Ends all sources that look at it, for example because nobody can take their verdicts any more.
#[derive(Clone, Default)]
pub struct StopFlag(Arc<(Mutex<bool>, Condvar)>);

impl StopFlag {
    /// No further frame is read; whoever waits is woken.
    pub fn stop(&self) {
        let (stopped, changed) = &*self.0;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `pause`, or less if it is stopped meanwhile. Whether it was stopped.
    pub fn wait(&self, pause: Duration) -> bool {
        let (stopped, changed) = &*self.0;
        let until = Instant::now() + pause;
        let mut stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return false;
            };
            let waited = changed.wait_timeout(stopped, left);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Where a source takes the time from that a live camera does not tell.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now_us(&self) -> u64;
}

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 is no clock; the frames then count as captured at the epoch.
        since.map_or(0, |since| since.as_micros() as u64)
    }
}
