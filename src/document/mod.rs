//! The report on a run or an evaluation: one HTML file that needs nothing else, on screen and on paper. The tables that a terminal
//! shows are in `report.rs`.
//!
//! `from_run` and `from_evaluation` say what is to be told, as a [`Document`]; `page` and what it calls say how it looks.
//! Everything that comes from data is escaped where it is written, by `maud`.

mod chart;
pub(crate) mod detectors;
mod from_evaluation;
mod from_run;
mod page;
mod quality;
mod sections;
mod text;

use std::sync::Arc;

use intakt_operators::detector::DetectorDescription;
use intakt_operators::metrics::{Confusion, Tally};
use intakt_operators::{SuppressionReason, Verdict};
use intakt_pipelines::review::{Notable, ReviewPicture};
use intakt_pipelines::store::{ScoreSteps, Stretches, SuppressedRegions};

pub(crate) use from_evaluation::{AboutEvaluation, evaluation_json, of_evaluation};
pub(crate) use from_run::{KnownRun, of_run};

use self::chart::Span;
use self::text::{Clock, count};
use crate::environment::Environment;

/// What is to be told.
pub(crate) struct Document {
    /// "Run" or "Evaluation".
    kind: &'static str,
    name: String,
    /// When it was, in words.
    dated: String,
    /// What matters, a sentence each.
    summary: Vec<String>,
    /// What is wrong with it or missing, a sentence each.
    warnings: Vec<String>,
    clock: Clock,
    detectors: Vec<DetectorPart>,
    /// Frames by camera.
    counts: Vec<(Arc<str>, Tally)>,
    /// Why frames could not be judged.
    reasons: Vec<(String, u64)>,
    sums: Vec<Sum>,
    rates: Option<Rates>,
    scores: Vec<Scores>,
    quality: Option<Quality>,
    notable: Vec<NotableFrames>,
    suppressed: Vec<(SuppressionReason, SuppressedRegions)>,
    /// What is said where nothing was suppressed, or beside it.
    suppressed_note: String,
    latencies: Vec<(String, u64, Span)>,
    latencies_note: String,
    environment: Option<Environment>,
    /// More about it: names and values.
    about: Vec<(&'static str, String)>,
}

/// A detector and what it looked at.
struct DetectorPart {
    id: Arc<str>,
    /// Cameras and frames, in words.
    looked_at: String,
    /// Its description, or why there is none.
    description: Result<DetectorDescription, String>,
}

/// Numbers that must add up.
struct Sum {
    whole: (&'static str, u64),
    parts: Vec<(&'static str, u64)>,
}

impl Sum {
    fn adds_up(&self) -> bool {
        self.parts
            .iter()
            .try_fold(0_u64, |sum, (_, part)| sum.checked_add(*part))
            == Some(self.whole.1)
    }

    /// "captured 12 = judged 10 + unreadable 1 + dropped 1".
    fn in_words(&self) -> String {
        let named = |(name, number): &(&str, u64)| format!("{name} {}", count(*number));
        let parts: Vec<String> = self.parts.iter().map(named).collect();
        let relation = if self.adds_up() { "=" } else { "≠" };
        format!("{} {relation} {}", named(&self.whole), parts.join(" + "))
    }
}

/// Rates over time.
struct Rates {
    stretches: Stretches,
    /// Of all cameras, and of each if there are several.
    series: Vec<(String, Vec<Tally>)>,
    note: Option<String>,
}

/// How scores are spread.
struct Scores {
    name: String,
    steps: ScoreSteps,
}

/// What labels say.
struct Quality {
    /// Where the labels are from, in a sentence.
    source: String,
    confusion: Confusion,
    auroc: Option<f64>,
    /// Names and values of further figures.
    figures: Vec<(&'static str, String)>,
    roc: Vec<[f64; 2]>,
    /// The curve, the area below it, and up to which share of normal pixels.
    pro: Option<(Vec<[f64; 2]>, f64, f64)>,
    classes: Vec<ClassRow>,
}

/// Frames of one class.
struct ClassRow {
    class: String,
    is_anomalous: bool,
    rejected: u64,
    passed: u64,
    auroc: Option<f64>,
    /// The middle calibrated score.
    median: Option<f64>,
}

/// Frames that people should look at for one reason.
struct NotableFrames {
    kind: Notable,
    frames: Vec<NotableFrame>,
}

struct NotableFrame {
    verdict: Arc<Verdict>,
    /// What it is, where somebody said it.
    truth: Option<String>,
    /// How it looks, or why there is no picture.
    picture: Result<ReviewPicture, String>,
}

impl Document {
    /// The file.
    pub(crate) fn html(&self) -> String {
        page::page(self).into_string()
    }

    /// What does not add up, a sentence each.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let wrong = self.sums.iter().filter(|sum| !sum.adds_up());
        wrong
            .map(|sum| format!("the counts do not add up: {}", sum.in_words()))
            .collect()
    }
}

/// The frames of a tally as counts: captured, judged, passed, rejected, unreadable, dropped.
fn counts_of(tally: &Tally) -> [u64; 6] {
    let judged = tally.judged();
    [
        tally.frames,
        judged,
        judged - tally.rejects,
        tally.rejects,
        tally.unreadable,
        tally.dropped,
    ]
    .map(|count| count.max(0) as u64)
}

/// What every count of frames has to come to.
fn sums_of(tally: &Tally) -> Vec<Sum> {
    let [captured, judged, passed, rejected, unreadable, dropped] = counts_of(tally);
    vec![
        Sum {
            whole: ("captured", captured),
            parts: vec![("judged", judged), ("unreadable", unreadable), ("dropped", dropped)],
        },
        Sum {
            whole: ("judged", judged),
            parts: vec![("passed", passed), ("rejected", rejected)],
        },
    ]
}

/// The same of verdicts against labels.
fn sum_of_labels(labelled: u64, confusion: &Confusion) -> Sum {
    Sum {
        whole: ("labelled and judged", labelled),
        parts: vec![
            ("defects rejected", confusion.tp),
            ("false rejects", confusion.fp),
            ("good parts passed", confusion.tn),
            ("escapes", confusion.fn_),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_add_up_are_told() {
        let sum = |whole| Sum {
            whole: ("captured", whole),
            parts: vec![("judged", 1_200), ("dropped", 34)],
        };
        assert_eq!(sum(1_234).in_words(), "captured 1,234 = judged 1,200 + dropped 34");
        assert_eq!(sum(1_235).in_words(), "captured 1,235 ≠ judged 1,200 + dropped 34");
        assert!(sum(1_234).adds_up() && !sum(1_235).adds_up());
    }
}
