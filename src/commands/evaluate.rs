//! `intakt evaluate`: what a detector is worth on labelled images.

use std::path::PathBuf;
use std::sync::Arc;

use intakt_operators::detector::DetectorDescription;
use intakt_pipelines::sinks::{HeatmapSelection, Heatmaps, Sink};
use intakt_pipelines::sources::{Clock, SystemClock};
use intakt_pipelines::{Detectors, PipelineError, Progress, evaluate, write_atomically};

use super::report::Writing;
use super::settings;
use crate::cli::EvaluateArgs;
use crate::document::{AboutEvaluation, evaluation_json, of_evaluation};
use crate::environment::Environment;
use crate::progress::Shown;
use crate::{Outcome, report, terminal};

/// Evaluates, prints the table, and writes the JSON and the report.
pub(crate) fn run(args: &EvaluateArgs) -> Result<Outcome, PipelineError> {
    let writing = writing(args)?;
    let detector = settings::detector(&args.detector, &args.suppression)?;
    let dataset = settings::dataset(&args.dataset)?;
    let named = [&args.detector, &args.dataset.dataset]
        .into_iter()
        .chain(&args.suppression.roi);
    for input in settings::files(&dataset).chain(named.map(PathBuf::as_path)) {
        if let Some(json) = &args.json {
            settings::refuse_overwriting(json, [input])?;
        }
        if let Some(writing) = &writing {
            writing.refuse_overwriting(input)?;
        }
    }
    let options = settings::run_options(args.machine)?;
    let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
    if let Some(directory) = &args.heatmaps {
        let heatmaps = Heatmaps::new(directory, HeatmapSelection::All);
        sinks.push(Arc::new(heatmaps.map_err(PipelineError::write(directory))?));
    }
    let progress: Arc<dyn Progress> = Arc::new(Shown::default());
    let about = AboutEvaluation {
        detector: DetectorDescription::of(&detector),
        dataset: args.dataset.dataset.to_string_lossy().into_owned(),
        evaluated_at_us: SystemClock.now_us(),
        environment: Environment::of(&options),
    };
    let detectors = Arc::new(Detectors::common(detector));
    let evaluation = evaluate(&dataset, detectors, &options, sinks, &progress)?;
    let json = evaluation_json(&evaluation, &about)?;
    if let Some(path) = &args.json {
        write_atomically(path, &json)?;
    }
    terminal::print(&report::evaluation(&evaluation))?;
    let (unreadable, more) = report::unreadable(&evaluation.images, |name, reason| format!("\"{name}\": {reason}"));
    for said in unreadable {
        terminal::say(&format!("unreadable: {said}"));
    }
    if more > 0 {
        terminal::say(&format!("unreadable: {more} more, which `--report` counts by reason"));
    }
    if let (Some(writing), Some(path)) = (writing, &args.report) {
        // Of the same bytes, so that `report` writes the same later.
        writing.write(&of_evaluation(&json, path)?)?;
    }
    Ok(Outcome::Passed)
}

/// Where the report is to be written.
fn writing(args: &EvaluateArgs) -> Result<Option<Writing<'_>>, PipelineError> {
    match &args.report {
        Some(report) => Writing::of(report, &args.print).map(Some),
        None if args.print.pdf.is_some() => Err(PipelineError::Refused(
            "cannot print a PDF of no report
  hint: `--pdf` goes with `--report`"
                .to_owned(),
        )),
        None => Ok(None),
    }
}
