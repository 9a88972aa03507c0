//! From what the user asked for to a recipe.

use intakt_operators::detector::backbone::{BUILTIN, Backbone, hash};
use intakt_operators::detector::{
    BackboneRecipe, CalibrationMethod, EmbeddingRecipe, ImageScore, InputRecipe, Precision, Recipe, ScorerRecipe,
    SuppressionRules, Tiling, Upsampling, has_fast_int8, random_dims,
};
use intakt_operators::imaging::check_input;

use super::BackboneChoice;
use crate::datasets::Layout;

/// Standard deviation of the smoothing of anomaly maps, pixels of the network's input: 4 in PatchCore and PaDiM.
const BLUR_SIGMA_PX: f32 = 4.0;

/// Dimensions kept of ResNet-18's 448 (PaDiM's table 2), and of the wider networks' 1,792.
const PADIM_DIMS_RESNET18: usize = 100;
const PADIM_DIMS_WIDE: usize = 550;

/// Added to the diagonal of covariances: PaDiM's ε.
const REGULARISATION: f64 = 0.01;

/// The same for the built-in backbone, whose features have a mean variance of 1 and whose last components are faint: a tenth
/// keeps them.
const REGULARISATION_BUILTIN: f64 = 0.001;

/// Dimensions of the random projection in which the coreset is chosen.
const PROJECTION_DIMS: usize = 128;

/// Which scorer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectorKind {
    /// Memory bank of normal patches.
    Patchcore,
    /// A Gaussian per position.
    Padim,
    /// One Gaussian for all positions.
    Gaussian,
    /// Nearest pooled vectors.
    GlobalKnn,
}

/// What the user asked for.
#[derive(Clone)]
pub struct FitSettings {
    /// The scorer; none: patchcore on pretrained weights, padim on the built-in backbone, whose tiles it suits as well.
    pub detector: Option<DetectorKind>,
    /// The network.
    pub backbone: BackboneChoice,
    /// What pretrained weights compute in; none: 8-bit integers where the CPU is fastest with them, else `f32`.
    pub precision: Option<Precision>,
    /// Edge of the network's input, pixels.
    pub size_px: u32,
    /// Edge of the centre crop, pixels.
    pub crop_px: Option<u32>,
    /// Overlapping tiles.
    pub tiling: Option<Tiling>,
    /// Layers to tap; none: the papers'.
    pub layers: Option<Vec<String>>,
    /// Share of the normal patches that PatchCore keeps.
    pub coreset_ratio: f64,
    /// Seed of everything random: dimensions that are kept, random projection, first pick of the coreset.
    pub seed: u64,
    /// Image score; none: the papers'.
    pub image_score: Option<ImageScore>,
    /// How the threshold is chosen.
    pub calibration: CalibrationMethod,
    /// What does not count.
    pub suppression: SuppressionRules,
    /// Whether PaDiM's sums stay in the detector, so that an image can be taken out again.
    pub keep_sums: bool,
}

impl FitSettings {
    /// The scorer that will be fitted.
    pub fn kind(&self) -> DetectorKind {
        self.detector.unwrap_or(match self.backbone {
            BackboneChoice::Pretrained { .. } => DetectorKind::Patchcore,
            BackboneChoice::Builtin => DetectorKind::Padim,
        })
    }

    /// What the network computes in. Ranges of activations rest on the images, so where one is to be taken out again there are
    /// none.
    pub fn precision(&self) -> Precision {
        let fastest = match has_fast_int8() && !self.keep_sums {
            true => Precision::Int8,
            false => Precision::F32,
        };
        match self.backbone {
            BackboneChoice::Builtin => Precision::F32,
            BackboneChoice::Pretrained { .. } => self.precision.unwrap_or(fastest),
        }
    }

    /// Refuses what does not fit together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.keep_sums && self.kind() != DetectorKind::Padim {
            return Err(
                "cannot keep sums: only padim is fitted from sums per position\n  hint: add `--detector padim`"
                    .to_owned(),
            );
        }
        if self.keep_sums && matches!(self.backbone, BackboneChoice::Builtin) {
            return Err(
                "cannot keep sums: the built-in backbone is itself fitted on the images, so an image cannot be \
                        taken out of it\n  hint: use `--backbone resnet18 --weights resnet18.safetensors`"
                    .to_owned(),
            );
        }
        if let Some(precision @ (Precision::Int8 | Precision::Bf16)) = self.precision
            && matches!(self.backbone, BackboneChoice::Builtin)
        {
            return Err(format!(
                "cannot compute the built-in backbone in {precision}: it has f32 only\n  hint: leave `--precision` out"
            ));
        }
        if self.precision == Some(Precision::Int8) && self.keep_sums {
            return Err(
                "cannot keep sums in int8: what fits into 8 bits is chosen on the images, so an image cannot be taken \
                        out of it\n  hint: use `--precision f32` or `bf16`"
                    .to_owned(),
            );
        }
        self.image_score()?;
        if !(self.coreset_ratio > 0.0 && self.coreset_ratio <= 1.0) {
            return Err(format!(
                "cannot keep a share of {} of the patches: `--coreset-ratio` is above 0 and at most 1",
                self.coreset_ratio
            ));
        }
        Ok(())
    }

    pub(crate) fn input(&self, sixteen_bit_max: u16, layout: Layout) -> InputRecipe {
        InputRecipe {
            size_px: self.size_px,
            crop_px: self.crop_px,
            tiling: self.tiling,
            // The AITEX strips have a margin that is no fabric; other layouts promise nothing of the kind.
            exclude_dark_margin: layout == Layout::Aitex,
            sixteen_bit_max,
        }
    }

    /// The layers to tap.
    pub(crate) fn layers(&self) -> Vec<String> {
        let default: &[&str] = match (&self.backbone, self.kind()) {
            (BackboneChoice::Builtin, _) => &["hop1", "hop2", "hop3", "hop4"],
            (_, DetectorKind::Padim) => &["layer1", "layer2", "layer3"],
            (_, DetectorKind::Patchcore | DetectorKind::Gaussian) => &["layer2", "layer3"],
            (_, DetectorKind::GlobalKnn) => &["layer3"],
        };
        self.layers
            .clone()
            .unwrap_or_else(|| default.iter().map(|layer| (*layer).to_owned()).collect())
    }

    pub(crate) fn recipe(&self, input: InputRecipe, backbone: &dyn Backbone) -> Result<Recipe, String> {
        check_input(&input)?;
        let recipe = BackboneRecipe {
            name: backbone.name().to_owned(),
            layers: backbone.layers().iter().map(|layer| layer.name.clone()).collect(),
            precision: backbone.precision(),
            hash: hash(backbone),
        };
        Ok(Recipe {
            backbone: recipe,
            input,
            embedding: self.embedding(backbone),
            scorer: self.scorer(),
            image_score: self.image_score()?,
            blur_sigma_px: BLUR_SIGMA_PX,
            suppression: self.suppression.clone(),
        })
    }

    fn embedding(&self, backbone: &dyn Backbone) -> EmbeddingRecipe {
        let total: usize = backbone.layers().iter().map(|layer| layer.dims).sum();
        let layers: Vec<usize> = backbone.layers().iter().map(|layer| layer.dims).collect();
        let keep = |dims: usize| (dims < total).then(|| dims_of_every_layer(&layers, dims, self.seed));
        let builtin = backbone.name() == BUILTIN;
        let (neighbourhood, upsampling, kept_dims) = match self.kind() {
            DetectorKind::Padim if backbone.name() == "resnet18" || builtin => {
                (1, Upsampling::Nearest, keep(PADIM_DIMS_RESNET18))
            }
            DetectorKind::Padim => (1, Upsampling::Nearest, keep(PADIM_DIMS_WIDE)),
            // Averaging over the neighbourhood blurs the built-in features, which are fine-grained already.
            DetectorKind::Gaussian | DetectorKind::Patchcore if builtin => (1, Upsampling::Bilinear, None),
            DetectorKind::Gaussian => (3, Upsampling::Bilinear, keep(PADIM_DIMS_WIDE)),
            DetectorKind::Patchcore => (3, Upsampling::Bilinear, None),
            DetectorKind::GlobalKnn => (1, Upsampling::Nearest, None),
        };
        EmbeddingRecipe {
            neighbourhood,
            upsampling,
            kept_dims,
        }
    }

    fn scorer(&self) -> ScorerRecipe {
        match self.kind() {
            DetectorKind::Patchcore => ScorerRecipe::Patchcore {
                coreset_ratio: self.coreset_ratio,
                n_neighbors: 9,
                projection_dims: PROJECTION_DIMS,
                seed: self.seed,
            },
            DetectorKind::Padim => ScorerRecipe::Padim {
                regularisation: self.regularisation(),
                seed: self.seed,
            },
            DetectorKind::Gaussian => ScorerRecipe::Gaussian {
                regularisation: self.regularisation(),
                seed: self.seed,
            },
            DetectorKind::GlobalKnn => ScorerRecipe::GlobalKnn { n_neighbors: 2 },
        }
    }

    fn regularisation(&self) -> f64 {
        match self.backbone {
            BackboneChoice::Pretrained { .. } => REGULARISATION,
            BackboneChoice::Builtin => REGULARISATION_BUILTIN,
        }
    }

    fn image_score(&self) -> Result<ImageScore, String> {
        let default = match self.kind() {
            DetectorKind::Patchcore => ImageScore::Reweighted,
            _ => ImageScore::Max,
        };
        match self.image_score {
            Some(ImageScore::Reweighted) if self.kind() != DetectorKind::Patchcore => {
                Err("cannot re-weight the image score: only patchcore has neighbours to weigh with\n  hint: use `--image-score max`".to_owned())
            }
            Some(ImageScore::TopMean(0)) => Err("cannot take the mean of no pixels: `--image-score top:N` needs N ≥ 1".to_owned()),
            asked => Ok(asked.unwrap_or(default)),
        }
    }
}

/// Random dimensions, `kept` in all, dealt to the layers in proportion to their own: PaDiM's selection, except that no draw
/// can leave a layer thin, which makes one seed as good as another.
fn dims_of_every_layer(layers: &[usize], kept: usize, seed: u64) -> Vec<usize> {
    let total: usize = layers.iter().sum();
    let (mut first, mut dealt, mut dims) = (0, 0, Vec::with_capacity(kept));
    for (at, layer) in layers.iter().enumerate() {
        // Every layer draws from a stream of its own.
        let seed = seed.wrapping_add(at as u64);
        // Rounded on the running sum, so that the parts add up to the whole.
        let due = ((first + layer) * kept + total / 2) / total;
        dims.extend(
            random_dims(*layer, due - dealt, seed)
                .into_iter()
                .map(|dim| first + dim),
        );
        (first, dealt) = (first + layer, due);
    }
    dims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_keeps_its_share_of_the_dimensions() {
        let [dims, others] = [0, 1].map(|seed| dims_of_every_layer(&[64, 128, 256], 100, seed));
        assert_ne!(dims, others, "another seed keeps other dimensions");
        for dims in [dims, others] {
            let within = |from: usize, to: usize| dims.iter().filter(|dim| (from..to).contains(dim)).count();
            assert_eq!((within(0, 64), within(64, 192), within(192, 448)), (14, 29, 57));
            assert!(dims.is_sorted_by(|a, b| a < b));
        }
    }
}
