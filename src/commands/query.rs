//! `intakt query` and `intakt export`: what a kept run holds.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use intakt_operators::Truth;
use intakt_operators::dataflow::TIME_MAX_US;
use intakt_pipelines::PipelineError;
use intakt_pipelines::sinks::outcome_json;
use intakt_pipelines::store::{DecisionKind, ExportFormat, OutcomeFilter, Store, StoreError, TimedLabel, export};
use serde::Serialize;

use super::run_directory::RunDirectory;
use super::settings;
use crate::cli::{DecisionName, ExportArgs, FilterArgs, QueryArgs, QueryKind};
use crate::{Outcome, terminal};

/// Prints what was asked for, a JSON line each.
pub(crate) fn run(args: &QueryArgs) -> Result<Outcome, PipelineError> {
    match print(args) {
        // Whoever reads the other end has seen enough.
        Err(PipelineError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(Outcome::Passed),
        printed => printed,
    }
}

fn print(args: &QueryArgs) -> Result<Outcome, PipelineError> {
    let store = RunDirectory(&args.run).open()?;
    let filter = filter(&store, &args.filter)?;
    let mut lines = Lines::default();
    match args.show {
        QueryKind::Outcomes => {
            for timed in store.query(&filter) {
                let json = outcome_json(&timed?.outcome).map_err(|error| PipelineError::Stopped(error.to_string()))?;
                lines.write(json)?;
            }
        }
        QueryKind::Metrics => lines.each(store.metrics(), &filter)?,
        QueryKind::Labels => lines.each(store.labels().map(|label| label.map(ShownLabel::from)), &filter)?,
        QueryKind::Changes => lines.each(store.changes(), &filter)?,
        QueryKind::Alerts => lines.each(store.alerts(usize::MAX)?.into_iter().map(Ok), &filter)?,
    }
    lines.end()?;
    Ok(Outcome::Passed)
}

/// Writes the outcomes of a run in other forms.
pub(crate) fn export_run(args: &ExportArgs) -> Result<Outcome, PipelineError> {
    let store = RunDirectory(&args.run).open()?;
    let filter = filter(&store, &args.filter)?;
    let forms = [
        (&args.jsonl, ExportFormat::Jsonl),
        (&args.csv, ExportFormat::Csv),
        (&args.parquet, ExportFormat::Parquet),
    ];
    for (path, format) in forms {
        let Some(path) = path else { continue };
        super::settings::refuse_overwriting_in(path, &args.run)?;
        let frames = export_to(&store, &filter, format, path)?;
        terminal::say(&format!("{frames} frames written to {}", path.display()));
    }
    Ok(Outcome::Passed)
}

fn export_to(
    store: &Store,
    filter: &OutcomeFilter,
    format: ExportFormat,
    path: &std::path::Path,
) -> Result<u64, PipelineError> {
    if path == std::path::Path::new("-") {
        return Ok(export(store, filter, format, std::io::stdout())?);
    }
    let file = File::create(path).map_err(PipelineError::write(path))?;
    Ok(export(store, filter, format, file)?)
}

fn filter(store: &Store, args: &FilterArgs) -> Result<OutcomeFilter, PipelineError> {
    if let Some(camera) = &args.camera {
        refuse_unknown_camera(store, camera)?;
    }
    let since_us = settings::time_us("--since", args.since.as_deref())?;
    let until_us = settings::time_us("--until", args.until.as_deref())?;
    if let (Some(since), Some(until)) = (&args.since, &args.until)
        && since_us > until_us
    {
        return Err(PipelineError::Refused(format!(
            "cannot show what is between `--since {since}` and `--until {until}`: the first is later than the second"
        )));
    }
    Ok(OutcomeFilter {
        camera: args.camera.clone(),
        since_us,
        until_us,
        decision: args.decision.map(|decision| match decision {
            DecisionName::Pass => DecisionKind::Pass,
            DecisionName::Reject => DecisionKind::Reject,
            DecisionName::Unreadable => DecisionKind::Unreadable,
            DecisionName::Dropped => DecisionKind::Dropped,
        }),
        limit: args.limit,
        ..OutcomeFilter::default()
    })
}

fn refuse_unknown_camera(store: &Store, camera: &str) -> Result<(), PipelineError> {
    let known = store.cameras()?;
    if known.iter().any(|known| **known == *camera) {
        return Ok(());
    }
    let has = match known.is_empty() {
        true => "no frame of the run is kept yet".to_owned(),
        false => format!("the run has frames of {}", named(&known)),
    };
    Err(PipelineError::Refused(format!(
        "cannot show camera \"{camera}\": {has}"
    )))
}

/// The names of cameras.
pub(super) fn named(cameras: &[Arc<str>]) -> String {
    let names: Vec<String> = cameras.iter().map(|camera| format!("\"{camera}\"")).collect();
    names.join(", ")
}

/// A label as it is printed.
#[derive(Serialize)]
struct ShownLabel {
    time_us: u64,
    ordinal: u64,
    camera: Arc<str>,
    seq: u64,
    truth: Option<Truth>,
    /// None while its frame is still to come.
    captured_at_us: Option<u64>,
}

impl From<TimedLabel> for ShownLabel {
    fn from(timed: TimedLabel) -> Self {
        let TimedLabel {
            time_us,
            ordinal,
            label,
        } = timed;
        Self {
            time_us,
            ordinal,
            camera: label.camera,
            seq: label.seq,
            truth: label.truth,
            captured_at_us: Some(label.captured_at_us).filter(|&captured_at_us| captured_at_us < TIME_MAX_US),
        }
    }
}

/// Something that happened at a time, about a camera.
trait Dated {
    fn time_us(&self) -> u64;
    /// Whether it is about this camera, or about a scope or all cameras that hold it.
    fn is_about(&self, camera: &str) -> bool;
}

impl Dated for intakt_pipelines::store::MetricRevision {
    fn time_us(&self) -> u64 {
        self.at_us
    }

    fn is_about(&self, camera: &str) -> bool {
        is_scope_of(&self.scope, camera)
    }
}

impl Dated for ShownLabel {
    fn time_us(&self) -> u64 {
        self.time_us
    }

    fn is_about(&self, camera: &str) -> bool {
        *self.camera == *camera
    }
}

impl Dated for intakt_pipelines::store::Change {
    fn time_us(&self) -> u64 {
        self.time_us
    }

    fn is_about(&self, camera: &str) -> bool {
        self.camera.as_ref().is_none_or(|own| **own == *camera)
    }
}

impl Dated for intakt_pipelines::store::Alert {
    fn time_us(&self) -> u64 {
        self.opened_at_us
    }

    fn is_about(&self, camera: &str) -> bool {
        is_scope_of(&self.scope, camera)
    }
}

fn is_scope_of(scope: &str, camera: &str) -> bool {
    let of_camera = scope
        .strip_prefix("camera/")
        .and_then(|scope| scope.strip_prefix(camera));
    of_camera.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// JSON lines on standard output.
struct Lines(BufWriter<std::io::Stdout>);

impl Default for Lines {
    fn default() -> Self {
        Self(BufWriter::new(std::io::stdout()))
    }
}

impl Lines {
    fn each<T: Dated + Serialize>(
        &mut self,
        rows: impl Iterator<Item = Result<T, StoreError>>,
        filter: &OutcomeFilter,
    ) -> Result<(), PipelineError> {
        let mut left = filter.limit.unwrap_or(u64::MAX);
        for row in rows {
            let row = row?;
            let wanted = filter.camera.as_ref().is_none_or(|camera| row.is_about(camera))
                && filter.since_us.is_none_or(|since_us| row.time_us() >= since_us)
                && filter.until_us.is_none_or(|until_us| row.time_us() < until_us);
            if !wanted {
                continue;
            }
            if left == 0 {
                break;
            }
            left -= 1;
            self.write(serde_json::to_vec(&row).map_err(|error| PipelineError::Stopped(error.to_string()))?)?;
        }
        Ok(())
    }

    fn write(&mut self, mut line: Vec<u8>) -> Result<(), PipelineError> {
        line.push(b'\n');
        self.0.write_all(&line).map_err(not_written)
    }

    fn end(mut self) -> Result<(), PipelineError> {
        self.0.flush().map_err(not_written)
    }
}

fn not_written(cause: std::io::Error) -> PipelineError {
    PipelineError::write("standard output".as_ref())(cause)
}
