//! The events of one file of a recording.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mcap::parse_record;
use mcap::records::{Metadata, Record, op};
use prost::Message;

use super::compressed_image::CompressedImage;
use super::event_line::EventLine;
use super::records::{Found, RecordReader};
use super::tally::Tally;
use super::{ABOUT_METADATA, ACCOUNT_METADATA, EVENTS_TOPIC, FORMAT_VERSION, RecordedEvent, image_topic};
use crate::PipelineError;

/// An open file of a recording, past its head.
pub(super) struct FileEvents {
    records: RecordReader,
    chunk: Chunk,
    decoder: Decoder,
    about: BTreeMap<String, String>,
    cut_at_byte: Option<u64>,
}

/// What comes next in a file.
pub(super) enum Step {
    Event(RecordedEvent),
    /// The file ends as it should.
    End,
    /// The file was cut at this byte.
    Cut {
        at_byte: u64,
    },
}

impl FileEvents {
    /// Opens `path` and reads its head. A file that was cut in its head is one without events.
    ///
    /// # Errors
    /// If it cannot be read, is no recording, or one of a newer version.
    pub(super) fn open(path: &Path) -> Result<Self, PipelineError> {
        let mut file = Self {
            records: RecordReader::open(path)?,
            chunk: Chunk::default(),
            decoder: Decoder::default(),
            about: BTreeMap::new(),
            cut_at_byte: None,
        };
        let foreign = "it is an MCAP file of another program; only recordings of Intakt can be replayed";
        for expected in [op::HEADER, op::METADATA] {
            match file.records.next()? {
                Found::Cut { at_byte } => {
                    file.cut_at_byte = Some(at_byte);
                    return Ok(file);
                }
                Found::Record { opcode, .. } if opcode == expected => {}
                Found::Record { .. } => return Err(file.records.refused(foreign.to_owned())),
            }
        }
        match metadata(file.records.data()) {
            Some(about) if about.name == ABOUT_METADATA => file.about = about.metadata,
            _ => return Err(file.records.refused(foreign.to_owned())),
        }
        file.check_head(path)?;
        Ok(file)
    }

    /// What the run was called; empty if the file was cut before it said so.
    pub(super) fn run(&self) -> &str {
        self.about.get("run").map_or("", String::as_str)
    }

    /// The next event, in the order of recording. Not to be asked again after anything else.
    ///
    /// # Errors
    /// If the disk fails or the file is damaged.
    pub(super) fn next(&mut self) -> Result<Step, PipelineError> {
        if let Some(at_byte) = self.cut_at_byte {
            return Ok(Step::Cut { at_byte });
        }
        loop {
            let at_byte = self.chunk.at_byte;
            while let Some((opcode, data)) = self.chunk.next().map_err(damage(&self.records, at_byte))? {
                let event = self.decoder.record(opcode, data);
                if let Some(event) = event.map_err(damage(&self.records, at_byte))? {
                    return Ok(Step::Event(event));
                }
            }
            let (opcode, at_byte) = match self.records.next()? {
                Found::Record { opcode, at_byte } => (opcode, at_byte),
                Found::Cut { at_byte } => return Ok(Step::Cut { at_byte }),
            };
            match opcode {
                op::CHUNK => {
                    self.records.swap_data(&mut self.chunk.record);
                    self.chunk.open(at_byte).map_err(damage(&self.records, at_byte))?;
                }
                op::DATA_END => return self.end(at_byte),
                _ => {
                    let event = self.decoder.record(opcode, self.records.data());
                    if let Some(event) = event.map_err(damage(&self.records, at_byte))? {
                        return Ok(Step::Event(event));
                    }
                }
            }
        }
    }

    /// What the file holds: from its account if it was closed, else by reading it as far as it can be read.
    pub(super) fn tally(mut self) -> Result<Tally, PipelineError> {
        if self.records.is_closed()
            && let Some(tally) = self.account()?
        {
            return Ok(tally);
        }
        let mut tally = Tally::default();
        // Damage is told where the events are read; here it only ends the counting.
        while let Ok(Step::Event(event)) = self.next() {
            tally.count(&event);
        }
        Ok(tally)
    }

    /// The account at the end of the file. The reader is elsewhere then; if there is none, where it was.
    fn account(&mut self) -> Result<Option<Tally>, PipelineError> {
        let here = self.records.position();
        let tally = self.find_account()?;
        self.records.seek(here)?;
        Ok(tally)
    }

    fn find_account(&mut self) -> Result<Option<Tally>, PipelineError> {
        let Some(summary_start) = self.records.summary_start()? else {
            return Ok(None);
        };
        self.records.seek(summary_start)?;
        while let Ok(Found::Record { opcode, .. }) = self.records.next() {
            if opcode != op::METADATA_INDEX {
                continue;
            }
            let Ok(Record::MetadataIndex(index)) = parse_record(opcode, self.records.data()) else {
                continue;
            };
            if index.name == ACCOUNT_METADATA {
                self.records.seek(index.offset)?;
                let found = self.records.next();
                let is_metadata = matches!(
                    found,
                    Ok(Found::Record {
                        opcode: op::METADATA,
                        ..
                    })
                );
                let account = metadata(self.records.data()).filter(|account| account.name == ACCOUNT_METADATA);
                return Ok(account
                    .filter(|_| is_metadata)
                    .and_then(|account| Tally::from_metadata(&account.metadata)));
            }
        }
        Ok(None)
    }

    fn check_head(&self, path: &Path) -> Result<(), PipelineError> {
        let number = |key: &str| self.about.get(key).and_then(|value| value.parse::<u64>().ok());
        let Some(version) = number("format_version") else {
            return Err(self
                .records
                .refused("its head does not say which version it is".to_owned()));
        };
        if version > FORMAT_VERSION {
            let writer = self
                .about
                .get("intakt_version")
                .map_or("a newer version", String::as_str);
            return Err(self.records.refused(format!(
                "it has format version {version}, written by Intakt {writer}, and this Intakt reads up to {FORMAT_VERSION}; \
                 use a newer Intakt"
            )));
        }
        let name = number("file").map(|index| format!("{index:06}"));
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        if name.as_deref() != stem.as_deref() {
            return Err(self.records.refused(format!(
                "its head says that it is file {} of its recording; give it that name again",
                name.as_deref().unwrap_or("unknown")
            )));
        }
        Ok(())
    }

    fn end(&mut self, at_byte: u64) -> Result<Step, PipelineError> {
        if !self.records.is_closed() {
            // All events are there, and the summary is not.
            let at_byte = self.records.len();
            return Ok(Step::Cut { at_byte });
        }
        match self.decoder.account_events {
            Some(n_events) if n_events == self.decoder.n_events => Ok(Step::End),
            Some(n_events) => {
                let found = format!(
                    "{n_events} events were recorded, and {} are in it",
                    self.decoder.n_events
                );
                Err(self.records.damaged(at_byte, &found))
            }
            None => Err(self.records.damaged(at_byte, "its account is missing")),
        }
    }
}

fn damage(records: &RecordReader, at_byte: u64) -> impl FnOnce(String) -> PipelineError {
    move |found| records.damaged(at_byte, &found)
}

fn metadata(data: &[u8]) -> Option<Metadata> {
    match parse_record(op::METADATA, data) {
        Ok(Record::Metadata(metadata)) => Some(metadata),
        _ => None,
    }
}

/// The chunk at hand.
#[derive(Default)]
struct Chunk {
    record: Vec<u8>,
    at_byte: u64,
    next: usize,
    end: usize,
}

impl Chunk {
    /// Checks the chunk whose content is in `record`.
    fn open(&mut self, at_byte: u64) -> Result<(), String> {
        (self.at_byte, self.next, self.end) = (at_byte, 0, 0);
        let Record::Chunk { header, data } =
            parse_record(op::CHUNK, &self.record).map_err(|error| error.to_string())?
        else {
            return Err("a chunk that is none".to_owned());
        };
        if !header.compression.is_empty() {
            return Err(format!(
                "a chunk with {} compression, which recordings have not; undo it with `mcap decompress`",
                header.compression
            ));
        }
        let (found, expected) = (crc32fast::hash(&data), header.uncompressed_crc);
        if found != expected {
            return Err(format!("a chunk whose CRC is {found:08x} instead of {expected:08x}"));
        }
        let is_whole = header.uncompressed_size == header.compressed_size;
        self.next = self.record.len() - data.len();
        if !is_whole || data.len() as u64 != header.compressed_size {
            return Err("a chunk whose lengths contradict each other".to_owned());
        }
        self.end = self.record.len();
        Ok(())
    }

    /// The next record of the chunk.
    fn next(&mut self) -> Result<Option<(u8, &[u8])>, String> {
        if self.next == self.end {
            return Ok(None);
        }
        let rest = &self.record[self.next..self.end];
        let cut = || "a record that is longer than its chunk".to_owned();
        let (&opcode, rest) = rest.split_first().ok_or_else(cut)?;
        let (len, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| cut())?;
        let data = rest.get(..len).ok_or_else(cut)?;
        self.next += 1 + 8 + len;
        Ok(Some((opcode, data)))
    }
}

/// Makes events of messages, and sees that none is missing.
#[derive(Default)]
struct Decoder {
    topics: BTreeMap<u16, String>,
    /// The image that the next event must be about: topic, sequence, bytes.
    image: Option<(String, u32, Arc<[u8]>)>,
    n_events: u64,
    account_events: Option<u64>,
}

impl Decoder {
    fn record(&mut self, opcode: u8, data: &[u8]) -> Result<Option<RecordedEvent>, String> {
        match opcode {
            op::CHANNEL | op::MESSAGE => {}
            op::METADATA => {
                let account = metadata(data).filter(|metadata| metadata.name == ACCOUNT_METADATA);
                self.account_events = account
                    .and_then(|account| Tally::from_metadata(&account.metadata))
                    .map(|tally| tally.events);
                return Ok(None);
            }
            op::SCHEMA | op::MESSAGE_INDEX | op::ATTACHMENT => return Ok(None),
            _ => {
                return Err(format!(
                    "a record of the kind {opcode:#04x}, which does not belong there"
                ));
            }
        }
        match parse_record(opcode, data).map_err(|error| error.to_string())? {
            Record::Channel(channel) => {
                self.topics.insert(channel.id, channel.topic);
                Ok(None)
            }
            Record::Message { header, data } => {
                let topic = self.topics.get(&header.channel_id);
                let topic = topic.ok_or_else(|| format!("a message of the unknown channel {}", header.channel_id))?;
                if topic == EVENTS_TOPIC {
                    return self.event(header.sequence, &data).map(Some);
                }
                let image = CompressedImage::decode(&*data)
                    .map_err(|error| format!("a message of {topic} that is no image: {error}"))?;
                let before = self
                    .image
                    .replace((topic.clone(), header.sequence, Arc::from(&*image.data)));
                before.map_or(Ok(None), |(topic, ..)| {
                    Err(format!("an image of {topic} without its event"))
                })
            }
            _ => Ok(None),
        }
    }

    fn event(&mut self, sequence: u32, line: &[u8]) -> Result<RecordedEvent, String> {
        // The low bits of the number are what a message has room for.
        let missing = sequence.wrapping_sub(self.n_events as u32);
        if missing != 0 {
            return Err(format!("event {} is missing; the next is {sequence}", self.n_events));
        }
        self.n_events += 1;
        let line: EventLine =
            serde_json::from_slice(line).map_err(|error| format!("an event that cannot be read: {error}"))?;
        let wanted = line.image_of().map(|(camera, seq)| (image_topic(camera), seq as u32));
        match (wanted, self.image.take()) {
            (None, None) => Ok(line.event(Arc::from([]))),
            (Some((camera, seq)), Some((topic, sequence, image))) if camera == topic && seq == sequence => {
                Ok(line.event(image))
            }
            (Some((topic, seq)), _) => Err(format!("a frame without its image {seq} of {topic}")),
            (None, Some((topic, ..))) => Err(format!("an image of {topic} without its event")),
        }
    }
}
