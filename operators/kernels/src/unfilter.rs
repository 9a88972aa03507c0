//! The filters of PNG's rows, taken back (PNG, third edition, section 9).

#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};

/// Writes a row of pixels of `N` bytes, made of what filter number `filter` left of it. `above` is the row above, zeros above the first.
/// Returns whether there is such a filter.
///
/// Panics unless all are as long, and of whole pixels.
pub fn unfilter<const N: usize>(filter: u8, filtered: &[u8], above: &[u8], row: &mut [u8]) -> bool {
    assert_eq!([filtered.len(), above.len()], [row.len(); 2], "rows of one image");
    assert!(row.len().is_multiple_of(N), "whole pixels");
    #[cfg(target_arch = "x86_64")]
    if filter == 4 && N == 3 && level() >= Level::Avx2 {
        // SAFETY: `level` is `Avx2` or more only where that feature was detected.
        unsafe { by_vectors::paeth_of_rgb(filtered, above, row) };
        return true;
    }
    row.copy_from_slice(filtered);
    match filter {
        0 => {}
        1 => add_predicted::<N>(above, row, |left, _, _| left),
        2 => {
            for (value, above) in row.iter_mut().zip(above) {
                *value = value.wrapping_add(*above);
            }
        }
        3 => add_predicted::<N>(above, row, |left, above, _| (left + above) / 2),
        4 => add_predicted::<N>(above, row, paeth),
        _ => return false,
    }
    true
}

/// Adds to each byte what is predicted from those on its left, above, and above on its left.
// Kept apart, and in chunks of slices: of a row of arrays, or of rows that might overlap, the compiler makes single bytes, in twice the time.
#[inline(never)]
fn add_predicted<const N: usize>(above: &[u8], row: &mut [u8], predict: impl Fn(i16, i16, i16) -> i16) {
    let (mut left, mut corner) = ([0; N], [0; N]);
    for (pixel, above) in row.chunks_exact_mut(N).zip(above.chunks_exact(N)) {
        for channel in 0..N {
            let predicted = predict(left[channel], i16::from(above[channel]), corner[channel]);
            pixel[channel] = pixel[channel].wrapping_add(predicted as u8);
        }
        left = std::array::from_fn(|channel| i16::from(pixel[channel]));
        corner = std::array::from_fn(|channel| i16::from(above[channel]));
    }
}

/// Of the left, the upper and the upper left byte that nearest to `left + above − corner`, in this order where several are, without the
/// distances: the corner where `3 corner − left − above` lies between the other two, else the one of them on the other side.
#[inline(always)]
fn paeth(left: i16, above: i16, corner: i16) -> i16 {
    let (least, most) = (left.min(above), left.max(above));
    let bound = 3 * corner - (left + above);
    let lower = if most <= bound { least } else { corner };
    if bound <= least { most } else { lower }
}

// By hand: every pixel waits for the one on its left, and the compiler's way from one to the next is twice as long.
#[cfg(target_arch = "x86_64")]
mod by_vectors {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    pub(super) fn paeth_of_rgb(filtered: &[u8], above: &[u8], row: &mut [u8]) {
        let (mut left, mut corner) = (_mm_setzero_si128(), _mm_setzero_si128());
        let mut pixel = |filtered, above| {
            let wide = |bytes: [u8; 4]| _mm_cvtepu8_epi16(_mm_cvtsi32_si128(i32::from_le_bytes(bytes)));
            let (value, above) = (wide(filtered), wide(above));
            let (least, most) = (_mm_min_epi16(left, above), _mm_max_epi16(left, above));
            let thrice = _mm_add_epi16(corner, _mm_add_epi16(corner, corner));
            let bound = _mm_sub_epi16(_mm_sub_epi16(thrice, above), left);
            let lower = _mm_blendv_epi8(least, corner, _mm_cmpgt_epi16(most, bound));
            let predicted = _mm_blendv_epi8(most, lower, _mm_cmpgt_epi16(bound, least));
            left = _mm_add_epi8(value, predicted);
            corner = above;
            _mm_cvtsi128_si32(_mm_packus_epi16(left, left)).to_le_bytes()
        };
        // With every pixel goes the first byte of the next, which is written over.
        let (mut filtered, mut above, mut row) = (filtered, above, row);
        while let (Some(four), Some(four_above), Some(out)) =
            (filtered.first_chunk(), above.first_chunk(), row.first_chunk_mut())
        {
            *out = pixel(*four, *four_above);
            (filtered, above, row) = (&filtered[3..], &above[3..], &mut row[3..]);
        }
        if let ([a, b, c], [d, e, f], out @ [_, _, _]) = (filtered, above, row) {
            out.copy_from_slice(&pixel([*a, *b, *c, 0], [*d, *e, *f, 0])[..3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the specification words it.
    fn specified(filter: u8, pixel_bytes: usize, above: &[u8], filtered: &[u8]) -> Vec<u8> {
        let mut row: Vec<u8> = Vec::new();
        for (at, value) in filtered.iter().enumerate() {
            let before = |row: &[u8]| at.checked_sub(pixel_bytes).map_or(0, |at| i32::from(row[at]));
            let (a, b, c) = (before(&row), i32::from(above[at]), before(above));
            let p = a + b - c;
            let [pa, pb, pc] = [a, b, c].map(|of| (p - of).abs());
            let predicted = match filter {
                0 => 0,
                1 => a,
                2 => b,
                3 => (a + b) / 2,
                _ if pa <= pb && pa <= pc => a,
                _ if pb <= pc => b,
                _ => c,
            };
            row.push(value.wrapping_add(predicted as u8));
        }
        row
    }

    fn is_as_specified<const N: usize>(filter: u8, pixels: usize, byte: &mut impl FnMut() -> u8) {
        let mut of = |len: usize| (0..len).map(|_| byte()).collect::<Vec<u8>>();
        let (above, filtered) = (of(N * pixels), of(N * pixels));
        let mut row = vec![7; filtered.len()];
        assert!(unfilter::<N>(filter, &filtered, &above, &mut row));
        let expected = specified(filter, N, &above, &filtered);
        assert_eq!(row, expected, "filter {filter}, {pixels} pixels of {N} bytes");
    }

    #[test]
    fn rows_are_as_the_specification_has_them() {
        let mut seed = 1u32;
        let mut byte = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Often at the limits, where differences are largest.
            [(seed >> 24) as u8, 0, 255, (seed >> 16) as u8][(seed >> 8) as usize % 4]
        };
        for pixels in if cfg!(miri) { 1..=9 } else { 1..=900 } {
            for filter in 0..=4 {
                is_as_specified::<3>(filter, pixels, &mut byte);
                is_as_specified::<1>(filter, pixels, &mut byte);
            }
        }
        assert!(!unfilter::<3>(5, &[0; 3], &[0; 3], &mut [0; 3]));
    }

    #[test]
    #[cfg_attr(miri, ignore = "16 million rows")]
    fn all_of_what_paeth_chooses_from_is_chosen_alike() {
        for (corner, above) in (0..=255u8).flat_map(|corner| (0..=255u8).map(move |above| (corner, above))) {
            for left in 0..=255u8 {
                // Two pixels; the first of them is `left`.
                let above_it = paeth(0, i16::from(corner), 0) as u8;
                let first = left.wrapping_sub(above_it);
                let mut row = [0; 6];
                unfilter::<3>(
                    4,
                    &[first, first, first, 0, 0, 0],
                    &[corner, corner, corner, above, above, above],
                    &mut row,
                );
                let expected = paeth(i16::from(left), i16::from(above), i16::from(corner)) as u8;
                assert_eq!(row, [left, left, left, expected, expected, expected]);
            }
        }
    }
}
