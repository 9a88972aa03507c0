//! Progress bars on a terminal, plain lines elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use intakt_pipelines::Progress;

use crate::terminal;

/// Shows how far a pipeline is.
#[derive(Default)]
pub(crate) struct Shown {
    stage: Mutex<Option<Stage>>,
}

struct Stage {
    name: String,
    began: Instant,
    steps: u64,
    bar: Option<ProgressBar>,
}

impl Progress for Shown {
    fn begin(&self, stage: &str, total: u64) {
        let bar = terminal::is_watched().then(|| {
            let style = ProgressStyle::with_template("{msg:22} {bar:32} {pos}/{len} {per_sec} {eta}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(stage.to_owned())
        });
        let stage = Stage {
            name: stage.to_owned(),
            began: Instant::now(),
            steps: 0,
            bar,
        };
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = Some(stage);
    }

    fn step(&self) {
        if let Some(stage) = self.stage.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            stage.steps += 1;
            if let Some(bar) = &stage.bar {
                bar.inc(1);
            }
        }
    }

    fn end(&self) {
        let Some(stage) = self.stage.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        if let Some(bar) = stage.bar {
            bar.finish_and_clear();
        }
        terminal::say(&format!(
            "{}: {} in {:.1} s",
            stage.name,
            stage.steps,
            stage.began.elapsed().as_secs_f64()
        ));
    }

    fn note(&self, sentence: &str) {
        match self
            .stage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .and_then(|stage| stage.bar.as_ref())
        {
            Some(bar) => bar.println(sentence),
            None => terminal::say(sentence),
        }
    }
}
