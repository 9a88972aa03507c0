//! The network of a residual network, with its convolutions under the checkpoint's names.

use std::sync::Arc;

use intakt_kernels::network::{Conv, Network, NodeId, Window};

use super::architecture::{Architecture, BOTTLENECK_EXPANSION, BlockKind, LAYER_NAMES, STEM_CHANNELS};

/// Mean of ImageNet's training images per channel (red, green, blue), of 1.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's training images per channel, of 1.
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A convolution with the BatchNorm that follows it folded in.
#[derive(Clone)]
pub(super) struct FoldedConv {
    /// Checkpoint key without `.weight`.
    pub(super) key: String,
    /// `[out, in, kernel, kernel]`.
    pub(super) shape: [usize; 4],
    pub(super) weight: Arc<[f32]>,
    pub(super) bias: Arc<[f32]>,
}

/// Where a network gets a convolution from: the key without `.weight`, and `[out, in, kernel, kernel]`.
pub(super) type ConvSource<'a> = dyn FnMut(&str, [usize; 4]) -> Result<FoldedConv, String> + 'a;

/// Puts the network together, asking `source` for every convolution in its order.
pub(super) struct Builder<'a> {
    architecture: &'static Architecture,
    source: &'a mut ConvSource<'a>,
    network: Network,
    convs: Vec<FoldedConv>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(architecture: &'static Architecture, source: &'a mut ConvSource<'a>) -> Self {
        Self {
            architecture,
            source,
            network: Network::new(IMAGENET_MEAN, IMAGENET_STD),
            convs: Vec::new(),
        }
    }

    /// The network up to the deepest of `taps` (0 is `layer1`), tapped at those, and its convolutions.
    pub(super) fn build(mut self, taps: &[usize]) -> Result<(Network, Vec<FoldedConv>), String> {
        let image = self.network.image();
        let stem = self.conv("conv1", image, [STEM_CHANNELS, 3, 7, 7], 2, None, true)?;
        let mut x = self.network.max_pool(stem, Window::centred(3, 2));
        let deepest = taps.iter().copied().max().unwrap_or(0);
        for (depth, layer) in LAYER_NAMES.iter().enumerate().take(deepest + 1) {
            for index in 0..self.architecture.n_blocks[depth] {
                x = self.block(&format!("{layer}.{index}"), x, depth, index)?;
            }
            if taps.contains(&depth) {
                self.network.tap(x);
            }
        }
        Ok((self.network, self.convs))
    }

    /// One residual block, `relu(f(x) + shortcut(x))`: number `index` of layer `depth`, under `key`.
    fn block(&mut self, key: &str, x: NodeId, depth: usize, index: usize) -> Result<NodeId, String> {
        let (c_in, dims) = (self.network.channels(x), self.architecture.dims(depth));
        let stride = if depth > 0 && index == 0 { 2 } else { 1 };
        let name = |conv: &str| format!("{key}.{conv}");
        // The first block changes the shape, so its shortcut is a projection; in `layer1` of ResNet-18 nothing changes. A
        // checkpoint has it last.
        let projects = stride != 1 || c_in != dims;
        let inner = match self.architecture.block {
            BlockKind::Basic => self.conv(&name("conv1"), x, [dims, c_in, 3, 3], stride, None, true)?,
            BlockKind::Bottleneck => {
                let width = (dims / BOTTLENECK_EXPANSION) * self.architecture.base_width / STEM_CHANNELS;
                let inner = self.conv(&name("conv1"), x, [width, c_in, 1, 1], 1, None, true)?;
                self.conv(&name("conv2"), inner, [width, width, 3, 3], stride, None, true)?
            }
        };
        let width = self.network.channels(inner);
        let (last, kernel) = match self.architecture.block {
            BlockKind::Basic => ("conv2", 3),
            BlockKind::Bottleneck => ("conv3", 1),
        };
        let folded = (self.source)(&name(last), [dims, width, kernel, kernel])?;
        self.convs.push(folded.clone());
        let shortcut = match projects {
            true => self.conv(&name("downsample.0"), x, [dims, c_in, 1, 1], stride, None, false)?,
            false => x,
        };
        Ok(self.add(&folded, inner, 1, Some(shortcut), true))
    }

    /// The convolution `key` over `input`.
    fn conv(
        &mut self,
        key: &str,
        input: NodeId,
        shape: [usize; 4],
        stride: usize,
        add: Option<NodeId>,
        relu: bool,
    ) -> Result<NodeId, String> {
        let folded = (self.source)(key, shape)?;
        self.convs.push(folded.clone());
        Ok(self.add(&folded, input, stride, add, relu))
    }

    fn add(&mut self, folded: &FoldedConv, input: NodeId, stride: usize, add: Option<NodeId>, relu: bool) -> NodeId {
        let [_, in_channels, kernel, _] = folded.shape;
        let conv = Conv {
            window: Window::centred(kernel, stride),
            in_channels,
            depthwise: false,
            weight: folded.weight.clone(),
            bias: folded.bias.clone(),
        };
        self.network.conv(input, conv, add, relu)
    }
}
