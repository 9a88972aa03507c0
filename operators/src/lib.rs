//! Nouns, detectors, metrics and dataflow verbs of Intakt.
//!
//! `imaging`, `detector`, `postprocess` and `metrics` are pure: values in, values out, no timely, no files, no clock, no
//! threads. `dataflow` wraps them as timely operators, one verb a file.

pub mod dataflow;
pub mod detector;
pub mod imaging;
pub mod metrics;
pub mod postprocess;

mod nouns;
pub use nouns::*;
