//! Pooling of `(height, width, channels)` maps.

multiversion! {
    /// The maximum of every 2×2 square, stride 2; returns `(⌈height / 2⌉, ⌈width / 2⌉, channels)`. At an odd edge the square
    /// is cut off (torch's `ceil_mode`).
    ///
    /// Panics unless `input` holds `height * width * channels` values.
    pub fn max_pool2(height: usize, width: usize, channels: usize, input: &[f32]) -> Vec<f32> {
        assert_eq!(input.len(), height * width * channels, "input {height}x{width}x{channels}");
        let (out_height, out_width) = (height.div_ceil(2), width.div_ceil(2));
        let mut out = Vec::with_capacity(out_height * out_width * channels);
        for y in 0..out_height {
            for x in 0..out_width {
                let cell = |dy: usize, dx: usize| {
                    // Beyond an odd edge the last row or column stands in: it changes no maximum.
                    let (y, x) = ((2 * y + dy).min(height - 1), (2 * x + dx).min(width - 1));
                    &input[(y * width + x) * channels..][..channels]
                };
                let (a, b, c, d) = (cell(0, 0), cell(0, 1), cell(1, 0), cell(1, 1));
                out.extend((0..channels).map(|i| a[i].max(b[i]).max(c[i].max(d[i]))));
            }
        }
        out
    }
}

multiversion! {
    /// The mean of every 3×3 neighbourhood, stride 1, zeros outside and always divided by 9: torch's `AvgPool2d(3, 1, 1)`,
    /// the neighbourhood of PatchCore (Roth et al. 2022, section 3.1). Same shape as `input`.
    ///
    /// Panics unless `input` holds `height * width * channels` values.
    pub fn average_pool_3x3(height: usize, width: usize, channels: usize, input: &[f32]) -> Vec<f32> {
        assert_eq!(input.len(), height * width * channels, "input {height}x{width}x{channels}");
        let row = width * channels;
        let mut out = vec![0.0; input.len()];
        if out.is_empty() {
            return out;
        }
        // Columns first: the sum of up to three rows, with a cell of zeros on both sides.
        let mut column_sums = vec![0.0; row + 2 * channels];
        for (y, out) in out.chunks_exact_mut(row).enumerate() {
            let sums = &mut column_sums[channels..channels + row];
            sums.copy_from_slice(&input[y * row..][..row]);
            if y > 0 {
                add(sums, &input[(y - 1) * row..][..row]);
            }
            if y + 1 < height {
                add(sums, &input[(y + 1) * row..][..row]);
            }
            let (left, middle, right) = (&column_sums[..row], &column_sums[channels..], &column_sums[2 * channels..]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = (left[i] + middle[i] + right[i]) / 9.0;
            }
        }
        out
    }
}

#[inline(always)]
fn add(sums: &mut [f32], values: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CASES, Dice, assert_close, on_every_unit, values};

    fn shapes() -> impl Iterator<Item = (usize, usize, usize)> {
        let of = |seed| {
            let mut dice = Dice(seed);
            (dice.size(16), dice.size(16), dice.size(40))
        };
        [(1, 1, 1), (1, 6, 4), (7, 1, 33), (0, 3, 2)]
            .into_iter()
            .chain((0..CASES).map(of))
    }

    #[test]
    fn max_pool_matches_naive() {
        for (height, width, channels) in shapes() {
            let input = values(height * width * channels, 1);
            let mut expected = Vec::new();
            for y in (0..height).step_by(2) {
                for x in (0..width).step_by(2) {
                    for c in 0..channels {
                        let cells = (y..height.min(y + 2)).flat_map(|y| (x..width.min(x + 2)).map(move |x| (y, x)));
                        let cells = cells.map(|(y, x)| input[(y * width + x) * channels + c]);
                        expected.push(cells.fold(f32::NEG_INFINITY, f32::max));
                    }
                }
            }
            assert_eq!(on_every_unit(|| max_pool2(height, width, channels, &input)), expected);
        }
    }

    #[test]
    fn average_pool_matches_naive() {
        for (height, width, channels) in shapes() {
            let input = values(height * width * channels, 1);
            let mut expected = Vec::new();
            for y in 0..height {
                for x in 0..width {
                    for c in 0..channels {
                        let rows = y.saturating_sub(1)..height.min(y + 2);
                        let cells = rows.flat_map(|y| (x.saturating_sub(1)..width.min(x + 2)).map(move |x| (y, x)));
                        let sum: f64 = cells
                            .map(|(y, x)| f64::from(input[(y * width + x) * channels + c]))
                            .sum();
                        expected.push((sum / 9.0) as f32);
                    }
                }
            }
            let found = on_every_unit(|| average_pool_3x3(height, width, channels, &input));
            assert_close(&found, &expected, 1e-6);
        }
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn pools_match_torch() {
        let image = values(4 * 5 * 2, 1);
        const AVERAGE: [f32; 12] = [
            0.08814316, 0.07236449, 0.06152761, 0.05679323, 0.1841897, 0.05395226, 0.08225041, 0.2103707, 0.108866,
            0.225942, -0.0092257, -0.1044081,
        ];
        assert_close(&average_pool_3x3(4, 5, 2, &image)[..12], &AVERAGE, 1e-6);
        const MAX: [f32; 12] = [
            0.9420054, 0.4915634, 0.7546973, 0.6307011, 0.3634099, 0.7686491, 0.1957043, 0.1731902, 0.08734155,
            0.4964706, 0.6360669, 0.9954957,
        ];
        assert_close(&max_pool2(4, 5, 2, &image), &MAX, 1e-6);
    }
}
