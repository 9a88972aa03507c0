//! A fitted detector: everything needed to score frames, and where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::backbone::{Backbone, hash};
use super::tensor_file::hexadecimal;
use super::{Calibration, ImageScore, Provenance, Recipe, Scorer, Tensor};
use crate::imaging::check_input;
use crate::metrics::ScoreReference;

/// What an image of the training set was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageRole {
    /// The scorer was fitted on it.
    Train,
    /// It was held out to choose the threshold.
    Calibrate,
}

/// One image that went into a detector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestEntry {
    /// Its name within the data set.
    pub name: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// What it was used for.
    pub role: ImageRole,
    /// The highest value it holds, where it is a 16-bit image.
    pub sixteen_bit_max: Option<u16>,
}

/// What a detector is put together from.
pub struct DetectorParts {
    /// How frames become scores.
    pub recipe: Recipe,
    /// The network.
    pub backbone: Arc<dyn Backbone>,
    /// The fitted scorer. Shared, because a detector with another threshold has the same.
    pub scorer: Arc<Scorer>,
    /// The thresholds.
    pub calibration: Calibration,
    /// The images that went into it, in any order.
    pub manifest: Vec<ManifestEntry>,
    /// The exact sums of the scorer by name, where they are kept so that an image can be taken out again.
    pub sums: Option<BTreeMap<String, Tensor>>,
    /// Where the rows of the scorer's memory bank come from, where it has one and that is known. Shared as the scorer is.
    pub provenance: Option<Arc<Provenance>>,
    /// Version of the program that fitted it.
    pub intakt_version: String,
}

/// A detector whose parts fit each other.
pub struct Detector {
    pub(super) parts: DetectorParts,
    pub(super) id: Arc<str>,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Detector({})", self.id)
    }
}

impl Detector {
    /// Puts a detector together. The manifest is sorted, so that the order of fitting leaves no trace.
    ///
    /// # Errors
    /// A sentence naming the parts that do not fit and the numbers on both sides.
    pub fn new(mut parts: DetectorParts) -> Result<Self, String> {
        parts.manifest.sort();
        check(&parts)?;
        let mut detector = Self {
            parts,
            id: Arc::from(""),
        };
        let mut sha = Sha256::new();
        detector.write(&mut |bytes| sha.update(bytes))?;
        detector.id = id_from_hash(&sha.finalize());
        Ok(detector)
    }

    /// First 12 digits of the SHA-256 of its file, as `sha256sum` prints it.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How frames become scores.
    pub fn recipe(&self) -> &Recipe {
        &self.parts.recipe
    }

    /// The network.
    pub fn backbone(&self) -> &Arc<dyn Backbone> {
        &self.parts.backbone
    }

    /// The fitted scorer.
    pub fn scorer(&self) -> &Scorer {
        &self.parts.scorer
    }

    /// The thresholds.
    pub fn calibration(&self) -> &Calibration {
        &self.parts.calibration
    }

    /// The images that went into it, sorted by name.
    pub fn manifest(&self) -> &[ManifestEntry] {
        &self.parts.manifest
    }

    /// The exact sums of the scorer by name, where they were kept.
    pub fn sums(&self) -> Option<&BTreeMap<String, Tensor>> {
        self.parts.sums.as_ref()
    }

    /// Where the rows of its memory bank come from, where that is known.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.parts.provenance.as_deref()
    }

    /// Version of the program that fitted it.
    pub fn intakt_version(&self) -> &str {
        &self.parts.intakt_version
    }

    /// SHA-256 of the manifest, hexadecimal: equal where two detectors saw the same images.
    pub fn manifest_hash(&self) -> String {
        manifest_hash(&self.parts.manifest)
    }

    /// The same detector with another threshold for the image score, see [`Calibration::with_image_threshold`]. It has an id
    /// of its own.
    ///
    /// # Errors
    /// A sentence, where the threshold is not finite.
    pub fn with_image_threshold(&self, threshold: f32) -> Result<Self, String> {
        let parts = &self.parts;
        let calibration = parts.calibration.clone();
        Self::new(DetectorParts {
            recipe: parts.recipe.clone(),
            backbone: parts.backbone.clone(),
            scorer: parts.scorer.clone(),
            calibration: calibration.with_image_threshold(threshold, parts.recipe.image_score),
            manifest: parts.manifest.clone(),
            // It looks at frames; nobody takes training images out of it.
            sums: None,
            provenance: parts.provenance.clone(),
            intakt_version: parts.intakt_version.clone(),
        })
    }

    /// The calibrated scores of the frames that the threshold was chosen on, as far as they are kept: what drift is measured
    /// against.
    pub fn score_reference(&self) -> Option<ScoreReference> {
        ScoreReference::new(&self.calibration().calibrated_normal_scores())
    }

    /// Takes it apart, to put another one together from most of its parts.
    pub fn into_parts(self) -> DetectorParts {
        self.parts
    }
}

/// First 12 digits of a SHA-256.
pub(super) fn id_from_hash(hash: &[u8]) -> Arc<str> {
    hexadecimal(hash)[..12].into()
}

/// SHA-256 of a sorted manifest as JSON.
pub(super) fn manifest_hash(manifest: &[ManifestEntry]) -> String {
    let json = serde_json::to_vec(manifest).expect("strings and numbers are JSON");
    hexadecimal(&Sha256::digest(json))
}

/// Whether the parts fit each other, so that nothing after it can find sizes that do not.
fn check(parts: &DetectorParts) -> Result<(), String> {
    check_recipe(&parts.recipe)?;
    parts.calibration.validate()?;
    check_backbone(parts)?;
    let yielded = embedding_dims(parts)?;
    let held = parts.scorer.dims();
    if held != yielded {
        let name = &parts.recipe.backbone.name;
        return Err(format!(
            "the scorer holds {held}-dim embeddings but backbone `{name}` yields {yielded}\n  hint: refit with the backbone \
             that is meant, and do not mix the parts of two detectors"
        ));
    }
    check_grid(parts)?;
    check_provenance(parts)
}

/// A Gaussian per position holds for one grid only: that of the first layer at the recipe's input size.
fn check_grid(parts: &DetectorParts) -> Result<(), String> {
    let input = &parts.recipe.input;
    let size_px = input.crop_px.unwrap_or(input.size_px) as usize;
    let (Some(held), Some(layer)) = (parts.scorer.grid(), parts.backbone.layers().first()) else {
        return Ok(());
    };
    let edge = size_px.div_ceil(layer.stride_px.max(1));
    if held != (edge, edge) {
        return Err(format!(
            "the scorer holds Gaussians for {}x{} positions but `{}` of backbone `{}` yields {edge}x{edge} at {size_px} \
             pixels\n  hint: refit with that size",
            held.0, held.1, layer.name, parts.recipe.backbone.name
        ));
    }
    Ok(())
}

/// Every row of the bank comes from an image that the scorer was fitted on.
fn check_provenance(parts: &DetectorParts) -> Result<(), String> {
    let Some(provenance) = &parts.provenance else {
        return Ok(());
    };
    let (named, held) = (provenance.n_rows(), parts.scorer.bank_rows());
    if held != Some(named) {
        return Err(format!(
            "it says where {named} rows of its memory bank come from, and the bank holds {}",
            held.unwrap_or(0)
        ));
    }
    let trained: BTreeSet<&str> = parts
        .manifest
        .iter()
        .filter(|entry| entry.role == ImageRole::Train)
        .map(|entry| entry.name.as_str())
        .collect();
    match provenance
        .images()
        .iter()
        .find(|image| !trained.contains(image.name.as_str()))
    {
        None => Ok(()),
        Some(image) => Err(format!(
            "it was not fitted on \"{}\", which rows of its bank come from",
            image.name
        )),
    }
}

fn check_backbone(parts: &DetectorParts) -> Result<(), String> {
    let recipe = &parts.recipe.backbone;
    let layers: Vec<&str> = parts
        .backbone
        .layers()
        .iter()
        .map(|layer| layer.name.as_str())
        .collect();
    if parts.backbone.name() != recipe.name || layers != recipe.layers {
        return Err(format!(
            "the recipe asks for backbone `{}` at layers {:?} but the backbone is `{}` at {layers:?}",
            recipe.name,
            recipe.layers,
            parts.backbone.name()
        ));
    }
    if parts.backbone.precision() != recipe.precision {
        return Err(format!(
            "the recipe asks for backbone `{}` in {} but the backbone is in {}",
            recipe.name,
            recipe.precision,
            parts.backbone.precision()
        ));
    }
    let found = hash(parts.backbone.as_ref());
    if found != recipe.hash {
        return Err(format!(
            "the weights of backbone `{}` have SHA-256 {found} but the recipe was fitted with {}",
            recipe.name, recipe.hash
        ));
    }
    Ok(())
}

fn embedding_dims(parts: &DetectorParts) -> Result<usize, String> {
    let all = parts.backbone.layers().iter().map(|layer| layer.dims).sum();
    let Some(kept) = &parts.recipe.embedding.kept_dims else {
        return Ok(all);
    };
    if !kept.is_sorted_by(|left, right| left < right) || kept.last().is_none_or(|&last| last >= all) {
        return Err(format!(
            "the recipe keeps {} dimensions that are not ascending within the {all} of backbone `{}`",
            kept.len(),
            parts.recipe.backbone.name
        ));
    }
    Ok(kept.len())
}

/// Whether a recipe can be carried out at all.
fn check_recipe(recipe: &Recipe) -> Result<(), String> {
    check_input(&recipe.input)?;
    let (sigma, sigma_map) = (recipe.blur_sigma_px, recipe.blur_sigma_map_px());
    if !(0.0..=intakt_kernels::BLUR_SIGMA_PX_MAX).contains(&sigma_map) {
        return Err(format!(
            "the map is smoothed over {sigma} pixels, which cannot be carried out; 4 is usual"
        ));
    }
    if recipe.image_score == ImageScore::TopMean(0) {
        return Err("the image score is the mean of the 0 highest pixels; at least 1 is needed".into());
    }
    let rules = &recipe.suppression;
    for (name, level) in [("minimum peak", rules.min_peak), ("hysteresis", rules.hysteresis_low)] {
        if level.is_some_and(|level| !(0.0..=1.0).contains(&level)) {
            return Err(format!("{name} {level:?} is no calibrated score, which are 0 to 1"));
        }
    }
    rules.roi.as_ref().map_or(Ok(()), |roi| roi.validate())
}
