//! Weights in the order in which tiles read them.

use super::element::Element;
use super::graph::Conv;
use super::memory::{Buffer, Zeroed};
use super::quantise::QuantisedWeights;
use super::tile::BLOCK;

/// The weights of a convolution, ready to be multiplied. Channels are padded with zeros to whole blocks, the runs of a window's
/// rows to whole groups.
pub(super) struct PackedConv<E: Element> {
    /// `(blocks, rows, groups, BLOCK, GROUP)`; of depthwise ones `(blocks, rows, columns, BLOCK)`.
    weights: Buffer<E::Weight>,
    /// Per output channel, in whole blocks.
    pub(super) scales: Vec<f32>,
    pub(super) blocks: usize,
    pub(super) rows: usize,
    /// Groups of values in one row of the window; columns if it is depthwise.
    pub(super) groups: usize,
    pub(super) depthwise: bool,
}

impl<E: Element> PackedConv<E> {
    /// Weights of one block of output channels.
    pub(super) fn block(&self, block: usize) -> &[E::Weight] {
        let group = if self.depthwise { 1 } else { E::GROUP };
        let len = self.rows * self.groups * group * BLOCK;
        // SAFETY: nobody writes to weights after they were packed.
        let weights = unsafe { self.weights.slice() };
        &weights[block * len..][..len]
    }

    /// Bytes of all weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.len() * size_of::<E::Weight>()
    }

    /// Packs `(out, in, kernel, kernel)` values.
    fn pack(conv: &Conv, values: &[E::Weight], mut scales: Vec<f32>) -> Self
    where
        E::Weight: Zeroed,
    {
        let (kernel, out_channels) = (conv.window.kernel, conv.bias.len());
        let (channels, group) = if conv.depthwise {
            (1, 1)
        } else {
            (conv.in_channels, E::GROUP)
        };
        let (blocks, run) = (out_channels.div_ceil(BLOCK), kernel * channels);
        let groups = run.div_ceil(group);
        let mut weights = Buffer::zeros(blocks * kernel * groups * group * BLOCK);
        let packed = weights.as_mut_slice();
        for out in 0..out_channels {
            for row in 0..kernel {
                for at in 0..run {
                    let (column, channel) = (at / channels, at % channels);
                    let from = ((out * channels + channel) * kernel + row) * kernel + column;
                    let step = ((out / BLOCK) * kernel + row) * groups + at / group;
                    packed[(step * BLOCK + out % BLOCK) * group + at % group] = values[from];
                }
            }
        }
        scales.resize(blocks * BLOCK, 0.0);
        Self {
            weights,
            scales,
            blocks,
            rows: kernel,
            groups,
            depthwise: conv.depthwise,
        }
    }
}

impl PackedConv<f32> {
    /// The weights as they are.
    pub(super) fn f32(conv: &Conv) -> Self {
        Self::pack(conv, &conv.weight, vec![1.0; conv.bias.len()])
    }
}

impl PackedConv<u8> {
    /// The weights in 8 bits, for inputs of this scale.
    pub(super) fn u8(conv: &Conv, quantised: &QuantisedWeights, input_scale: f32) -> Self {
        let scales = quantised.scales.iter().map(|scale| scale * input_scale).collect();
        Self::pack(conv, &quantised.values, scales)
    }
}
