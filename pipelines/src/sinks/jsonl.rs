//! What became of frames, or rates, as JSON lines.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use intakt_operators::dataflow::{Compared, JudgedFrame, Rate};
use intakt_operators::{Decision, DropReason, DroppedFrame, Outcome, Verdict};
use serde::Serialize;

use super::Sink;

/// Writes one JSON object a line, keys in a fixed order, so that equal runs give equal bytes.
pub struct Jsonl {
    out: Mutex<Box<dyn Write + Send>>,
    name: String,
    content: Content,
}

#[derive(PartialEq)]
enum Content {
    Outcomes,
    AtOnce,
    Rates,
    Disagreements,
}

/// A dropped frame among verdicts.
#[derive(Serialize)]
struct DroppedLine<'a> {
    camera: &'a str,
    seq: u64,
    captured_at_us: u64,
    decision: &'static str,
    reason: DropReason,
}

/// A frame on which two detectors disagree.
#[derive(Serialize)]
struct DisagreementLine<'a> {
    camera: &'a str,
    seq: u64,
    captured_at_us: u64,
    origin: &'a str,
    detector: Side<'a>,
    shadow: Side<'a>,
}

/// What one of them says.
#[derive(Serialize)]
struct Side<'a> {
    detector: &'a str,
    #[serde(flatten)]
    decision: &'a Decision,
    image_score: f64,
    threshold: f64,
}

impl<'a> DisagreementLine<'a> {
    fn of(Compared { verdict, shadow }: &'a Compared) -> Self {
        let side = |verdict: &'a Verdict| Side {
            detector: &verdict.detector,
            decision: &verdict.decision,
            image_score: verdict.image_score,
            threshold: verdict.threshold,
        };
        Self {
            camera: &verdict.camera,
            seq: verdict.seq,
            captured_at_us: verdict.captured_at_us,
            origin: &verdict.origin,
            detector: side(verdict),
            shadow: side(shadow),
        }
    }
}

/// The JSON of an outcome, without a line break: a verdict's own, or one with the decision `dropped`.
///
/// # Errors
/// None that is known: verdicts can be written.
pub fn outcome_json(outcome: &Outcome) -> serde_json::Result<Vec<u8>> {
    match outcome {
        Outcome::Judged(verdict) => serde_json::to_vec(verdict),
        Outcome::Dropped(DroppedFrame {
            camera,
            seq,
            captured_at_us,
            reason,
        }) => serde_json::to_vec(&DroppedLine {
            camera,
            seq: *seq,
            captured_at_us: *captured_at_us,
            decision: "dropped",
            reason: *reason,
        }),
    }
}

impl Jsonl {
    /// Writes verdicts and dropped frames to `out`, called `name` in errors.
    pub fn outcomes(out: Box<dyn Write + Send>, name: &str) -> Self {
        Self {
            out: Mutex::new(out),
            name: name.to_owned(),
            content: Content::Outcomes,
        }
    }

    /// Writes every verdict to `out`, called `name` in errors, as soon as it exists and in no particular order: for a reject gate.
    pub fn at_once(out: Box<dyn Write + Send>, name: &str) -> Self {
        Self {
            out: Mutex::new(out),
            name: name.to_owned(),
            content: Content::AtOnce,
        }
    }

    /// Writes the rates to `out`, called `name` in errors.
    pub fn rates(out: Box<dyn Write + Send>, name: &str) -> Self {
        Self {
            out: Mutex::new(out),
            name: name.to_owned(),
            content: Content::Rates,
        }
    }

    /// Writes the frames on which a shadow detector disagrees to `out`, called `name` in errors.
    pub fn disagreements(out: Box<dyn Write + Send>, name: &str) -> Self {
        Self {
            out: Mutex::new(out),
            name: name.to_owned(),
            content: Content::Disagreements,
        }
    }

    fn line(&self, json: serde_json::Result<Vec<u8>>) -> Result<(), String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot write to {}: {error}", self.name);
        let mut line = json.map_err(|error| cannot(&error))?;
        line.push(b'\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Flushed line by line: whoever reads the other end of a pipe sees a verdict when it is there.
        out.write_all(&line)
            .and_then(|()| out.flush())
            .map_err(|error| cannot(&error))
    }
}

impl Sink for Jsonl {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        if self.content == Content::AtOnce {
            self.line(serde_json::to_vec(judged.verdict.as_ref()))
        } else {
            Ok(())
        }
    }

    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        if self.content == Content::Outcomes {
            self.line(outcome_json(outcome))
        } else {
            Ok(())
        }
    }

    fn disagreement(&self, compared: &Compared) -> Result<(), String> {
        if self.content == Content::Disagreements {
            self.line(serde_json::to_vec(&DisagreementLine::of(compared)))
        } else {
            Ok(())
        }
    }

    fn rate(&self, rate: &Rate) -> Result<(), String> {
        if self.content == Content::Rates {
            self.line(serde_json::to_vec(rate))
        } else {
            Ok(())
        }
    }
}
