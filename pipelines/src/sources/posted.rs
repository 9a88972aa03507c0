//! Frames that somebody hands over one by one, for example over HTTP.

use std::sync::Arc;

use intakt_operators::Frame;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::source::LOOK_EVERY;
use super::{Clock, Next, Source, StopFlag};

/// Where posted frames come from, as verdicts name it.
const ORIGIN: &str = "posted";

/// Is told the position of a frame in its camera's stream, before the frame goes on its way, and says whether it may: otherwise it
/// is withdrawn, and the next one gets its position. Dropped without being told if the run ends first.
pub type OnNumbered = Box<dyn FnOnce(u64) -> bool + Send>;

/// Hands frames to the source of one camera. One frame waits between the two; who hands over the next one waits with it, so
/// that what becomes of it is the camera's overflow policy's affair.
#[derive(Clone)]
pub struct Poster {
    camera: Arc<str>,
    postings: Sender<Posting>,
    clock: Arc<dyn Clock>,
}

/// A camera whose frames are handed over by its [`Poster`]s. It ends when they are all gone.
pub struct Posted {
    camera: Arc<str>,
    origin: Arc<str>,
    postings: Receiver<Posting>,
    runtime: Runtime,
    seq: u64,
}

/// The camera takes no further frames, because the run is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLongerTaken;

struct Posting {
    bytes: Arc<[u8]>,
    captured_at_us: u64,
    numbered: OnNumbered,
}

/// A camera, and how its frames are handed over. `clock` tells the event time of frames that are posted without one.
///
/// # Errors
/// A sentence, if the system gives no event loop.
pub fn posted(camera: Arc<str>, clock: Arc<dyn Clock>) -> Result<(Poster, Posted), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| format!("cannot start an event loop: {error}"))?;
    let (sender, receiver) = channel(1);
    let poster = Poster {
        camera: camera.clone(),
        postings: sender,
        clock,
    };
    let posted = Posted {
        camera,
        origin: ORIGIN.into(),
        postings: receiver,
        runtime,
        seq: 0,
    };
    Ok((poster, posted))
}

impl Poster {
    /// Name of the camera.
    pub fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    /// Hands over an encoded image, and waits while the one before it is not taken. Its event time, microseconds, is now
    /// unless it is given.
    ///
    /// # Errors
    /// The run is ending. It may also end when the frame was handed over: then `numbered` is dropped.
    pub async fn post(
        &self,
        bytes: Arc<[u8]>,
        captured_at_us: Option<u64>,
        numbered: OnNumbered,
    ) -> Result<(), NoLongerTaken> {
        let posting = Posting {
            bytes,
            captured_at_us: captured_at_us.unwrap_or_else(|| self.clock.now_us()),
            numbered,
        };
        self.postings.send(posting).await.map_err(|_| NoLongerTaken)
    }
}

impl Source for Posted {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    fn is_live(&self) -> bool {
        true
    }

    fn resume_at(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        while !stop.is_stopped() {
            let postings = &mut self.postings;
            let received = async { tokio::time::timeout(LOOK_EVERY, postings.recv()).await };
            let posting = match self.runtime.block_on(received) {
                Ok(Some(posting)) => posting,
                Ok(None) => break,
                Err(_) => continue,
            };
            let seq = self.seq;
            if !(posting.numbered)(seq) {
                continue;
            }
            self.seq += 1;
            return Next::Frame(Frame {
                camera: self.camera.clone(),
                seq,
                captured_at_us: posting.captured_at_us,
                origin: self.origin.clone(),
                bytes: Ok(posting.bytes),
                recorded: None,
            });
        }
        Next::Ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::super::compliance::{Counter, Subject, Taken, TickingClock, frame};
    use super::*;

    fn camera() -> (Poster, Posted) {
        posted("dock".into(), Arc::new(TickingClock::default())).expect("an event loop")
    }

    /// Posts one-byte frames from a thread of its own, which tells the numbers they are given.
    fn post(poster: Poster, bytes: &'static [u8], captured_at_us: Option<u64>) -> mpsc::Receiver<u64> {
        post_counted(poster, bytes, captured_at_us, Arc::default())
    }

    /// The same, and counts those that it could hand over.
    fn post_counted(
        poster: Poster,
        bytes: &'static [u8],
        captured_at_us: Option<u64>,
        counted: Arc<AtomicU64>,
    ) -> mpsc::Receiver<u64> {
        let (tell, numbers) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            for byte in bytes {
                let tell = tell.clone();
                let numbered = Box::new(move |seq| tell.send(seq).is_ok());
                let posted = runtime.block_on(poster.post(Arc::from([*byte]), captured_at_us, numbered));
                if posted.is_err() {
                    break;
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        numbers
    }

    #[test]
    fn a_posted_camera_complies() {
        let (posters, numbers) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let counter = Counter::default();
        let fresh = || {
            let (poster, posted) = camera();
            // Kept, because a camera without posters ends.
            posters.lock().expect("no panic").push(poster.clone());
            let numbered = post_counted(poster, b"0123", None, counter.anew());
            numbers.lock().expect("no panic").push(numbered);
            Box::new(posted) as Box<dyn Source>
        };
        Subject {
            fresh: &fresh,
            frames: 4,
            ends: false,
            replayable: false,
            broken: &[],
            taken: Taken::Counted(&|| counter.count()),
            // It waits between the poster and the source.
            ahead_max: 1,
        }
        .complies();
    }

    #[test]
    fn whoever_posts_is_told_the_number() {
        let (poster, mut source) = camera();
        source.resume_at(7);
        let numbers = post(poster, b"ab", Some(5_000));
        let stop = StopFlag::default();
        for (seq, byte) in [(7, b'a'), (8, b'b')] {
            let frame = frame(&mut source, &stop);
            assert_eq!((frame.seq, frame.captured_at_us), (seq, 5_000));
            assert_eq!(frame.bytes.as_deref(), Ok(&[byte][..]));
            assert_eq!(numbers.recv(), Ok(seq));
        }
        assert!(matches!(source.next(&stop), Next::Ended), "no poster is left");
    }

    #[test]
    fn a_frame_that_nobody_wants_any_more_leaves_its_number_to_the_next() {
        let (poster, mut source) = camera();
        drop(post(poster.clone(), b"a", None));
        let stop = StopFlag::default();
        let waiting = thread::spawn(move || frame(&mut source, &stop));
        let numbers = post(poster, b"b", None);
        let frame = waiting.join().expect("a frame");
        assert_eq!((frame.seq, frame.bytes.as_deref()), (0, Ok(&b"b"[..])));
        assert_eq!(numbers.recv(), Ok(0));
    }

    #[test]
    fn a_frame_that_was_not_taken_when_the_run_ends_is_told() {
        let (poster, source) = camera();
        let numbers = post(poster, b"abc", None);
        drop(source);
        assert!(numbers.recv().is_err(), "never numbered, and nobody waits");
    }
}
