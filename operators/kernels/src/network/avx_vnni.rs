//! Tiles with AVX-VNNI, what processors without AVX-512 have of `vpdpbusd`: 32 pairs of bytes at once.

use std::arch::x86_64::*;

use super::tile::{BLOCK, Tile};

/// Channels whose sums are held at once: two registers per position, for up to six positions, are 12 of 16.
const LANES: usize = 16;

/// Sums of as many positions as there is room for.
pub(super) fn sums_u8(tile: &Tile<'_, u8>, sums: &mut [[i32; BLOCK]]) {
    tile.check(sums.len());
    for first in (0..BLOCK).step_by(LANES) {
        // SAFETY: `Unit::available` has AVX-VNNI only where it and AVX2 were detected, and what is read is inside the slices by `check`.
        unsafe { by_pixels!(sums.len(), tile_u8(tile, first, sums)) }
    }
}

/// Sixteen channels from `first` on.
#[inline(never)]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tile_u8<const PIXELS: usize>(tile: &Tile<'_, u8>, first: usize, sums: &mut [[i32; BLOCK]]) {
    let mut acc = [[_mm256_setzero_si256(); 2]; PIXELS];
    let mut step = 0;
    for row in 0..tile.rows {
        for group in 0..tile.groups {
            // SAFETY: `check` holds for `PIXELS` positions: step `step` has `4 · BLOCK` weights, of which these are the 64 from channel
            // `first` on, and all groups of all rows and positions of the input are there.
            unsafe {
                let weights = tile.weights.as_ptr().add(4 * (step * BLOCK + first));
                let w = [
                    _mm256_loadu_si256(weights.cast()),
                    _mm256_loadu_si256(weights.add(32).cast()),
                ];
                let run = tile.input.as_ptr().add(row * tile.row_step + 4 * group);
                for (pixel, acc) in acc.iter_mut().enumerate() {
                    let four = run.add(pixel * tile.pixel_step).cast::<i32>().read_unaligned();
                    let x = _mm256_set1_epi32(four);
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm256_dpbusd_avx_epi32(*acc, x, w);
                    }
                }
            }
            step += 1;
        }
    }
    let sums = sums.first_chunk_mut::<PIXELS>().expect("room for all positions");
    for (acc, sums) in acc.iter().zip(sums) {
        for (acc, sums) in acc.iter().zip(sums[first..first + LANES].chunks_exact_mut(8)) {
            // SAFETY: the chunk has room for eight sums.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), *acc) };
        }
    }
}
