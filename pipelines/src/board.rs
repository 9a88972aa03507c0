//! What the workers of a run write on together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intakt_operators::dataflow::{Rate, RateKey};
use intakt_operators::{Decision, Outcome};

use crate::PipelineError;
use crate::inspect::CameraAccount;
use crate::sinks::Sink;
use crate::sources::StopFlag;

/// The sinks of a run, the accounts of its cameras, and why it stopped.
pub(crate) struct Board {
    sinks: Vec<Arc<dyn Sink>>,
    accounts: Mutex<BTreeMap<Arc<str>, CameraAccount>>,
    rates: Mutex<BTreeMap<RateKey, Rate>>,
    failure: Mutex<Option<String>>,
    stop: StopFlag,
}

impl Board {
    pub(crate) fn new(sinks: Vec<Arc<dyn Sink>>, stop: StopFlag) -> Self {
        Self {
            sinks,
            accounts: Mutex::default(),
            rates: Mutex::default(),
            failure: Mutex::default(),
            stop,
        }
    }

    /// Tells every sink. One that fails stops the run.
    pub(crate) fn tell(&self, what: impl Fn(&dyn Sink) -> Result<(), String>) {
        for sink in &self.sinks {
            what(sink.as_ref()).unwrap_or_else(|reason| self.fail(reason));
        }
    }

    /// Whether a sink draws.
    pub(crate) fn draws(&self) -> bool {
        self.sinks.iter().any(|sink| sink.draws())
    }

    /// Stops the run; of several reasons the first is told.
    pub(crate) fn fail(&self, reason: String) {
        self.stop.stop();
        lock(&self.failure).get_or_insert(reason);
    }

    pub(crate) fn count(&self, outcome: &Outcome) {
        let mut accounts = lock(&self.accounts);
        let account = accounts.entry(outcome.camera().clone()).or_default();
        let Outcome::Judged(verdict) = outcome else {
            account.dropped += 1;
            return;
        };
        match verdict.decision {
            Decision::Unreadable { .. } => account.unreadable += 1,
            Decision::Pass => account.judged += 1,
            Decision::Reject => {
                account.judged += 1;
                account.rejected += 1;
            }
        }
    }

    /// Keeps the newest rate of every window that slides.
    pub(crate) fn rate(&self, rate: &Rate) {
        if rate.at_us == rate.end_us && !rate.open {
            lock(&self.rates).insert(rate.key.clone(), rate.clone());
        }
    }

    /// The newest rates.
    pub(crate) fn rates(&self) -> Vec<Rate> {
        std::mem::take(&mut *lock(&self.rates)).into_values().collect()
    }

    /// The accounts of the cameras, which delivered so many frames.
    ///
    /// Panics where a frame is unaccounted for (a bug of ours).
    ///
    /// # Errors
    /// Why the run stopped.
    pub(crate) fn accounts(
        &self,
        captured: BTreeMap<Arc<str>, u64>,
    ) -> Result<BTreeMap<Arc<str>, CameraAccount>, PipelineError> {
        if let Some(reason) = lock(&self.failure).take() {
            return Err(PipelineError::Stopped(reason));
        }
        let mut cameras = std::mem::take(&mut *lock(&self.accounts));
        for (camera, captured) in captured {
            cameras.entry(camera).or_default().captured = captured;
        }
        for (camera, account) in &cameras {
            let accounted = account.judged + account.unreadable + account.dropped;
            assert_eq!(
                account.captured, accounted,
                "every frame of camera {camera} has one verdict"
            );
        }
        Ok(cameras)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
