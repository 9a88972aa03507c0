//! One hop: a convolution whose kernels are principal components of the neighbourhoods it sees.

use intakt_kernels::{Padding, conv2d_same, max_pool2};

use crate::FeatureMap;
use crate::imaging::Image;

/// The size of one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopSpec {
    /// Edge of its square neighbourhoods, odd.
    pub kernel: usize,
    /// Dimensions that it keeps: the mean (DC) of the neighbourhood and its leading principal components.
    pub kept: usize,
}

/// A fitted hop.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hop {
    pub(super) spec: HopSpec,
    pub(super) in_dims: usize,
    /// `(kept, kernel, kernel, in_dims)`.
    pub(super) weights: Vec<f32>,
    /// `kept`.
    pub(super) bias: Vec<f32>,
}

impl Hop {
    /// The hop's output at the stride of its input.
    pub(super) fn apply(&self, input: &FeatureMap) -> FeatureMap {
        assert_eq!(input.dims, self.in_dims, "input of a hop");
        let data = conv2d_same(
            input.height,
            input.width,
            input.dims,
            &input.data,
            &self.weights,
            &self.bias,
            self.spec.kernel,
            self.spec.kept,
            Padding::Reflect,
        );
        FeatureMap::new(input.height, input.width, self.spec.kept, data)
    }
}

/// The pixels of an image as the first hop sees them: 0…1.
pub(super) fn pixels(image: &Image) -> FeatureMap {
    let data = image.rgb.iter().map(|&value| f32::from(value) / 255.0).collect();
    FeatureMap::new(image.height_px as usize, image.width_px as usize, 3, data)
}

/// What the next hop sees of a hop's output: half the size.
pub(super) fn halve(map: &FeatureMap) -> FeatureMap {
    let data = max_pool2(map.height, map.width, map.dims, &map.data);
    FeatureMap::new(map.height.div_ceil(2), map.width.div_ceil(2), map.dims, data)
}
