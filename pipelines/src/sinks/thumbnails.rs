//! Small pictures of the newest frames, for people who look at the line now.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use intakt_operators::Decision;
use intakt_operators::dataflow::JudgedFrame;
use intakt_operators::imaging::decode;

use super::Sink;
use super::small::{Taken, encode_jpeg, small_heatmap, small_image, stand_back};
use crate::PipelineError;
use crate::pictures::{AboutPicture, NewestPictures};
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

/// Frames that passed and wait to be drawn, of all cameras: each holds its pixels.
const WAITING_MAX: usize = 16;

/// A picture of a frame with its heatmap.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    /// Which frame it is of, and when it was drawn.
    pub about: AboutPicture,
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

impl CameraThumbnails {
    /// Which they are.
    pub fn about(&self) -> NewestPictures {
        let about = |thumbnail: &Option<Thumbnail>| thumbnail.as_ref().map(|thumbnail| thumbnail.about);
        NewestPictures {
            newest: about(&self.newest),
            rejected: about(&self.rejected),
        }
    }
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

/// `T` is what is taken from a frame.
struct State<T = Taken> {
    cameras: BTreeMap<Arc<str>, Camera<T>>,
    watched_until_us: u64,
    ended: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            cameras: BTreeMap::new(),
            watched_until_us: 0,
            ended: false,
        }
    }
}

struct Camera<T> {
    waiting: Option<Waiting<T>>,
    /// When the last frame was taken to be drawn, and the last rejected one.
    taken_us: u64,
    rejected_taken_us: u64,
    drawn: CameraThumbnails,
}

impl<T> Default for Camera<T> {
    fn default() -> Self {
        Self {
            waiting: None,
            taken_us: 0,
            rejected_taken_us: 0,
            drawn: CameraThumbnails::default(),
        }
    }
}

/// A frame that waits to be drawn.
struct Waiting<T> {
    frame: T,
    is_rejected: bool,
    /// From when a frame of this camera waits; this one may have come in the place of another.
    since_us: u64,
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
        let verdict = &judged.verdict;
        let is_rejected = verdict.decision == Decision::Reject;
        let frame = || Taken::of(found, verdict);
        // The thread that draws stands back for those that judge, which do not wait for it: the next frame is as good. There may be no
        // next one that is rejected.
        let state = match is_rejected {
            true => Some(self.shared.lock()),
            false => self.shared.state.try_lock().ok(),
        };
        if state.is_some_and(|mut state| state.take(&verdict.camera, is_rejected, now_us, frame)) {
            self.shared.wake.notify_one();
        }
        Ok(())
    }
}

impl<T> State<T> {
    fn camera(&mut self, camera: &Arc<str>) -> &mut Camera<T> {
        self.cameras.entry(camera.clone()).or_default()
    }

    /// Whether a frame is to be drawn: then it waits.
    fn take(&mut self, camera: &Arc<str>, is_rejected: bool, now_us: u64, frame: impl FnOnce() -> T) -> bool {
        let every_us = match now_us < self.watched_until_us {
            true => WATCHED_EVERY_US,
            false => UNWATCHED_EVERY_US,
        };
        let n_waiting = self.cameras.values().filter(|camera| camera.waiting.is_some()).count();
        let camera = self.camera(camera);
        let is_due = |taken_us: u64| now_us >= taken_us.saturating_add(every_us) || taken_us == 0;
        let may_wait = match &camera.waiting {
            // What is rejected is not pushed aside by what passed.
            Some(waiting) => is_rejected || !waiting.is_rejected,
            // Those are as many as there are cameras at most.
            None => is_rejected || n_waiting < WAITING_MAX,
        };
        let is_wanted = may_wait && (is_due(camera.taken_us) || (is_rejected && is_due(camera.rejected_taken_us)));
        if is_wanted {
            let waited = camera.waiting.take();
            camera.waiting = Some(Waiting {
                frame: frame(),
                is_rejected,
                since_us: waited.map_or(now_us, |waited| waited.since_us),
            });
            camera.taken_us = now_us;
            if is_rejected {
                camera.rejected_taken_us = now_us;
            }
        }
        is_wanted
    }

    /// Of the camera whose frame waits longest.
    fn next(&mut self) -> Option<(Arc<str>, T)> {
        let waiting = self.cameras.iter_mut().filter(|(_, camera)| camera.waiting.is_some());
        let (name, camera) =
            waiting.min_by_key(|(_, camera)| camera.waiting.as_ref().map(|waiting| waiting.since_us))?;
        Some((name.clone(), camera.waiting.take()?.frame))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_until_ended(&self) {
        stand_back();
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
                let about = AboutPicture {
                    seq: waiting.verdict.seq,
                    is_rejected,
                    drawn_at_us: self.clock.now_us(),
                };
                let thumbnail = Thumbnail {
                    about,
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

/// A picture made as small as a [`Thumbnail`].
///
/// # Errors
/// A sentence: it is no image.
pub fn small_jpeg(picture: &[u8]) -> Result<Vec<u8>, String> {
    let image = decode(picture, u16::MAX).map_err(|error| error.to_string())?;
    encode_jpeg(&small_image(&image, SIDE_PX), QUALITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    #[test]
    fn the_camera_whose_frame_waits_longest_is_drawn_first() {
        let mut state = State::<u64>::default();
        let names = ["a", "b", "c"].map(Arc::<str>::from);
        for (at, name) in [(0, &names[2]), (1, &names[0]), (2, &names[1]), (3, &names[2])] {
            // A second frame of "c" takes the place of the first, in its place in the line.
            assert!(state.take(name, at == 3, (100 + at) * SECOND_US, || at));
        }
        let order: Vec<_> = std::iter::from_fn(|| state.next()).collect();
        let [a, b, c] = names;
        assert_eq!(order, [(c, 3), (a, 1), (b, 2)]);
    }

    #[test]
    fn few_are_drawn_while_nobody_looks_and_rejects_come_first() {
        let dock: Arc<str> = "dock".into();
        let mut state = State::default();
        // What waits is drawn at once.
        let is_drawn = |state: &mut State<()>, is_rejected, now_us| {
            state.take(&dock, is_rejected, now_us, || ()) && state.next().is_some()
        };
        let mut now_us = 100 * SECOND_US;
        assert!(is_drawn(&mut state, false, now_us), "the first frame");
        now_us += SECOND_US;
        assert!(!is_drawn(&mut state, false, now_us), "nobody looks");
        assert!(is_drawn(&mut state, true, now_us), "the first that is rejected");
        now_us += SECOND_US;
        assert!(!is_drawn(&mut state, true, now_us));
        state.watched_until_us = now_us + WATCHED_FOR_US;
        assert!(is_drawn(&mut state, false, now_us), "somebody looks");
        assert!(!is_drawn(&mut state, false, now_us + SECOND_US / 2));
        assert!(is_drawn(&mut state, false, now_us + SECOND_US));
        now_us += WATCHED_FOR_US;
        assert!(!is_drawn(&mut state, false, now_us), "they went");
    }
}
