//! Records while the inspection runs, on a thread of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::queue::Queue;
use super::storage::{Directory, DiskDirectory, recorded_files};
use super::tally::{RecordedCamera, Tally};
use super::writer::RecordingWriter;
use super::{RecordedEvent, Unwritten};
use crate::PipelineError;

/// Longest time between an event's turn and its being on the disk: with the time that the disk takes, a `kill -9` or a power
/// loss costs less than a second.
const SYNC_EVERY: Duration = Duration::from_millis(500);

/// How to record.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    /// What the run is called, for people.
    pub run: String,
    /// A file is followed by the next one when it has this many bytes; the last event may exceed it.
    pub file_bytes_max: u64,
    /// Bytes of events that wait for the disk. What does not fit is not recorded, and counted. Up to 1 MiB more for events that
    /// are no frames, and the chunk being written, come on top.
    pub buffer_bytes_max: u64,
    /// Whether the directory may hold a recording, which is then continued in a new file.
    pub resume: bool,
}

impl Default for RecorderOptions {
    /// Files of 256 MiB, which any file system and viewer takes, and a buffer of 64 MiB: a second of four cameras with 15
    /// frames of 1 MB, longer than a disk is usually busy.
    fn default() -> Self {
        Self {
            run: String::new(),
            file_bytes_max: 256 << 20,
            buffer_bytes_max: 64 << 20,
            resume: false,
        }
    }
}

/// What became of the events that were offered to a recorder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingAccount {
    /// What is in the recording, from this recorder.
    pub written: BTreeMap<Arc<str>, RecordedCamera>,
    /// What is not.
    pub unwritten: BTreeMap<Arc<str>, Unwritten>,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Why the recording ended early, if it did.
    pub trouble: Option<String>,
}

impl RecordingAccount {
    /// Frames in the recording, from this recorder.
    pub fn frames_written(&self) -> u64 {
        self.written.values().map(|camera| camera.frames).sum()
    }

    /// Frames that were offered and are not in it.
    pub fn frames_unwritten(&self) -> u64 {
        self.unwritten.values().map(|camera| camera.frames).sum()
    }
}

/// Writes a recording while events come. Trouble with the disk ends the recording, never the inspection.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: Queue,
    written: Tally,
    bytes: u64,
    trouble: Option<String>,
    /// Events that were put into the queue.
    offered: u64,
    /// How many of them somebody waits for.
    awaited: u64,
    /// How many of them are on the disk, or never will be.
    settled: u64,
}

impl Recorder {
    /// Records into `dir`, which is made if it does not exist.
    ///
    /// # Errors
    /// If the directory cannot be made or written, or holds a recording that was not to be resumed or cannot be.
    pub fn start(dir: &Path, options: RecorderOptions) -> Result<Self, PipelineError> {
        std::fs::create_dir_all(dir).map_err(PipelineError::write(dir))?;
        let present = recorded_files(dir)?;
        if !present.is_empty() && !options.resume {
            return Err(PipelineError::Refused(format!(
                "cannot record to \"{}\": it already holds a recording of {} files; give another directory",
                dir.display(),
                present.len()
            )));
        }
        check_own(&present)?;
        Self::start_in(DiskDirectory(dir.to_owned()), present.len() as u64, options)
    }

    /// Records into `directory` from file number `next_index` on.
    pub(super) fn start_in(
        directory: impl Directory + 'static,
        next_index: u64,
        options: RecorderOptions,
    ) -> Result<Self, PipelineError> {
        let mut writer = RecordingWriter::new(directory, options.run, next_index, options.file_bytes_max);
        writer.begin()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(options.buffer_bytes_max),
                written: Tally::default(),
                bytes: 0,
                trouble: None,
                offered: 0,
                awaited: 0,
                settled: 0,
            }),
            changed: Condvar::new(),
        });
        let writing = shared.clone();
        let thread = thread::Builder::new()
            .name("record".to_owned())
            .spawn(move || writing.write_until_closed(&mut writer))
            .map_err(|error| PipelineError::Refused(format!("cannot start the recorder's thread: {error}")))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { shared, thread })
    }

    /// Records `event` after those before it. Never waits for the disk: what finds the buffer full is counted, not written.
    pub fn record(&self, event: RecordedEvent) {
        let mut state = self.shared.lock();
        if state.queue.offer(event) {
            state.offered += 1;
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    /// Waits until what was recorded before is on the disk, or the recording has ended: whoever tells that frames were judged
    /// for good tells it after this. Gives up after `patience`; whether it was not needed.
    pub fn flush(&self, patience: Duration) -> bool {
        let mut state = self.shared.lock();
        let target = state.offered;
        state.awaited = state.awaited.max(target);
        self.shared.changed.notify_all();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| state.settled < target);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Why nothing is recorded any more, if so.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }

    /// What was written and what was not, so far. What is in the buffer is in neither.
    pub fn account(&self) -> RecordingAccount {
        let state = self.shared.lock();
        RecordingAccount {
            written: state.written.cameras.clone(),
            unwritten: state.queue.unwritten().clone(),
            bytes: state.bytes,
            trouble: state.trouble.clone(),
        }
    }

    /// Writes what is in the buffer, closes the file and says what became of everything. What comes later is unwritten.
    pub fn finish(&self) -> RecordingAccount {
        self.shared.lock().queue.close();
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            self.shared.lock().trouble = Some("the recorder's thread panicked".to_owned());
        }
        self.account()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed<D: Directory>(&self, writer: &mut RecordingWriter<D>) {
        // Also when this thread panics: nobody may wait for ever.
        let _settles = Settles(self);
        let outcome = self.write_all(writer);
        let mut state = self.lock();
        state.note_committed(writer);
        if let Err(error) = outcome {
            state.trouble = Some(error.to_string());
            state.queue.abandon(writer.uncommitted());
        }
    }

    fn write_all<D: Directory>(&self, writer: &mut RecordingWriter<D>) -> Result<(), PipelineError> {
        let mut synced_at = Instant::now();
        let mut taken = 0;
        loop {
            let wait = (!writer.is_synced()).then(|| SYNC_EVERY.saturating_sub(synced_at.elapsed()));
            match self.next(taken, wait) {
                Turn::Write(event) => {
                    if writer.is_synced() {
                        synced_at = Instant::now();
                    }
                    // What was missing is told beside the events that were offered, and nobody waits for it.
                    taken += u64::from(!matches!(event, RecordedEvent::Missing { .. }));
                    writer.write(&event)?;
                    self.lock().queue.release(&event);
                }
                Turn::Sync => {
                    writer.sync()?;
                    let mut state = self.lock();
                    state.note_committed(writer);
                    state.settled = taken;
                    self.changed.notify_all();
                    synced_at = Instant::now();
                }
                Turn::Finish => return writer.finish(),
            }
        }
    }

    /// What to do next, when `taken` events were taken: wait for an event no longer than `sync_within` where something is not
    /// synced.
    fn next(&self, taken: u64, sync_within: Option<Duration>) -> Turn {
        let mut state = self.lock();
        let deadline = sync_within.map(|within| Instant::now() + within);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let is_awaited = state.settled < state.awaited && state.awaited <= taken;
            if is_awaited || left == Some(Duration::ZERO) {
                return Turn::Sync;
            }
            if let Some(event) = state.queue.take() {
                return Turn::Write(event);
            }
            if state.queue.is_closed() {
                return Turn::Finish;
            }
            state = match left {
                None => self.wait(state),
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Says at the end of the thread that writes that nothing more is written.
struct Settles<'a>(&'a Shared);

impl Drop for Settles<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.queue.close();
        state.settled = u64::MAX;
        self.0.changed.notify_all();
    }
}

enum Turn {
    Write(RecordedEvent),
    Sync,
    Finish,
}

impl State {
    fn note_committed<D: Directory>(&mut self, writer: &RecordingWriter<D>) {
        let (written, bytes) = writer.committed();
        self.written.clone_from(written);
        self.bytes = bytes;
    }
}

/// Refuses to continue what is no recording, or one of a newer version.
fn check_own(present: &[PathBuf]) -> Result<(), PipelineError> {
    for path in present {
        super::file_events::FileEvents::open(path)?;
    }
    Ok(())
}
