//! A pipe to a reject gate, whose reader may come late or never.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use intakt_pipelines::PipelineError;
use intakt_pipelines::sources::StopFlag;

use crate::exit::WholeLines;
use crate::terminal;

/// Lines that are held for a reader that is still to come: a minute of a line with sixteen parts a second. Beyond that the
/// *oldest* is given up: those parts are past the gate.
const HELD_MAX: usize = 1_024;

/// Time for a reader that is there already to be met, before it is said that there is none.
const MEETING_MAX: Duration = Duration::from_millis(200);

/// Whether `path` is a named pipe.
#[cfg(unix)]
pub(super) fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

/// Whether `path` is a named pipe.
#[cfg(not(unix))]
pub(super) fn is_pipe(_: &Path) -> bool {
    false
}

/// Writes lines to a named pipe. Opening one waits for its reader, so that is done by a thread of its own.
pub(super) struct Gate {
    path: PathBuf,
    end: Arc<Mutex<End>>,
}

/// Who is at the other end.
enum End {
    /// Nobody yet.
    Nobody(Held),
    /// A reader.
    Reader(WholeLines<File>),
    /// The pipe cannot be opened.
    Broken(io::ErrorKind, String),
}

#[derive(Default)]
struct Held {
    lines: VecDeque<Vec<u8>>,
    given_up: usize,
}

impl Gate {
    /// Opens the pipe when somebody reads it, and does not wait for that.
    pub(super) fn open(path: &Path) -> Result<Self, PipelineError> {
        let end = Arc::new(Mutex::new(End::Nobody(Held::default())));
        let (met, opened) = (StopFlag::default(), end.clone());
        let (meeting, pipe) = (met.clone(), path.to_owned());
        let open = move || {
            let found = File::options().write(true).open(&pipe);
            lock(&opened).meet(found);
            meeting.stop();
        };
        // Without a reader it waits until the process ends.
        let started = thread::Builder::new().name("gate".to_owned()).spawn(open);
        started.map_err(|error| PipelineError::Refused(format!("cannot start a thread: {error}")))?;
        if !met.wait(MEETING_MAX) {
            terminal::say(&format!(
                "waiting for a reader of {}: the inspection goes on meanwhile, and the newest {HELD_MAX} verdicts are held for it",
                path.display()
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            end,
        })
    }
}

impl End {
    /// Gives what is held to the reader.
    fn meet(&mut self, opened: io::Result<File>) {
        let Self::Nobody(held) = self else { return };
        let given = opened.and_then(|file| {
            let mut pipe = WholeLines(file);
            held.lines.drain(..).try_for_each(|line| pipe.write_all(&line))?;
            Ok(pipe)
        });
        *self = match given {
            Ok(pipe) => Self::Reader(pipe),
            Err(error) => Self::Broken(error.kind(), error.to_string()),
        };
    }
}

impl Held {
    fn hold(&mut self, line: &[u8]) {
        if self.lines.len() == HELD_MAX {
            self.lines.pop_front();
            self.given_up += 1;
        }
        self.lines.push_back(line.to_owned());
    }
}

impl Write for Gate {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *lock(&self.end) {
            End::Nobody(held) => held.hold(line),
            End::Reader(pipe) => pipe.write_all(line)?,
            End::Broken(kind, reason) => return Err(io::Error::new(*kind, reason.clone())),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let End::Nobody(held) = &*lock(&self.end) else { return };
        let verdicts = held.lines.len() + held.given_up;
        let pipe = self.path.display();
        terminal::say(&format!(
            "note: nobody has read {pipe}: {verdicts} verdicts were for nobody"
        ));
    }
}

fn lock(end: &Mutex<End>) -> MutexGuard<'_, End> {
    end.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_held() {
        let mut held = Held::default();
        (0..HELD_MAX + 3).for_each(|line| held.hold(line.to_string().as_bytes()));
        assert_eq!((held.lines.len(), held.given_up), (HELD_MAX, 3));
        assert_eq!(held.lines[0], b"3");
    }
}
