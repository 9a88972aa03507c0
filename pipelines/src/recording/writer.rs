//! Writes events to files, a chunk at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use mcap::records::{MessageHeader, Metadata};
use mcap::{McapError, WriteOptions};
use prost::Message;

use super::compressed_image::{self, CompressedImage};
use super::event_line::EventLine;
use super::storage::{Appender, Directory, GrowingFile};
use super::tally::Tally;
use super::{ABOUT_METADATA, ACCOUNT_METADATA, EVENTS_TOPIC, FORMAT_VERSION, RecordedEvent, image_topic};
use crate::PipelineError;

/// A chunk is written when it holds this much: it costs a hundredth of its size in headers and indexes even where the frames
/// are thumbnails, and a viewer that seeks reads no more than this beside what it wants.
const CHUNK_BYTES: u64 = 1 << 20;

/// Writes a recording. What is not committed is not in it; after an error it writes nothing more.
pub(super) struct RecordingWriter<D> {
    directory: D,
    run: String,
    file_bytes_max: u64,
    next_index: u64,
    open: Option<OpenFile>,
    /// In the chunk that is being filled.
    pending: Tally,
    pending_bytes: u64,
    committed: Tally,
    committed_bytes: u64,
    is_synced: bool,
    scratch: Vec<u8>,
}

struct OpenFile {
    index: u64,
    mcap: mcap::Writer<Appender>,
    file: Arc<GrowingFile>,
    schema: u16,
    events_channel: u16,
    image_channels: BTreeMap<Arc<str>, u16>,
    n_events: u64,
    last_time_ns: u64,
    committed_bytes: u64,
    committed: Tally,
}

impl<D: Directory> RecordingWriter<D> {
    /// Writes to `directory` from file number `next_index` on, to a new file when one has `file_bytes_max` bytes.
    pub(super) fn new(directory: D, run: String, next_index: u64, file_bytes_max: u64) -> Self {
        Self {
            directory,
            run,
            file_bytes_max,
            next_index,
            open: None,
            pending: Tally::default(),
            pending_bytes: 0,
            committed: Tally::default(),
            committed_bytes: 0,
            is_synced: true,
            scratch: Vec::new(),
        }
    }

    /// Opens the first file, so that a directory that cannot be written is known before the first frame.
    pub(super) fn begin(&mut self) -> Result<(), PipelineError> {
        self.open_file()
    }

    /// Adds `event` to the current chunk, and commits the chunk if it is full.
    pub(super) fn write(&mut self, event: &RecordedEvent) -> Result<(), PipelineError> {
        let ready = self.make_room();
        // Counted whether there is room or not: if it cannot be written it belongs to what is uncommitted.
        self.pending.count(event);
        self.is_synced = false;
        ready?;
        let open = self.open.as_mut().expect("a file was opened");
        let result = open.write(event, &mut self.scratch);
        self.pending_bytes += result.map_err(|error| self.failed(error))?;
        if self.pending_bytes >= CHUNK_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    /// Writes the current chunk: its events are then in the recording, whatever happens to this process.
    pub(super) fn commit(&mut self) -> Result<(), PipelineError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let before = open.committed_bytes;
        let result = open.commit(&self.pending);
        let after = result.map_err(|error| self.failed(error))?;
        self.committed.add(&std::mem::take(&mut self.pending));
        self.committed_bytes += after - before;
        self.pending_bytes = 0;
        Ok(())
    }

    /// Commits, and waits until it survives a power loss too.
    pub(super) fn sync(&mut self) -> Result<(), PipelineError> {
        self.commit()?;
        let synced = self.open.as_ref().map_or(Ok(()), |open| open.file.sync());
        synced.map_err(|error| self.failed(error.into()))?;
        self.is_synced = true;
        Ok(())
    }

    /// Commits and closes the file.
    pub(super) fn finish(&mut self) -> Result<(), PipelineError> {
        self.commit()?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let before = open.committed_bytes;
        let after = open.close().map_err(|error| self.failed(error))?;
        self.committed_bytes += after - before;
        self.is_synced = true;
        self.open = None;
        Ok(())
    }

    /// Whether everything that was written survives a power loss.
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// What is in the recording from this writer, and its bytes.
    pub(super) fn committed(&self) -> (&Tally, u64) {
        (&self.committed, self.committed_bytes)
    }

    /// What was written and never committed.
    pub(super) fn uncommitted(&self) -> &Tally {
        &self.pending
    }

    /// Opens the next file if there is none or the current one is full.
    fn make_room(&mut self) -> Result<(), PipelineError> {
        let is_full =
            |open: &OpenFile| open.n_events > 0 && open.committed_bytes + self.pending_bytes >= self.file_bytes_max;
        if self.open.as_ref().is_some_and(is_full) {
            self.finish()?;
        }
        if self.open.is_none() {
            self.open_file()?;
        }
        Ok(())
    }

    fn open_file(&mut self) -> Result<(), PipelineError> {
        let index = self.next_index;
        let path = self.directory.path(index);
        let storage = self.directory.create(index).map_err(PipelineError::write(&path))?;
        self.next_index += 1;
        let opened = OpenFile::begin(index, Arc::new(GrowingFile::new(storage)), &self.run);
        let open = opened.map_err(|error| PipelineError::write(&path)(io_error(error)))?;
        self.committed_bytes += open.committed_bytes;
        self.open = Some(open);
        Ok(())
    }

    /// Takes back what was written after the last commit, so that the file ends where the account says.
    fn failed(&mut self, error: McapError) -> PipelineError {
        let open = self.open.take().expect("only an open file fails");
        let path = self.directory.path(open.index);
        drop(open.mcap.into_inner());
        let cut = open.file.truncate(open.committed_bytes);
        let error = io_error(error);
        let cause = match cut {
            Ok(()) => error,
            Err(cut) => std::io::Error::new(error.kind(), format!("{error}; nor could its end be cut off: {cut}")),
        };
        PipelineError::write(&path)(cause)
    }
}

impl OpenFile {
    fn begin(index: u64, file: Arc<GrowingFile>, run: &str) -> Result<Self, McapError> {
        let mut mcap = WriteOptions::new()
            .compression(None)
            // Chunks end between events, when `commit` says so.
            .chunk_size(None)
            .disable_seeking(true)
            .library(format!(
                "intakt/{} {}",
                env!("CARGO_PKG_VERSION"),
                mcap::LIBRARY_IDENTIFIER
            ))
            .create(Appender(file.clone()))?;
        mcap.write_metadata(&Metadata {
            name: ABOUT_METADATA.to_owned(),
            metadata: [
                ("format_version", FORMAT_VERSION.to_string()),
                ("file", index.to_string()),
                ("run", run.to_owned()),
                ("intakt_version", env!("CARGO_PKG_VERSION").to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        })?;
        let schema = mcap.add_schema(compressed_image::SCHEMA, "protobuf", &compressed_image::schema_data())?;
        let events_channel = mcap.add_channel(0, EVENTS_TOPIC, "json", &BTreeMap::new())?;
        let mut open = Self {
            index,
            mcap,
            file,
            schema,
            events_channel,
            image_channels: BTreeMap::new(),
            n_events: 0,
            last_time_ns: 0,
            committed_bytes: 0,
            committed: Tally::default(),
        };
        open.commit(&Tally::default())?;
        Ok(open)
    }

    /// Adds the event's image, if it has one, and its line to the chunk. Their size in bytes.
    fn write(&mut self, event: &RecordedEvent, scratch: &mut Vec<u8>) -> Result<u64, McapError> {
        let mut bytes = 0;
        let log_time = event.time_us().map_or(self.last_time_ns, nanos);
        self.last_time_ns = self.last_time_ns.max(log_time);
        let mut header = MessageHeader {
            channel_id: self.events_channel,
            // The low bits of the event's number, so that a reader sees that none is missing.
            sequence: self.n_events as u32,
            log_time,
            publish_time: event.captured_at_us().map_or(log_time, nanos),
        };
        if let RecordedEvent::Frame { frame, .. } = event
            && let Ok(image) = &frame.bytes
        {
            scratch.clear();
            CompressedImage::new(&frame.camera, frame.captured_at_us, image)
                .encode(scratch)
                .expect("a vector grows");
            let channel_id = self.image_channel(&frame.camera)?;
            let sequence = frame.seq as u32;
            self.mcap.write_to_known_channel(
                &MessageHeader {
                    channel_id,
                    sequence,
                    ..header
                },
                scratch,
            )?;
            bytes += scratch.len() as u64;
        }
        let line = serde_json::to_vec(&EventLine::of(event)).expect("plain structs always make JSON");
        header.channel_id = self.events_channel;
        self.mcap.write_to_known_channel(&header, &line)?;
        self.n_events += 1;
        Ok(bytes + line.len() as u64)
    }

    fn image_channel(&mut self, camera: &Arc<str>) -> Result<u16, McapError> {
        if let Some(id) = self.image_channels.get(camera) {
            return Ok(*id);
        }
        let id = self
            .mcap
            .add_channel(self.schema, &image_topic(camera), "protobuf", &BTreeMap::new())?;
        self.image_channels.insert(camera.clone(), id);
        Ok(id)
    }

    fn commit(&mut self, pending: &Tally) -> Result<u64, McapError> {
        self.mcap.flush()?;
        self.committed.add(pending);
        self.committed_bytes = self.file.len();
        Ok(self.committed_bytes)
    }

    fn close(&mut self) -> Result<u64, McapError> {
        self.mcap.write_metadata(&Metadata {
            name: ACCOUNT_METADATA.to_owned(),
            metadata: self.committed.to_metadata(),
        })?;
        self.mcap.finish()?;
        self.file.sync()?;
        self.committed_bytes = self.file.len();
        Ok(self.committed_bytes)
    }
}

/// Logical and capture times are microseconds, MCAP's are nanoseconds; those after the year 2554 are as late as can be said.
fn nanos(time_us: u64) -> u64 {
    time_us.saturating_mul(1000)
}

fn io_error(error: McapError) -> std::io::Error {
    match error {
        McapError::Io(error) => error,
        other => std::io::Error::other(other),
    }
}
