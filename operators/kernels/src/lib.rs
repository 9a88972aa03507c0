//! Arithmetic on plain slices: what costs the time of a detector, without knowing what a detector is.
//!
//! Everything here is `f32` unless it says otherwise, row-major, and runs on the calling thread, unless it is given a team of threads to
//! share the work with. Nothing depends on anything but its arguments, and a fast path gives the result of the plain loop
//! beside which it is tested. Wrong lengths are bugs of the caller and panic; what comes from a file is checked before.

#[macro_use]
mod simd;

mod blur;
mod cholesky;
mod conv;
mod distance;
mod eigen;
mod farthest;
mod gemm;
mod gram;
mod mahalanobis;
mod nearest;
pub mod network;
mod pool;
mod random;
mod resize;
mod system_memory;
mod system_threads;
mod unfilter;

pub use blur::{BLUR_SIGMA_PX_MAX, gaussian_blur, resize_blurred};
pub use cholesky::{NotPositiveDefinite, cholesky, inverse_lower, packed_len};
pub use conv::{Padding, conv2d_same};
pub use distance::squared_distance;
pub use eigen::{Eigen, EigenError, symmetric_eigen};
pub use farthest::{approach, largest, spared_distance};
pub use gemm::{matmul, matmul_transposed};
pub use gram::{
    GRAM_ADDITIONS_MAX, GRAM_STEPS_MAX, GRAM_STEPS_PER_UNIT, GramError, GramSums, add_outer_products,
    subtract_outer_products,
};
pub use mahalanobis::{PositionGaussians, SharedGaussian};
pub use nearest::{Bank, Neighbour};
pub use pool::{average_pool_3x3, max_pool2};
pub use resize::{resize_bilinear, upsample_nearest_into};
pub use system_memory::keep_freed_memory;
pub use system_threads::{give_way, stand_back};
pub use unfilter::unfilter;

#[cfg(test)]
mod testing;
