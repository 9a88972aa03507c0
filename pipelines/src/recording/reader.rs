//! Reads a recording back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RecordedEvent;
use super::file_events::{FileEvents, Step};
use super::storage::recorded_files;
use super::tally::{RecordedCamera, Tally};
use crate::PipelineError;

/// A recording that was opened.
pub struct Recording {
    files: Vec<PathBuf>,
    run: String,
    cameras: BTreeMap<Arc<str>, RecordedCamera>,
}

/// What a recording says next.
#[derive(Clone, Debug)]
pub enum Played {
    /// An event.
    Event(RecordedEvent),
    /// A file was cut, by a power loss or a full disk: what came after is lost up to the next file, if there is one.
    Cut {
        /// The file.
        file: PathBuf,
        /// Where what is whole of it ends.
        at_byte: u64,
    },
}

impl Recording {
    /// Opens the recording in `dir`. What its cameras hold is read from the accounts of the files that were closed; files
    /// that were cut are read through for it.
    ///
    /// # Errors
    /// If the directory cannot be read or holds no recording, or one with a missing, foreign or newer file.
    pub fn open(dir: &Path) -> Result<Self, PipelineError> {
        let files = recorded_files(dir)?;
        if files.is_empty() {
            return Err(PipelineError::Load {
                what: "recording",
                path: dir.to_owned(),
                cause: "there is no 000000.mcap in it; give a directory that `--record` wrote".to_owned(),
            });
        }
        let mut tally = Tally::default();
        let mut run = String::new();
        for path in &files {
            let file = FileEvents::open(path)?;
            if run.is_empty() {
                file.run().clone_into(&mut run);
            }
            tally.add(&file.tally()?);
        }
        let cameras = tally.cameras;
        Ok(Self { files, run, cameras })
    }

    /// What the recorded run was called.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// What is in it, per camera.
    pub fn cameras(&self) -> &BTreeMap<Arc<str>, RecordedCamera> {
        &self.cameras
    }

    /// Its files, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// All events in the order of recording. Memory holds one chunk, whatever the length; after an error nothing follows.
    pub fn events(&self) -> PlayedEvents {
        PlayedEvents {
            files: self.files.clone().into_iter(),
            current: None,
        }
    }
}

/// The events of a recording, read as they are asked for.
pub struct PlayedEvents {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<(PathBuf, FileEvents)>,
}

impl Iterator for PlayedEvents {
    type Item = Result<Played, PipelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let played = self.played().transpose();
        if let Some(Err(_)) = played {
            (self.files, self.current) = (Vec::new().into_iter(), None);
        }
        played
    }
}

impl PlayedEvents {
    fn played(&mut self) -> Result<Option<Played>, PipelineError> {
        loop {
            let Some((path, file)) = &mut self.current else {
                let Some(path) = self.files.next() else {
                    return Ok(None);
                };
                let file = FileEvents::open(&path)?;
                self.current = Some((path, file));
                continue;
            };
            match file.next()? {
                Step::Event(event) => return Ok(Some(Played::Event(event))),
                Step::End => self.current = None,
                Step::Cut { at_byte } => {
                    let file = std::mem::take(path);
                    self.current = None;
                    return Ok(Some(Played::Cut { file, at_byte }));
                }
            }
        }
    }
}
