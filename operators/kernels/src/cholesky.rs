//! Cholesky factors of packed matrices.
//!
//! A triangular matrix is packed: the lower triangle row by row, element `(i, j)` with `j ≤ i` at `i (i + 1) / 2 + j`. A
//! symmetric matrix is packed as its lower triangle.

use std::fmt;

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
pub(crate) fn row_of<T>(packed: &[T], row: usize) -> &[T] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CASES, Dice, at, on_every_unit, positive_definite};

    #[test]
    fn factor_and_inverse_multiply_back() {
        let random = (0..CASES / 4).map(|seed| (Dice(seed).size(60), seed));
        for (dims, seed) in [1, 2, 7, 8, 9, 40].map(|dims| (dims, 1)).into_iter().chain(random) {
            let matrix = positive_definite(dims, seed);
            let factor = on_every_unit(|| cholesky(dims, &matrix).unwrap());
            let inverse = on_every_unit(|| inverse_lower(dims, &factor));
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
}
