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
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(PipelineError::read(path))?;
    file.take(DETECTOR_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(PipelineError::read(path))?;
    Detector::from_bytes(&bytes).map_err(|error| PipelineError::Load {
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
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = Path::new(&beside);
    let write = || {
        let mut file = File::create(beside)?;
        file.write_all(bytes)?;
        settle(&file)?;
        fs::rename(beside, path)
    };
    write().map_err(|error| {
        // Whatever was written is of no use; if it cannot be removed either, the first error is the one to tell.
        let _ = fs::remove_file(beside);
        PipelineError::write(path)(error)
    })
}
