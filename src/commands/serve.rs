//! `intakt serve`: a kept run in a browser, after it has ended or while another process runs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use intakt_operators::{Decision, DropReason};
use intakt_pipelines::PipelineError;
use intakt_pipelines::labels::{GivenLabel, LabelJournal};
use intakt_pipelines::sinks::{CameraStatus, DroppedCount, LastVerdict, LiveStatus, RunState};
use intakt_pipelines::sources::{Clock, SystemClock};
use intakt_pipelines::store::{Counted, CountedCamera, LastOutcome};

use super::label::{can_go_on, take_in};
use super::run_directory::{RunDirectory, about, goes_on, said_just_now};
use super::settings;
use crate::cli::ServeArgs;
use crate::server::{Keeper, Limits, OtherRun, Run, Served, Server, Shown, TakenIn, TakesLabels};
use crate::top::{Found, look};
use crate::{Outcome, interrupt, terminal};

/// How long it is waited between two looks whether somebody interrupted.
const LOOKED_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// Serves the run in `args.run` until it is interrupted.
pub(crate) fn run(args: &ServeArgs) -> Result<Outcome, PipelineError> {
    let files = RunDirectory(&args.run);
    files.open()?;
    let (figures, _) = about(&files)?;
    let other = args
        .compare
        .as_deref()
        .map(|other| other_run(&args.run, other))
        .transpose()?;
    let listen = settings::listen(&args.server, Some(LISTEN))?.expect("there is an address");
    let stop = interrupt::stop_flag("requests under way are still answered")?;
    let correcting = Correcting::start(&args.run)?;
    let server = {
        let noting = Arc::new(Noting {
            directory: args.run.clone(),
            wake: correcting.wake.clone(),
        });
        let served = Served {
            run: Run::Elsewhere(Arc::new(Directory(args.run.clone()))),
            keeper: Keeper::Here(files.served(&figures, noting)),
            starts: files.starts(),
            other,
            audit: Some(Arc::new(files.audit())),
        };
        Server::start(listen, served, Limits::default())?
    };
    terminal::say(&format!("listening on http://{}", server.address()));
    while !stop.wait(LOOKED_EVERY) {}
    server.finish();
    correcting.finish();
    Ok(Outcome::Passed)
}

/// The run that is compared with the one in `run`. The two are called as their directories are.
fn other_run(run: &Path, other: &Path) -> Result<OtherRun, PipelineError> {
    let files = RunDirectory(other);
    files.open()?;
    let name = |path: &Path| match path.file_name() {
        Some(name) => name.to_string_lossy().into(),
        None => path.display().to_string().into(),
    };
    Ok(OtherRun {
        names: [name(run), name(other)],
        store: files.store(),
        pictures: files.pictures(),
    })
}

/// Where it listens unless something else is said.
const LISTEN: &str = "127.0.0.1:8080";

/// What can be seen of the run in a directory.
struct Directory(PathBuf);

impl Shown for Directory {
    fn status(&self, counted: &mut Counted) -> Result<LiveStatus, String> {
        let now_us = SystemClock.now_us();
        let last_said = match look(&self.0) {
            Found::Status(status) if goes_on(&status) => return Ok(*status),
            Found::Status(status) => *status,
            Found::None(_) => LiveStatus::default(),
        };
        let mut read = || -> Result<LiveStatus, PipelineError> {
            let store = RunDirectory(&self.0).open()?;
            store.count_on(counted)?;
            let cameras = counted
                .cameras()
                .map(|(name, camera)| status_of(name, camera, &last_said));
            let newest = counted.cameras().filter_map(|(_, camera)| camera.last.as_ref());
            Ok(LiveStatus {
                state: match store.has_ended()? {
                    true => RunState::Ended,
                    // Its last second is on its way to the store, if it came to its end.
                    false if said_just_now(&last_said) => RunState::Ending,
                    false => RunState::Interrupted,
                },
                said_at_us: now_us,
                keeps_log: true,
                frontier_us: Some(store.committed_frontier_us()),
                newest_captured_at_us: newest.map(|last| last.captured_at_us).max(),
                cameras: cameras.collect(),
                stages: last_said.stages.clone(),
                alerts: store.open_alerts()?,
                ..LiveStatus::default()
            })
        };
        read().map_err(|error| error.to_string())
    }
}

/// A camera as it was when its run ended. What its store does not count is as the run said last, where that is of the same frames.
fn status_of(name: &Arc<str>, camera: &CountedCamera, last_said: &LiveStatus) -> CameraStatus {
    let said = last_said.cameras.iter().find(|said| said.camera == *name);
    let dropped_as_said = said.filter(|said| said.dropped_total() == camera.dropped);
    let last_verdict = camera.last.as_ref().map(|last| {
        let said = said.and_then(|said| said.last_verdict.as_ref());
        let latency_us = said
            .filter(|said| said.seq == last.seq)
            .and_then(|said| said.latency_us);
        last_verdict(last, latency_us)
    });
    CameraStatus {
        camera: name.clone(),
        captured: camera.judged() + camera.unreadable + camera.dropped,
        judged: camera.judged(),
        passed: camera.passed,
        rejected: camera.rejected,
        unreadable: camera.unreadable,
        dropped: dropped_as_said.map_or_else(|| dropped(camera.dropped), |said| said.dropped.clone()),
        waiting: 0,
        last_verdict,
        last_trouble: None,
        stages: said.map_or_else(Vec::new, |said| said.stages.clone()),
    }
}

/// Frames that were dropped for a reason that nobody said: the usual one.
fn dropped(frames: u64) -> Vec<DroppedCount> {
    let reason = DropReason::DropOldest;
    let dropped = (frames > 0).then_some(DroppedCount { reason, frames });
    dropped.into_iter().collect()
}

fn last_verdict(last: &LastOutcome, latency_us: Option<u64>) -> LastVerdict {
    LastVerdict {
        seq: last.seq,
        captured_at_us: last.captured_at_us,
        decision: match last.decision.as_str() {
            "pass" => Decision::Pass,
            "reject" => Decision::Reject,
            _ => Decision::Unreadable {
                reason: last.reason.clone().unwrap_or_default(),
            },
        },
        calibrated_score: last.calibrated_score,
        latency_us,
    }
}

/// Notes labels, and lets figures be corrected.
struct Noting {
    directory: PathBuf,
    wake: SyncSender<Wake>,
}

/// Why the thread that corrects is to look up.
enum Wake {
    Labelled,
    End,
}

impl TakesLabels for Noting {
    fn note(&self, labels: &[GivenLabel]) -> Result<TakenIn, String> {
        let files = RunDirectory(&self.directory);
        LabelJournal::append(&files.labels(), labels).map_err(|error| error.to_string())?;
        // A run that goes on holds its lock; of one that was killed the status may still be young. The thread that corrects holds it, too.
        let is_held = files.lock().is_ok_and(|lock| lock.is_none());
        if is_held && files.says_it_goes_on() {
            return Ok(TakenIn::ByTheRun);
        }
        // Where it is about to look anyway, it need not be told twice.
        let _ = self.wake.try_send(Wake::Labelled);
        // What cannot be read now is noted nevertheless, and the thread that corrects says why.
        match can_go_on(&files) {
            Ok(true) => Ok(TakenIn::WhenItGoesOn),
            Ok(false) | Err(_) => Ok(TakenIn::Now),
        }
    }
}

/// A thread that corrects figures whenever something was labelled: of all labels that came while it did so, at once.
struct Correcting {
    wake: SyncSender<Wake>,
    thread: JoinHandle<()>,
}

impl Correcting {
    fn start(directory: &Path) -> Result<Self, PipelineError> {
        let (wake, woken) = sync_channel(1);
        let directory = directory.to_owned();
        let thread = Builder::new()
            .name("correct".to_owned())
            .spawn(move || correct_all(&directory, &woken));
        let refused = |error| PipelineError::Refused(format!("cannot start a thread: {error}"));
        Ok(Self {
            wake,
            thread: thread.map_err(refused)?,
        })
    }

    /// Waits until what was labelled is in the figures.
    fn finish(self) {
        // It is gone where it has panicked, which was told then.
        let _ = self.wake.send(Wake::End);
        let _ = self.thread.join();
    }
}

fn correct_all(directory: &Path, woken: &Receiver<Wake>) {
    while let Ok(Wake::Labelled) = woken.recv() {
        match take_in(&RunDirectory(directory)) {
            Ok(taken_in) => {
                if let Some(by_whom) = taken_in.said() {
                    terminal::say(&format!("labels noted; {by_whom}"));
                }
            }
            Err(error) => terminal::say(&format!("note: {error}")),
        }
    }
}
