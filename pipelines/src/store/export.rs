//! Writes a run in a form that other programs read.

use std::io::{BufWriter, Write};

use intakt_operators::{Decision, Outcome};

use super::error::{StoreError, Trouble};
use super::parquet_export::ParquetRows;
use super::query::OutcomeFilter;
use super::records::TimedOutcome;
use super::sql_value::word;
use super::store::Store;
use crate::sinks::outcome_json;

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A line per frame, dropped ones included, byte for byte as the live sink writes them, with their regions.
    Jsonl,
    /// One row per frame, dropped ones included, with the number of its regions.
    Csv,
    /// The columns of the CSV as a Parquet file, uncompressed.
    Parquet,
}

/// Writes the outcomes that pass `filter`, and returns their number. Memory does not grow with the run.
///
/// # Errors
/// The store cannot be read, or `out` cannot be written.
pub fn export(
    store: &Store,
    filter: &OutcomeFilter,
    format: ExportFormat,
    out: impl Write + Send,
) -> Result<u64, StoreError> {
    let out = BufWriter::new(out);
    match format {
        ExportFormat::Jsonl => export_jsonl(store, filter, out),
        ExportFormat::Csv => export_csv(store, filter, out),
        ExportFormat::Parquet => {
            let failed = |error: parquet::errors::ParquetError| not_written(store, &error);
            let mut rows = ParquetRows::new(out).map_err(failed)?;
            let exported = each(store, filter, |timed| rows.push(&ExportRow::of(timed)).map_err(failed))?;
            rows.finish().map_err(failed)?;
            Ok(exported)
        }
    }
}

fn export_jsonl(store: &Store, filter: &OutcomeFilter, mut out: impl Write) -> Result<u64, StoreError> {
    let exported = each(store, filter, |timed| {
        let mut line = outcome_json(&timed.outcome).map_err(|error| not_written(store, &error))?;
        line.push(b'\n');
        out.write_all(&line).map_err(|error| not_written(store, &error))
    })?;
    out.flush().map_err(|error| not_written(store, &error))?;
    Ok(exported)
}

fn export_csv(store: &Store, filter: &OutcomeFilter, out: impl Write) -> Result<u64, StoreError> {
    let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    // Written by hand: a run without frames has a header too.
    csv.write_record(COLUMNS).map_err(|error| not_written(store, &error))?;
    let exported = each(store, filter, |timed| {
        csv.serialize(ExportRow::of(timed))
            .map_err(|error| not_written(store, &error))
    })?;
    csv.flush().map_err(|error| not_written(store, &error))?;
    Ok(exported)
}

fn each(
    store: &Store,
    filter: &OutcomeFilter,
    mut visit: impl FnMut(&TimedOutcome) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut exported = 0;
    for timed in store.query(filter) {
        visit(&timed?)?;
        exported += 1;
    }
    Ok(exported)
}

fn not_written(store: &Store, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::new("export", &store.path, Trouble::Output(error.to_string()))
}

/// The columns of CSV and Parquet, in the order of [`ExportRow`].
pub(super) const COLUMNS: [&str; 13] = [
    "time_us",
    "camera",
    "seq",
    "captured_at_us",
    "decision",
    "reason",
    "origin",
    "detector",
    "image_score",
    "threshold",
    "calibrated_score",
    "regions",
    "suppressed",
];

/// A frame as a row. What a dropped frame does not have is empty.
#[derive(Debug, serde::Serialize)]
pub(super) struct ExportRow<'a> {
    pub(super) time_us: u64,
    pub(super) camera: &'a str,
    pub(super) seq: u64,
    pub(super) captured_at_us: u64,
    pub(super) decision: &'static str,
    pub(super) reason: Option<String>,
    pub(super) origin: Option<&'a str>,
    pub(super) detector: Option<&'a str>,
    pub(super) image_score: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) calibrated_score: Option<f64>,
    pub(super) regions: usize,
    pub(super) suppressed: usize,
}

impl<'a> ExportRow<'a> {
    pub(super) fn of(timed: &'a TimedOutcome) -> Self {
        let outcome = &timed.outcome;
        let mut row = Self {
            time_us: timed.time_us,
            camera: outcome.camera(),
            seq: outcome.seq(),
            captured_at_us: 0,
            decision: "dropped",
            reason: None,
            origin: None,
            detector: None,
            image_score: None,
            threshold: None,
            calibrated_score: None,
            regions: 0,
            suppressed: 0,
        };
        match outcome {
            Outcome::Dropped(dropped) => {
                row.captured_at_us = dropped.captured_at_us;
                row.reason = Some(word(&dropped.reason));
            }
            Outcome::Judged(verdict) => {
                row.captured_at_us = verdict.captured_at_us;
                (row.decision, row.reason) = match &verdict.decision {
                    Decision::Pass => ("pass", None),
                    Decision::Reject => ("reject", None),
                    Decision::Unreadable { reason } => ("unreadable", Some(reason.clone())),
                };
                row.origin = Some(&verdict.origin);
                row.detector = Some(&verdict.detector);
                row.image_score = Some(verdict.image_score);
                row.threshold = Some(verdict.threshold);
                row.calibrated_score = Some(verdict.calibrated_score);
                row.regions = verdict.regions.len();
                row.suppressed = verdict.suppressed.len();
            }
        }
        row
    }
}
