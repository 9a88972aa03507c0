//! What people read, on standard error; standard output is for data. The one place that writes to it.

use std::io::{ErrorKind, IsTerminal, Write};

use intakt_pipelines::PipelineError;

/// Whether somebody watches.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether standard output is a screen.
pub(crate) fn shows() -> bool {
    std::io::stdout().is_terminal()
}

/// A line for people. Where nobody reads any more, it is said to nobody.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The reason why the program ends, once.
pub(crate) fn error(message: &str) {
    say(&format!("error: {message}"));
}

/// A result that was asked for: standard output.
///
/// # Errors
/// It cannot be written, for example because the disk is full.
pub(crate) fn print(text: &str) -> Result<(), PipelineError> {
    match writeln!(std::io::stdout(), "{text}") {
        // A closed pipe is the reader's decision, no failure of ours.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(PipelineError::write("standard output".as_ref())(error))
        }
        _ => Ok(()),
    }
}
