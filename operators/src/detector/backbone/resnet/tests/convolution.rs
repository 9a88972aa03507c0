use candle_core::{Device, Tensor};

use super::super::conv::{Conv, PATCH_VALUES_MAX, Then, Window, max_pool};

/// The same values at every run: a linear congruential generator, in -1..1.
fn random(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed;
    let values: Vec<f32> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
    .take(shape.iter().product())
    .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Largest difference to candle's own `conv2d`.
fn difference_to_candle(size: [usize; 2], channels: [usize; 2], kernel: usize, stride: usize) -> f32 {
    let [c_in, c_out] = channels;
    let shape = [c_out, c_in, kernel, kernel];
    let (input, weight) = (random(&[size[0], size[1], c_in], 1), random(&shape, 2));
    let bias = random(&[c_out], 3);
    let values = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let window = Window::centred(kernel, stride);
    let conv = Conv::new("conv1", window, shape, &values, bias.to_vec1().unwrap()).unwrap();
    assert_eq!(
        conv.weight_and_bias().unwrap(),
        (shape, values, bias.to_vec1().unwrap())
    );

    let channel_first = input.permute((2, 0, 1)).unwrap().unsqueeze(0).unwrap();
    let linear = channel_first
        .conv2d(&weight, kernel / 2, stride, 1, 1)
        .unwrap()
        .squeeze(0)
        .unwrap();
    let linear = linear.permute((1, 2, 0)).unwrap().broadcast_add(&bias).unwrap();
    let shortcut = random(linear.dims(), 4);
    let expected = [
        linear.clone(),
        linear.relu().unwrap(),
        linear.add(&shortcut).unwrap().relu().unwrap(),
    ];
    let ours = [Then::Identity, Then::Relu, Then::AddRelu(&shortcut)].map(|then| conv.forward(&input, &then).unwrap());
    let differences = ours.iter().zip(&expected).map(|(ours, expected)| {
        assert_eq!(ours.dims(), expected.dims());
        let difference = ours.sub(expected).unwrap().abs().unwrap();
        difference
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
    });
    differences.fold(0.0, f32::max)
}

#[test]
fn convolution_matches_candle() {
    for (kernel, stride) in [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)] {
        for size in [[1, 1], [2, 5], [8, 8], [9, 14], [31, 16]] {
            let difference = difference_to_candle(size, [5, 7], kernel, stride);
            assert!(
                difference < 1e-4,
                "kernel {kernel}, stride {stride}, {size:?}: {difference}"
            );
        }
    }
}

#[test]
fn convolution_in_several_bands_matches_candle() {
    // 64 · 9 values a position: 40 × 100 positions are three bands, the last one shorter.
    const { assert!(40 * 100 * 64 * 9 > 2 * PATCH_VALUES_MAX) };
    let difference = difference_to_candle([40, 100], [64, 8], 3, 1);
    assert!(difference < 1e-3, "{difference}");
}

#[test]
fn max_pool_ignores_what_lies_beyond_the_edge() {
    for (height, width) in [(1, 1), (2, 3), (5, 4), (7, 9)] {
        // All negative: a border of zeros would win.
        let input = (random(&[height, width, 3], 5).abs().unwrap() * -1.0)
            .unwrap()
            .affine(1.0, -0.5)
            .unwrap();
        let pooled = max_pool(&input).unwrap().to_vec3::<f32>().unwrap();
        let pixels = input.to_vec3::<f32>().unwrap();
        assert_eq!((pooled.len(), pooled[0].len()), (height.div_ceil(2), width.div_ceil(2)));
        for (y, row) in pooled.iter().enumerate() {
            for (x, values) in row.iter().enumerate() {
                let ys = (2 * y).saturating_sub(1)..(2 * y + 2).min(height);
                let xs = (2 * x).saturating_sub(1)..(2 * x + 2).min(width);
                let naive = |c: usize| {
                    let inside = ys.clone().flat_map(|y| xs.clone().map(move |x| (y, x)));
                    inside.map(|(y, x)| pixels[y][x][c]).fold(f32::NEG_INFINITY, f32::max)
                };
                assert_eq!(*values, [naive(0), naive(1), naive(2)], "{height}x{width} at {y}, {x}");
            }
        }
    }
}
