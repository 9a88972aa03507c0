//! The nouns that travel through the dataflow. Units are in the names.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Scores in verdicts are rounded to this many steps per unit, so that verdicts can be compared byte by byte.
pub const SCORE_STEPS_PER_UNIT: f64 = 1e6;

/// Rounds a score to the fixed point of verdicts (1e-6); not-a-number becomes 0.
pub fn fixed_point(score: f32) -> f64 {
    let rounded = (f64::from(score) * SCORE_STEPS_PER_UNIT).round() / SCORE_STEPS_PER_UNIT;
    if rounded.is_nan() { 0.0 } else { rounded }
}

/// One image of one camera, as received: `bytes` is the encoded file.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Position in the camera's stream, counted from 0 without gaps.
    pub seq: u64,
    /// Event time, microseconds; what the rates' windows are measured in.
    pub captured_at_us: u64,
    /// Where the frame came from, for people: a path as the user gave it. Empty for generated frames.
    pub origin: Arc<str>,
    /// The encoded image (PNG, JPEG, BMP, TIFF), or the reason why its bytes could not be read.
    pub bytes: Result<Arc<[u8]>, Arc<str>>,
    /// When it entered the dataflow, where it comes from a recording.
    pub recorded: Option<Stamp>,
}

/// The time of a frame in the dataflow, and what that says about the frames after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// When it enters, microseconds of event time: when it was captured, unless it is late or its camera's clock is wrong.
    pub time_us: u64,
    /// No later frame of its camera enters before this.
    pub low_us: u64,
}

/// An axis-aligned rectangle in pixels: `x..x + width`, `y..y + height`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RectPx {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Extent to the right.
    pub width: u32,
    /// Extent downwards.
    pub height: u32,
}

impl RectPx {
    /// Whether the two share a pixel.
    pub fn overlaps(self, other: RectPx) -> bool {
        let along = |a: u32, a_len: u32, b: u32, b_len: u32| {
            u64::from(a) < u64::from(b) + u64::from(b_len) && u64::from(b) < u64::from(a) + u64::from(a_len)
        };
        along(self.x, self.width, other.x, other.width) && along(self.y, self.height, other.y, other.height)
    }
}

/// One layer's output for one image: positions × dims, row-major, so `data[(y * width + x) * dims + d]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    /// Rows of positions.
    pub height: usize,
    /// Columns of positions.
    pub width: usize,
    /// Dimensions of the vector at each position.
    pub dims: usize,
    /// `height * width * dims` values.
    pub data: Vec<f32>,
}

impl FeatureMap {
    /// A map over `data`. Panics unless `data` holds exactly `height * width * dims` values (a bug of ours).
    pub fn new(height: usize, width: usize, dims: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), height * width * dims, "feature map {height}x{width}x{dims}");
        Self {
            height,
            width,
            dims,
            data,
        }
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// The same, borrowed.
    pub fn view(&self) -> FeatureMapView<'_> {
        FeatureMapView {
            height: self.height,
            width: self.width,
            dims: self.dims,
            data: &self.data,
        }
    }
}

/// A [`FeatureMap`] that is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureMapView<'a> {
    /// Rows of positions.
    pub height: usize,
    /// Columns of positions.
    pub width: usize,
    /// Dimensions of the vector at each position.
    pub dims: usize,
    /// `height * width * dims` values.
    pub data: &'a [f32],
}

impl FeatureMapView<'_> {
    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// A map of one's own.
    pub fn to_map(&self) -> FeatureMap {
        FeatureMap::new(self.height, self.width, self.dims, self.data.to_vec())
    }
}

/// One score per pixel, row-major; higher is more anomalous.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` scores.
    pub scores: Vec<f32>,
}

impl AnomalyMap {
    /// A map over `scores`. Panics unless there are exactly `height * width` of them (a bug of ours).
    pub fn new(height: usize, width: usize, scores: Vec<f32>) -> Self {
        assert_eq!(scores.len(), height * width, "anomaly map {height}x{width}");
        Self { height, width, scores }
    }
}

/// A binary picture, row-major: true is anomalous (a ground-truth mask) or inspected (a region of interest).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` flags.
    pub bits: Vec<bool>,
}

impl Mask {
    /// A mask over `bits`. Panics unless there are exactly `height * width` of them (a bug of ours).
    pub fn new(height: usize, width: usize, bits: Vec<bool>) -> Self {
        assert_eq!(bits.len(), height * width, "mask {height}x{width}");
        Self { height, width, bits }
    }

    /// A mask with every bit set to `value`.
    pub fn filled(height: usize, width: usize, value: bool) -> Self {
        Self {
            height,
            width,
            bits: vec![value; height * width],
        }
    }
}

/// A connected set of anomalous pixels, in pixels of the frame as captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Smallest rectangle around it.
    pub bbox_px: RectPx,
    /// Number of frame pixels it covers.
    pub area_px: u64,
    /// Highest calibrated score in it.
    pub peak: f64,
    /// Mean calibrated score over it.
    pub mean: f64,
    /// Centre of mass (x, y), unweighted.
    pub centroid_px: [f64; 2],
}

/// Why a region did not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionReason {
    /// It lies outside the region of interest.
    OutsideRoi,
    /// It lies in the ignored border.
    Border,
    /// It lies in the dark margin that is not the product.
    DarkMargin,
    /// It covers fewer pixels than the smallest region that counts.
    BelowMinArea,
    /// Its peak is lower than the weakest peak that counts.
    BelowMinPeak,
    /// It recurs at the same place in most frames of the camera: dirt on the lens.
    StaticArtefact,
}

impl std::fmt::Display for SuppressionReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OutsideRoi => "outside the region of interest",
            Self::Border => "in the ignored border",
            Self::DarkMargin => "in the dark margin",
            Self::BelowMinArea => "below the minimum area",
            Self::BelowMinPeak => "below the minimum peak",
            Self::StaticArtefact => "static artefact: it recurs at this place",
        })
    }
}

/// A region that did not count, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuppressedRegion {
    /// The region.
    #[serde(flatten)]
    pub region: Region,
    /// The rule that suppressed it.
    pub reason: SuppressionReason,
}

/// What to do with the part in the frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// Nothing in it exceeds the threshold.
    Pass,
    /// Something does.
    Reject,
    /// No image could be made of it.
    Unreadable {
        /// What was wrong with the bytes.
        reason: String,
    },
}

/// The answer to one frame. It holds no wall clock, and scores in fixed point, so that its bytes can be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Position in the camera's stream.
    pub seq: u64,
    /// Event time, microseconds.
    pub captured_at_us: u64,
    /// Where the frame came from, as the user gave it; empty for generated frames.
    pub origin: Arc<str>,
    /// First 12 digits of the detector's SHA-256.
    pub detector: Arc<str>,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
    /// Score of the frame in the detector's own unit, unbounded; 0 where the frame was unreadable.
    pub image_score: f64,
    /// The image score above which a frame is rejected.
    pub threshold: f64,
    /// The score mapped to 0…1 with the threshold at 0.5.
    pub calibrated_score: f64,
    /// What counted, strongest peak first.
    pub regions: Vec<Region>,
    /// What did not count, and why.
    pub suppressed: Vec<SuppressedRegion>,
}

/// A frame that was captured and never looked at. It has no verdict, and counts in every rate's denominator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DroppedFrame {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Position in the camera's stream.
    pub seq: u64,
    /// Event time, microseconds.
    pub captured_at_us: u64,
    /// Why.
    pub reason: DropReason,
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// A newer frame came while the camera's queue was full (`overflow = "drop-oldest"`).
    DropOldest,
    /// It came while the camera's queue was full (`overflow = "drop-newest"`).
    DropNewest,
}

/// What became of a frame: every captured frame has exactly one outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It was judged, or unreadable.
    Judged(Arc<Verdict>),
    /// It was dropped.
    Dropped(DroppedFrame),
}

impl Outcome {
    /// Name of the camera.
    pub fn camera(&self) -> &Arc<str> {
        match self {
            Self::Judged(verdict) => &verdict.camera,
            Self::Dropped(dropped) => &dropped.camera,
        }
    }

    /// Position in the camera's stream.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Judged(verdict) => verdict.seq,
            Self::Dropped(dropped) => dropped.seq,
        }
    }
}

/// What a frame truly is, said by somebody who knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// Defect-free.
    Normal,
    /// With a defect of this class.
    Anomalous(String),
}

impl Truth {
    /// Whether the frame has a defect.
    pub fn is_anomalous(&self) -> bool {
        matches!(self, Truth::Anomalous(_))
    }
}

/// What somebody says about one frame of a camera.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Label {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Position in the camera's stream.
    pub seq: u64,
    /// What it is; none takes back what was said before.
    #[serde(deserialize_with = "Option::deserialize")]
    pub truth: Option<Truth>,
    /// Event time of the frame, microseconds.
    pub captured_at_us: u64,
}
