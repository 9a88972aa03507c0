//! Convolution, stride 1.

use crate::gemm::add_matmul_transposed;
use crate::resize::reflect;

/// What lies outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Zeros.
    Zero,
    /// The image mirrored at its outermost pixels, which are not repeated (`reflect` in torch); mirrored again where the
    /// image is smaller than the kernel.
    Reflect,
}

/// Bytes of unrolled neighbourhoods per matrix product: half of a common second-level cache, so that they are still there
/// when the product reads them.
const UNROLLED_BYTES: usize = 512 * 1024;

/// Convolves `input` of `(height, width, channels)` with `weights` of `(out_channels, kernel, kernel, channels)` and adds
/// `bias`; returns `(height, width, out_channels)`. As everywhere in deep learning this is a correlation: the kernel is
/// not flipped.
///
/// Panics unless `kernel` is odd and the slices hold as many values as their shapes.
#[expect(clippy::too_many_arguments, reason = "the shape of a convolution")]
pub fn conv2d_same(
    height: usize,
    width: usize,
    channels: usize,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    kernel: usize,
    out_channels: usize,
    padding: Padding,
) -> Vec<f32> {
    assert!(kernel % 2 == 1, "kernel of {kernel}: only odd kernels have a middle");
    let unrolled = kernel * kernel * channels;
    assert_eq!(
        input.len(),
        height * width * channels,
        "input {height}x{width}x{channels}"
    );
    assert_eq!(
        weights.len(),
        out_channels * unrolled,
        "weights {out_channels}x{kernel}x{kernel}x{channels}"
    );
    assert_eq!(bias.len(), out_channels, "bias");

    let positions = height * width;
    let mut out = Vec::with_capacity(positions * out_channels);
    for _ in 0..positions {
        out.extend_from_slice(bias);
    }
    if positions == 0 || out_channels == 0 || unrolled == 0 {
        return out;
    }
    if kernel == 1 {
        add_matmul_transposed(positions, channels, out_channels, input, weights, &mut out);
        return out;
    }
    let block_rows = (UNROLLED_BYTES / (4 * width * unrolled)).clamp(1, height);
    let mut patches = vec![0.0; block_rows * width * unrolled];
    for first in (0..height).step_by(block_rows) {
        let rows = block_rows.min(height - first);
        let patches = &mut patches[..rows * width * unrolled];
        for (at, row) in patches.chunks_exact_mut(width * unrolled).enumerate() {
            unroll_row([height, width, channels], input, kernel, padding, first + at, row);
        }
        let out = &mut out[first * width * out_channels..][..rows * width * out_channels];
        add_matmul_transposed(rows * width, unrolled, out_channels, patches, weights, out);
    }
    out
}

/// Writes the neighbourhoods of row `y` to `out` of `(width, kernel, kernel, channels)`.
fn unroll_row(shape: [usize; 3], input: &[f32], kernel: usize, padding: Padding, y: usize, out: &mut [f32]) {
    let [height, width, channels] = shape;
    let radius = kernel / 2;
    let unrolled = kernel * kernel * channels;
    for ky in 0..kernel {
        let source = (y + ky).wrapping_sub(radius);
        let source = match padding {
            _ if source < height => Some(source),
            Padding::Zero => None,
            Padding::Reflect => Some(reflect((y + ky) as isize - radius as isize, height)),
        };
        let source = source.map(|y| &input[y * width * channels..][..width * channels]);
        for x in 0..width {
            let run = &mut out[x * unrolled + ky * kernel * channels..][..kernel * channels];
            match source {
                None => run.fill(0.0),
                // The whole run of `kernel` columns lies inside the image: one copy.
                Some(source) if x >= radius && x + radius < width => {
                    run.copy_from_slice(&source[(x - radius) * channels..][..kernel * channels]);
                }
                Some(source) => {
                    for (kx, cell) in run.chunks_exact_mut(channels).enumerate() {
                        let column = (x + kx) as isize - radius as isize;
                        let inside = (0..width as isize).contains(&column);
                        if padding == Padding::Zero && !inside {
                            cell.fill(0.0);
                        } else {
                            cell.copy_from_slice(&source[reflect(column, width) * channels..][..channels]);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CASES, Dice, assert_close, on_every_unit, values};

    /// One output at a time, in f64.
    fn naive(
        shape: [usize; 3],
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        kernel: usize,
        padding: Padding,
    ) -> Vec<f32> {
        let [height, width, channels] = shape;
        let radius = (kernel / 2) as isize;
        let mut out = Vec::new();
        for y in 0..height as isize {
            for x in 0..width as isize {
                for (o, bias) in bias.iter().enumerate() {
                    let mut sum = f64::from(*bias);
                    for ky in 0..kernel {
                        for kx in 0..kernel {
                            let (sy, sx) = (y + ky as isize - radius, x + kx as isize - radius);
                            let inside = (0..height as isize).contains(&sy) && (0..width as isize).contains(&sx);
                            if padding == Padding::Zero && !inside {
                                continue;
                            }
                            let source = (reflect(sy, height) * width + reflect(sx, width)) * channels;
                            for c in 0..channels {
                                sum += f64::from(input[source + c])
                                    * f64::from(weights[((o * kernel + ky) * kernel + kx) * channels + c]);
                            }
                        }
                    }
                    out.push(sum as f32);
                }
            }
        }
        out
    }

    /// What the kernel gives, and what the naive loop does.
    fn both(
        [height, width, channels]: [usize; 3],
        kernel: usize,
        padding: Padding,
        [input, weights, bias]: [&[f32]; 3],
    ) -> (Vec<f32>, Vec<f32>) {
        let out_channels = bias.len();
        let found = on_every_unit(|| {
            conv2d_same(
                height,
                width,
                channels,
                input,
                weights,
                bias,
                kernel,
                out_channels,
                padding,
            )
        });
        (
            found,
            naive([height, width, channels], input, weights, bias, kernel, padding),
        )
    }

    #[test]
    fn convolution_matches_naive() {
        let cases = [
            (1, 1, 1, 1, 1),
            (5, 7, 3, 3, 4),
            (6, 4, 2, 5, 3),
            (9, 9, 1, 7, 2),
            (2, 3, 4, 5, 1),
            (1, 8, 2, 3, 2),
        ];
        for (height, width, channels, kernel, out_channels) in cases {
            for padding in [Padding::Zero, Padding::Reflect] {
                let input = values(height * width * channels, 1);
                let weights = values(out_channels * kernel * kernel * channels, 2);
                let bias = values(out_channels, 3);
                let (found, expected) = both([height, width, channels], kernel, padding, [&input, &weights, &bias]);
                assert_close(&found, &expected, 1e-5);
            }
        }
    }

    #[test]
    fn any_convolution_is_exact_where_its_sums_are() {
        for seed in 0..CASES {
            let mut dice = Dice(seed);
            let (height, width, channels) = (dice.size(12), dice.size(20), dice.size(9));
            let (kernel, out_channels) = (dice.of(&[1, 3, 5, 7]), dice.size(20));
            let padding = dice.of(&[Padding::Zero, Padding::Reflect]);
            let input = dice.whole(height * width * channels);
            let weights = dice.whole(out_channels * kernel * kernel * channels);
            let bias = dice.whole(out_channels);
            let (found, expected) = both([height, width, channels], kernel, padding, [&input, &weights, &bias]);
            assert_eq!(
                found, expected,
                "{height}x{width}x{channels}, {kernel}x{kernel}, {padding:?}"
            );
        }
    }

    #[test]
    fn images_larger_than_one_block_match_naive() {
        let (height, width, channels, kernel, out_channels) = (60, 50, 8, 5, 3);
        assert!(height * width * channels * kernel * kernel * 4 > 2 * UNROLLED_BYTES);
        let input = values(height * width * channels, 4);
        let weights = values(out_channels * kernel * kernel * channels, 5);
        let bias = values(out_channels, 6);
        let of = [input.as_slice(), &weights, &bias];
        let (found, expected) = both([height, width, channels], kernel, Padding::Reflect, of);
        assert_close(&found, &expected, 1e-4);
    }

    #[test]
    fn empty_images_stay_empty() {
        assert_eq!(conv2d_same(1, 2, 0, &[], &[], &[0.5], 3, 1, Padding::Zero), [0.5, 0.5]);
        assert!(conv2d_same(0, 4, 1, &[], &[1.0; 9], &[0.0], 3, 1, Padding::Zero).is_empty());
        assert!(conv2d_same(4, 0, 1, &[], &[1.0; 9], &[0.0], 3, 1, Padding::Reflect).is_empty());
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn convolution_matches_torch() {
        let (image, weights, bias) = (values(4 * 5 * 2, 1), values(3 * 3 * 3 * 2, 2), values(3, 3));
        const ZERO: [f32; 9] = [
            -1.157385, -0.4148115, 1.240328, -0.9589777, 0.6970196, 1.286351, -0.4392918, 0.7436277, -0.3762997,
        ];
        assert_close(
            &conv2d_same(4, 5, 2, &image, &weights, &bias, 3, 3, Padding::Zero)[..9],
            &ZERO,
            1e-6,
        );
        const REFLECT: [f32; 9] = [
            -0.7050859,
            0.4351266,
            -0.04394326,
            -0.6216483,
            0.9623693,
            1.425071,
            -1.106751,
            0.5272502,
            -0.37688,
        ];
        assert_close(
            &conv2d_same(4, 5, 2, &image, &weights, &bias, 3, 3, Padding::Reflect)[..9],
            &REFLECT,
            1e-6,
        );
    }
}
