//! The recipe: everything about a detector but its numbers. It is stored in the detector file and shown to people.

use serde::{Deserialize, Serialize};

/// Everything that decides how a frame becomes a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The network.
    pub backbone: BackboneRecipe,
    /// From frame to network input.
    pub input: InputRecipe,
    /// From feature maps to one embedding per patch.
    pub embedding: EmbeddingRecipe,
    /// From embeddings to scores.
    pub scorer: ScorerRecipe,
    /// How the scores of a frame become its image score.
    pub image_score: ImageScore,
    /// Standard deviation of the Gaussian that smooths the anomaly map, in pixels of the network input (4 in the papers).
    pub blur_sigma_px: f32,
    /// What does not count.
    pub suppression: SuppressionRules,
}

/// Which network, and at which layers it is tapped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneRecipe {
    /// torchvision's name, or `builtin`.
    pub name: String,
    /// Layers, from shallow to deep.
    pub layers: Vec<String>,
    /// What it computes in. Files do not say it where it is `f32`: those of format 1 know nothing else.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// SHA-256 of its folded weights, hexadecimal.
    pub hash: String,
}

/// What a network computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point, added up in 32.
    Bf16,
    /// 8-bit integers, whose ranges are those of the normal frames: see `intakt_kernels::network`.
    Int8,
}

impl Precision {
    fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

/// From frame to network input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputRecipe {
    /// Edge of the square that a whole frame (or a tile, enlarged) is resized to: bilinear with antialiasing, as Pillow.
    pub size_px: u32,
    /// Edge of the square cut from the middle after resizing; whole frames only.
    pub crop_px: Option<u32>,
    /// Overlapping tiles instead of the whole frame.
    pub tiling: Option<Tiling>,
    /// Whether the dark margin of a frame is found and excluded.
    pub exclude_dark_margin: bool,
    /// The value of 16-bit images that becomes 255: their real range, 4095 for a 12-bit camera.
    pub sixteen_bit_max: u16,
}

/// How large frames are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiling {
    /// Edge of a tile in frame pixels. The network sees it resized to `size_px`, so `size_px / tile_px` is the enlargement.
    pub tile_px: u32,
    /// Pixels that neighbouring tiles share at least.
    pub overlap_px: u32,
}

/// From feature maps to one embedding per patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingRecipe {
    /// Edge of the square neighbourhood that is averaged around every position: 3 in PatchCore, 1 for none.
    pub neighbourhood: usize,
    /// How deeper layers are brought to the grid of the first.
    pub upsampling: Upsampling,
    /// The dimensions that are kept, ascending, where not all are (PaDiM's random selection).
    pub kept_dims: Option<Vec<usize>>,
}

/// How a deeper layer is brought to the grid of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// The value of the nearest position (PaDiM).
    Nearest,
    /// Bilinear, corners not aligned (PatchCore).
    Bilinear,
}

/// From embeddings to scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum ScorerRecipe {
    /// Nearest neighbour in a coreset of normal patches (Roth et al. 2022, arXiv 2106.08265).
    Patchcore {
        /// Share of all normal patches that is kept.
        coreset_ratio: f64,
        /// Neighbours that re-weight the image score (b in eq. 7).
        n_neighbors: usize,
        /// Dimensions of the seeded random projection in which the coreset is chosen.
        projection_dims: usize,
        /// Seed of the projection and of the first pick.
        seed: u64,
    },
    /// A Gaussian per position (Defard et al. 2020, arXiv 2011.08785).
    Padim {
        /// Added to the diagonal of every covariance (0.01 in the paper).
        regularisation: f64,
        /// Seed of the random dimensions.
        seed: u64,
    },
    /// One Gaussian for all positions: textures.
    Gaussian {
        /// Added to the diagonal of the covariance.
        regularisation: f64,
        /// Seed of the random dimensions.
        seed: u64,
    },
    /// Mean distance to the nearest pooled vectors of normal images (DN2: Bergman et al. 2020, arXiv 2002.10445).
    GlobalKnn {
        /// Neighbours that are averaged (2 in the paper).
        n_neighbors: usize,
    },
}

/// How the scores of a frame become its image score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageScore {
    /// The highest value of the smoothed anomaly map.
    Max,
    /// The mean of the n highest values of the smoothed anomaly map.
    TopMean(usize),
    /// The highest patch score, weighted by how densely normal patches lie around its neighbour (PatchCore eq. 7).
    Reweighted,
}

/// What does not count. Every region that these rules suppress stays in the verdict with its reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuppressionRules {
    /// Rectangle runs of the region of interest are kept as a mask at frame size: see [`RoiMask`].
    pub roi: Option<RoiMask>,
    /// Width of the border that is ignored, in frame pixels.
    pub border_px: u32,
    /// Regions with fewer frame pixels do not count.
    pub min_area_px: u64,
    /// Regions whose peak is below this calibrated score do not count; 0.5 is the threshold itself.
    pub min_peak: Option<f64>,
    /// Calibrated score down to which a region extends around the pixels above 0.5 (hysteresis); none: 0.5 itself.
    pub hysteresis_low: Option<f64>,
    /// Suppress regions that recur at the same place in most frames of a camera.
    pub static_artefacts: bool,
}

/// A region of interest, run-length encoded so that it fits the recipe: alternating lengths of ignored and inspected pixels,
/// row-major, the first run ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoiMask {
    /// Columns of the mask; it is scaled to each frame (nearest).
    pub width_px: u32,
    /// Rows of the mask.
    pub height_px: u32,
    /// Run lengths.
    pub runs: Vec<u32>,
}
