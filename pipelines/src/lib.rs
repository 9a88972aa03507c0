//! Pipelines.

pub mod png;
pub mod sinks;
pub mod sources;
