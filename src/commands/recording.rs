//! What a recording holds beside the frames: the detectors that looked, and the verdicts they gave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::Outcome;
use intakt_operators::dataflow::JudgedFrame;
use intakt_operators::detector::Detector;
use intakt_pipelines::recording::{Played, RecordedEvent, Recorder, RecorderOptions, Recording, RecordingAccount};
use intakt_pipelines::sinks::{Jsonl, Sink};
use intakt_pipelines::sources::OnChange;
use intakt_pipelines::store::ChangeKind;
use intakt_pipelines::{Camera, Detectors, Figures, PipelineError, load_detector, save_detector};

use super::lines::{self, Begins};
use super::run_directory::{Counts, RunDirectory, about, save};
use crate::terminal;

/// A recording that is being made.
pub(crate) struct Making {
    pub(crate) recorder: Arc<Recorder>,
    /// Writes the verdicts into it.
    pub(crate) verdicts: Arc<Jsonl>,
    cameras: Vec<Arc<str>>,
}

/// Writes verdicts when they are given rather than in the order of time, which only process 0 of a cluster knows.
pub(crate) struct AsJudged(pub(crate) Arc<Jsonl>);

impl Sink for AsJudged {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        self.0.outcome(0, &Outcome::Judged(judged.verdict.clone()))
    }
}

/// Where a recording keeps the verdicts that were given.
pub(crate) fn verdicts_of(directory: &Path) -> PathBuf {
    directory.join("verdicts.jsonl")
}

/// Starts to record `cameras`, which `detectors` look at, into `directory`; or goes on with the recording that is there.
pub(crate) fn make(
    directory: &Path,
    resume: bool,
    cameras: Vec<Arc<str>>,
    detectors: &Detectors,
    figures: &Figures,
) -> Result<Making, PipelineError> {
    let run = directory
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let recorder = Recorder::start(
        directory,
        RecorderOptions {
            run,
            resume,
            ..RecorderOptions::default()
        },
    )?;
    // Frames are recorded whatever is counted.
    let counts = Counts {
        figures,
        questions: &[],
    };
    save(&RunDirectory(directory), &counts, true)?;
    for camera in &cameras {
        let detector = detectors.of(camera);
        let name = format!("{}.intakt", detector.id());
        let path = directory.join(&name);
        if !path.exists() {
            save_detector(&detector, &path)?;
        }
        recorder.record(RecordedEvent::Detector {
            camera: camera.clone(),
            detector: detector.id().clone(),
            path: name.into(),
            time_us: 0,
        });
    }
    // It may hold frames of which the run knows nothing.
    let begins = if resume { Begins::AsItIs } else { Begins::Empty };
    let verdicts = lines::outcomes(&verdicts_of(directory), begins)?;
    Ok(Making {
        recorder: Arc::new(recorder),
        verdicts,
        cameras,
    })
}

impl Making {
    /// Ends the recording and says what is in it. Cameras that were interrupted may go on, so that only those of a run that ended by
    /// itself have ended.
    pub(crate) fn finish(self, by_itself: bool) {
        for camera in self.cameras.into_iter().filter(|_| by_itself) {
            self.recorder.record(RecordedEvent::Ended { camera });
        }
        say(&self.recorder.finish());
    }
}

fn say(account: &RecordingAccount) {
    terminal::say(&format!(
        "recorded {} frames, {:.1} MB; {} could not be written",
        account.frames_written(),
        account.bytes as f64 / 1e6,
        account.frames_unwritten()
    ));
    if let Some(trouble) = &account.trouble {
        terminal::say(&format!("note: the recording ended early: {trouble}"));
    }
}

/// Lets live cameras number their frames behind those that a recording holds, of which not all were judged for good.
pub(crate) fn number_on(directory: &Path, cameras: &mut [Camera]) {
    let Ok(recording) = Recording::open(directory) else {
        // There is none yet; a damaged one is told of when it is to be continued.
        return;
    };
    for camera in cameras {
        let recorded = recording.cameras().get(camera.source.camera());
        camera.numbers_from = recorded.map_or(0, |recorded| recorded.next_seq);
    }
}

/// What was counted when the recording was made, as far as it says so.
pub(crate) fn figures_of(directory: &Path) -> Result<Option<Figures>, PipelineError> {
    match about(&RunDirectory(directory)) {
        Ok((figures, _)) => Ok(Some(figures)),
        Err(PipelineError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a replay does where the threshold or the detector of a camera was changed: the same. Thresholds are those that were
/// recorded, unless there is one for all; detectors lie beside the recording.
pub(crate) fn repeat_changes(directory: &Path, detectors: &Arc<Detectors>, for_all: Option<f32>) -> OnChange {
    let (directory, detectors) = (directory.to_owned(), detectors.clone());
    Arc::new(move |event| {
        let camera = event.camera();
        let current = detectors.newest(camera, None);
        let (changed, kind) = match event {
            RecordedEvent::Threshold { threshold, .. } if for_all.is_none() => {
                let changed = current.with_image_threshold(*threshold as f32)?;
                (Arc::new(changed), ChangeKind::Threshold(*threshold))
            }
            RecordedEvent::Detector { detector, path, .. } if detector != current.id() => {
                let mut changed = load(&directory, detector, path).map_err(|error| error.to_string())?;
                if let Some(threshold) = for_all {
                    changed = changed.with_image_threshold(threshold)?;
                }
                if changed.id() == current.id() {
                    // The one that looked from the beginning.
                    return Ok(None);
                }
                (Arc::new(changed), ChangeKind::Detector(detector.clone()))
            }
            _ => return Ok(None),
        };
        Ok(Some(detectors.add(camera, changed, kind)))
    })
}

/// The detectors that looked when the recording was made, each changed by `adjust`.
pub(crate) fn detectors_of(
    recording: &Recording,
    directory: &Path,
    adjust: impl Fn(Detector) -> Result<Detector, PipelineError>,
) -> Result<Detectors, PipelineError> {
    let mut loaded: BTreeMap<Arc<str>, Arc<Detector>> = BTreeMap::new();
    let mut detectors: Option<Detectors> = None;
    for played in recording.events() {
        // They come before the first frame; the first file may have been cut before them.
        let (camera, detector, path) = match played? {
            Played::Event(RecordedEvent::Detector {
                camera, detector, path, ..
            }) => (camera, detector, path),
            Played::Cut { .. } => continue,
            Played::Event(_) => break,
        };
        let known = match loaded.get(&detector) {
            Some(known) => known.clone(),
            None => Arc::new(adjust(load(directory, &detector, &path)?)?),
        };
        loaded.insert(detector, known.clone());
        detectors
            .get_or_insert_with(|| Detectors::common(known.clone()))
            .assign(&camera, known);
    }
    detectors.ok_or_else(|| {
        PipelineError::Refused(format!(
            "cannot replay \"{}\": it does not say which detector looked\n  hint: name one with `--detector`",
            directory.display()
        ))
    })
}

fn load(directory: &Path, id: &Arc<str>, name: &str) -> Result<Detector, PipelineError> {
    // A recording is nobody's word on where files are: a plain name in its own directory is all that is followed.
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    let path = directory.join(name);
    let refuse = |cause: String| PipelineError::Load {
        what: "recorded detector",
        path: path.clone(),
        cause,
    };
    if !plain {
        return Err(refuse("its name leads out of the recording".to_owned()));
    }
    let detector = load_detector(&path)?;
    match detector.id() == id {
        true => Ok(detector),
        false => Err(refuse(format!(
            "it is {}, but {id} looked when the recording was made",
            detector.id()
        ))),
    }
}
