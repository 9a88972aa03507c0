//! What a line sees of the stream itself: the latency that the dataflow adds, a camera that falls silent, overload, and a thousand
//! frames a second.
//!
//! Not criterion: cameras come in real time, and what counts is the slowest verdict in a hundred.

#[path = "support/idle.rs"]
#[allow(dead_code, reason = "other benches use more of it")]
mod idle;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use intakt_operators::dataflow::{JudgedFrame, Overflow, RatePlan};
use intakt_operators::detector::Detector;
use intakt_operators::{Frame, Outcome};
use intakt_pipelines::sinks::Sink;
use intakt_pipelines::sources::{Clock, Next, Source, StopFlag, SystemClock};
use intakt_pipelines::store::{Store, StoreOptions, StoreSink};
use intakt_pipelines::{Camera, Detectors, Figures, Inspection, InspectionReport, RunOptions, inspect};

#[expect(clippy::print_stdout, reason = "figures are what a bench is for")]
fn main() -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let mut within = true;
    for bar in [added_latency, silence, overload, thousand_a_second] {
        let bar = bar();
        let verdict = if bar.within { "within the bar" } else { "ABOVE THE BAR" };
        println!("streams/{}: {} ({verdict})", bar.name, bar.figures);
        within &= bar.within;
    }
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A figure and whether it is where it should be.
struct Bar {
    name: &'static str,
    figures: String,
    within: bool,
}

/// A live camera with a frame every `period`, which says nothing between two moments.
struct Ticking {
    camera: Arc<str>,
    bytes: Arc<[u8]>,
    period: Duration,
    frames: u64,
    silent: std::ops::Range<u64>,
    started: Option<Instant>,
    seq: u64,
    tick: u64,
}

impl Ticking {
    fn new(camera: String, period: Duration, frames: u64) -> Self {
        Self {
            camera: camera.as_str().into(),
            bytes: idle::bmp(64).into(),
            period,
            frames,
            silent: 0..0,
            started: None,
            seq: 0,
            tick: 0,
        }
    }
}

impl Source for Ticking {
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
        let started = *self.started.get_or_insert_with(Instant::now);
        loop {
            if self.tick == self.frames {
                return Next::Ended;
            }
            let due = started + self.period * u32::try_from(self.tick).expect("a short run");
            if stop.wait(due.saturating_duration_since(Instant::now())) {
                return Next::Ended;
            }
            self.tick += 1;
            if !self.silent.contains(&self.tick) {
                break;
            }
        }
        self.seq += 1;
        Next::Frame(Frame {
            camera: self.camera.clone(),
            seq: self.seq - 1,
            captured_at_us: SystemClock.now_us(),
            origin: "".into(),
            bytes: Ok(self.bytes.clone()),
            recorded: None,
        })
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constant bounds")
}

/// From capture to verdict, per camera; what became of frames.
#[derive(Default)]
struct Watched {
    latency_us: Mutex<BTreeMap<Arc<str>, Histogram<u64>>>,
    outcomes: AtomicU64,
    resident_mb: Mutex<Vec<f64>>,
}

impl Watched {
    fn percentile(&self, camera: impl Fn(&str) -> bool, share: f64) -> Duration {
        let all = self.latency_us.lock().expect("no panic");
        let mut histogram = histogram();
        for (_, latencies) in all.iter().filter(|(name, _)| camera(name)) {
            histogram.add(latencies).expect("the same bounds");
        }
        Duration::from_micros(histogram.value_at_quantile(share))
    }
}

impl Sink for Watched {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let us = SystemClock.now_us().saturating_sub(judged.verdict.captured_at_us);
        let mut latencies = self.latency_us.lock().expect("no panic");
        let of_camera = latencies.entry(judged.verdict.camera.clone()).or_insert_with(histogram);
        of_camera.saturating_record(us);
        Ok(())
    }

    fn outcome(&self, _: u64, _: &Outcome) -> Result<(), String> {
        let seen = self.outcomes.fetch_add(1, Ordering::Relaxed);
        if seen.is_multiple_of(50_000) {
            self.resident_mb.lock().expect("no panic").push(resident_mb());
        }
        Ok(())
    }
}

/// How far what is committed is behind the clock, looked at all the time while `run` goes on: a frontier that stands still shows.
fn behind_while<T>(store: &Path, run: impl FnOnce() -> T) -> (T, Duration) {
    let done = StopFlag::default();
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut behind_us = 0;
            while !done.wait(Duration::from_millis(10)) {
                let store = Store::open_read_only(store, StoreOptions::default()).expect("it is there");
                // At the very beginning time has not begun.
                if store.committed_frontier_us() > 0 {
                    behind_us = behind_us.max(SystemClock.now_us().saturating_sub(store.committed_frontier_us()));
                }
            }
            Duration::from_micros(behind_us)
        });
        let ran = run();
        done.stop();
        (ran, watching.join().expect("it looks on"))
    })
}

fn run(cameras: Vec<Camera>, detector: Detector, pool: usize) -> (Arc<Watched>, InspectionReport) {
    run_with(cameras, detector, pool, vec![], Figures::default())
}

fn run_with(
    cameras: Vec<Camera>,
    detector: Detector,
    pool: usize,
    mut sinks: Vec<Arc<dyn Sink>>,
    figures: Figures,
) -> (Arc<Watched>, InspectionReport) {
    let watched = Arc::new(Watched::default());
    let detectors = Arc::new(Detectors::common(detector));
    let options = RunOptions::new(1, pool).expect("the system gives threads");
    sinks.push(watched.clone());
    let inspection = Inspection {
        figures,
        ..Inspection::new(cameras, detectors, sinks)
    };
    let report = inspect(inspection, &options).expect("nothing fails");
    (watched, report)
}

/// Four cameras of fifteen frames a second, a minute long.
fn four_cameras(silent: std::ops::Range<u64>) -> Vec<Camera> {
    let camera = |idx: u64| {
        let mut camera = Ticking::new(format!("camera-{idx}"), Duration::from_micros(66_667), 900);
        if idx == 0 {
            camera.silent = silent.clone();
        }
        Camera::from(camera)
    };
    (0..4).map(camera).collect()
}

fn added_latency() -> Bar {
    let (watched, _) = run(four_cameras(0..0), idle::detector(), 2);
    let [p50, p99] = [0.5, 0.99].map(|share| watched.percentile(|_| true, share));
    Bar {
        name: "added latency, 4 cameras at 15 frames a second",
        figures: format!("p50 {p50:?}, p99 {p99:?}"),
        within: p50 < Duration::from_millis(1) && p99 < Duration::from_millis(5),
    }
}

fn silence() -> Bar {
    let (steady, _) = run(four_cameras(0..0), idle::detector(), 2);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.sqlite");
    let store = Store::create(&path, "silence", StoreOptions::default()).expect("a new store");
    let sink = Arc::new(StoreSink::start(store, BTreeMap::new(), vec![], None).expect("a thread"));
    let (watched, behind) = behind_while(&path, || {
        let cameras = four_cameras(300..330);
        run_with(cameras, idle::detector(), 2, vec![sink.clone()], Figures::default()).0
    });
    sink.finish(true).expect("all is committed");
    let others = |name: &str| name != "camera-0";
    let [before, with] = [&steady, &watched].map(|watched| watched.percentile(others, 0.99));
    // Idle timeout, lateness and a hop; a frame may be due for as long as its period, and the disk takes a moment.
    let bound = Duration::from_millis(500 + 100 + 1_000 + 67 + 50);
    Bar {
        name: "one of four cameras silent for 2 s",
        figures: format!(
            "p99 of the others {with:?}, without silence {before:?}; committed frontier at most {behind:?} behind, bound {bound:?}"
        ),
        within: with < before + Duration::from_millis(1) && behind <= bound,
    }
}

fn overload() -> Bar {
    const SERVICE: Duration = Duration::from_millis(10);
    let mut camera = Camera::from(Ticking::new("busy".to_owned(), SERVICE / 2, 6_000));
    camera.intake.overflow = Overflow::DropOldest;
    camera.intake.credit = Some(2);
    let frames_alive = (camera.intake.depth + 2) as u32;
    let before_mb = resident_mb();
    let (watched, report) = run(vec![camera], idle::busy_detector(SERVICE), 1);
    let account = &report.cameras["busy"];
    let p99 = watched.percentile(|_| true, 0.99);
    let bound = SERVICE * frames_alive;
    let grown_mb = resident_mb() - before_mb;
    Bar {
        name: "twice the capacity, drop-oldest",
        figures: format!(
            "captured {}, judged {}, dropped {}; p99 {p99:?}, (credit + depth) × service {bound:?}; {grown_mb:.1} MB grown",
            account.captured, account.judged, account.dropped
        ),
        within: p99 <= bound
            && account.captured == account.judged + account.dropped
            && account.dropped > 2_000
            && grown_mb < 20.0,
    }
}

fn thousand_a_second() -> Bar {
    const CAMERAS: u64 = 16;
    const FRAMES: u64 = 600_000;
    let camera = |idx: u64| {
        let mut stream = idle::stream(&format!("camera-{idx:02}"), FRAMES / CAMERAS, |_| ());
        let frames = std::mem::replace(&mut stream.frames, Box::new(std::iter::empty()));
        let bytes: Arc<[u8]> = idle::bmp(64).into();
        stream.frames = Box::new(frames.map(move |frame| Frame {
            bytes: Ok(bytes.clone()),
            captured_at_us: frame.seq * 16_000,
            ..frame
        }));
        Camera::from(stream)
    };
    // With windows that are full before memory is looked at.
    let figures = Figures {
        plan: RatePlan {
            windows_us: vec![60_000_000],
            ..Figures::default().plan
        },
        ..Figures::default()
    };
    let cameras = (0..CAMERAS).map(camera).collect();
    let (watched, report) = run_with(cameras, idle::detector(), 2, vec![], figures);
    let resident = watched.resident_mb.lock().expect("no panic").clone();
    let (first, last) = (resident[4], resident[resident.len() - 1]);
    let per_frame = Duration::from_secs_f64(report.seconds / FRAMES as f64);
    let dropped = report.total(|account| account.dropped);
    Bar {
        name: "1,000 frames a second from 16 cameras, 10 minutes of event time",
        figures: format!(
            "{:.0} frames a second, {per_frame:?} a frame; dropped {dropped}; resident {first:.1} MB after 200,000 frames, \
             {last:.1} MB at the end",
            FRAMES as f64 / report.seconds
        ),
        within: per_frame < Duration::from_millis(1) && dropped == 0 && last < first + 2.0,
    }
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0.0);
    pages * 4_096.0 / 1e6
}
