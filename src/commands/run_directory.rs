//! The directory of a run: where its files are, and what is to be known of it beside its store.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::dataflow::RatePlan;
use intakt_operators::metrics::AlertRule;
use intakt_pipelines::store::{Store, StoreOptions};
use intakt_pipelines::{Figures, PipelineError, write_atomically};
use serde::{Deserialize, Serialize};

/// Where the files of a run are.
pub(crate) struct RunDirectory<'a>(pub(crate) &'a Path);

impl RunDirectory<'_> {
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("run.sqlite")
    }

    pub(crate) fn labels(&self) -> PathBuf {
        self.0.join("labels.jsonl")
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

    /// Opens the store to look at it.
    pub(crate) fn open(&self) -> Result<Store, PipelineError> {
        Ok(Store::open_read_only(&self.store(), StoreOptions::default())?)
    }
}

/// What is to be known of a run beside its store.
#[derive(Serialize, Deserialize)]
struct SavedRun {
    plan: RatePlan,
    scores: bool,
    /// Whether all of its sources can be read again, so that it can go on as if it had not been interrupted.
    replayable: bool,
    alerts: Vec<Arc<str>>,
}

pub(super) fn save(files: &RunDirectory<'_>, figures: &Figures, replayable: bool) -> Result<(), PipelineError> {
    let saved = SavedRun {
        plan: figures.plan.clone(),
        scores: figures.scores,
        replayable,
        alerts: figures.rules.iter().map(|(rule, _)| rule.clone()).collect(),
    };
    let json = serde_json::to_vec_pretty(&saved).map_err(|error| PipelineError::Refused(error.to_string()))?;
    write_atomically(&files.about(), &json)
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
