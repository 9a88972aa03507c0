//! 16-bit floating point, the upper half of an `f32`, multiplied as AMX does it.
//!
//! A product of two such numbers is exact in `f32`. Of every 32 values in a row of a window `tdpbf16ps` (Intel, "Architecture
//! Instruction Set Extensions", chapter 3) adds up the even and the odd ones by themselves, then one to the other, then both to the
//! sum, each time rounding to `f32`. Everybody else here does the same, so all machines give the same bytes; to AVX-512's `vdpbf16ps`, which
//! adds the two of a pair to one sum, values are given in other pairs. Both take numbers below 2⁻¹²⁶ for zero. No sum gets there: weights and activations are
//! multiples of 2⁻⁵⁷, because what is below 2⁻⁵⁰ becomes zero before it is multiplied.
//!
//! Pixels of 0 … 255 are exact, so the first layer reads them as they are, as in 8 bits. Activations are rounded to even once, after
//! what is added to them and `max(·, 0)`.

use std::ops::Range;

use half::bf16;

use super::element::{Element, Unit};
use super::finish::Finish;
use super::memory::Zeroed;
use super::run::{ConvRows, Pixels, with_scratch};
use super::tile::{BLOCK, DepthwiseTile, GROUPS_AT_ONCE, PoolRow, Tile};
#[cfg(target_arch = "x86_64")]
use super::tile::{Group, GroupSums};

/// What is smaller than this is zero.
pub(super) const LEAST: f32 = 1.0 / (1_u64 << 50) as f32;

/// The nearest number of 16 bits.
pub(super) fn narrowed(value: f32) -> bf16 {
    if value.abs() < LEAST {
        bf16::ZERO
    } else {
        bf16::from_f32(value)
    }
}

/// The nearest numbers of 16 bits.
pub(super) fn narrowed_weights(weight: &[f32]) -> Vec<bf16> {
    weight.iter().copied().map(narrowed).collect()
}

/// The value of one, without the branch for not-a-number that the library has, and compilers do not make vectors of.
#[inline(always)]
fn widened(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

impl Zeroed for bf16 {}

impl Element for bf16 {
    type Weight = bf16;
    type Sum = f32;
    const GROUP: usize = 2;
    const IN_GROUPS: bool = true;

    fn scaled(sum: f32, _: f32) -> f32 {
        sum
    }

    fn value(self, _: f32) -> f32 {
        widened(self)
    }

    fn narrowed(value: f32, _: f32) -> Self {
        narrowed(value)
    }

    fn max_row(row: &PoolRow<'_, Self>, out: &mut [Self]) {
        max_row(row, out);
    }

    fn mean_row(row: &PoolRow<'_, Self>, out: &mut [Self]) {
        mean_row(row, out);
    }

    fn depthwise_sums(tile: &DepthwiseTile<'_, Self>, sums: &mut [[f32; BLOCK]]) {
        depthwise_sums(tile, sums);
    }

    fn sums(unit: Unit, tile: &Tile<'_, Self>, sums: &mut [[f32; BLOCK]]) {
        match unit {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx | Unit::Avx512 => super::avx512::sums_bf16(tile, sums),
            #[cfg(target_arch = "x86_64")]
            Unit::AvxVnni | Unit::Avx2 => super::avx2::sums_bf16(tile, sums),
            Unit::Portable => portable_sums(tile, sums),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn group_sums(tiles: &super::amx::Tiles, group: &Group<'_, Self>, sums: &mut GroupSums<f32>) {
        tiles.sums_bf16(group, sums);
    }

    fn finish(finish: &mut Finish<'_, Self>, sums: &[[f32; BLOCK]]) {
        finish_portable(finish, sums);
    }

    #[cfg(target_arch = "x86_64")]
    fn finish_avx512(finish: &mut Finish<'_, Self>, sums: &[[f32; BLOCK]]) {
        super::avx512::finish_bf16(finish, sums);
    }
}

impl Pixels for bf16 {
    fn row(_: Option<&[[f32; 256]; 3]>, rgb: &[u8], out: &mut [bf16]) {
        for (byte, out) in rgb.iter().zip(out) {
            *out = bf16::from_bits((f32::from(*byte).to_bits() >> 16) as u16);
        }
    }

    with_scratch!(bf16);

    fn winograd(_: &mut ConvRows<'_, bf16>, _: Range<usize>) {
        unreachable!("weights of 16 bits are not transformed");
    }
}

multiversion! {
    fn finish_portable(finish: &mut Finish<'_, bf16>, sums: &[[f32; BLOCK]]) {
        finish.portable(sums);
    }
}

multiversion! {
    // Activations are not negative and no not-a-number is largest, so they are in the order of their bits.
    fn max_row(row: &PoolRow<'_, bf16>, out: &mut [bf16]) {
        for (at, out) in row.blocks(out) {
            let mut largest = [0; BLOCK];
            for pixel in row.under(at) {
                for lane in 0..BLOCK {
                    largest[lane] = largest[lane].max(pixel[lane].to_bits());
                }
            }
            let largest = largest.map(bf16::from_bits);
            out.copy_from_slice(&largest[..out.len()]);
        }
    }
}

multiversion! {
    fn mean_row(row: &PoolRow<'_, bf16>, out: &mut [bf16]) {
        let inverse = 1.0 / (row.kernel * row.kernel) as f32;
        for (at, out) in row.blocks(out) {
            let mut sums = [0.0; BLOCK];
            for pixel in row.under(at) {
                for lane in 0..BLOCK {
                    sums[lane] += widened(pixel[lane]);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = narrowed(sum * inverse);
            }
        }
    }
}

multiversion! {
    fn depthwise_sums(tile: &DepthwiseTile<'_, bf16>, sums: &mut [[f32; BLOCK]]) {
        for (pixel, sums) in sums.iter_mut().enumerate() {
            let mut acc = [0.0; BLOCK];
            for (input, weights) in tile.under(pixel) {
                for at in 0..BLOCK {
                    acc[at] += widened(input[at]) * widened(weights[at]);
                }
            }
            *sums = acc;
        }
    }
}

/// Products are exact, so it does not matter that they are not fused with their additions.
fn portable_sums(tile: &Tile<'_, bf16>, sums: &mut [[f32; BLOCK]]) {
    tile.check(sums.len());
    for (pixel, sums) in sums.iter_mut().enumerate() {
        sums.fill(0.0);
        for row in 0..tile.rows {
            let run = &tile.input[row * tile.row_step + pixel * tile.pixel_step..][..2 * tile.groups];
            let weights = &tile.weights[row * tile.groups * 2 * BLOCK..][..tile.groups * 2 * BLOCK];
            let at_once = run
                .chunks(2 * GROUPS_AT_ONCE)
                .zip(weights.chunks(2 * GROUPS_AT_ONCE * BLOCK));
            for (run, weights) in at_once {
                let (mut even, mut odd) = ([0.0; BLOCK], [0.0; BLOCK]);
                for (x, w) in run
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .zip(weights.as_chunks::<{ 2 * BLOCK }>().0)
                {
                    for (lane, [first, second]) in w.as_chunks().0.iter().enumerate() {
                        even[lane] += widened(x[0]) * widened(*first);
                        odd[lane] += widened(x[1]) * widened(*second);
                    }
                }
                for lane in 0..BLOCK {
                    sums[lane] += even[lane] + odd[lane];
                }
            }
        }
    }
}
