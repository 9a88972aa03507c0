//! The one definition of a distance.

/// Partial sums of a distance or dot product: one 512-bit vector of `f32`.
const LANES: usize = 16;

/// Most dimensions of a vector: what [`relative_error`] and the bounds built on it are stated for. No embedding comes near.
pub(crate) const DIMS_MAX: usize = 1 << 16;

/// Unit roundoff of `f32`.
const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

multiversion! {
    /// Squared Euclidean distance in plain `f32`, in a fixed order: difference `i` is squared and added to lane `i mod 16`,
    /// from the first to the last, and the lanes are added as a tree (8 apart, 4 apart, 2, 1). Nothing is fused, so the
    /// bits are the same on every CPU.
    ///
    /// Panics unless both have the same length.
    pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
        squared_distance_inline(a, b)
    }
}

/// [`squared_distance`], to be compiled into a function that is dispatched already.
#[inline(always)]
pub(crate) fn squared_distance_inline(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dimensions");
    let mut lanes = [0.0f32; LANES];
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for l in 0..LANES {
            let difference = a[l] - b[l];
            lanes[l] += difference * difference;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        let difference = a - b;
        *lane += difference * difference;
    }
    tree_sum(lanes)
}

/// Dot product in the same order as [`squared_distance`].
#[inline(always)]
pub(crate) fn dot_inline(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len(), "dimensions");
    let mut lanes = [0.0f32; LANES];
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for l in 0..LANES {
            lanes[l] += a[l] * b[l];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *lane += a * b;
    }
    tree_sum(lanes)
}

#[inline(always)]
fn tree_sum(lanes: [f32; LANES]) -> f32 {
    let mut eight = [0.0f32; 8];
    for l in 0..8 {
        eight[l] = lanes[l] + lanes[l + 8];
    }
    let mut four = [0.0f32; 4];
    for l in 0..4 {
        four[l] = eight[l] + eight[l + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Relative error of [`squared_distance`], at most: a difference and its square make three roundings of a term (the
/// difference counts twice), a lane adds `⌈dims / 16⌉` of them and the tree 4 (Higham 2002, "Accuracy and Stability of
/// Numerical Algorithms", section 3.1). Results that underflow err by [`underflow`] more.
pub(crate) fn relative_error(dims: usize) -> f64 {
    gamma(dims.div_ceil(LANES) + 7)
}

/// Higham's γₙ: the relative error of `n` roundings in a row, at most.
pub(crate) fn gamma(n: usize) -> f64 {
    let error = n as f64 * ROUNDOFF;
    error / (1.0 - error)
}

/// What `dims` products that underflow can lose together, at most.
pub(crate) fn underflow(dims: usize) -> f64 {
    dims as f64 * f64::from(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{on_every_unit, values};

    #[test]
    fn distance_follows_its_definition() {
        for dims in (0..=100).chain([384, 1_536]) {
            let (a, b) = (values(dims, 1), values(dims, 2));
            let mut lanes = [0.0f32; 16];
            for i in 0..dims {
                lanes[i % 16] += (a[i] - b[i]) * (a[i] - b[i]);
            }
            for apart in [8, 4, 2, 1] {
                for l in 0..apart {
                    lanes[l] += lanes[l + apart];
                }
            }
            let found = on_every_unit(|| squared_distance(&a, &b).to_bits());
            assert_eq!(found, lanes[0].to_bits(), "{dims} dims");
        }
    }

    #[test]
    fn distance_errs_less_than_stated() {
        for (dims, seed) in [(1, 1), (16, 2), (100, 3), (1536, 4), (DIMS_MAX, 5)] {
            let (a, b) = (values(dims, seed), values(dims, seed + 100));
            let exact: f64 = a
                .iter()
                .zip(&b)
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                .sum();
            assert!(
                (f64::from(squared_distance(&a, &b)) - exact).abs() <= relative_error(dims) * exact,
                "{dims} dims"
            );
        }
    }
}
