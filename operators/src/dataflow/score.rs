//! Scores embeddings.

use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

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
    /// scores it, with others of its frame where that has more tiles than there are threads. `score` is given the camera's name, which of
    /// its detectors looks, and the embeddings, and gives as many scores.
    fn score(
        self,
        resources: &Resources,
        score: impl Fn(&str, u32, &[&FeatureMap]) -> Result<Vec<PatchScores>, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, ScoredTile>;
}

/// Tiles that are scored together at most: a Gaussian's factor is then read once for all of them. Each has an embedding of some megabytes
/// meanwhile.
const TILES_TOGETHER_MAX: usize = 4;

impl<'scope> Score<'scope> for StreamVec<'scope, u64, EmbeddedTile> {
    fn score(
        self,
        resources: &Resources,
        score: impl Fn(&str, u32, &[&FeatureMap]) -> Result<Vec<PatchScores>, String> + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, ScoredTile> {
        let latencies = resources.latencies.clone();
        // Each tile is answered by itself, so that what is said of one does not depend on which others are scored with it.
        let scored = move |tiles: &Vec<EmbeddedTile>| {
            let panicked = |message| format!("the backbone or the scorer panicked: {message}");
            let embed = |embedded: &EmbeddedTile| {
                answered(embedded, EmbeddedTile::embedding, |_, message| Err(panicked(message)))
            };
            let embeddings: Vec<_> = tiles.iter().map(embed).collect();
            let whole: Vec<&FeatureMap> = embeddings.iter().flatten().collect();
            let (camera, setup) = (tiles[0].tile.camera(), tiles[0].tile.frame.setup);
            let score_all = |whole: &Vec<&FeatureMap>| latencies.timed("score", camera, || score(camera, setup, whole));
            let scores = match whole.is_empty() {
                true => Ok(vec![]),
                false => answered(&whole, score_all, |_, message| Err(panicked(message))),
            };
            let mut scores = scores.map(Vec::into_iter);
            let of_tile = |(embedded, embedding): (&EmbeddedTile, &Result<FeatureMap, String>)| ScoredTile {
                tile: embedded.tile.clone(),
                scores: embedding.as_ref().map_err(String::clone).and_then(|_| {
                    let scores = scores.as_mut().map_err(|reason| reason.clone())?;
                    scores
                        .next()
                        .ok_or_else(|| "a scorer scores every embedding".to_owned())
                }),
            };
            tiles.iter().zip(&embeddings).map(of_tile).collect::<Vec<_>>()
        };
        let threads = resources.pool.threads();
        let scored = self.together(threads).on_pool("score", &resources.pool, scored);
        scored.flat_map(|tiles| tiles)
    }
}

trait Together<'scope> {
    /// Tiles of a frame that are scored by the same job: as many as there are for each of the `threads`.
    fn together(self, threads: usize) -> StreamVec<'scope, u64, Vec<EmbeddedTile>>;
}

impl<'scope> Together<'scope> for StreamVec<'scope, u64, EmbeddedTile> {
    fn together(self, threads: usize) -> StreamVec<'scope, u64, Vec<EmbeddedTile>> {
        self.unary::<CapacityContainerBuilder<Vec<Vec<EmbeddedTile>>>, _, _, _>(Pipeline, "Together", move |_, _| {
            move |input, output| {
                input.for_each(|time, tiles| {
                    let mut session = output.session(&time);
                    let mut together: Vec<EmbeddedTile> = Vec::new();
                    for embedded in tiles.drain(..) {
                        let at_once = embedded.tile.n_tiles.div_ceil(threads).min(TILES_TOGETHER_MAX);
                        let is_of_another = together
                            .first()
                            .is_some_and(|first| !Arc::ptr_eq(&first.tile.frame, &embedded.tile.frame));
                        if is_of_another || together.len() == at_once {
                            session.give(std::mem::take(&mut together));
                        }
                        together.push(embedded);
                    }
                    if !together.is_empty() {
                        session.give(together);
                    }
                });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use timely::dataflow::operators::vec::ToStream;
    use timely::dataflow::operators::{Inspect, Probe};

    use super::*;
    use crate::dataflow::{Credit, DecodedFrame, Embed, Patch, Permit, Waker};
    use crate::detector::{InputRecipe, Tiling};
    use crate::imaging::{FrameLayout, Image};
    use crate::{Frame, RectPx};

    /// The smallest tile that there is.
    const SIDE_PX: u32 = 32;

    /// A frame of so many tiles.
    fn frame(seq: u64, tiles: u32, permit: Permit) -> Arc<DecodedFrame> {
        let width = SIDE_PX * tiles;
        let input = InputRecipe {
            size_px: SIDE_PX,
            crop_px: None,
            tiling: Some(Tiling {
                tile_px: SIDE_PX,
                overlap_px: 0,
            }),
            exclude_dark_margin: false,
            sixteen_bit_max: 255,
        };
        Arc::new(DecodedFrame {
            frame: Frame {
                camera: "a".into(),
                seq,
                captured_at_us: 0,
                origin: "".into(),
                bytes: Err("it is decoded".into()),
                recorded: None,
            },
            ordinal: seq,
            setup: 0,
            image: Arc::new(Image::new(width, SIDE_PX, vec![0; (3 * SIDE_PX * width) as usize])),
            layout: FrameLayout::new(&input, width, SIDE_PX).unwrap(),
            product_px: RectPx {
                x: 0,
                y: 0,
                width,
                height: SIDE_PX,
            },
            admitted_at: Instant::now(),
            permit: Arc::new(permit),
        })
    }

    /// Sequence number, tile, and its score or why it has none.
    type Seen = (u64, usize, Result<f32, String>);

    /// The scores of frames of 1, 9 and 40 tiles on two threads, and how many tiles were scored together.
    fn scored(
        score: impl Fn(&[&FeatureMap]) -> Result<Vec<PatchScores>, String> + Send + Sync + 'static,
    ) -> (Vec<Seen>, Vec<usize>) {
        let (seen, together) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (seeing, counting) = (seen.clone(), together.clone());
        let resources = Resources::new(2).unwrap();
        timely::execute_directly(move |worker| {
            let probe = worker.dataflow::<u64, _, _>(|scope| {
                let waker = Waker::new(scope.worker().sync_activator_for(vec![]));
                let credit = Arc::new(Credit::default());
                [1, 9, 40]
                    .map(|tiles| frame(u64::from(tiles), tiles, credit.take(&waker)))
                    .to_stream(scope)
                    .patch(&resources.latencies)
                    .embed(&resources.latencies, |tile: &Tile| {
                        let value = (100 * tile.frame.frame.seq) as f32 + tile.tile_idx as f32;
                        match tile.tile_idx {
                            5 => Err("the fifth".to_owned()),
                            _ => Ok(FeatureMap::new(1, 1, 1, vec![value])),
                        }
                    })
                    .score(&resources, move |_, _, embeddings| {
                        counting.lock().unwrap().push(embeddings.len());
                        score(embeddings)
                    })
                    .inspect(move |scored: &ScoredTile| {
                        let score = scored.scores.clone().map(|scores| scores.distances[0]);
                        let tile = &scored.tile;
                        seeing
                            .lock()
                            .unwrap()
                            .push((tile.frame.frame.seq, tile.tile_idx, score));
                    })
                    .probe()
                    .0
            });
            worker.step_or_park_while(None, || !probe.done());
        });
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_by_key(|(seq, tile, _)| (*seq, *tile));
        (seen, together.lock().unwrap().clone())
    }

    fn scores_of(embeddings: &[&FeatureMap]) -> Vec<PatchScores> {
        let scores = embeddings.iter().map(|embedding| PatchScores {
            height: 1,
            width: 1,
            distances: embedding.data.clone(),
            weights: None,
            nearest: None,
        });
        scores.collect()
    }

    fn tiles() -> impl Iterator<Item = (u64, usize)> {
        [1, 9, 40]
            .into_iter()
            .flat_map(|seq| (0..seq as usize).map(move |tile| (seq, tile)))
    }

    #[test]
    fn tiles_of_a_frame_are_scored_together_and_each_has_its_own_scores() {
        let (seen, mut together) = scored(|embeddings| Ok(scores_of(embeddings)));
        let expected = tiles().map(|(seq, tile)| match tile {
            5 => (seq, tile, Err("the fifth".to_owned())),
            _ => (seq, tile, Ok((100 * seq) as f32 + tile as f32)),
        });
        assert_eq!(seen, expected.collect::<Vec<_>>());
        together.sort_unstable();
        // Of 9 tiles 4, 4 and 1, of 40 ten times 4; one of each has no embedding.
        assert_eq!(together, [&[1, 1, 3, 3][..], &[4; 10]].concat());
    }

    #[test]
    fn no_scores_and_a_panic_are_answered_for_every_tile() {
        for panics in [false, true] {
            let (seen, _) = scored(move |_| {
                assert!(!panics, "as asked for");
                Err("no scores".to_owned())
            });
            assert_eq!(seen.len(), tiles().count());
            let expected = if panics { "panicked: as asked for" } else { "no scores" };
            for (seq, tile, score) in seen {
                let expected = if tile == 5 { "the fifth" } else { expected };
                assert!(score.unwrap_err().contains(expected), "{seq}, {tile}");
            }
        }
    }
}
