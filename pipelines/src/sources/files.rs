//! Frames from image files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::Frame;

use super::{CameraStream, Next, Source, StopFlag};

/// Largest image file that is read, bytes: an uncompressed 64-megapixel RGB image of 16 bits fits. A larger one is
/// unreadable, before any of it is in memory.
pub const FILE_BYTES_MAX: u64 = 512 << 20;

/// Event time between frames of files that carry none, microseconds: a camera of ten frames a second. Not the file's date,
/// which a copy changes.
pub const FRAME_INTERVAL_US: u64 = 100_000;

/// A camera whose frames are files.
pub struct FileFrames {
    files: Vec<PathBuf>,
    stream: CameraStream,
}

impl Source for FileFrames {
    fn camera(&self) -> &Arc<str> {
        self.stream.camera()
    }

    fn is_live(&self) -> bool {
        self.stream.is_live()
    }

    fn files(&self) -> Option<&[PathBuf]> {
        Some(&self.files)
    }

    fn resume_at(&mut self, seq: u64) {
        self.stream.resume_at(seq);
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        self.stream.next(stop)
    }
}

impl From<FileFrames> for CameraStream {
    fn from(frames: FileFrames) -> Self {
        frames.stream
    }
}

/// The stream of a camera whose frames are files, in the order given. A file without a capture time is one
/// [`FRAME_INTERVAL_US`] after the one before it.
pub fn file_frames(camera: Arc<str>, files: Vec<(PathBuf, Option<u64>)>) -> FileFrames {
    let (name, paths) = (camera.clone(), files.iter().map(|(path, _)| path.clone()).collect());
    let mut last_us: Option<u64> = None;
    let frames = files.into_iter().enumerate().map(move |(seq, (path, captured_at_us))| {
        let following = last_us.map_or(0, |last| last + FRAME_INTERVAL_US);
        let captured_at_us = captured_at_us.unwrap_or(following);
        last_us = Some(captured_at_us);
        Frame {
            camera: name.clone(),
            seq: seq as u64,
            captured_at_us,
            origin: path.to_string_lossy().into(),
            bytes: read_file(&path).map(Into::into).map_err(Into::into),
            recorded: None,
        }
    });
    let frames = Box::new(frames);
    FileFrames {
        files: paths,
        stream: CameraStream { camera, frames },
    }
}

/// The bytes of an image file, at most [`FILE_BYTES_MAX`].
///
/// # Errors
/// A sentence: the operating system's reason, or that the file is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| format!("cannot open the file: {error}"))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a file that grows while it is read is noticed too.
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read the file: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    Ok(bytes)
}
