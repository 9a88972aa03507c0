//! What a server serves: a run that goes on here, one that is kept, or both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use intakt_operators::detector::DetectorDescription;
use intakt_pipelines::Controls;
use intakt_pipelines::labels::GivenLabel;
use intakt_pipelines::sinks::{LiveBoard, LiveStatus, Thumbnails};
use intakt_pipelines::sources::{Poster, StopFlag};
use intakt_pipelines::store::{Compared, Counted, Store, StoreError, StoreOptions};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::telling::unknown_camera;
use super::{Answers, Audit};

/// What a server serves.
#[derive(Clone)]
pub(crate) struct Served {
    /// The run.
    pub(crate) run: Run,
    /// Who keeps the run.
    pub(crate) keeper: Keeper,
    /// When the run was started.
    pub(crate) starts: Starts,
    /// Another run, to compare it with.
    pub(crate) other: Option<OtherRun>,
    /// Where it is noted who changed what; none where nothing of the run is kept.
    pub(crate) audit: Option<Arc<Audit>>,
}

/// When a run was started, wall clock, microseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Starts {
    /// When it was begun. Another run on the same port was begun at another time.
    pub(crate) first_us: u64,
    /// When it went on last.
    pub(crate) last_us: u64,
}

impl From<u64> for Starts {
    /// It was started once.
    fn from(first_us: u64) -> Self {
        Self {
            first_us,
            last_us: first_us,
        }
    }
}

/// A run beside the one that is served: another one of the same frames.
#[derive(Clone)]
pub(crate) struct OtherRun {
    /// What the two are called: the served one, and this one.
    pub(crate) names: [Arc<str>; 2],
    /// Where its store is.
    pub(crate) store: PathBuf,
    /// Where the pictures of its frames are, if there are any.
    pub(crate) pictures: PathBuf,
}

/// Where a run goes on, or went on.
#[derive(Clone)]
pub(crate) enum Run {
    /// In this process.
    Here(Live),
    /// Elsewhere, or not any more: what can be seen of it.
    Elsewhere(Arc<dyn Shown>),
}

/// A run that goes on in this process.
#[derive(Clone)]
pub(crate) struct Live {
    /// The picture of the run.
    pub(crate) board: Arc<LiveBoard>,
    /// Small pictures of its frames. It is a sink of the run.
    pub(crate) thumbnails: Arc<Thumbnails>,
    /// Who waits for verdicts. It is a sink of the run.
    pub(crate) answers: Arc<Answers>,
    /// The cameras that take posted frames.
    pub(crate) posters: BTreeMap<Arc<str>, Poster>,
    /// How its cameras are spoken to.
    pub(crate) controls: Controls,
    /// Where detectors are kept that cameras were switched to: beside the run and beside its recording.
    pub(crate) detector_directories: Vec<PathBuf>,
    /// Set when the run is ending.
    pub(crate) stop: StopFlag,
}

/// Who keeps a run.
#[derive(Clone)]
pub(crate) enum Keeper {
    /// Nobody.
    Nobody,
    /// It is in this process's reach.
    Here(Kept),
    /// Process 0, which is another one.
    Process0,
}

/// A run that is kept.
#[derive(Clone)]
pub(crate) struct Kept {
    /// Where its store is.
    pub(crate) store: PathBuf,
    /// Where the pictures of its frames are, if there are any.
    pub(crate) pictures: PathBuf,
    /// For how long labels correct figures, microseconds of event time.
    pub(crate) horizon_us: u64,
    /// Lengths of the windows that slide, as they are counted now, microseconds.
    pub(crate) windows_us: Vec<u64>,
    /// What takes labels.
    pub(crate) labels: Arc<dyn TakesLabels>,
    /// The detectors that were noted with the run.
    pub(crate) detectors: Arc<dyn NotedDetectors>,
}

/// The detectors of a run as it was given them, whatever thresholds were set later.
pub(crate) trait NotedDetectors: Send + Sync {
    /// The one with this id; none where that was not noted.
    fn of(&self, id: &str) -> Option<DetectorDescription>;

    /// All of them, each with the cameras that began with it.
    fn all(&self) -> Vec<(DetectorDescription, Vec<Arc<str>>)>;
}

/// Takes what people say about frames.
pub(crate) trait TakesLabels: Send + Sync {
    /// Notes labels; they are on the disk when this returns, and figures follow.
    ///
    /// # Errors
    /// Why the disk does not take them.
    fn note(&self, labels: &[GivenLabel]) -> Result<TakenIn, String>;
}

/// When labels that were noted are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenIn {
    /// At once.
    Now,
    /// By the run, which is going on in another process.
    ByTheRun,
    /// By the run, which was interrupted and can be read again, when it goes on.
    WhenItGoesOn,
}

impl TakenIn {
    /// What whoever labelled is told where it is not at once.
    pub(crate) fn said(self) -> Option<&'static str> {
        match self {
            Self::Now => None,
            Self::ByTheRun => Some("the run that is going on takes them in"),
            Self::WhenItGoesOn => Some("the run was interrupted, and takes them in when it goes on (`--resume`)"),
        }
    }
}

/// Says what a run is doing that does not go on in this process.
pub(crate) trait Shown: Send + Sync {
    /// The run as it is now; `counted` is counted on.
    ///
    /// # Errors
    /// A sentence.
    fn status(&self, counted: &mut Counted) -> Result<LiveStatus, String>;
}

impl Served {
    /// The run, where it goes on in this process.
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.run {
            Run::Here(live) => Some(live),
            Run::Elsewhere(_) => None,
        }
    }
}

/// The run that goes on here; without one, what needs it is refused.
pub(super) struct LiveRun(pub(super) Live);

impl FromRequestParts<Shared> for LiveRun {
    type Rejection = Refusal;

    async fn from_request_parts(_: &mut Parts, shared: &Shared) -> Result<Self, Refusal> {
        shared.served.live().cloned().map(Self).ok_or_else(|| {
            let error = "this needs a run that goes on here, and this server shows one from its directory: \
                         `intakt inspect … --listen` serves a run while it goes on";
            Refusal::new(StatusCode::CONFLICT, error.to_owned())
        })
    }
}

/// The run that is kept; without one, what needs it is refused.
pub(super) struct KeptRun(pub(super) Kept);

impl FromRequestParts<Shared> for KeptRun {
    type Rejection = Refusal;

    async fn from_request_parts(_: &mut Parts, shared: &Shared) -> Result<Self, Refusal> {
        shared.kept().map(Self)
    }
}

/// The run that is compared, and the other one; without two, what needs them is refused.
pub(super) struct TwoRuns(pub(super) Kept, pub(super) OtherRun);

impl FromRequestParts<Shared> for TwoRuns {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refusal> {
        let KeptRun(kept) = KeptRun::from_request_parts(parts, shared).await?;
        let error = "this needs another run to compare with: `intakt serve RUN --compare OTHER`";
        let other = shared.served.other.clone();
        other
            .map(|other| Self(kept, other))
            .ok_or_else(|| Refusal::new(StatusCode::CONFLICT, error.to_owned()))
    }
}

impl SharedState {
    /// The run that is kept, or why there is none.
    pub(super) fn kept(&self) -> Result<Kept, Refusal> {
        let error = match &self.served.keeper {
            Keeper::Here(kept) => return Ok(kept.clone()),
            Keeper::Nobody => "this needs a run that is kept: start it with `--run DIR`",
            Keeper::Process0 => "process 0 keeps the run: ask its server",
        };
        Err(Refusal::new(StatusCode::CONFLICT, error.to_owned()))
    }

    /// A place among the few who read what is kept of a run at once.
    pub(super) async fn place_to_read(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.place(&self.reads, "the run's store is being read by many already")
            .await
    }

    /// The place of the one who uploads: a detector is held whole, and parsed.
    pub(super) async fn place_to_upload(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.place(&self.uploads, "another detector is being uploaded").await
    }

    /// The place of the one who lists detectors: their files are read, one after the other.
    pub(super) async fn place_to_list(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.place(&self.lists, "detectors are being listed").await
    }

    async fn place<'a>(&self, places: &'a Semaphore, busy: &str) -> Result<SemaphorePermit<'a>, Refusal> {
        let waited = timeout(self.limits.place_wait_max, places.acquire()).await;
        let refusal = || Refusal::busy(busy.to_owned());
        waited.ok().and_then(Result::ok).ok_or_else(refusal)
    }

    /// Reads from the run's store beside the server's own thread; few do so at once.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        kept: &Kept,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let _place = self.place_to_read().await?;
        let path = kept.store.clone();
        let read = move || {
            let store = Store::open_read_only(&path, StoreOptions::default())?;
            work(&store)
        };
        blocking(read).await?.map_err(|error: StoreError| {
            // Without the path, which is nobody's business.
            let error = format!("cannot {} the run's store: {}", error.action, error.trouble);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)
        })
    }

    /// Refuses a camera that the run does not have.
    pub(super) async fn camera_of_run(&self, kept: &Kept, camera: Option<&str>) -> Result<(), Refusal> {
        let Some(camera) = camera else { return Ok(()) };
        let mut cameras: BTreeSet<Arc<str>> = self.read(kept, Store::cameras).await?.into_iter().collect();
        // Some may have no frame yet.
        cameras.extend(self.line.borrow().line.cameras.iter().map(|of| of.camera.clone()));
        match cameras.contains(camera) {
            true => Ok(()),
            false => Err(unknown_camera(camera, cameras.iter())),
        }
    }

    /// The same of two runs.
    pub(super) async fn read_both<T: Send + 'static>(
        &self,
        kept: &Kept,
        other: &OtherRun,
        work: impl FnOnce(&Store, &Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let path = other.store.clone();
        let read = move |store: &Store| work(store, &Store::open_read_only(&path, StoreOptions::default())?);
        self.read(kept, read).await
    }

    /// The same, with what was counted so far, which is counted on.
    pub(super) async fn read_counted<T: Send + 'static>(
        &self,
        kept: &Kept,
        work: impl FnOnce(&Store, &Counted) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let counted = self.counted.clone();
        let read = move |store: &Store| {
            let mut counted = lock(&counted);
            store.count_on(&mut counted)?;
            work(store, &counted)
        };
        self.read(kept, read).await
    }
}

/// What was counted of a run's frames.
pub(super) type SharedCounted = Arc<Mutex<Counted>>;

/// What was compared of two runs.
pub(super) type SharedCompared = Arc<Mutex<Compared>>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what takes time, or waits for a disk, beside the server's own thread.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        let error = "the server failed at this; nothing was changed";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_owned())
    })
}
