//! A detector = backbone × scorer × post-processing × calibration. Pure: no timely, no files, no clock, no threads.

pub mod backbone;
mod recipe;
mod scores;
mod tensor;
pub use recipe::*;
pub use scores::PatchScores;
pub use tensor::{Tensor, TensorData};
