//! The table of a running inspection: from its status file to a screen.

mod screen;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use intakt_pipelines::sinks::{LiveStatus, STATUS_FILE_NAME};

/// Largest status file that is read, bytes: a thousand cameras take a tenth of it.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What there is to show, and from where in the list of cameras.
#[derive(Debug)]
pub(crate) struct View {
    /// The run, or why there is none.
    pub(crate) found: Found,
    /// The present, microseconds since 1970.
    pub(crate) now_us: u64,
    /// Cameras that are scrolled past.
    pub(crate) first_camera: usize,
}

/// What lies in a run's directory.
#[derive(Debug)]
pub(crate) enum Found {
    /// What the run last said.
    Status(Box<LiveStatus>),
    /// Why that is not to be had.
    None(String),
}

impl View {
    /// How many cameras there are.
    pub(crate) fn cameras(&self) -> usize {
        match &self.found {
            Found::Status(status) => status.cameras.len(),
            Found::None(_) => 0,
        }
    }
}

/// Looks what the run in `directory` last said.
pub(crate) fn look(directory: &Path) -> Found {
    let path = directory.join(STATUS_FILE_NAME);
    let mut json = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut json));
    let parsed = read.map(|_| serde_json::from_slice(&json));
    let cannot = |why: &dyn std::fmt::Display| Found::None(format!("cannot show \"{}\": {why}", path.display()));
    match parsed {
        Ok(Ok(status)) => Found::Status(Box::new(status)),
        Ok(Err(error)) => cannot(&format!("it is no status of this version of intakt ({error})")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            cannot(&"it is not there\n  hint: `intakt inspect … --run DIR` writes it, and `intakt top DIR` shows it")
        }
        Err(error) => cannot(&error),
    }
}
