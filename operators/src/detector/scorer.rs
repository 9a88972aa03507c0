//! From embeddings to scores: the four closed-form scorers behind one type.

use std::collections::BTreeMap;

use super::gaussian::Gaussian;
use super::global_knn::GlobalKnn;
use super::padim::Padim;
use super::patchcore::Patchcore;
use super::{PatchScores, ScorerRecipe, Tensor};
use crate::FeatureMap;

/// A fitted scorer.
#[derive(Debug)]
pub enum Scorer {
    /// Nearest neighbour in a memory bank.
    Patchcore(Patchcore),
    /// A Gaussian per position.
    Padim(Padim),
    /// One Gaussian for all positions.
    Gaussian(Gaussian),
    /// Nearest neighbours of the whole image.
    GlobalKnn(GlobalKnn),
}

impl Scorer {
    /// The scores of each of these embeddings, of one image or of several tiles; higher is more anomalous. They do not depend on each
    /// other.
    ///
    /// # Errors
    /// If an embedding is not of the dimensions, or not on the grid, that the scorer was fitted on.
    pub fn score(&self, embeddings: &[&FeatureMap]) -> Result<Vec<PatchScores>, String> {
        let all = embeddings.iter();
        match self {
            Scorer::Patchcore(scorer) => all.map(|embedding| scorer.score(embedding)).collect(),
            Scorer::Padim(scorer) => scorer.score(embeddings),
            Scorer::Gaussian(scorer) => all.map(|embedding| scorer.score(embedding)).collect(),
            Scorer::GlobalKnn(scorer) => all.map(|embedding| scorer.score(embedding)).collect(),
        }
    }

    /// Dimensions of the embeddings it scores.
    pub fn dims(&self) -> usize {
        match self {
            Scorer::Patchcore(scorer) => scorer.dims(),
            Scorer::Padim(scorer) => scorer.dims(),
            Scorer::Gaussian(scorer) => scorer.dims(),
            Scorer::GlobalKnn(scorer) => scorer.dims(),
        }
    }

    /// Rows of its memory bank, where it has one.
    pub fn bank_rows(&self) -> Option<usize> {
        match self {
            Scorer::Patchcore(scorer) => Some(scorer.bank_rows()),
            Scorer::GlobalKnn(scorer) => Some(scorer.bank_rows()),
            Scorer::Padim(_) | Scorer::Gaussian(_) => None,
        }
    }

    /// Height and width of the embeddings it scores, where it does not take any.
    pub fn grid(&self) -> Option<(usize, usize)> {
        match self {
            Scorer::Padim(scorer) => Some(scorer.grid()),
            Scorer::Patchcore(_) | Scorer::Gaussian(_) | Scorer::GlobalKnn(_) => None,
        }
    }

    /// Its numbers by name, for the detector file.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        match self {
            Scorer::Patchcore(scorer) => scorer.tensors(),
            Scorer::Padim(scorer) => scorer.tensors(),
            Scorer::Gaussian(scorer) => scorer.tensors(),
            Scorer::GlobalKnn(scorer) => scorer.tensors(),
        }
    }

    /// The reverse of [`Scorer::tensors`]; tensors of other names are passed over.
    ///
    /// # Errors
    /// If a tensor that the recipe needs is missing, or its shape or a value is impossible.
    pub fn from_tensors(recipe: &ScorerRecipe, tensors: &BTreeMap<String, Tensor>) -> Result<Scorer, String> {
        match recipe {
            ScorerRecipe::Patchcore { n_neighbors, .. } => {
                Patchcore::from_tensors(*n_neighbors, tensors).map(Scorer::Patchcore)
            }
            ScorerRecipe::Padim { .. } => Padim::from_tensors(tensors).map(Scorer::Padim),
            ScorerRecipe::Gaussian { .. } => Gaussian::from_tensors(tensors).map(Scorer::Gaussian),
            ScorerRecipe::GlobalKnn { n_neighbors } => {
                GlobalKnn::from_tensors(*n_neighbors, tensors).map(Scorer::GlobalKnn)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::scorer_testing::{feature_map, values};
    use crate::detector::{GaussianSums, PadimSums};

    fn scorers() -> [(ScorerRecipe, Scorer); 4] {
        let (mut padim, mut gaussian) = (PadimSums::new(3, 2, 4, 2), GaussianSums::new(4));
        for seed in 0..6 {
            padim.add(&feature_map(3, 2, 4, seed)).unwrap();
            gaussian.add(&feature_map(3, 2, 4, seed)).unwrap();
        }
        let patchcore = Patchcore::new(4, values(4 * 30, 1), 9).unwrap();
        let global_knn = GlobalKnn::new(4, values(4 * 5, 1), 2).unwrap();
        let (regularisation, seed) = (0.01, 0);
        [
            (
                ScorerRecipe::Patchcore {
                    coreset_ratio: 0.01,
                    n_neighbors: 9,
                    projection_dims: 128,
                    seed,
                },
                Scorer::Patchcore(patchcore),
            ),
            (
                ScorerRecipe::Padim { regularisation, seed },
                Scorer::Padim(padim.fit(regularisation).unwrap()),
            ),
            (
                ScorerRecipe::Gaussian { regularisation, seed },
                Scorer::Gaussian(gaussian.fit(regularisation).unwrap()),
            ),
            (
                ScorerRecipe::GlobalKnn { n_neighbors: 2 },
                Scorer::GlobalKnn(global_knn),
            ),
        ]
    }

    #[test]
    fn scorers_survive_their_tensors() {
        let embedding = feature_map(3, 2, 4, 9);
        for (recipe, scorer) in scorers() {
            let again = Scorer::from_tensors(&recipe, &scorer.tensors()).unwrap();
            assert_eq!(again.score(&[&embedding]), scorer.score(&[&embedding]));
            assert_eq!(
                (again.dims(), again.grid(), again.tensors()),
                (4, scorer.grid(), scorer.tensors())
            );
        }
    }

    #[test]
    fn missing_and_broken_tensors_are_named() {
        for (recipe, scorer) in scorers() {
            for name in scorer.tensors().keys() {
                let mut tensors = scorer.tensors();
                tensors.remove(name);
                assert_eq!(
                    Scorer::from_tensors(&recipe, &tensors).unwrap_err(),
                    format!("`{name}` is missing")
                );
                tensors.insert(name.clone(), Tensor::f32(&[1], vec![f32::NAN]));
                assert!(
                    Scorer::from_tensors(&recipe, &tensors)
                        .unwrap_err()
                        .contains(name.as_str())
                );
            }
        }
    }

    #[test]
    fn embeddings_of_other_dims_are_refused() {
        for (_, scorer) in scorers() {
            let error = scorer.score(&[&feature_map(3, 2, 5, 1)]).unwrap_err();
            assert!(error.contains("4-dim embeddings but the backbone yields 5"), "{error}");
        }
    }

    #[test]
    fn only_padim_is_bound_to_a_grid() {
        for (_, scorer) in scorers() {
            let other_grid = scorer.score(&[&feature_map(2, 3, 4, 1)]);
            assert_eq!(other_grid.is_err(), scorer.grid().is_some());
        }
    }
}
