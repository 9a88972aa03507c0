//! The part of the dataflow that every pipeline shares: from frames to verdicts.

use std::sync::Arc;

use intakt_operators::FeatureMap;
use intakt_operators::dataflow::{
    Admitted, Aggregate, Decode, Embed, Judge, JudgedFrame, Patch, Resources, Score, ScoredFrame, Suppress, Tile,
    UnreadableFrame,
};
use intakt_operators::detector::backbone::Backbone;
use intakt_operators::detector::{EmbeddingRecipe, InputRecipe, PatchScores, embed};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Concat;

use crate::Detectors;

/// From frames to verdicts with what they rest on.
pub(crate) fn judged<'scope>(
    frames: StreamVec<'scope, u64, Admitted>,
    resources: &Resources,
    detectors: &Arc<Detectors>,
) -> StreamVec<'scope, u64, JudgedFrame> {
    let of = || {
        let detectors = detectors.clone();
        move |camera: &str| detectors.of(camera)
    };
    let (input, embedder, scorer, smoothing) = (detectors.clone(), of(), of(), of());
    let (scored, unreadable) = scored(
        frames,
        resources,
        move |camera| input.input_of(camera),
        move |tile| {
            let detector = embedder(&tile.frame.frame.camera);
            embed_tile(
                tile,
                detector.backbone().as_ref(),
                &detector.recipe().input,
                &detector.recipe().embedding,
            )
        },
        move |camera, embedding| scorer(camera).scorer().score(embedding),
        move |camera| smoothing(camera).recipe().blur_sigma_map_px(),
    );
    scored
        .suppress(unreadable, &resources.latencies, of())
        .judge(&resources.latencies, of())
}

/// From frames to anomaly maps. Whatever cannot be mapped leaves by the second stream.
pub(crate) fn scored<'scope>(
    frames: StreamVec<'scope, u64, Admitted>,
    resources: &Resources,
    input_of: impl Fn(&str) -> Arc<InputRecipe> + Send + Sync + 'static,
    embed: impl Fn(&Tile) -> Result<FeatureMap, String> + Send + Sync + 'static,
    score: impl Fn(&str, &FeatureMap) -> Result<PatchScores, String> + Send + Sync + 'static,
    sigma_of: impl Fn(&str) -> f32 + Send + Sync + 'static,
) -> (
    StreamVec<'scope, u64, ScoredFrame>,
    StreamVec<'scope, u64, UnreadableFrame>,
) {
    let (decoded, undecodable) = frames.decode(resources, input_of);
    let tiles = decoded
        .patch(&resources.latencies)
        .embed(&resources.latencies, embed)
        .score(resources, score);
    let (scored, unscorable) = tiles.aggregate(resources, sigma_of);
    (scored, undecodable.concat(unscorable))
}

/// The embedding of one tile.
pub(crate) fn embed_tile(
    tile: &Tile,
    backbone: &dyn Backbone,
    input: &InputRecipe,
    embedding: &EmbeddingRecipe,
) -> Result<FeatureMap, String> {
    let image = tile.frame.layout.tile_image(&tile.frame.image, tile.tile_idx, input);
    embed(&backbone.feature_maps(&image)?, embedding)
}
