//! Splits frames into what the network sees at once.

use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Map;

use super::{DecodedFrame, Latencies};

/// A crop of a frame, or the whole frame where it is not tiled.
#[derive(Clone, Debug)]
pub struct Tile {
    /// The frame it belongs to.
    pub frame: Arc<DecodedFrame>,
    /// Index into the tiles of the frame's layout.
    pub tile_idx: usize,
    /// Tiles of this frame that are inspected.
    pub n_tiles: usize,
}

impl Tile {
    /// The camera that its frame is of.
    pub fn camera(&self) -> &Arc<str> {
        &self.frame.frame.camera
    }
}

/// Splits frames into tiles.
pub trait Patch<'scope> {
    /// Replaces each frame by its tiles, at the frame's own time and in row-major order. Tiles that show no product are left
    /// out; a frame without any product is inspected as a whole.
    fn patch(self, latencies: &Latencies) -> StreamVec<'scope, u64, Tile>;
}

impl<'scope> Patch<'scope> for StreamVec<'scope, u64, Arc<DecodedFrame>> {
    fn patch(self, latencies: &Latencies) -> StreamVec<'scope, u64, Tile> {
        let latencies = latencies.clone();
        self.flat_map(move |frame| {
            let inspected = latencies.timed("patch", &frame.frame.camera, || inspected_tiles(&frame));
            let n_tiles = inspected.len();
            inspected.into_iter().map(move |tile_idx| Tile {
                frame: frame.clone(),
                tile_idx,
                n_tiles,
            })
        })
    }
}

fn inspected_tiles(frame: &DecodedFrame) -> Vec<usize> {
    let tiles = 0..frame.layout.tiles.len();
    let shows_product = |&idx: &usize| {
        frame
            .layout
            .map_rect_to_frame(frame.layout.tiles[idx])
            .overlaps(frame.product_px)
    };
    let inspected: Vec<usize> = tiles.clone().filter(shows_product).collect();
    if inspected.is_empty() {
        tiles.collect()
    } else {
        inspected
    }
}
