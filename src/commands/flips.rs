//! The frames whose decision differs from the recorded one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::{Decision, Outcome, Verdict};
use intakt_pipelines::PipelineError;
use intakt_pipelines::sinks::Sink;
use serde::Deserialize;

/// Longest line of a verdict file that is read, bytes: a verdict lists at most a few hundred regions.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The part of a recorded verdict that is compared.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Recorded {
    camera: Arc<str>,
    seq: u64,
    decision: String,
    #[serde(default)]
    image_score: f64,
    #[serde(default)]
    threshold: f64,
}

/// Compares verdicts with those of a recording, and keeps those that flip.
pub(crate) struct Flips {
    recorded: BTreeMap<(Arc<str>, u64), Recorded>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    lines: String,
    compared: u64,
    unknown: u64,
    by_kind: BTreeMap<(String, &'static str), u64>,
}

impl Flips {
    /// Knows the verdicts in `path`. A last line that was cut is passed over.
    pub(crate) fn open(path: &Path) -> Result<Self, PipelineError> {
        let mut lines = BufReader::new(std::fs::File::open(path).map_err(PipelineError::read(path))?);
        let mut recorded = BTreeMap::new();
        for number in 1_u64.. {
            let mut line = Vec::new();
            let mut bounded = std::io::Read::take(&mut lines, LINE_BYTES_MAX);
            if bounded
                .read_until(b'\n', &mut line)
                .map_err(PipelineError::read(path))?
                == 0
            {
                break;
            }
            match serde_json::from_slice::<Recorded>(&line) {
                Ok(verdict) => drop(recorded.insert((verdict.camera.clone(), verdict.seq), verdict)),
                Err(_) if line.last() != Some(&b'\n') && (line.len() as u64) < LINE_BYTES_MAX => {}
                Err(error) => {
                    return Err(PipelineError::Load {
                        what: "recorded verdicts",
                        path: path.to_owned(),
                        cause: format!("line {number} is no verdict: {error}"),
                    });
                }
            }
        }
        Ok(Self {
            recorded,
            found: Mutex::default(),
        })
    }

    /// How many frames flipped, and a line for each with a summary.
    pub(crate) fn report(&self) -> (u64, String) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let flipped = found.by_kind.values().sum();
        let mut text = found.lines.clone();
        let _ = write!(text, "{flipped} of {} decisions flip", found.compared);
        for ((before, after), n) in &found.by_kind {
            let _ = write!(text, "; {before} → {after}: {n}");
        }
        let unplayed = self.recorded.len() as u64 - found.compared;
        if unplayed > 0 {
            let _ = write!(text, "; {unplayed} recorded verdicts were not replayed");
        }
        if found.unknown > 0 {
            let _ = write!(text, "; {} frames have no recorded verdict", found.unknown);
        }
        (flipped, text)
    }
}

impl Sink for Flips {
    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        let Outcome::Judged(verdict) = outcome else {
            return Ok(());
        };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = self.recorded.get(&(verdict.camera.clone(), verdict.seq)) else {
            found.unknown += 1;
            return Ok(());
        };
        found.compared += 1;
        let after = name(verdict);
        if before.decision != after {
            *found.by_kind.entry((before.decision.clone(), after)).or_default() += 1;
            let _ = writeln!(
                found.lines,
                "{} #{} at {}: {} (score {}, threshold {}) → {after} (score {}, threshold {})",
                verdict.camera,
                verdict.seq,
                verdict.captured_at_us,
                before.decision,
                before.image_score,
                before.threshold,
                verdict.image_score,
                verdict.threshold
            );
        }
        Ok(())
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict.decision {
        Decision::Pass => "pass",
        Decision::Reject => "reject",
        Decision::Unreadable { .. } => "unreadable",
    }
}
