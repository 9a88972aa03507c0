//! Weights in the order in which tiles read them.

use half::bf16;

use super::element::{Element, Unit};
use super::graph::Conv;
use super::memory::Buffer;
use super::quantise::quantise_weights;
use super::tile::{BLOCK, GROUPS_AT_ONCE};
use super::winograd;

/// The weights of a convolution, ready to be multiplied. Channels are padded with zeros to whole blocks, the runs of a window's
/// rows to whole groups.
pub(super) struct PackedConv<E: Element> {
    weights: Buffer<E::Weight>,
    /// Per output channel, in whole blocks.
    pub(super) scales: Vec<f32>,
    pub(super) blocks: usize,
    pub(super) rows: usize,
    /// Groups of values in one row of the window; columns if it is depthwise.
    pub(super) groups: usize,
    pub(super) form: Form,
    in_channels: usize,
}

/// How weights lie, and what is computed with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `(blocks, rows, groups, BLOCK, GROUP)`.
    Direct,
    /// `(blocks, rows, columns, BLOCK)`.
    Depthwise,
    /// As [`winograd`] has them.
    Winograd,
}

impl<E: Element> PackedConv<E> {
    /// Weights of one block of output channels.
    pub(super) fn block(&self, block: usize) -> &[E::Weight] {
        let len = match self.form {
            Form::Direct => self.rows * self.groups * E::GROUP * BLOCK,
            Form::Depthwise => self.rows * self.groups * BLOCK,
            Form::Winograd => winograd::POINTS * self.in_channels * BLOCK,
        };
        // SAFETY: nobody writes to weights after they were packed.
        let weights = unsafe { self.weights.slice() };
        &weights[block * len..][..len]
    }

    /// What one step of the sums of a block is worth, by channel.
    pub(super) fn scales_of(&self, block: usize) -> &[f32; BLOCK] {
        let scales = self.scales[block * BLOCK..].first_chunk();
        scales.expect("a whole block")
    }

    /// Bytes of all weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.len() * size_of::<E::Weight>()
    }

    /// Packs `(out, in, kernel, kernel)` values for a unit.
    fn pack(unit: Unit, conv: &Conv, values: &[E::Weight], mut scales: Vec<f32>) -> Self {
        let groups_at_once = match unit.in_groups::<E>() && !conv.depthwise {
            true => GROUPS_AT_ONCE,
            false => 1,
        };
        let (kernel, out_channels) = (conv.window.kernel, conv.bias.len());
        let (channels, group) = if conv.depthwise {
            (1, 1)
        } else {
            (conv.in_channels, E::GROUP)
        };
        let (blocks, run) = (out_channels.div_ceil(BLOCK), kernel * channels);
        let groups = run.div_ceil(group).next_multiple_of(groups_at_once);
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
            form: if conv.depthwise { Form::Depthwise } else { Form::Direct },
            in_channels: conv.in_channels,
        }
    }
}

impl PackedConv<f32> {
    /// The weights as they are, or transformed where that is faster.
    pub(super) fn f32(conv: &Conv) -> Self {
        if !winograd::suits(conv) {
            return Self::pack(Unit::best(), conv, &conv.weight, vec![1.0; conv.bias.len()]);
        }
        let blocks = conv.bias.len().div_ceil(BLOCK);
        Self {
            weights: winograd::transformed_weights(conv),
            scales: vec![1.0; blocks * BLOCK],
            blocks,
            rows: conv.window.kernel,
            groups: conv.window.kernel * conv.in_channels,
            form: Form::Winograd,
            in_channels: conv.in_channels,
        }
    }
}

impl PackedConv<u8> {
    /// The weights in 8 bits, for inputs of this scale.
    pub(super) fn u8(unit: Unit, conv: &Conv, input_scale: f32) -> Self {
        let quantised = quantise_weights(&conv.weight, conv.bias.len());
        let scales = quantised.scales.iter().map(|scale| scale * input_scale).collect();
        Self::pack(unit, conv, &quantised.values, scales)
    }
}

impl PackedConv<bf16> {
    /// The weights in 16 bits.
    pub(super) fn bf16(unit: Unit, conv: &Conv, weight: &[bf16]) -> Self {
        Self::pack(unit, conv, weight, vec![1.0; conv.bias.len()])
    }
}
