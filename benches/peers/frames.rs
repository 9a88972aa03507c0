//! From the image file to the verdict, through `inspect`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use intakt_operators::dataflow::JudgedFrame;
use intakt_operators::detector::{CalibrationMethod, Detector, Precision, SuppressionRules, embed};
use intakt_operators::imaging::{FrameLayout, decode, product_rect};
use intakt_operators::postprocess::{FrameScores, TileRows, judge, stitch, suppress};
use intakt_operators::{Decision, FeatureMapView, Frame, RectPx, Verdict};
use intakt_pipelines::datasets::Dataset;
use intakt_pipelines::fit::{BackboneChoice, DetectorKind, FitSettings, fit};
use intakt_pipelines::sinks::Sink;
use intakt_pipelines::sources::CameraStream;
use intakt_pipelines::{
    Detectors, Inspection, InspectionReport, RunOptions, Silent, inspect, load_detector, save_detector,
};
use serde::Deserialize;

use crate::arrays::{Array, read};
use crate::cpu::cpu_seconds;
use crate::{Ran, Work};

/// Edge of the network's input, pixels.
const SIZE_PX: u32 = 256;
/// Cores that a detector is fitted on.
const CORES: usize = 2;
const CAMERA: &str = "line";

/// What detector is fitted, and on what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FitRecipe {
    dataset: PathBuf,
    scorer: ScorerName,
    network: String,
    weights: PathBuf,
    precision: Precision,
    crop_px: Option<u32>,
    coreset_ratio: f64,
    detector: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ScorerName {
    Padim,
    Patchcore,
}

/// One image file after the other: the next when the verdict on the last is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneAtATimeRecipe {
    detector: PathBuf,
    image: PathBuf,
    threads: usize,
}

/// As many image files as are given, as fast as they can be taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThroughputRecipe {
    detector: PathBuf,
    images: Vec<PathBuf>,
    /// Timely workers, and threads of the pool.
    workers: usize,
}

/// Frames one after the other without a dataflow, on one thread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoopRecipe {
    detector: PathBuf,
    images: Vec<PathBuf>,
}

impl FitRecipe {
    pub(crate) fn fit(self) -> Result<Ran, String> {
        let dataset = Dataset::open(&self.dataset, None, None).map_err(|error| error.to_string())?;
        let settings = FitSettings {
            detector: Some(match self.scorer {
                ScorerName::Padim => DetectorKind::Padim,
                ScorerName::Patchcore => DetectorKind::Patchcore,
            }),
            backbone: BackboneChoice::Pretrained {
                name: self.network,
                tensors: Arc::new(read(&self.weights)?),
                path: self.weights,
            },
            precision: Some(self.precision),
            size_px: SIZE_PX,
            crop_px: self.crop_px,
            tiling: None,
            layers: None,
            coreset_ratio: self.coreset_ratio,
            seed: 0,
            image_score: None,
            calibration: CalibrationMethod::Conformal { false_reject_rate: 0.1 },
            suppression: SuppressionRules::default(),
            keep_sums: false,
        };
        let started = Instant::now();
        let options = RunOptions::new(CORES, CORES).map_err(|error| error.to_string())?;
        let detector =
            fit(&dataset, &settings, &options, &(Arc::new(Silent) as _)).map_err(|error| error.to_string())?;
        let nanos = started.elapsed().as_nanos() as u64;
        save_detector(&detector, &self.detector).map_err(|error| error.to_string())?;
        Ok(Ran {
            nanos,
            ..Ran::default()
        })
    }
}

/// An inspection that waits for the next path.
struct OneAtATime {
    image: PathBuf,
    paths: Option<mpsc::Sender<PathBuf>>,
    judged: mpsc::Receiver<(Instant, JudgedFrame)>,
    running: Option<JoinHandle<Result<InspectionReport, String>>>,
}

/// Says when a verdict was there.
struct Told(mpsc::Sender<(Instant, JudgedFrame)>);

impl Sink for Told {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let told = self.0.send((Instant::now(), judged.clone()));
        told.map_err(|_| "nobody waits for the verdict".to_owned())
    }
}

impl OneAtATimeRecipe {
    pub(crate) fn prepare(self) -> Result<Box<dyn Work>, String> {
        let detector = load_detector(&self.detector).map_err(|error| error.to_string())?;
        let (send_path, paths) = mpsc::channel();
        let (tell, judged) = mpsc::channel();
        // One worker, as the program has it where nothing else is asked for: it moves frames, and makes the map and regions of a small one.
        let options = RunOptions::new(1, self.threads).map_err(|error| error.to_string())?;
        let camera = stream(paths.into_iter());
        let inspection = Inspection::new(
            vec![camera.into()],
            Arc::new(Detectors::common(detector)),
            vec![Arc::new(Told(tell))],
        );
        let running = std::thread::spawn(move || inspect(inspection, &options).map_err(|error| error.to_string()));
        Ok(Box::new(OneAtATime {
            image: self.image,
            paths: Some(send_path),
            judged,
            running: Some(running),
        }))
    }
}

impl Work for OneAtATime {
    /// The anomaly map; the image score and whether the frame was rejected.
    fn run(&mut self) -> Result<Ran, String> {
        let started = Instant::now();
        let sent = self.paths.as_ref().map(|paths| paths.send(self.image.clone()));
        let (Some(Ok(())), Ok((told_at, judged))) = (sent, self.judged.recv()) else {
            return Err(self.why_it_ended());
        };
        let nanos = told_at.duration_since(started).as_nanos() as u64;
        let evidence = judged
            .evidence
            .ok_or_else(|| format!("the frame was unreadable: {:?}", judged.verdict.decision))?;
        let map = &evidence.scored.scores.map;
        Ok(Ran {
            nanos,
            results: vec![Array {
                shape: vec![map.height, map.width],
                values: map.scores.clone(),
            }],
            figures: BTreeMap::from([
                ("image_score", judged.verdict.image_score),
                (
                    "rejected",
                    f64::from(u8::from(judged.verdict.decision == Decision::Reject)),
                ),
            ]),
        })
    }
}

impl OneAtATime {
    fn why_it_ended(&mut self) -> String {
        self.paths = None;
        match self.running.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            Some(Err(_)) => "the inspection panicked".to_owned(),
            _ => "the inspection has ended".to_owned(),
        }
    }
}

impl Drop for OneAtATime {
    fn drop(&mut self) {
        self.why_it_ended();
    }
}

struct Throughput {
    detectors: Arc<Detectors>,
    images: Vec<PathBuf>,
    workers: usize,
}

impl ThroughputRecipe {
    pub(crate) fn prepare(self) -> Result<Box<dyn Work>, String> {
        let detector = load_detector(&self.detector).map_err(|error| error.to_string())?;
        Ok(Box::new(Throughput {
            detectors: Arc::new(Detectors::common(detector)),
            images: self.images,
            workers: self.workers,
        }))
    }
}

impl Work for Throughput {
    /// Frames, and processor seconds.
    fn run(&mut self) -> Result<Ran, String> {
        let options = RunOptions::new(self.workers, self.workers).map_err(|error| error.to_string())?;
        let camera = stream(self.images.clone().into_iter());
        let inspection = Inspection::new(vec![camera.into()], self.detectors.clone(), vec![]);
        let cpu_before = cpu_seconds();
        let report = inspect(inspection, &options).map_err(|error| error.to_string())?;
        let cpu = cpu_seconds() - cpu_before;
        let judged = report.total(|account| account.judged);
        if judged != self.images.len() as u64 {
            return Err(format!("{judged} of {} frames were judged", self.images.len()));
        }
        Ok(Ran {
            nanos: (report.seconds * 1e9) as u64,
            figures: BTreeMap::from([("frames", judged as f64), ("cpu_seconds", cpu)]),
            ..Ran::default()
        })
    }
}

/// The same arithmetic without a dataflow.
struct Loop {
    detector: Detector,
    images: Vec<PathBuf>,
}

impl LoopRecipe {
    pub(crate) fn prepare(self) -> Result<Box<dyn Work>, String> {
        let detector = load_detector(&self.detector).map_err(|error| error.to_string())?;
        Ok(Box::new(Loop {
            detector,
            images: self.images,
        }))
    }
}

impl Work for Loop {
    /// Frames, and processor seconds.
    fn run(&mut self) -> Result<Ran, String> {
        let (cpu_before, started) = (cpu_seconds(), Instant::now());
        for frame in stream(self.images.clone().into_iter()).frames {
            verdict(&self.detector, &frame)?;
        }
        Ok(Ran {
            nanos: started.elapsed().as_nanos() as u64,
            figures: BTreeMap::from([
                ("frames", self.images.len() as f64),
                ("cpu_seconds", cpu_seconds() - cpu_before),
            ]),
            ..Ran::default()
        })
    }
}

/// What `inspect` computes of a frame, one step after the other.
fn verdict(detector: &Detector, frame: &Frame) -> Result<Verdict, String> {
    let recipe = detector.recipe();
    let bytes = frame.bytes.as_ref().map_err(|error| error.to_string())?;
    let image = decode(bytes, recipe.input.sixteen_bit_max).map_err(|error| error.to_string())?;
    let layout = FrameLayout::new(&recipe.input, image.width_px, image.height_px)?;
    let whole = RectPx {
        x: 0,
        y: 0,
        width: image.width_px,
        height: image.height_px,
    };
    let product_px = match recipe.input.exclude_dark_margin {
        true => product_rect(&image),
        false => whole,
    };
    let mut tiles = Vec::new();
    for tile_idx in 0..layout.tiles.len() {
        let tile = layout.tile_image(&image, tile_idx, &recipe.input);
        let mut embedded = Err("a backbone lends its maps".to_owned());
        let embed_maps = &mut |maps: &[FeatureMapView<'_>]| embedded = embed(maps, &recipe.embedding);
        detector.backbone().with_feature_maps(&tile, embed_maps)?;
        tiles.push((tile_idx, detector.scorer().score(&[&embedded?])?.remove(0)));
    }
    let (map, patches) = stitch(&layout, &tiles, recipe.blur_sigma_map_px())?;
    let scores = FrameScores {
        layout,
        product_px,
        map,
        patches,
        nearest: TileRows::of(&tiles),
    };
    let findings = suppress(&scores, recipe, detector.calibration(), None);
    Ok(judge(&frame.into(), detector.id(), &findings, detector.calibration()))
}

/// A camera that reads the files when they are wanted, ten a second of event time.
fn stream(paths: impl Iterator<Item = PathBuf> + Send + 'static) -> CameraStream {
    let camera: Arc<str> = CAMERA.into();
    let name = camera.clone();
    let frame = move |(seq, path): (u64, PathBuf)| Frame {
        camera: name.clone(),
        seq,
        captured_at_us: seq * 100_000,
        origin: path.display().to_string().into(),
        bytes: std::fs::read(&path)
            .map(Into::into)
            .map_err(|error| error.to_string().into()),
        recorded: None,
    };
    CameraStream {
        camera,
        frames: Box::new((0..).zip(paths).map(frame)),
    }
}
