//! What a run inspects with which detectors, and where: kept in its directory for its report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::detector::DetectorDescription;
use intakt_pipelines::sources::{Clock, SystemClock};
use intakt_pipelines::{Detectors, PipelineError, load_detector, write_atomically};
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::terminal;

/// Why nothing may be noted of a run.
pub(crate) const NOT_NOTED: &str = "the run was begun by an earlier version of Intakt, or what it noted is damaged";

/// Name of the file in a run's directory.
const FILE_NAME: &str = "inspected.json";

/// What is to be known of a run beside its outcomes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inspected {
    /// When it was first started, wall clock, microseconds since 1970.
    pub(crate) first_started_at_us: u64,
    /// When it was last started.
    pub(crate) started_at_us: u64,
    /// Where it was last started.
    pub(crate) environment: Environment,
    /// What paths of frames are relative to.
    pub(crate) working_directory: PathBuf,
    /// Where the frames are recorded.
    pub(crate) recording: Option<PathBuf>,
    /// Files of detectors that were named.
    pub(crate) detector_files: BTreeSet<PathBuf>,
    /// By camera, the detector that it began with.
    pub(crate) cameras: BTreeMap<Arc<str>, Arc<str>>,
    /// By id, those of all starts.
    pub(crate) detectors: BTreeMap<Arc<str>, DetectorDescription>,
}

/// Files that a report may need later.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) detectors: &'a [PathBuf],
    pub(crate) recording: Option<&'a Path>,
}

impl Inspected {
    /// Notes in the directory of a run what it begins, or goes on, to inspect.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn note(
        run: &Path,
        cameras: impl IntoIterator<Item = Arc<str>>,
        detectors: &Detectors,
        named: Named<'_>,
        environment: Environment,
    ) -> Result<(), PipelineError> {
        let now_us = SystemClock.now_us();
        // A run does not fail for notes that were damaged: they are made again. It was begun before they were.
        let (before, begun_us) = match Self::of_run(run) {
            Ok(Some(before)) => {
                let begun_us = before.first_started_at_us;
                (Some(before), begun_us)
            }
            Ok(None) => (None, now_us),
            Err(error) => {
                terminal::say(&format!("note: {error}; they are made anew"));
                let damaged_us = modified_us(&run.join(FILE_NAME)).unwrap_or(now_us);
                (None, damaged_us.min(now_us.saturating_sub(1)))
            }
        };
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or(path.to_owned());
        let mut noted = Self {
            first_started_at_us: begun_us,
            started_at_us: now_us,
            environment,
            working_directory: absolute(Path::new(".")),
            recording: named.recording.map(absolute),
            detector_files: named.detectors.iter().map(|path| absolute(path)).collect(),
            cameras: BTreeMap::new(),
            detectors: BTreeMap::new(),
        };
        if let Some(before) = before {
            noted.detector_files.extend(before.detector_files);
            noted.cameras = before.cameras;
            noted.detectors = before.detectors;
        }
        for camera in cameras {
            let detector = detectors.of(&camera);
            let describe = || DetectorDescription::of(&detector);
            noted.detectors.entry(detector.id().clone()).or_insert_with(describe);
            noted.cameras.insert(camera, detector.id().clone());
        }
        let json = serde_json::to_vec_pretty(&noted).map_err(|error| PipelineError::Refused(error.to_string()))?;
        write_atomically(&run.join(FILE_NAME), &json)
    }

    /// Describes those of `detectors` that cameras were switched to, as far as their files are still beside the run or its recording.
    pub(crate) fn describe_switched<'a>(&mut self, run: &Path, detectors: impl IntoIterator<Item = &'a Arc<str>>) {
        for id in detectors {
            if self.detectors.contains_key(id) {
                continue;
            }
            let directories = [Some(run), self.recording.as_deref()].into_iter().flatten();
            let mut files = directories.map(|directory| directory.join(format!("{id}.intakt")));
            let found = files.find_map(|file| load_detector(&file).ok().filter(|detector| detector.id() == id));
            if let Some(detector) = found {
                self.detectors.insert(id.clone(), DetectorDescription::of(&detector));
            }
        }
    }

    /// What was noted in the directory of a run; none where nothing was, by an earlier version.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn of_run(run: &Path) -> Result<Option<Self>, PipelineError> {
        let path = run.join(FILE_NAME);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(PipelineError::read(&path))?,
        };
        let noted = serde_json::from_slice(&bytes).map_err(|error| PipelineError::Load {
            what: "notes of a run",
            path,
            cause: error.to_string(),
        });
        noted.map(Some)
    }
}

/// When a file was last written to, microseconds since 1970.
fn modified_us(path: &Path) -> Option<u64> {
    let modified = std::fs::metadata(path).and_then(|about| about.modified()).ok()?;
    let since_1970 = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_micros()).ok()
}
