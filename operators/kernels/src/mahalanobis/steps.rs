//! What Mahalanobis distances are made of: products of integers, in which factors are kept, with floats.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::TILE_ROWS;

/// Values of a tile that are multiplied side by side: four columns.
pub(super) const LANES: usize = 4 * TILE_ROWS;

/// An integer in which a value of a factor is kept.
pub(super) trait Step: Copy + Into<f32> + Sync {
    /// The largest.
    const MAX: f32;

    /// The nearest to a value.
    fn nearest(value: f32) -> Self;

    /// [`add_products`] by AVX-512.
    ///
    /// # Safety
    /// The CPU must have AVX-512F.
    #[cfg(target_arch = "x86_64")]
    unsafe fn add_products_avx512(tile: &[[Self; LANES]], values: &[[f32; LANES]], sums: &mut [f32; LANES]);

    /// [`add_products`] by AVX2.
    ///
    /// # Safety
    /// The CPU must have AVX2.
    #[cfg(target_arch = "x86_64")]
    unsafe fn add_products_avx2(tile: &[[Self; LANES]], values: &[[f32; LANES]], sums: &mut [f32; LANES]);
}

/// Adds to each sum the products of its steps and values.
pub(super) fn add_products<S: Step>(tile: &[[S; LANES]], values: &[[f32; LANES]], sums: &mut [f32; LANES]) {
    for (steps, values) in tile.iter().zip(values) {
        for ((sum, steps), value) in sums.iter_mut().zip(steps).zip(values) {
            *sum += (*steps).into() * value;
        }
    }
}

/// [`Step`] for an integer. By hand: the compiler makes single values of [`add_products`].
macro_rules! impl_step {
    ($integer:ty, $load_avx512:ident to $widen_avx512:ident, $load_avx2:ident to $widen_avx2:ident) => {
        impl Step for $integer {
            const MAX: f32 = <$integer>::MAX as f32;

            fn nearest(value: f32) -> Self {
                // A row whose largest value is negative would otherwise need one more, and another scale the next time.
                value
                    .round_ties_even()
                    .clamp(-<Self as Step>::MAX, <Self as Step>::MAX) as Self
            }

            #[cfg(target_arch = "x86_64")]
            #[inline]
            #[target_feature(enable = "avx512f")]
            unsafe fn add_products_avx512(tile: &[[Self; LANES]], values: &[[f32; LANES]], sums: &mut [f32; LANES]) {
                let mut acc = [_mm512_setzero_ps(); 2];
                for (acc, sums) in acc.iter_mut().zip(sums.as_chunks::<16>().0) {
                    // SAFETY: there are 16 sums.
                    *acc = unsafe { _mm512_loadu_ps(sums.as_ptr()) };
                }
                for (steps, values) in tile.iter().zip(values) {
                    for (at, acc) in acc.iter_mut().enumerate() {
                        // SAFETY: both arrays have 32 values, of which these are 16.
                        let (steps, values) = unsafe {
                            let steps = $load_avx512(steps.as_ptr().add(16 * at).cast());
                            (steps, _mm512_loadu_ps(values.as_ptr().add(16 * at)))
                        };
                        let weights = _mm512_cvtepi32_ps($widen_avx512(steps));
                        *acc = _mm512_add_ps(*acc, _mm512_mul_ps(weights, values));
                    }
                }
                for (acc, sums) in acc.iter().zip(sums.as_chunks_mut::<16>().0) {
                    // SAFETY: there is room for 16 sums.
                    unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *acc) };
                }
            }

            #[cfg(target_arch = "x86_64")]
            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn add_products_avx2(tile: &[[Self; LANES]], values: &[[f32; LANES]], sums: &mut [f32; LANES]) {
                let mut acc = [_mm256_setzero_ps(); 4];
                for (acc, sums) in acc.iter_mut().zip(sums.as_chunks::<8>().0) {
                    // SAFETY: there are 8 sums.
                    *acc = unsafe { _mm256_loadu_ps(sums.as_ptr()) };
                }
                for (steps, values) in tile.iter().zip(values) {
                    for (at, acc) in acc.iter_mut().enumerate() {
                        // SAFETY: both arrays have 32 values, of which these are 8.
                        let (steps, values) = unsafe {
                            let steps = $load_avx2(steps.as_ptr().add(8 * at).cast());
                            (steps, _mm256_loadu_ps(values.as_ptr().add(8 * at)))
                        };
                        let weights = _mm256_cvtepi32_ps($widen_avx2(steps));
                        *acc = _mm256_add_ps(*acc, _mm256_mul_ps(weights, values));
                    }
                }
                for (acc, sums) in acc.iter().zip(sums.as_chunks_mut::<8>().0) {
                    // SAFETY: there is room for 8 sums.
                    unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), *acc) };
                }
            }
        }
    };
}

impl_step!(i16, _mm256_loadu_si256 to _mm512_cvtepi16_epi32, _mm_loadu_si128 to _mm256_cvtepi16_epi32);
impl_step!(i8, _mm_loadu_si128 to _mm512_cvtepi8_epi32, _mm_loadl_epi64 to _mm256_cvtepi8_epi32);

#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod tests {
    use super::*;
    use crate::simd::{Level, detected};
    use crate::testing::values;

    fn vectors_change_no_bit_of<S: Step>() {
        let steps: Vec<[S; LANES]> = (0..5i32)
            .map(|at| {
                std::array::from_fn(|lane| {
                    S::nearest(((at * 7_919 + lane as i32 * 104_729) as i16 as f32) * S::MAX / 32_767.0)
                })
            })
            .collect();
        let products: Vec<[f32; LANES]> = values(5 * LANES, 3).as_chunks().0.to_vec();
        let begun: [f32; LANES] = std::array::from_fn(|lane| lane as f32);
        let mut expected = begun;
        add_products(&steps, &products, &mut expected);
        assert_ne!(expected, begun);
        if detected() == Level::Avx512 {
            let mut found = begun;
            // SAFETY: it was detected.
            unsafe { S::add_products_avx512(&steps, &products, &mut found) };
            assert_eq!(found, expected);
        }
        if detected() >= Level::Avx2 {
            let mut found = begun;
            // SAFETY: it was detected.
            unsafe { S::add_products_avx2(&steps, &products, &mut found) };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn vectors_change_no_bit() {
        vectors_change_no_bit_of::<i16>();
        vectors_change_no_bit_of::<i8>();
    }
}
