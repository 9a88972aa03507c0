//! Global-feature kNN: distance of the whole image to the nearest normal images (DN2: Bergman et al. 2020, arXiv 2002.10445).

use std::collections::BTreeMap;

use intakt_kernels::Bank;

use super::checks::{DIMS_MAX, check_dims, finite_f32};
use super::{PatchScores, Tensor};
use crate::FeatureMap;

/// The mean over all positions: one vector for the image. Panics if the embedding is empty (a bug of ours).
pub fn pool(embedding: &FeatureMap) -> Vec<f32> {
    assert!(!embedding.data.is_empty(), "an empty embedding has no mean");
    let mut sums = vec![0.0f64; embedding.dims];
    for vector in embedding.data.chunks_exact(embedding.dims) {
        sums.iter_mut()
            .zip(vector)
            .for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.iter()
        .map(|sum| (sum / embedding.positions() as f64) as f32)
        .collect()
}

/// One pooled vector per normal image; the score is the mean distance to the nearest of them.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalKnn {
    bank: Bank,
    n_neighbors: usize,
}

impl GlobalKnn {
    /// A scorer with the [`pool`]ed vectors of normal images (n × dims) that averages over the `n_neighbors` nearest (2 in
    /// the paper), or over all if there are fewer.
    ///
    /// # Errors
    /// If there is no vector, they are not whole, or `n_neighbors` is 0.
    pub fn new(dims: usize, pooled: Vec<f32>, n_neighbors: usize) -> Result<Self, String> {
        if !(1..=DIMS_MAX).contains(&dims) || pooled.is_empty() || !pooled.len().is_multiple_of(dims) {
            return Err(format!("the memory bank holds {} values of {dims} dims", pooled.len()));
        }
        if pooled.len() / dims >= u32::MAX as usize {
            return Err(format!("the memory bank holds {} vectors", pooled.len() / dims));
        }
        if n_neighbors == 0 {
            return Err("global kNN averages over 0 neighbours\n  hint: give 2".to_owned());
        }
        Ok(Self {
            bank: Bank::new(dims, pooled),
            n_neighbors,
        })
    }

    /// Vectors in the memory bank.
    pub fn bank_rows(&self) -> usize {
        self.bank.rows()
    }

    /// Dimensions of the embeddings it scores.
    pub fn dims(&self) -> usize {
        self.bank.dims()
    }

    /// Mean distance of the pooled embedding to its nearest neighbours: one score, 1 × 1.
    ///
    /// # Errors
    /// If the embedding has other dimensions or no position.
    pub fn score(&self, embedding: &FeatureMap) -> Result<PatchScores, String> {
        check_dims(embedding, self.dims())?;
        if embedding.data.is_empty() {
            return Err("the embedding has no position".to_owned());
        }
        let neighbours = self.bank.k_nearest(&pool(embedding), self.n_neighbors);
        let sum: f64 = neighbours
            .iter()
            .map(|neighbour| f64::from(neighbour.squared_distance).sqrt())
            .sum();
        Ok(PatchScores {
            height: 1,
            width: 1,
            distances: vec![(sum / neighbours.len() as f64) as f32],
            weights: None,
            nearest: Some(neighbours.iter().take(1).map(|neighbour| neighbour.index).collect()),
        })
    }

    /// `memory_bank` (images, dims).
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let bank = Tensor::f32(&[self.bank.rows(), self.dims()], self.bank.vectors().to_vec());
        BTreeMap::from([("memory_bank".to_owned(), bank)])
    }

    /// The reverse of [`GlobalKnn::tensors`].
    ///
    /// # Errors
    /// If the tensor is missing, or its shape or a value is impossible.
    pub fn from_tensors(n_neighbors: usize, tensors: &BTreeMap<String, Tensor>) -> Result<Self, String> {
        let ([_, dims], bank) = finite_f32(tensors, "memory_bank")?;
        Self::new(dims, bank.to_vec(), n_neighbors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::scorer_testing::{assert_close, feature_map, values};

    #[test]
    fn pooling_averages_over_positions() {
        assert_eq!(pool(&FeatureMap::new(1, 2, 2, vec![1.0, 2.0, 3.0, 6.0])), [2.0, 4.0]);
    }

    #[test]
    fn score_is_the_mean_distance_to_the_nearest() {
        let (dims, bank) = (3, values(20 * 3, 1));
        let embedding = feature_map(2, 2, dims, 2);
        let mut all: Vec<f64> = bank
            .chunks_exact(dims)
            .map(|row| {
                row.iter()
                    .zip(pool(&embedding))
                    .map(|(a, b)| f64::from(a - b).powi(2))
                    .sum::<f64>()
                    .sqrt()
            })
            .collect();
        all.sort_by(f64::total_cmp);
        for k in [1, 2, 7, 20, 30] {
            let scores = GlobalKnn::new(dims, bank.clone(), k)
                .unwrap()
                .score(&embedding)
                .unwrap();
            let nearest = &all[..k.min(20)];
            let expected = nearest.iter().sum::<f64>() / nearest.len() as f64;
            assert_close(&scores.distances, &[expected as f32], 1e-5);
            assert_eq!((scores.height, scores.width, scores.weights), (1, 1, None));
            let row = scores.nearest.unwrap()[0] as usize;
            let alone = GlobalKnn::new(dims, bank[row * dims..][..dims].to_vec(), 1).unwrap();
            assert_close(&alone.score(&embedding).unwrap().distances, &[all[0] as f32], 1e-5);
        }
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn score_matches_numpy() {
        let bank = (20..26).flat_map(|seed| pool(&feature_map(2, 2, 3, seed))).collect();
        let scores = GlobalKnn::new(3, bank, 2)
            .unwrap()
            .score(&feature_map(2, 2, 3, 40))
            .unwrap();
        assert_close(&scores.distances, &[0.7186905], 1e-6);
    }

    #[test]
    fn bad_banks_and_embeddings_are_refused() {
        assert!(GlobalKnn::new(2, vec![], 2).is_err());
        assert!(GlobalKnn::new(2, vec![0.0; 3], 2).is_err());
        assert!(GlobalKnn::new(2, vec![0.0; 2], 0).is_err());
        let knn = GlobalKnn::new(2, vec![0.0; 2], 2).unwrap();
        assert!(knn.score(&feature_map(1, 1, 3, 1)).is_err());
        assert!(knn.score(&FeatureMap::new(0, 0, 2, vec![])).is_err());
    }
}
