//! A detector = backbone × scorer × post-processing × calibration. Pure: no timely, no files, no clock, no threads.

pub mod backbone;
mod calibration;
mod checks;
pub mod coreset;
mod description;
#[expect(clippy::module_inception, reason = "the folder is the room, this file the noun")]
mod detector;
mod embedding;
mod file;
mod gaussian;
mod global_knn;
mod padim;
mod padim_sums;
mod patchcore;
mod provenance;
mod random;
mod recipe;
mod scorer;
mod scores;
mod tensor;
mod tensor_file;
mod thresholds;
pub use calibration::{Calibration, CalibrationMethod, FrameStatistics, NORMAL_QUANTILES_MAX, ScoreScale, calibrate};
pub use description::DetectorDescription;
pub use detector::{Detector, DetectorParts, ImageRole, ManifestEntry};
pub use embedding::{embed, random_dims};
pub use file::{DetectorFileError, FORMAT, FORMAT_VERSION};
pub use gaussian::{GAUSSIAN_ROWS_MAX, Gaussian, GaussianSums};
pub use global_knn::{GlobalKnn, pool};
pub use intakt_kernels::network::has_fast_int8;
pub use padim::{FittedBlock, Padim};
pub use padim_sums::{PadimSums, PositionBlock};
pub use patchcore::Patchcore;
pub use provenance::{NAME_BYTES_MAX, PICTURE_SIDE_PX, PICTURES_MAX, Provenance, RowPlace, TrainingImage};
pub use recipe::*;
pub use scorer::Scorer;
pub use scores::PatchScores;
pub use tensor::{Tensor, TensorData};
pub use thresholds::TAIL_FRAMES_MIN;

#[cfg(test)]
mod scorer_testing;
