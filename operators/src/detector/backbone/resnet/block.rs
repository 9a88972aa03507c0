//! The residual blocks, with their convolutions under the checkpoint's names.

use candle_core::{Result, Tensor};

use super::architecture::{Architecture, BOTTLENECK_EXPANSION, BlockKind, STEM_CHANNELS};
use super::conv::{Conv, Then, Window};

/// Where a network gets a convolution from: the key without `.weight`, its window, and `[out, in, kernel, kernel]`.
pub(super) type ConvSource<'a> = dyn FnMut(&str, Window, [usize; 4]) -> std::result::Result<Conv, String> + 'a;

/// One residual block: `relu(f(x) + shortcut(x))`.
pub(super) enum Block {
    Basic(BasicBlock),
    Bottleneck(Bottleneck),
}

/// ResNet-18's block.
pub(super) struct BasicBlock {
    conv1: Conv,
    conv2: Conv,
    downsample: Option<Conv>,
}

/// ResNet-50's block.
pub(super) struct Bottleneck {
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    downsample: Option<Conv>,
}

impl Block {
    /// Block `index` of layer `depth` (0 is `layer1`), under `key`.
    pub(super) fn load(
        architecture: &Architecture,
        depth: usize,
        index: usize,
        key: &str,
        source: &mut ConvSource,
    ) -> std::result::Result<Self, String> {
        let dims = architecture.dims(depth);
        let c_in = match (depth, index) {
            (0, 0) => STEM_CHANNELS,
            (_, 0) => architecture.dims(depth - 1),
            _ => dims,
        };
        let stride = if depth > 0 && index == 0 { 2 } else { 1 };
        let mut conv = |name: &str, c_in: usize, c_out: usize, kernel: usize, stride: usize| {
            source(
                &format!("{key}.{name}"),
                Window::centred(kernel, stride),
                [c_out, c_in, kernel, kernel],
            )
        };
        // The first block changes the shape, so its shortcut is a projection; in `layer1` of ResNet-18 nothing changes.
        let projects = stride != 1 || c_in != dims;
        Ok(match architecture.block {
            BlockKind::Basic => Self::Basic(BasicBlock {
                conv1: conv("conv1", c_in, dims, 3, stride)?,
                conv2: conv("conv2", dims, dims, 3, 1)?,
                downsample: projects
                    .then(|| conv("downsample.0", c_in, dims, 1, stride))
                    .transpose()?,
            }),
            BlockKind::Bottleneck => {
                let width = (dims / BOTTLENECK_EXPANSION) * architecture.base_width / STEM_CHANNELS;
                Self::Bottleneck(Bottleneck {
                    conv1: conv("conv1", c_in, width, 1, 1)?,
                    conv2: conv("conv2", width, width, 3, stride)?,
                    conv3: conv("conv3", width, dims, 1, 1)?,
                    downsample: projects
                        .then(|| conv("downsample.0", c_in, dims, 1, stride))
                        .transpose()?,
                })
            }
        })
    }

    /// `(height, width, in)` → `(height / stride, width / stride, out)`, rounded up.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let projected = match self.downsample() {
            Some(downsample) => Some(downsample.forward(x, &Then::Identity)?),
            None => None,
        };
        let shortcut = projected.as_ref().unwrap_or(x);
        match self {
            Self::Basic(block) => {
                let x = block.conv1.forward(x, &Then::Relu)?;
                block.conv2.forward(&x, &Then::AddRelu(shortcut))
            }
            Self::Bottleneck(block) => {
                let x = block.conv1.forward(x, &Then::Relu)?;
                let x = block.conv2.forward(&x, &Then::Relu)?;
                block.conv3.forward(&x, &Then::AddRelu(shortcut))
            }
        }
    }

    /// Its convolutions.
    pub(super) fn convs(&self) -> impl Iterator<Item = &Conv> {
        let main = match self {
            Self::Basic(block) => vec![&block.conv1, &block.conv2],
            Self::Bottleneck(block) => vec![&block.conv1, &block.conv2, &block.conv3],
        };
        main.into_iter().chain(self.downsample())
    }

    fn downsample(&self) -> Option<&Conv> {
        match self {
            Self::Basic(block) => block.downsample.as_ref(),
            Self::Bottleneck(block) => block.downsample.as_ref(),
        }
    }
}
