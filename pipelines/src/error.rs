//! What can stop a pipeline. A frame that cannot be judged is not an error: it gets a verdict.

use std::path::PathBuf;

/// Why a pipeline did not do its work: what was tried, what was found, what to do.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A file could not be read or written.
    #[error("cannot {action} \"{}\": {cause}", path.display())]
    Io {
        /// The verb: "read", "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        cause: std::io::Error,
    },
    /// A file was read and is not what it should be.
    #[error("cannot load {what} \"{}\": {cause}", path.display())]
    Load {
        /// "detector", "weights", "region of interest".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The dataset does not serve the purpose.
    #[error(transparent)]
    Dataset(#[from] crate::datasets::DatasetError),
    /// The recipe, the images or the options do not fit together.
    #[error("{0}")]
    Refused(String),
    /// The store of a run.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A sink failed in the middle of a run.
    #[error("the run was stopped: {0}")]
    Stopped(String),
}

impl PipelineError {
    /// What becomes of an error while `path` is read.
    pub fn read(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |cause| Self::Io {
            action: "read",
            path,
            cause,
        }
    }

    /// What becomes of an error while `path` is written.
    pub fn write(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |cause| Self::Io {
            action: "write",
            path,
            cause,
        }
    }
}
