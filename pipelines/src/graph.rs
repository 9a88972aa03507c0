//! The part of the dataflow that every pipeline shares: from frames to verdicts.

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::FeatureMap;
use intakt_operators::dataflow::{
    Admitted, Aggregate, Decode, Embed, Judge, JudgedFrame, Patch, Resources, Score, ScoredFrame, Suppress, Tile,
    UnreadableFrame,
};
use intakt_operators::detector::backbone::Backbone;
use intakt_operators::detector::{EmbeddingRecipe, InputRecipe, PatchScores, embed};
use intakt_operators::postprocess::StaticArtefacts;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Concat;

use crate::Detectors;

/// By camera: what it has seen at the same place.
pub(crate) type Remembered = BTreeMap<Arc<str>, StaticArtefacts>;

/// From frames to verdicts with what they rest on. `remembered` is what cameras have seen before.
pub(crate) fn judged<'scope>(
    frames: StreamVec<'scope, u64, Admitted>,
    resources: &Resources,
    detectors: &Arc<Detectors>,
    remembered: &Arc<Remembered>,
) -> StreamVec<'scope, u64, JudgedFrame> {
    let of = || {
        let detectors = detectors.clone();
        move |camera: &str, setup: u32| detectors.at(camera, setup)
    };
    let (input, embedder, scorer, smoothing) = (detectors.clone(), of(), of(), of());
    let (scored, unreadable) = scored(
        frames,
        resources,
        move |camera, setup| input.input_of(camera, setup),
        move |tile| {
            let detector = embedder(&tile.frame.frame.camera, tile.frame.setup);
            embed_tile(
                tile,
                detector.backbone().as_ref(),
                &detector.recipe().input,
                &detector.recipe().embedding,
            )
        },
        move |camera, setup, embeddings| scorer(camera, setup).scorer().score(embeddings),
        move |camera, setup| smoothing(camera, setup).recipe().blur_sigma_map_px(),
    );
    let remembered = remembered.clone();
    let remember = move |camera: &str| remembered.get(camera).cloned().unwrap_or_default();
    scored
        .suppress(unreadable, &resources.latencies, of(), remember)
        .judge(&resources.latencies, of())
}

/// From frames to anomaly maps. Whatever cannot be mapped leaves by the second stream.
pub(crate) fn scored<'scope>(
    frames: StreamVec<'scope, u64, Admitted>,
    resources: &Resources,
    input_of: impl Fn(&str, u32) -> Arc<InputRecipe> + Send + Sync + 'static,
    embed: impl Fn(&Tile) -> Result<FeatureMap, String> + Send + Sync + 'static,
    score: impl Fn(&str, u32, &[&FeatureMap]) -> Result<Vec<PatchScores>, String> + Send + Sync + 'static,
    sigma_of: impl Fn(&str, u32) -> f32 + Send + Sync + 'static,
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
    let mut embedded = None;
    backbone.with_feature_maps(&image, &mut |maps| embedded = Some(embed(maps, embedding)))?;
    embedded.expect("a backbone lends its maps or says why not")
}
