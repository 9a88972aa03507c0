//! Tiles with AVX2: bytes are widened to 16 bits, because `vpmaddubsw` saturates and `vpmaddwd` does not.

use std::arch::x86_64::*;

use half::bf16;

use super::tile::{BLOCK, GROUPS_AT_ONCE, Tile};

/// Channels whose sums are held at once: two per position, for up to six positions, are 12 of 16 registers.
const LANES: usize = 8;

/// Sums of as many positions as there is room for.
pub(super) fn sums_u8(tile: &Tile<'_, u8>, sums: &mut [[i32; BLOCK]]) {
    tile.check(sums.len());
    for first in (0..BLOCK).step_by(LANES) {
        // SAFETY: `Unit::available` has AVX2 only where it was detected, and what is read is inside the slices by `check`.
        unsafe { by_pixels!(sums.len(), tile_u8(tile, first, sums)) }
    }
}

/// Sums of as many positions as there is room for, each product fused with its addition.
pub(super) fn sums_f32(tile: &Tile<'_, f32>, sums: &mut [[f32; BLOCK]]) {
    tile.check(sums.len());
    for first in (0..BLOCK).step_by(2 * LANES) {
        // SAFETY: as in `sums_u8`, and FMA was detected too.
        unsafe { by_pixels!(sums.len(), tile_f32(tile, first, sums)) }
    }
}

/// Sums of as many positions as there is room for, added up as [`bfloat16`](super::bfloat16) says.
pub(super) fn sums_bf16(tile: &Tile<'_, bf16>, sums: &mut [[f32; BLOCK]]) {
    tile.check(sums.len());
    for first in (0..BLOCK).step_by(LANES) {
        // SAFETY: as in `sums_f32`.
        unsafe { by_pixels!(sums.len(), tile_bf16(tile, first, sums)) }
    }
}

/// Eight channels from `first` on.
#[inline(never)]
#[target_feature(enable = "avx2")]
unsafe fn tile_u8<const PIXELS: usize>(tile: &Tile<'_, u8>, first: usize, sums: &mut [[i32; BLOCK]]) {
    // Each 32-bit lane holds half a channel: the products of two of the four values of a group.
    let mut acc = [[_mm256_setzero_si256(); 2]; PIXELS];
    let mut step = 0;
    for row in 0..tile.rows {
        for group in 0..tile.groups {
            // SAFETY: `check` holds for `PIXELS` positions: step `step` has `4 · BLOCK` weights, of which these are the 32 from channel
            // `first` on, and all groups of all rows and positions of the input are there.
            unsafe {
                let weights = tile.weights.as_ptr().add(4 * (step * BLOCK + first));
                let w = [0, 16].map(|at| _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.add(at).cast())));
                let run = tile.input.as_ptr().add(row * tile.row_step + 4 * group);
                for (pixel, acc) in acc.iter_mut().enumerate() {
                    let four = run.add(pixel * tile.pixel_step).cast::<i32>().read_unaligned();
                    let x = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(four)));
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(x, w));
                    }
                }
            }
            step += 1;
        }
    }
    let sums = sums.first_chunk_mut::<PIXELS>().expect("room for all positions");
    for (acc, sums) in acc.iter().zip(sums) {
        // Halves of neighbours are added: channels 0 1 4 5 2 3 6 7, which a permutation of pairs puts right.
        let pairs = _mm256_hadd_epi32(acc[0], acc[1]);
        let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
        let sums = &mut sums[first..first + LANES];
        // SAFETY: the slice has room for eight sums.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), ordered) };
    }
}

/// Sixteen channels from `first` on.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_f32<const PIXELS: usize>(tile: &Tile<'_, f32>, first: usize, sums: &mut [[f32; BLOCK]]) {
    let mut acc = [[_mm256_setzero_ps(); 2]; PIXELS];
    let mut step = 0;
    for row in 0..tile.rows {
        for at in 0..tile.groups {
            // SAFETY: as in `tile_u8`, with groups of one: step `step` has `BLOCK` weights.
            unsafe {
                let weights = tile.weights.as_ptr().add(step * BLOCK + first);
                let w = [0, 8].map(|at| _mm256_loadu_ps(weights.add(at)));
                let run = tile.input.as_ptr().add(row * tile.row_step + at);
                for (pixel, acc) in acc.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*run.add(pixel * tile.pixel_step));
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm256_fmadd_ps(x, w, *acc);
                    }
                }
            }
            step += 1;
        }
    }
    let sums = sums.first_chunk_mut::<PIXELS>().expect("room for all positions");
    for (acc, sums) in acc.iter().zip(sums) {
        for (acc, sums) in acc.iter().zip(sums[first..first + 2 * LANES].chunks_exact_mut(8)) {
            // SAFETY: the chunk has room for eight sums.
            unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), *acc) };
        }
    }
}

/// Eight channels from `first` on. Products are exact, so it does not matter that they are fused with their additions.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_bf16<const PIXELS: usize>(tile: &Tile<'_, bf16>, first: usize, sums: &mut [[f32; BLOCK]]) {
    let sums = sums.first_chunk_mut::<PIXELS>().expect("room for all positions");
    sums.iter_mut().for_each(|sums| sums[first..first + LANES].fill(0.0));
    for row in 0..tile.rows {
        for begin in (0..tile.groups).step_by(GROUPS_AT_ONCE) {
            // The even and the odd values.
            let mut acc = [[_mm256_setzero_ps(); 2]; PIXELS];
            for group in begin..tile.groups.min(begin + GROUPS_AT_ONCE) {
                // SAFETY: as in `tile_u8`, with groups of two.
                unsafe {
                    let at = (row * tile.groups + group) * BLOCK + first;
                    let w = halves(_mm256_loadu_si256(tile.weights.as_ptr().add(2 * at).cast()));
                    let run = tile.input.as_ptr().add(row * tile.row_step + 2 * group);
                    for (pixel, acc) in acc.iter_mut().enumerate() {
                        let two = run.add(pixel * tile.pixel_step).cast::<i32>().read_unaligned();
                        let x = halves(_mm256_set1_epi32(two));
                        for half in 0..2 {
                            acc[half] = _mm256_fmadd_ps(x[half], w[half], acc[half]);
                        }
                    }
                }
            }
            for ([even, odd], sums) in acc.iter().zip(&mut *sums) {
                let sums = &mut sums[first..first + LANES];
                // SAFETY: the slice has eight sums.
                unsafe {
                    let sum = _mm256_loadu_ps(sums.as_ptr());
                    _mm256_storeu_ps(sums.as_mut_ptr(), _mm256_add_ps(sum, _mm256_add_ps(*even, *odd)));
                }
            }
        }
    }
}

/// The first and the second numbers of pairs.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(pairs: __m256i) -> [__m256; 2] {
    let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    let (first, second) = (_mm256_slli_epi32::<16>(pairs), _mm256_and_si256(pairs, upper));
    [_mm256_castsi256_ps(first), _mm256_castsi256_ps(second)]
}
