//! A detector = backbone × scorer × post-processing × calibration. Pure: no timely, no files, no clock, no threads.

pub mod backbone;
mod calibration;
mod recipe;
mod scores;
mod tensor;
mod thresholds;
pub use calibration::{Calibration, CalibrationMethod, FrameStatistics, ScoreScale, calibrate};
pub use recipe::*;
pub use scores::PatchScores;
pub use tensor::{Tensor, TensorData};
pub use thresholds::TAIL_FRAMES_MIN;
