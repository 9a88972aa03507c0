//! The directory of a run that is kept: its store, its labels, the detectors it was switched to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::run_directory::{Counts, RunDirectory, save};
use super::same_files::refuse_changed_files;
use crate::terminal;
use intakt_operators::Label;
use intakt_operators::dataflow::TIME_MAX_US;
use intakt_operators::detector::Detector;
use intakt_pipelines::cluster::Beginning;
use intakt_pipelines::labels::{JournalLine, LabelJournal};
use intakt_pipelines::sinks::Sink;
use intakt_pipelines::sources::{Judged, StopFlag};
use intakt_pipelines::store::{Change, ChangeKind, ResumePoint, Resumed, Store, StoreOptions, StoreSink};
use intakt_pipelines::{Camera, Controls, Detectors, Inspection, PipelineError, load_detector};

/// How often it is looked whether somebody labelled something.
const LABELS_EVERY: Duration = Duration::from_millis(200);

/// A run that is being kept.
pub(crate) struct Kept {
    /// Commits what happens.
    sink: Arc<StoreSink>,
    /// Where the run goes on.
    resumed: Option<Resumed>,
    /// What other processes have to know of that.
    pub(crate) beginning: Beginning,
    directory: PathBuf,
    /// By camera whose frames come again, how many of them are left out because they are judged.
    pub(crate) judged_before: BTreeMap<Arc<str>, u64>,
    /// Whether all sources can be read again.
    pub(crate) is_replayable: bool,
    told: BTreeSet<u64>,
    /// Held while the run goes on.
    _lock: File,
}

/// A camera that another process reads.
#[derive(Clone)]
pub(crate) struct Elsewhere {
    pub(crate) camera: Arc<str>,
    /// Whether it can be read again.
    pub(crate) has_own_clock: bool,
}

/// Keeps a run in `directory`, or goes on with the one that is there: its cameras where they were, under the thresholds and
/// detectors they were switched to. Those `elsewhere` are told so by [`Kept::beginning`].
pub(crate) fn keep(
    directory: &Path,
    resume: bool,
    cameras: &mut [Camera],
    elsewhere: &[Elsewhere],
    detectors: &mut Detectors,
    counts: &Counts<'_>,
    stop: &StopFlag,
) -> Result<Kept, PipelineError> {
    std::fs::create_dir_all(directory).map_err(PipelineError::write(directory))?;
    let files = RunDirectory(directory);
    let Some(lock) = files.lock()? else {
        return Err(PipelineError::Refused(format!(
            "cannot keep the run in \"{}\": it is going on in another process\n  hint: end that one, or name another directory",
            directory.display()
        )));
    };
    let path = files.store();
    let there = Store::is_there(&path, StoreOptions::default())?;
    // One of which nothing was kept was refused or killed at its start, and may as well begin.
    let known = if there { Some(files.open()?) } else { None };
    let holds_anything = match &known {
        Some(store) => store.committed_frontier_us() > 0 || store.n_outcomes()? > 0,
        None => false,
    };
    if holds_anything && !resume {
        return Err(PipelineError::Refused(format!(
            "cannot keep the run in \"{}\": it holds a run already\n  hint: go on with that one with `--resume`, or name \
             another directory",
            directory.display()
        )));
    }
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let was_ended = match known {
        Some(store) => examine(&store, cameras)?,
        None => true,
    };
    let mut store = match there {
        true => Store::open(&path, StoreOptions::default())?,
        false => Store::create(&path, &name, StoreOptions::default())?,
    };
    let replayable =
        cameras.iter().all(|camera| camera.source.has_own_clock()) && elsewhere.iter().all(|other| other.has_own_clock);
    let differs = save(&files, counts, replayable)?;
    let mut beginning = Beginning {
        from_us: store.committed_frontier_us(),
        was_ended,
        ..Beginning::default()
    };
    if there {
        note_new_cameras(&store, cameras, elsewhere)?;
        differs.iter().for_each(|what| terminal::say(&format!("note: {what}")));
    }
    let changes = set_up(&store, &files, cameras, elsewhere, detectors, &mut beginning)?;
    let mut points = BTreeMap::new();
    for camera in cameras.iter_mut() {
        let name = camera.source.camera().clone();
        let point = store.resume_point(&name)?;
        points.insert(name.clone(), camera.go_on(&point, was_ended));
        if there {
            camera.source.leave_out(judged(&path, name));
        }
    }
    for Elsewhere { camera, has_own_clock } in elsewhere {
        let point = store.resume_point(camera)?;
        let goes_on = match has_own_clock {
            true => point.clone(),
            false => point.of_live(was_ended),
        };
        points.insert(camera.clone(), goes_on);
        beginning.cameras.insert(camera.clone(), point);
    }
    store.begin(&points)?;
    let resumed = match there {
        true => Some(Resumed::of(&store, &path, counts.figures.memory_us(), was_ended)?),
        false => None,
    };
    let told = told(&store)?;
    if there {
        let (run, start) = (directory.display(), store.generation());
        let kept = what_is_kept(store.n_outcomes()?, store.committed_frontier_us());
        terminal::say(&format!("going on with run \"{run}\" (start {start}): {kept}"));
    }
    let judged = |(camera, point): (&Arc<str>, &ResumePoint)| {
        let overtook = point.already_stored.len() as u64;
        (camera.clone(), point.next_seq + overtook)
    };
    let judged_before = points.iter().map(judged).collect();
    let sink = StoreSink::start(store, points, changes, replayable.then(|| stop.clone()))?;
    Ok(Kept {
        sink: Arc::new(sink),
        resumed,
        beginning,
        directory: directory.to_owned(),
        judged_before,
        is_replayable: replayable,
        told,
        _lock: lock,
    })
}

impl Kept {
    /// The store of a run that goes on, to look at; none where the run begins.
    pub(crate) fn committed(&self) -> Result<Option<Store>, PipelineError> {
        let files = RunDirectory(&self.directory);
        self.resumed.as_ref().map(|_| files.open()).transpose()
    }

    /// Lets the inspection go on where the run stopped, and be kept.
    pub(crate) fn join(mut self, inspection: &mut Inspection) -> Self {
        inspection.resumed = self.resumed.take();
        inspection.sinks.push(self.sink.clone());
        if let Some(recorder) = &inspection.recorder {
            self.sink.commit_after(recorder.clone());
        }
        self
    }

    /// Says to the cameras what people say about their frames, until `ended`.
    pub(crate) fn follow_labels(
        &self,
        controls: Controls,
        sinks: Vec<Arc<dyn Sink>>,
        ended: &StopFlag,
    ) -> Result<JoinHandle<()>, PipelineError> {
        let files = RunDirectory(&self.directory);
        let mut following = Following {
            journal: LabelJournal::new(files.labels()),
            store: files.open()?,
            told: self.told.clone(),
        };
        let ended = ended.clone();
        let trouble = move |camera: &Arc<str>, reason: &str| sinks.iter().for_each(|sink| sink.trouble(camera, reason));
        let follow = move || {
            loop {
                following.say_new(&controls, &trouble);
                if ended.wait(LABELS_EVERY) {
                    return;
                }
            }
        };
        let refused = |error| PipelineError::Refused(format!("cannot start a thread: {error}"));
        thread::Builder::new()
            .name("labels".to_owned())
            .spawn(follow)
            .map_err(refused)
    }

    /// Waits until all is on the disk, and notes whether the run has `ended`.
    pub(crate) fn finish(self, ended: bool) -> Result<(), PipelineError> {
        self.sink.finish(ended)
    }
}

/// Reads the journal of labels and says to cameras what they were not told before.
pub(crate) struct Following {
    journal: LabelJournal,
    store: Store,
    told: BTreeSet<u64>,
}

impl Following {
    /// For the labels of a run that are not in its store.
    pub(crate) fn of(files: &RunDirectory<'_>, store: Store) -> Result<Self, PipelineError> {
        Ok(Self {
            journal: LabelJournal::new(files.labels()),
            told: told(&store)?,
            store,
        })
    }

    /// Says what is new; how many labels that were.
    pub(crate) fn say_new(&mut self, controls: &Controls, trouble: &dyn Fn(&Arc<str>, &str)) -> usize {
        let nobody: Arc<str> = "labels".into();
        let lines = self.journal.read_new().unwrap_or_else(|error| {
            trouble(&nobody, &error.to_string());
            Vec::new()
        });
        let mut said = 0;
        for JournalLine { ordinal, label } in lines {
            if self.told.remove(&ordinal) {
                continue;
            }
            let outcome = label.and_then(|given| {
                let captured = self.store.captured_at_us(&given.camera, given.seq);
                controls.label(
                    ordinal,
                    Label {
                        // A frame without an outcome is still to come.
                        captured_at_us: captured.map_err(|error| error.to_string())?.unwrap_or(TIME_MAX_US),
                        camera: given.camera,
                        seq: given.seq,
                        truth: given.truth,
                    },
                )
            });
            match outcome {
                Ok(()) => said += 1,
                Err(reason) => trouble(&nobody, &format!("line {}: {reason}", ordinal + 1)),
            }
        }
        said
    }
}

/// Whether the run that is there has ended. Nothing of it is changed before it is known that it can go on.
fn examine(store: &Store, cameras: &[Camera]) -> Result<bool, PipelineError> {
    refuse_changed_files(store, cameras)?;
    Ok(store.has_ended()?)
}

/// Whoever goes on with another run by mistake is to see it.
fn note_new_cameras(store: &Store, cameras: &[Camera], elsewhere: &[Elsewhere]) -> Result<(), PipelineError> {
    let known = store.cameras()?;
    let here = cameras.iter().map(|camera| camera.source.camera());
    for camera in here.chain(elsewhere.iter().map(|other| &other.camera)) {
        if !known.is_empty() && !known.contains(camera) {
            terminal::say(&format!("note: camera \"{camera}\" is new to this run"));
        }
    }
    Ok(())
}

fn what_is_kept(outcomes: u64, frontier_us: u64) -> String {
    let up_to = format!("up to {:.3} s of event time", frontier_us as f64 / 1e6);
    match outcomes {
        0 => "no outcome is kept yet".to_owned(),
        1 => format!("1 outcome is kept, {up_to}"),
        many => format!("{many} outcomes are kept, {up_to}"),
    }
}

/// What the store at `path` holds of a camera, for a source that wants to know.
fn judged(path: &Path, camera: Arc<str>) -> Judged {
    let path = path.to_owned();
    Box::new(move |tell| {
        let store = Store::open_read_only(&path, StoreOptions::default());
        let told = store.and_then(|store| store.origins(&camera, tell));
        told.map_err(|error| error.to_string())
    })
}

fn told(store: &Store) -> Result<BTreeSet<u64>, PipelineError> {
    store.labels().map(|label| Ok(label?.ordinal)).collect()
}

/// Gives each camera the threshold and the detector that it was switched to, unless it is given another detector now. What is
/// to be noted of that.
fn set_up(
    store: &Store,
    files: &RunDirectory<'_>,
    cameras: &[Camera],
    elsewhere: &[Elsewhere],
    detectors: &mut Detectors,
    beginning: &mut Beginning,
) -> Result<Vec<Change>, PipelineError> {
    let mut stored: BTreeMap<Arc<str>, Vec<ChangeKind>> = BTreeMap::new();
    for change in store.changes() {
        let Change { camera, kind, .. } = change?;
        if let (Some(camera), ChangeKind::Threshold(_) | ChangeKind::Detector(_)) = (camera, &kind) {
            stored.entry(camera).or_default().push(kind);
        }
    }
    let mut changes = Vec::new();
    let here = cameras.iter().map(|camera| (camera.source.camera(), true));
    for (camera, is_here) in here.chain(elsewhere.iter().map(|other| (&other.camera, false))) {
        let given = detectors.of(camera);
        let history = stored.remove(camera).unwrap_or_default();
        let begun_with = history.iter().find_map(|kind| match kind {
            ChangeKind::Detector(id) => Some(id == given.id()),
            _ => None,
        });
        if begun_with == Some(true) && is_here {
            detectors.assign(camera, switched(given, &history, files)?);
        } else if begun_with == Some(true) {
            match &history[1..] {
                [] => {}
                [.., ChangeKind::Threshold(threshold)] if !history[1..].iter().any(is_detector) => {
                    beginning.thresholds.insert(camera.clone(), *threshold);
                }
                _ => return Err(switched_elsewhere(camera)),
            }
        } else {
            changes.push(Change {
                time_us: store.committed_frontier_us(),
                camera: Some(camera.clone()),
                kind: ChangeKind::Detector(given.id().clone()),
            });
        }
    }
    Ok(changes)
}

fn is_detector(kind: &ChangeKind) -> bool {
    matches!(kind, ChangeKind::Detector(_))
}

fn switched_elsewhere(camera: &str) -> PipelineError {
    PipelineError::Refused(format!(
        "cannot go on with camera \"{camera}\", which another process reads: it was switched to another detector\n  hint: name \
         that detector for the camera in the run file, on all machines"
    ))
}

/// The detector after all changes.
fn switched(
    given: Arc<Detector>,
    history: &[ChangeKind],
    files: &RunDirectory<'_>,
) -> Result<Arc<Detector>, PipelineError> {
    let mut current = given;
    for kind in &history[1..] {
        current = match kind {
            ChangeKind::Threshold(threshold) => current
                .with_image_threshold(*threshold as f32)
                .map_err(PipelineError::Refused)?
                .into(),
            ChangeKind::Detector(id) if id == current.id() => current,
            ChangeKind::Detector(id) => load_detector(&files.detector(id))?.into(),
            ChangeKind::Lot(_) => current,
        };
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_which_nothing_is_kept_has_come_to_no_time() {
        assert_eq!(what_is_kept(0, 1_000_000), "no outcome is kept yet");
        assert_eq!(
            what_is_kept(11, 1_500_000),
            "11 outcomes are kept, up to 1.500 s of event time"
        );
    }
}
