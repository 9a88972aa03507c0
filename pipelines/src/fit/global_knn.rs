//! Fits the global-feature kNN: one pooled vector per tile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::FeatureMap;
use intakt_operators::dataflow::Tile;
use intakt_operators::detector::{GlobalKnn, Scorer, ScorerRecipe, pool};
use timely::dataflow::operators::vec::Map;

use super::survey::Surveyed;
use super::training::Training;
use crate::PipelineError;

/// Fits the bank of pooled vectors on `images`.
pub(crate) fn fit(training: &Training<'_>, images: &[Surveyed]) -> Result<Scorer, PipelineError> {
    let ScorerRecipe::GlobalKnn { n_neighbors } = training.recipe.scorer else {
        unreachable!("called for the global kNN only")
    };
    // By frame and tile, so that the bank does not depend on which tile came first.
    type Vectors = Mutex<BTreeMap<(u64, usize), Vec<f32>>>;
    let vectors: Arc<Vectors> = Arc::default();
    let filling = vectors.clone();
    training.each_tile(images, move |tiles| {
        let filling = filling.clone();
        tiles.flat_map(move |(tile, embedding): (Tile, FeatureMap)| {
            let key = (tile.frame.frame.seq, tile.tile_idx);
            filling
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key, pool(&embedding));
            None
        })
    })?;
    let vectors = std::mem::take(&mut *vectors.lock().unwrap_or_else(PoisonError::into_inner));
    let dims = vectors.values().next().map_or(0, Vec::len);
    let bank = vectors.into_values().flatten().collect();
    GlobalKnn::new(dims, bank, n_neighbors)
        .map(Scorer::GlobalKnn)
        .map_err(PipelineError::Refused)
}
