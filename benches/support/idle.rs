//! A detector that has nothing to do: what is left of the time of a frame is Intakt's own.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use intakt_operators::detector::backbone::{Backbone, Layer, hash};
use intakt_operators::detector::{
    BackboneRecipe, Calibration, CalibrationMethod, Detector, DetectorParts, EmbeddingRecipe, GlobalKnn, ImageScore,
    InputRecipe, Recipe, ScoreScale, Scorer, ScorerRecipe, SuppressionRules, Tensor, Upsampling,
};
use intakt_operators::imaging::Image;
use intakt_operators::{FeatureMap, FeatureMapView, Frame};
use intakt_pipelines::sources::CameraStream;

/// The smallest network input that a recipe may ask for.
const SIZE_PX: u32 = 32;

/// A network that answers every image with the same position of two dimensions.
struct Idle {
    layers: [Layer; 1],
    busy: Duration,
}

impl Backbone for Idle {
    fn name(&self) -> &str {
        "idle"
    }

    fn precision(&self) -> intakt_operators::detector::Precision {
        intakt_operators::detector::Precision::F32
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn with_feature_maps(&self, _: &Image, work: &mut dyn FnMut(&[FeatureMapView<'_>])) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < self.busy {
            std::hint::spin_loop();
        }
        work(&[FeatureMap::new(1, 1, 2, vec![0.5, 0.5]).view()]);
        Ok(())
    }

    fn tensors(&self) -> BTreeMap<String, Tensor> {
        BTreeMap::new()
    }
}

/// The idle backbone with the nearest of two vectors, no smoothing and no rules. Everything passes.
pub(crate) fn detector() -> Detector {
    busy_detector(Duration::ZERO)
}

/// The idle detector, which takes so long for a frame nevertheless.
pub(crate) fn busy_detector(busy: Duration) -> Detector {
    let layer = Layer {
        name: "only".into(),
        dims: 2,
        stride_px: SIZE_PX as usize,
    };
    let backbone = Arc::new(Idle { layers: [layer], busy });
    let scale = ScoreScale {
        normal_level: 0.0,
        threshold: 10.0,
    };
    let parts = DetectorParts {
        provenance: None,
        recipe: Recipe {
            backbone: BackboneRecipe {
                name: "idle".into(),
                layers: vec!["only".into()],
                precision: Default::default(),
                hash: hash(backbone.as_ref()),
            },
            input: InputRecipe {
                size_px: SIZE_PX,
                crop_px: None,
                tiling: None,
                exclude_dark_margin: false,
                sixteen_bit_max: u16::MAX,
            },
            embedding: EmbeddingRecipe {
                neighbourhood: 1,
                upsampling: Upsampling::Nearest,
                kept_dims: None,
            },
            scorer: ScorerRecipe::GlobalKnn { n_neighbors: 1 },
            image_score: ImageScore::Max,
            blur_sigma_px: 0.0,
            suppression: SuppressionRules::default(),
        },
        backbone,
        scorer: Arc::new(Scorer::GlobalKnn(
            GlobalKnn::new(2, vec![0.0, 0.0, 1.0, 1.0], 1).expect("a whole bank"),
        )),
        calibration: Calibration {
            method: CalibrationMethod::Fixed {
                image_threshold: 10.0,
                pixel_threshold: None,
            },
            image: scale,
            pixel: scale,
            n_frames: 0,
            normal_quantiles: Vec::new(),
            guaranteed_false_reject_rate: None,
            statement: String::new(),
        },
        manifest: vec![],
        sums: None,
        intakt_version: env!("CARGO_PKG_VERSION").into(),
    };
    Detector::new(parts).expect("the parts fit each other")
}

/// `n_frames` BMP images of 8×8 pixels from `camera`, thirty a second of event time; `wait` is called before each.
pub(crate) fn stream(camera: &str, n_frames: u64, mut wait: impl FnMut(u64) + Send + 'static) -> CameraStream {
    let camera: Arc<str> = camera.into();
    let (bytes, origin): (Arc<[u8]>, Arc<str>) = (bmp(8).into(), "".into());
    let name = camera.clone();
    let frame = move |seq| {
        wait(seq);
        Frame {
            camera: name.clone(),
            seq,
            captured_at_us: seq * 1_000_000 / 30,
            origin: origin.clone(),
            bytes: Ok(bytes.clone()),
            recorded: None,
        }
    };
    CameraStream {
        camera,
        frames: Box::new((0..n_frames).map(frame)),
    }
}

/// An image of `edge_px` by `edge_px`.
pub(crate) fn bmp(edge_px: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = image::RgbImage::from_fn(edge_px, edge_px, |x, y| {
        image::Rgb([(x * 30) as u8, (y * 30) as u8, 128])
    });
    image
        .write_to(&mut bytes, image::ImageFormat::Bmp)
        .expect("memory can be written");
    bytes.into_inner()
}
