//! PatchCore: distance to the nearest normal patch (Roth et al. 2022, arXiv 2106.08265).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use intakt_kernels::network::share;
use intakt_kernels::{Bank, Neighbour, squared_distance};

use super::checks::{DIMS_MAX, check_dims, finite_f32};
use super::{PatchScores, Tensor};
use crate::FeatureMap;

/// Bank vectors whose neighbours are searched together: enough for one matrix product, few enough that their vectors stay in the cache.
const SUPPORTS_PER_SEARCH: usize = 256;

/// Patches for whose weights it is worth waking a thread.
const PATCHES_PER_PART_MIN: usize = 128;

/// A memory bank of normal patches; scores are Euclidean distances to the nearest.
#[derive(Debug)]
pub struct Patchcore {
    bank: Bank,
    n_neighbors: usize,
    /// For every bank vector its `n_neighbors` nearest in the bank, found when first needed: a bank of 16,000 would take
    /// seconds on loading, and most of them are never anybody's nearest neighbour.
    supports: Vec<OnceLock<Box<[u32]>>>,
}

impl Patchcore {
    /// A scorer with `bank` (n × dims) that weights by the `n_neighbors` nearest (b in eq. 7; 9 in anomalib, 1 for no
    /// weighting).
    ///
    /// # Errors
    /// If the bank is empty or not whole, or `n_neighbors` is 0.
    pub fn new(dims: usize, bank: Vec<f32>, n_neighbors: usize) -> Result<Self, String> {
        if !(1..=DIMS_MAX).contains(&dims) || bank.is_empty() || !bank.len().is_multiple_of(dims) {
            return Err(format!("the memory bank holds {} values of {dims} dims", bank.len()));
        }
        if bank.len() / dims >= u32::MAX as usize {
            return Err(format!("the memory bank holds {} vectors", bank.len() / dims));
        }
        if n_neighbors == 0 {
            return Err("PatchCore weights by 0 neighbours\n  hint: give 9, or 1 for no weighting".to_owned());
        }
        let bank = Bank::new(dims, bank);
        let supports = (0..bank.rows()).map(|_| OnceLock::new()).collect();
        Ok(Self {
            bank,
            n_neighbors,
            supports,
        })
    }

    /// Dimensions of the embeddings it scores.
    pub fn dims(&self) -> usize {
        self.bank.dims()
    }

    /// Vectors in the memory bank.
    pub fn bank_rows(&self) -> usize {
        self.bank.rows()
    }

    /// Distance and weight of every patch; any grid.
    ///
    /// The weight is that of eq. 7 as anomalib computes it: with m* the patch's nearest bank vector, `1 −` the softmax over
    /// the distances from the patch to the `n_neighbors` nearest bank vectors of m*, at m* itself. It is 1 where there is
    /// only one such vector: the formula's 0 would pass everything.
    ///
    /// # Errors
    /// If the embedding has other dimensions.
    pub fn score(&self, embedding: &FeatureMap) -> Result<PatchScores, String> {
        check_dims(embedding, self.dims())?;
        let nearest = self.bank.nearest(&embedding.data);
        self.find_supports(&nearest);
        let mut weights = vec![0.0; nearest.len()];
        let all = weights.as_mut_slice();
        share(
            |threads| {
                let of_part = nearest.len().div_ceil(threads).max(PATCHES_PER_PART_MIN);
                let patches = embedding.data.chunks(of_part * self.dims());
                patches
                    .zip(nearest.chunks(of_part))
                    .zip(all.chunks_mut(of_part))
                    .collect()
            },
            |((patches, nearest), weights)| self.weigh(patches, nearest, weights),
        );
        Ok(PatchScores {
            height: embedding.height,
            width: embedding.width,
            distances: nearest.iter().map(|nearest| nearest.squared_distance.sqrt()).collect(),
            weights: Some(weights),
            nearest: Some(nearest.iter().map(|nearest| nearest.index).collect()),
        })
    }

    /// The weights of some patches, whose nearest vectors' supports are known.
    fn weigh(&self, patches: &[f32], nearest: &[Neighbour], weights: &mut [f32]) {
        let patches = patches.chunks_exact(self.dims()).zip(nearest);
        for (own, (patch, nearest)) in weights.iter_mut().zip(patches) {
            let support = self.supports[nearest.index as usize].get();
            let support = support.map_or(&[][..], |support| support).iter();
            *own = weight(support.map(|row| distance_to(patch, self.bank.row(*row as usize))));
        }
    }

    /// Finds the supports of these bank vectors, where they are not known yet. Without weighting there are none.
    fn find_supports(&self, nearest: &[Neighbour]) {
        let n_support = self.n_neighbors.min(self.bank.rows());
        if n_support == 1 {
            return;
        }
        let mut unknown: Vec<u32> = nearest.iter().map(|nearest| nearest.index).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown.retain(|index| self.supports[*index as usize].get().is_none());
        for indices in unknown.chunks(SUPPORTS_PER_SEARCH) {
            let vectors: Vec<f32> = indices
                .iter()
                .flat_map(|index| self.bank.row(*index as usize))
                .copied()
                .collect();
            let found = self.bank.k_nearest(&vectors, n_support);
            for (index, found) in indices.iter().zip(found.chunks_exact(n_support)) {
                // Another thread may have been faster; it found the same.
                self.supports[*index as usize].get_or_init(|| found.iter().map(|found| found.index).collect());
            }
        }
    }

    /// `memory_bank` (n, dims).
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let bank = Tensor::f32(&[self.bank.rows(), self.dims()], self.bank.vectors().to_vec());
        BTreeMap::from([("memory_bank".to_owned(), bank)])
    }

    /// The reverse of [`Patchcore::tensors`].
    ///
    /// # Errors
    /// If the tensor is missing, or its shape or a value is impossible.
    pub fn from_tensors(n_neighbors: usize, tensors: &BTreeMap<String, Tensor>) -> Result<Self, String> {
        let ([_, dims], bank) = finite_f32(tensors, "memory_bank")?;
        Self::new(dims, bank.to_vec(), n_neighbors)
    }
}

fn distance_to(patch: &[f32], vector: &[f32]) -> f64 {
    f64::from(squared_distance(patch, vector)).sqrt()
}

/// One minus the softmax over `distances` at the first of them; 1 if there are fewer than two.
fn weight(distances: impl Iterator<Item = f64> + Clone) -> f32 {
    let max = distances.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = distances.clone().map(|distance| (distance - max).exp()).sum();
    match distances.clone().next() {
        // Distances that overflowed to infinity say nothing about density.
        Some(first) if sum.is_finite() && distances.count() > 1 => (1.0 - (first - max).exp() / sum) as f32,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::scorer_testing::{assert_close, feature_map, values};

    /// Eq. 7 written out, over all pairs.
    fn naive(bank: &[f32], dims: usize, b: usize, patch: &[f32]) -> (f32, f32) {
        let distance = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                .sum::<f64>()
                .sqrt()
        };
        let rows: Vec<&[f32]> = bank.chunks_exact(dims).collect();
        let by_distance = |from: &[f32]| {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by(|x, y| distance(from, rows[*x]).total_cmp(&distance(from, rows[*y])));
            order
        };
        let nearest = by_distance(patch)[0];
        let support = &by_distance(rows[nearest])[..b.min(rows.len())];
        let exponentials: Vec<f64> = support.iter().map(|row| distance(patch, rows[*row]).exp()).collect();
        let weight = 1.0 - distance(patch, rows[nearest]).exp() / exponentials.iter().sum::<f64>();
        (
            distance(patch, rows[nearest]) as f32,
            if support.len() == 1 { 1.0 } else { weight as f32 },
        )
    }

    #[test]
    fn scores_match_equation_7() {
        let dims = 6;
        let bank = values(50 * dims, 1);
        let embedding = feature_map(5, 4, dims, 2);
        for (rows, b) in [(50, 9), (50, 2), (50, 1), (4, 9), (1, 9)] {
            let bank = &bank[..rows * dims];
            let scores = Patchcore::new(dims, bank.to_vec(), b)
                .unwrap()
                .score(&embedding)
                .unwrap();
            let expected: Vec<(f32, f32)> = embedding
                .data
                .chunks_exact(dims)
                .map(|patch| naive(bank, dims, b, patch))
                .collect();
            assert_eq!((scores.height, scores.width), (5, 4));
            let nearest = scores.nearest.unwrap();
            for (patch, (row, distance)) in embedding
                .data
                .chunks_exact(dims)
                .zip(nearest.iter().zip(&scores.distances))
            {
                let to_row = distance_to(patch, &bank[*row as usize * dims..][..dims]);
                assert_close(&[to_row as f32], &[*distance], 1e-5);
            }
            assert_close(
                &scores.distances,
                &expected.iter().map(|e| e.0).collect::<Vec<_>>(),
                1e-5,
            );
            assert_close(
                &scores.weights.unwrap(),
                &expected.iter().map(|e| e.1).collect::<Vec<_>>(),
                1e-5,
            );
        }
    }

    #[test]
    fn scores_do_not_depend_on_what_was_scored_before() {
        let bank = values(300 * 8, 1);
        let embedding = feature_map(7, 7, 8, 2);
        let fresh = Patchcore::new(8, bank.clone(), 9).unwrap().score(&embedding).unwrap();
        let used = Patchcore::new(8, bank, 9).unwrap();
        used.score(&feature_map(9, 9, 8, 3)).unwrap();
        assert_eq!(used.score(&embedding).unwrap(), fresh);
    }

    #[test]
    fn far_patches_get_finite_weights() {
        let far = FeatureMap::new(1, 2, 2, vec![1e6, -1e6, 3e38, 3e38]);
        let scores = Patchcore::new(2, values(40, 1), 9).unwrap().score(&far).unwrap();
        assert!(
            scores
                .weights
                .unwrap()
                .iter()
                .all(|weight| (0.0..=1.0).contains(weight))
        );
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn scores_match_torch() {
        const DISTANCES: [f32; 6] = [0.7351302, 1.102626, 0.4404491, 0.9763049, 0.8203265, 0.8827028];
        const WEIGHTS: [f32; 6] = [0.8816956, 0.8789495, 0.8960165, 0.8639376, 0.8568005, 0.8820148];
        let scores = Patchcore::new(4, values(12 * 4, 11), 5)
            .unwrap()
            .score(&feature_map(2, 3, 4, 12))
            .unwrap();
        assert_close(&scores.distances, &DISTANCES, 1e-5);
        assert_close(&scores.weights.unwrap(), &WEIGHTS, 1e-5);
    }

    #[test]
    fn bad_banks_and_embeddings_are_refused() {
        assert!(Patchcore::new(3, vec![0.0; 7], 9).is_err());
        assert!(Patchcore::new(0, vec![], 9).is_err());
        assert!(Patchcore::new(3, vec![0.0; 6], 0).unwrap_err().contains("0 neighbours"));
        let patchcore = Patchcore::new(3, vec![0.0; 6], 9).unwrap();
        let error = patchcore.score(&feature_map(2, 2, 4, 1)).unwrap_err();
        assert!(error.contains("3-dim embeddings but the backbone yields 4"), "{error}");
    }
}
