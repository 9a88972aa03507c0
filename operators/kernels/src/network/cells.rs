//! Images as cells of 2×2 pixels, where AMX multiplies bytes.
//!
//! A row of a 7×7 window is 21 bytes, and AMX takes 64 at once. Over cells of 12 values the same window with its stride of 2 is one of
//! 4×4 with a stride of 1, whose rows are 48 bytes: four steps instead of seven, and the same exact sums.

use super::graph::{Conv, Window};

/// Pixels along one side.
pub(super) const SIDE: usize = 2;

/// Whether a convolution over pixels is one over cells. With an odd window and an odd border its last row of pixels ends a cell.
pub(super) fn suit(conv: &Conv) -> bool {
    let Window {
        kernel,
        stride,
        padding,
    } = conv.window;
    stride == SIDE && kernel % 2 == 1 && padding % 2 == 1 && !conv.depthwise
}

/// The convolution over cells for one over pixels: its window begins a pixel earlier, with weights of zero. A cell has its values row
/// by row, pixel by pixel.
pub(super) fn over_cells(conv: &Conv) -> Conv {
    let (kernel, channels) = (conv.window.kernel, conv.in_channels);
    let side = (kernel + 1) / SIDE;
    let in_channels = channels * SIDE * SIDE;
    let mut weight = vec![0.0; conv.bias.len() * in_channels * side * side];
    for (at, value) in conv.weight.iter().enumerate() {
        let [y, x] = [at / kernel % kernel + 1, at % kernel + 1];
        let (out, channel) = (at / (channels * kernel * kernel), at / (kernel * kernel) % channels);
        let of_cell = (y % SIDE * SIDE + x % SIDE) * channels + channel;
        weight[((out * in_channels + of_cell) * side + y / SIDE) * side + x / SIDE] = *value;
    }
    Conv {
        window: Window {
            kernel: side,
            stride: 1,
            padding: conv.window.padding.div_ceil(SIDE),
        },
        in_channels,
        weight: weight.into(),
        ..conv.clone()
    }
}
