//! What every source keeps to, as one test that each of them runs through.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use intakt_operators::Frame;
use intakt_operators::dataflow::Overflow;

use super::accounting::{DEPTH, Run};
use super::{CameraStream, Clock, Next, STOP_WAIT_MAX, Source, StopFlag};

/// How long a source must stay silent to count as waiting. One that keeps to the clauses passes however slow the machine is.
pub(super) const SILENCE: Duration = Duration::from_millis(60);
/// Troubles in a row after which a source is taken to have nothing else to say.
const TROUBLES_MAX: usize = 20;
/// A test's own patience: a source that hangs fails its test instead of hanging it.
pub(super) const HANG: Duration = Duration::from_secs(30);

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
    /// How many frames a source has taken from its camera.
    pub(super) taken: Taken<'a>,
    /// Frames that it may have taken beyond those it has handed out, buffers of the system included; less than half of all.
    pub(super) ahead_max: u64,
}

/// How it is found out which frames a source has taken from its camera.
#[derive(Clone, Copy)]
pub(super) enum Taken<'a> {
    /// The camera counts those that it gave to the newest source.
    Counted(&'a dyn Fn() -> u64),
    /// What the camera still has is spoilt, until the next source is made: what comes whole after that was taken before.
    Spoilt(&'a dyn Fn()),
}

/// Counts what the newest source takes from its camera.
#[derive(Clone, Default)]
pub(super) struct Counter(Arc<Mutex<Arc<AtomicU64>>>);

impl Counter {
    /// Begins at 0 for a new source; what is counted for older ones is no longer seen.
    pub(super) fn anew(&self) -> Arc<AtomicU64> {
        let counted = Arc::<AtomicU64>::default();
        self.0.lock().expect("no panic").clone_from(&counted);
        counted
    }

    /// Where to count for the newest source.
    pub(super) fn newest(&self) -> Arc<AtomicU64> {
        self.0.lock().expect("no panic").clone()
    }

    /// What was counted for it so far.
    pub(super) fn count(&self) -> u64 {
        self.newest().load(Ordering::Relaxed)
    }
}

impl Subject<'_> {
    /// Panics with the clause that the source breaks.
    pub(super) fn complies(&self) {
        let frames = self.numbers_its_frames();
        self.holds_back(&frames);
        self.stops();
        self.resumes(&frames);
        self.drops_are_told();
        self.waits_for_its_taker();
    }

    /// From 0, without gaps, of its own camera, broken ones with their reason; then the end, for good.
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

    /// Before its first frame and after it, what it has taken from its camera is bounded: the rest waits there.
    fn holds_back(&self, before: &[Frame]) {
        assert!(2 * self.ahead_max < self.frames, "the camera is too small to tell");
        for in_hand in 0..3 {
            let (mut source, stop) = ((self.fresh)(), StopFlag::default());
            for _ in 0..in_hand {
                frame(source.as_mut(), &stop);
            }
            let taken = match self.taken {
                Taken::Counted(count) => settled(count, in_hand),
                Taken::Spoilt(spoil) => {
                    // Whoever reads ahead in the background has the time to.
                    stop.wait(SILENCE);
                    spoil();
                    let left = &before[in_hand as usize..];
                    let whole = left.iter().map(|before| {
                        frame(source.as_mut(), &stop)
                            .bytes
                            .is_ok_and(|bytes| before.bytes == Ok(bytes))
                    });
                    in_hand + whole.filter(|whole| *whole).count() as u64
                }
            };
            self.assert_bounded(taken, in_hand);
        }
    }

    fn assert_bounded(&self, taken: u64, in_hand: u64) {
        let (frames, taken_max) = (self.frames, in_hand + self.ahead_max);
        assert!(
            taken <= taken_max,
            "with {in_hand} frames handed out {taken} of {frames} were taken from the camera, at most {taken_max} may be"
        );
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

    /// Read by a thread that waits for nobody, every frame is taken or dropped, and none is both.
    fn drops_are_told(&self) {
        let run = self.run(Overflow::DropOldest);
        run.has_read(self.frames);
        let account = run.finish();
        let (taken, dropped) = (&account.taken, &account.dropped);
        assert_eq!(account.captured, self.frames, "every frame is captured");
        assert_eq!(
            account.captured,
            (taken.len() + dropped.len()) as u64,
            "captured = taken + dropped"
        );
        // When the last was read, one was taken, the queue was full, and the last was not in it yet.
        assert!(
            dropped.len() as u64 + DEPTH + 2 >= self.frames,
            "more frames wait than may"
        );
        assert!(taken.is_sorted() && dropped.is_sorted(), "{taken:?}, {dropped:?}");
        let mut all = [&taken[..], dropped].concat();
        all.sort_unstable();
        assert!(
            all.into_iter().eq(0..self.frames),
            "taken {taken:?}, dropped {dropped:?}"
        );
    }

    /// Where frames wait for a taker that has stalled, the queue is full, the next is in hand, and the rest stay in the camera.
    fn waits_for_its_taker(&self) {
        const READ: u64 = 1 + DEPTH + 1;
        let run = self.run(Overflow::Block);
        run.has_read(READ);
        assert!(run.is_held(), "more is read than may wait");
        if let Taken::Counted(count) = self.taken {
            self.assert_bounded(settled(count, READ), READ);
        }
        let account = run.finish();
        assert_eq!(account.captured, self.frames, "every frame is captured");
        assert!(account.taken.iter().copied().eq(0..self.frames), "{:?}", account.taken);
        assert!(account.dropped.is_empty(), "{:?} are dropped", account.dropped);
    }

    fn run(&self, overflow: Overflow) -> Run {
        let last = (!self.ends).then_some(self.frames - 1);
        Run::start((self.fresh)(), overflow, last)
    }
}

/// What is counted once it is at least `least` and no longer grows.
fn settled(count: &dyn Fn() -> u64, least: u64) -> u64 {
    let (pause, since) = (StopFlag::default(), Instant::now());
    let mut before = None;
    loop {
        let counted = count();
        if counted >= least && before == Some(counted) {
            return counted;
        }
        assert!(since.elapsed() < HANG, "only {counted} of {least} frames are counted");
        before = Some(counted);
        pause.wait(SILENCE);
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

/// Six frames, of which frame 3 is broken. They are counted as they are taken.
pub(super) fn counted_frames(counter: &Counter) -> CameraStream {
    let (camera, counted) = (Arc::<str>::from("a"), counter.anew());
    let name = camera.clone();
    let frames = (0..6).map(move |seq| {
        counted.fetch_add(1, Ordering::Relaxed);
        Frame {
            camera: name.clone(),
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
    });
    CameraStream {
        camera,
        frames: Box::new(frames),
    }
}

mod existing {
    use super::super::file_frames;
    use super::*;

    #[test]
    fn an_iterator_complies() {
        let counter = Counter::default();
        Subject {
            fresh: &|| Box::new(counted_frames(&counter)),
            frames: 6,
            ends: true,
            replayable: true,
            broken: &[3],
            taken: Taken::Counted(&|| counter.count()),
            ahead_max: 1,
        }
        .complies();
    }

    #[test]
    fn a_directory_complies() {
        let folder = tempfile::tempdir().expect("a folder");
        let files: Vec<_> = (0..5).map(|n| (folder.path().join(format!("{n}.png")), None)).collect();
        let write = |what: &str| {
            for (path, _) in files.iter().filter(|(path, _)| !path.ends_with("1.png")) {
                std::fs::write(path, format!("{what} {}", path.display())).expect("written");
            }
        };
        let fresh = || {
            write("whole");
            Box::new(file_frames("a".into(), files.clone())) as Box<dyn Source>
        };
        Subject {
            fresh: &fresh,
            frames: 5,
            ends: true,
            replayable: true,
            broken: &[1],
            taken: Taken::Spoilt(&|| write("spoilt")),
            ahead_max: 1,
        }
        .complies();
    }
}
