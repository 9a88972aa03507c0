//! Resizing of `(height, width, channels)` maps, and the mirror at the edge.

/// `index` mirrored into `0..count` at the outermost elements, which are not repeated; mirrored again as often as needed.
pub(crate) fn reflect(index: isize, count: usize) -> usize {
    let last = count as isize - 1;
    if last <= 0 {
        return 0;
    }
    let folded = index.rem_euclid(2 * last);
    (if folded > last { 2 * last - folded } else { folded }) as usize
}

/// Resizes `input` of `(height, width, channels)` by taking the nearest position, as torch's `interpolate(mode="nearest")`: output `i` is
/// input `⌊i · size / out_size⌋`. Its channels become those of `out`, of `(height, width, channels)`, from `first_channel` on.
///
/// Panics unless both hold as many values as they are said to, or if `out` has fewer channels.
pub fn upsample_nearest_into(
    [height, width, channels]: [usize; 3],
    input: &[f32],
    [out_height, out_width, out_channels]: [usize; 3],
    first_channel: usize,
    out: &mut [f32],
) {
    assert_shapes([height, width, channels], input, out_height, out_width);
    assert_eq!(out.len(), out_height * out_width * out_channels, "output");
    assert!(first_channel + channels <= out_channels, "channels of the output");
    if channels == 0 || out.is_empty() {
        return;
    }
    for (y, out) in out.chunks_exact_mut(out_width * out_channels).enumerate() {
        let row = &input[y * height / out_height * width * channels..][..width * channels];
        for (x, out) in out.chunks_exact_mut(out_channels).enumerate() {
            let position = &row[x * width / out_width * channels..][..channels];
            out[first_channel..first_channel + channels].copy_from_slice(position);
        }
    }
}

multiversion! {
    /// Resizes `input` bilinearly, as torch's `interpolate(mode="bilinear", align_corners=False)` without antialiasing:
    /// pixel centres lie at half-integers, and outside the outermost centres the edge is continued. Returns
    /// `(out_height, out_width, channels)`.
    ///
    /// Panics unless `input` holds `height * width * channels` values, or if it is empty and the output is not.
    pub fn resize_bilinear(
        height: usize,
        width: usize,
        channels: usize,
        input: &[f32],
        out_height: usize,
        out_width: usize,
    ) -> Vec<f32> {
        assert_shapes([height, width, channels], input, out_height, out_width);
        if out_height == 0 || out_width == 0 || channels == 0 {
            return Vec::new();
        }
        // Columns first: every input row is widened once.
        let columns: Vec<Tap> = (0..out_width).map(|x| Tap::new(x, width, out_width)).collect();
        let out_row = out_width * channels;
        let mut widened = vec![0.0; height * out_row];
        for (row, out) in input.chunks_exact(width * channels).zip(widened.chunks_exact_mut(out_row)) {
            if channels == 1 {
                for (out, tap) in out.iter_mut().zip(&columns) {
                    *out = row[tap.first] * (1.0 - tap.weight) + row[tap.second] * tap.weight;
                }
                continue;
            }
            for (out, tap) in out.chunks_exact_mut(channels).zip(&columns) {
                let first = &row[tap.first * channels..][..channels];
                let second = &row[tap.second * channels..][..channels];
                mix(first, second, tap.weight, out);
            }
        }
        let mut out = vec![0.0; out_height * out_row];
        for (y, out) in out.chunks_exact_mut(out_row).enumerate() {
            let tap = Tap::new(y, height, out_height);
            let first = &widened[tap.first * out_row..][..out_row];
            let second = &widened[tap.second * out_row..][..out_row];
            mix(first, second, tap.weight, out);
        }
        out
    }
}

/// Between which two inputs an output lies, and the second one's share.
pub(crate) struct Tap {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) weight: f32,
}

impl Tap {
    pub(crate) fn new(index: usize, size: usize, out_size: usize) -> Self {
        let scale = size as f32 / out_size as f32;
        let at = (scale * (index as f32 + 0.5) - 0.5).max(0.0);
        let first = (at as usize).min(size - 1);
        Self {
            first,
            second: (first + 1).min(size - 1),
            weight: (at - first as f32).clamp(0.0, 1.0),
        }
    }
}

#[inline(always)]
fn mix(first: &[f32], second: &[f32], weight: f32, out: &mut [f32]) {
    let rest = 1.0 - weight;
    for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
        *out = first * rest + second * weight;
    }
}

fn assert_shapes(shape: [usize; 3], input: &[f32], out_height: usize, out_width: usize) {
    let [height, width, channels] = shape;
    assert_eq!(
        input.len(),
        height * width * channels,
        "input {height}x{width}x{channels}"
    );
    let empty = out_height == 0 || out_width == 0 || channels == 0;
    assert!(
        empty || !input.is_empty(),
        "cannot resize an empty map to {out_height}x{out_width}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CASES, Dice, assert_close, on_every_unit, values};

    #[test]
    fn reflection_folds_as_often_as_needed() {
        let folded: Vec<usize> = (-7..8).map(|i| reflect(i, 4)).collect();
        assert_eq!(folded, [1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert!((-5..6).all(|i| reflect(i, 1) == 0));
    }

    fn upsampled(shape: [usize; 3], input: &[f32], out_height: usize, out_width: usize) -> Vec<f32> {
        let mut out = vec![9.0; out_height * out_width * shape[2]];
        upsample_nearest_into(shape, input, [out_height, out_width, shape[2]], 0, &mut out);
        out
    }

    #[test]
    fn channels_of_several_maps_stand_side_by_side() {
        let mut out = vec![9.0; 2 * 2 * 4];
        upsample_nearest_into([1, 2, 2], &[1.0, 2.0, 3.0, 4.0], [2, 2, 4], 1, &mut out);
        let row = [9.0, 1.0, 2.0, 9.0, 9.0, 3.0, 4.0, 9.0];
        assert_eq!(out, [row, row].concat());
    }

    #[test]
    fn nearest_takes_the_floor() {
        assert_eq!(
            upsampled([1, 2, 1], &[1.0, 2.0], 2, 5),
            [1.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0]
        );
        assert_eq!(
            upsampled([1, 2, 2], &[1.0, 2.0, 3.0, 4.0], 1, 3),
            [1.0, 2.0, 1.0, 2.0, 3.0, 4.0]
        );
    }

    #[test]
    fn nearest_matches_naive() {
        for seed in 0..CASES {
            let mut dice = Dice(seed);
            let (height, width, channels) = (dice.size(16), dice.size(16), dice.size(9));
            let (out_height, out_width) = (dice.size(40), dice.size(40));
            let input = dice.whole(height * width * channels);
            let mut expected = Vec::new();
            for y in 0..out_height {
                for x in 0..out_width {
                    let from = (y * height / out_height * width + x * width / out_width) * channels;
                    expected.extend_from_slice(&input[from..from + channels]);
                }
            }
            let found = on_every_unit(|| upsampled([height, width, channels], &input, out_height, out_width));
            assert_eq!(found, expected, "{height}x{width} to {out_height}x{out_width}");
        }
    }

    #[test]
    fn bilinear_matches_naive() {
        let cases = [
            (1, 1, 1, 3, 4),
            (3, 4, 2, 6, 8),
            (5, 3, 33, 8, 7),
            (8, 8, 1, 3, 5),
            (2, 2, 3, 2, 2),
            (4, 4, 1, 64, 63),
        ];
        let random = (0..CASES).map(|seed| {
            let mut dice = Dice(seed);
            (
                dice.size(16),
                dice.size(16),
                dice.size(20),
                dice.size(24),
                dice.size(24),
            )
        });
        for (height, width, channels, out_height, out_width) in cases.into_iter().chain(random) {
            let input = values(height * width * channels, 1);
            let at = |y: f64, x: f64, c: usize| {
                let (y, x) = (y.clamp(0.0, (height - 1) as f64), x.clamp(0.0, (width - 1) as f64));
                let (y0, x0) = (y as usize, x as usize);
                let (y1, x1) = ((y0 + 1).min(height - 1), (x0 + 1).min(width - 1));
                let (dy, dx) = (y - y0 as f64, x - x0 as f64);
                let cell = |y: usize, x: usize| f64::from(input[(y * width + x) * channels + c]);
                (cell(y0, x0) * (1.0 - dx) + cell(y0, x1) * dx) * (1.0 - dy)
                    + (cell(y1, x0) * (1.0 - dx) + cell(y1, x1) * dx) * dy
            };
            let mut expected = Vec::new();
            for y in 0..out_height {
                for x in 0..out_width {
                    for c in 0..channels {
                        let y = (y as f64 + 0.5) * height as f64 / out_height as f64 - 0.5;
                        let x = (x as f64 + 0.5) * width as f64 / out_width as f64 - 0.5;
                        expected.push(at(y, x, c) as f32);
                    }
                }
            }
            let found = on_every_unit(|| resize_bilinear(height, width, channels, &input, out_height, out_width));
            assert_close(&found, &expected, 1e-5);
        }
    }

    #[test]
    fn same_size_is_the_identity() {
        let input = values(5 * 6 * 3, 2);
        assert_eq!(resize_bilinear(5, 6, 3, &input, 5, 6), input);
        assert_eq!(upsampled([5, 6, 3], &input, 5, 6), input);
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn resizing_matches_torch() {
        let image = values(4 * 5 * 2, 1);
        const BILINEAR: [f32; 16] = [
            0.01710918,
            0.3913053,
            0.260481,
            0.1982109,
            0.5302135,
            -0.04066397,
            0.09847198,
            0.05322854,
            0.1033424,
            0.148529,
            0.5448248,
            0.2452374,
            0.1755589,
            0.478561,
            -0.1459853,
            0.6525131,
        ];
        assert_close(&resize_bilinear(4, 5, 2, &image, 7, 8)[16..32], &BILINEAR, 1e-6);
        const NEAREST: [f32; 16] = [
            0.133123, 0.4915634, 0.133123, 0.4915634, 0.9420054, -0.1112816, 0.9420054, -0.1112816, -0.1114707,
            0.5257887, 0.7546973, 0.04613435, 0.7546973, 0.04613435, -0.4289827, 0.5879931,
        ];
        assert_close(&upsampled([4, 5, 2], &image, 7, 8)[16..32], &NEAREST, 1e-6);
    }
}
