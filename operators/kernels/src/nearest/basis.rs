//! The subspace in which vectors vary most.

use crate::gemm::{matmul, matmul_transposed};
use crate::random::values;

/// Vectors that are looked at: evenly spaced ones, ten times as many as a basis has directions.
const SAMPLE_MAX: usize = 1_536;

/// Rounds of the power method. The subspace need not be the best: any bounds, a better one bounds more tightly.
const ROUNDS: usize = 2;

/// An orthonormal basis (`directions × dims`) of about the subspace of so many dimensions in which `vectors` (`rows × dims`) vary
/// most around `mean`, and a bound of the norm of `B Bᵀ − I`; none where they vary in fewer directions, or values are no numbers.
///
/// Subspace iteration (Halko, Martinsson and Tropp 2011, "Finding structure with randomness", algorithm 4.4) from a fixed start.
pub(super) fn principal_basis(
    directions: usize,
    dims: usize,
    mean: &[f32],
    vectors: &[f32],
) -> Option<(Vec<f32>, f64)> {
    let rows = vectors.len() / dims;
    let sampled = rows.min(SAMPLE_MAX);
    let row = |at: usize| &vectors[at * rows / sampled * dims..][..dims];
    let sample: Vec<f32> = (0..sampled)
        .flat_map(|at| row(at).iter().zip(mean).map(|(value, mean)| value - mean))
        .collect();
    let mut basis = values(directions * dims, 0);
    let mut seen = vec![0.0; directions * sampled];
    for _ in 0..ROUNDS {
        orthonormalise(&mut basis, dims)?;
        matmul_transposed(directions, dims, sampled, &basis, &sample, &mut seen);
        matmul(directions, sampled, dims, &seen, &sample, &mut basis);
    }
    orthonormalise(&mut basis, dims)?;
    let skew = skew(&basis, dims);
    Some((basis, skew))
}

/// Gram and Schmidt's method, modified, twice: once leaves directions that are nearly dependent far from orthogonal. None where
/// a direction lies in those before it.
fn orthonormalise(basis: &mut [f32], dims: usize) -> Option<()> {
    for _ in 0..2 {
        for at in 0..basis.len() / dims {
            let (before, rest) = basis.split_at_mut(at * dims);
            let direction = &mut rest[..dims];
            for other in before.chunks_exact(dims) {
                let along = dot(direction, other) as f32;
                for (value, other) in direction.iter_mut().zip(other) {
                    *value -= along * other;
                }
            }
            let length = dot(direction, direction).sqrt();
            if !(length > f64::from(f32::MIN_POSITIVE).sqrt() && length.is_finite()) {
                return None;
            }
            direction
                .iter_mut()
                .for_each(|value| *value = (f64::from(*value) / length) as f32);
        }
    }
    Some(())
}

/// A bound of the norm of `B Bᵀ − I`: its largest sum over a row.
fn skew(basis: &[f32], dims: usize) -> f64 {
    let sums = basis.chunks_exact(dims).enumerate().map(|(at, direction)| {
        let others = basis.chunks_exact(dims).enumerate();
        let off = others.map(|(other, against)| (dot(direction, against) - f64::from(at == other)).abs());
        off.sum::<f64>()
    });
    // What the sums themselves are off by is far below this.
    sums.fold(0.0, f64::max) * (1.0 + 1e-6) + 1e-9
}

/// In sixteen sums, which are added last.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum()
}
