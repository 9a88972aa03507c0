//! Gaussian smoothing of one-channel maps.

use crate::resize::{Tap, reflect};

/// Standard deviations after which the Gaussian is cut off, as in SciPy and anomalib.
const CUT_OFF_SIGMAS: f32 = 4.0;

/// The widest Gaussian: beyond it every map of a network input is flat, and the kernel is only memory.
pub const BLUR_SIGMA_PX_MAX: f32 = 1024.0;

/// Smooths `map` of `(height, width)` with a Gaussian of standard deviation `sigma_px`, cut off at `⌊4 sigma + ½⌋` pixels and
/// normalised; outside, the map is mirrored at its outermost pixels, which are not repeated (torch's `reflect`, as
/// anomalib's `GaussianBlur2d`), as often as needed where it is smaller than the kernel. `sigma_px` 0 changes nothing.
///
/// Panics unless `map` holds `height * width` values and `sigma_px` lies in 0 … [`BLUR_SIGMA_PX_MAX`].
pub fn gaussian_blur(height: usize, width: usize, map: &[f32], sigma_px: f32) -> Vec<f32> {
    assert_eq!(map.len(), height * width, "map {height}x{width}");
    assert!(
        (0.0..=BLUR_SIGMA_PX_MAX).contains(&sigma_px),
        "standard deviation {sigma_px}"
    );
    let taps = taps(sigma_px);
    if taps.len() == 1 || map.is_empty() {
        return map.to_vec();
    }
    let mut out = vec![0.0; map.len()];
    smooth(height, width, map, &taps, &mut out);
    out
}

/// `map` of `(height, width)` resized to `(out_height, out_width)` and smoothed there: what [`gaussian_blur`] makes of what
/// [`resize_bilinear`](crate::resize_bilinear) returns, but for rounding. Both are linear and separable, so that each output is a sum over
/// the few inputs below the kernel, and the large map is written once.
///
/// Panics as these two do.
pub fn resize_blurred(
    height: usize,
    width: usize,
    map: &[f32],
    out_height: usize,
    out_width: usize,
    sigma_px: f32,
) -> Vec<f32> {
    assert_eq!(map.len(), height * width, "map {height}x{width}");
    assert!(
        (0.0..=BLUR_SIGMA_PX_MAX).contains(&sigma_px),
        "standard deviation {sigma_px}"
    );
    let mut out = vec![0.0; out_height * out_width];
    if out.is_empty() {
        return out;
    }
    assert!(
        !map.is_empty(),
        "cannot resize an empty map to {out_height}x{out_width}"
    );
    let taps = taps(sigma_px);
    let columns = Band::all(width, out_width, &taps);
    let of_rows = ((height, out_height) != (width, out_width)).then(|| Band::all(height, out_height, &taps));
    let rows = of_rows.as_ref().unwrap_or(&columns);
    // Columns first, all rows of the map at a time: the positions along the kernel are then the same for whole rows of numbers.
    let mut widened = vec![0.0; out_width * height];
    weigh(&transposed(height, width, map), height, &columns, &mut widened);
    weigh(&transposed(out_width, height, &widened), out_width, rows, &mut out);
    out
}

fn transposed(height: usize, width: usize, map: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; map.len()];
    for (x, out) in out.chunks_exact_mut(height).enumerate() {
        for (out, row) in out.iter_mut().zip(map.chunks_exact(width)) {
            *out = row[x];
        }
    }
    out
}

/// The weights of adjacent inputs in one output.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

impl Band {
    /// Of all outputs along one axis.
    fn all(size: usize, out_size: usize, taps: &[f32]) -> Vec<Self> {
        let between: Vec<Tap> = (0..out_size).map(|index| Tap::new(index, size, out_size)).collect();
        let radius = taps.len() / 2;
        let mut all = vec![0.0_f64; size];
        let of = |index: usize| {
            let (mut first, mut end) = (size, 0);
            for (k, weight) in taps.iter().enumerate() {
                let tap = &between[reflect((index + k) as isize - radius as isize, out_size)];
                all[tap.first] += f64::from(*weight) * (1.0 - f64::from(tap.weight));
                all[tap.second] += f64::from(*weight) * f64::from(tap.weight);
                (first, end) = (first.min(tap.first), end.max(tap.second + 1));
            }
            let weights = all[first..end].iter().map(|weight| *weight as f32).collect();
            all[first..end].fill(0.0);
            Self { first, weights }
        };
        (0..out_size).map(of).collect()
    }
}

multiversion! {
    /// Each row of `out`, of `width` numbers, is a sum of adjacent rows of `map`, from the first to the last.
    fn weigh(map: &[f32], width: usize, bands: &[Band], out: &mut [f32]) {
        for (out, band) in out.chunks_exact_mut(width).zip(bands) {
            for (row, weight) in map[band.first * width..].chunks_exact(width).zip(&band.weights) {
                add_scaled(out, row, *weight);
            }
        }
    }
}

/// The weights of the kernel, from one end to the other.
fn taps(sigma_px: f32) -> Vec<f32> {
    let radius = (CUT_OFF_SIGMAS * sigma_px + 0.5) as i64;
    if radius == 0 {
        return vec![1.0];
    }
    let sigma = f64::from(sigma_px);
    let raw: Vec<f64> = (-radius..=radius)
        .map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|weight| (weight / sum) as f32).collect()
}

multiversion! {
    /// Columns, then rows; every sum runs from the first tap to the last.
    fn smooth(height: usize, width: usize, map: &[f32], taps: &[f32], out: &mut [f32]) {
        let radius = taps.len() / 2;
        let mut padded = vec![0.0; width + 2 * radius];
        for (y, out) in out.chunks_exact_mut(width).enumerate() {
            let column_sums = &mut padded[radius..radius + width];
            column_sums.fill(0.0);
            for (k, weight) in taps.iter().enumerate() {
                let source = reflect((y + k) as isize - radius as isize, height);
                add_scaled(column_sums, &map[source * width..][..width], *weight);
            }
            for k in 0..radius {
                padded[k] = padded[radius + reflect(k as isize - radius as isize, width)];
                padded[radius + width + k] = padded[radius + reflect((width + k) as isize, width)];
            }
            out.fill(0.0);
            for (k, weight) in taps.iter().enumerate() {
                add_scaled(out, &padded[k..][..width], *weight);
            }
        }
    }
}

#[inline(always)]
fn add_scaled(sums: &mut [f32], values: &[f32], weight: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize_bilinear;
    use crate::testing::{CASES, Dice, assert_close, on_every_unit, values};

    #[test]
    fn blur_matches_naive() {
        let cases = [
            (20, 30, 1.0),
            (40, 37, 4.0),
            (3, 5, 4.0),
            (1, 9, 2.0),
            (1, 1, 4.0),
            (2, 2, 0.3),
            (7, 1, 1.5),
        ];
        let random = (0..CASES / 4).map(|seed| {
            let mut dice = Dice(seed);
            (dice.size(30), dice.size(40), dice.roll(40) as f32 / 10.0)
        });
        for (height, width, sigma_px) in cases.into_iter().chain(random) {
            let map = values(height * width, 1);
            let taps = taps(sigma_px);
            let radius = (taps.len() / 2) as isize;
            let mut expected = Vec::new();
            for y in 0..height as isize {
                for x in 0..width as isize {
                    let mut sum = 0.0;
                    for (ky, wy) in taps.iter().enumerate() {
                        for (kx, wx) in taps.iter().enumerate() {
                            let (sy, sx) = (
                                reflect(y + ky as isize - radius, height),
                                reflect(x + kx as isize - radius, width),
                            );
                            sum += f64::from(*wy) * f64::from(*wx) * f64::from(map[sy * width + sx]);
                        }
                    }
                    expected.push(sum as f32);
                }
            }
            let found = on_every_unit(|| gaussian_blur(height, width, &map, sigma_px));
            assert_close(&found, &expected, 1e-5);
        }
    }

    #[test]
    fn resizing_and_smoothing_at_once_is_both_one_after_the_other() {
        let cases = [
            (7, 9, 32, 40, 4.0),
            (28, 28, 256, 256, 4.0),
            (1, 1, 6, 5, 1.0),
            (5, 3, 4, 2, 0.8),
            (3, 4, 3, 4, 1.5),
            (2, 3, 9, 7, 0.0),
            (4, 5, 3, 6, 30.0),
        ];
        let random = (0..CASES).map(|seed| {
            let mut dice = Dice(seed);
            let (height, width, sigma_px) = (dice.size(20), dice.size(20), dice.roll(60) as f32 / 10.0);
            (height, width, dice.size(50), dice.size(50), sigma_px)
        });
        for (height, width, out_height, out_width, sigma_px) in cases.into_iter().chain(random) {
            let map = values(height * width, 3);
            let resized = resize_bilinear(height, width, 1, &map, out_height, out_width);
            let expected = gaussian_blur(out_height, out_width, &resized, sigma_px);
            let found = on_every_unit(|| resize_blurred(height, width, &map, out_height, out_width, sigma_px));
            assert_close(&found, &expected, 1e-5);
        }
        assert!(resize_blurred(0, 3, &[], 0, 5, 2.0).is_empty());
        assert_eq!(resize_blurred(2, 2, &[0.75; 4], 16, 16, 3.0).len(), 256);
    }

    #[test]
    fn kernel_is_as_wide_as_in_anomalib() {
        let widths: Vec<usize> = [0.0, 0.1, 0.125, 1.0, 4.0, 4.1]
            .iter()
            .map(|sigma| taps(*sigma).len())
            .collect();
        assert_eq!(widths, [1, 1, 3, 9, 33, 33]);
    }

    #[test]
    fn no_blur_changes_nothing() {
        let map = values(12, 5);
        assert_eq!(gaussian_blur(3, 4, &map, 0.0), map);
        assert!(gaussian_blur(0, 4, &[], 2.0).is_empty());
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn blur_matches_torch() {
        const BLURRED: [f32; 12] = [
            -0.06424128,
            -0.04357672,
            0.007552339,
            0.08412495,
            0.1851538,
            0.2546133,
            0.209325,
            0.06012727,
            -0.08162737,
            -0.1340275,
            -0.05911697,
            -0.03461184,
        ];
        assert_close(&gaussian_blur(12, 10, &values(120, 5), 1.5)[..12], &BLURRED, 1e-6);
    }
}
