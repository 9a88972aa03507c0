//! Eigenvectors of symmetric matrices.

use std::fmt;

use nalgebra::{DMatrix, SymmetricEigen};

/// Sweeps allowed per dimension. The implicit QR algorithm takes about two per eigenvalue; where it takes fifty times as
/// many, it will not end.
const SWEEPS_PER_DIM: usize = 100;

/// A matrix whose eigenvectors could not be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EigenError {
    /// It holds a value that is infinite or not a number.
    NotFinite,
    /// The algorithm did not converge.
    NotConverged,
}

impl fmt::Display for EigenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EigenError::NotFinite => "the matrix holds a value that is infinite or not a number",
            EigenError::NotConverged => "the eigenvectors did not converge",
        })
    }
}

impl std::error::Error for EigenError {}

/// Eigenvalues and eigenvectors of a symmetric matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Eigen {
    /// Eigenvalues, largest first.
    pub values: Vec<f64>,
    /// Eigenvectors of length 1, one a row, in the order of `values`. The component of largest absolute value (the first
    /// of several) is positive.
    pub vectors: Vec<f64>,
}

/// Decomposes a symmetric matrix of `n × n`, row-major; only its lower triangle is read.
///
/// # Errors
/// If the matrix holds a value that is not finite, or the algorithm does not converge.
///
/// Panics unless `matrix` holds `n * n` values.
pub fn symmetric_eigen(n: usize, matrix: &[f64]) -> Result<Eigen, EigenError> {
    assert_eq!(matrix.len(), n * n, "matrix {n}x{n}");
    if !matrix.iter().all(|value| value.is_finite()) {
        return Err(EigenError::NotFinite);
    }
    if n == 0 {
        return Ok(Eigen {
            values: Vec::new(),
            vectors: Vec::new(),
        });
    }
    let matrix = DMatrix::from_row_slice(n, n, matrix);
    let eigen = SymmetricEigen::try_new(matrix, f64::EPSILON, SWEEPS_PER_DIM * n).ok_or(EigenError::NotConverged)?;
    let mut order: Vec<usize> = (0..n).collect();
    // A stable sort: equal eigenvalues stay in the order in which the algorithm found them.
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let mut vectors = Vec::with_capacity(n * n);
    for column in &order {
        let column = eigen.eigenvectors.column(*column);
        let largest = column
            .iter()
            .fold(0.0f64, |largest, v| if v.abs() > largest.abs() { *v } else { largest });
        vectors.extend(column.iter().map(|v| if largest < 0.0 { -v } else { *v }));
    }
    Ok(Eigen {
        values: order.iter().map(|at| eigen.eigenvalues[*at]).collect(),
        vectors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CASES, Dice, values};

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        let random = (0..CASES / 4).map(|seed| (Dice(seed).size(40), seed));
        for (n, seed) in [1, 2, 5, 30].map(|n| (n, 1)).into_iter().chain(random) {
            let b = values(n * n, seed);
            let matrix: Vec<f64> = (0..n * n)
                .map(|at| f64::from(b[at]) + f64::from(b[at % n * n + at / n]))
                .collect();
            let eigen = symmetric_eigen(n, &matrix).unwrap();
            assert!(eigen.values.is_sorted_by(|a, b| a >= b));
            for i in 0..n {
                for j in 0..n {
                    let vector = |k: usize, at: usize| eigen.vectors[k * n + at];
                    let rebuilt: f64 = (0..n).map(|k| eigen.values[k] * vector(k, i) * vector(k, j)).sum();
                    assert!((rebuilt - matrix[i * n + j]).abs() < 1e-10, "({i}, {j}) of {n}");
                    let unit: f64 = (0..n).map(|k| vector(i, k) * vector(j, k)).sum();
                    assert!((unit - f64::from(u8::from(i == j))).abs() < 1e-10);
                }
                let row = &eigen.vectors[i * n..][..n];
                let largest = row.iter().fold(0.0f64, |m, v| if v.abs() > m.abs() { *v } else { m });
                assert!(largest > 0.0);
            }
        }
    }

    #[test]
    fn known_matrix() {
        let eigen = symmetric_eigen(2, &[2.0, 1.0, 1.0, 2.0]).unwrap();
        let half = 0.5f64.sqrt();
        assert!((eigen.values[0] - 3.0).abs() < 1e-12 && (eigen.values[1] - 1.0).abs() < 1e-12);
        assert!((eigen.vectors[0] - half).abs() < 1e-12 && (eigen.vectors[1] - half).abs() < 1e-12);
    }

    #[test]
    fn broken_matrices_are_refused() {
        assert_eq!(symmetric_eigen(1, &[f64::NAN]), Err(EigenError::NotFinite));
        assert_eq!(symmetric_eigen(2, &[0.0; 4]).unwrap().values, [0.0, 0.0]);
    }
}
