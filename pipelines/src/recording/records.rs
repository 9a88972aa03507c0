//! Reads the records of an MCAP file from a stream. Nothing that a length in the file says is allocated before the bytes are
//! there, and nothing is mapped or held beyond the record at hand.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use mcap::MAGIC;
use mcap::records::op;

use crate::PipelineError;

/// Largest record that is read. A chunk of ours holds one event beyond 1 MiB, and no camera's encoded frame comes near this.
pub(super) const RECORD_BYTES_MAX: u64 = 1 << 30;

/// Opcode and length of a record.
const RECORD_HEAD_BYTES: u64 = 1 + 8;

/// Footer and closing magic.
const TAIL_BYTES: u64 = RECORD_HEAD_BYTES + 20 + MAGIC.len() as u64;

/// An open MCAP file.
pub(super) struct RecordReader {
    input: BufReader<File>,
    path: PathBuf,
    len: u64,
    position: u64,
    is_closed: bool,
    data: Vec<u8>,
}

/// What is found where a record begins.
pub(super) enum Found {
    /// A record of this opcode, which begins at this byte; its content is in [`RecordReader::data`].
    Record { opcode: u8, at_byte: u64 },
    /// The file ends here, in the middle of a record or where one should be.
    Cut { at_byte: u64 },
}

impl RecordReader {
    /// Opens the file and steps over its magic.
    ///
    /// # Errors
    /// If it cannot be read, or is no MCAP file.
    pub(super) fn open(path: &Path) -> Result<Self, PipelineError> {
        let mut file = File::open(path).map_err(PipelineError::read(path))?;
        let len = file.metadata().map_err(PipelineError::read(path))?.len();
        let is_closed = ends_properly(&mut file, len).map_err(PipelineError::read(path))?;
        let mut reader = Self {
            input: BufReader::with_capacity(1 << 16, file),
            path: path.to_owned(),
            len,
            position: 0,
            is_closed,
            data: Vec::new(),
        };
        reader.seek(0)?;
        let n_bytes = reader.fill(MAGIC.len() as u64)?;
        if reader.data != MAGIC[..n_bytes as usize] {
            return Err(reader.refused("it is no MCAP file; give a directory that `--record` wrote".to_owned()));
        }
        Ok(reader)
    }

    /// Whether the file ends as a writer that closed it leaves it.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Content of the record that was found last.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Exchanges the content of the record that was found last for another buffer.
    pub(super) fn swap_data(&mut self, other: &mut Vec<u8>) {
        std::mem::swap(&mut self.data, other);
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// If the disk fails or the file is damaged.
    pub(super) fn next(&mut self) -> Result<Found, PipelineError> {
        let at_byte = self.position;
        if self.fill(RECORD_HEAD_BYTES)? < RECORD_HEAD_BYTES {
            return self.cut(at_byte);
        }
        let opcode = self.data[0];
        let len_bytes = self.data[1..]
            .try_into()
            .expect("a record's head is an opcode and eight bytes");
        let len = u64::from_le_bytes(len_bytes);
        if opcode == 0 && len == 0 && self.is_zero_to_the_end()? {
            // What a file system leaves that grew the file before a power loss and did not write its bytes.
            return self.cut(at_byte);
        }
        if len > self.len - self.position {
            return self.cut(at_byte);
        }
        if len > RECORD_BYTES_MAX {
            let found = format!("a record of {len} bytes, and at most {RECORD_BYTES_MAX} are read");
            return Err(self.damaged(at_byte, &found));
        }
        if self.fill(len)? < len {
            return self.cut(at_byte);
        }
        Ok(Found::Record { opcode, at_byte })
    }

    /// Where the next record begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Where the summary of a file that was closed begins, as its footer says.
    pub(super) fn summary_start(&mut self) -> Result<Option<u64>, PipelineError> {
        self.seek(self.len.saturating_sub(TAIL_BYTES))?;
        let found = self.next()?;
        let start = self.data.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        Ok(start.filter(|_| matches!(found, Found::Record { opcode: op::FOOTER, .. })))
    }

    /// Goes to `position`.
    pub(super) fn seek(&mut self, position: u64) -> Result<(), PipelineError> {
        let sought = self.input.seek(SeekFrom::Start(position.min(self.len)));
        self.position = sought.map_err(PipelineError::read(&self.path))?;
        Ok(())
    }

    /// The error for a file that does not hold what it should.
    pub(super) fn damaged(&self, at_byte: u64, found: &str) -> PipelineError {
        self.refused(format!("damaged at byte {at_byte}: {found}"))
    }

    /// The error for a file that is not to be read.
    pub(super) fn refused(&self, cause: String) -> PipelineError {
        let path = self.path.clone();
        PipelineError::Load {
            what: "recording",
            path,
            cause,
        }
    }

    /// Reads up to `n_bytes` into `data`, which grows no faster than the bytes come. How many there were.
    fn fill(&mut self, n_bytes: u64) -> Result<u64, PipelineError> {
        self.data.clear();
        // A file that grows meanwhile is read up to where it ended when it was opened.
        let n_bytes = n_bytes.min(self.len - self.position);
        let read = (&mut self.input).take(n_bytes).read_to_end(&mut self.data);
        let read = read.map_err(PipelineError::read(&self.path))? as u64;
        self.position += read;
        Ok(read)
    }

    /// A file that ends properly cannot be cut: what seems so is a length that is wrong.
    fn cut(&self, at_byte: u64) -> Result<Found, PipelineError> {
        if self.is_closed {
            return Err(self.damaged(at_byte, "a record that is longer than the file"));
        }
        Ok(Found::Cut { at_byte })
    }

    fn is_zero_to_the_end(&mut self) -> Result<bool, PipelineError> {
        let here = self.position;
        let mut is_zero = true;
        while is_zero && self.fill(1 << 16)? > 0 {
            is_zero = self.data.iter().all(|byte| *byte == 0);
        }
        self.seek(here)?;
        Ok(is_zero)
    }
}

fn ends_properly(file: &mut File, len: u64) -> std::io::Result<bool> {
    if len < TAIL_BYTES {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(len - TAIL_BYTES))?;
    let mut tail = [0; TAIL_BYTES as usize];
    file.read_exact(&mut tail)?;
    Ok(tail[0] == op::FOOTER && tail.ends_with(MAGIC))
}
