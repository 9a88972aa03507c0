//! `intakt label`: what frames truly are.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use intakt_operators::dataflow::{Alert, AlertState, ArrivedLabel, Rate, ScoreRate};
use intakt_pipelines::labels::{GivenLabel, IdleLabels, LabelJournal, correct, parse_truth, read_labels};
use intakt_pipelines::sinks::Sink;
use intakt_pipelines::sources::CameraStream;
use intakt_pipelines::store::{Resumed, Store, StoreOptions, StoreSink};
use intakt_pipelines::{Camera, Controls, Figures, PipelineError};

use super::kept::Following;
use super::query::named;
use super::run_directory::{RunDirectory, about};
use super::settings;
use crate::cli::{LabelArgs, MachineArgs};
use crate::server::{TakenIn, TakesLabels};
use crate::{Outcome, terminal};

/// Notes the labels, and corrects the figures that they change: at once, if the run is not going on; else the run does.
pub(crate) fn run(args: &LabelArgs) -> Result<Outcome, PipelineError> {
    let files = RunDirectory(&args.run);
    let store = files.open()?;
    let labels = match (&args.csv, &args.camera, args.seq, &args.truth) {
        (Some(csv), ..) => read_labels(csv)?,
        (None, Some(camera), Some(seq), Some(truth)) => vec![GivenLabel {
            camera: camera.as_str().into(),
            seq,
            truth: parse_truth(truth).map_err(PipelineError::Refused)?,
        }],
        _ => {
            return Err(PipelineError::Refused(
                "cannot label nothing: give `--camera`, `--seq` and `--truth`, or `--csv`".to_owned(),
            ));
        }
    };
    refuse_unknown_cameras(&store, &labels)?;
    LabelJournal::append(&files.labels(), &labels)?;
    let taken_in = take_in(&files)?;
    if let Some(by_whom) = taken_in.said() {
        terminal::say(&format!("labels noted: {}; {by_whom}", labels.len()));
    }
    let (figures, _) = about(&files)?;
    let idle = IdleLabels::among(&labels, &store, figures.plan.horizon_us)?;
    let unmatched = idle.unmatched_note(taken_in != TakenIn::Now);
    for note in unmatched.into_iter().chain(idle.notes()) {
        terminal::say(&format!("note: {note}"));
    }
    Ok(Outcome::Passed)
}

/// How long it is waited for another process that corrects the figures of the run.
const LOCKED_MAX: Duration = Duration::from_secs(60);

/// How long it is waited between two looks whether that process is done.
const LOOKED_EVERY: Duration = Duration::from_millis(50);

/// Corrects the figures of a run that has ended by the labels that were noted since.
pub(crate) fn take_in(files: &RunDirectory<'_>) -> Result<TakenIn, PipelineError> {
    let began = Instant::now();
    let _lock = loop {
        // Asked before the lock is: a run that begins has the lock first.
        let goes_on = files.says_it_goes_on();
        match files.lock()? {
            Some(lock) => break lock,
            None if goes_on => return Ok(TakenIn::ByTheRun),
            // Whoever corrects may have read the labels before these were noted.
            None if began.elapsed() < LOCKED_MAX => thread::park_timeout(LOOKED_EVERY),
            None => {
                return Err(PipelineError::Stopped(format!(
                    "another process has held the run in {} for {} s\n  note: the labels are kept, and taken in by the next `label`, or \
                     when the run goes on",
                    files.0.display(),
                    LOCKED_MAX.as_secs()
                )));
            }
        }
    };
    if can_go_on(files)? {
        return Ok(TakenIn::WhenItGoesOn);
    }
    let (figures, _) = about(files)?;
    correct_figures(files, figures).map_err(|error| {
        PipelineError::Stopped(format!(
            "{error}\n  note: the labels are kept, and taken in by the next `label`, or when the run goes on"
        ))
    })?;
    Ok(TakenIn::Now)
}

/// Whether a run that does not go on was interrupted, and can be read again: then it takes labels in when it goes on.
pub(crate) fn can_go_on(files: &RunDirectory<'_>) -> Result<bool, PipelineError> {
    let (_, replayable) = about(files)?;
    Ok(replayable && !files.open()?.has_ended()?)
}

/// Notes labels for the run that goes on in this process, by the path of its directory.
pub(crate) struct Noting(pub(crate) PathBuf);

impl TakesLabels for Noting {
    fn note(&self, labels: &[GivenLabel]) -> Result<TakenIn, String> {
        let journal = RunDirectory(&self.0).labels();
        LabelJournal::append(&journal, labels).map_err(|error| error.to_string())?;
        Ok(TakenIn::Now)
    }
}

fn refuse_unknown_cameras(store: &Store, labels: &[GivenLabel]) -> Result<(), PipelineError> {
    let known = store.cameras()?;
    let Some(unknown) = labels.iter().find(|label| !known.contains(&label.camera)) else {
        return Ok(());
    };
    if known.is_empty() {
        return Err(PipelineError::Refused(format!(
            "cannot label frame {} of camera \"{}\": no frame of the run is kept yet\n  hint: wait for the first second of it",
            unknown.seq, unknown.camera
        )));
    }
    Err(PipelineError::Refused(format!(
        "cannot label frame {} of camera \"{}\": the run has {}",
        unknown.seq,
        unknown.camera,
        named(&known)
    )))
}

/// A run that was killed is still one that was killed afterwards: its cameras may have used numbers that nobody has kept.
fn correct_figures(files: &RunDirectory<'_>, figures: Figures) -> Result<(), PipelineError> {
    let store = Store::open_to_correct(&files.store(), StoreOptions::default())?;
    // Nobody watches the cameras now, whatever ended the run.
    let resumed = Resumed::of(&store, &files.store(), figures.memory_us(), true)?;
    let mut cameras: Vec<Camera> = store.cameras()?.into_iter().map(silent).collect();
    let points = cameras
        .iter_mut()
        .map(|camera| {
            let name = camera.source.camera().clone();
            let point = store.resume_point(&name)?;
            Ok((name, camera.go_on(&point, true)))
        })
        .collect::<Result<_, PipelineError>>()?;
    let controls = Controls::new(&cameras, None);
    let said = Following::of(files, files.open()?)?.say_new(&controls, &|_, reason| {
        terminal::say(&format!("note: labels: {reason}"));
    });
    let sink = Arc::new(StoreSink::start(store, points, Vec::new(), None)?);
    let machine = MachineArgs {
        workers: Some(1),
        pool: Some(1),
    };
    correct(
        cameras,
        figures,
        resumed,
        vec![Arc::new(OnlyRetractions(sink.clone()))],
        &settings::run_options(machine)?,
    )?;
    sink.finish_correction()?;
    terminal::say(&format!(
        "labels taken in: {said}; `intakt query {} --show metrics` lists what they changed",
        files.0.display()
    ));
    Ok(())
}

/// Keeps what labels correct. They move time on by a second, in which nothing happened: no alert opens or closes by that.
struct OnlyRetractions(Arc<StoreSink>);

impl Sink for OnlyRetractions {
    fn label(&self, time_us: u64, label: &ArrivedLabel) -> Result<(), String> {
        self.0.label(time_us, label)
    }

    fn rate(&self, rate: &Rate) -> Result<(), String> {
        self.0.rate(rate)
    }

    fn score_rate(&self, rate: &ScoreRate) -> Result<(), String> {
        self.0.score_rate(rate)
    }

    fn alert(&self, alert: &Alert) -> Result<(), String> {
        match alert.state {
            AlertState::Retracted => self.0.alert(alert),
            AlertState::Opened | AlertState::Closed => Ok(()),
        }
    }

    fn passed(&self, frontier_us: u64) -> Result<(), String> {
        self.0.passed(frontier_us)
    }
}

/// A camera that only listens.
fn silent(camera: Arc<str>) -> Camera {
    let frames = Box::new(std::iter::empty());
    CameraStream { camera, frames }.into()
}
