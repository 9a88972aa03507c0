//! Runs the backbone over tiles.

use std::fmt;
use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Map;

use super::{Latencies, Tile};
use crate::FeatureMap;

type EmbedTile = dyn Fn(&Tile) -> Result<FeatureMap, String> + Send + Sync;

/// A tile with the backbone that it is to be looked at by.
#[derive(Clone)]
pub struct EmbeddedTile {
    /// The tile.
    pub tile: Tile,
    embed: Arc<EmbedTile>,
    latencies: Latencies,
}

impl EmbeddedTile {
    /// One embedding per patch, `(height, width, dims)` of the first layer that is tapped.
    ///
    /// The backbone runs here, in the pool job of the stage that asks: the feature maps of a tile are megabytes, which stay
    /// in that core's cache, and the worker is woken once less per tile.
    ///
    /// # Errors
    /// The reason why the tile has none.
    pub fn embedding(&self) -> Result<FeatureMap, String> {
        self.latencies
            .timed("embed", self.tile.camera(), || (self.embed)(&self.tile))
    }
}

impl fmt::Debug for EmbeddedTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedTile")
            .field("tile", &self.tile)
            .finish_non_exhaustive()
    }
}

/// Embeds tiles.
pub trait Embed<'scope> {
    /// Gives each tile its embedding, at the tile's own time; it is computed where it is used.
    fn embed(
        self,
        latencies: &Latencies,
        embed: impl Fn(&Tile) -> Result<FeatureMap, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, EmbeddedTile>;
}

impl<'scope> Embed<'scope> for StreamVec<'scope, u64, Tile> {
    fn embed(
        self,
        latencies: &Latencies,
        embed: impl Fn(&Tile) -> Result<FeatureMap, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, EmbeddedTile> {
        let (embed, latencies): (Arc<EmbedTile>, _) = (Arc::new(embed), latencies.clone());
        self.map(move |tile| EmbeddedTile {
            tile,
            embed: embed.clone(),
            latencies: latencies.clone(),
        })
    }
}
