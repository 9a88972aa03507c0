//! Small pictures of the newest frames, for people who look at the line now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Builder, Thread};

use intakt_kernels::stand_back;
use intakt_operators::Decision;
use intakt_operators::dataflow::JudgedFrame;
use intakt_operators::imaging::decode;

use super::Sink;
use super::small::{Taken, encode_jpeg, encode_jpeg_standing_back, small_heatmap, small_image};
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

/// What was rejected has every other turn at most, so that what passes is seen, too.
const REJECTED_TURNS: u64 = 2;

/// How long somebody who was there is taken to be still there, microseconds.
const WATCHED_FOR_US: u64 = 5_000_000;

/// Frames that passed, of all cameras, in the queue, and as many that wait until it is time: each holds its pixels. A camera that rejects
/// has three at most beside them: one in the queue, one that was rejected, and one that passed since.
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

/// Draws pictures on a thread of its own: about one a second of each camera, and few while nobody looks. What is rejected after long is
/// drawn at once. It takes from a frame what it draws, so that no frame waits for its picture.
///
/// The thread gets what cores have left, which may be nothing for long. So it holds no lock of ours that anybody else takes: it reads its
/// queue and answers where each place is written once.
pub struct Thumbnails {
    state: Mutex<State>,
    watched_until_us: AtomicU64,
    ended: Arc<AtomicBool>,
    drawing: Thread,
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
    /// When the last frame that passed was queued, and the last rejected one.
    passed_queued_us: u64,
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
            passed_queued_us: 0,
            rejected_queued_us: 0,
            drawn: CameraThumbnails::default(),
        }
    }
}

impl<T> Camera<T> {
    /// Frames that wait until it is time.
    fn waiting(&self) -> usize {
        usize::from(self.newest.is_some()) + usize::from(self.rejected.is_some())
    }

    /// Whether it is time to draw the newest frame.
    fn is_due(&self, is_rejected: bool, now: &Now) -> bool {
        match is_rejected {
            true => self.rejected_is_due(now),
            false => self.passed_is_due(now),
        }
    }

    fn passed_is_due(&self, now: &Now) -> bool {
        now.is_due(self.passed_queued_us, 1) && now.is_due(self.rejected_queued_us, 1)
    }

    fn rejected_is_due(&self, now: &Now) -> bool {
        now.is_due(self.rejected_queued_us, REJECTED_TURNS)
    }

    /// Lets a frame wait; those whose place it takes are given back.
    fn take(&mut self, frame: T, is_rejected: bool) -> [Option<T>; 2] {
        let before = self.newest.replace(Waiting { frame, is_rejected });
        match before {
            Some(before) if before.is_rejected && !is_rejected => [self.rejected.replace(before.frame), None],
            before if is_rejected => [before.map(|before| before.frame), self.rejected.take()],
            before => [before.map(|before| before.frame), None],
        }
    }

    /// The frame that is to be drawn next, if it is time. One that was rejected, and is drawn for that, leaves its turn to what passes.
    fn next(&mut self, now: &Now) -> Option<T> {
        if self.rejected_is_due(now) {
            let newest = self.newest.take_if(|newest| newest.is_rejected);
            let rejected = self.rejected.take().or(newest.map(|newest| newest.frame));
            if rejected.is_some() {
                self.rejected_queued_us = now.us;
                return rejected;
            }
        }
        if !self.passed_is_due(now) {
            return None;
        }
        let passed = self.newest.take_if(|newest| !newest.is_rejected)?;
        self.passed_queued_us = now.us;
        Some(passed.frame)
    }
}

struct Now {
    us: u64,
    /// Whether somebody looks.
    is_watched: bool,
}

impl Now {
    /// Whether it is time for another one so many turns after that of `since_us`: also where the clock was set back since.
    fn is_due(&self, since_us: u64, turns: u64) -> bool {
        let every_us = match self.is_watched {
            true => WATCHED_EVERY_US,
            false => UNWATCHED_EVERY_US,
        };
        since_us == 0 || self.us < since_us || self.us - since_us >= turns * every_us
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

    /// Draws no more, once a core is left to know that: nobody waits for it.
    pub fn finish(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.drawing.unpark();
    }

    fn now(&self) -> Now {
        let us = self.clock.now_us();
        let left_us = self.watched_until_us.load(Ordering::Relaxed).saturating_sub(us);
        // More is left where the clock was set back.
        let is_watched = left_us > 0 && left_us <= WATCHED_FOR_US;
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
        // What is not drawn any more is given back to the system when nobody waits for the lock.
        let (is_queued, _dropped) = self.lock().take(&verdict.camera, is_rejected, &now, frame);
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

    /// Takes a frame if it may be drawn, now or when it is time; whether one was queued, and the frames whose place it took. The last frame
    /// before a pause is drawn, too, when it is time and somebody looks.
    fn take(
        &mut self,
        name: &Arc<str>,
        is_rejected: bool,
        now: &Now,
        frame: impl FnOnce() -> T,
    ) -> (bool, [Option<T>; 2]) {
        let queued = self.cameras.values().filter(|camera| camera.queued.is_some()).count();
        let waiting: usize = self.cameras.values().map(Camera::waiting).sum();
        let camera = self.cameras.entry(name.clone()).or_default();
        let others = if camera.is_due(is_rejected, now) {
            queued
        } else {
            waiting
        };
        let is_wanted = is_rejected || camera.newest.is_some() || others < WAITING_MAX;
        let dropped = match is_wanted {
            true => camera.take(frame(), is_rejected),
            false => [None, None],
        };
        (self.collect(name, now), dropped)
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
                // One that was rejected may be drawn after what passed later.
                let newest = &mut camera.drawn.newest;
                if newest
                    .as_ref()
                    .is_none_or(|newest| newest.about.seq < thumbnail.about.seq)
                {
                    *newest = Some(thumbnail.clone());
                }
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
    encode_jpeg_standing_back(&small_heatmap(&frame.seen(), SIDE_PX), QUALITY)
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

    /// The next frame that is to be drawn, as if it had been. Frames are numbers here, those that end in 9 rejected.
    fn draw(queue: &mut Queue<u64>) -> Option<u64> {
        let queued = queue.next()?;
        let seq = queued.frame.lock().unwrap().take().unwrap();
        let about = AboutPicture {
            seq,
            is_rejected: is_rejected(seq),
            drawn_at_us: 0,
        };
        let jpeg: Arc<[u8]> = [].into();
        assert!(queued.drawn.set(Some(Thumbnail { about, jpeg })).is_ok());
        Some(seq)
    }

    fn is_rejected(seq: u64) -> bool {
        seq % 10 == 9
    }

    fn watched(us: u64) -> Now {
        Now { us, is_watched: true }
    }

    fn take(state: &mut State<u64>, camera: &Arc<str>, seq: u64, now: &Now) -> bool {
        state.take(camera, is_rejected(seq), now, || seq).0
    }

    /// Newest and rejected frame whose pictures there are.
    fn pictured(state: &State<u64>, camera: &str) -> [Option<u64>; 2] {
        let about = state.cameras[camera].drawn.about();
        [about.newest, about.rejected].map(|about| about.map(|about| about.seq))
    }

    #[test]
    fn of_a_camera_the_newest_frames_are_drawn_one_after_the_other() {
        let (mut state, mut queue) = State::new();
        let names = ["a", "b", "c"].map(Arc::<str>::from);
        let now_us = 100 * SECOND_US;
        // Of "c" the third frame was rejected: it takes the place of the second, and the last one comes behind it.
        let frames = [(5, 2), (6, 0), (7, 1), (8, 2), (9, 2), (10, 2), (11, 2)];
        let taken = frames.map(|(seq, camera)| take(&mut state, &names[camera], seq, &watched(now_us + seq)));
        assert_eq!(taken, [true, true, true, false, false, false, false], "who is queued");
        let mut drawn: Vec<_> = std::iter::from_fn(|| draw(&mut queue)).collect();
        assert_eq!(drawn, [5, 6, 7]);
        assert!(
            names.iter().all(|name| pictured(&state, name) == [None; 2]),
            "not collected yet"
        );
        let mut collect = |us| names.each_ref().map(|name| state.collect(name, &watched(us)));
        assert_eq!(
            collect(now_us + 12),
            [false, false, true],
            "the first that was rejected does not wait"
        );
        drawn.extend(draw(&mut queue));
        assert_eq!(collect(now_us + 13), [false; 3], "a second after the last one");
        assert_eq!(collect(now_us + SECOND_US + 12), [false, false, true]);
        drawn.extend(draw(&mut queue));
        assert_eq!(drawn[3..], [9, 11]);
        assert_eq!(collect(now_us + 9 * SECOND_US), [false; 3], "all is drawn");
        let pictures = names.each_ref().map(|name| pictured(&state, name));
        assert_eq!(pictures, [[Some(6), None], [Some(7), None], [Some(11), Some(9)]]);
    }

    #[test]
    fn what_was_rejected_before_is_not_the_newest_when_it_is_drawn_later() {
        let dock: Arc<str> = "dock".into();
        let (mut state, mut queue) = State::new();
        let now_us = 100 * SECOND_US;
        assert!(take(&mut state, &dock, 8, &watched(now_us)));
        draw(&mut queue);
        assert!(take(&mut state, &dock, 9, &watched(now_us + SECOND_US / 2)));
        draw(&mut queue);
        assert!(!take(&mut state, &dock, 19, &watched(now_us + 6 * SECOND_US / 10)));
        assert!(!take(&mut state, &dock, 20, &watched(now_us + 7 * SECOND_US / 10)));
        let mut next = |us| {
            state.collect(&dock, &watched(us));
            (
                draw(&mut queue),
                state.collect(&dock, &watched(us)),
                pictured(&state, &dock),
            )
        };
        assert_eq!(next(now_us + SECOND_US), (None, false, [Some(9), Some(9)]));
        assert_eq!(next(now_us + 3 * SECOND_US / 2), (Some(20), false, [Some(20), Some(9)]));
        assert_eq!(
            next(now_us + 5 * SECOND_US / 2),
            (Some(19), false, [Some(20), Some(19)])
        );
    }

    #[test]
    fn where_no_core_is_left_to_draw_nobody_waits_and_few_frames_are_held() {
        let (mut state, mut queue) = State::new();
        let cameras: Vec<Arc<str>> = (0..100).map(|camera| format!("{camera:02}").into()).collect();
        let held = |state: &State<u64>| {
            let of = |camera: &Camera<u64>| camera.waiting() + usize::from(camera.queued.is_some());
            state.cameras.values().map(of).sum::<usize>()
        };
        for at in 1..=50 {
            for camera in &cameras {
                take(&mut state, camera, 10 * at, &watched(at * SECOND_US));
            }
        }
        assert_eq!(held(&state), WAITING_MAX);
        for (seq, at_us) in [(509, 60 * SECOND_US), (510, 60 * SECOND_US + 1)] {
            for camera in &cameras {
                take(&mut state, camera, seq, &watched(at_us));
            }
        }
        // Each has what was rejected; those of which something passed before have what passed since, too.
        assert_eq!(held(&state), cameras.len() + 2 * WAITING_MAX);
        // As soon as there is a core, each camera has its picture, and a second later that of what passed since.
        for seconds in 70..=71 {
            let collect = |state: &mut State<u64>| {
                for camera in &cameras {
                    state.collect(camera, &watched(seconds * SECOND_US));
                }
            };
            collect(&mut state);
            while draw(&mut queue).is_some() {
                collect(&mut state);
            }
        }
        assert!(cameras.iter().all(|camera| pictured(&state, camera)[1] == Some(509)));
        assert_eq!(held(&state), 0);
    }

    #[test]
    fn a_hundred_cameras_have_a_picture_a_second() {
        let (mut state, mut queue) = State::new();
        let cameras: Vec<Arc<str>> = (0..100).map(|camera| format!("{camera:02}").into()).collect();
        let mut drawn = 0;
        // Fifteen frames a second of each, for ten seconds, while there is a core to draw.
        for at in 0..150 {
            for (place, camera) in cameras.iter().enumerate() {
                let us = 100 * SECOND_US + at * SECOND_US / 15 + place as u64 * 500;
                take(&mut state, camera, 10 * at, &watched(us));
                while draw(&mut queue).is_some() {
                    drawn += 1;
                }
            }
        }
        assert!((900..=1_000).contains(&drawn), "{drawn}");
    }

    #[test]
    fn a_camera_that_rejects_much_shows_what_passes_too() {
        let dock: Arc<str> = "dock".into();
        let (mut state, mut queue) = State::new();
        let mut drawn = Vec::new();
        // For twenty seconds, ten frames a second, of which every tenth is rejected.
        for seq in 0..200 {
            take(&mut state, &dock, seq, &watched((1_000 + seq) * SECOND_US / 10));
            drawn.extend(draw(&mut queue));
        }
        let rejected = drawn.iter().filter(|seq| is_rejected(**seq)).count();
        assert!((9..=11).contains(&rejected), "{drawn:?}");
        assert!((9..=11).contains(&(drawn.len() - rejected)), "{drawn:?}");
    }

    #[test]
    fn a_clock_that_is_set_back_holds_up_no_picture() {
        let dock: Arc<str> = "dock".into();
        let (mut state, mut queue) = State::new();
        let mut is_drawn =
            |seq: u64, us: u64| take(&mut state, &dock, seq, &watched(us)) && draw(&mut queue) == Some(seq);
        let hour_us = 3_600 * SECOND_US;
        assert!(is_drawn(8, 100 * hour_us));
        assert!(is_drawn(9, 100 * hour_us + 1));
        assert!(is_drawn(18, 99 * hour_us));
        assert!(is_drawn(19, 99 * hour_us + 1));
        assert!(!is_drawn(28, 99 * hour_us + 2), "again one a second");
        assert!(is_drawn(38, 99 * hour_us + SECOND_US + 1));
    }

    #[test]
    fn few_are_drawn_while_nobody_looks() {
        let dock: Arc<str> = "dock".into();
        let (mut state, mut queue) = State::new();
        // What is queued is drawn at once.
        let mut is_drawn = |is_watched: bool, seq: u64, us: u64| {
            take(&mut state, &dock, seq, &Now { us, is_watched }) && draw(&mut queue).is_some()
        };
        let mut now_us = 100 * SECOND_US;
        assert!(is_drawn(false, 0, now_us), "the first frame");
        now_us += SECOND_US;
        assert!(!is_drawn(false, 1, now_us), "nobody looks");
        assert!(is_drawn(false, 9, now_us), "the first that is rejected");
        now_us += SECOND_US;
        assert!(!is_drawn(false, 19, now_us));
        assert!(is_drawn(true, 20, now_us), "somebody looks");
        assert!(!is_drawn(true, 21, now_us + SECOND_US / 2));
        assert!(is_drawn(true, 22, now_us + SECOND_US));
        now_us += WATCHED_FOR_US;
        assert!(!is_drawn(false, 23, now_us), "they went");
        now_us += SECOND_US;
        let somebody = Now {
            us: now_us,
            is_watched: true,
        };
        assert!(state.collect("dock", &somebody), "and come again");
        assert_eq!(draw(&mut queue), Some(23), "the newest frame");
    }
}
