//! Half an hour of a busy line: memory and latency must be at the end what they were at the beginning.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};
use intakt_operators::dataflow::{JudgedFrame, Overflow};
use intakt_operators::{Frame, Label, Outcome, Truth};
use intakt_pipelines::sinks::Sink;
use intakt_pipelines::sources::{Next, Source, StopFlag};
use intakt_pipelines::store::{Store, StoreOptions, StoreSink};
use intakt_pipelines::{Camera, Controls, Detectors, Figures, Inspection, RunOptions, inspect};
use tempfile::tempdir;

use crate::idle;

/// Length of the soak in seconds; the environment may ask for another.
const SECONDS: u64 = 1_800;
const CAMERAS: u64 = 4;
const FRAMES_PER_SECOND: u64 = 50;
/// Longest window, and for how long labels can correct it: a third of the soak sees both full.
const WINDOW_US: u64 = 300_000_000;

/// A live camera at its pace; each second a few frames come late, some are broken.
struct Busy {
    camera: Arc<str>,
    good: Arc<[u8]>,
    started: Instant,
    seq: u64,
    end: Instant,
}

impl Source for Busy {
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
        let since = Duration::from_micros(self.seq * 1_000_000 / FRAMES_PER_SECOND);
        let due = self.started + since;
        if stop.wait(due.saturating_duration_since(Instant::now())) || Instant::now() >= self.end {
            return Next::Ended;
        }
        let seq = self.seq;
        self.seq += 1;
        let late_us = if seq % 50 == 49 { 400_000 } else { 0 };
        Next::Frame(Frame {
            camera: self.camera.clone(),
            seq,
            captured_at_us: 10_000_000 + since.as_micros() as u64 - late_us,
            origin: "".into(),
            bytes: Ok(if seq.is_multiple_of(97) {
                Arc::from(*b"torn")
            } else {
                self.good.clone()
            }),
            recorded: None,
        })
    }
}

/// Every how many frames somebody says what one truly is, and how many frames later.
const LABELLED_EVERY: u64 = 10;
const LABELLED_LATER: u64 = 100;

/// Per second: the slowest verdict, milliseconds, and resident memory, megabytes. Says what frames truly are.
struct Samples {
    started: Instant,
    seconds: Mutex<Vec<(f64, f64)>>,
    controls: OnceLock<Controls>,
    labels: AtomicU64,
}

impl Sink for Samples {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let Some(found) = &judged.evidence else { return Ok(()) };
        let ms = found.scored.frame.admitted_at.elapsed().as_secs_f64() * 1e3;
        let second = self.started.elapsed().as_secs() as usize;
        let mut seconds = self.seconds.lock().unwrap();
        if second >= seconds.len() {
            seconds.resize(second + 1, (0.0, resident_mb()));
        }
        seconds[second].0 = seconds[second].0.max(ms);
        Ok(())
    }

    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        let earlier = outcome.seq().checked_sub(LABELLED_LATER);
        let Some(seq) = earlier.filter(|seq| seq.is_multiple_of(LABELLED_EVERY)) else {
            return Ok(());
        };
        let label = Label {
            camera: outcome.camera().clone(),
            seq,
            captured_at_us: 10_000_000 + seq * 1_000_000 / FRAMES_PER_SECOND,
            truth: match seq % (5 * LABELLED_EVERY) {
                0 => Some(Truth::Anomalous("scratch".into())),
                _ => Some(Truth::Normal),
            },
        };
        let controls = self.controls.get().ok_or("nobody hears labels")?;
        controls.label(self.labels.fetch_add(1, Ordering::Relaxed), label)
    }
}

#[test]
#[ignore = "half an hour: INTAKT_SOAK_SECONDS asks for less"]
fn memory_and_latency_stay_where_they_were() {
    let seconds = std::env::var("INTAKT_SOAK_SECONDS")
        .ok()
        .and_then(|typed| typed.parse().ok());
    let seconds: u64 = seconds.unwrap_or(SECONDS);
    let dir = tempdir().unwrap();
    let store = Store::create(&dir.path().join("run.sqlite"), "soak", StoreOptions::default()).unwrap();
    let kept = StoreSink::start(store, Default::default(), Vec::new(), None).unwrap();
    let kept = Arc::new(kept);
    let started = Instant::now();
    let samples = Arc::new(Samples {
        started,
        seconds: Mutex::default(),
        controls: OnceLock::new(),
        labels: AtomicU64::new(0),
    });
    let camera = |idx| {
        let mut camera = Camera::from(Busy {
            camera: format!("camera-{idx}").as_str().into(),
            good: idle::bmp(64).into(),
            started,
            seq: 0,
            end: started + Duration::from_secs(seconds),
        });
        camera.intake.overflow = Overflow::DropOldest;
        camera
    };
    let mut figures = Figures::labelled();
    figures.plan.windows_us = vec![60_000_000, WINDOW_US];
    figures.plan.horizon_us = WINDOW_US;
    let cameras: Vec<Camera> = (0..CAMERAS).map(camera).collect();
    let detectors = Arc::new(Detectors::common(idle::detector()));
    let controls = Controls::new(&cameras, Some(detectors.clone()));
    assert!(samples.controls.set(controls).is_ok());
    let inspection = Inspection {
        figures,
        ..Inspection::new(cameras, detectors, vec![samples.clone(), kept.clone()])
    };
    let report = inspect(inspection, &RunOptions::new(1, 2).unwrap()).unwrap();
    kept.finish(true).unwrap();
    let store = Store::open_read_only(&dir.path().join("run.sqlite"), StoreOptions::default()).unwrap();
    let corrected = store
        .metrics()
        .filter(|metric| metric.as_ref().unwrap().revision > 0)
        .count();
    assert!(corrected > 0, "labels correct full minutes");
    let samples = samples.seconds.lock().unwrap().clone();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak.png");
    plot(&samples).save(&out).unwrap();
    let captured = report.total(|account| account.captured);
    assert!(
        captured >= CAMERAS * FRAMES_PER_SECOND * (seconds - 1),
        "{captured} frames"
    );
    // After a third of it the windows and their horizon are full, and nothing may grow any more.
    let tenth = samples.len() / 10;
    let (early, late) = (&samples[4 * tenth..5 * tenth], &samples[samples.len() - tenth..]);
    let median = |part: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = part.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let [mb_early, mb_late] = [early, late].map(|part| median(part, |(_, mb)| *mb));
    let [ms_early, ms_late] = [early, late].map(|part| median(part, |(ms, _)| *ms));
    assert!(
        mb_late < 1.1 * mb_early + 2.0,
        "{mb_early:.1} MB, then {mb_late:.1} MB: {}",
        out.display()
    );
    assert!(
        ms_late < 2.0 * ms_early + 5.0,
        "{ms_early:.1} ms, then {ms_late:.1} ms: {}",
        out.display()
    );
}

type Of = fn(&(f64, f64)) -> f64;

/// Memory above, the slowest verdict of each second below.
fn plot(samples: &[(f64, f64)]) -> RgbImage {
    const WIDTH: u32 = 900;
    const PANEL: u32 = 260;
    let mut picture = RgbImage::from_pixel(WIDTH, 2 * PANEL, Rgb([255; 3]));
    let panels: [(&str, Of); 2] = [
        ("resident memory, MB", |(_, mb)| *mb),
        ("slowest verdict of each second, ms", |(ms, _)| *ms),
    ];
    for (panel, (title, of)) in panels.into_iter().enumerate() {
        let top = panel as u32 * PANEL;
        let highest = samples.iter().map(of).fold(1e-9, f64::max);
        let (left, right, low, high) = (60, WIDTH - 20, top + PANEL - 40, top + 40);
        for x in left..right {
            picture.put_pixel(x, low, Rgb([0; 3]));
        }
        for y in high..low {
            picture.put_pixel(left, y, Rgb([0; 3]));
        }
        let place = |idx: usize| {
            let x = left + (f64::from(right - left - 1) * idx as f64 / samples.len() as f64) as u32;
            (x, low - (f64::from(low - high) * of(&samples[idx]) / highest) as u32)
        };
        for idx in 1..samples.len() {
            let ((x, y), (next_x, next_y)) = (place(idx - 1), place(idx));
            for x in x..next_x.max(x + 1) {
                for y in y.min(next_y)..=y.max(next_y) + 1 {
                    picture.put_pixel(x, y, Rgb([30, 90, 200]));
                }
            }
        }
        write(&mut picture, title, left, top + 14);
        write(&mut picture, &format!("{highest:.1}"), 4, high);
        write(&mut picture, "0", 44, low - 8);
        write(&mut picture, &format!("{} s", samples.len()), right - 60, low + 10);
    }
    picture
}

fn write(picture: &mut RgbImage, text: &str, left: u32, top: u32) {
    for (idx, letter) in text.chars().enumerate() {
        let Some(rows) = font8x8::BASIC_FONTS.get(letter) else {
            continue;
        };
        for (y, row) in (0..).zip(rows) {
            for x in (0..8).filter(|x| row >> x & 1 == 1) {
                let (x, y) = (left + 8 * idx as u32 + x, top + y);
                if x < picture.width() && y < picture.height() {
                    picture.put_pixel(x, y, Rgb([40; 3]));
                }
            }
        }
    }
}

fn resident_mb() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0.0);
    pages * 4_096.0 / 1e6
}
