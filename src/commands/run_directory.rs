//! The directory of a run: where its files are, and what is to be known of it beside its store.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::dataflow::{RatePlan, Window};
use intakt_operators::detector::DetectorDescription;
use intakt_operators::metrics::AlertRule;
use intakt_pipelines::sinks::LiveStatus;
use intakt_pipelines::sources::{Clock, SystemClock};
use intakt_pipelines::store::{Store, StoreOptions};
use intakt_pipelines::{Figures, PipelineError, write_atomically};
use serde::{Deserialize, Serialize};

use crate::inspected::Inspected;
use crate::run_file::Question;
use crate::server::{Audit, Kept, NotedDetectors, Starts, TakesLabels};
use crate::top::{Found, look};

/// A run whose status file is older than this does not go on any more: it is written every second.
const SILENT_US: u64 = 5_000_000;

/// Where the files of a run are.
pub(crate) struct RunDirectory<'a>(pub(crate) &'a Path);

impl RunDirectory<'_> {
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("run.sqlite")
    }

    /// Pictures of the frames that people should look at.
    pub(crate) fn pictures(&self) -> PathBuf {
        self.0.join("pictures.sqlite")
    }

    pub(crate) fn labels(&self) -> PathBuf {
        self.0.join("labels.jsonl")
    }

    /// The log of who changed what.
    pub(crate) fn audit(&self) -> Audit {
        Audit::new(self.0.join("audit.jsonl"))
    }

    /// The run as a server shows it, with what takes its labels.
    pub(crate) fn served(&self, figures: &Figures, labels: Arc<dyn TakesLabels>) -> Kept {
        Kept {
            pictures: self.pictures(),
            store: self.store(),
            horizon_us: figures.plan.horizon_us,
            windows_us: figures.plan.windows_us.clone(),
            labels,
            detectors: Arc::new(Noted(self.0.to_owned())),
        }
    }

    fn about(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Where a detector that a camera was switched to is kept.
    pub(crate) fn detector(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.intakt"))
    }

    /// The right to write to the run; none while another process has it.
    pub(crate) fn lock(&self) -> Result<Option<File>, PipelineError> {
        let path = self.0.join("lock");
        let lock = |file: File| match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        };
        File::create(&path).and_then(lock).map_err(|cause| PipelineError::Io {
            action: "lock",
            path,
            cause,
        })
    }

    /// Whether a process said within the last seconds that the run goes on.
    pub(crate) fn says_it_goes_on(&self) -> bool {
        matches!(look(self.0), Found::Status(status) if goes_on(&status))
    }

    /// When the run was started; now, if nobody noted it.
    pub(crate) fn starts(&self) -> Starts {
        match Inspected::of_run(self.0) {
            Ok(Some(noted)) => Starts {
                first_us: noted.first_started_at_us,
                last_us: noted.started_at_us,
            },
            Ok(None) | Err(_) => SystemClock.now_us().into(),
        }
    }

    /// Opens the store to look at it.
    pub(crate) fn open(&self) -> Result<Store, PipelineError> {
        Ok(Store::open_read_only(&self.store(), StoreOptions::default())?)
    }
}

/// Whether a run goes on that said this last.
pub(crate) fn goes_on(status: &LiveStatus) -> bool {
    !status.state.is_over() && said_just_now(status)
}

/// Whether its process may be there still.
pub(crate) fn said_just_now(status: &LiveStatus) -> bool {
    SystemClock.now_us().saturating_sub(status.said_at_us) < SILENT_US
}

/// The detectors that were noted in the directory of a run.
struct Noted(PathBuf);

impl NotedDetectors for Noted {
    fn of(&self, id: &str) -> Option<DetectorDescription> {
        Inspected::of_run(&self.0).ok().flatten()?.detectors.remove(id)
    }

    fn all(&self) -> Vec<(DetectorDescription, Vec<Arc<str>>)> {
        let Some(Inspected { detectors, cameras, .. }) = Inspected::of_run(&self.0).ok().flatten() else {
            return Vec::new();
        };
        let of = |id: &Arc<str>| {
            cameras
                .iter()
                .filter(|(_, detector)| *detector == id)
                .map(|(camera, _)| camera.clone())
                .collect()
        };
        detectors
            .into_iter()
            .map(|(id, described)| (described, of(&id)))
            .collect()
    }
}

/// What a run counts.
pub(crate) struct Counts<'a> {
    pub(crate) figures: &'a Figures,
    pub(crate) questions: &'a [Question],
}

/// What is to be known of a run beside its store.
#[derive(Serialize, Deserialize)]
struct SavedRun {
    plan: RatePlan,
    scores: bool,
    /// Whether all of its sources can be read again, so that it can go on as if it had not been interrupted.
    replayable: bool,
    alerts: Vec<Arc<str>>,
    #[serde(default)]
    what_ifs: Vec<Question>,
}

/// Saves what a run counts. What differs from how it went on so far, a sentence each.
pub(super) fn save(
    files: &RunDirectory<'_>,
    Counts { figures, questions }: &Counts<'_>,
    replayable: bool,
) -> Result<Vec<String>, PipelineError> {
    let saved = SavedRun {
        plan: figures.plan.clone(),
        scores: figures.scores,
        replayable,
        alerts: figures.rules.iter().map(|(rule, _)| rule.clone()).collect(),
        what_ifs: questions.to_vec(),
    };
    let before = std::fs::read(files.about()).ok();
    let before = before.and_then(|json| serde_json::from_slice::<SavedRun>(&json).ok());
    let differs = before.map_or(Vec::new(), |before| differences(&before, &saved));
    let json = serde_json::to_vec_pretty(&saved).map_err(|error| PipelineError::Refused(error.to_string()))?;
    write_atomically(&files.about(), &json)?;
    Ok(differs)
}

fn differences(before: &SavedRun, now: &SavedRun) -> Vec<String> {
    let pairs = before.in_words().into_iter().zip(now.in_words());
    let differ = pairs.filter(|(before, now)| before != now);
    differ
        .map(|((key, before), (_, now))| {
            format!("`{key}` was {before}, and is {now} from now on; figures of before stay as they are")
        })
        .collect()
}

impl SavedRun {
    /// What people set, by its key in a run file.
    fn in_words(&self) -> [(&'static str, String); 6] {
        let plan = &self.plan;
        let length = |length_us| Window::Sliding { length_us }.to_string();
        let shifts = plan.shifts.iter().flat_map(|shifts| {
            let starts = shifts.starts_minute.iter();
            starts.map(|start| {
                format!(
                    "{:02}:{:02} ({:+} min)",
                    start / 60,
                    start % 60,
                    shifts.utc_offset_minutes
                )
            })
        });
        [
            (
                "windows",
                listed(plan.windows_us.iter().map(|length_us| length(*length_us))),
            ),
            ("label_horizon", length(plan.horizon_us)),
            ("shifts", listed(shifts)),
            (
                "line",
                listed(plan.lines.iter().map(|(camera, line)| format!("{line} of {camera}"))),
            ),
            ("alerts", listed(self.alerts.iter().map(|rule| format!("\"{rule}\"")))),
            (
                "what_if",
                listed(
                    self.what_ifs
                        .iter()
                        .map(|Question { name, threshold }| format!("{name} at {threshold}")),
                ),
            ),
        ]
    }
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(", "),
    }
}

/// The figures that the run keeps, and whether it can go on as if it had not been interrupted.
pub(crate) fn about(files: &RunDirectory<'_>) -> Result<(Figures, bool), PipelineError> {
    let path = files.about();
    let bytes = std::fs::read(&path).map_err(PipelineError::read(&path))?;
    let refuse = |cause: String| PipelineError::Load {
        what: "run",
        path: path.clone(),
        cause,
    };
    let saved: SavedRun = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    saved.plan.check().map_err(refuse)?;
    let rules = saved.alerts.into_iter().map(|rule| {
        let read: AlertRule = rule.parse().map_err(refuse)?;
        Ok((rule, read))
    });
    let figures = Figures {
        rules: rules.collect::<Result<_, PipelineError>>()?,
        plan: saved.plan,
        scores: saved.scores,
    };
    Ok((figures, saved.replayable))
}
