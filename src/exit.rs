//! Ends the process at once, but between two lines of its output.

use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use intakt_pipelines::sources::StopFlag;

use crate::{Outcome, supervise};

/// Held while a line is written.
static LINES: Mutex<()> = Mutex::new(());

/// Set by the first who ends the process: what others have to say is only what follows from it.
static ENDING: AtomicBool = AtomicBool::new(false);

/// How often, and how many times, an ending process asks whether a line is still being written: for a second, because whoever
/// reads a pipe may never do so again.
const ASK_EVERY: Duration = Duration::from_millis(10);
const ASK_TIMES: u32 = 100;

/// Ends the process with the status of a failure that may pass by itself: a lost peer, a hang, a panic. `say` says why, once,
/// whoever else finds a reason at the same time.
pub(crate) fn give_up(say: impl FnOnce()) -> ! {
    if ENDING.swap(true, Ordering::AcqRel) {
        loop {
            std::thread::park();
        }
    }
    say();
    end(supervise::status_of_a_lost_run())
}

/// Ends the process as it stands.
pub(crate) fn at_once() -> ! {
    end(Outcome::Failed as i32)
}

fn end(status: i32) -> ! {
    let (never, mut asked) = (StopFlag::default(), 0);
    let _whole = loop {
        match LINES.try_lock() {
            Err(TryLockError::WouldBlock) if asked < ASK_TIMES => {
                never.wait(ASK_EVERY);
                asked += 1;
            }
            tried => break tried.ok(),
        }
    };
    process::exit(status)
}

/// Writes what it is given as a whole or not at all, even if the process ends meanwhile.
pub(crate) struct WholeLines<W>(pub(crate) W);

impl<W: Write> Write for WholeLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _whole = LINES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.0.write_all(line)?;
        self.0.flush()?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
