//! What can go wrong with a run store, in sentences that say what to do. Nothing that was committed is lost by any of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

/// What was tried with which file, and what was found.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} run store \"{}\": {trouble}", path.display())]
pub struct StoreError {
    /// The verb: "create", "open", "commit to", "read", "export".
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What was found, and what to do.
    pub trouble: Trouble,
}

impl StoreError {
    pub(super) fn new(action: &'static str, path: &Path, trouble: impl Into<Trouble>) -> Self {
        Self {
            action,
            path: path.to_owned(),
            trouble: trouble.into(),
        }
    }
}

/// What was found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// There is no such file.
    #[error("there is no such file; give the path of a run that was started before")]
    Missing,
    /// A run is there already.
    #[error("it holds a run already; resume that run, or choose another path")]
    Exists,
    /// It is something else.
    #[error("it is not a run store: {0}; choose another path")]
    Foreign(String),
    /// A later version wrote it.
    #[error(
        "its schema has version {found}, and this version of intakt knows {known}; use the intakt that wrote it, or a newer one"
    )]
    Newer {
        /// Version in the file.
        found: i64,
        /// Version that is understood.
        known: i64,
    },
    /// Another process holds the write lock.
    #[error("another process has been writing to it for more than {} s; end that process, or wait longer for it", waited.as_secs_f64())]
    Locked {
        /// How long the lock was waited for.
        waited: Duration,
    },
    /// The run was resumed elsewhere.
    #[error(
        "the run was resumed by another process (generation {found}, this is {own}); only the last one may write, end this one"
    )]
    Superseded {
        /// Generation in the file.
        found: i64,
        /// Generation of this process.
        own: i64,
    },
    /// No space is left.
    #[error("the disk is full; what was committed before is safe, make room and resume the run")]
    DiskFull,
    /// The file or its directory must not be written.
    #[error("the file or its directory is read-only; allow writing there, or copy the run to where that is allowed")]
    ReadOnly,
    /// The operating system does not give the file.
    #[error(
        "the file cannot be opened ({0}); the directory must exist and be writable, also for reading, because of the write-ahead log"
    )]
    CannotOpen(String),
    /// Its content contradicts itself.
    #[error("it is damaged: {0}; restore it from a copy, or save what can be read with `sqlite3 FILE .recover`")]
    Damaged(String),
    /// A number that SQLite cannot hold.
    #[error(
        "{what} is {found}, more than the {} that it can hold; look at the clock of the camera",
        i64::MAX
    )]
    TooLarge {
        /// "the time of a frame".
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// The export could not be written.
    #[error("the export cannot be written: {0}")]
    Output(String),
    /// SQLite's own words.
    #[error("{0}")]
    Sqlite(String),
}

impl Trouble {
    /// The same, with the time that a lock was waited for.
    pub(super) fn after_waiting(self, waited: Duration) -> Self {
        match self {
            Self::Locked { .. } => Self::Locked { waited },
            other => other,
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let words = error.to_string();
        let Some(code) = error.sqlite_error_code() else {
            // The statements are ours and tested: what they cannot find or convert was not written by us.
            return Self::Damaged(words);
        };
        match code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked { waited: Duration::ZERO },
            ErrorCode::DiskFull => Self::DiskFull,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
            ErrorCode::CannotOpen => Self::CannotOpen(words),
            ErrorCode::NotADatabase => Self::Foreign("it is no SQLite database".to_owned()),
            ErrorCode::DatabaseCorrupt => Self::Damaged(words),
            _ => Self::Sqlite(words),
        }
    }
}
