//! Detector files on disk.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use intakt_operators::detector::Detector;

use crate::PipelineError;

/// Largest detector file that is read, bytes: PaDiM with 550 dimensions at 64 × 64 positions has 2.5 GB of factors and 5 GB of sums.
const DETECTOR_BYTES_MAX: u64 = 12 << 30;

/// Reads a detector.
///
/// # Errors
/// The file cannot be read, or is not a detector that this version understands.
pub fn load_detector(path: &Path) -> Result<Detector, PipelineError> {
    let file = File::open(path).map_err(PipelineError::read(path))?;
    let metadata = file.metadata().map_err(PipelineError::read(path))?;
    if metadata.is_dir() {
        return Err(PipelineError::Load {
            what: "detector",
            path: path.to_owned(),
            cause: "it is a directory; give a file that `intakt fit` wrote".to_owned(),
        });
    }
    let length = metadata.len().min(DETECTOR_BYTES_MAX);
    // One more, so that nothing grows when the end is looked for.
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(usize::try_from(length).unwrap_or_default() + 1)
        .map_err(|error| PipelineError::read(path)(error.into()))?;
    file.take(DETECTOR_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(PipelineError::read(path))?;
    Detector::from_bytes(bytes).map_err(|error| PipelineError::Load {
        what: "detector",
        path: path.to_owned(),
        cause: error.to_string(),
    })
}

/// Writes a detector: the whole file or none of it.
///
/// # Errors
/// The file cannot be written; what was at `path` before is still there.
pub fn save_detector(detector: &Detector, path: &Path) -> Result<(), PipelineError> {
    write_atomically(path, &detector.to_bytes())
}

/// Writes `bytes` beside `path` and renames, so that a reader never sees half a file.
///
/// # Errors
/// The file cannot be written; what was at `path` before is still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), PipelineError> {
    replace(path, bytes, File::sync_data)
}

/// The same for a picture, which can be made again: it does not wait for the disk.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_picture(path: &Path, bytes: &[u8]) -> Result<(), PipelineError> {
    replace(path, bytes, |_| Ok(()))
}

fn replace(path: &Path, bytes: &[u8], settle: impl Fn(&File) -> std::io::Result<()>) -> Result<(), PipelineError> {
    // A device or a pipe (/dev/stdout) is written to, not replaced; and the file behind a link, not the link.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let file = fs::OpenOptions::new().write(true).open(path);
        return file
            .and_then(|mut file| file.write_all(bytes))
            .map_err(PipelineError::write(path));
    }
    let target = path.canonicalize();
    let target = target.as_deref().unwrap_or(path);
    let mut beside = target.as_os_str().to_owned();
    beside.push(".partial");
    let beside = Path::new(&beside);
    let write = || {
        let mut file = File::create(beside)?;
        file.write_all(bytes)?;
        settle(&file)?;
        fs::rename(beside, target)
    };
    write().map_err(|error| {
        // Whatever was written is of no use; if it cannot be removed either, the first error is the one to tell.
        let _ = fs::remove_file(beside);
        PipelineError::write(path)(error)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_a_link_leads_to_is_written_and_the_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, b"before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"after").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"after");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            2,
            "nothing is left beside them"
        );
    }

    #[test]
    fn a_pipe_is_written_to_and_not_replaced() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        write_atomically(Path::new(&path), b"through").unwrap();
        drop(writer);
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"through");
    }

    #[test]
    fn a_directory_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write_atomically(dir.path(), b"x").is_err());
        assert!(dir.path().is_dir());
    }
}
