//! What people read, on standard error; standard output is for data.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "the one place that prints")]

use std::io::{IsTerminal, Write};

/// Whether somebody watches.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A line for people.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// The reason why the program ends, once.
pub(crate) fn error(message: &str) {
    eprintln!("error: {message}");
}

/// A result that was asked for: standard output.
pub(crate) fn print(text: &str) {
    // A closed pipe is the reader's decision, no failure of ours.
    let _ = writeln!(std::io::stdout(), "{text}");
}
