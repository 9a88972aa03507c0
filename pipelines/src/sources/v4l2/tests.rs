use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::compliance::{Counter, Subject, Taken, TickingClock, frame, trouble};
use super::reader::{Picture, Sending};
use super::*;

/// What a simulated driver does, one after the other; then its camera is silent.
type Script = VecDeque<Result<Option<Picture>, String>>;

/// A camera with that driver.
struct Simulated {
    script: Script,
    waits: StopFlag,
    /// Counts the pictures that were taken from it.
    counted: Arc<AtomicU64>,
}

impl Sending for Simulated {
    fn picture(&mut self, longest: Duration) -> Result<Option<Picture>, String> {
        let next = self.script.pop_front().unwrap_or_else(|| {
            self.waits.wait(longest);
            Ok(None)
        });
        if matches!(next, Ok(Some(_))) {
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
        next
    }
}

fn pictures(texts: &[&str]) -> Script {
    texts
        .iter()
        .map(|text| Ok(Some(Ok(text.as_bytes().to_vec()))))
        .collect()
}

/// Tries again at once, and gives up a silent camera soon.
fn options() -> V4l2Options {
    V4l2Options {
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(5),
        silence_max: Duration::from_millis(200),
        ..V4l2Options::default()
    }
}

/// A camera whose tries to open it end as told; those after them find no camera.
fn camera(tries: Vec<Result<Script, String>>, options: V4l2Options) -> V4l2 {
    counted_camera(tries, options, Arc::default())
}

/// The same, which counts the pictures that are taken from its driver.
fn counted_camera(tries: Vec<Result<Script, String>>, options: V4l2Options, counted: Arc<AtomicU64>) -> V4l2 {
    let tries = Mutex::new(VecDeque::from(tries));
    let open = move || -> Result<Box<dyn Sending>, String> {
        let next = tries.lock().expect("no panic").pop_front();
        let script = next.unwrap_or_else(|| Err("no camera".into()))?;
        Ok(Box::new(Simulated {
            script,
            waits: StopFlag::default(),
            counted: counted.clone(),
        }))
    };
    let clock = Arc::new(TickingClock::default());
    V4l2::opened_by(Arc::new(open), "gate".into(), "/dev/video7".into(), options, clock)
}

#[test]
fn a_device_camera_complies() {
    let patient = V4l2Options {
        silence_max: Duration::from_secs(60),
        ..options()
    };
    let counter = Counter::default();
    let fresh = || -> Box<dyn Source> {
        let mut script = pictures(&["a", "b", "c"]);
        script.insert(1, Ok(None));
        script.insert(2, Ok(Some(Err("damaged".into()))));
        Box::new(counted_camera(vec![Ok(script)], patient, counter.anew()))
    };
    assert!(fresh().is_live());
    Subject {
        fresh: &fresh,
        frames: 4,
        ends: false,
        replayable: false,
        broken: &[1],
        taken: Taken::Counted(&|| counter.count()),
        // The one that the driver's thread has in hand.
        ahead_max: 1,
    }
    .complies();
}

#[test]
fn a_camera_is_opened_again_after_whatever_ends_it() {
    let mut unplugged = pictures(&["a"]);
    unplugged.push_back(Err("cannot take a picture: No such device".into()));
    let gone = || Err("cannot open the camera: No such file".to_owned());
    let silent = pictures(&["b"]);
    let tries = vec![
        gone(),
        gone(),
        Ok(unplugged),
        gone(),
        gone(),
        Ok(silent),
        Ok(pictures(&["c"])),
    ];
    let (mut source, stop) = (camera(tries, options()), StopFlag::default());
    source.resume_at(7);
    let mut said = Vec::new();
    while said.len() < 7 {
        said.push(match source.next(&stop) {
            Next::Frame(frame) => {
                assert_eq!(&*frame.origin, "/dev/video7");
                let bytes = frame.bytes.expect("whole");
                format!("{} {}", frame.seq, String::from_utf8_lossy(&bytes))
            }
            Next::Trouble(trouble) => trouble,
            other => panic!("{other:?}"),
        });
    }
    let expected = [
        "cannot open the camera: No such file; next try in 0.0 s",
        "7 a",
        "cannot take a picture: No such device; next try in 0.0 s",
        "cannot open the camera: No such file; next try in 0.0 s",
        "8 b",
        "the camera was silent for 0.2 s; next try in 0.0 s",
        "9 c",
    ];
    assert_eq!(said, expected, "told once, tried again");
}

#[test]
fn event_time_is_the_clocks() {
    let (mut source, stop) = (camera(vec![Ok(pictures(&["a", "b"]))], options()), StopFlag::default());
    let times = [frame(&mut source, &stop), frame(&mut source, &stop)].map(|frame| frame.captured_at_us);
    assert_eq!(times, [0, 1000]);
}

#[test]
fn a_device_that_does_not_exist_is_told_once_and_tried_until_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("video0");
    let clock = Arc::new(TickingClock::default());
    let mut source = V4l2::new("gate".into(), &path, options(), clock).expect("a path");
    let stop = StopFlag::default();
    let told = trouble(&mut source, &stop);
    assert!(told.starts_with("cannot open the camera: No such file"), "{told}");
    // Not told again however often it is tried, until something else is wrong.
    std::fs::write(&path, "no camera").expect("written");
    let told = trouble(&mut source, &stop);
    assert!(told.starts_with("cannot ask the camera for its format: "), "{told}");
    stop.stop();
    assert!(matches!(source.next(&stop), Next::Ended));
}

#[test]
fn a_driver_that_hangs_is_told_once_and_holds_up_nobody() {
    let hangs = StopFlag::default();
    let hanging = hangs.clone();
    let open = move || -> Result<Box<dyn Sending>, String> {
        hanging.wait(Duration::from_secs(600));
        Err("it went on".into())
    };
    let impatient = V4l2Options {
        silence_max: Duration::from_millis(20),
        ..options()
    };
    let clock = Arc::new(TickingClock::default());
    let mut source = V4l2::opened_by(Arc::new(open), "gate".into(), "".into(), impatient, clock);
    let stop = StopFlag::default();
    let told = trouble(&mut source, &stop);
    assert!(told.starts_with("the driver of the camera does not answer"), "{told}");
    hangs.stop();
    let told = trouble(&mut source, &stop);
    assert!(told.starts_with("it went on"), "{told}");
}

#[test]
fn a_panic_while_reading_is_a_trouble() {
    let open = || -> Result<Box<dyn Sending>, String> { panic!("no such colour space") };
    let clock = Arc::new(TickingClock::default());
    let mut source = V4l2::opened_by(Arc::new(open), "gate".into(), "".into(), options(), clock);
    let told = trouble(&mut source, &StopFlag::default());
    assert!(told.starts_with("the driver of the camera failed"), "{told}");
}

#[test]
fn a_path_with_a_zero_byte_is_refused() {
    let clock = Arc::new(TickingClock::default());
    let made = V4l2::new("gate".into(), Path::new("/dev/video\0"), options(), clock);
    assert!(made.is_err());
}
