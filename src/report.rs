//! Tables and sentences for people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::dataflow::{Alert, AlertState, Compared, JudgedFrame, LatencySummary, Rate, Scope, WhatIf};
use intakt_operators::metrics::{CLEARLY_DEFECTIVE_PX, Tally};
use intakt_operators::{Decision, Outcome, Verdict};
use intakt_pipelines::sinks::Sink;
use intakt_pipelines::{EvaluatedImage, Evaluation, InspectionReport, Progress};

/// Counts verdicts as they come.
pub(crate) struct Counted(pub(crate) Arc<dyn Progress>);

impl Sink for Counted {
    fn at_once(&self, _: &JudgedFrame) -> Result<(), String> {
        self.0.step();
        Ok(())
    }

    fn trouble(&self, camera: &Arc<str>, reason: &str) {
        self.0.note(&format!("camera \"{camera}\": {reason}"));
    }

    fn alert(&self, alert: &Alert) -> Result<(), String> {
        let state = match alert.state {
            AlertState::Opened => "opened",
            AlertState::Closed => "closed",
            AlertState::Retracted => "retracted, a label undid its cause",
        };
        let value = alert.value.map_or(String::new(), |value| format!(" ({value:.4})"));
        let of = match &alert.scope {
            Scope::Camera(camera) => format!("camera \"{camera}\""),
            Scope::Line(line) => format!("line \"{line}\""),
            Scope::All => "all cameras".to_owned(),
        };
        self.0.note(&format!("alert {state}: {}, {of}{value}", alert.rule));
        Ok(())
    }
}

/// The newest answer to every standing question.
#[derive(Default)]
pub(crate) struct Answers(Mutex<BTreeMap<NameAndCamera, Tally>>);

type NameAndCamera = (Arc<str>, Arc<str>);

impl Answers {
    /// A line per question and camera; nothing if nobody asked.
    pub(crate) fn table(&self) -> String {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.is_empty() {
            return String::new();
        }
        let mut text = format!(
            "{:24}{:24}{:>8}{:>9}{:>13}{:>11}{:>9}\n",
            "what if", "camera", "judged", "rejects", "reject rate", "precision", "recall"
        );
        let share = |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        for ((name, camera), tally) in answers.iter() {
            let confusion = tally.confusion();
            let _ = writeln!(
                text,
                "{name:24}{camera:24}{:>8}{:>9}{:>13}{:>11}{:>9}",
                tally.frames,
                tally.rejects,
                share(tally.reject_rate()),
                share(confusion.precision()),
                share(confusion.recall())
            );
        }
        text
    }
}

impl Sink for Answers {
    fn what_if(&self, answer: &WhatIf) -> Result<(), String> {
        let key = (answer.name.clone(), answer.camera.clone());
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer.after {
            Some(after) => drop(answers.insert(key, after)),
            None => drop(answers.remove(&key)),
        }
        Ok(())
    }
}

/// Prints what was suppressed, in order.
pub(crate) struct SuppressedLog(pub(crate) Arc<dyn Progress>);

impl Sink for SuppressedLog {
    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        let Outcome::Judged(verdict) = outcome else {
            return Ok(());
        };
        for suppressed in &verdict.suppressed {
            let (region, reason) = (&suppressed.region, suppressed.reason);
            self.0.note(&format!(
                "suppressed {} #{} at {},{} ({} × {} px, {} px, peak {:.3}): {reason}",
                verdict.camera,
                verdict.seq,
                region.bbox_px.x,
                region.bbox_px.y,
                region.bbox_px.width,
                region.bbox_px.height,
                region.area_px,
                region.peak
            ));
        }
        Ok(())
    }
}

/// Counts the frames on which a shadow disagrees, by the two decisions.
#[derive(Default)]
pub(crate) struct Disagreements(Mutex<BTreeMap<(&'static str, &'static str), u64>>);

impl Disagreements {
    /// A sentence.
    pub(crate) fn summary(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: u64 = counts.values().sum();
        let kinds = counts
            .iter()
            .map(|((detector, shadow), n)| format!("{detector} → {shadow} {n}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        match total {
            0 => "the shadow agrees on every frame".to_owned(),
            _ => format!("the shadow disagrees on {total} frames: {kinds}"),
        }
    }
}

impl Sink for Disagreements {
    fn disagreement(&self, compared: &Compared) -> Result<(), String> {
        let word = |verdict: &Verdict| match verdict.decision {
            Decision::Pass => "pass",
            Decision::Reject => "reject",
            Decision::Unreadable { .. } => "unreadable",
        };
        let kind = (word(&compared.verdict), word(&compared.shadow));
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(kind)
            .or_default() += 1;
        Ok(())
    }
}

/// Unreadable images that are told by name.
const UNREADABLE_NAMED: usize = 10;

/// What `say` says of the name of each of the first images that could not be read, and of the reason; and how many more there are.
pub(crate) fn unreadable(images: &[EvaluatedImage], say: impl Fn(&str, &str) -> String) -> (Vec<String>, usize) {
    let all = images.iter().filter_map(|image| match &image.verdict.decision {
        Decision::Unreadable { reason } => Some(say(&image.verdict.origin, reason)),
        Decision::Pass | Decision::Reject => None,
    });
    let mut said: Vec<String> = all.collect();
    let more = said.len().saturating_sub(UNREADABLE_NAMED);
    said.truncate(UNREADABLE_NAMED);
    (said, more)
}

/// The table of `evaluate`.
pub(crate) fn evaluation(evaluation: &Evaluation) -> String {
    let m = &evaluation.metrics;
    let share = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
    let rows = [
        ("frames", format!("{} ({} unreadable)", m.frames, evaluation.unreadable)),
        ("image AUROC", share(m.image_auroc)),
        ("image AP", share(m.image_ap)),
        (
            "image F1-max",
            format!("{} at {}", share(m.image_f1_max), share(m.image_f1_max_threshold)),
        ),
        ("pixel AUROC", share(m.pixel_auroc)),
        ("AUPRO (to 0.3)", share(m.aupro)),
        ("at the threshold", String::new()),
        ("  precision", share(m.precision)),
        ("  recall", share(m.recall)),
        ("  F1", share(m.f1)),
        ("  accuracy", share(m.accuracy)),
        ("  false rejects", share(m.false_reject_rate)),
        ("  escapes", share(m.escape_rate)),
        ("  regions hit", share(m.region_hit_rate)),
        ("  regions missed", share(m.region_miss_rate)),
        (
            "  mass centres",
            m.mass_center_distance_px
                .map_or("–".to_owned(), |px| format!("{px:.1} px apart")),
        ),
        ("frames a second", format!("{:.1}", evaluation.frames_per_second)),
    ];
    let mut table = String::new();
    let mut list = |rows: &[(&str, String)]| {
        for (name, value) in rows {
            let _ = writeln!(table, "{name:18}{value}");
        }
    };
    list(&rows);
    if let Some(tiles) = &evaluation.tiles {
        let rows = [
            ("tiles", tiles.tiles.to_string()),
            ("  defective", tiles.defective_tiles.to_string()),
            ("  AUROC", share(tiles.tile_auroc)),
            (
                "  recall",
                format!(
                    "{} at 1 % false rejects",
                    share(tiles.tile_recall_at_1_percent_false_rejects)
                ),
            ),
            (
                "  clearly so",
                format!(
                    "{} with over {CLEARLY_DEFECTIVE_PX} defective pixels",
                    tiles.clearly_defective_tiles
                ),
            ),
            ("  AUROC of these", share(tiles.clear_tile_auroc)),
            (
                "  recall of these",
                format!(
                    "{} at 1 % false rejects",
                    share(tiles.clear_tile_recall_at_1_percent_false_rejects)
                ),
            ),
        ];
        list(&rows);
    }
    table + "\n" + &latencies(&evaluation.latencies)
}

/// What `inspect` says at its end.
pub(crate) fn inspection(report: &InspectionReport) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:24}{:>9}{:>9}{:>9}{:>11}{:>9}",
        "camera", "captured", "judged", "rejected", "unreadable", "dropped"
    );
    for (camera, account) in &report.cameras {
        let _ = writeln!(
            text,
            "{camera:24}{:>9}{:>9}{:>9}{:>11}{:>9}",
            account.captured, account.judged, account.rejected, account.unreadable, account.dropped
        );
    }
    let total = |figure: fn(&intakt_pipelines::CameraAccount) -> u64| report.total(figure);
    let captured = total(|account| account.captured);
    let _ = writeln!(
        text,
        "captured {captured} = judged {} + unreadable {} + dropped {}; {:.1} frames a second\n",
        total(|account| account.judged),
        total(|account| account.unreadable),
        total(|account| account.dropped),
        captured as f64 / report.seconds
    );
    // Rates are those of the whole run, which one process keeps.
    let rates = match report.rates.is_empty() {
        true => String::new(),
        false => rates(&report.rates) + "\n",
    };
    text + &rates + &latencies(&report.latencies)
}

/// Rolling rates at the end of the last hop.
pub(crate) fn rates(rates: &[Rate]) -> String {
    let mut text = format!(
        "{:24}{:>8}{:>9}{:>12}{:>9}{:>13}\n",
        "rates", "window", "frames", "unreadable", "rejects", "reject rate"
    );
    for rate in rates {
        let counts = &rate.after;
        let share = counts
            .reject_rate()
            .map_or("–".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let (name, window) = (rate.key.scope.to_string(), rate.key.window.to_string());
        let _ = writeln!(
            text,
            "{name:24}{window:>8}{:>9}{:>12}{:>9}{share:>13}",
            counts.frames, counts.unreadable, counts.rejects
        );
    }
    text
}

/// Latency per stage.
pub(crate) fn latencies(latencies: &[LatencySummary]) -> String {
    let mut text = format!(
        "{:24}{:>8}{:>11}{:>11}{:>11}\n",
        "stage", "runs", "p50 ms", "p99 ms", "max ms"
    );
    for stage in latencies {
        let millis = |micros: u64| micros as f64 / 1e3;
        let _ = writeln!(
            text,
            "{:24}{:>8}{:>11.2}{:>11.2}{:>11.2}",
            stage.stage,
            stage.count,
            millis(stage.micros_p50),
            millis(stage.micros_p99),
            millis(stage.micros_max)
        );
    }
    text
}
