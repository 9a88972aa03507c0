//! The detector file `*.intakt`: one safetensors file. Its bytes are a pure function of the detector.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::backbone::{Backbone, backbone_from_tensors};
use super::detector::{Detector, DetectorParts, ManifestEntry, id_from_hash, manifest_hash};
use super::tensor_file::{Contents, content_hash, open, write};
use super::{BackboneRecipe, Precision, Provenance, Recipe, Scorer, Tensor};

/// What `format` says in the metadata of our files.
pub const FORMAT: &str = "intakt-detector";

/// The newest format that is read: that of memory banks whose rows say where they come from. Without that, networks in 8 or 16 bits
/// are still written in format 2 and all others in format 1, so that a detector keeps its id and older programs read it.
pub const FORMAT_VERSION: u32 = 3;

/// Why bytes are not a detector: sentences to follow `cannot load detector "…": `.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DetectorFileError {
    /// The beginning of a detector, or of something.
    #[error("the file is cut off: {0}\n  hint: copy it again, or fit the detector again")]
    Truncated(String),
    /// Another kind of file.
    #[error("it is not a detector of Intakt: {0}")]
    Foreign(String),
    /// Written by a newer program.
    #[error(
        "it has format {found}, written by intakt {written_by}, and this program reads formats up to {FORMAT_VERSION}\n  \
         hint: update intakt, or fit the detector with this version"
    )]
    Newer {
        /// Format of the file.
        found: u64,
        /// Version of the program that wrote it.
        written_by: String,
    },
    /// Ours, but changed since it was written.
    #[error("the file is damaged: {0}\n  hint: copy it again, or fit the detector again")]
    Damaged(String),
    /// Whole, but its parts do not fit each other.
    #[error("{0}")]
    Inconsistent(String),
}

impl Detector {
    /// The bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut |piece| bytes.extend_from_slice(piece))
            .expect("the header was short enough when the detector was put together");
        bytes
    }

    /// The detector of a file.
    ///
    /// # Errors
    /// Says whether the file is cut off, foreign, newer, damaged, or made of parts that do not fit. Never panics, and
    /// allocates in proportion to `bytes` whatever they claim. Bytes that are given away are dropped once they are read, so that
    /// they take no memory while the detector is made of what was in them.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Result<Self, DetectorFileError> {
        Self::rebuild(bytes, &backbone_from_tensors)
    }

    pub(super) fn write(&self, out: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        write(&contents(&self.parts), out)
    }

    pub(super) fn rebuild(bytes: impl AsRef<[u8]>, backbone: &RebuildBackbone<'_>) -> Result<Self, DetectorFileError> {
        let opened = open(bytes.as_ref())?;
        check_format(&opened.metadata)?;
        let contents = checked(opened.read()?)?;
        let read = id_from_hash(&Sha256::digest(&bytes));
        drop(bytes);
        let parts = parts(contents, backbone)?;
        let mut detector = Detector::new(parts).map_err(DetectorFileError::Inconsistent)?;
        if detector.id != read {
            return Err(DetectorFileError::Damaged(
                "it is not laid out as intakt writes it".into(),
            ));
        }
        detector.id = read;
        Ok(detector)
    }
}

/// [`backbone_from_tensors`], or a stand-in.
pub(super) type RebuildBackbone<'a> =
    dyn Fn(&BackboneRecipe, &BTreeMap<String, Tensor>) -> Result<Arc<dyn Backbone>, String> + 'a;

fn contents(parts: &DetectorParts) -> Contents {
    let mut contents = Contents::default();
    let mut put = |key: &str, value: String| contents.metadata.insert(key.into(), value);
    put("format", FORMAT.into());
    put("format_version", version_of(parts).to_string());
    put("intakt_version", parts.intakt_version.clone());
    put("recipe", json(&parts.recipe));
    put("calibration", json(&parts.calibration));
    put("manifest", json(&parts.manifest));
    put("manifest_sha256", manifest_hash(&parts.manifest));
    put("keeps_sums", parts.sums.is_some().to_string());
    if let Some(provenance) = &parts.provenance {
        put("provenance", provenance.described());
    }
    let named = |prefix: &'static str, tensors: BTreeMap<String, Tensor>| {
        tensors
            .into_iter()
            .map(move |(name, tensor)| (format!("{prefix}{name}"), tensor))
    };
    contents.tensors.extend(named("backbone.", parts.backbone.tensors()));
    contents.tensors.extend(named("scorer.", parts.scorer.tensors()));
    contents
        .tensors
        .extend(named("sums.", parts.sums.clone().unwrap_or_default()));
    let provenance = parts.provenance.as_ref().map(|provenance| provenance.tensors());
    contents
        .tensors
        .extend(named("provenance.", provenance.unwrap_or_default()));
    // Last, because it covers the rest.
    let hash = content_hash(&contents);
    contents.metadata.insert("content_sha256".into(), hash);
    contents
}

fn version_of(parts: &DetectorParts) -> u32 {
    match (&parts.provenance, parts.recipe.backbone.precision) {
        (Some(_), _) => FORMAT_VERSION,
        (None, Precision::Bf16 | Precision::Int8) => 2,
        (None, Precision::F32) => 1,
    }
}

fn check_format(metadata: &BTreeMap<String, String>) -> Result<(), DetectorFileError> {
    if metadata.get("format").is_none_or(|format| format != FORMAT) {
        return Err(DetectorFileError::Foreign(
            "it is a safetensors file of something else\n  hint: weights of a backbone are given with `--weights`"
                .into(),
        ));
    }
    let found = metadata.get("format_version").and_then(|version| version.parse().ok());
    match found {
        None => Err(DetectorFileError::Damaged("it does not say which format it has".into())),
        Some(found) if found > u64::from(FORMAT_VERSION) => Err(DetectorFileError::Newer {
            found,
            written_by: metadata.get("intakt_version").map_or("?", String::as_str).into(),
        }),
        Some(found) if found < 1 => Err(DetectorFileError::Damaged(format!("it has format {found}"))),
        Some(_) => Ok(()),
    }
}

fn checked(mut contents: Contents) -> Result<Contents, DetectorFileError> {
    let stated = contents.metadata.remove("content_sha256");
    if stated.as_deref() != Some(content_hash(&contents).as_str()) {
        return Err(DetectorFileError::Damaged(
            "its content does not have the SHA-256 that it states".into(),
        ));
    }
    Ok(contents)
}

fn parts(contents: Contents, backbone: &RebuildBackbone<'_>) -> Result<DetectorParts, DetectorFileError> {
    let Contents { metadata, mut tensors } = contents;
    let recipe: Recipe = parsed(&metadata, "recipe")?;
    let manifest: Vec<ManifestEntry> = parsed(&metadata, "manifest")?;
    let keeps_sums: bool = parsed(&metadata, "keeps_sums")?;
    let sums = taken(&mut tensors, "sums.");
    let inconsistent = DetectorFileError::Inconsistent;
    let backbone = backbone(&recipe.backbone, &taken(&mut tensors, "backbone.")).map_err(inconsistent)?;
    let scorer = Scorer::from_tensors(&recipe.scorer, &taken(&mut tensors, "scorer."))
        .map_err(|error| DetectorFileError::Inconsistent(format!("scorer: {error}")))?;
    let placed = taken(&mut tensors, "provenance.");
    let provenance = metadata
        .get("provenance")
        .map(|described| Provenance::from_file(described, &placed));
    let provenance = provenance
        .transpose()
        .map_err(|error| DetectorFileError::Inconsistent(format!("provenance: {error}")))?;
    Ok(DetectorParts {
        provenance: provenance.map(Arc::new),
        calibration: parsed(&metadata, "calibration")?,
        intakt_version: text(&metadata, "intakt_version")?.into(),
        sums: keeps_sums.then_some(sums),
        recipe,
        backbone,
        scorer: Arc::new(scorer),
        manifest,
    })
}

/// Takes the tensors whose names begin with `prefix`, and the prefix off their names.
fn taken(tensors: &mut BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    let (mut found, mut rest) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in std::mem::take(tensors) {
        match name.strip_prefix(prefix) {
            Some(own) => found.insert(own.to_string(), tensor),
            None => rest.insert(name, tensor),
        };
    }
    *tensors = rest;
    found
}

fn text<'a>(metadata: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str, DetectorFileError> {
    let missing = || DetectorFileError::Damaged(format!("`{key}` is missing"));
    metadata.get(key).map(String::as_str).ok_or_else(missing)
}

fn parsed<T: DeserializeOwned>(metadata: &BTreeMap<String, String>, key: &str) -> Result<T, DetectorFileError> {
    let damaged = |error| DetectorFileError::Damaged(format!("`{key}` cannot be read: {error}"));
    serde_json::from_str(text(metadata, key)?).map_err(damaged)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("recipes, calibrations and manifests are JSON")
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
