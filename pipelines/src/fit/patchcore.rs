//! Fits PatchCore: collects the normal patches on the workers, chooses the coreset among them.

use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::dataflow::{CoresetPick, Tile, k_center};
use intakt_operators::detector::coreset::{CoresetShard, Farthest, Projection, first_pick};
use intakt_operators::detector::{Patchcore, Scorer, ScorerRecipe};
use intakt_operators::{FeatureMap, RectPx};
use timely::dataflow::operators::Inspect;
use timely::dataflow::operators::vec::Map;

use super::provenance::RowSource;
use super::survey::Surveyed;
use super::training::{FirstFailure, Training, patches_on_product};
use crate::PipelineError;

/// The patches of the frames that one worker embedded.
#[derive(Default)]
struct Shard {
    /// Row numbers, in the order in which the tiles came.
    row_ids: Vec<u64>,
    /// Their embeddings, one after the other.
    embeddings: Vec<f32>,
    /// Their projections, one after the other.
    projected: Vec<f32>,
    /// Where they lie in their frames.
    rects_px: Vec<RectPx>,
}

impl Shard {
    /// Adds the patches of a tile that lie on the product.
    fn add(&mut self, tile: &Tile, embedding: &FeatureMap, projection: &Projection) -> Result<(), String> {
        let projected = projection.project(embedding)?;
        let kept = patches_on_product(tile, embedding.height, embedding.width);
        for (patch_idx, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            let row = |dims: usize| patch_idx * dims..(patch_idx + 1) * dims;
            self.row_ids.push(row_id(tile, patch_idx));
            let grid = [embedding.height, embedding.width];
            let rect_px = tile.frame.layout.patch_rect_to_frame(tile.tile_idx, grid, patch_idx);
            self.rects_px.push(rect_px);
            self.embeddings.extend_from_slice(&embedding.data[row(embedding.dims)]);
            self.projected
                .extend_from_slice(&projected[row(projection.projected_dims())]);
        }
        Ok(())
    }
}

/// Patches per tile and tiles per frame that row numbers have room for.
const PATCHES_MAX: u64 = 1 << 20;
const TILES_MAX: u64 = 1 << 20;

/// A patch's number: unique, and in the order of frame, tile and position whatever the worker that embedded it.
fn row_id(tile: &Tile, patch_idx: usize) -> u64 {
    let (tile_idx, patch_idx) = (tile.tile_idx as u64, patch_idx as u64);
    assert!(
        tile_idx < TILES_MAX && patch_idx < PATCHES_MAX,
        "layouts are bounded far below this"
    );
    (tile.frame.frame.seq * TILES_MAX + tile_idx) * PATCHES_MAX + patch_idx
}

/// The index of the image that a row comes from.
fn image_of(row_id: u64) -> usize {
    (row_id / PATCHES_MAX / TILES_MAX) as usize
}

/// Fits PatchCore on `images`, and says where the rows of its bank come from.
pub(crate) fn fit(training: &Training<'_>, images: &[Surveyed]) -> Result<(Scorer, Vec<RowSource>), PipelineError> {
    let ScorerRecipe::Patchcore {
        coreset_ratio,
        n_neighbors,
        projection_dims,
        seed,
    } = training.recipe.scorer
    else {
        unreachable!("called for PatchCore only")
    };
    let shards = collect(training, images, projection_dims, seed)?;
    let total: usize = shards.iter().map(|shard| shard.row_ids.len()).sum();
    if total == 0 {
        return Err(PipelineError::Refused(
            "cannot fit: no patch of the training images shows the product".to_owned(),
        ));
    }
    let size = ((total as f64 * coreset_ratio).round() as usize).clamp(1, total);
    let dims = shards
        .iter()
        .find_map(|shard| shard.embeddings.len().checked_div(shard.row_ids.len()))
        .unwrap_or(0);
    let picks = choose(training, &shards, size, seed)?;
    let (bank, sources) = gather(&shards, &picks, dims);
    let scorer = Patchcore::new(dims, bank, n_neighbors).map_err(PipelineError::Refused)?;
    Ok((Scorer::Patchcore(scorer), sources))
}

/// The patches of all training images, by the worker that embedded them.
fn collect(
    training: &Training<'_>,
    images: &[Surveyed],
    projection_dims: usize,
    seed: u64,
) -> Result<Arc<Vec<Shard>>, PipelineError> {
    let shards: Arc<Vec<Mutex<Shard>>> = Arc::new((0..training.options.workers).map(|_| Mutex::default()).collect());
    let (filling, failure) = (shards.clone(), FirstFailure::default());
    let noted = failure.clone();
    training.each_tile(images, move |tiles| {
        let (worker, filling) = (tiles.scope().index(), filling.clone());
        let mut projection: Option<Projection> = None;
        let noted = noted.clone();
        tiles.flat_map(move |(tile, embedding): (Tile, FeatureMap)| {
            let shard = &mut *filling[worker].lock().unwrap_or_else(PoisonError::into_inner);
            let added = match &mut projection {
                Some(projection) => shard.add(&tile, &embedding, projection),
                none => Projection::new(embedding.dims, projection_dims, seed)
                    .and_then(|projection| shard.add(&tile, &embedding, none.insert(projection))),
            };
            added.unwrap_or_else(|reason| noted.note(format!("cannot fit: {reason}")));
            None
        })
    })?;
    failure.into_result()?;
    let take = |shard: &Mutex<Shard>| std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Arc::new(shards.iter().map(take).collect()))
}

/// The rows of the coreset, in the order in which they were picked.
fn choose(
    training: &Training<'_>,
    shards: &Arc<Vec<Shard>>,
    size: usize,
    seed: u64,
) -> Result<Vec<CoresetPick>, PipelineError> {
    training.progress.begin("choosing the coreset", size as u64);
    let mut row_ids: Vec<u64> = shards.iter().flat_map(|shard| shard.row_ids.iter().copied()).collect();
    row_ids.sort_unstable();
    let first_id = row_ids[first_pick(row_ids.len() as u64, seed) as usize];
    let picks = Arc::new(Mutex::new(Vec::with_capacity(size)));
    let (picked, shards, progress) = (picks.clone(), shards.clone(), training.progress.clone());
    let guards = timely::execute(timely::Config::process(training.options.workers), move |worker| {
        let index = worker.index();
        let first = (index == 0).then(|| farthest(&shards, first_id));
        let (picked, progress) = (picked.clone(), progress.clone());
        worker.dataflow::<u64, _, _>(|scope| {
            k_center(scope, coreset_shard(&shards[index]), first, size as u64).inspect(move |pick| {
                if index == 0 {
                    progress.step();
                    picked.lock().unwrap_or_else(PoisonError::into_inner).push(*pick);
                }
            });
        });
    })
    .map_err(PipelineError::Refused)?;
    for outcome in guards.join() {
        outcome.map_err(PipelineError::Stopped)?;
    }
    training.progress.end();
    let picks = std::mem::take(&mut *picks.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(picks)
}

fn coreset_shard(shard: &Shard) -> CoresetShard {
    let projected_dims = shard.projected.len().checked_div(shard.row_ids.len()).unwrap_or(1);
    let mut coreset = CoresetShard::new(projected_dims);
    for (row_id, projected) in shard.row_ids.iter().zip(shard.projected.chunks_exact(projected_dims)) {
        coreset.push(*row_id, projected);
    }
    coreset
}

fn farthest(shards: &[Shard], row_id: u64) -> Farthest {
    let (shard, row) = locate(shards, row_id);
    let dims = shard.projected.len() / shard.row_ids.len();
    Farthest {
        squared_distance: f32::INFINITY,
        row_id,
        vector: shard.projected[row * dims..(row + 1) * dims].to_vec(),
    }
}

fn locate(shards: &[Shard], row_id: u64) -> (&Shard, usize) {
    let found = shards.iter().find_map(|shard| {
        shard
            .row_ids
            .iter()
            .position(|id| *id == row_id)
            .map(|row| (shard, row))
    });
    found.expect("a picked row lies in some shard")
}

/// The bank, and where its rows come from.
fn gather(shards: &[Shard], picks: &[CoresetPick], dims: usize) -> (Vec<f32>, Vec<RowSource>) {
    let index: std::collections::BTreeMap<u64, (usize, usize)> = shards
        .iter()
        .enumerate()
        .flat_map(|(shard, rows)| {
            rows.row_ids
                .iter()
                .enumerate()
                .map(move |(row, id)| (*id, (shard, row)))
        })
        .collect();
    let mut bank = Vec::with_capacity(picks.len() * dims);
    let mut sources = Vec::with_capacity(picks.len());
    for CoresetPick { row_id, .. } in picks {
        let (shard, row) = index[row_id];
        bank.extend_from_slice(&shards[shard].embeddings[row * dims..(row + 1) * dims]);
        sources.push(RowSource {
            image_idx: image_of(*row_id),
            rect_px: shards[shard].rects_px[row],
        });
    }
    (bank, sources)
}
