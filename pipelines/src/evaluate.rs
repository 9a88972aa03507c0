//! Measures a detector on labelled images.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intakt_operators::dataflow::{FoundFrame, JudgedFrame, LatencySummary};
use intakt_operators::detector::{Scorer, SuppressionRules};
use intakt_operators::imaging::decode_mask;
use intakt_operators::metrics::{DatasetMetrics, DatasetTally, EvaluatedFrame, EvaluatedTile, TileMetrics};
use intakt_operators::postprocess::{FrameScores, InspectedArea};
use intakt_operators::{Decision, Mask, RectPx, Truth, Verdict};
use serde::{Deserialize, Serialize};

use crate::datasets::{Dataset, Item, Need, Split};
use crate::review::{Notable, Notables, ReviewPicture};
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
    /// The curve behind AUPRO: share of normal pixels, mean share of a defect. Empty where nobody drew defects.
    pub pro_curve: Vec<[f64; 2]>,
    /// Every test image, by camera and in the order of the dataset.
    pub images: Vec<EvaluatedImage>,
    /// The images that people should look at.
    pub notable: Vec<NotableImage>,
}

/// A test image: what it is, and what was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluatedImage {
    /// What it is.
    pub truth: Truth,
    /// What was decided; `origin` is its name within the dataset.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A test image with its pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotableImage {
    /// Why it should be looked at.
    pub kind: Notable,
    /// Where it is in [`Evaluation::images`], by camera and sequence.
    pub camera: Arc<str>,
    /// Position of the image in its camera's stream.
    pub seq: u64,
    /// How it looks.
    #[serde(flatten)]
    pub picture: ReviewPicture,
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
    let Measured {
        frames,
        tiles,
        mut images,
        notable,
    } = std::mem::take(&mut *bench.lock());
    images.sort_by(|a, b| (&a.verdict.camera, a.verdict.seq).cmp(&(&b.verdict.camera, b.verdict.seq)));
    let mut metrics = frames.measure();
    Ok(Evaluation {
        pro_curve: std::mem::take(&mut metrics.pro_curve),
        images,
        notable: notable.0.into_iter().flat_map(Notables::into_frames).collect(),
        metrics,
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
    images: Vec<EvaluatedImage>,
    notable: NotableImages,
}

/// The images to look at, by kind.
struct NotableImages([Notables<NotableImage>; 4]);

impl Default for NotableImages {
    fn default() -> Self {
        Self(
            [
                Notable::FalseReject,
                Notable::Escape,
                Notable::ClosePass,
                Notable::CloseReject,
            ]
            .map(Notables::of),
        )
    }
}

impl NotableImages {
    /// Draws an image if it is one to look at, so far.
    fn offer(
        &mut self,
        found: &FoundFrame,
        verdict: &Verdict,
        truth: &Truth,
        mask: Option<&Mask>,
    ) -> Result<(), String> {
        let kind = match (truth.is_anomalous(), verdict.decision == Decision::Reject) {
            (false, true) => Notable::FalseReject,
            (true, false) => Notable::Escape,
            (false, false) => Notable::ClosePass,
            (true, true) => Notable::CloseReject,
        };
        let of_kind = self.0.iter_mut().find(|notables| notables.kind() == kind);
        let (camera, seq) = (&verdict.camera, verdict.seq);
        of_kind.map_or(Ok(()), |notables| {
            notables.offer(verdict.calibrated_score, camera, seq, || {
                Ok(NotableImage {
                    kind,
                    camera: camera.clone(),
                    seq,
                    picture: ReviewPicture::of(found, verdict, mask)?,
                })
            })
        })
    }
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
        let (camera, seq) = (&judged.verdict.camera, judged.verdict.seq);
        let item = &self.cameras[camera][seq as usize];
        let image = EvaluatedImage {
            truth: item.truth.clone(),
            verdict: Verdict {
                origin: item.name.as_str().into(),
                ..(*judged.verdict).clone()
            },
        };
        let Some(found) = &judged.evidence else {
            self.lock().images.push(image);
            return Ok(());
        };
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
        measured.images.push(image);
        let mask = frame.truth_mask.as_ref();
        measured.notable.offer(found, &judged.verdict, &item.truth, mask)
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
