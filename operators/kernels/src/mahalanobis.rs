//! Mahalanobis distances by Cholesky factors.
//!
//! A triangular matrix is packed: the lower triangle row by row, element `(i, j)` with `j ≤ i` at `i (i + 1) / 2 + j`. A
//! symmetric matrix is packed as its lower triangle.

use std::fmt;

use crate::distance::dot_inline;
use crate::gemm::matmul_transposed;

/// Rows whitened by one matrix product: their results stay in the cache until they are squared.
const ROWS_PER_PRODUCT: usize = 256;

/// A matrix that has no Cholesky factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPositiveDefinite {
    /// The row whose pivot is not positive, or not a number.
    pub row: usize,
}

impl fmt::Display for NotPositiveDefinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the matrix is not positive definite at row {}", self.row)
    }
}

impl std::error::Error for NotPositiveDefinite {}

/// Values in a packed triangle of `dims` rows.
pub const fn packed_len(dims: usize) -> usize {
    dims * (dims + 1) / 2
}

/// Row `row` of a packed triangle.
#[inline(always)]
fn row_of<T>(packed: &[T], row: usize) -> &[T] {
    &packed[packed_len(row)..packed_len(row + 1)]
}

multiversion! {
    /// The Cholesky factor `L` of a packed symmetric matrix `A = L Lᵀ`, packed.
    ///
    /// # Errors
    /// If the matrix is not positive definite, or holds a value that is not a number.
    ///
    /// Panics unless `matrix` holds [`packed_len`] values.
    pub fn cholesky(dims: usize, matrix: &[f64]) -> Result<Vec<f64>, NotPositiveDefinite> {
        assert_eq!(matrix.len(), packed_len(dims), "packed matrix of {dims} dims");
        let mut factor = matrix.to_vec();
        for i in 0..dims {
            let (above, rest) = factor.split_at_mut(packed_len(i));
            let current = &mut rest[..=i];
            for j in 0..i {
                let row = row_of(above, j);
                let value = current[j] - dot_f64(&current[..j], &row[..j]);
                current[j] = value / row[j];
            }
            let pivot = current[i] - dot_f64(&current[..i], &current[..i]);
            if !(pivot.is_finite() && pivot > 0.0) {
                return Err(NotPositiveDefinite { row: i });
            }
            current[i] = pivot.sqrt();
        }
        Ok(factor)
    }
}

multiversion! {
    /// The inverse of a packed lower triangle, packed. A zero on the diagonal gives values that are not finite.
    ///
    /// Panics unless `factor` holds [`packed_len`] values.
    pub fn inverse_lower(dims: usize, factor: &[f64]) -> Vec<f64> {
        assert_eq!(factor.len(), packed_len(dims), "packed factor of {dims} dims");
        let mut inverse = vec![0.0; factor.len()];
        for i in 0..dims {
            let (above, rest) = inverse.split_at_mut(packed_len(i));
            let current = &mut rest[..=i];
            let row = row_of(factor, i);
            // Row i of the inverse is the unit vector i less the rows above, weighted by row i of the factor.
            for (k, weight) in row[..i].iter().enumerate() {
                for (sum, value) in current.iter_mut().zip(row_of(above, k)) {
                    *sum -= weight * value;
                }
            }
            current[i] = 1.0;
            current.iter_mut().for_each(|value| *value /= row[i]);
        }
        inverse
    }
}

/// Dot product over 8 lanes and a tree, in `f64`.
#[inline(always)]
fn dot_f64(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (whole_a, rest_a) = a.as_chunks::<8>();
    let (whole_b, rest_b) = b.as_chunks::<8>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for l in 0..8 {
            lanes[l] += a[l] * b[l];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *lane += a * b;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

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
    /// with the inverse Cholesky factor `W` of the covariance.
    ///
    /// Panics unless there is a vector for every position.
    pub fn whitened_norms(&self, vectors: &[f32]) -> Vec<f32> {
        assert_eq!(vectors.len(), self.means.len(), "vectors of {} dims", self.dims);
        let mut norms = vec![0.0; vectors.len() / self.dims];
        whiten(self.dims, &self.tiles, &self.means, vectors, &mut norms);
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
    use crate::testing::{assert_close, values};

    /// `B Bᵀ + I / 10` of random `B`, packed.
    fn positive_definite(dims: usize, seed: u64) -> Vec<f64> {
        let b = values(dims * dims, seed);
        let mut packed = Vec::new();
        for i in 0..dims {
            for j in 0..=i {
                let product: f64 = (0..dims)
                    .map(|k| f64::from(b[i * dims + k]) * f64::from(b[j * dims + k]))
                    .sum();
                packed.push(product + if i == j { 0.1 } else { 0.0 });
            }
        }
        packed
    }

    fn at(packed: &[f64], i: usize, j: usize) -> f64 {
        if j <= i { packed[packed_len(i) + j] } else { 0.0 }
    }

    #[test]
    fn factor_and_inverse_multiply_back() {
        for dims in [1, 2, 7, 8, 9, 40] {
            let matrix = positive_definite(dims, 1);
            let factor = cholesky(dims, &matrix).unwrap();
            let inverse = inverse_lower(dims, &factor);
            for i in 0..dims {
                for j in 0..=i {
                    let product: f64 = (0..dims).map(|k| at(&factor, i, k) * at(&factor, j, k)).sum();
                    assert!(
                        (product - at(&matrix, i, j)).abs() < 1e-10,
                        "L Lᵀ at ({i}, {j}) of {dims}"
                    );
                    let unit: f64 = (0..dims).map(|k| at(&inverse, i, k) * at(&factor, k, j)).sum();
                    assert!(
                        (unit - f64::from(u8::from(i == j))).abs() < 1e-9,
                        "L⁻¹ L at ({i}, {j}) of {dims}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_has_no_factor_is_refused() {
        assert_eq!(cholesky(2, &[1.0, 2.0, 1.0]), Err(NotPositiveDefinite { row: 1 }));
        assert_eq!(cholesky(1, &[0.0]), Err(NotPositiveDefinite { row: 0 }));
        assert_eq!(cholesky(1, &[f64::NAN]), Err(NotPositiveDefinite { row: 0 }));
        assert_eq!(
            cholesky(2, &[1.0, f64::INFINITY, 1.0]),
            Err(NotPositiveDefinite { row: 1 })
        );
        assert_eq!(cholesky(0, &[]), Ok(vec![]));
    }

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
