//! Verdicts, rates or both as JSON lines.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use intakt_operators::Verdict;
use intakt_operators::dataflow::Rate;
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
    Verdicts,
    Rates,
}

impl Jsonl {
    /// Writes the verdicts to `out`, called `name` in errors.
    pub fn verdicts(out: Box<dyn Write + Send>, name: &str) -> Self {
        Self {
            out: Mutex::new(out),
            name: name.to_owned(),
            content: Content::Verdicts,
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

    fn line(&self, record: &impl Serialize) -> Result<(), String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot write to {}: {error}", self.name);
        let mut line = serde_json::to_vec(record).map_err(|error| cannot(&error))?;
        line.push(b'\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Flushed line by line: whoever reads the other end of a pipe sees a verdict when it is there.
        out.write_all(&line)
            .and_then(|()| out.flush())
            .map_err(|error| cannot(&error))
    }
}

impl Sink for Jsonl {
    fn verdict(&self, verdict: &Verdict) -> Result<(), String> {
        if self.content == Content::Verdicts {
            self.line(verdict)
        } else {
            Ok(())
        }
    }

    fn rate(&self, rate: &Rate) -> Result<(), String> {
        if self.content == Content::Rates {
            self.line(rate)
        } else {
            Ok(())
        }
    }
}
