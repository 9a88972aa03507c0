//! Small pictures of the newest frames, for people who look at the line now.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use intakt_operators::Decision;
use intakt_operators::dataflow::JudgedFrame;

use super::Sink;
use super::small::{Taken, encode_jpeg, small_heatmap};
use crate::PipelineError;
use crate::sources::Clock;

/// The longer side of a picture, pixels.
const SIDE_PX: u32 = 400;

/// Quality of its JPEG, of 100.
const QUALITY: u8 = 80;

/// Time from one picture of a camera to the next, microseconds, while somebody looks and while nobody does. Nobody sees more, and
/// drawing takes from the cores that judge.
const WATCHED_EVERY_US: u64 = 1_000_000;
const UNWATCHED_EVERY_US: u64 = 10_000_000;

/// How long somebody who was there is taken to be still there, microseconds.
const WATCHED_FOR_US: u64 = 5_000_000;

/// Frames that wait to be drawn, of all cameras: each holds its pixels.
const WAITING_MAX: usize = 16;

/// A picture of a frame with its heatmap.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    /// Position of the frame in the camera's stream.
    pub seq: u64,
    /// What was decided.
    pub is_rejected: bool,
    /// When it was drawn, wall clock, microseconds since 1970.
    pub drawn_at_us: u64,
    /// A JPEG file.
    pub jpeg: Arc<[u8]>,
}

/// The pictures of one camera.
#[derive(Clone, Debug, Default)]
pub struct CameraThumbnails {
    /// Of the newest frame that was drawn.
    pub newest: Option<Thumbnail>,
    /// Of the newest rejected one that was drawn.
    pub rejected: Option<Thumbnail>,
}

/// Draws pictures on a thread of its own, at most one a second of each camera and of what each rejects, and few while nobody looks. It
/// takes from a frame what it draws, so that no frame waits for its picture.
pub struct Thumbnails {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    cameras: BTreeMap<Arc<str>, Camera>,
    watched_until_us: u64,
    ended: bool,
}

#[derive(Default)]
struct Camera {
    waiting: Option<Taken>,
    /// When the last frame was taken to be drawn, and the last rejected one.
    taken_us: u64,
    rejected_taken_us: u64,
    drawn: CameraThumbnails,
}

impl Thumbnails {
    /// # Errors
    /// The system gives no thread.
    pub fn start(clock: Arc<dyn Clock>) -> Result<Self, PipelineError> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            clock,
        });
        let drawing = shared.clone();
        let thread = Builder::new()
            .name("thumbnails".to_owned())
            .spawn(move || drawing.draw_until_ended());
        let refused = |error| PipelineError::Refused(format!("cannot start a thread for pictures: {error}"));
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread.map_err(refused)?)),
        })
    }

    /// Notes that somebody looks.
    pub fn watch(&self) {
        let now_us = self.shared.clock.now_us();
        self.shared.lock().watched_until_us = now_us.saturating_add(WATCHED_FOR_US);
    }

    /// The pictures of a camera.
    pub fn of(&self, camera: &str) -> CameraThumbnails {
        let state = self.shared.lock();
        state
            .cameras
            .get(camera)
            .map_or_else(CameraThumbnails::default, |camera| camera.drawn.clone())
    }

    /// Draws no more.
    pub fn finish(&self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // If it panicked there are no pictures; the run is none the worse.
        thread.map(JoinHandle::join);
    }
}

impl Sink for Thumbnails {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let Some(found) = &judged.evidence else {
            return Ok(());
        };
        let now_us = self.shared.clock.now_us();
        let is_rejected = judged.verdict.decision == Decision::Reject;
        let mut state = self.shared.lock();
        if state.is_taken(&judged.verdict.camera, is_rejected, now_us) {
            let waiting = Taken::of(found, &judged.verdict);
            state.camera(&judged.verdict.camera).waiting = Some(waiting);
            self.shared.wake.notify_one();
        }
        Ok(())
    }
}

impl State {
    fn camera(&mut self, camera: &Arc<str>) -> &mut Camera {
        self.cameras.entry(camera.clone()).or_default()
    }

    /// Whether a frame is to be drawn, which is noted.
    fn is_taken(&mut self, camera: &Arc<str>, is_rejected: bool, now_us: u64) -> bool {
        let every_us = match now_us < self.watched_until_us {
            true => WATCHED_EVERY_US,
            false => UNWATCHED_EVERY_US,
        };
        let n_waiting = self.cameras.values().filter(|camera| camera.waiting.is_some()).count();
        let camera = self.camera(camera);
        let is_due = |taken_us: u64| now_us >= taken_us.saturating_add(every_us) || taken_us == 0;
        let may_wait = match &camera.waiting {
            // What is rejected is not pushed aside by what passed.
            Some(waiting) => is_rejected || waiting.verdict.decision != Decision::Reject,
            None => n_waiting < WAITING_MAX,
        };
        let is_wanted = may_wait && (is_due(camera.taken_us) || (is_rejected && is_due(camera.rejected_taken_us)));
        if is_wanted {
            camera.taken_us = now_us;
            if is_rejected {
                camera.rejected_taken_us = now_us;
            }
        }
        is_wanted
    }

    fn next(&mut self) -> Option<(Arc<str>, Taken)> {
        let mut cameras = self.cameras.iter_mut();
        cameras.find_map(|(name, camera)| Some((name.clone(), camera.waiting.take()?)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_until_ended(&self) {
        let mut state = self.lock();
        while !state.ended {
            let Some((name, waiting)) = state.next() else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let jpeg = drawn(&waiting);
            state = self.lock();
            // A frame that cannot be drawn has no picture.
            if let Ok(jpeg) = jpeg {
                let is_rejected = waiting.verdict.decision == Decision::Reject;
                let thumbnail = Thumbnail {
                    seq: waiting.verdict.seq,
                    is_rejected,
                    drawn_at_us: self.clock.now_us(),
                    jpeg: jpeg.into(),
                };
                let drawn = &mut state.camera(&name).drawn;
                if is_rejected {
                    drawn.rejected = Some(thumbnail.clone());
                }
                drawn.newest = Some(thumbnail);
            }
        }
    }
}

/// The frame, made small, with its heatmap, as a JPEG file.
fn drawn(waiting: &Taken) -> Result<Vec<u8>, String> {
    encode_jpeg(&small_heatmap(&waiting.seen(), SIDE_PX), QUALITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    #[test]
    fn few_are_drawn_while_nobody_looks_and_rejects_come_first() {
        let dock: Arc<str> = "dock".into();
        let mut state = State::default();
        let mut now_us = 100 * SECOND_US;
        assert!(state.is_taken(&dock, false, now_us), "the first frame");
        now_us += SECOND_US;
        assert!(!state.is_taken(&dock, false, now_us), "nobody looks");
        assert!(state.is_taken(&dock, true, now_us), "the first that is rejected");
        now_us += SECOND_US;
        assert!(!state.is_taken(&dock, true, now_us));
        state.watched_until_us = now_us + WATCHED_FOR_US;
        assert!(state.is_taken(&dock, false, now_us), "somebody looks");
        assert!(!state.is_taken(&dock, false, now_us + SECOND_US / 2));
        assert!(state.is_taken(&dock, false, now_us + SECOND_US));
        now_us += WATCHED_FOR_US;
        assert!(!state.is_taken(&dock, false, now_us), "they went");
    }
}
