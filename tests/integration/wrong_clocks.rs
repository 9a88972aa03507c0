//! Live cameras whose clocks jump, through the pipeline itself: their frames are logged while they come, and a replay repeats it.

use std::sync::Arc;
use std::time::Duration;

use intakt_operators::{Frame, Outcome};
use intakt_pipelines::recording::{Recorder, RecorderOptions, Recording};
use intakt_pipelines::sinks::{LiveBoard, Sink};
use intakt_pipelines::sources::{Next, ReplayOptions, Source, StopFlag, SystemClock, recorded_cameras};
use intakt_pipelines::{Camera, Detectors, Inspection, InspectionReport, Intake, RunOptions, inspect};
use tempfile::tempdir;

use crate::idle;
use crate::unruly::{Lines, idle_images, run};

const HOUR: i64 = 3_600_000_000;

/// How often a camera sends a frame.
const EVERY: Duration = Duration::from_millis(10);

/// The frame at which clocks jump: by then a camera that sent one frame has been silent for too long.
const JUMPS_AT: u64 = 60;

/// A live camera that sends `frames` frames and then nothing, until the run ends. Its clock is off by what `off_us` says of a frame.
struct WrongClock {
    camera: Arc<str>,
    image: Arc<[u8]>,
    seq: u64,
    frames: u64,
    off_us: fn(u64) -> i64,
}

impl WrongClock {
    fn camera(camera: &str, frames: u64, off_us: fn(u64) -> i64) -> Camera {
        Camera::from(Self {
            camera: camera.into(),
            image: idle_images().remove(0),
            seq: 0,
            frames,
            off_us,
        })
    }
}

impl Source for WrongClock {
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
        let pause = if self.seq < self.frames {
            EVERY
        } else {
            Duration::from_secs(3_600)
        };
        if stop.wait(pause) {
            return Next::Ended;
        }
        let seq = self.seq;
        self.seq += 1;
        let right_us = 10 * HOUR as u64 + seq * EVERY.as_micros() as u64;
        Next::Frame(Frame {
            camera: self.camera.clone(),
            seq,
            captured_at_us: right_us.saturating_add_signed((self.off_us)(seq)),
            origin: "".into(),
            bytes: Ok(self.image.clone()),
            recorded: None,
        })
    }
}

/// Ends the run when a frame of the dock that came well after the jump is logged: without time that goes on it would never end.
struct EndsWhenLogged(StopFlag);

impl Sink for EndsWhenLogged {
    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        if &**outcome.camera() == "dock" && outcome.seq() == 2 * JUMPS_AT {
            self.0.stop();
        }
        Ok(())
    }
}

/// Inspects and records until the dock's frames are logged, replays that and compares; the troubles that were told.
fn recorded_and_replayed(cameras: Vec<Camera>, workers: usize) -> (InspectionReport, Vec<String>) {
    let dir = tempdir().unwrap();
    let recorder = Arc::new(Recorder::start(dir.path(), RecorderOptions::default()).unwrap());
    let (stop, lines, options) = (
        StopFlag::default(),
        Arc::new(Lines::default()),
        RunOptions::new(workers, 1).unwrap(),
    );
    let board = Arc::new(LiveBoard::new(
        [],
        options.resources.latencies.clone(),
        stop.clone(),
        Arc::new(SystemClock),
    ));
    let sinks: Vec<Arc<dyn Sink>> = vec![lines.clone(), board.clone(), Arc::new(EndsWhenLogged(stop.clone()))];
    let inspection = Inspection {
        stop,
        recorder: Some(recorder.clone()),
        ..Inspection::new(cameras, Arc::new(Detectors::common(idle::detector())), sinks)
    };
    let report = inspect(inspection, &options).unwrap();
    assert_eq!(recorder.finish().frames_unwritten(), 0);
    let recording = Recording::open(dir.path()).unwrap();
    let (sources, _) = recorded_cameras(
        &recording,
        ReplayOptions::default(),
        Arc::new(|_| Ok(None)),
        &StopFlag::default(),
    )
    .unwrap();
    let replayed = sources.into_iter().map(|source| Camera {
        intake: Intake::REPLAY,
        ..Camera::from(source)
    });
    let (again, rates_again, _) = run(replayed.collect(), idle::detector(), 1, 2, None);
    let outcomes = lines.outcomes.lock().unwrap();
    assert!(again == *outcomes, "{workers} workers: other outcomes");
    assert!(
        rates_again == *lines.rates.lock().unwrap(),
        "{workers} workers: other rates"
    );
    let status = board.status();
    let troubles = status.cameras.into_iter().filter_map(|camera| camera.last_trouble);
    (report, troubles.map(|trouble| trouble.reason).collect())
}

fn all_logged(report: &InspectionReport) {
    let dock = &report.cameras["dock"];
    assert!(dock.captured > 2 * JUMPS_AT, "{dock:?}");
    assert_eq!(dock.judged + dock.unreadable + dock.dropped, dock.captured);
}

#[test]
fn one_frame_an_hour_ahead_does_not_stop_the_log_while_the_other_camera_is_silent() {
    // With two workers each has one of the cameras.
    for workers in [1, 2] {
        let jumps = |seq| if seq == JUMPS_AT { HOUR } else { 0 };
        let cameras = vec![
            WrongClock::camera("gate", 1, |_| 0),
            WrongClock::camera("dock", u64::MAX, jumps),
        ];
        let (report, troubles) = recorded_and_replayed(cameras, workers);
        all_logged(&report);
        assert!(
            troubles.len() == 1 && troubles[0].contains("3600 s ahead"),
            "{troubles:?}"
        );
    }
}

#[test]
fn what_the_only_camera_sends_is_logged_whatever_its_clock_does() {
    for (off_us, said) in [
        (
            (|seq| if seq < JUMPS_AT { 0 } else { -HOUR }) as fn(u64) -> i64,
            "3600 s behind",
        ),
        (|seq| if seq == JUMPS_AT { HOUR } else { 0 }, "3600 s behind"),
    ] {
        let cameras = vec![WrongClock::camera("dock", u64::MAX, off_us)];
        let (report, troubles) = recorded_and_replayed(cameras, 1);
        all_logged(&report);
        assert!(troubles.len() == 1 && troubles[0].contains(said), "{troubles:?}");
    }
}
