//! `intakt inspect`: a verdict on every image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::detector::Detector;
use intakt_pipelines::cluster::{Cluster, Hosts};
use intakt_pipelines::datasets::{CameraFiles, collect_images};
use intakt_pipelines::sinks::{HeatmapSelection, Heatmaps, Jsonl, Sink};
use intakt_pipelines::sources::{Poster, StopFlag, file_frames};
use intakt_pipelines::{
    Camera, Controls, Detectors, Figures, Inspection, InspectionReport, PipelineError, Progress, inspect, load_detector,
};

use super::kept::{Elsewhere, RunDirectory, keep};
use super::lines::writer;
use super::recording::AsJudged;
use super::watching::{Wanted, Watching};
use super::{cluster, recording, settings};
use crate::cli::{InspectArgs, SuppressionArgs};
use crate::progress::Shown;
use crate::report::{Answers, Counted, Disagreements, SuppressedLog};
use crate::run_file::Question;
use crate::server::{Listen, Token, Told};
use crate::{Outcome, interrupt, report, run_file, supervise, terminal};

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
    cluster: Option<Cluster>,
    /// The cameras of other processes.
    elsewhere: Vec<Elsewhere>,
    /// Where to keep the run.
    run: Option<PathBuf>,
    figures: Figures,
    questions: Vec<Question>,
    listen: Option<Listen>,
    posters: Vec<Poster>,
}

/// Inspects, and says how it went.
pub(crate) fn run(args: &InspectArgs) -> Result<Outcome, PipelineError> {
    let mut options = settings::run_options(args.machine)?;
    let hosts = cluster::hosts(&args.cluster.hosts)?;
    let shadow = args.shadow.as_deref().map(load_detector).transpose()?;
    let mut planned = match (run_file::is_run_file(&args.detector), hosts) {
        (true, hosts) => from_run_file(args, hosts, shadow.as_ref())?,
        (false, None) => from_paths(args)?,
        (false, Some(_)) => {
            let refusal = "cannot share images among processes\n  hint: `--hosts` goes with a run file, which says whose a \
                           camera is";
            return Err(PipelineError::Refused(refusal.to_owned()));
        }
    };
    let mut cluster = planned.cluster.take();
    let process = cluster.as_ref().map(|cluster| cluster.process);
    refuse_overwriting(args, &planned.reads)?;
    let record = args.record.clone().or(planned.record.take());
    // A recording is of what a machine received: the frames of a camera stay where they are.
    let record = record.map(|directory| match process {
        Some(process) => directory.join(format!("process-{process}")),
        None => directory,
    });
    let run = args.keep.run.clone().or(planned.run.take());
    let status = run.as_ref().map(|directory| match process {
        Some(process @ 1..) => directory.join(format!("process-{process}")),
        _ => directory.clone(),
    });
    refuse_lonely_resume(args.keep.resume, run.as_deref(), record.as_deref())?;
    for output in args.heatmaps.iter().chain(&record).chain(&run) {
        settings::refuse_output_among_frames(output, &planned.folders)?;
    }
    let progress: Arc<dyn Progress> = Arc::new(Shown::default());
    let stop = interrupt::stop_flag()?;
    let Planned {
        mut cameras,
        mut detectors,
        figures,
        questions,
        frames,
        listen,
        posters,
        elsewhere,
        ..
    } = planned;
    let resume = args.keep.resume;
    if let (Some(directory), true) = (&record, resume) {
        recording::number_on(directory, &mut cameras);
    }
    let kept = match &run {
        // Process 0 keeps what all of them bring, and tells the others where it goes on.
        Some(directory) if process.unwrap_or(0) == 0 => Some(keep(
            directory,
            resume,
            &mut cameras,
            &elsewhere,
            &mut detectors,
            &figures,
            &stop,
        )?),
        _ => None,
    };
    if let (Some(cluster), Some(kept)) = (&mut cluster, &kept) {
        cluster.beginning = kept.beginning.clone();
    }
    options.cluster = cluster.map(Arc::new);
    let detectors = Arc::new(detectors);
    let controls = Controls::new(&cameras, Some(detectors.clone()))
        .with_cameras_elsewhere(elsewhere.into_iter().map(|other| other.camera).collect());
    let mut sinks = sinks(args, process, &progress)?;
    let disagreements = Arc::new(Disagreements::default());
    sinks.push(disagreements.clone());
    let answers = Arc::new(Answers::default());
    sinks.push(answers.clone());
    let names: Vec<Arc<str>> = cameras.iter().map(|camera| camera.source.camera().clone()).collect();
    let wanted = Wanted {
        directory: status.as_deref(),
        listen,
        posters,
        told: Told {
            controls: controls.clone(),
            labels: kept
                .is_some()
                .then_some(run.as_deref())
                .flatten()
                .map(|run| RunDirectory(run).labels()),
            detector_directories: run.iter().chain(&record).cloned().collect(),
        },
    };
    let latencies = options.resources.latencies.clone();
    let watching = Watching::start(wanted, names.iter().cloned(), latencies, &stop)?;
    sinks.extend(watching.sinks());
    let making = match &record {
        Some(directory) => Some(recording::make(directory, resume, names.clone(), &detectors)?),
        None => None,
    };
    if let Some(making) = &making {
        sinks.push(match process {
            Some(_) => Arc::new(AsJudged(making.verdicts.clone())),
            None => making.verdicts.clone(),
        });
    }
    let judged = |camera: &Arc<str>| kept.as_ref()?.next_seqs.get(camera).copied();
    let before: u64 = names.iter().filter_map(judged).sum();
    progress.begin("inspecting", frames.map_or(0, |frames| frames.saturating_sub(before)));
    ask(&controls, &questions)?;
    let live = cameras.iter().any(|camera| camera.source.is_live());
    let mut inspection = Inspection {
        figures,
        recorder: making.as_ref().map(|making| making.recorder.clone()),
        stop: stop.clone(),
        shadow: shadow.map(|shadow| Arc::new(Detectors::common(shadow))),
        ..Inspection::new(cameras, detectors, sinks.clone())
    };
    let kept = kept.map(|kept| kept.join(&mut inspection));
    let ended = StopFlag::default();
    let following = match &kept {
        Some(kept) => Some(kept.follow_labels(controls, sinks, &ended)?),
        None => None,
    };
    let report = inspect(inspection, &options);
    watching.finish();
    ended.stop();
    if following.is_some_and(|thread| thread.join().is_err()) {
        terminal::say("note: the thread that reads labels panicked; they are kept, and taken in when the run goes on");
    }
    making.into_iter().for_each(recording::Making::finish);
    if let Some(kept) = kept {
        // A camera that cannot be read again has ended when it was interrupted.
        kept.finish(report.is_ok() && (live || !stop.is_stopped()))?;
    }
    let report = report?;
    progress.end();
    terminal::say(&report::inspection(&report));
    let answers = answers.table();
    if !answers.is_empty() {
        terminal::say(&answers);
    }
    if args.shadow.is_some() {
        terminal::say(&disagreements.summary());
    }
    // A lot that was looked at in part must not be taken for one that passed.
    let captured = names.iter().filter_map(|name| report.cameras.get(name));
    let captured: u64 = captured.map(|account| account.captured).sum();
    match frames.map(|frames| frames.saturating_sub(before + captured)) {
        // What of them was judged before, another process than 0 does not count.
        Some(left @ 1..) if process.unwrap_or(0) == 0 || stop.is_stopped() => {
            Err(PipelineError::Stopped(format!("{left} frames were not inspected")))
        }
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
        cluster: None,
        elsewhere: Vec::new(),
        run: None,
        figures: settings::figures(&args.keep),
        questions: Vec::new(),
        listen: listen(args)?,
        posters: vec![],
        cameras: collected.into_iter().map(camera).collect(),
    })
}

fn camera(camera: CameraFiles) -> Camera {
    let files = camera.files.into_iter().map(|file| (file.path, file.captured_at_us));
    file_frames(camera.camera.into(), files.collect()).into()
}

fn from_run_file(
    args: &InspectArgs,
    hosts: Option<(Hosts, usize)>,
    shadow: Option<&Detector>,
) -> Result<Planned, PipelineError> {
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
    let place = cluster::place(hosts.as_ref());
    let run = run_file::load(&args.detector, place, &args.server, args.keep.run.is_some())?;
    let figures = run.figures.clone().unwrap_or_else(|| settings::figures(&args.keep));
    let detectors = run.names.iter().map(|camera| run.detectors.of(camera).id().clone());
    let shadow = shadow.map(|shadow| shadow.id().clone());
    let agreed: Vec<Arc<str>> = detectors.chain(shadow).collect();
    let cluster = hosts.map(|hosts| cluster::cluster(hosts, &args.cluster.hosts, &run.text, agreed, &figures));
    let frames = run.cameras.iter().map(|planned| planned.frames).sum();
    Ok(Planned {
        detectors: run.detectors,
        frames,
        reads: run.reads.into_iter().chain([args.detector.clone()]).collect(),
        folders: run.folders,
        record: run.record,
        cluster,
        elsewhere: run.elsewhere,
        figures,
        run: run.run,
        questions: run.questions,
        listen: run.listen,
        posters: run.posters,
        cameras: run.cameras.into_iter().map(|planned| planned.camera).collect(),
    })
}

/// Refuses to go on with what is not kept.
fn refuse_lonely_resume(resume: bool, run: Option<&Path>, record: Option<&Path>) -> Result<(), PipelineError> {
    if resume && run.is_none() {
        let what = if record.is_some() {
            "a recording alone"
        } else {
            "nothing"
        };
        return Err(PipelineError::Refused(format!(
            "cannot go on with {what}: `--resume` needs the directory of a run\n  hint: keep the run with `--run DIR`"
        )));
    }
    Ok(())
}

/// Asks the standing questions.
fn ask(controls: &Controls, questions: &[Question]) -> Result<(), PipelineError> {
    for Question { name, threshold } in questions {
        for camera in controls.cameras() {
            controls
                .what_if(camera, name.as_str().into(), Some(*threshold))
                .map_err(PipelineError::Refused)?;
        }
    }
    Ok(())
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
    let outputs = [Some(&args.jsonl), args.rates.as_ref(), args.disagreements.as_ref()];
    outputs
        .into_iter()
        .flatten()
        .try_for_each(|output| settings::refuse_overwriting(output, reads.iter().map(PathBuf::as_path)))
}

fn sinks(
    args: &InspectArgs,
    process: Option<usize>,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Arc<dyn Sink>>, PipelineError> {
    let mut sinks: Vec<Arc<dyn Sink>> = vec![Arc::new(Counted(progress.clone()))];
    let goes_on = goes_on(args);
    // What is written in order comes together at process 0; the others have nothing to write.
    if process.unwrap_or(0) == 0 {
        sinks.push(Arc::new(Jsonl::outcomes(
            writer(&args.jsonl, goes_on)?,
            &args.jsonl.to_string_lossy(),
        )));
        if let Some(path) = &args.rates {
            sinks.push(Arc::new(Jsonl::rates(writer(path, goes_on)?, &path.to_string_lossy())));
        }
        if let Some(path) = &args.disagreements {
            sinks.push(Arc::new(Jsonl::disagreements(
                writer(path, goes_on)?,
                &path.to_string_lossy(),
            )));
        }
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

/// Whether what is written is added to: a run that is resumed, or was started again by itself.
fn goes_on(args: &InspectArgs) -> bool {
    args.keep.resume || supervise::generation() > 1
}
