//! Fits the global-feature kNN: one pooled vector per tile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::FeatureMap;
use intakt_operators::dataflow::Tile;
use intakt_operators::detector::{GlobalKnn, Scorer, ScorerRecipe, pool};
use timely::dataflow::operators::vec::Map;

use super::provenance::RowSource;
use super::survey::Surveyed;
use super::training::Training;
use crate::PipelineError;

/// Fits the bank of pooled vectors on `images`, and says where its rows come from: a tile each.
pub(crate) fn fit(training: &Training<'_>, images: &[Surveyed]) -> Result<(Scorer, Vec<RowSource>), PipelineError> {
    let ScorerRecipe::GlobalKnn { n_neighbors } = training.recipe.scorer else {
        unreachable!("called for the global kNN only")
    };
    // By frame and tile, so that the bank does not depend on which tile came first.
    type Vectors = Mutex<BTreeMap<(u64, usize), (Vec<f32>, RowSource)>>;
    let vectors: Arc<Vectors> = Arc::default();
    let filling = vectors.clone();
    training.each_tile(images, move |tiles| {
        let filling = filling.clone();
        tiles.flat_map(move |(tile, embedding): (Tile, FeatureMap)| {
            let key = (tile.frame.frame.seq, tile.tile_idx);
            let source = RowSource {
                image_idx: tile.frame.frame.seq as usize,
                rect_px: tile.frame.layout.patch_rect_to_frame(tile.tile_idx, [1, 1], 0),
            };
            filling
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key, (pool(&embedding), source));
            None
        })
    })?;
    let vectors = std::mem::take(&mut *vectors.lock().unwrap_or_else(PoisonError::into_inner));
    let (vectors, sources): (Vec<_>, Vec<_>) = vectors.into_values().unzip();
    let dims = vectors.first().map_or(0, Vec::len);
    let scorer = GlobalKnn::new(dims, vectors.concat(), n_neighbors).map_err(PipelineError::Refused)?;
    Ok((Scorer::GlobalKnn(scorer), sources))
}
