//! What every source keeps to, as one test that each of them runs through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use intakt_operators::Frame;

use super::{Clock, Next, STOP_WAIT_MAX, Source, StopFlag};

/// How long a source must stay silent to count as waiting.
const SILENCE: Duration = Duration::from_millis(60);
/// Troubles in a row after which a source is taken to have nothing else to say.
const TROUBLES_MAX: usize = 20;
/// A test's own patience: a source that hangs fails its test instead of hanging it.
const HANG: Duration = Duration::from_secs(30);

/// A source under test and what is known about it.
pub(super) struct Subject<'a> {
    /// Makes a source whose camera stands at its first frame. Called several times, each time as after a restart.
    pub(super) fresh: &'a dyn Fn() -> Box<dyn Source>,
    /// Frames that the camera has; at least 4. Then it is silent, or ends if it is one that `ends`.
    pub(super) frames: u64,
    /// Whether `Ended` follows the last frame.
    pub(super) ends: bool,
    /// Whether the same frames come again after a restart.
    pub(super) replayable: bool,
    /// Frames without bytes.
    pub(super) broken: &'a [u64],
    /// How many frames the newest source has taken from its camera, where that can be told.
    pub(super) taken: Option<&'a dyn Fn() -> u64>,
}

impl Subject<'_> {
    /// Panics with the clause that the source breaks.
    pub(super) fn complies(&self) {
        let frames = self.numbers_its_frames();
        self.stops();
        self.resumes(&frames);
    }

    /// From 0, without gaps, of its own camera, not running ahead, broken ones with their reason; then the end, for good.
    fn numbers_its_frames(&self) -> Vec<Frame> {
        let (mut source, stop) = ((self.fresh)(), StopFlag::default());
        let camera = source.camera().clone();
        let mut frames = Vec::new();
        for seq in 0..self.frames {
            let frame = frame(source.as_mut(), &stop);
            assert_eq!(frame.seq, seq, "frames are numbered without gaps");
            assert_eq!(frame.camera, camera, "every frame carries its camera");
            let broken = self.broken.contains(&seq);
            assert_eq!(
                frame.bytes.is_err(),
                broken,
                "frame {seq}: {:?}",
                frame.bytes.as_ref().err()
            );
            assert_ne!(
                frame.bytes.as_deref().err(),
                Some(&Arc::from("")),
                "a reason says something"
            );
            if let Some(taken) = self.taken {
                assert!(
                    taken() <= seq + 2,
                    "frame {seq} in hand, {} taken from the camera",
                    taken()
                );
            }
            frames.push(frame);
        }
        if self.ends {
            for _ in 0..3 {
                let next = source.next(&stop);
                assert!(matches!(next, Next::Ended), "ended for good, but {next:?}");
            }
        }
        frames
    }

    /// While it waits for a frame, and before the first.
    fn stops(&self) {
        let (mut source, stop) = ((self.fresh)(), StopFlag::default());
        if !self.ends {
            for _ in 0..self.frames {
                frame(source.as_mut(), &stop);
            }
            source = stopped_while_waiting(source, &stop);
        }
        stop.stop();
        let asked = Instant::now();
        assert!(matches!(source.next(&stop), Next::Ended), "a stopped source has ended");
        assert!(
            matches!((self.fresh)().next(&stop), Next::Ended),
            "also before its first frame"
        );
        assert!(asked.elapsed() <= 2 * STOP_WAIT_MAX, "took {:?}", asked.elapsed());
    }

    /// At the frame it is told, with the same frames if they can be had again.
    fn resumes(&self, before: &[Frame]) {
        let (mut source, stop) = ((self.fresh)(), StopFlag::default());
        source.resume_at(2);
        let left_out = if self.replayable { 2 } else { 0 };
        for seq in 2..2 + self.frames - left_out {
            let frame = frame(source.as_mut(), &stop);
            assert_eq!(frame.seq, seq, "resumed without gaps");
            if self.replayable {
                let same = &before[seq as usize];
                assert_eq!(frame.bytes, same.bytes, "frame {seq} differs after a restart");
                assert_eq!(frame.captured_at_us, same.captured_at_us);
                assert_eq!(frame.origin, same.origin);
            }
        }
        let mut beyond = (self.fresh)();
        beyond.resume_at(self.frames + 1);
        if self.ends {
            assert!(matches!(beyond.next(&stop), Next::Ended), "nothing lies beyond the end");
        }
    }
}

/// The next frame, whatever trouble comes before it.
pub(super) fn frame(source: &mut dyn Source, stop: &StopFlag) -> Frame {
    let mut troubles = Vec::new();
    while troubles.len() < TROUBLES_MAX {
        match source.next(stop) {
            Next::Frame(frame) => return frame,
            Next::Trouble(trouble) => troubles.push(trouble),
            Next::Dropped(dropped, _) => panic!("only a recording knows of drops: {dropped:?}"),
            Next::Control(control, _) => panic!("only a recording knows of controls: {control:?}"),
            Next::Ended => panic!("ended before its last frame, after {troubles:?}"),
        }
    }
    panic!("no frame, but {troubles:?}");
}

/// The next trouble; frames before it are an error.
pub(super) fn trouble(source: &mut dyn Source, stop: &StopFlag) -> String {
    match source.next(stop) {
        Next::Trouble(trouble) => trouble,
        other => panic!("a trouble was expected, not {other:?}"),
    }
}

/// Lets the source wait for a camera that is silent, and stops it. Gives the source back.
fn stopped_while_waiting(mut source: Box<dyn Source>, stop: &StopFlag) -> Box<dyn Source> {
    let (said, hears) = channel();
    let waiting = stop.clone();
    let thread = thread::spawn(move || {
        for _ in 0..TROUBLES_MAX {
            let next = source.next(&waiting);
            let ended = matches!(next, Next::Ended);
            said.send(next).expect("the test listens");
            if ended {
                break;
            }
        }
        source
    });
    let silent = loop {
        match hears.recv_timeout(SILENCE) {
            Err(RecvTimeoutError::Timeout) => break true,
            Ok(Next::Trouble(_)) => {}
            Ok(Next::Frame(_) | Next::Dropped(..) | Next::Control(..) | Next::Ended)
            | Err(RecvTimeoutError::Disconnected) => break false,
        }
    };
    assert!(silent, "a silent camera has nothing to say, and has not ended");
    stop.stop();
    let asked = Instant::now();
    while !matches!(hears.recv_timeout(HANG).expect("stops"), Next::Ended) {}
    assert!(asked.elapsed() <= STOP_WAIT_MAX, "took {:?} to stop", asked.elapsed());
    thread.join().expect("the source does not panic")
}

/// A clock that is a millisecond on whenever somebody looks.
#[derive(Default)]
pub(super) struct TickingClock(AtomicU64);

impl Clock for TickingClock {
    fn now_us(&self) -> u64 {
        self.0.fetch_add(1000, Ordering::Relaxed)
    }
}

mod existing {
    use super::super::{CameraStream, file_frames};
    use super::*;

    #[test]
    fn an_iterator_complies_and_is_not_read_ahead() {
        let taken = Arc::new(AtomicU64::new(0));
        let fresh = || {
            taken.store(0, Ordering::Relaxed);
            let counter = taken.clone();
            let camera: Arc<str> = "a".into();
            let frames = (0..6).map({
                let camera = camera.clone();
                move |seq| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    Frame {
                        camera: camera.clone(),
                        seq,
                        captured_at_us: seq * 7,
                        origin: "".into(),
                        bytes: if seq == 3 {
                            Err("broken".into())
                        } else {
                            Ok(Arc::from([seq as u8]))
                        },
                        recorded: None,
                    }
                }
            });
            let frames = Box::new(frames);
            Box::new(CameraStream { camera, frames }) as Box<dyn Source>
        };
        Subject {
            fresh: &fresh,
            frames: 6,
            ends: true,
            replayable: true,
            broken: &[3],
            taken: Some(&|| taken.load(Ordering::Relaxed)),
        }
        .complies();
    }

    #[test]
    fn a_directory_complies() {
        let folder = tempfile::tempdir().expect("a folder");
        let files: Vec<_> = (0..5).map(|n| (folder.path().join(format!("{n}.png")), None)).collect();
        for (path, _) in files.iter().filter(|(path, _)| !path.ends_with("1.png")) {
            std::fs::write(path, path.to_string_lossy().as_bytes()).expect("written");
        }
        let fresh = || Box::new(file_frames("a".into(), files.clone())) as Box<dyn Source>;
        Subject {
            fresh: &fresh,
            frames: 5,
            ends: true,
            replayable: true,
            broken: &[1],
            taken: None,
        }
        .complies();
    }
}
