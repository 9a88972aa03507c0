//! Scores embeddings.

use timely::dataflow::StreamVec;

use super::{EmbeddedTile, Offload, Resources, Tile};
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
    /// Replaces each embedding by its scores, at its own time, in the order in which they become ready. `score` is given the
    /// camera's name and the embedding.
    fn score(
        self,
        resources: &Resources,
        score: impl Fn(&str, &FeatureMap) -> Result<PatchScores, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, ScoredTile>;
}

impl<'scope> Score<'scope> for StreamVec<'scope, u64, EmbeddedTile> {
    fn score(
        self,
        resources: &Resources,
        score: impl Fn(&str, &FeatureMap) -> Result<PatchScores, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, ScoredTile> {
        self.offload(
            "score",
            resources,
            move |EmbeddedTile { tile, embedding }| {
                let scored = |embedding| score(&tile.frame.frame.camera, embedding);
                let scores = embedding.as_ref().map_err(Clone::clone).and_then(scored);
                ScoredTile {
                    tile: tile.clone(),
                    scores,
                }
            },
            |EmbeddedTile { tile, .. }, message| ScoredTile {
                tile: tile.clone(),
                scores: Err(format!("the scorer panicked: {message}")),
            },
        )
    }
}
