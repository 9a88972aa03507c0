//! Where a recording's files are written: a directory, or in tests a disk of a few bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::PipelineError;

/// Makes the files of a recording.
pub(super) trait Directory: Send {
    /// Makes file number `index`, which must not exist.
    fn create(&mut self, index: u64) -> io::Result<Box<dyn Storage>>;

    /// What file number `index` is called in errors.
    fn path(&self, index: u64) -> PathBuf;
}

/// A file that grows at its end.
pub(super) trait Storage: Send + Sync {
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Waits until what was appended survives a power loss.
    fn sync(&self) -> io::Result<()>;

    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// A directory on disk.
pub(super) struct DiskDirectory(pub(super) PathBuf);

impl Directory for DiskDirectory {
    fn create(&mut self, index: u64) -> io::Result<Box<dyn Storage>> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.path(index))?;
        // Without this a power loss may leave the file's bytes on the disk and its name not.
        #[cfg(unix)]
        File::open(&self.0)?.sync_all()?;
        Ok(Box::new(file))
    }

    fn path(&self, index: u64) -> PathBuf {
        self.0.join(format!("{index:06}.mcap"))
    }
}

impl Storage for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// A file with its length, told without asking the operating system.
pub(super) struct GrowingFile {
    storage: Box<dyn Storage>,
    len: AtomicU64,
}

impl GrowingFile {
    /// `storage`, which is empty.
    pub(super) fn new(storage: Box<dyn Storage>) -> Self {
        let len = AtomicU64::new(0);
        Self { storage, len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.storage.sync()
    }

    pub(super) fn truncate(&self, len: u64) -> io::Result<()> {
        self.storage.truncate(len)
    }
}

/// What the MCAP writer writes to. It only ever asks where it is, and never goes back.
pub(super) struct Appender(pub(super) Arc<GrowingFile>);

impl Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.storage.append(bytes)?;
        self.0.len.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Appender {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Current(0) => Ok(self.0.len()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// The files of the recording in `dir` by number, in order. Empty if there are none.
///
/// # Errors
/// If the directory cannot be read, if a file is missing, or if an MCAP file has another name.
pub(super) fn recorded_files(dir: &Path) -> Result<Vec<PathBuf>, PipelineError> {
    let foreign = |path: PathBuf, cause: String| PipelineError::Load {
        what: "recording",
        path,
        cause,
    };
    let mut numbered = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(PipelineError::read(dir))? {
        let path = entry.map_err(PipelineError::read(dir))?.path();
        if path.extension().is_none_or(|extension| extension != "mcap") {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        match stem.parse::<u64>() {
            Ok(index) if stem == format!("{index:06}") => numbered.push((index, path)),
            _ => {
                let cause =
                    "no file of a recording is called so: they are 000000.mcap, 000001.mcap, …; move it elsewhere";
                return Err(foreign(path, cause.to_owned()));
            }
        }
    }
    numbered.sort();
    let present = (0..)
        .zip(&numbered)
        .take_while(|(expected, (index, _))| expected == index);
    let expected = present.count() as u64;
    if expected < numbered.len() as u64 {
        let cause = format!("{expected:06}.mcap is missing, so what follows it cannot be replayed");
        return Err(foreign(dir.to_owned(), cause));
    }
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}
