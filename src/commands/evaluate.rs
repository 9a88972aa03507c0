//! `intakt evaluate`: what a detector is worth on labelled images.

use std::sync::Arc;

use intakt_pipelines::sinks::{HeatmapSelection, Heatmaps, Sink};
use intakt_pipelines::{Detectors, PipelineError, Progress, evaluate, write_atomically};

use super::settings;
use crate::cli::EvaluateArgs;
use crate::progress::Shown;
use crate::{Outcome, report, terminal};

/// Evaluates, prints the table and writes the JSON.
pub(crate) fn run(args: &EvaluateArgs) -> Result<Outcome, PipelineError> {
    let detector = settings::detector(&args.detector, &args.suppression)?;
    let dataset = settings::dataset(&args.dataset)?;
    if let Some(json) = &args.json {
        let named = [&args.detector, &args.dataset.dataset]
            .into_iter()
            .chain(&args.suppression.roi);
        let named = named.map(std::path::PathBuf::as_path);
        settings::refuse_overwriting(json, settings::files(&dataset).chain(named))?;
    }
    let options = settings::run_options(args.machine)?;
    let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
    if let Some(directory) = &args.heatmaps {
        let heatmaps = Heatmaps::new(directory, HeatmapSelection::All);
        sinks.push(Arc::new(heatmaps.map_err(PipelineError::write(directory))?));
    }
    let progress: Arc<dyn Progress> = Arc::new(Shown::default());
    let detectors = Arc::new(Detectors::common(detector));
    let evaluation = evaluate(&dataset, detectors, &options, sinks, &progress)?;
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&evaluation)
            .map_err(|error| PipelineError::Refused(format!("cannot write the figures as JSON: {error}")))?;
        write_atomically(path, &json)?;
    }
    terminal::print(&report::evaluation(&evaluation))?;
    Ok(Outcome::Passed)
}
