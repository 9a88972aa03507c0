//! Matrix products.

use gemm::Parallelism;

/// `out = a · b` with `a` of `m × k`, `b` of `k × n` and `out` of `m × n`, all row-major.
///
/// Panics unless the slices hold exactly as many values.
pub fn matmul(m: usize, k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    product(m, k, n, a, b, [n as isize, 1], out, false);
}

/// `out = a · bᵀ` with `a` of `m × k`, `b` of `n × k` and `out` of `m × n`, all row-major.
///
/// Panics unless the slices hold exactly as many values.
pub fn matmul_transposed(m: usize, k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    product(m, k, n, a, b, [1, k as isize], out, false);
}

/// `out += a · bᵀ`, shapes as in [`matmul_transposed`].
pub(crate) fn add_matmul_transposed(m: usize, k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    product(m, k, n, a, b, [1, k as isize], out, true);
}

/// `b_strides` are the steps of `b` (seen as `k × n`) from row to row and from column to column.
#[expect(clippy::too_many_arguments, reason = "the shape of a matrix product")]
fn product(
    m: usize,
    k: usize,
    n: usize,
    a: &[f32],
    b: &[f32],
    b_strides: [isize; 2],
    out: &mut [f32],
    accumulate: bool,
) {
    assert_eq!(Some(a.len()), m.checked_mul(k), "left factor of {m}x{k}");
    assert_eq!(Some(b.len()), k.checked_mul(n), "right factor of {k}x{n}");
    assert_eq!(Some(out.len()), m.checked_mul(n), "product of {m}x{n}");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            out.fill(0.0);
        }
        return;
    }
    // SAFETY: the lengths above are those of the shapes, and with the strides given here (row-major for `a` and `out`;
    // row- or column-major `k × n` for `b`) every index that the product touches lies inside its slice. `out` is
    // borrowed mutably, so it overlaps neither factor.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.as_ptr(),
            1,
            k as isize,
            b.as_ptr(),
            b_strides[1],
            b_strides[0],
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CASES, Dice, assert_close, values};

    fn naive(m: usize, k: usize, n: usize, a: &[f32], b: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|l| a[i * k + l] * b(l, j)).sum();
            }
        }
        out
    }

    #[test]
    fn products_match_naive() {
        for (m, k, n) in [
            (1, 1, 1),
            (3, 5, 7),
            (17, 33, 9),
            if cfg!(miri) { (2, 9, 17) } else { (64, 100, 65) },
            (1, 40, 3),
            (5, 0, 4),
            (0, 3, 2),
            (2, 3, 0),
        ] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let mut out = vec![f32::NAN; m * n];
            matmul(m, k, n, &a, &b, &mut out);
            assert_close(&out, &naive(m, k, n, &a, |l, j| b[l * n + j]), 1e-4);
            let mut out = vec![f32::NAN; m * n];
            matmul_transposed(m, k, n, &a, &b, &mut out);
            assert_close(&out, &naive(m, k, n, &a, |l, j| b[j * k + l]), 1e-4);
        }
    }

    #[test]
    fn any_product_is_exact_where_its_sums_are() {
        for seed in 0..CASES {
            let mut dice = Dice(seed);
            let most = if cfg!(miri) { 12 } else { 100 };
            let (m, k, n) = (dice.roll(most), dice.roll(most), dice.roll(most));
            let (a, b) = (dice.whole(m * k), dice.whole(k * n));
            let mut out = vec![f32::NAN; m * n];
            matmul(m, k, n, &a, &b, &mut out);
            assert_eq!(out, naive(m, k, n, &a, |l, j| b[l * n + j]), "{m}x{k} by {k}x{n}");
            let expected = naive(m, k, n, &a, |l, j| b[j * k + l]);
            let mut out = vec![f32::NAN; m * n];
            matmul_transposed(m, k, n, &a, &b, &mut out);
            assert_eq!(out, expected, "{m}x{k} by {n}x{k} transposed");
            let mut out = vec![1.0; m * n];
            add_matmul_transposed(m, k, n, &a, &b, &mut out);
            assert!(
                out.iter()
                    .zip(&expected)
                    .all(|(found, product)| *found == product + 1.0)
            );
        }
    }

    #[test]
    fn a_product_can_be_added() {
        let (a, b) = (values(6, 3), values(8, 4));
        let mut out = vec![1.0; 12];
        add_matmul_transposed(3, 2, 4, &a, &b, &mut out);
        let expected: Vec<f32> = naive(3, 2, 4, &a, |l, j| b[j * 2 + l])
            .iter()
            .map(|v| v + 1.0)
            .collect();
        assert_close(&out, &expected, 1e-5);
    }

    #[test]
    #[should_panic(expected = "left factor of 2x3")]
    fn wrong_lengths_panic() {
        matmul(2, 3, 1, &[0.0; 5], &[0.0; 3], &mut [0.0; 2]);
    }
}
