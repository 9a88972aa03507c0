//! `intakt label`: what frames truly are.

use std::path::PathBuf;
use std::sync::Arc;

use intakt_operators::dataflow::{Alert, AlertState, ArrivedLabel, HOP_US, Rate, ScoreRate};
use intakt_pipelines::labels::{GivenLabel, LabelJournal, correct, parse_truth, read_labels};
use intakt_pipelines::sinks::Sink;
use intakt_pipelines::sources::CameraStream;
use intakt_pipelines::store::{Resumed, Store, StoreOptions, StoreSink};
use intakt_pipelines::{Camera, Controls, Figures, PipelineError};

use super::kept::Following;
use super::query::named;
use super::run_directory::{RunDirectory, about};
use super::settings;
use crate::cli::{LabelArgs, MachineArgs};
use crate::server::{NotNoted, TakesLabels};
use crate::{Outcome, terminal};

/// Frames that are named because they were not there; of more it is said how many.
const UNMATCHED_NAMED_MAX: usize = 10;

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
    let noted = labels.len();
    let horizon_us = match take_in(&files)? {
        TakenIn::ByTheRun => {
            terminal::say(&format!(
                "labels noted: {noted}; the run that is going on takes them in"
            ));
            return Ok(Outcome::Passed);
        }
        TakenIn::WhenItGoesOn => {
            terminal::say(&format!(
                "labels noted: {noted}; the run was interrupted, and takes them in when it goes on (`--resume`)"
            ));
            return Ok(Outcome::Passed);
        }
        TakenIn::Now { horizon_us } => horizon_us,
    };
    note_unmatched(&store, &labels)?;
    note_idle(&store, &labels, horizon_us)?;
    Ok(Outcome::Passed)
}

/// Who takes in labels that were noted.
pub(crate) enum TakenIn {
    /// The run, which is going on in another process.
    ByTheRun,
    /// The run, which was interrupted and can be read again, when it goes on.
    WhenItGoesOn,
    /// It was done now; labels count for so long, microseconds.
    Now { horizon_us: u64 },
}

/// Corrects the figures of a run that has ended by the labels that were noted since.
pub(crate) fn take_in(files: &RunDirectory<'_>) -> Result<TakenIn, PipelineError> {
    let Some(_lock) = files.lock()? else {
        return Ok(TakenIn::ByTheRun);
    };
    let (figures, replayable) = about(files)?;
    let horizon_us = figures.plan.horizon_us;
    let had_ended = files.open()?.has_ended()?;
    if replayable && !had_ended {
        return Ok(TakenIn::WhenItGoesOn);
    }
    correct_figures(files, figures, had_ended).map_err(|error| {
        PipelineError::Stopped(format!(
            "{error}\n  note: the labels are kept, and taken in by the next `label`, or when the run goes on"
        ))
    })?;
    Ok(TakenIn::Now { horizon_us })
}

/// Notes labels for the run that goes on in this process, by the path of its directory.
pub(crate) struct Noting(pub(crate) PathBuf);

impl TakesLabels for Noting {
    fn note(&self, labels: &[GivenLabel]) -> Result<(), NotNoted> {
        let journal = RunDirectory(&self.0).labels();
        LabelJournal::append(&journal, labels).map_err(|error| NotNoted::Failed(error.to_string()))
    }
}

/// Whoever mistyped a number is to see it.
fn note_unmatched(store: &Store, labels: &[GivenLabel]) -> Result<(), PipelineError> {
    let (mut named, mut unmatched) = (Vec::new(), 0);
    for GivenLabel { camera, seq, .. } in labels {
        if store.captured_at_us(camera, *seq)?.is_some() {
            continue;
        }
        unmatched += 1;
        if named.len() < UNMATCHED_NAMED_MAX {
            named.push(format!("frame {seq} of camera \"{camera}\""));
        }
    }
    let more = match unmatched - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    if unmatched > 0 {
        terminal::say(&format!(
            "note: no such frame was there: {}{more}; what was said of it is kept, and counts for nothing",
            named.join(", ")
        ));
    }
    Ok(())
}

/// Whoever waits for a figure to change is to see that it will not.
fn note_idle(store: &Store, labels: &[GivenLabel], horizon_us: u64) -> Result<(), PipelineError> {
    let (mut unjudged, mut late) = (0, 0);
    for GivenLabel { camera, seq, .. } in labels {
        match store.judged_at_us(camera, *seq)? {
            Some((_, false)) => unjudged += 1,
            Some((time_us, true)) => {
                let frozen_us = (time_us / HOP_US * HOP_US + HOP_US).saturating_add(horizon_us);
                late += u64::from(frozen_us <= store.committed_frontier_us());
            }
            None => {}
        }
    }
    if unjudged > 0 {
        terminal::say(&format!(
            "note: {unjudged} of them are about frames that were unreadable or dropped, and count for nothing"
        ));
    }
    if late > 0 {
        let hours = horizon_us as f64 / 3.6e9;
        terminal::say(&format!(
            "note: {late} of them come more than {hours} h of event time after their frames, and count for nothing\n  hint: \
             `label_horizon` in the run file says how long figures can be corrected"
        ));
    }
    Ok(())
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
fn correct_figures(files: &RunDirectory<'_>, figures: Figures, had_ended: bool) -> Result<(), PipelineError> {
    let store = Store::open(&files.store(), StoreOptions::default())?;
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
    sink.finish_correction(had_ended)?;
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
