//! postprocess.
