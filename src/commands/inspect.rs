//! `intakt inspect`: a verdict on every image.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_pipelines::datasets::{CameraFiles, collect_images};
use intakt_pipelines::sinks::{HeatmapSelection, Heatmaps, Jsonl, Sink};
use intakt_pipelines::sources::{CameraStream, file_frames};
use intakt_pipelines::{Detectors, InspectionReport, PipelineError, Progress, inspect};

use super::{recording, settings};
use crate::cli::InspectArgs;
use crate::progress::Shown;
use crate::report::{Counted, SuppressedLog};
use crate::{Outcome, report, terminal};

/// Inspects, and says how it went.
pub(crate) fn run(args: &InspectArgs) -> Result<Outcome, PipelineError> {
    let detector = settings::detector(&args.detector, &args.suppression)?;
    let options = settings::run_options(args.machine)?;
    let cameras = collect_images(&args.paths)?;
    refuse_overwriting(args, &cameras)?;
    let streams = streams(cameras);
    let progress: Arc<dyn Progress> = Arc::new(Shown::default());
    progress.begin("inspecting", streams.iter().map(|(_, frames)| frames).sum());
    let mut sinks = sinks(args, &progress)?;
    let detectors = Arc::new(Detectors::common(detector));
    let names = streams.iter().map(|(stream, _)| stream.camera.clone()).collect();
    let making = match &args.record {
        Some(directory) => Some(recording::make(directory, names, &detectors)?),
        None => None,
    };
    sinks.extend(making.iter().map(|making| making.verdicts.clone() as Arc<dyn Sink>));
    let streams = streams.into_iter().map(|(stream, _)| stream.into()).collect();
    let recorder = making.as_ref().map(|making| &making.recorder);
    let report = inspect(streams, detectors, &options, sinks, recorder);
    making.into_iter().for_each(recording::Making::finish);
    let report = report?;
    progress.end();
    terminal::say(&report::inspection(&report));
    Ok(outcome_of(&report))
}

/// How the program ends after a run.
pub(crate) fn outcome_of(report: &InspectionReport) -> Outcome {
    match report.total(|account| account.rejected + account.unreadable) {
        0 => Outcome::Passed,
        _ => Outcome::Rejected,
    }
}

/// The cameras, each with its number of frames.
fn streams(cameras: Vec<CameraFiles>) -> Vec<(CameraStream, u64)> {
    let stream = |camera: CameraFiles| {
        let n_frames = camera.files.len() as u64;
        let files = camera
            .files
            .into_iter()
            .map(|file| (file.path, file.captured_at_us))
            .collect();
        (file_frames(camera.camera.into(), files), n_frames)
    };
    cameras.into_iter().map(stream).collect()
}

fn refuse_overwriting(args: &InspectArgs, cameras: &[CameraFiles]) -> Result<(), PipelineError> {
    let files = || {
        cameras
            .iter()
            .flat_map(|camera| camera.files.iter().map(|file| file.path.as_path()))
    };
    let named = || {
        let paths = args.paths.iter().chain([&args.detector]).chain(&args.suppression.roi);
        paths.map(PathBuf::as_path)
    };
    let read = || named().chain(files());
    if args.rates.as_ref() == Some(&args.jsonl) {
        let refusal =
            "cannot write verdicts and rates to the same place\n  hint: give `--jsonl` or `--rates` a file of its own";
        return Err(PipelineError::Refused(refusal.to_owned()));
    }
    let outputs = [Some(&args.jsonl), args.rates.as_ref()];
    outputs
        .into_iter()
        .flatten()
        .try_for_each(|output| settings::refuse_overwriting(output, read()))
}

fn sinks(args: &InspectArgs, progress: &Arc<dyn Progress>) -> Result<Vec<Arc<dyn Sink>>, PipelineError> {
    let mut sinks: Vec<Arc<dyn Sink>> = vec![Arc::new(Counted(progress.clone()))];
    sinks.push(Arc::new(Jsonl::outcomes(
        writer(&args.jsonl)?,
        &args.jsonl.to_string_lossy(),
    )));
    if let Some(path) = &args.rates {
        sinks.push(Arc::new(Jsonl::rates(writer(path)?, &path.to_string_lossy())));
    }
    if let Some(directory) = &args.heatmaps {
        let selection = if args.all {
            HeatmapSelection::All
        } else {
            HeatmapSelection::Rejected
        };
        let heatmaps = Heatmaps::new(directory, selection);
        sinks.push(Arc::new(heatmaps.map_err(|cause| PipelineError::Io {
            action: "write",
            path: directory.clone(),
            cause,
        })?));
    }
    if args.log_suppressed {
        sinks.push(Arc::new(SuppressedLog(progress.clone())));
    }
    Ok(sinks)
}

/// Where JSON lines go: a file, or standard output for `-`.
pub(crate) fn writer(path: &Path) -> Result<Box<dyn Write + Send>, PipelineError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file = File::create(path).map_err(|cause| PipelineError::Io {
        action: "write",
        path: path.to_owned(),
        cause,
    })?;
    Ok(Box::new(BufWriter::new(file)))
}
