//! Fits the Gaussians from exact sums. Integers add up to the same whatever the order, so every pool thread adds its images
//! to shared blocks, and memory does not grow with the number of images.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};

use intakt_operators::FeatureMap;
use intakt_operators::dataflow::{Offload, Tile};
use intakt_operators::detector::{
    FittedBlock, GaussianSums, Padim, PadimSums, PositionBlock, Scorer, ScorerRecipe, Tensor,
};
use timely::dataflow::operators::vec::Map;

use super::survey::Surveyed;
use super::training::{FirstFailure, Training, patches_on_product};
use crate::PipelineError;

/// Blocks that the positions are dealt to per pool thread: enough that a thread finds a free one.
const BLOCKS_PER_THREAD: usize = 4;

/// Exact sums of all training images.
pub(crate) enum Sums {
    /// Per position.
    Padim(PadimSums),
    /// Over all positions.
    Gaussian(GaussianSums),
}

impl Sums {
    pub(crate) fn tensors(&self) -> BTreeMap<String, Tensor> {
        match self {
            Self::Padim(sums) => sums.tensors(),
            Self::Gaussian(sums) => sums.tensors(),
        }
    }
}

/// Adds up the embeddings of `images`.
pub(crate) fn accumulate(training: &Training<'_>, images: &[Surveyed]) -> Result<Sums, PipelineError> {
    match training.recipe.scorer {
        ScorerRecipe::Padim { .. } => {
            let blocks = add_all(training, images, |tile, embedding, blocks: &Blocks| {
                blocks.add(tile, embedding)
            })?;
            let blocks = blocks.into_blocks();
            if blocks.is_empty() {
                let nothing = "cannot fit padim: no tile shows the product alone, without its margin\n  hint: use smaller tiles, or `--detector gaussian`";
                return Err(PipelineError::Refused(nothing.to_owned()));
            }
            let sums = PadimSums::from_blocks(blocks).map_err(PipelineError::Refused)?;
            Ok(Sums::Padim(sums))
        }
        _ => {
            let heaps = add_all(training, images, |tile, embedding, heaps: &Heaps| {
                heaps.add(tile, embedding)
            })?;
            Ok(Sums::Gaussian(heaps.merged().map_err(PipelineError::Refused)?))
        }
    }
}

/// Fits the scorer from the sums, the blocks of positions side by side.
pub(crate) fn fit(training: &Training<'_>, sums: &Sums) -> Result<Scorer, PipelineError> {
    match (&training.recipe.scorer, sums) {
        (ScorerRecipe::Padim { regularisation, .. }, Sums::Padim(sums)) => {
            fit_padim(training, sums, *regularisation).map(Scorer::Padim)
        }
        (ScorerRecipe::Gaussian { regularisation, .. }, Sums::Gaussian(sums)) => {
            sums.fit(*regularisation).map(Scorer::Gaussian)
        }
        _ => unreachable!("sums are those of the recipe's scorer"),
    }
    .map_err(|reason| PipelineError::Refused(format!("cannot fit: {reason}")))
}

fn fit_padim(training: &Training<'_>, sums: &PadimSums, regularisation: f64) -> Result<Padim, String> {
    training
        .progress
        .begin("fitting the Gaussians", sums.blocks().len() as u64);
    let threads = training.options.resources.pool.threads();
    let fit_block = |block: &PositionBlock| {
        let fitted = block.fit(regularisation);
        training.progress.step();
        fitted
    };
    let mut fitted: Vec<(usize, Result<FittedBlock, String>)> = std::thread::scope(|scope| {
        let share = |thread: usize| {
            let blocks = sums.blocks().iter().enumerate().skip(thread).step_by(threads);
            let work = move || {
                blocks
                    .map(|(index, block)| (index, fit_block(block)))
                    .collect::<Vec<_>>()
            };
            scope.spawn(work)
        };
        let running: Vec<_> = (0..threads).map(share).collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("fitting does not panic"))
            .collect()
    });
    training.progress.end();
    fitted.sort_by_key(|(index, _)| *index);
    let fitted: Result<Vec<FittedBlock>, String> = fitted.into_iter().map(|(_, block)| block).collect();
    let (height, width) = sums.grid();
    Padim::from_blocks(height, width, training.recipe.backbone.precision, fitted?)
}

/// What pool threads add to together.
trait Shared: Send + Sync + 'static {
    fn new(threads: usize) -> Self;
}

fn add_all<S: Shared>(
    training: &Training<'_>,
    images: &[Surveyed],
    add: impl Fn(&Tile, &FeatureMap, &S) -> Result<(), String> + Send + Sync + Copy + 'static,
) -> Result<S, PipelineError> {
    let shared = Arc::new(S::new(training.options.resources.pool.threads()));
    let failure = FirstFailure::default();
    let (summing, noted, resources) = (shared.clone(), failure.clone(), training.options.resources.clone());
    training.each_tile(images, move |tiles| {
        let (summing, noted) = (summing.clone(), noted.clone());
        tiles
            .offload(
                "accumulate",
                &resources,
                move |(tile, embedding): &(Tile, FeatureMap)| add(tile, embedding, &summing),
                |_, message| Err(message),
            )
            .flat_map(move |added| {
                if let Err(reason) = added {
                    noted.note(format!("cannot fit: {reason}"));
                }
                None
            })
    })?;
    failure.into_result()?;
    Ok(Arc::into_inner(shared).expect("the dataflow has ended"))
}

/// PaDiM's positions in blocks, each behind a lock of its own.
struct Blocks {
    blocks: OnceLock<Vec<Mutex<PositionBlock>>>,
    n_blocks: usize,
}

impl Shared for Blocks {
    fn new(threads: usize) -> Self {
        Self {
            blocks: OnceLock::new(),
            n_blocks: threads * BLOCKS_PER_THREAD,
        }
    }
}

impl Blocks {
    fn add(&self, tile: &Tile, embedding: &FeatureMap) -> Result<(), String> {
        // Every position needs every tile, so a tile that shows part of the margin can only be left out as a whole.
        if patches_on_product(tile, embedding.height, embedding.width).contains(&false) {
            return Ok(());
        }
        let FeatureMap {
            height, width, dims, ..
        } = *embedding;
        let split = || PadimSums::new(height, width, dims, self.n_blocks).into_blocks();
        let blocks = self
            .blocks
            .get_or_init(|| split().into_iter().map(Mutex::new).collect());
        // Every image begins at another block, so that threads do not queue behind each other.
        let first = tile.frame.frame.seq as usize % blocks.len();
        let (before, after) = blocks.split_at(first);
        after
            .iter()
            .chain(before)
            .try_for_each(|block| block.lock().unwrap_or_else(PoisonError::into_inner).add(embedding))
    }

    fn into_blocks(self) -> Vec<PositionBlock> {
        let unlocked = |block: Mutex<PositionBlock>| block.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.blocks
            .into_inner()
            .unwrap_or_default()
            .into_iter()
            .map(unlocked)
            .collect()
    }
}

/// The shared Gaussian's sums, one heap per thread, added up at the end.
struct Heaps(Vec<Mutex<Option<GaussianSums>>>);

impl Shared for Heaps {
    fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }
}

impl Heaps {
    fn add(&self, tile: &Tile, embedding: &FeatureMap) -> Result<(), String> {
        let rows = on_product(tile, embedding);
        let free = self.0.iter().find_map(|heap| match heap.try_lock() {
            Ok(heap) => Some(heap),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let mut heap = free.unwrap_or_else(|| self.0[0].lock().unwrap_or_else(PoisonError::into_inner));
        heap.get_or_insert_with(|| GaussianSums::new(rows.dims)).add(&rows)
    }

    fn merged(self) -> Result<GaussianSums, String> {
        let heaps = self
            .0
            .into_iter()
            .filter_map(|heap| heap.into_inner().unwrap_or_else(PoisonError::into_inner));
        let merge = |mut all: GaussianSums, heap: GaussianSums| all.merge(&heap).map(|()| all);
        let mut heaps = heaps.into_iter();
        let first = heaps.next().ok_or("no image was added")?;
        heaps.try_fold(first, merge)
    }
}

/// The patches whose centre lies on the product, as one row.
fn on_product(tile: &Tile, embedding: &FeatureMap) -> FeatureMap {
    let kept = patches_on_product(tile, embedding.height, embedding.width);
    let vectors = embedding
        .data
        .chunks_exact(embedding.dims)
        .zip(&kept)
        .filter(|(_, kept)| **kept);
    let data: Vec<f32> = vectors.flat_map(|(vector, _)| vector.iter().copied()).collect();
    FeatureMap::new(1, data.len() / embedding.dims, embedding.dims, data)
}
