//! `intakt inspect`: a verdict on every image.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_pipelines::datasets::{CameraFiles, collect_images};
use intakt_pipelines::sinks::{HeatmapSelection, Heatmaps, Jsonl, Sink};
use intakt_pipelines::sources::{Poster, file_frames};
use intakt_pipelines::{Camera, Detectors, Inspection, InspectionReport, PipelineError, Progress, inspect};

use super::watching::{Wanted, Watching};
use super::{recording, settings};
use crate::cli::{InspectArgs, SuppressionArgs};
use crate::progress::Shown;
use crate::report::{Counted, SuppressedLog};
use crate::server::{Listen, Token};
use crate::{Outcome, interrupt, report, run_file, terminal};

/// What is to be inspected by what.
struct Planned {
    cameras: Vec<Camera>,
    detectors: Detectors,
    /// Frames, where all cameras have an end.
    frames: Option<u64>,
    /// Files that are read, and must not be written.
    reads: Vec<PathBuf>,
    /// Folders that frames are taken from.
    folders: Vec<PathBuf>,
    record: Option<PathBuf>,
    listen: Option<Listen>,
    posters: Vec<Poster>,
}

/// Inspects, and says how it went.
pub(crate) fn run(args: &InspectArgs) -> Result<Outcome, PipelineError> {
    let options = settings::run_options(args.machine)?;
    let planned = if run_file::is_run_file(&args.detector) {
        from_run_file(args)?
    } else {
        from_paths(args)?
    };
    refuse_overwriting(args, &planned.reads)?;
    let record = args.record.clone().or(planned.record);
    for output in args.heatmaps.iter().chain(&record).chain(&args.run) {
        settings::refuse_output_among_frames(output, &planned.folders)?;
    }
    let progress: Arc<dyn Progress> = Arc::new(Shown::default());
    let mut sinks = sinks(args, &progress)?;
    let names: Vec<_> = planned
        .cameras
        .iter()
        .map(|camera| camera.source.camera().clone())
        .collect();
    let stop = interrupt::stop_flag()?;
    let wanted = Wanted {
        directory: args.run.as_deref(),
        listen: planned.listen,
        posters: planned.posters,
    };
    let watching = Watching::start(
        wanted,
        names.iter().cloned(),
        options.resources.latencies.clone(),
        &stop,
    )?;
    sinks.extend(watching.sinks());
    let making = match &record {
        Some(directory) => Some(recording::make(directory, names, &planned.detectors)?),
        None => None,
    };
    sinks.extend(making.iter().map(|making| making.verdicts.clone() as Arc<dyn Sink>));
    progress.begin("inspecting", planned.frames.unwrap_or(0));
    let inspection = Inspection {
        recorder: making.as_ref().map(|making| making.recorder.clone()),
        stop,
        ..Inspection::new(planned.cameras, Arc::new(planned.detectors), sinks)
    };
    let report = inspect(inspection, &options);
    watching.finish();
    making.into_iter().for_each(recording::Making::finish);
    let report = report?;
    progress.end();
    terminal::say(&report::inspection(&report));
    // A lot that was looked at in part must not be taken for one that passed.
    let captured = report.total(|account| account.captured);
    match planned.frames.map(|frames| frames.saturating_sub(captured)) {
        Some(left @ 1..) => Err(PipelineError::Stopped(format!("{left} frames were not inspected"))),
        _ => Ok(outcome_of(&report)),
    }
}

fn from_paths(args: &InspectArgs) -> Result<Planned, PipelineError> {
    if args.paths.is_empty() {
        let refusal = "cannot inspect nothing: name images, directories of images or manifests\n  hint: \
                       `intakt inspect line.intakt images/`, or a run file that ends in .toml";
        return Err(PipelineError::Refused(refusal.to_owned()));
    }
    let detector = settings::detector(&args.detector, &args.suppression)?;
    let collected = collect_images(&args.paths)?;
    let files = || collected.iter().flat_map(|camera| &camera.files);
    let named = args.paths.iter().chain([&args.detector]).chain(&args.suppression.roi);
    Ok(Planned {
        detectors: Detectors::common(detector),
        frames: Some(files().count() as u64),
        reads: named.chain(files().map(|file| &file.path)).cloned().collect(),
        folders: args.paths.clone(),
        record: None,
        listen: listen(args)?,
        posters: vec![],
        cameras: collected.into_iter().map(camera).collect(),
    })
}

fn camera(camera: CameraFiles) -> Camera {
    let files = camera.files.into_iter().map(|file| (file.path, file.captured_at_us));
    file_frames(camera.camera.into(), files.collect()).into()
}

fn from_run_file(args: &InspectArgs) -> Result<Planned, PipelineError> {
    let refused = |what: &str, hint: &str| {
        Err(PipelineError::Refused(format!(
            "cannot take {what} beside run file \"{}\"\n  hint: {hint}",
            args.detector.display()
        )))
    };
    if !args.paths.is_empty() {
        return refused("images", "give them a `[[camera]]` with `source = \"directory\"` in it");
    }
    if args.suppression != SuppressionArgs::default() {
        return refused("suppression rules", "state them at `fit`, each detector has its own");
    }
    let run = run_file::load(&args.detector, &args.server)?;
    let frames = run.cameras.iter().map(|planned| planned.frames).sum();
    Ok(Planned {
        detectors: run.detectors,
        frames,
        reads: run.reads.into_iter().chain([args.detector.clone()]).collect(),
        folders: run.folders,
        record: run.record,
        listen: run.listen,
        posters: run.posters,
        cameras: run.cameras.into_iter().map(|planned| planned.camera).collect(),
    })
}

/// Where to listen, without a run file.
fn listen(args: &InspectArgs) -> Result<Option<Listen>, PipelineError> {
    let token = args.server.token_file.as_deref().map(Token::read).transpose();
    let listen = token.and_then(|token| {
        let listen = args.server.listen.as_deref();
        listen.map(|address| Listen::new(address, token)).transpose()
    });
    listen.map_err(|reason| PipelineError::Refused(format!("cannot serve: {reason}")))
}

/// How the program ends after a run.
pub(crate) fn outcome_of(report: &InspectionReport) -> Outcome {
    match report.total(|account| account.rejected + account.unreadable) {
        0 => Outcome::Passed,
        _ => Outcome::Rejected,
    }
}

fn refuse_overwriting(args: &InspectArgs, reads: &[PathBuf]) -> Result<(), PipelineError> {
    if args.rates.as_ref() == Some(&args.jsonl) {
        let refusal =
            "cannot write verdicts and rates to the same place\n  hint: give `--jsonl` or `--rates` a file of its own";
        return Err(PipelineError::Refused(refusal.to_owned()));
    }
    let outputs = [Some(&args.jsonl), args.rates.as_ref()];
    outputs
        .into_iter()
        .flatten()
        .try_for_each(|output| settings::refuse_overwriting(output, reads.iter().map(PathBuf::as_path)))
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
