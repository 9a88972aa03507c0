//! `intakt inspect`: a verdict on every image.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use intakt_operators::dataflow::Alert;
use intakt_pipelines::sinks::{HeatmapSelection, Heatmaps, Sink};
use intakt_pipelines::sources::StopFlag;
use intakt_pipelines::{
    Controls, Detectors, Inspection, InspectionReport, PipelineError, Progress, RunOptions, inspect,
};

use super::kept::{Kept, keep};
use super::label::Noting;
use super::lines::{self, Begins};
use super::planned::{Places, Planned};
use super::recording::{AsJudged, Making};
use super::run_directory::{Counts, RunDirectory};
use super::watching::{Wanted, Watching};
use super::{recording, settings};
use crate::cli::InspectArgs;
use crate::environment::Environment;
use crate::inspected::{Inspected, Named};
use crate::progress::Shown;
use crate::report::{Answers, Counted, Disagreements, SuppressedLog};
use crate::run_file::Question;
use crate::server::Keeper;
use crate::{Outcome, interrupt, report, supervise, terminal};

/// Inspects, and says how it went.
pub(crate) fn run(args: &InspectArgs) -> Result<Outcome, PipelineError> {
    let mut options = settings::run_options(args.machine)?;
    let mut planned = Planned::of(args)?;
    refuse_overwriting(args, &planned.reads)?;
    let places = Places::of(args, &planned)?;
    let stop = interrupt::stop_flag(interrupt::JUDGED)?;
    let kept = kept(args, &mut planned, &places, &stop)?;
    if let Some(run) = &places.run {
        note_inspected(run, &planned, &places, &options)?;
    }
    let process = planned.process();
    options.cluster = planned.cluster.take().map(Arc::new);
    let frames = planned.frames;
    let mut running = Running::start(args, planned, &places, kept, process, &options, &stop)?;
    let report = running.look(&options, &stop)?;
    running.say(args, &report);
    // A lot that was looked at in part must not be taken for one that passed.
    let captured = running.names.iter().filter_map(|name| report.cameras.get(name));
    let captured: u64 = captured.map(|account| account.captured).sum();
    match frames.map(|frames| frames.saturating_sub(running.judged_before + captured)) {
        // What of them was judged before, another process than 0 does not count.
        Some(left @ 1..) if process.unwrap_or(0) == 0 || stop.is_stopped() => {
            Err(PipelineError::Stopped(format!("{left} frames were not inspected")))
        }
        _ => Ok(outcome_of(&report)),
    }
}

/// Begins to keep the run, or goes on with the one that is there.
fn kept(
    args: &InspectArgs,
    planned: &mut Planned,
    places: &Places,
    stop: &StopFlag,
) -> Result<Option<Kept>, PipelineError> {
    if let (Some(directory), true) = (&places.record, args.keep.resume) {
        recording::number_on(directory, &mut planned.cameras);
    }
    let Some(directory) = &places.run else {
        return Ok(None);
    };
    let kept = keep(
        directory,
        args.keep.resume,
        &mut planned.cameras,
        &planned.elsewhere,
        &mut planned.detectors,
        &Counts {
            figures: &planned.figures,
            questions: &planned.questions,
        },
        stop,
    )?;
    if let Some(cluster) = &mut planned.cluster {
        cluster.beginning = kept.beginning.clone();
    }
    Ok(Some(kept))
}

/// Notes what is inspected with what, for the report.
fn note_inspected(run: &Path, planned: &Planned, places: &Places, options: &RunOptions) -> Result<(), PipelineError> {
    let here = planned.cameras.iter().map(|camera| camera.source.camera());
    let cameras = here.chain(planned.elsewhere.iter().map(|other| &other.camera));
    let named = Named {
        detectors: &planned.detector_files,
        recording: places.record.as_deref(),
    };
    Inspected::note(
        run,
        cameras.cloned(),
        &planned.detectors,
        named,
        Environment::of(options),
    )
}

/// An inspection with everything around it.
struct Running {
    inspection: Option<Inspection>,
    progress: Arc<dyn Progress>,
    /// The cameras that are read here.
    names: Vec<Arc<str>>,
    /// Frames of theirs that were judged before the run was interrupted.
    judged_before: u64,
    disagreements: Arc<Disagreements>,
    answers: Arc<Answers>,
    watching: Option<Watching>,
    making: Option<Making>,
    kept: Option<Kept>,
    /// Reads what people say about frames, until the flag is set.
    following: Option<JoinHandle<()>>,
    ended: StopFlag,
}

impl Running {
    fn start(
        args: &InspectArgs,
        planned: Planned,
        places: &Places,
        kept: Option<Kept>,
        process: Option<usize>,
        options: &RunOptions,
        stop: &StopFlag,
    ) -> Result<Self, PipelineError> {
        let progress: Arc<dyn Progress> = Arc::new(Shown::default());
        let (cameras, detectors) = (planned.cameras, Arc::new(planned.detectors));
        let names: Vec<Arc<str>> = cameras.iter().map(|camera| camera.source.camera().clone()).collect();
        let elsewhere = planned.elsewhere.into_iter().map(|other| other.camera);
        let controls = Controls::new(&cameras, Some(detectors.clone())).with_cameras_elsewhere(elsewhere.collect());
        let (disagreements, answers) = (Arc::<Disagreements>::default(), Arc::<Answers>::default());
        let committed = kept.as_ref().map(Kept::committed).transpose()?;
        let begins = match &committed {
            Some(Some(store)) => Begins::Committed(store),
            None if goes_on(args) => Begins::AsItIs,
            // A run begins, with `--resume` or without.
            Some(None) | None => Begins::Empty,
        };
        let mut sinks = sinks(args, process, begins, &progress)?;
        sinks.extend([disagreements.clone() as Arc<dyn Sink>, answers.clone()]);
        let wanted = Wanted {
            directory: places.status.as_deref(),
            listen: planned.listen,
            posters: planned.posters,
            controls: controls.clone(),
            keeper: match (&places.run, &places.status) {
                (Some(run), _) => {
                    Keeper::Here(RunDirectory(run).served(&planned.figures, Arc::new(Noting(run.clone()))))
                }
                (None, Some(_)) => Keeper::Process0,
                (None, None) => Keeper::Nobody,
            },
            audit: places
                .status
                .as_ref()
                .or(places.record.as_ref())
                .map(|directory| RunDirectory(directory).audit()),
            detector_directories: places.run.iter().chain(&places.record).cloned().collect(),
        };
        let latencies = options.resources.latencies.clone();
        let watching = Watching::start(wanted, process, names.iter().cloned(), latencies, stop)?;
        if let Some(Some(store)) = &committed {
            let open = store.open_alerts()?;
            watching.carry_over(&open);
            for Alert { rule, scope, .. } in open {
                terminal::say(&format!("alert still open: {rule}, of {scope}"));
            }
        }
        sinks.extend(watching.sinks());
        let making = match &places.record {
            Some(directory) => Some(recording::make(
                directory,
                args.keep.resume,
                names.clone(),
                &detectors,
                &planned.figures,
            )?),
            None => None,
        };
        if let Some(making) = &making {
            sinks.push(match process {
                Some(_) => Arc::new(AsJudged(making.verdicts.clone())),
                None => making.verdicts.clone(),
            });
        }
        let judged = |camera: &Arc<str>| kept.as_ref()?.judged_before.get(camera).copied();
        let judged_before = names.iter().filter_map(judged).sum();
        let left = |frames: u64| frames.saturating_sub(judged_before);
        progress.begin("inspecting", planned.frames.map_or(0, left));
        ask(&controls, &planned.questions)?;
        let mut inspection = Inspection {
            figures: planned.figures,
            recorder: making.as_ref().map(|making| making.recorder.clone()),
            stop: stop.clone(),
            shadow: planned.shadow.map(|shadow| Arc::new(Detectors::common(shadow))),
            ..Inspection::new(cameras, detectors, sinks.clone())
        };
        let (kept, ended) = (kept.map(|kept| kept.join(&mut inspection)), StopFlag::default());
        let following = match &kept {
            Some(kept) => Some(kept.follow_labels(controls, sinks, &ended)?),
            None => None,
        };
        Ok(Self {
            inspection: Some(inspection),
            progress,
            names,
            judged_before,
            disagreements,
            answers,
            watching: Some(watching),
            making,
            kept,
            following,
            ended,
        })
    }

    /// Looks at all frames, and ends what is around that, whatever became of it.
    fn look(&mut self, options: &RunOptions, stop: &StopFlag) -> Result<InspectionReport, PipelineError> {
        let inspection = self.inspection.take().expect("it is looked at once");
        let report = inspect(inspection, options);
        self.watching.take().into_iter().for_each(Watching::finish);
        self.ended.stop();
        let panicked = self.following.take().is_some_and(|thread| thread.join().is_err());
        if panicked {
            terminal::say(
                "note: the thread that reads labels panicked; they are kept, and taken in when the run goes on",
            );
        }
        let by_itself = report.is_ok() && !stop.is_stopped();
        self.making
            .take()
            .into_iter()
            .for_each(|making| making.finish(by_itself));
        if let Some(kept) = self.kept.take() {
            // A camera that cannot be read again has ended when it was interrupted.
            let ended = by_itself || (report.is_ok() && !kept.is_replayable);
            kept.finish(ended)?;
        }
        self.progress.end();
        report
    }

    fn say(&self, args: &InspectArgs, report: &InspectionReport) {
        terminal::say(&report::inspection(report));
        let answers = self.answers.table();
        if !answers.is_empty() {
            terminal::say(&answers);
        }
        if args.shadow.is_some() {
            terminal::say(&self.disagreements.summary());
        }
    }
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

/// How the program ends after a run.
pub(crate) fn outcome_of(report: &InspectionReport) -> Outcome {
    match report.total(|account| account.rejected + account.unreadable) {
        0 => Outcome::Passed,
        _ => Outcome::Rejected,
    }
}

fn refuse_overwriting(args: &InspectArgs, reads: &[PathBuf]) -> Result<(), PipelineError> {
    let outputs: Vec<&PathBuf> = [&args.at_once, &args.rates, &args.disagreements]
        .into_iter()
        .flatten()
        .chain([&args.jsonl])
        .collect();
    let twice = |(idx, output): (usize, &&PathBuf)| outputs[..idx].contains(output);
    if outputs.iter().enumerate().any(twice) {
        let refusal = "cannot write verdicts and rates to the same place\n  hint: give each of `--jsonl`, `--at-once`, `--rates` and \
                       `--disagreements` a file of its own";
        return Err(PipelineError::Refused(refusal.to_owned()));
    }
    outputs
        .into_iter()
        .try_for_each(|output| settings::refuse_overwriting(output, reads.iter().map(PathBuf::as_path)))
}

fn sinks(
    args: &InspectArgs,
    process: Option<usize>,
    begins: Begins<'_>,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Arc<dyn Sink>>, PipelineError> {
    let mut sinks: Vec<Arc<dyn Sink>> = vec![Arc::new(Counted(progress.clone()))];
    // What is written in order comes together at process 0; the others have nothing to write.
    if process.unwrap_or(0) == 0 {
        sinks.push(lines::outcomes(&args.jsonl, begins)?);
        if let Some(path) = &args.rates {
            sinks.push(lines::rates(path, begins)?);
        }
        if let Some(path) = &args.disagreements {
            sinks.push(lines::disagreements(path, begins)?);
        }
    }
    if let Some(path) = &args.at_once {
        sinks.push(lines::at_once(path, begins)?);
    }
    if let Some(directory) = &args.heatmaps {
        let selection = if args.all {
            HeatmapSelection::All
        } else {
            HeatmapSelection::Rejected
        };
        let heatmaps = Heatmaps::new(directory, selection);
        sinks.push(Arc::new(heatmaps.map_err(PipelineError::write(directory))?));
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
