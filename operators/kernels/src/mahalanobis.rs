//! Mahalanobis distances by packed inverse Cholesky factors (see [`packed_len`]).

use crate::cholesky::{packed_len, row_of};
use crate::distance::dot_inline;
use crate::gemm::matmul_transposed;
use crate::network::share;

/// Rows whitened by one matrix product: their results stay in the cache until they are squared.
const ROWS_PER_PRODUCT: usize = 256;

/// Positions for which it is worth waking a thread.
const POSITIONS_PER_PART_MIN: usize = 256;

/// Rows of a factor that are multiplied together: one 256-bit vector. Wider tiles would waste more of the memory traffic on
/// the zeros above the diagonal, and traffic is what scoring costs.
const TILE_ROWS: usize = 8;

/// One Gaussian for every position.
///
/// Factors are kept in tiles of 8 rows, column by column, so that 8 rows are summed side by side without ever adding across
/// a vector; the columns of a tile end at its diagonal.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionGaussians {
    dims: usize,
    /// `positions × dims`.
    means: Vec<f32>,
    /// `positions × tiled_len(dims)`.
    tiles: Vec<f32>,
}

impl PositionGaussians {
    /// Gaussians with these means (`positions × dims`) and packed inverse Cholesky factors of the covariances (`positions ×
    /// packed_len(dims)`).
    ///
    /// Panics unless the lengths agree and `dims` is at least 1.
    pub fn new(dims: usize, means: Vec<f32>, factors: &[f32]) -> Self {
        assert!(
            dims > 0 && means.len().is_multiple_of(dims),
            "{} values of {dims} dims",
            means.len()
        );
        let positions = means.len() / dims;
        assert_eq!(
            factors.len(),
            positions * packed_len(dims),
            "{positions} factors of {dims} dims"
        );
        let mut tiles = Vec::with_capacity(positions * tiled_len(dims));
        for factor in factors.chunks_exact(packed_len(dims)) {
            for first in (0..dims).step_by(TILE_ROWS) {
                for column in 0..dims.min(first + TILE_ROWS) {
                    let rows = first..first + TILE_ROWS;
                    tiles.extend(rows.map(|row| match row < dims && column <= row {
                        true => factor[packed_len(row) + column],
                        false => 0.0,
                    }));
                }
            }
        }
        Self { dims, means, tiles }
    }

    /// Dimensions of a vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// The means, `positions × dims`.
    pub fn means(&self) -> &[f32] {
        &self.means
    }

    /// The packed inverse Cholesky factors, `positions × packed_len(dims)`.
    pub fn packed_factors(&self) -> Vec<f32> {
        let dims = self.dims;
        let mut factors = Vec::with_capacity(self.means.len() / dims * packed_len(dims));
        for tiles in self.tiles.chunks_exact(tiled_len(dims)) {
            let mut rest = tiles;
            for first in (0..dims).step_by(TILE_ROWS) {
                let (tile, below) = rest.split_at(TILE_ROWS * dims.min(first + TILE_ROWS));
                for row in first..dims.min(first + TILE_ROWS) {
                    factors.extend((0..=row).map(|column| tile[column * TILE_ROWS + row - first]));
                }
                rest = below;
            }
        }
        factors
    }

    /// Mahalanobis distances of one vector per position (`positions × dims`), each to its own Gaussian: `‖W (x − mean)‖`
    /// with the inverse Cholesky factor `W` of the covariance. On a thread of a [`Crew`](crate::network::Crew) idle ones help.
    ///
    /// Panics unless there is a vector for every position.
    pub fn whitened_norms(&self, vectors: &[f32]) -> Vec<f32> {
        assert_eq!(vectors.len(), self.means.len(), "vectors of {} dims", self.dims);
        let positions = vectors.len() / self.dims;
        let mut norms = vec![0.0; positions];
        let all = norms.as_mut_slice();
        share(
            move |threads| {
                let of_part = positions.div_ceil(threads).max(POSITIONS_PER_PART_MIN);
                let gaussians = self.tiles.chunks(of_part * tiled_len(self.dims));
                let gaussians = gaussians.zip(self.means.chunks(of_part * self.dims));
                let vectors = vectors.chunks(of_part * self.dims);
                gaussians.zip(vectors).zip(all.chunks_mut(of_part)).collect()
            },
            |(((tiles, means), vectors), norms)| whiten(self.dims, tiles, means, vectors, norms),
        );
        norms
    }
}

/// Values in the tiles of a factor.
const fn tiled_len(dims: usize) -> usize {
    let whole = dims / TILE_ROWS;
    // Tile t has 8 (t + 1) columns; the last, where rows are missing, has all.
    let rest = if dims.is_multiple_of(TILE_ROWS) { 0 } else { dims };
    TILE_ROWS * (TILE_ROWS * packed_len(whole) + rest)
}

multiversion! {
    fn whiten(dims: usize, tiles: &[f32], means: &[f32], vectors: &[f32], norms: &mut [f32]) {
        let mut centred = vec![0.0; dims];
        let gaussians = tiles.chunks_exact(tiled_len(dims)).zip(means.chunks_exact(dims));
        for ((vector, (tiles, mean)), norm) in vectors.chunks_exact(dims).zip(gaussians).zip(norms) {
            for (centred, (value, mean)) in centred.iter_mut().zip(vector.iter().zip(mean)) {
                *centred = value - mean;
            }
            let mut squares = [0.0f32; TILE_ROWS];
            let mut rest = tiles;
            for first in (0..dims).step_by(TILE_ROWS) {
                let columns = dims.min(first + TILE_ROWS);
                let (tile, below) = rest.split_at(TILE_ROWS * columns);
                let sums = tile_product(tile, &centred[..columns]);
                for l in 0..TILE_ROWS {
                    squares[l] += sums[l] * sums[l];
                }
                rest = below;
            }
            let [a, b, c, d, e, f, g, h] = squares;
            *norm = (((a + e) + (c + g)) + ((b + f) + (d + h))).sqrt();
        }
    }
}

/// The products of a tile's rows with a vector; even and odd columns are summed apart, so that an addition need not wait for
/// the one before.
#[inline(always)]
fn tile_product(tile: &[f32], vector: &[f32]) -> [f32; TILE_ROWS] {
    let (mut even, mut odd) = ([0.0f32; TILE_ROWS], [0.0f32; TILE_ROWS]);
    let (pairs, last) = vector.as_chunks::<2>();
    let (columns, last_column) = tile.as_chunks::<{ 2 * TILE_ROWS }>();
    for (column, pair) in columns.iter().zip(pairs) {
        for l in 0..TILE_ROWS {
            even[l] += column[l] * pair[0];
            odd[l] += column[TILE_ROWS + l] * pair[1];
        }
    }
    if let [value] = last {
        for (sum, weight) in even.iter_mut().zip(last_column) {
            *sum += weight * value;
        }
    }
    for l in 0..TILE_ROWS {
        even[l] += odd[l];
    }
    even
}

/// One Gaussian for all vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedGaussian {
    mean: Vec<f32>,
    /// The inverse Cholesky factor with its zeros, `dims × dims`: what a matrix product takes.
    factor: Vec<f32>,
}

impl SharedGaussian {
    /// A Gaussian with this mean and packed inverse Cholesky factor of the covariance.
    ///
    /// Panics unless there is at least one dimension and `factor` holds [`packed_len`] values.
    pub fn new(mean: Vec<f32>, factor: &[f32]) -> Self {
        let dims = mean.len();
        assert!(dims > 0, "no dimensions");
        assert_eq!(factor.len(), packed_len(dims), "packed factor of {dims} dims");
        let mut full = vec![0.0; dims * dims];
        for (i, row) in full.chunks_exact_mut(dims).enumerate() {
            row[..=i].copy_from_slice(row_of(factor, i));
        }
        Self { mean, factor: full }
    }

    /// The mean.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The packed inverse Cholesky factor.
    pub fn packed_factor(&self) -> Vec<f32> {
        let dims = self.mean.len();
        self.factor
            .chunks_exact(dims)
            .enumerate()
            .flat_map(|(i, row)| row[..=i].iter().copied())
            .collect()
    }

    /// Mahalanobis distance of every vector of `n × dims`; that of [`PositionGaussians::whitened_norms`] up to rounding.
    ///
    /// Panics unless `vectors` are whole.
    pub fn whitened_norms(&self, vectors: &[f32]) -> Vec<f32> {
        let dims = self.mean.len();
        assert!(
            vectors.len().is_multiple_of(dims),
            "{} values of {dims} dims",
            vectors.len()
        );
        let mut norms = Vec::with_capacity(vectors.len() / dims);
        let mut centred = Vec::with_capacity(ROWS_PER_PRODUCT * dims);
        let mut whitened = vec![0.0; ROWS_PER_PRODUCT * dims];
        for block in vectors.chunks(ROWS_PER_PRODUCT * dims) {
            centred.clear();
            for vector in block.chunks_exact(dims) {
                centred.extend(vector.iter().zip(&self.mean).map(|(value, mean)| value - mean));
            }
            let whitened = &mut whitened[..block.len()];
            matmul_transposed(block.len() / dims, dims, dims, &centred, &self.factor, whitened);
            push_norms(dims, whitened, &mut norms);
        }
        norms
    }
}

multiversion! {
    fn push_norms(dims: usize, vectors: &[f32], norms: &mut Vec<f32>) {
        norms.extend(vectors.chunks_exact(dims).map(|vector| dot_inline(vector, vector).sqrt()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cholesky::{cholesky, inverse_lower};
    use crate::testing::{assert_close, at, positive_definite, values};

    #[test]
    fn both_norms_match_naive() {
        for (dims, n) in [(1, 3), (5, 2), (8, 2), (16, 4), (17, 3), (37, 300)] {
            let inverse = inverse_lower(dims, &cholesky(dims, &positive_definite(dims, 2)).unwrap());
            let factor: Vec<f32> = inverse.iter().map(|v| *v as f32).collect();
            let (mean, vectors) = (values(dims, 3), values(n * dims, 4));
            let naive: Vec<f32> = vectors
                .chunks_exact(dims)
                .map(|vector| {
                    let whitened = (0..dims).map(|i| {
                        (0..=i)
                            .map(|j| at(&inverse, i, j) * f64::from(vector[j] - mean[j]))
                            .sum::<f64>()
                    });
                    whitened.map(|v| v * v).sum::<f64>().sqrt() as f32
                })
                .collect();
            let own = PositionGaussians::new(dims, mean.repeat(n), &factor.repeat(n));
            assert_close(&own.whitened_norms(&vectors), &naive, 1e-4);
            assert_eq!(own.packed_factors(), factor.repeat(n));
            let shared = SharedGaussian::new(mean, &factor);
            assert_close(&shared.whitened_norms(&vectors), &naive, 1e-4);
            assert_eq!(shared.packed_factor(), factor);
        }
    }
}
