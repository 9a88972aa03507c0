//! `intakt replay`: the verdicts on a recorded run, again or under another detector or threshold.

use std::path::Path;
use std::sync::Arc;

use intakt_operators::detector::Detector;
use intakt_pipelines::recording::Recording;
use intakt_pipelines::sinks::{PictureKeeper, Sink};
use intakt_pipelines::sources::{OnChange, ReplayOptions, Source, SystemClock, recorded_cameras};
use intakt_pipelines::{Camera, Detectors, Inspection, Intake, PipelineError, Progress, inspect, load_detector};

use super::flips::Flips;
use super::inspect::outcome_of;
use super::kept::{Kept, keep};
use super::lines::{self, Begins};
use super::run_directory::{Counts, RunDirectory};
use super::watching::no_pictures;
use super::{cluster, recording, settings};
use crate::cli::ReplayArgs;
use crate::environment::Environment;
use crate::inspected::{Inspected, Named};
use crate::progress::Shown;
use crate::report::Counted;
use crate::{Outcome, interrupt, report, terminal};

/// Replays, and says how it went.
pub(crate) fn run(args: &ReplayArgs) -> Result<Outcome, PipelineError> {
    let mut options = settings::run_options(args.machine)?;
    let mut replay = replay_options(args)?;
    let hosts = cluster::hosts(&args.hosts)?;
    let process = hosts.as_ref().map(|(_, process)| *process);
    let opened = Recording::open(&args.recording)?;
    let mut detectors = detectors(args, &opened)?;
    let flips = match args.diff {
        true => Some(Arc::new(Flips::open(&recording::verdicts_of(&args.recording))?)),
        false => None,
    };
    let stop = interrupt::stop_flag(interrupt::JUDGED)?;
    let mut figures = recording::figures_of(&args.recording)?.unwrap_or_else(|| settings::figures(&args.keep));
    if let Some(asked) = &replay.cameras {
        figures.plan.cameras.retain(|camera| asked.contains(camera));
    }
    let progress: Arc<dyn Progress> = Arc::new(Shown::default());
    refuse_overwriting(args)?;
    // Under another detector the whole run is looked at by that, whatever was changed while it was recorded.
    let shared = Arc::new(detectors.clone());
    let on_change: OnChange = match args.detector {
        None => recording::repeat_changes(&args.recording, &shared, args.threshold),
        Some(_) => Arc::new(|_| Ok(None)),
    };
    let all: Vec<Arc<str>> = opened.cameras().keys().cloned().collect();
    if let Some(hosts) = hosts {
        refuse_keeping(args)?;
        let asked = replay.cameras.clone().unwrap_or_else(|| all.clone());
        replay.cameras = Some(share(&asked, hosts.1, hosts.0.processes()));
        let agreed = all.iter().map(|camera| shared.of(camera).id().clone());
        let text = format!(
            "replay of {} cameras {:?} from {:?} to {:?}",
            opened.run(),
            asked,
            replay.from_us,
            replay.to_us
        );
        let cluster = cluster::cluster(hosts, &args.hosts, &text, agreed, &figures);
        options.cluster = Some(Arc::new(cluster));
    }
    let (sources, log) = recorded_cameras(&opened, replay, on_change, &stop)?;
    let frames = sources
        .iter()
        .filter_map(|source| opened.cameras().get(source.camera()));
    progress.begin("replaying", frames.map(|camera| camera.frames).sum());
    let cameras = sources.into_iter().map(|source| Camera {
        intake: Intake::REPLAY,
        ..Camera::from(source)
    });
    let mut cameras: Vec<Camera> = cameras.collect();
    let kept = match &args.keep.run {
        Some(directory) => Some(keep(
            directory,
            args.keep.resume,
            &mut cameras,
            &[],
            &mut detectors,
            &Counts {
                figures: &figures,
                questions: &[],
            },
            &stop,
        )?),
        None => None,
    };
    if let Some(run) = &args.keep.run {
        let named = Named {
            detectors: args.detector.as_slice(),
            recording: Some(&args.recording),
        };
        let cameras = cameras.iter().map(|camera| camera.source.camera().clone());
        Inspected::note(run, cameras, &detectors, named, Environment::of(&options))?;
    }
    let mut sinks = sinks(args, process, kept.as_ref(), flips.as_ref(), &progress)?;
    let pictures = match &args.keep.run {
        Some(run) => Some(Arc::new(PictureKeeper::start(
            &RunDirectory(run).pictures(),
            Arc::new(SystemClock),
            |trouble| terminal::say(&no_pictures(trouble)),
        )?)),
        None => None,
    };
    sinks.extend(pictures.clone().map(|pictures| pictures as Arc<dyn Sink>));
    let mut inspection = Inspection {
        figures,
        stop: stop.clone(),
        ..Inspection::new(cameras, shared, sinks)
    };
    let kept = kept.map(|kept| kept.join(&mut inspection));
    let report = inspect(inspection, &options);
    if let Some(trouble) = pictures.and_then(|pictures| pictures.finish()) {
        terminal::say(&no_pictures(&trouble));
    }
    if let Some(kept) = kept {
        kept.finish(report.is_ok() && !stop.is_stopped())?;
    }
    let report = report?;
    progress.end();
    terminal::say(&report::inspection(&report));
    let notes = log.notes();
    notes.gaps.iter().for_each(|gap| terminal::say(&format!("note: {gap}")));
    if let Some(failure) = notes.failure {
        return Err(PipelineError::Stopped(failure));
    }
    // What flips is known where the log is.
    let Some(flips) = flips.filter(|_| process.unwrap_or(0) == 0) else {
        return Ok(outcome_of(&report));
    };
    let (flipped, text) = flips.report();
    terminal::print(&text)?;
    Ok(if flipped == 0 {
        Outcome::Passed
    } else {
        Outcome::Rejected
    })
}

fn refuse_overwriting(args: &ReplayArgs) -> Result<(), PipelineError> {
    let mut outputs = [&args.jsonl, &args.rates].into_iter().flatten();
    outputs.try_for_each(|path| settings::refuse_overwriting_in(path, &args.recording))
}

fn refuse_keeping(args: &ReplayArgs) -> Result<(), PipelineError> {
    match args.keep.run {
        Some(_) => Err(PipelineError::Refused(
            "cannot keep a replay of several processes\n  hint: leave out `--run`, or replay in one process".to_owned(),
        )),
        None => Ok(()),
    }
}

/// The cameras that a process replays: every process has its turn.
fn share(cameras: &[Arc<str>], process: usize, processes: usize) -> Vec<Arc<str>> {
    cameras.iter().skip(process).step_by(processes).cloned().collect()
}

fn replay_options(args: &ReplayArgs) -> Result<ReplayOptions, PipelineError> {
    let speed = match args.speed.as_str() {
        "max" => None,
        typed => Some(
            typed
                .parse()
                .ok()
                .filter(|speed: &f64| (0.001..=1e6).contains(speed))
                .ok_or_else(|| {
                    PipelineError::Refused(format!(
                        "cannot read `--speed {typed}`: it is `max`, or a number between 0.001 and 1000000"
                    ))
                })?,
        ),
    };
    let from_us = settings::time_us("--from", args.from.as_deref())?;
    let to_us = settings::time_us("--to", args.to.as_deref())?;
    if from_us.zip(to_us).is_some_and(|(from_us, to_us)| from_us >= to_us) {
        return Err(PipelineError::Refused(
            "cannot replay nothing: `--from` is not before `--to`".to_owned(),
        ));
    }
    Ok(ReplayOptions {
        cameras: args
            .cameras
            .as_ref()
            .map(|cameras| cameras.iter().map(|camera| camera.as_str().into()).collect()),
        from_us,
        to_us,
        speed,
    })
}

fn detectors(args: &ReplayArgs, recording: &Recording) -> Result<Detectors, PipelineError> {
    if let Some(threshold) = args.threshold.filter(|threshold| !threshold.is_finite()) {
        let refusal = format!("cannot reject above `--threshold {threshold}`: it is no finite score");
        return Err(PipelineError::Refused(refusal));
    }
    let adjust = |detector: Detector| match args.threshold {
        Some(threshold) => detector.with_image_threshold(threshold).map_err(PipelineError::Refused),
        None => Ok(detector),
    };
    match &args.detector {
        Some(path) => Ok(Detectors::common(adjust(load_detector(path)?)?)),
        None => recording::detectors_of(recording, &args.recording, adjust),
    }
}

fn sinks(
    args: &ReplayArgs,
    process: Option<usize>,
    kept: Option<&Kept>,
    flips: Option<&Arc<Flips>>,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Arc<dyn Sink>>, PipelineError> {
    let mut sinks: Vec<Arc<dyn Sink>> = vec![Arc::new(Counted(progress.clone()))];
    if process.unwrap_or(0) > 0 {
        // What is written in order comes together at process 0.
        return Ok(sinks);
    }
    let committed = kept.map(Kept::committed).transpose()?;
    let begins = match &committed {
        Some(Some(store)) => Begins::Committed(store),
        Some(None) | None => Begins::Empty,
    };
    let everywhere = (flips.is_none()).then_some(Path::new("-"));
    if let Some(path) = args.jsonl.as_deref().or(everywhere) {
        sinks.push(lines::outcomes(path, begins)?);
    }
    if let Some(path) = &args.rates {
        sinks.push(lines::rates(path, begins)?);
    }
    sinks.extend(flips.map(|flips| flips.clone() as Arc<dyn Sink>));
    Ok(sinks)
}
