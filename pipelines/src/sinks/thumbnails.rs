//! Small pictures of the newest frames, for people who look at the line now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Builder, JoinHandle, Thread};

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
///
/// The thread gets what cores have left, which may be nothing for long. So it holds no lock that anybody else takes: it reads its queue
/// and answers where each place is written once.
pub struct Thumbnails {
    state: Mutex<State>,
    watched_until_us: AtomicU64,
    ended: Arc<AtomicBool>,
    drawing: Thread,
    thread: Mutex<Option<JoinHandle<()>>>,
    clock: Arc<dyn Clock>,
}

/// `T` is what is taken from a frame.
struct State<T = Taken> {
    cameras: BTreeMap<Arc<str>, Camera<T>>,
    newest: Arc<Queued<T>>,
}

struct Camera<T> {
    /// The newest frame, until it is time to draw another one.
    newest: Option<Waiting<T>>,
    /// The newest before that one that was rejected, until it is time to draw another one of these.
    rejected: Option<T>,
    queued: Option<Arc<Queued<T>>>,
    /// When the last frame was queued, and the last rejected one.
    newest_queued_us: u64,
    rejected_queued_us: u64,
    drawn: CameraThumbnails,
}

struct Waiting<T> {
    frame: T,
    is_rejected: bool,
}

impl<T> Default for Camera<T> {
    fn default() -> Self {
        Self {
            newest: None,
            rejected: None,
            queued: None,
            newest_queued_us: 0,
            rejected_queued_us: 0,
            drawn: CameraThumbnails::default(),
        }
    }
}

impl<T> Camera<T> {
    /// Frames that it holds.
    fn held(&self) -> usize {
        let held = [self.newest.is_some(), self.rejected.is_some(), self.queued.is_some()];
        held.into_iter().filter(|is_held| *is_held).count()
    }

    /// Whether it is time to draw the newest frame.
    fn is_due(&self, is_rejected: bool, now: &Now) -> bool {
        now.is_due(self.newest_queued_us) || (is_rejected && now.is_due(self.rejected_queued_us))
    }

    fn take(&mut self, frame: T, is_rejected: bool) {
        let before = self.newest.replace(Waiting { frame, is_rejected });
        if is_rejected {
            self.rejected = None;
        } else if let Some(before) = before
            && before.is_rejected
        {
            self.rejected = Some(before.frame);
        }
    }

    /// The frame that is to be drawn next, if it is time. One that was rejected, and is drawn for that, leaves its turn to what passes.
    fn next(&mut self, now: &Now) -> Option<T> {
        if now.is_due(self.rejected_queued_us) {
            let newest = self.newest.take_if(|newest| newest.is_rejected);
            let rejected = self.rejected.take().or(newest.map(|newest| newest.frame));
            if rejected.is_some() {
                self.rejected_queued_us = now.us;
                return rejected;
            }
        }
        if !now.is_due(self.newest_queued_us) {
            return None;
        }
        let newest = self.newest.take()?;
        self.newest_queued_us = now.us;
        Some(newest.frame)
    }
}

struct Now {
    us: u64,
    /// Whether somebody looks.
    is_watched: bool,
}

impl Now {
    /// Whether it is time for another one after that of `since_us`.
    fn is_due(&self, since_us: u64) -> bool {
        let every_us = match self.is_watched {
            true => WATCHED_EVERY_US,
            false => UNWATCHED_EVERY_US,
        };
        since_us == 0 || self.us >= since_us.saturating_add(every_us)
    }
}

/// A frame that is to be drawn.
struct Queued<T> {
    /// Gone as soon as it is drawn. Nobody else locks it by then.
    frame: Mutex<Option<T>>,
    /// None if it cannot be drawn.
    drawn: OnceLock<Option<Thumbnail>>,
    next: OnceLock<Arc<Self>>,
}

impl<T> Queued<T> {
    fn new(frame: Option<T>) -> Arc<Self> {
        Arc::new(Self {
            frame: Mutex::new(frame),
            drawn: OnceLock::new(),
            next: OnceLock::new(),
        })
    }
}

/// The end of the queue at which it is drawn.
struct Queue<T> {
    last: Arc<Queued<T>>,
}

impl<T> Queue<T> {
    fn next(&mut self) -> Option<Arc<Queued<T>>> {
        let next = self.last.next.get()?.clone();
        self.last = next.clone();
        Some(next)
    }
}

impl Thumbnails {
    /// # Errors
    /// The system gives no thread.
    pub fn start(clock: Arc<dyn Clock>) -> Result<Self, PipelineError> {
        let (state, queue) = State::new();
        let ended = Arc::<AtomicBool>::default();
        let (is_over, now) = (ended.clone(), clock.clone());
        let thread = Builder::new()
            .name("thumbnails".to_owned())
            .spawn(move || draw_until(&is_over, queue, &*now));
        let thread =
            thread.map_err(|error| PipelineError::Refused(format!("cannot start a thread for pictures: {error}")))?;
        Ok(Self {
            state: Mutex::new(state),
            watched_until_us: AtomicU64::new(0),
            ended,
            drawing: thread.thread().clone(),
            thread: Mutex::new(Some(thread)),
            clock,
        })
    }

    /// Notes that somebody looks.
    pub fn watch(&self) {
        let until_us = self.clock.now_us().saturating_add(WATCHED_FOR_US);
        self.watched_until_us.store(until_us, Ordering::Relaxed);
    }

    /// The pictures of a camera.
    pub fn of(&self, camera: &str) -> CameraThumbnails {
        let now = self.now();
        let mut state = self.lock();
        if state.collect(camera, &now) {
            self.drawing.unpark();
        }
        let camera = state.cameras.get(camera);
        camera.map_or_else(CameraThumbnails::default, |camera| camera.drawn.clone())
    }

    /// Draws no more.
    pub fn finish(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.drawing.unpark();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // If it panicked there are no pictures; the run is none the worse.
        thread.map(JoinHandle::join);
    }

    fn now(&self) -> Now {
        let us = self.clock.now_us();
        let is_watched = us < self.watched_until_us.load(Ordering::Relaxed);
        Now { us, is_watched }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Thumbnails {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let Some(found) = &judged.evidence else {
            return Ok(());
        };
        let now = self.now();
        let verdict = &judged.verdict;
        let is_rejected = verdict.decision == Decision::Reject;
        let frame = || Taken::of(found, verdict);
        let is_queued = self.lock().take(&verdict.camera, is_rejected, &now, frame);
        if is_queued {
            self.drawing.unpark();
        }
        Ok(())
    }
}

impl<T> State<T> {
    /// Without frames, and the other end of its queue.
    fn new() -> (Self, Queue<T>) {
        let newest = Queued::new(None);
        let queue = Queue { last: newest.clone() };
        let cameras = BTreeMap::new();
        (Self { cameras, newest }, queue)
    }

    /// Takes a frame if it may be drawn, now or when it is time; whether one was queued. While somebody looks, the last frame before a
    /// pause is drawn, too.
    fn take(&mut self, name: &Arc<str>, is_rejected: bool, now: &Now, frame: impl FnOnce() -> T) -> bool {
        let held: usize = self.cameras.values().map(Camera::held).sum();
        let camera = self.cameras.entry(name.clone()).or_default();
        // Those that were rejected are two of a camera at most.
        let may_wait = is_rejected || camera.newest.is_some() || held < WAITING_MAX;
        if may_wait && (now.is_watched || camera.is_due(is_rejected, now)) {
            camera.take(frame(), is_rejected);
        }
        self.collect(name, now)
    }

    /// Takes what was drawn of a camera, and queues what waits behind it, if it is time; whether one was queued.
    fn collect(&mut self, name: &str, now: &Now) -> bool {
        let Some(camera) = self.cameras.get_mut(name) else {
            return false;
        };
        if let Some(queued) = &camera.queued {
            let Some(drawn) = queued.drawn.get() else {
                return false;
            };
            if let Some(thumbnail) = drawn {
                if thumbnail.about.is_rejected {
                    camera.drawn.rejected = Some(thumbnail.clone());
                }
                camera.drawn.newest = Some(thumbnail.clone());
            }
            camera.queued = None;
        }
        let Some(frame) = camera.next(now) else {
            return false;
        };
        let queued = Queued::new(Some(frame));
        camera.queued = Some(queued.clone());
        let before = std::mem::replace(&mut self.newest, queued.clone());
        // It is the newest once only.
        let _ = before.next.set(queued);
        true
    }
}

/// Draws what is queued, when no other thread wants the core.
fn draw_until(ended: &AtomicBool, mut queue: Queue<Taken>, clock: &dyn Clock) {
    stand_back();
    while !ended.load(Ordering::Relaxed) {
        let Some(queued) = queue.next() else {
            thread::park();
            continue;
        };
        let frame = queued.frame.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thumbnail = frame.and_then(|frame| thumbnail(&frame, clock));
        let _ = queued.drawn.set(thumbnail);
    }
}

/// The picture of a frame; none of one that cannot be drawn.
fn thumbnail(frame: &Taken, clock: &dyn Clock) -> Option<Thumbnail> {
    let jpeg = drawn(frame).ok()?;
    let about = AboutPicture {
        seq: frame.verdict.seq,
        is_rejected: frame.verdict.decision == Decision::Reject,
        drawn_at_us: clock.now_us(),
    };
    Some(Thumbnail {
        about,
        jpeg: jpeg.into(),
    })
}

/// The frame, made small, with its heatmap, as a JPEG file.
fn drawn(frame: &Taken) -> Result<Vec<u8>, String> {
    encode_jpeg(&small_heatmap(&frame.seen(), SIDE_PX), QUALITY)
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

    /// The next frame that is to be drawn, as if it had been, with this decision.
    fn draw<T>(queue: &mut Queue<T>, is_rejected: bool) -> Option<T> {
        let queued = queue.next()?;
        let frame = queued.frame.lock().unwrap().take();
        let about = AboutPicture {
            seq: 0,
            is_rejected,
            drawn_at_us: 0,
        };
        let jpeg: Arc<[u8]> = [].into();
        let was_drawn = queued.drawn.set(Some(Thumbnail { about, jpeg }));
        assert!(was_drawn.is_ok());
        frame
    }

    fn watched(us: u64) -> Now {
        Now { us, is_watched: true }
    }

    #[test]
    fn of_a_camera_the_newest_frames_are_drawn_one_after_the_other() {
        let (mut state, mut queue) = State::<u64>::new();
        let names = ["a", "b", "c"].map(Arc::<str>::from);
        let now_us = 100 * SECOND_US;
        // Of "c" the third frame was rejected: it takes the place of the second, and the last one comes behind it.
        let taken = [(0, 2), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (6, 2)].map(|(at, camera)| {
            let us = now_us + at;
            state.take(&names[camera], at == 4, &watched(us), || at)
        });
        assert_eq!(taken, [true, true, true, false, false, false, false], "who is queued");
        let mut drawn: Vec<_> = std::iter::from_fn(|| draw(&mut queue, false)).collect();
        assert_eq!(drawn, [0, 1, 2]);
        let has_picture = |state: &State<u64>, name| state.cameras[name].drawn.newest.is_some();
        assert!(names.iter().all(|name| !has_picture(&state, name)), "not collected yet");
        let mut collect = |us| names.each_ref().map(|name| state.collect(name, &watched(us)));
        assert_eq!(
            collect(now_us + 6),
            [false, false, true],
            "the first of those that are rejected does not wait"
        );
        drawn.extend(draw(&mut queue, true));
        assert_eq!(collect(now_us + 7), [false; 3], "a second after the last one");
        assert_eq!(collect(now_us + SECOND_US), [false, false, true]);
        drawn.extend(draw(&mut queue, false));
        assert_eq!(drawn[3..], [4, 6]);
        assert_eq!(collect(now_us + 9 * SECOND_US), [false; 3], "all is drawn");
        assert!(names.iter().all(|name| has_picture(&state, name)));
        let rejected = names
            .each_ref()
            .map(|name| state.cameras[name].drawn.rejected.is_some());
        assert_eq!(rejected, [false, false, true]);
    }

    #[test]
    fn where_no_core_is_left_to_draw_nobody_waits_and_few_frames_are_held() {
        let (mut state, mut queue) = State::<Arc<u64>>::new();
        let held = Arc::new(0);
        let cameras: Vec<Arc<str>> = (0..100).map(|camera| format!("{camera}").into()).collect();
        for at in 1..=50 {
            for camera in &cameras {
                state.take(camera, false, &watched(at * SECOND_US), || held.clone());
                state.collect(camera, &watched(at * SECOND_US));
            }
        }
        assert_eq!(Arc::strong_count(&held) - 1, WAITING_MAX);
        for camera in &cameras {
            state.take(camera, true, &watched(60 * SECOND_US), || held.clone());
        }
        assert_eq!(Arc::strong_count(&held) - 1, cameras.len() + WAITING_MAX);
        // As soon as there is a core, each camera has its picture, and what was drawn is let go.
        let drawn = std::iter::from_fn(|| draw(&mut queue, true)).count();
        assert_eq!(drawn, cameras.len());
        assert_eq!(Arc::strong_count(&held) - 1, WAITING_MAX);
    }

    #[test]
    fn a_camera_that_rejects_much_shows_what_passes_too() {
        let dock: Arc<str> = "dock".into();
        let (mut state, mut queue) = State::new();
        let mut drawn = Vec::new();
        // For ten seconds, ten frames a second, of which every fifth is rejected.
        for at in 0..100 {
            let is_rejected = at % 5 == 4;
            state.take(&dock, is_rejected, &watched((1_000 + at) * SECOND_US / 10), || {
                is_rejected
            });
            while let Some(is_rejected) = draw(&mut queue, false) {
                drawn.push(is_rejected);
                state.collect(&dock, &watched((1_000 + at) * SECOND_US / 10));
            }
        }
        let rejected = drawn.iter().filter(|is_rejected| **is_rejected).count();
        assert!((9..=10).contains(&rejected), "{drawn:?}");
        assert!((9..=10).contains(&(drawn.len() - rejected)), "{drawn:?}");
    }

    #[test]
    fn few_are_drawn_while_nobody_looks() {
        let dock: Arc<str> = "dock".into();
        let (mut state, mut queue) = State::new();
        // What is queued is drawn at once.
        let mut is_drawn = |is_watched: bool, is_rejected: bool, us: u64| {
            let now = Now { us, is_watched };
            state.take(&dock, is_rejected, &now, || ()) && draw(&mut queue, is_rejected).is_some()
        };
        let mut now_us = 100 * SECOND_US;
        assert!(is_drawn(false, false, now_us), "the first frame");
        now_us += SECOND_US;
        assert!(!is_drawn(false, false, now_us), "nobody looks");
        assert!(is_drawn(false, true, now_us), "the first that is rejected");
        now_us += SECOND_US;
        assert!(!is_drawn(false, true, now_us));
        assert!(is_drawn(true, false, now_us), "somebody looks");
        assert!(!is_drawn(true, false, now_us + SECOND_US / 2));
        assert!(is_drawn(true, false, now_us + SECOND_US));
        now_us += WATCHED_FOR_US;
        assert!(!is_drawn(false, false, now_us), "they went");
        assert_eq!(state.cameras["dock"].held(), 0, "nothing waits for somebody to come");
    }
}
