//! `intakt show`: what is in a detector file, for people.

use intakt_operators::detector::Detector;
use intakt_pipelines::{PipelineError, load_detector};

use crate::cli::ShowArgs;
use crate::detector_facts::facts;
use crate::{Outcome, terminal};

/// Prints the detector.
pub(crate) fn run(args: &ShowArgs) -> Result<Outcome, PipelineError> {
    let detector = load_detector(&args.detector)?;
    terminal::print(&described(&detector))?;
    Ok(Outcome::Passed)
}

fn described(detector: &Detector) -> String {
    let lines = facts(detector).into_iter();
    let lines: Vec<String> = lines.map(|(name, text)| format!("{name:12} {text}")).collect();
    lines.join("\n")
}
