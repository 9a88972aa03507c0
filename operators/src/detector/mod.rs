//! A detector = backbone × scorer × post-processing × calibration. Pure: no timely, no files, no clock, no threads.

pub mod backbone;
mod checks;
pub mod coreset;
mod embedding;
mod gaussian;
mod global_knn;
mod padim;
mod padim_sums;
mod patchcore;
mod random;
mod recipe;
mod scorer;
mod scores;
mod tensor;
pub use embedding::{embed, random_dims};
pub use gaussian::{GAUSSIAN_ROWS_MAX, Gaussian, GaussianSums};
pub use global_knn::{GlobalKnn, pool};
pub use padim::{FittedBlock, Padim};
pub use padim_sums::{PadimSums, PositionBlock};
pub use patchcore::Patchcore;
pub use recipe::*;
pub use scorer::Scorer;
pub use scores::PatchScores;
pub use tensor::{Tensor, TensorData};

#[cfg(test)]
mod scorer_testing;
