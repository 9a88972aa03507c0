//! Which residual networks there are, and how they are built.

/// The residual block (He et al. 2015, arXiv 1512.03385, figure 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1; the 3×3 carries the stride, as in torchvision (ResNet v1.5).
    Bottleneck,
}

/// A residual network under torchvision's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Architecture {
    pub(super) name: &'static str,
    pub(super) block: BlockKind,
    /// Blocks of `layer1` … `layer4`.
    pub(super) n_blocks: [usize; 4],
    /// Channels of the 3×3 convolution in `layer1`'s bottlenecks; doubled with every layer.
    pub(super) base_width: usize,
}

/// ImageNet's residual networks (He et al. 2015, table 1) and the wide one (Zagoruyko and Komodakis 2016, arXiv 1605.07146).
pub(super) const ARCHITECTURES: [Architecture; 3] = [
    Architecture {
        name: "resnet18",
        block: BlockKind::Basic,
        n_blocks: [2, 2, 2, 2],
        base_width: 64,
    },
    Architecture {
        name: "resnet50",
        block: BlockKind::Bottleneck,
        n_blocks: [3, 4, 6, 3],
        base_width: 64,
    },
    Architecture {
        name: "wide_resnet50_2",
        block: BlockKind::Bottleneck,
        n_blocks: [3, 4, 6, 3],
        base_width: 128,
    },
];

/// The layers every residual network can be tapped at, from shallow to deep.
pub(super) const LAYER_NAMES: [&str; 4] = ["layer1", "layer2", "layer3", "layer4"];

/// Channels of the stem, `conv1`.
pub(super) const STEM_CHANNELS: usize = 64;

/// How many times the last convolution of a bottleneck widens it.
pub(super) const BOTTLENECK_EXPANSION: usize = 4;

impl Architecture {
    /// The network of that name.
    ///
    /// # Errors
    /// A sentence with the names there are.
    pub(super) fn named(name: &str) -> Result<&'static Self, String> {
        ARCHITECTURES
            .iter()
            .find(|architecture| architecture.name == name)
            .ok_or_else(|| {
                let known = ARCHITECTURES.map(|architecture| architecture.name).join(", ");
                format!("unknown network `{name}`: the pretrained ones are {known}")
            })
    }

    /// Channels that layer `depth` (0 is `layer1`) yields.
    pub(super) fn dims(&self, depth: usize) -> usize {
        let planes = STEM_CHANNELS << depth;
        match self.block {
            BlockKind::Basic => planes,
            BlockKind::Bottleneck => planes * BOTTLENECK_EXPANSION,
        }
    }

    /// Depths of the named layers (0 is `layer1`).
    ///
    /// # Errors
    /// A sentence, if a layer is unknown, or if they do not go from shallow to deep.
    pub(super) fn depths(&self, layers: &[String]) -> Result<Vec<usize>, String> {
        let known = LAYER_NAMES.join(", ");
        let mut depths = Vec::new();
        for layer in layers {
            let depth = LAYER_NAMES.iter().position(|name| name == layer);
            depths.push(depth.ok_or_else(|| format!("`{}` has no layer `{layer}`: it has {known}", self.name))?);
        }
        if depths.is_empty() {
            return Err(format!("no layer of `{}` is asked for: it has {known}", self.name));
        }
        if !depths.is_sorted_by(|shallow, deep| shallow < deep) {
            let asked = layers.join(", ");
            return Err(format!(
                "layers must go from shallow to deep, each once, but are {asked}"
            ));
        }
        Ok(depths)
    }
}
