//! postprocess.

pub mod components;
