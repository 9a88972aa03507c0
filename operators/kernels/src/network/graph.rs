//! What a convolutional network computes, with its weights in `f32`.

use std::sync::Arc;

/// Extent, step and zero border of a sliding window, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Pixels along one side.
    pub kernel: usize,
    /// Pixels from one position to the next.
    pub stride: usize,
    /// Pixels of zeros beyond each edge.
    pub padding: usize,
}

impl Window {
    /// A window that keeps the extent of its input for stride 1, and halves it (rounded up) for stride 2.
    pub const fn centred(kernel: usize, stride: usize) -> Self {
        Self {
            kernel,
            stride,
            padding: kernel / 2,
        }
    }

    /// Positions along an axis of `size` pixels; none where the window does not fit.
    pub(super) fn positions(self, size: usize) -> Option<usize> {
        Some((size + 2 * self.padding).checked_sub(self.kernel)? / self.stride + 1)
    }
}

/// A convolution with whatever follows it linearly folded in.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Where it looks.
    pub window: Window,
    /// Channels it reads.
    pub in_channels: usize,
    /// Whether each output channel reads its own input channel only, rather than all.
    pub depthwise: bool,
    /// `(out, in, kernel, kernel)`, as PyTorch has it; `(out, 1, kernel, kernel)` if it is depthwise.
    pub weight: Arc<[f32]>,
    /// `(out)`.
    pub bias: Arc<[f32]>,
}

impl Conv {
    /// Products in one of its values.
    pub(super) fn products(&self) -> usize {
        let area = self.window.kernel * self.window.kernel;
        if self.depthwise { area } else { area * self.in_channels }
    }
}

/// Pixels along one side of the largest window that a mean is taken of: the sum of its bytes fits into 16 bits.
const MEAN_KERNEL_MAX: usize = 16;

/// A node of a network, by the order in which it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub(super) usize);

/// What a node computes from those before it.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// The image: normalised RGB.
    Image,
    /// `max(conv(input) + add, 0)`, with the last two as asked for.
    Conv {
        input: NodeId,
        conv: Conv,
        add: Option<NodeId>,
        relu: bool,
    },
    /// The maximum under the window; pixels beyond the edge do not count.
    MaxPool { input: NodeId, window: Window },
    /// The mean under the window; pixels beyond the edge count as zeros.
    AvgPool { input: NodeId, window: Window },
}

/// A network: its nodes, and which of them are wanted.
#[derive(Clone, Debug)]
pub struct Network {
    /// Of the images that it was trained on, per channel, of 1.
    pub(super) mean: [f32; 3],
    /// The same.
    pub(super) std: [f32; 3],
    pub(super) nodes: Vec<Node>,
    pub(super) taps: Vec<NodeId>,
}

impl Network {
    /// A network that reads RGB images and normalises them: `(value / 255 − mean) / std` per channel.
    ///
    /// Panics unless the standard deviations are above 0.
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        assert!(std.iter().all(|std| *std > 0.0), "standard deviations of {std:?}");
        Self {
            mean,
            std,
            nodes: vec![Node::Image],
            taps: Vec::new(),
        }
    }

    /// The steps of all windows.
    pub(super) fn strides(&self) -> impl Iterator<Item = usize> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Image => None,
            Node::Conv { conv, .. } => Some(conv.window.stride),
            Node::MaxPool { window, .. } | Node::AvgPool { window, .. } => Some(window.stride),
        })
    }

    /// The image, of three channels.
    pub fn image(&self) -> NodeId {
        NodeId(0)
    }

    /// Adds `conv(input)`, plus `add` where there is one, and then `max(·, 0)` if `relu`. A sum without `relu` can only be added
    /// to others.
    ///
    /// Panics if another convolution reads the image, or the image is added; and unless the shapes agree: weights as [`Conv`] has them
    /// and `(out)` biases over an input that has `in` channels and is not such a sum itself; a depthwise one has as many outputs, and
    /// does not read the image.
    pub fn conv(&mut self, input: NodeId, conv: Conv, add: Option<NodeId>, relu: bool) -> NodeId {
        let out_channels = conv.bias.len();
        let Window { kernel, stride, .. } = conv.window;
        assert!(kernel > 0 && stride > 0 && out_channels > 0, "an empty convolution");
        assert_eq!(self.channels(input), conv.in_channels, "channels of the input");
        assert_eq!(
            conv.weight.len(),
            out_channels * conv.products(),
            "weights of {out_channels} channels, {} each",
            conv.products()
        );
        if conv.depthwise {
            assert!(
                out_channels == conv.in_channels && input != self.image(),
                "a depthwise convolution keeps its channels, and is not the first"
            );
        }
        assert!(self.is_not_negative(input), "a sum without `relu` can only be added");
        let reads_image = |node: &Node| matches!(node, Node::Conv { input, .. } if *input == self.image());
        assert!(
            input != self.image() || !self.nodes.iter().any(reads_image),
            "the image is read once"
        );
        if let Some(add) = add {
            assert!(add != self.image(), "the image is not added");
            assert_eq!(self.channels(add), out_channels, "channels of what is added");
        }
        self.push(Node::Conv { input, conv, add, relu })
    }

    /// Adds the maximum of `input` under the window.
    ///
    /// Panics on a sum without `relu`, and on a padding of half the kernel or more.
    pub fn max_pool(&mut self, input: NodeId, window: Window) -> NodeId {
        assert!(
            self.is_not_negative(input) && input != self.image(),
            "a sum without `relu` can only be added"
        );
        assert!(
            2 * window.padding < window.kernel && window.stride > 0,
            "a window that sees nothing"
        );
        self.push(Node::MaxPool { input, window })
    }

    /// Adds the mean of `input` under the window, in which pixels beyond the edge are zeros, as PyTorch's `AvgPool2d` has it.
    ///
    /// Panics on a sum without `relu`, on the image, and on a window of no or more than 16 pixels along a side.
    pub fn avg_pool(&mut self, input: NodeId, window: Window) -> NodeId {
        assert!(
            self.is_not_negative(input) && input != self.image(),
            "a sum without `relu` can only be added"
        );
        assert!(
            (1..=MEAN_KERNEL_MAX).contains(&window.kernel) && window.stride > 0 && window.padding < window.kernel,
            "a window of {window:?}"
        );
        self.push(Node::AvgPool { input, window })
    }

    /// Asks for the values of a node: feature maps come in the order in which they were asked for.
    ///
    /// Panics unless it is a convolution that nobody asked for before.
    pub fn tap(&mut self, node: NodeId) {
        assert!(
            matches!(self.nodes[node.0], Node::Conv { .. }),
            "only convolutions are tapped"
        );
        assert!(!self.taps.contains(&node), "a node is tapped once");
        self.taps.push(node);
    }

    /// The activations whose range has to be known before they can be held in 8 bits, in the order of the network.
    pub fn ranged(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..self.nodes.len())
            .map(NodeId)
            .filter(|node| matches!(self.nodes[node.0], Node::Conv { relu: true, .. }))
    }

    /// Channels of a node.
    pub fn channels(&self, node: NodeId) -> usize {
        match &self.nodes[node.0] {
            Node::Image => 3,
            Node::Conv { conv, .. } => conv.bias.len(),
            Node::MaxPool { input, .. } | Node::AvgPool { input, .. } => self.channels(*input),
        }
    }

    fn is_not_negative(&self, node: NodeId) -> bool {
        !matches!(self.nodes[node.0], Node::Conv { relu: false, .. })
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }
}
