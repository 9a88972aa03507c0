//! Wiring of the Intakt dataflows: `sources` bring frames, `sinks` take verdicts and pictures. They are the only input and
//! output of a dataflow.

pub mod png;
pub mod sinks;
pub mod sources;
