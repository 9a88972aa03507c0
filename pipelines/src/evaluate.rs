//! Measures a detector on labelled images.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intakt_operators::dataflow::{FoundFrame, JudgedFrame, LatencySummary};
use intakt_operators::detector::{Scorer, SuppressionRules};
use intakt_operators::imaging::decode_mask;
use intakt_operators::metrics::{DatasetMetrics, DatasetTally, EvaluatedFrame, EvaluatedTile, TileMetrics};
use intakt_operators::postprocess::{FrameScores, InspectedArea};
use intakt_operators::{Decision, Mask, RectPx, Truth};
use serde::Serialize;

use crate::datasets::{Dataset, Item, Need, Split};
use crate::sinks::Sink;
use crate::sources::{file_frames, read_file};
use crate::{Detectors, Inspection, PipelineError, Progress, RunOptions, inspect};

/// What a detector is worth on a dataset.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Quality.
    #[serde(flatten)]
    pub metrics: DatasetMetrics,
    /// Of the tiles, where frames are tiled.
    #[serde(flatten)]
    pub tiles: Option<TileMetrics>,
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
    let cameras = by_camera(dataset);
    progress.begin("evaluating", cameras.values().map(|items| items.len() as u64).sum());
    let stream = |(camera, items): (&Arc<str>, &Vec<Item>)| {
        let files = items.iter().map(|item| (item.path.clone(), item.captured_at_us));
        file_frames(camera.clone(), files.collect()).into()
    };
    let streams = cameras.iter().map(stream).collect();
    let bench = Arc::new(Bench {
        cameras,
        measured: Mutex::default(),
        progress: progress.clone(),
    });
    sinks.push(bench.clone());
    let report = inspect(Inspection::new(streams, detectors, sinks), options)?;
    progress.end();
    let Measured { frames, tiles } = std::mem::take(&mut *bench.lock());
    Ok(Evaluation {
        metrics: frames.measure(),
        tiles: TileMetrics::of(&tiles),
        unreadable: report.total(|account| account.unreadable),
        frames_per_second: report.total(|account| account.captured) as f64 / report.seconds,
        latencies: report.latencies,
    })
}

/// The test images of every camera, in the order in which `inspect` would take them: by capture time, then by name.
fn by_camera(dataset: &Dataset) -> BTreeMap<Arc<str>, Vec<Item>> {
    let mut cameras: BTreeMap<Arc<str>, Vec<Item>> = BTreeMap::new();
    for item in dataset.split(Split::Test) {
        cameras
            .entry(item.camera.as_str().into())
            .or_default()
            .push(item.clone());
    }
    for items in cameras.values_mut() {
        items.sort_by(|a, b| (a.captured_at_us, &a.name).cmp(&(b.captured_at_us, &b.name)));
    }
    cameras
}

/// What the metrics need of the frames seen so far. None of them depends on the order of the frames.
#[derive(Default)]
struct Measured {
    frames: DatasetTally,
    tiles: Vec<EvaluatedTile>,
}

/// Collects what the metrics need, per frame; the frame and its map are let go.
struct Bench {
    cameras: BTreeMap<Arc<str>, Vec<Item>>,
    measured: Mutex<Measured>,
    progress: Arc<dyn Progress>,
}

impl Bench {
    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Bench {
    fn draws(&self) -> bool {
        true
    }

    fn draw(&self, judged: &JudgedFrame) -> Result<(), String> {
        self.progress.step();
        let Some(found) = &judged.evidence else { return Ok(()) };
        let (camera, seq) = (&judged.verdict.camera, judged.verdict.seq);
        let item = &self.cameras[camera][seq as usize];
        let frame = evaluated(
            found,
            item,
            judged.verdict.decision == Decision::Reject,
            judged.verdict.image_score,
        )?;
        let rules = &found.detector.recipe().suppression;
        let tiles = evaluated_tiles(&found.scored.scores, rules, frame.truth_mask.as_ref());
        let mut measured = self.lock();
        measured.frames.add(&frame);
        measured.tiles.extend(tiles);
        Ok(())
    }
}

fn evaluated(found: &FoundFrame, item: &Item, rejected: bool, image_score: f64) -> Result<EvaluatedFrame, String> {
    let scores = &found.scored.scores;
    // A global feature of the whole frame says nothing about where.
    let localises = !matches!(found.detector.scorer(), Scorer::GlobalKnn(_)) || scores.layout.tiles.len() > 1;
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

/// Score and truth of every inspected tile, over its pixels that are inspected: the margin that some tiles share is not the
/// product. None where the frame is not tiled.
fn evaluated_tiles(scores: &FrameScores, rules: &SuppressionRules, truth: Option<&Mask>) -> Vec<EvaluatedTile> {
    let tiles = &scores.layout.tiles;
    if tiles.len() < 2 {
        return Vec::new();
    }
    let inspected = InspectedArea::new(&scores.layout, scores.product_px, rules).mask;
    let width = scores.map.width;
    let pixels = |tile: &RectPx| {
        let columns = tile.x as usize..(tile.x + tile.width) as usize;
        (tile.y as usize..(tile.y + tile.height) as usize)
            .flat_map(move |row| columns.clone().map(move |column| row * width + column))
            .filter(|&pixel| inspected.bits[pixel])
    };
    let score = |tile: &RectPx| pixels(tile).map(|pixel| scores.map.scores[pixel]).fold(0.0, f32::max);
    let defective = |tile: &RectPx| truth.map_or(0, |truth| pixels(tile).filter(|&pixel| truth.bits[pixel]).count());
    tiles
        .iter()
        .filter(|tile| pixels(tile).next().is_some())
        .map(|tile| EvaluatedTile {
            score: score(tile),
            defective_px: defective(tile) as u64,
        })
        .collect()
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
            Some(union) => union
                .bits
                .iter_mut()
                .zip(&mask.bits)
                .for_each(|(bit, more)| *bit |= more),
        }
    }
    Ok(united.map(|mask| scored.frame.layout.mask_to_map(&mask)))
}
