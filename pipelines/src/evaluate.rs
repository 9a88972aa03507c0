//! Measures a detector on labelled images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::dataflow::{FoundFrame, JudgedFrame, LatencySummary};
use intakt_operators::imaging::decode_mask;
use intakt_operators::metrics::{DatasetMetrics, EvaluatedFrame};
use intakt_operators::{Decision, Mask, Truth};
use serde::Serialize;

use crate::datasets::{Dataset, Item, Need, Split};
use crate::sinks::Sink;
use crate::sources::{file_frames, read_file};
use crate::{Detectors, PipelineError, Progress, RunOptions, inspect};

/// What a detector is worth on a dataset.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Quality.
    #[serde(flatten)]
    pub metrics: DatasetMetrics,
    /// Test images without a verdict other than unreadable; they are in no metric.
    pub unreadable: u64,
    /// Frames per second, wall time of the whole run from file to verdict.
    pub frames_per_second: f64,
    /// Per stage.
    pub latencies: Vec<LatencySummary>,
}

/// Runs the test split through the same dataflow as `inspect` and measures the verdicts against the labels and masks.
///
/// # Errors
/// The dataset has no test split, a mask is unreadable, or a sink fails.
pub fn evaluate(
    dataset: &Dataset,
    detectors: Arc<Detectors>,
    options: &RunOptions,
    mut sinks: Vec<Arc<dyn Sink>>,
    progress: &Arc<dyn Progress>,
) -> Result<Evaluation, PipelineError> {
    dataset.check(Need::Evaluate)?;
    let items: Vec<Item> = dataset.items.iter().filter(|item| item.split == Split::Test).cloned().collect();
    let files: Vec<(PathBuf, Option<u64>)> = items.iter().map(|item| (item.path.clone(), None)).collect();
    progress.begin("evaluating", items.len() as u64);
    let bench = Arc::new(Bench { items, frames: Mutex::default(), progress: progress.clone() });
    sinks.push(bench.clone());
    let report = inspect(vec![file_frames("test".into(), files)], detectors, options, sinks)?;
    progress.end();
    let frames = std::mem::take(&mut *bench.frames.lock().unwrap_or_else(PoisonError::into_inner));
    let frames: Vec<EvaluatedFrame> = frames.into_values().collect();
    Ok(Evaluation {
        metrics: DatasetMetrics::of(&frames),
        unreadable: report.total(|account| account.unreadable),
        frames_per_second: report.total(|account| account.captured) as f64 / report.seconds,
        latencies: report.latencies,
    })
}

/// Collects what the metrics need, per frame.
struct Bench {
    items: Vec<Item>,
    frames: Mutex<BTreeMap<u64, EvaluatedFrame>>,
    progress: Arc<dyn Progress>,
}

impl Sink for Bench {
    fn draws(&self) -> bool {
        true
    }

    fn draw(&self, judged: &JudgedFrame) -> Result<(), String> {
        self.progress.step();
        let Some(found) = &judged.evidence else { return Ok(()) };
        let item = &self.items[judged.verdict.seq as usize];
        let frame = evaluated(found, item, judged.verdict.decision == Decision::Reject, judged.verdict.image_score)?;
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).insert(judged.verdict.seq, frame);
        Ok(())
    }
}

fn evaluated(found: &FoundFrame, item: &Item, rejected: bool, image_score: f64) -> Result<EvaluatedFrame, String> {
    let scores = &found.scored.scores;
    // A global feature says nothing about where: its map is one value.
    let localises = scores.map.scores.windows(2).any(|pair| pair[0] != pair[1]);
    let truth_mask = truth_mask(item, &found.scored)?;
    Ok(EvaluatedFrame {
        image_score: image_score as f32,
        truth_anomalous: item.truth != Truth::Normal,
        rejected,
        map: localises.then(|| scores.map.clone()),
        truth_mask,
        predicted_mask: localises.then(|| found.findings.counted.clone()),
        frame_px_per_map_px: scores.layout.frame_px_per_map_px,
    })
}

/// The item's masks, united, on the grid of the anomaly map.
fn truth_mask(item: &Item, scored: &intakt_operators::dataflow::ScoredFrame) -> Result<Option<Mask>, String> {
    let mut united: Option<Mask> = None;
    for path in &item.masks {
        let cannot = |reason: String| format!("cannot read mask \"{}\": {reason}", path.display());
        let bytes = read_file(path).map_err(cannot)?;
        let mask = decode_mask(&bytes).map_err(|error| cannot(error.to_string()))?;
        match &mut united {
            None => united = Some(mask),
            Some(union) => union.bits.iter_mut().zip(&mask.bits).for_each(|(bit, more)| *bit |= more),
        }
    }
    Ok(united.map(|mask| scored.frame.layout.mask_to_map(&mask)))
}
