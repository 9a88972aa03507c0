//! The live table: a line per camera that follows the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use intakt_operators::Decision;
use intakt_operators::dataflow::{JudgedFrame, Rate, Scope, WINDOWS_US, Window};
use intakt_pipelines::sinks::Sink;

use crate::terminal;

/// Frames of all cameras between two plain lines, where nobody watches a terminal.
const PLAIN_EVERY: u64 = 90;

/// Shows frames, rejects, the reject rate of the last minute and the latency of every camera.
pub(crate) struct LiveTable {
    rows: Mutex<BTreeMap<Arc<str>, Row>>,
    screen: MultiProgress,
    watched: bool,
    frames: u64,
}

#[derive(Default)]
struct Row {
    frames: u64,
    rejects: u64,
    last_minute: Option<f64>,
    latency_ms: f64,
    bar: Option<ProgressBar>,
}

impl LiveTable {
    /// A table of cameras with `frames` frames each.
    pub(crate) fn new(frames: u64) -> Self {
        let (screen, watched) = (MultiProgress::new(), terminal::is_watched());
        let header = format!(
            "{:10}{:>8}{:>9}{:>13}{:>13}",
            "camera", "frames", "rejects", "last minute", "latency"
        );
        if watched {
            let _ = screen.println(header);
        } else {
            terminal::say(&header);
        }
        Self {
            rows: Mutex::default(),
            screen,
            watched,
            frames,
        }
    }

    /// Takes the table off the screen; the report follows.
    pub(crate) fn finish(&self) {
        for row in self.rows.lock().unwrap_or_else(PoisonError::into_inner).values() {
            if let Some(bar) = &row.bar {
                bar.finish();
            }
        }
    }

    fn show(&self, camera: &str, row: &mut Row) {
        let line = row.line(camera);
        if !self.watched {
            if row.frames.is_multiple_of(PLAIN_EVERY / 3) {
                terminal::say(&line);
            }
            return;
        }
        let bar = row.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg} {bar:24} {pos}/{len}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            self.screen.add(ProgressBar::new(self.frames).with_style(style))
        });
        bar.set_position(row.frames);
        bar.set_message(line);
    }
}

impl Row {
    fn line(&self, camera: &str) -> String {
        let rate = self
            .last_minute
            .map_or("–".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
        format!(
            "{camera:10}{:>8}{:>9}{rate:>13}{:>10.1} ms",
            self.frames, self.rejects, self.latency_ms
        )
    }
}

impl Sink for LiveTable {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(judged.verdict.camera.clone()).or_default();
        row.frames += 1;
        row.rejects += u64::from(judged.verdict.decision == Decision::Reject);
        if let Some(found) = &judged.evidence {
            row.latency_ms = found.scored.frame.admitted_at.elapsed().as_secs_f64() * 1e3;
        }
        self.show(&judged.verdict.camera, row);
        Ok(())
    }

    fn rate(&self, rate: &Rate) -> Result<(), String> {
        let last_minute = Window::Sliding {
            length_us: WINDOWS_US[0],
        };
        if rate.key.window == last_minute
            && let Scope::Camera(camera) = &rate.key.scope
        {
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.entry(camera.clone()).or_default().last_minute = rate.after.reject_rate();
        }
        Ok(())
    }
}
