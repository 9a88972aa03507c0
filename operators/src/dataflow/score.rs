//! Scores embeddings.

use timely::dataflow::StreamVec;

use super::offload::{OnPool, answered};
use super::{EmbeddedTile, Resources, Tile};
use crate::FeatureMap;
use crate::detector::PatchScores;

/// A tile with one score per patch, or the reason why it has none.
#[derive(Clone, Debug)]
pub struct ScoredTile {
    /// The tile.
    pub tile: Tile,
    /// Its scores.
    pub scores: Result<PatchScores, String>,
}

/// Scores tiles.
pub trait Score<'scope> {
    /// Replaces each tile by its scores, at its own time, in the order in which they become ready: one pool job embeds and
    /// scores it. `score` is given the camera's name, which of its detectors looks, and the embedding.
    fn score(
        self,
        resources: &Resources,
        score: impl Fn(&str, u32, &FeatureMap) -> Result<PatchScores, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, ScoredTile>;
}

impl<'scope> Score<'scope> for StreamVec<'scope, u64, EmbeddedTile> {
    fn score(
        self,
        resources: &Resources,
        score: impl Fn(&str, u32, &FeatureMap) -> Result<PatchScores, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, ScoredTile> {
        let latencies = resources.latencies.clone();
        let scores = move |embedded: &EmbeddedTile| {
            let embedding = embedded.embedding()?;
            let camera = embedded.tile.camera();
            latencies.timed("score", camera, || score(camera, embedded.tile.frame.setup, &embedding))
        };
        let on_panic = |_: &EmbeddedTile, message| Err(format!("the backbone or the scorer panicked: {message}"));
        self.on_pool("score", &resources.pool, move |embedded: &EmbeddedTile| ScoredTile {
            tile: embedded.tile.clone(),
            scores: answered(embedded, &scores, on_panic),
        })
    }
}
