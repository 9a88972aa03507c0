//! Pipelines.

pub mod datasets;
