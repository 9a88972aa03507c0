//! What the fits of all scorers share: the stream of training tiles.

use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::dataflow::{Decode, DecodedFrame, Embed, EmbeddedTile, Offload, Patch, Tile};
use intakt_operators::detector::Recipe;
use intakt_operators::detector::backbone::Backbone;
use intakt_operators::{FeatureMap, RectPx};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Inspect, Probe};

use super::survey::Surveyed;
use crate::datasets::Item;
use crate::graph::embed_tile;
use crate::run::run_files;
use crate::sources::{CameraStream, file_frames};
use crate::{Camera, PipelineError, Progress, RunOptions};

/// What a fit works with.
pub(crate) struct Training<'a> {
    pub(crate) recipe: Arc<Recipe>,
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) options: &'a RunOptions,
    pub(crate) progress: &'a Arc<dyn Progress>,
}

/// The first problem that any thread of a fit met.
#[derive(Clone, Default)]
pub(crate) struct FirstFailure(Arc<Mutex<Option<String>>>);

impl FirstFailure {
    pub(crate) fn note(&self, reason: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason);
    }

    pub(crate) fn into_result(self) -> Result<(), PipelineError> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(reason) => Err(PipelineError::Refused(reason)),
            None => Ok(()),
        }
    }
}

/// The images, dealt out to one stream per worker; `seq` and time of a frame are its index in `items`.
pub(crate) fn streams(items: &[Item], workers: usize) -> Vec<Camera> {
    let shard = |worker: usize| {
        let camera: Arc<str> = format!("shard-{worker}").into();
        let mine: Vec<(usize, std::path::PathBuf)> = items
            .iter()
            .enumerate()
            .skip(worker)
            .step_by(workers)
            .map(|(index, item)| (index, item.path.clone()))
            .collect();
        let indices: Vec<u64> = mine.iter().map(|(index, _)| *index as u64).collect();
        let files = mine
            .into_iter()
            .map(|(index, path)| (path, Some(index as u64)))
            .collect();
        let stream = CameraStream::from(file_frames(camera, files));
        let frames = stream.frames.zip(indices).map(|(mut frame, index)| {
            frame.seq = index;
            frame
        });
        let stream = CameraStream {
            camera: stream.camera,
            frames: Box::new(frames),
        };
        stream.into()
    };
    (0..workers.min(items.len())).map(shard).collect()
}

impl Training<'_> {
    /// Embeds every tile of `images` and hands the embeddings to `consume`, which builds the rest of the dataflow on every
    /// worker and returns what its end is known by. A tile that cannot be embedded is an error of the fit.
    pub(crate) fn each_tile(
        &self,
        images: &[Surveyed],
        consume: impl for<'scope> Fn(StreamVec<'scope, u64, (Tile, FeatureMap)>) -> StreamVec<'scope, u64, ()>
        + Send
        + Sync
        + 'static,
    ) -> Result<(), PipelineError> {
        let items: Vec<Item> = images.iter().map(|image| image.item.clone()).collect();
        self.progress.begin("embedding", items.len() as u64);
        let failure = FirstFailure::default();
        let (noted, progress) = (failure.clone(), self.progress.clone());
        let (recipe, backbone, resources) = (
            self.recipe.clone(),
            self.backbone.clone(),
            self.options.resources.clone(),
        );
        let input = Arc::new(recipe.input.clone());
        run_files(
            streams(&items, self.options.workers),
            self.options,
            move |frames, closed| {
                let (recipe, backbone, input) = (recipe.clone(), backbone.clone(), input.clone());
                let (undecodable, unembeddable) = (noted.clone(), noted.clone());
                let (decoded, failed) = frames.decode(&resources, move |_, _| input.clone());
                let progress = progress.clone();
                let decoded = decoded.inspect(move |_: &Arc<DecodedFrame>| progress.step());
                let tiles = decoded
                    .patch(&resources.latencies)
                    .embed(&resources.latencies, move |tile| {
                        embed_tile(tile, backbone.as_ref(), &recipe.input, &recipe.embedding)
                    })
                    .offload(
                        "embed",
                        &resources,
                        |embedded: &EmbeddedTile| (embedded.tile.clone(), embedded.embedding()),
                        |embedded, message| (embedded.tile.clone(), Err(format!("the backbone panicked: {message}"))),
                    )
                    .flat_map(move |(tile, embedding)| {
                        let kept = embedding
                            .map_err(|reason| unembeddable.note(cannot_fit(&tile.frame.frame.origin, &reason)));
                        kept.ok().map(|embedding| (tile, embedding))
                    });
                let done = consume(tiles);
                let failed = failed.flat_map(move |failed| {
                    undecodable.note(cannot_fit(&failed.frame.origin, &failed.reason));
                    None
                });
                done.concat(failed).probe_with(&closed);
            },
        )?;
        self.progress.end();
        failure.into_result()
    }
}

fn cannot_fit(origin: &str, reason: &str) -> String {
    format!("cannot fit on \"{origin}\": {reason}")
}

/// For each patch of a tile whether its centre lies on the product.
pub(crate) fn patches_on_product(tile: &Tile, height: usize, width: usize) -> Vec<bool> {
    let layout = &tile.frame.layout;
    let rect = layout.tiles[tile.tile_idx];
    let centre = |start: u32, extent: u32, index: usize, n: usize, axis: usize| {
        let in_map = f64::from(start) + (index as f64 + 0.5) * f64::from(extent) / n as f64;
        layout.map_origin_in_frame_px[axis] + in_map * layout.frame_px_per_map_px[axis]
    };
    let inside = |at: f64, start: u32, extent: u32| at >= f64::from(start) && at < f64::from(start) + f64::from(extent);
    let RectPx {
        x,
        y,
        width: product_width,
        height: product_height,
    } = tile.frame.product_px;
    let rows = (0..height).map(|row| inside(centre(rect.y, rect.height, row, height, 1), y, product_height));
    let columns: Vec<bool> = (0..width)
        .map(|column| inside(centre(rect.x, rect.width, column, width, 0), x, product_width))
        .collect();
    rows.flat_map(|row| columns.iter().map(move |column| row && *column))
        .collect()
}
