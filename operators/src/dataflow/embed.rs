//! Runs the backbone over tiles.

use timely::dataflow::StreamVec;

use super::{Offload, Resources, Tile};
use crate::FeatureMap;

/// A tile with one embedding per patch, or the reason why it has none.
#[derive(Debug)]
pub struct EmbeddedTile {
    /// The tile.
    pub tile: Tile,
    /// `(height, width, dims)` of the first layer that is tapped.
    pub embedding: Result<FeatureMap, String>,
}

/// Embeds tiles.
pub trait Embed<'scope> {
    /// Replaces each tile by its embedding, at the tile's own time, in the order in which they become ready.
    fn embed(
        self,
        resources: &Resources,
        embed: impl Fn(&Tile) -> Result<FeatureMap, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, EmbeddedTile>;
}

impl<'scope> Embed<'scope> for StreamVec<'scope, u64, Tile> {
    fn embed(
        self,
        resources: &Resources,
        embed: impl Fn(&Tile) -> Result<FeatureMap, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, EmbeddedTile> {
        self.offload(
            "embed",
            resources,
            move |tile| EmbeddedTile {
                tile: tile.clone(),
                embedding: embed(tile),
            },
            |tile, message| EmbeddedTile {
                tile: tile.clone(),
                embedding: Err(format!("the backbone panicked: {message}")),
            },
        )
    }
}
