//! Scores held-out frames and chooses the threshold from them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::Truth;
use intakt_operators::dataflow::{Offload, ScoredFrame};
use intakt_operators::detector::{
    Calibration, CalibrationMethod, FrameStatistics, Recipe, Scorer, calibrate as choose_threshold,
};
use intakt_operators::postprocess::{InspectedArea, frame_statistics};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Inspect, Probe};

use super::survey::Surveyed;
use super::training::{FirstFailure, Training, streams};
use crate::PipelineError;
use crate::datasets::Item;
use crate::graph::{embed_tile, scored};
use crate::run::run_files;

/// Scores `held_out` with `scorer`, through the same graph as `inspect`, and calibrates.
pub(crate) fn calibrate(
    training: &Training<'_>,
    scorer: Scorer,
    held_out: &[Surveyed],
    method: CalibrationMethod,
) -> Result<(Arc<Scorer>, Calibration), PipelineError> {
    let scorer = Arc::new(scorer);
    let statistics = statistics(training, &scorer, held_out)?;
    let calibration =
        choose_threshold(&statistics, method, training.recipe.image_score).map_err(PipelineError::Refused)?;
    Ok((scorer, calibration))
}

fn statistics(
    training: &Training<'_>,
    scorer: &Arc<Scorer>,
    held_out: &[Surveyed],
) -> Result<Vec<FrameStatistics>, PipelineError> {
    let items: Vec<Item> = held_out.iter().map(|image| image.item.clone()).collect();
    let truths: Arc<[Truth]> = items.iter().map(|item| item.truth.clone()).collect();
    training.progress.begin("calibrating", items.len() as u64);
    let collected = Arc::new(Mutex::new(BTreeMap::new()));
    let failure = FirstFailure::default();
    let (slots, noted, progress) = (collected.clone(), failure.clone(), training.progress.clone());
    let (recipe, backbone, scorer) = (training.recipe.clone(), training.backbone.clone(), scorer.clone());
    let resources = training.options.resources.clone();
    let input = Arc::new(recipe.input.clone());
    run_files(
        streams(&items, training.options.workers),
        training.options,
        move |frames, closed| {
            let (input, backbone, scorer) = (input.clone(), backbone.clone(), scorer.clone());
            let (embedding, sigma, rules): (_, _, Arc<Recipe>) =
                (recipe.clone(), recipe.blur_sigma_map_px(), recipe.clone());
            let (scored, failed) = scored(
                frames,
                &resources,
                move |_, _| input.clone(),
                move |tile| embed_tile(tile, backbone.as_ref(), &embedding.input, &embedding.embedding),
                move |_, _, embeddings| scorer.score(embeddings),
                move |_, _| sigma,
            );
            let (noted, slots, progress, truths) = (noted.clone(), slots.clone(), progress.clone(), truths.clone());
            let measured = scored
                .offload(
                    "calibrate",
                    &resources,
                    move |ScoredFrame { frame, scores }| {
                        let truth = truths[frame.frame.seq as usize].clone();
                        let area = InspectedArea::new(&scores.layout, scores.product_px, &rules.suppression);
                        if !area.mask.bits.contains(&true) {
                            return (
                                frame.frame.seq,
                                Err(format!("{}: nothing of the frame is inspected", frame.frame.origin)),
                            );
                        }
                        (frame.frame.seq, Ok(frame_statistics(scores, &rules, truth)))
                    },
                    |scored, message| (scored.frame.frame.seq, Err(message)),
                )
                .concat(failed.map(|failed| {
                    (
                        failed.frame.seq,
                        Err(format!("{}: {}", failed.frame.origin, failed.reason)),
                    )
                }));
            measured
                .inspect(move |(seq, statistics): &(u64, Result<FrameStatistics, String>)| {
                    progress.step();
                    match statistics {
                        Ok(statistics) => {
                            slots
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .insert(*seq, statistics.clone());
                        }
                        Err(reason) => noted.note(format!("cannot calibrate: {reason}")),
                    }
                })
                .probe_with(&closed);
        },
    )?;
    training.progress.end();
    failure.into_result()?;
    let collected = std::mem::take(&mut *collected.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(collected.into_values().collect())
}
