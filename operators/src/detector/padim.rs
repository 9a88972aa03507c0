//! PaDiM: a Gaussian at every position (Defard et al. 2020, arXiv 2011.08785).

use std::collections::BTreeMap;

use intakt_kernels::{PositionGaussians, packed_len};

use super::checks::{check_dims, finite_f32};
use super::{PatchScores, Precision, Tensor};
use crate::FeatureMap;

/// A Gaussian per position; scores are Mahalanobis distances (equation 2 of the paper).
#[derive(Clone, Debug, PartialEq)]
pub struct Padim {
    height: usize,
    width: usize,
    gaussians: PositionGaussians,
}

impl Padim {
    /// Dimensions of the embeddings it scores.
    pub fn dims(&self) -> usize {
        self.gaussians.dims()
    }

    /// Height and width of the embeddings it scores.
    pub fn grid(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// Mahalanobis distance of every patch of each embedding from the Gaussian at its position.
    ///
    /// # Errors
    /// If an embedding has other dimensions or another grid.
    pub fn score(&self, embeddings: &[&FeatureMap]) -> Result<Vec<PatchScores>, String> {
        for embedding in embeddings {
            check_dims(embedding, self.dims())?;
            check_grid(embedding, self.grid())?;
        }
        let vectors: Vec<&[f32]> = embeddings.iter().map(|embedding| embedding.data.as_slice()).collect();
        let distances = self.gaussians.whitened_norms(&vectors).into_iter();
        let scores = distances.map(|distances| PatchScores {
            height: self.height,
            width: self.width,
            distances,
            weights: None,
            nearest: None,
        });
        Ok(scores.collect())
    }

    /// Puts fitted blocks together that cover the grid one after the other. Behind a network in int8 the factors have 8 bits, too.
    ///
    /// # Errors
    /// If they do not.
    pub fn from_blocks(
        height: usize,
        width: usize,
        precision: Precision,
        blocks: Vec<FittedBlock>,
    ) -> Result<Self, String> {
        let dims = blocks.first().map_or(0, |block| block.dims);
        let (mut means, mut factors) = (Vec::new(), Vec::new());
        for block in blocks {
            if block.dims != dims || block.first_position * dims != means.len() {
                return Err(format!(
                    "the fitted blocks do not cover {height}x{width} positions in order"
                ));
            }
            means.extend(block.means);
            factors.extend(block.factors);
        }
        if dims == 0 || means.len() != height * width * dims {
            return Err(format!("the fitted blocks do not cover {height}x{width} positions"));
        }
        let rounded = match precision {
            Precision::Int8 => PositionGaussians::in_bytes,
            Precision::Bf16 | Precision::F32 => PositionGaussians::new,
        };
        Ok(Self {
            height,
            width,
            gaussians: rounded(dims, means, &factors),
        })
    }

    /// `padim_means` (height, width, dims) and `padim_factors` (height, width, packed lower triangle).
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let (height, width, dims) = (self.height, self.width, self.dims());
        BTreeMap::from([
            (
                "padim_means".to_owned(),
                Tensor::f32(&[height, width, dims], self.gaussians.means().to_vec()),
            ),
            (
                "padim_factors".to_owned(),
                Tensor::f32(&[height, width, packed_len(dims)], self.gaussians.packed_factors()),
            ),
        ])
    }

    /// The reverse of [`Padim::tensors`].
    ///
    /// # Errors
    /// If a tensor is missing, or its shape or a value is impossible.
    pub fn from_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Self, String> {
        let ([height, width, dims], means) = finite_f32(tensors, "padim_means")?;
        let ([factor_height, factor_width, packed], factors) = finite_f32(tensors, "padim_factors")?;
        check_sizes(
            "padim_factors",
            [height, width, dims],
            [factor_height, factor_width, packed],
        )?;
        Ok(Self {
            height,
            width,
            gaussians: PositionGaussians::new(dims, means.to_vec(), factors),
        })
    }
}

/// The Gaussians of a range of positions.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedBlock {
    pub(super) first_position: usize,
    pub(super) dims: usize,
    /// `positions × dims`.
    pub(super) means: Vec<f32>,
    /// Packed inverse Cholesky factors of the covariances, `positions × packed`.
    pub(super) factors: Vec<f32>,
}

pub(super) fn check_grid(embedding: &FeatureMap, (height, width): (usize, usize)) -> Result<(), String> {
    if (embedding.height, embedding.width) == (height, width) {
        return Ok(());
    }
    Err(format!(
        "the detector knows {height}x{width} positions, but the embedding has {}x{}\n  hint: give frames that are as large \
         as those it was fitted on",
        embedding.height, embedding.width
    ))
}

/// Checks the packed part of a pair of tensors against the part that holds vectors.
pub(super) fn check_sizes(
    name: &str,
    [height, width, dims]: [usize; 3],
    packed_shape: [usize; 3],
) -> Result<(), String> {
    let expected = [height, width, packed_len(dims)];
    if height * width * dims == 0 || packed_shape != expected {
        return Err(format!(
            "`{name}` is {packed_shape:?}, but {height}x{width} positions of {dims} dims make {expected:?}"
        ));
    }
    Ok(())
}
