//! Numbers for tests.

use crate::cholesky::packed_len;

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every machine.
pub(crate) fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `count` values in −1 … 1.
pub(crate) fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| (splitmix64(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

/// Panics unless both hold the same number of values, none further apart than `tolerance` (relative above 1).
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "lengths");
    for (at, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= tolerance * e.abs().max(1.0),
            "at {at}: {f}, expected {e}"
        );
    }
}

/// `B Bᵀ + I / 10` of random `B`, packed.
pub(crate) fn positive_definite(dims: usize, seed: u64) -> Vec<f64> {
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

/// Element `(i, j)` of a packed triangle.
pub(crate) fn at(packed: &[f64], i: usize, j: usize) -> f64 {
    if j <= i { packed[packed_len(i) + j] } else { 0.0 }
}
