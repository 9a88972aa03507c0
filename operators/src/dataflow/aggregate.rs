//! Puts the tiles of a frame together again.

use std::collections::BTreeMap;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::core::{Concat, OkErr};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use super::{DecodedFrame, Offload, Resources, ScoredTile, UnreadableFrame};
use crate::detector::PatchScores;
use crate::postprocess::{FrameScores, TileRows, stitch};

/// A frame with its anomaly map.
#[derive(Clone, Debug)]
pub struct ScoredFrame {
    /// The frame.
    pub frame: Arc<DecodedFrame>,
    /// Its map and patch scores.
    pub scores: Arc<FrameScores>,
}

/// All tiles of one frame.
struct Complete {
    frame: Arc<DecodedFrame>,
    tiles: Result<Vec<(usize, PatchScores)>, String>,
}

/// Stitches tiles.
pub trait Aggregate<'scope>: Sized {
    /// Replaces the tiles of a frame by the frame's anomaly map, at the frame's time, when its last tile is in. A frame with
    /// a tile that failed leaves by the second stream. `sigma_of` gives a camera's smoothing in map pixels. Large maps, and
    /// those of several tiles, are stitched on the pool.
    ///
    /// This comes before suppression, unlike in the first sketch of the graph: a region that spans two tiles has one area
    /// and one peak only after stitching.
    fn aggregate(
        self,
        resources: &Resources,
        sigma_of: impl Fn(&str, u32) -> f32 + Send + Sync + 'static,
    ) -> (
        StreamVec<'scope, u64, ScoredFrame>,
        StreamVec<'scope, u64, UnreadableFrame>,
    );
}

impl<'scope> Aggregate<'scope> for StreamVec<'scope, u64, ScoredTile> {
    fn aggregate(
        self,
        resources: &Resources,
        sigma_of: impl Fn(&str, u32) -> f32 + Send + Sync + 'static,
    ) -> (
        StreamVec<'scope, u64, ScoredFrame>,
        StreamVec<'scope, u64, UnreadableFrame>,
    ) {
        let latencies = resources.latencies.clone();
        let stitch_tiles = Arc::new(move |complete: &Complete| {
            let frame = &complete.frame;
            let tiles = complete.tiles.as_ref().map_err(String::clone);
            let camera = &frame.frame.camera;
            let stitched = tiles.and_then(|tiles| {
                latencies.timed("aggregate", camera, || {
                    scored_frame(frame, tiles, sigma_of(camera, frame.setup))
                })
            });
            stitched.map_err(|reason| unreadable(frame, reason))
        });
        let on_panic =
            |complete: &Complete, message| Err(unreadable(&complete.frame, format!("stitching panicked: {message}")));
        let (quick, others) = self.complete().ok_err(|complete| match complete.is_quick() {
            true => Ok(complete),
            false => Err(complete),
        });
        let stitch_here = stitch_tiles.clone();
        quick
            .map(move |complete| stitch_here(&complete))
            .concat(others.offload("aggregate", resources, move |complete| stitch_tiles(complete), on_panic))
            .ok_err(|result| result)
    }
}

/// Pixels of a map that is as soon made as a thread of the pool is woken for it, and the worker afterwards: some tenths of a millisecond.
const QUICK_MAP_PIXELS_MAX: usize = 256 * 256;

impl Complete {
    /// Whether the worker itself stitches it.
    fn is_quick(&self) -> bool {
        let layout = &self.frame.layout;
        let is_small = layout.map_width * layout.map_height <= QUICK_MAP_PIXELS_MAX;
        self.tiles.as_ref().map_or(true, |tiles| tiles.len() == 1 && is_small)
    }
}

fn scored_frame(
    frame: &Arc<DecodedFrame>,
    tiles: &[(usize, PatchScores)],
    sigma_map_px: f32,
) -> Result<ScoredFrame, String> {
    let (map, patches) = stitch(&frame.layout, tiles, sigma_map_px)?;
    Ok(ScoredFrame {
        frame: frame.clone(),
        scores: Arc::new(FrameScores {
            layout: frame.layout.clone(),
            product_px: frame.product_px,
            map,
            patches,
            nearest: TileRows::of(tiles),
        }),
    })
}

fn unreadable(frame: &DecodedFrame, reason: String) -> UnreadableFrame {
    UnreadableFrame {
        frame: (&frame.frame).into(),
        ordinal: frame.ordinal,
        setup: frame.setup,
        reason,
        admitted_at: frame.admitted_at,
    }
}

trait CompleteFrames<'scope> {
    /// Holds tiles until the last of their frame is in.
    fn complete(self) -> StreamVec<'scope, u64, Complete>;
}

impl<'scope> CompleteFrames<'scope> for StreamVec<'scope, u64, ScoredTile> {
    fn complete(self) -> StreamVec<'scope, u64, Complete> {
        type Open = BTreeMap<(Arc<str>, u64), (Capability<u64>, Vec<ScoredTile>)>;
        self.unary::<CapacityContainerBuilder<Vec<Complete>>, _, _, _>(Pipeline, "Complete", |_, _| {
            let mut open: Open = BTreeMap::new();
            move |input, output| {
                input.for_each(|time, tiles| {
                    let Some(capability) = time.retain_least(0) else { return };
                    for tile in tiles.drain(..) {
                        let frame = tile.tile.frame.clone();
                        let key = (frame.frame.camera.clone(), frame.frame.seq);
                        let (_, tiles) = open
                            .entry(key.clone())
                            .or_insert_with(|| (capability.clone(), Vec::new()));
                        let n_tiles = tile.tile.n_tiles;
                        tiles.push(tile);
                        if tiles.len() == n_tiles {
                            let (capability, tiles) = open.remove(&key).expect("it was just added to");
                            output.session(&capability).give(Complete {
                                frame,
                                tiles: in_row_major_order(tiles),
                            });
                        }
                    }
                });
            }
        })
    }
}

/// Tiles arrive in the order in which the pool ended them; what is made of them must not depend on it.
fn in_row_major_order(mut tiles: Vec<ScoredTile>) -> Result<Vec<(usize, PatchScores)>, String> {
    tiles.sort_by_key(|tile| tile.tile.tile_idx);
    tiles
        .into_iter()
        .map(|tile| Ok((tile.tile.tile_idx, tile.scores?)))
        .collect()
}
