//! How the frames of a run look that people should look at.
//!
//! A run's store keeps no pixels. Frames that came from files which are still there, or that were recorded, are looked at again with
//! their detector; the score says whether the file is the one that the run saw. Of the others the picture is shown that was kept beside
//! the run, which is larger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::detector::{Detector, DetectorDescription};
use intakt_operators::{Frame, Verdict};
use intakt_pipelines::pictures::Pictures;
use intakt_pipelines::recording::{Played, RecordedEvent, Recording};
use intakt_pipelines::review::{ReviewPicture, look_again};
use intakt_pipelines::sources::read_file;
use intakt_pipelines::store::NotableVerdicts;
use intakt_pipelines::{RunOptions, load_detector};

use crate::commands::run_directory::RunDirectory;
use crate::inspected::{Inspected, NOT_NOTED};

/// Recordings up to this size are searched for frames, bytes: some seconds of reading.
const SEARCHED_BYTES_MAX: u64 = 4 << 30;

/// The picture of each frame, or why there is none, in the order of `notable`.
pub(super) fn of(
    notable: &[NotableVerdicts],
    inspected: Option<&Inspected>,
    run: &Path,
    options: &RunOptions,
) -> Vec<Vec<Result<ReviewPicture, String>>> {
    let verdicts = || notable.iter().flat_map(|of_kind| &of_kind.verdicts);
    let finding = inspected.map(|noted| Finding {
        noted,
        detectors: detectors(noted, run, verdicts().map(|verdict| verdict.detector.clone()).collect()),
        recorded: recorded(
            noted,
            verdicts()
                .map(|verdict| (verdict.camera.clone(), verdict.seq))
                .collect(),
        ),
        options,
    });
    // A file that is damaged holds no picture.
    let kept = Pictures::look(&RunDirectory(run).pictures()).ok().flatten();
    let kept = |verdict: &Verdict| kept.as_ref()?.of(&verdict.camera, verdict.seq).ok().flatten();
    let picture = |verdict: &Arc<Verdict>| {
        let again = match &finding {
            Some(finding) => finding.look(verdict),
            None => Err(format!("where its detector is is not known: {NOT_NOTED}.")),
        };
        again.or_else(|why_not| kept(verdict).map(ReviewPicture::from).ok_or(why_not))
    };
    notable
        .iter()
        .map(|of_kind| of_kind.verdicts.iter().map(picture).collect())
        .collect()
}

/// Frames by camera and sequence.
type Recorded = BTreeMap<(Arc<str>, u64), Frame>;

/// What is needed to look again.
struct Finding<'a> {
    noted: &'a Inspected,
    detectors: BTreeMap<Arc<str>, Arc<Detector>>,
    recorded: Recorded,
    options: &'a RunOptions,
}

impl Finding<'_> {
    fn look(&self, verdict: &Verdict) -> Result<ReviewPicture, String> {
        let frame = self.frame(verdict)?;
        let detector = self.detectors.get(&verdict.detector).ok_or_else(|| {
            format!(
                "the file of detector {} is not where it was, or is another one now.",
                verdict.detector
            )
        })?;
        let look = look_again(detector.clone(), frame, self.options).map_err(|error| error.to_string())?;
        let found = look.verdict.image_score;
        // What recurs is suppressed by what came before, which is not looked at again.
        let is_same = found == verdict.image_score || detector.recipe().suppression.static_artefacts;
        match look.picture {
            Some(picture) if is_same => Ok(picture),
            Some(_) => Err(format!(
                "\"{}\" is not what the run saw: it scores {found:.4} now, and {:.4} then.",
                verdict.origin, verdict.image_score
            )),
            None => Err(format!("\"{}\" cannot be read as an image any more.", verdict.origin)),
        }
    }

    /// The frame as the run saw it: recorded, or from its file.
    fn frame(&self, verdict: &Verdict) -> Result<Frame, String> {
        // It is the only one of its stream this time.
        let alone = |frame: Frame| Frame {
            seq: 0,
            recorded: None,
            ..frame
        };
        if let Some(frame) = self.recorded.get(&(verdict.camera.clone(), verdict.seq)) {
            return Ok(alone(frame.clone()));
        }
        if verdict.origin.is_empty() {
            return Err("its picture is not among the newest that are kept, and this camera's frames are no files; `inspect --record` keeps all.".to_owned());
        }
        let path = self.noted.working_directory.join(&*verdict.origin);
        // Anything else, such as a pipe, might never end.
        if !path.is_file() {
            return Err(format!("\"{}\" is not there any more.", verdict.origin));
        }
        let bytes = read_file(&path)?;
        Ok(alone(Frame {
            camera: verdict.camera.clone(),
            seq: verdict.seq,
            captured_at_us: verdict.captured_at_us,
            origin: verdict.origin.clone(),
            bytes: Ok(bytes.into()),
            recorded: None,
        }))
    }
}

/// The detectors with these ids, as far as their files are still there.
fn detectors(noted: &Inspected, run: &Path, ids: BTreeSet<Arc<str>>) -> BTreeMap<Arc<str>, Arc<Detector>> {
    let beside = |directory: &Path, id: &str| directory.join(format!("{id}.intakt"));
    let kept = ids.iter().flat_map(|id| {
        let recorded = noted.recording.as_deref().map(|recording| beside(recording, id));
        [beside(run, id)].into_iter().chain(recorded)
    });
    let files: Vec<PathBuf> = noted.detector_files.iter().cloned().chain(kept).collect();
    let mut found = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let mut missing = ids.iter().filter(|id| !found.contains_key(*id)).peekable();
        if missing.peek().is_none() {
            break;
        }
        let Ok(detector) = load_detector(file) else { continue };
        let fitting: Vec<Arc<str>> = missing.filter(|id| fits(&detector, id, noted)).cloned().collect();
        for id in fitting {
            let detector = load_detector(file)
                .ok()
                .and_then(|detector| as_used(detector, &id, noted));
            if let Some(detector) = detector {
                found.insert(id, Arc::new(detector));
            }
        }
    }
    found
}

/// Whether a detector may be the one with this id, but for the rules on what does not count.
fn fits(detector: &Detector, id: &Arc<str>, noted: &Inspected) -> bool {
    let is_described = |described: &DetectorDescription| {
        described.recipe.backbone == detector.recipe().backbone && described.calibration == *detector.calibration()
    };
    detector.id() == id || noted.detectors.get(id).is_some_and(is_described)
}

/// The detector as the run used it: as it is, or with the rules that the run was given beside it.
fn as_used(detector: Detector, id: &Arc<str>, noted: &Inspected) -> Option<Detector> {
    if detector.id() == id {
        return Some(detector);
    }
    let mut parts = detector.into_parts();
    parts.recipe.suppression = noted.detectors.get(id)?.recipe.suppression.clone();
    Detector::new(parts).ok().filter(|detector| detector.id() == id)
}

/// The frames that were recorded, of those that are wanted.
fn recorded(noted: &Inspected, mut wanted: BTreeSet<(Arc<str>, u64)>) -> Recorded {
    let mut found = Recorded::new();
    let Some(Ok(recording)) = noted.recording.as_deref().map(Recording::open) else {
        return found;
    };
    let bytes = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    if recording.files().iter().map(bytes).sum::<u64>() > SEARCHED_BYTES_MAX {
        return found;
    }
    for played in recording.events() {
        let Ok(played) = played else { break };
        if let Played::Event(RecordedEvent::Frame { frame, .. }) = played {
            let key = (frame.camera.clone(), frame.seq);
            if wanted.remove(&key) {
                found.insert(key, frame);
            }
        }
        if wanted.is_empty() {
            break;
        }
    }
    found
}
