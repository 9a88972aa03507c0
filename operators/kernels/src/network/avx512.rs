//! Tiles with AVX-512: `vpdpbusd` multiplies 64 pairs of bytes and adds them up by fours.

use std::arch::x86_64::*;

use half::bf16;

use super::bfloat16::LEAST;
use super::element::Element;
use super::finish::{Added, Finish};
use super::tile::{BLOCK, GROUPS_AT_ONCE, Tile};

/// 512-bit registers of a block.
const VECTORS: usize = BLOCK / 16;

/// Calls the version of a function that is compiled for what is written: a map, a wide map, or both.
macro_rules! by_outputs {
    ($outputs:expr, $block:ident::<$added:ident>($($arg:expr),*)) => {
        match $outputs {
            (true, true) => $block::<$added, true, true>($($arg),*),
            (true, false) => $block::<$added, true, false>($($arg),*),
            (false, true) => $block::<$added, false, true>($($arg),*),
            (false, false) => {}
        }
    };
}

/// Sums of as many positions as there is room for.
pub(super) fn sums_u8(tile: &Tile<'_, u8>, sums: &mut [[i32; BLOCK]]) {
    tile.check(sums.len());
    // SAFETY: `Unit::available` has AVX-512 only where every feature that `tile_u8` enables was detected, and what it reads is
    // inside the slices by `check`.
    unsafe { by_pixels!(sums.len(), tile_u8(tile, sums)) }
}

/// Sums of as many positions as there is room for, each product fused with its addition.
pub(super) fn sums_f32(tile: &Tile<'_, f32>, sums: &mut [[f32; BLOCK]]) {
    tile.check(sums.len());
    // SAFETY: as in `sums_u8`.
    unsafe { by_pixels!(sums.len(), tile_f32(tile, sums)) }
}

/// Sums of as many positions as there is room for, added up as [`bfloat16`](super::bfloat16) says.
pub(super) fn sums_bf16(tile: &Tile<'_, bf16>, sums: &mut [[f32; BLOCK]]) {
    tile.check(sums.len());
    let has_products_of_pairs = is_x86_feature_detected!("avx512bf16");
    for first in (0..BLOCK).step_by(BLOCK / 2) {
        match has_products_of_pairs {
            // SAFETY: as in `sums_u8`; the feature that the function enables beside was just detected.
            true => unsafe { by_pixels!(sums.len(), tile_bf16_by_pairs(tile, first, sums)) },
            // SAFETY: as in `sums_u8`.
            false => unsafe { by_pixels!(sums.len(), tile_bf16(tile, first, sums)) },
        }
    }
}

// Kept apart from what is done with the sums: in one function the compiler keeps them in memory, at half the speed.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile_u8<const PIXELS: usize>(tile: &Tile<'_, u8>, sums: &mut [[i32; BLOCK]]) {
    let mut acc = [[_mm512_setzero_si512(); VECTORS]; PIXELS];
    let mut weights = tile.weights.as_ptr();
    for row in 0..tile.rows {
        // SAFETY: `check` holds for `PIXELS` positions: `rows · groups · 4 · BLOCK` weights are there, of which every step reads the
        // next `4 · BLOCK`, and all groups of all rows and positions of the input.
        unsafe {
            let run = tile.input.as_ptr().add(row * tile.row_step);
            for group in 0..tile.groups {
                let mut w = [_mm512_setzero_si512(); VECTORS];
                for (at, w) in w.iter_mut().enumerate() {
                    *w = _mm512_loadu_si512(weights.add(64 * at).cast());
                }
                for (pixel, acc) in acc.iter_mut().enumerate() {
                    let four = run
                        .add(pixel * tile.pixel_step + 4 * group)
                        .cast::<i32>()
                        .read_unaligned();
                    let x = _mm512_set1_epi32(four);
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm512_dpbusd_epi32(*acc, x, w);
                    }
                }
                weights = weights.add(4 * BLOCK);
            }
        }
    }
    let sums = sums.first_chunk_mut::<PIXELS>().expect("room for all positions");
    for (acc, sums) in acc.iter().zip(sums) {
        for (acc, sums) in acc.iter().zip(sums.chunks_exact_mut(16)) {
            // SAFETY: the chunk has room for 16 sums.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), *acc) };
        }
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn tile_f32<const PIXELS: usize>(tile: &Tile<'_, f32>, sums: &mut [[f32; BLOCK]]) {
    let mut acc = [[_mm512_setzero_ps(); VECTORS]; PIXELS];
    let mut weights = tile.weights.as_ptr();
    for row in 0..tile.rows {
        // SAFETY: as in `tile_u8`, with groups of one.
        unsafe {
            let run = tile.input.as_ptr().add(row * tile.row_step);
            for at in 0..tile.groups {
                let mut w = [_mm512_setzero_ps(); VECTORS];
                for (at, w) in w.iter_mut().enumerate() {
                    *w = _mm512_loadu_ps(weights.add(16 * at));
                }
                for (pixel, acc) in acc.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*run.add(pixel * tile.pixel_step + at));
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm512_fmadd_ps(x, w, *acc);
                    }
                }
                weights = weights.add(BLOCK);
            }
        }
    }
    let sums = sums.first_chunk_mut::<PIXELS>().expect("room for all positions");
    for (acc, sums) in acc.iter().zip(sums) {
        for (acc, sums) in acc.iter().zip(sums.chunks_exact_mut(16)) {
            // SAFETY: the chunk has room for 16 sums.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *acc) };
        }
    }
}

/// Half a block from channel `first` on, as [`tile_bf16`] has it. `vdpbf16ps` adds the upper product of a pair to a sum and then the lower one,
/// each fused and rounded to even, so two groups are paired anew: the first of both, which are even values, and the second of both.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn tile_bf16_by_pairs<const PIXELS: usize>(tile: &Tile<'_, bf16>, first: usize, sums: &mut [[f32; BLOCK]]) {
    const LOWER: __mmask32 = 0x5555_5555;
    let sums = sums.first_chunk_mut::<PIXELS>().expect("room for all positions");
    sums.iter_mut()
        .for_each(|sums| sums[first..first + BLOCK / 2].fill(0.0));
    for row in 0..tile.rows {
        for begin in (0..tile.groups).step_by(GROUPS_AT_ONCE) {
            // The even and the odd values of two vectors of channels.
            let mut acc = [[[_mm512_setzero_ps(); 2]; 2]; PIXELS];
            let end = tile.groups.min(begin + GROUPS_AT_ONCE);
            for group in (begin..end).step_by(2) {
                // Behind the last of an odd number of groups are zeros, which change no sum: none is a negative zero.
                let is_pair = group + 1 < end;
                // SAFETY: `check` holds for `PIXELS` positions: every group of every row has `2 · BLOCK` weights, of which these are the 64
                // from channel `first` on, and two values of every position; the second group is read only where it is there.
                unsafe {
                    let at = (row * tile.groups + group) * BLOCK + first;
                    let weights = tile.weights.as_ptr().add(2 * at).cast::<i32>();
                    let mut w = [[_mm512_setzero_si512(); 2]; 2];
                    for (vector, w) in w.iter_mut().enumerate() {
                        let one = _mm512_loadu_si512(weights.add(16 * vector).cast());
                        let other = match is_pair {
                            true => _mm512_loadu_si512(weights.add(BLOCK + 16 * vector).cast()),
                            false => _mm512_setzero_si512(),
                        };
                        *w = [
                            _mm512_mask_blend_epi16(LOWER, _mm512_slli_epi32::<16>(one), other),
                            _mm512_mask_blend_epi16(LOWER, one, _mm512_srli_epi32::<16>(other)),
                        ];
                    }
                    let run = tile.input.as_ptr().add(row * tile.row_step + 2 * group);
                    for (pixel, acc) in acc.iter_mut().enumerate() {
                        let values = run.add(pixel * tile.pixel_step).cast::<u32>();
                        let one = values.read_unaligned();
                        let other = if is_pair { values.add(1).read_unaligned() } else { 0 };
                        let x = [one << 16 | other & 0xffff, one & 0xffff_0000 | other >> 16];
                        let x = x.map(|pair| _mm512_set1_epi32(pair as i32));
                        for (acc, w) in acc.iter_mut().zip(w) {
                            for half in 0..2 {
                                acc[half] = _mm512_dpbf16_ps(acc[half], of_bf16(x[half]), of_bf16(w[half]));
                            }
                        }
                    }
                }
            }
            add_evens_and_odds(&acc, first, sums);
        }
    }
}

/// Adds the even values of two vectors of channels, from `first` on, to the odd ones, and both to the sums.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_evens_and_odds<const PIXELS: usize>(
    acc: &[[[__m512; 2]; 2]; PIXELS],
    first: usize,
    sums: &mut [[f32; BLOCK]; PIXELS],
) {
    for (acc, sums) in acc.iter().zip(sums) {
        for ([even, odd], sums) in acc.iter().zip(sums[first..].chunks_exact_mut(16)) {
            // SAFETY: the chunk has 16 sums.
            unsafe {
                let sum = _mm512_loadu_ps(sums.as_ptr());
                _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_add_ps(sum, _mm512_add_ps(*even, *odd)));
            }
        }
    }
}

/// Bits as numbers of 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn of_bf16(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, of which all are numbers.
    unsafe { std::mem::transmute(bits) }
}

/// Half a block from channel `first` on. Products are exact, so it does not matter that they are fused with their additions.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn tile_bf16<const PIXELS: usize>(tile: &Tile<'_, bf16>, first: usize, sums: &mut [[f32; BLOCK]]) {
    let sums = sums.first_chunk_mut::<PIXELS>().expect("room for all positions");
    sums.iter_mut()
        .for_each(|sums| sums[first..first + BLOCK / 2].fill(0.0));
    for row in 0..tile.rows {
        for begin in (0..tile.groups).step_by(GROUPS_AT_ONCE) {
            // The even and the odd values of two vectors of channels.
            let mut acc = [[[_mm512_setzero_ps(); 2]; 2]; PIXELS];
            for group in begin..tile.groups.min(begin + GROUPS_AT_ONCE) {
                // SAFETY: `check` holds for `PIXELS` positions: every group of every row has `2 · BLOCK` weights, of which these are the 64
                // from channel `first` on, and two values of every position.
                unsafe {
                    let at = (row * tile.groups + group) * BLOCK + first;
                    let weights = tile.weights.as_ptr().add(2 * at).cast::<i32>();
                    let w = [
                        halves(_mm512_loadu_si512(weights.cast())),
                        halves(_mm512_loadu_si512(weights.add(16).cast())),
                    ];
                    let run = tile.input.as_ptr().add(row * tile.row_step + 2 * group);
                    for (pixel, acc) in acc.iter_mut().enumerate() {
                        let two = run.add(pixel * tile.pixel_step).cast::<i32>().read_unaligned();
                        let x = halves(_mm512_set1_epi32(two));
                        for (acc, w) in acc.iter_mut().zip(w) {
                            for half in 0..2 {
                                acc[half] = _mm512_fmadd_ps(x[half], w[half], acc[half]);
                            }
                        }
                    }
                }
            }
            add_evens_and_odds(&acc, first, sums);
        }
    }
}

/// [`Finish::write`] of a whole block.
pub(super) fn finish_u8(finish: &mut Finish<'_, u8>, sums: &[[i32; BLOCK]]) {
    let outputs = (finish.map.is_some(), finish.wide.is_some());
    // SAFETY: the caller has detected AVX-512, and `Finish::check` says that what is touched is inside the slices.
    unsafe {
        match (finish.added, outputs) {
            (Added::Nothing, outputs) => by_outputs!(outputs, block_u8::<NOTHING>(finish, sums)),
            (Added::Map { .. }, outputs) => by_outputs!(outputs, block_u8::<OF_MAP>(finish, sums)),
            (Added::Wide { .. }, outputs) => by_outputs!(outputs, block_u8::<OF_WIDE>(finish, sums)),
        }
    }
}

/// [`Finish::write`] of a whole block.
pub(super) fn finish_f32(finish: &mut Finish<'_, f32>, sums: &[[f32; BLOCK]]) {
    // SAFETY: as in `finish_u8`.
    unsafe { block_floats(finish, sums) }
}

/// [`Finish::write`] of a whole block.
pub(super) fn finish_bf16(finish: &mut Finish<'_, bf16>, sums: &[[f32; BLOCK]]) {
    // SAFETY: as in `finish_u8`.
    unsafe { block_floats(finish, sums) }
}

/// What [`block_u8`] adds.
const NOTHING: u8 = 0;
const OF_MAP: u8 = 1;
const OF_WIDE: u8 = 2;

// A version for each kind of epilogue: beside the little that is done to a value, asking what to do takes as long.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn block_u8<const ADDED: u8, const MAP: bool, const WIDE: bool>(
    finish: &mut Finish<'_, u8>,
    sums: &[[i32; BLOCK]],
) {
    let channels = finish.channels;
    let floor = floor(finish.relu);
    let (map, inverse) = match &mut finish.map {
        Some((map, inverse)) => (map.as_mut_ptr(), _mm512_set1_ps(*inverse)),
        None => (std::ptr::null_mut(), floor),
    };
    let wide = finish
        .wide
        .as_mut()
        .map_or(std::ptr::null_mut(), |wide| wide.as_mut_ptr());
    let nothing = (std::ptr::null(), std::ptr::null());
    let ((added_bytes, added_floats), added_scale, added_channels) = match finish.added {
        Added::Nothing => (nothing, floor, 0),
        Added::Map { values, scale } => ((values.as_ptr(), nothing.1), _mm512_set1_ps(scale), channels),
        Added::Wide { values, channels } => ((nothing.0, values.as_ptr()), floor, channels),
    };
    let (mut scales, mut biases) = ([floor; VECTORS], [floor; VECTORS]);
    for at in 0..VECTORS {
        // SAFETY: a block has so many scales and biases.
        unsafe {
            scales[at] = _mm512_loadu_ps(finish.scales.as_ptr().add(16 * at));
            biases[at] = _mm512_loadu_ps(finish.bias.as_ptr().add(16 * at));
        }
    }
    for (pixel, sums) in sums.iter().enumerate() {
        for at in 0..VECTORS {
            let place = pixel * channels + 16 * at;
            // SAFETY: `Finish::check` holds for as many positions as there are sums of, `channels` apart (or as many as what is added says), of which this is
            // 16 channels of the block; what `ADDED`, `MAP` and `WIDE` name is there, because `finish_u8` has looked.
            unsafe {
                let sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums.as_ptr().add(16 * at).cast()));
                let mut value = _mm512_add_ps(_mm512_mul_ps(sum, scales[at]), biases[at]);
                if ADDED == OF_MAP {
                    let bytes = _mm_loadu_si128(added_bytes.add(place).cast());
                    let added = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
                    value = _mm512_add_ps(value, _mm512_mul_ps(added, added_scale));
                }
                if ADDED == OF_WIDE {
                    value = _mm512_add_ps(
                        value,
                        _mm512_loadu_ps(added_floats.add(pixel * added_channels + 16 * at)),
                    );
                }
                value = _mm512_max_ps(floor, value);
                if MAP {
                    let rounded = _mm512_cvtps_epi32(_mm512_mul_ps(value, inverse));
                    _mm_storeu_si128(map.add(place).cast(), _mm512_cvtusepi32_epi8(rounded));
                }
                if WIDE {
                    _mm512_storeu_ps(wide.add(place), value);
                }
            }
        }
    }
}

/// What floating-point activations are in memory.
trait Float: Element<Sum = f32> {
    /// Sixteen of them.
    ///
    /// # Safety
    /// They can be read, and there is AVX-512.
    unsafe fn load(from: *const Self) -> __m512;

    /// # Safety
    /// Sixteen of them can be written, and there is AVX-512.
    unsafe fn store(to: *mut Self, values: __m512);
}

impl Float for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn store(to: *mut Self, values: __m512) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, values) }
    }
}

impl Float for bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's promise.
        let halves = unsafe { _mm256_loadu_si256(from.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }

    /// As [`narrowed`](super::bfloat16::narrowed): what is not small, or no number, is rounded to even; not-a-number, whose lower
    /// half is zero where arithmetic made it, stays what it is.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn store(to: *mut Self, values: __m512) {
        let is_kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(values), _mm512_set1_ps(LEAST));
        let bits = _mm512_castps_si512(values);
        let is_odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), is_odd);
        let halves = _mm512_maskz_srli_epi32::<16>(is_kept, rounded);
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(halves)) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn block_floats<E: Float>(finish: &mut Finish<'_, E>, sums: &[[f32; BLOCK]]) {
    let channels = finish.channels;
    let floor = floor(finish.relu);
    let map = finish.map.as_mut().map(|(map, _)| map.as_mut_ptr());
    let wide = finish.wide.as_mut().map(|wide| wide.as_mut_ptr());
    for at in (0..BLOCK).step_by(16) {
        // SAFETY: as in `block_u8`.
        unsafe {
            let bias = _mm512_loadu_ps(finish.bias.as_ptr().add(at));
            for (pixel, sums) in sums.iter().enumerate() {
                let place = pixel * channels + at;
                let mut value = _mm512_add_ps(_mm512_loadu_ps(sums.as_ptr().add(at)), bias);
                match finish.added {
                    Added::Nothing => {}
                    Added::Map { values, .. } => {
                        value = _mm512_add_ps(value, E::load(values.as_ptr().add(place)));
                    }
                    Added::Wide { values, channels } => {
                        value = _mm512_add_ps(value, _mm512_loadu_ps(values.as_ptr().add(pixel * channels + at)));
                    }
                }
                value = _mm512_max_ps(floor, value);
                if let Some(map) = map {
                    E::store(map.add(place), value);
                }
                if let Some(wide) = wide {
                    _mm512_storeu_ps(wide.add(place), value);
                }
            }
        }
    }
}

/// The first and the second numbers of pairs.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(pairs: __m512i) -> [__m512; 2] {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let (first, second) = (_mm512_slli_epi32::<16>(pairs), _mm512_and_si512(pairs, upper));
    [_mm512_castsi512_ps(first), _mm512_castsi512_ps(second)]
}

/// What no value may be below. It comes first where the maximum is taken: of not-a-number `vmaxps` gives the second.
#[target_feature(enable = "avx512f")]
fn floor(relu: bool) -> __m512 {
    _mm512_set1_ps(if relu { 0.0 } else { f32::NEG_INFINITY })
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::super::bfloat16::narrowed_weights;
    use super::super::element::Unit;
    use super::super::tile::PIXELS_MAX;
    use super::*;
    use crate::testing::values;

    #[test]
    fn pairs_are_added_up_as_single_values_are() {
        if !Unit::available().contains(&Unit::Avx512) || !is_x86_feature_detected!("avx512bf16") {
            return;
        }
        for (rows, groups) in [(1, 1), (1, 2), (3, 11), (2, 16), (1, 17), (3, 40)] {
            let (row_step, pixel_step) = (2 * groups + 10, 2);
            let input = narrowed_weights(&values(rows * row_step + PIXELS_MAX * pixel_step, 1));
            let weights = narrowed_weights(&values(rows * groups * 2 * BLOCK, 2));
            let tile = Tile {
                input: &input,
                row_step,
                pixel_step,
                rows,
                groups,
                weights: &weights,
            };
            for pixels in 1..=PIXELS_MAX {
                tile.check(pixels);
                let [mut single, mut paired] = [[[0.0_f32; BLOCK]; PIXELS_MAX]; 2];
                for first in [0, BLOCK / 2] {
                    // SAFETY: the features were detected, and `check` holds for so many positions.
                    unsafe {
                        by_pixels!(pixels, tile_bf16(&tile, first, &mut single));
                        by_pixels!(pixels, tile_bf16_by_pairs(&tile, first, &mut paired));
                    }
                }
                let bits =
                    |sums: &[[f32; BLOCK]]| sums.as_flattened().iter().map(|sum| sum.to_bits()).collect::<Vec<_>>();
                assert_eq!(
                    bits(&single),
                    bits(&paired),
                    "{rows} rows of {groups} groups, {pixels} positions"
                );
                assert!(single[0].iter().any(|sum| *sum != 0.0));
            }
        }
    }
}
