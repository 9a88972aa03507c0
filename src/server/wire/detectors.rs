//! The detectors of a run, and which one is to look.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The detectors of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detectors {
    /// By id.
    pub(crate) detectors: Vec<Card>,
}

/// What is to be known of a detector.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Card {
    /// The first 12 digits of the SHA-256 of its file.
    pub(crate) id: Arc<str>,
    /// What it is, in a few words.
    pub(crate) name: String,
    /// As `intakt show` has it, line by line.
    pub(crate) recipe: BTreeMap<String, String>,
    /// The image score above which frames are rejected, in its own unit.
    pub(crate) threshold: f64,
    /// How its threshold was chosen, and what that guarantees.
    pub(crate) statement: String,
    /// SHA-256 of the list of images that went into it.
    pub(crate) manifest: String,
    /// The version that fitted it.
    pub(crate) intakt_version: String,
    /// The cameras that it looks at.
    pub(crate) cameras: Vec<Arc<str>>,
}

/// A detector of the run that is to look.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedDetector {
    /// Its id, as `/detectors` lists it, or as a verdict of this run names it.
    pub(crate) detector: String,
    /// The first frame that it looks at, or the next one if that has come; without it, the next one. A later change gives up one that
    /// still waits, and so does the end of the run.
    pub(crate) at_seq: Option<u64>,
}
