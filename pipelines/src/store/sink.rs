//! Keeps a run in its store while it goes on.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use intakt_kernels::give_way;
use intakt_operators::Outcome;
use intakt_operators::dataflow::{Alert as AlertEvent, AlertState, ArrivedLabel, HOP_US, Rate, ScoreRate};

use super::metrics::{count_metrics, score_metrics};
use super::reader::ResumePoint;
use super::{Alert, Change, Commit, HopBuffer, Store};
use crate::PipelineError;
use crate::recording::Recorder;
use crate::sinks::Sink;
use crate::sources::StopFlag;

/// Commits that wait for the disk. It takes a disk that is slower than this many seconds of event time until the run waits
/// for it.
const COMMITS_WAITING_MAX: usize = 16;

/// How long a commit waits for the recording's disk, which may hang: the inspection does not wait for that.
const RECORDER_PATIENCE: Duration = Duration::from_secs(2);

/// Commits what became of frames hop by hop, on a thread of its own, so that no verdict waits for the disk.
pub struct StoreSink {
    buffer: Mutex<HopBuffer>,
    commits: Mutex<Option<SyncSender<Commit>>>,
    thread: Mutex<Option<JoinHandle<Result<Store, String>>>>,
    failure: Arc<Mutex<Option<String>>>,
    /// Set where the last, incomplete hop of an interrupted run is not to be committed.
    discards_after: Option<StopFlag>,
    recorder: Arc<OnceLock<Arc<Recorder>>>,
}

impl StoreSink {
    /// Keeps in `store` what comes, for cameras that go on at `cameras`. `changes` are those that hold from the beginning.
    ///
    /// A run whose sources can be read again must not commit the hop in which it was interrupted: its rest is still to come.
    /// With `discards_after`, nothing is committed once that flag is set.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        store: Store,
        cameras: BTreeMap<Arc<str>, ResumePoint>,
        changes: Vec<Change>,
        discards_after: Option<StopFlag>,
    ) -> Result<Self, PipelineError> {
        let mut buffer = HopBuffer::new(HOP_US, store.committed_frontier_us());
        cameras
            .into_iter()
            .for_each(|(camera, point)| buffer.resume_camera(camera, point));
        changes.into_iter().for_each(|change| buffer.change(change));
        let (sender, receiver) = sync_channel(COMMITS_WAITING_MAX);
        let failure: Arc<Mutex<Option<String>>> = Arc::default();
        let recorder: Arc<OnceLock<Arc<Recorder>>> = Arc::default();
        let (failed, recording) = (failure.clone(), recorder.clone());
        let thread = thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || {
                give_way();
                let committed = commit_all(store, &receiver, &recording);
                committed.inspect_err(|reason| *lock(&failed) = Some(reason.clone()))
            })
            .map_err(|error| PipelineError::Refused(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            buffer: Mutex::new(buffer),
            commits: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            failure,
            discards_after,
            recorder,
        })
    }

    /// From now on a hop is committed when what `recorder` was given of it is on the disk: frames that are in the store are not
    /// recorded when the run goes on. A disk that hangs is waited for once, and again when it has caught up.
    pub fn commit_after(&self, recorder: Arc<Recorder>) {
        let is_first = self.recorder.set(recorder).is_ok();
        assert!(is_first, "a run is recorded once");
    }

    /// Waits until everything that was handed over is on the disk, and notes whether the run has `ended`.
    ///
    /// # Errors
    /// Why the store could not take it. What was committed before stays.
    pub fn finish(&self, ended: bool) -> Result<(), PipelineError> {
        self.close(ended, ended)
    }

    /// The same for what was corrected afterwards: all of it is kept, and whether the run has ended stays as it is.
    ///
    /// # Errors
    /// As [`StoreSink::finish`].
    pub fn finish_correction(&self) -> Result<(), PipelineError> {
        self.close(true, false)
    }

    /// Commits the `rest` too, if it is to be kept.
    fn close(&self, rest: bool, ended: bool) -> Result<(), PipelineError> {
        let commits = lock(&self.commits).take();
        if let (Some(commits), true) = (commits, rest) {
            // It is gone where a commit has failed, which is told below.
            let _ = commits.send(lock(&self.buffer).rest());
        }
        match lock(&self.thread).take().map(JoinHandle::join) {
            Some(Ok(Ok(store))) if ended => Ok(store.end()?),
            None | Some(Ok(Ok(_))) => Ok(()),
            Some(Ok(Err(reason))) => Err(PipelineError::Stopped(reason)),
            Some(Err(_)) => Err(PipelineError::Stopped(
                "the thread that writes the run store panicked".to_owned(),
            )),
        }
    }

    fn failure(&self) -> Result<(), String> {
        lock(&self.failure).clone().map_or(Ok(()), Err)
    }
}

fn commit_all(
    mut store: Store,
    commits: &Receiver<Commit>,
    recorder: &OnceLock<Arc<Recorder>>,
) -> Result<Store, String> {
    let mut patience = RECORDER_PATIENCE;
    for commit in commits {
        if let Some(recorder) = recorder.get() {
            let is_on_disk = recorder.flush(patience);
            patience = if is_on_disk { RECORDER_PATIENCE } else { Duration::ZERO };
        }
        store.commit(&commit).map_err(|error| error.to_string())?;
    }
    Ok(store)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for StoreSink {
    fn outcome(&self, time_us: u64, outcome: &Outcome) -> Result<(), String> {
        lock(&self.buffer).outcome(time_us, outcome.clone());
        self.failure()
    }

    fn label(&self, time_us: u64, arrived: &ArrivedLabel) -> Result<(), String> {
        lock(&self.buffer).label(time_us, arrived.ordinal, arrived.label.clone());
        Ok(())
    }

    fn rate(&self, rate: &Rate) -> Result<(), String> {
        let mut buffer = lock(&self.buffer);
        count_metrics(rate).for_each(|metric| buffer.metric(rate.at_us, metric));
        Ok(())
    }

    fn score_rate(&self, rate: &ScoreRate) -> Result<(), String> {
        let mut buffer = lock(&self.buffer);
        score_metrics(rate).for_each(|metric| buffer.metric(rate.at_us, metric));
        Ok(())
    }

    fn alert(&self, event: &AlertEvent) -> Result<(), String> {
        let alert = Alert {
            rule: event.rule.clone(),
            scope: super::metrics::scope_name(&event.scope).into(),
            opened_at_us: event.opened_at_us,
            closed_at_us: (event.state != AlertState::Opened).then_some(event.at_us),
            retracted: event.state == AlertState::Retracted,
        };
        lock(&self.buffer).alert(event.at_us, alert);
        Ok(())
    }

    fn change(&self, change: &Change) -> Result<(), String> {
        lock(&self.buffer).change(change.clone());
        Ok(())
    }

    fn passed(&self, frontier_us: u64) -> Result<(), String> {
        // The flag is set before any source ends because of it, so a hop that is incomplete for that reason is seen here.
        if self.discards_after.as_ref().is_some_and(StopFlag::is_stopped) {
            return Ok(());
        }
        let Some(commit) = lock(&self.buffer).passed(frontier_us) else {
            return Ok(());
        };
        let commits = lock(&self.commits);
        if commits.as_ref().is_some_and(|commits| commits.send(commit).is_ok()) {
            return Ok(());
        }
        self.failure()
    }
}
