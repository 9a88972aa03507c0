//! What became of frames.

use std::sync::Arc;

use intakt_operators::{Decision, DropReason, Outcome, RectPx, SuppressionReason, Truth, Verdict};
use intakt_pipelines::store::{DecisionKind, ListedOutcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What was decided about a frame, or that nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DecisionName {
    Pass,
    Reject,
    Unreadable,
    Dropped,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderName {
    #[default]
    Newest,
    Uncertain,
}

/// A page of frames.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerdictPage {
    /// In the order that was asked for.
    pub(crate) verdicts: Vec<KeptVerdict>,
    /// What to give as `cursor` for the next page; null when there is none. A page may hold fewer frames than were asked for while
    /// there is one.
    pub(crate) next: Option<String>,
}

/// What became of a frame.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeptVerdict {
    pub(crate) camera: Arc<str>,
    /// Its number in the camera's stream.
    pub(crate) seq: u64,
    /// When it entered, microseconds of event time.
    time_us: u64,
    /// When it was captured, microseconds of event time.
    captured_at_us: u64,
    /// Where it came from.
    origin: Option<Arc<str>>,
    /// The first 12 digits of the detector's SHA-256.
    detector: Option<Arc<str>>,
    decision: DecisionName,
    /// Why it was unreadable or dropped.
    reason: Option<String>,
    /// In the detector's own unit.
    image_score: Option<f64>,
    /// The image score above which it is rejected.
    threshold: Option<f64>,
    /// 0 to 1, with the threshold at 0.5.
    calibrated_score: Option<f64>,
    /// What counted, strongest peak first.
    regions: Vec<Region>,
    /// What did not count.
    suppressed: Vec<Suppressed>,
    /// What somebody said that it is: normal, anomalous or anomalous:CLASS.
    truth: Option<String>,
    /// Whether pictures of it are kept.
    pub(crate) has_picture: bool,
}

/// A connected set of anomalous pixels, in pixels of the frame.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Region {
    bbox_px: Rect,
    area_px: u64,
    peak: f64,
    mean: f64,
    centroid_px: [f64; 2],
}

/// A rectangle of pixels.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rect {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

/// A region that did not count.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Suppressed {
    #[serde(flatten)]
    region: Region,
    /// Why.
    #[schema(value_type = SuppressionName)]
    reason: SuppressionReason,
}

/// Why a region did not count.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it says how a reason looks")]
pub(crate) enum SuppressionName {
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

impl From<DecisionName> for DecisionKind {
    fn from(name: DecisionName) -> Self {
        match name {
            DecisionName::Pass => Self::Pass,
            DecisionName::Reject => Self::Reject,
            DecisionName::Unreadable => Self::Unreadable,
            DecisionName::Dropped => Self::Dropped,
        }
    }
}

impl From<DecisionKind> for DecisionName {
    fn from(kind: DecisionKind) -> Self {
        match kind {
            DecisionKind::Pass => Self::Pass,
            DecisionKind::Reject => Self::Reject,
            DecisionKind::Unreadable => Self::Unreadable,
            DecisionKind::Dropped => Self::Dropped,
        }
    }
}

impl From<ListedOutcome> for KeptVerdict {
    fn from(ListedOutcome { timed, truth }: ListedOutcome) -> Self {
        let truth = truth.map(|truth| truth_word(&truth));
        match timed.outcome {
            Outcome::Judged(verdict) => Self::judged(&verdict, timed.time_us, truth),
            Outcome::Dropped(dropped) => Self {
                camera: dropped.camera,
                seq: dropped.seq,
                time_us: timed.time_us,
                captured_at_us: dropped.captured_at_us,
                origin: None,
                detector: None,
                decision: DecisionName::Dropped,
                reason: Some(drop_word(dropped.reason).to_owned()),
                image_score: None,
                threshold: None,
                calibrated_score: None,
                regions: Vec::new(),
                suppressed: Vec::new(),
                truth,
                has_picture: false,
            },
        }
    }
}

impl KeptVerdict {
    fn judged(verdict: &Verdict, time_us: u64, truth: Option<String>) -> Self {
        let (decision, reason) = match &verdict.decision {
            Decision::Pass => (DecisionName::Pass, None),
            Decision::Reject => (DecisionName::Reject, None),
            Decision::Unreadable { reason } => (DecisionName::Unreadable, Some(reason.clone())),
        };
        let suppressed = verdict.suppressed.iter().map(|suppressed| Suppressed {
            region: (&suppressed.region).into(),
            reason: suppressed.reason,
        });
        Self {
            camera: verdict.camera.clone(),
            seq: verdict.seq,
            time_us,
            captured_at_us: verdict.captured_at_us,
            origin: Some(verdict.origin.clone()),
            detector: Some(verdict.detector.clone()),
            decision,
            reason,
            image_score: Some(verdict.image_score),
            threshold: Some(verdict.threshold),
            calibrated_score: Some(verdict.calibrated_score),
            regions: verdict.regions.iter().map(Region::from).collect(),
            suppressed: suppressed.collect(),
            truth,
            has_picture: false,
        }
    }
}

impl From<RectPx> for Rect {
    fn from(RectPx { x, y, width, height }: RectPx) -> Self {
        Self { x, y, width, height }
    }
}

impl From<&intakt_operators::Region> for Region {
    fn from(region: &intakt_operators::Region) -> Self {
        Self {
            bbox_px: region.bbox_px.into(),
            area_px: region.area_px,
            peak: region.peak,
            mean: region.mean,
            centroid_px: region.centroid_px,
        }
    }
}

/// A truth as people write it.
pub(crate) fn truth_word(truth: &Truth) -> String {
    match truth {
        Truth::Normal => "normal".to_owned(),
        Truth::Anomalous(class) if class.is_empty() => "anomalous".to_owned(),
        Truth::Anomalous(class) => format!("anomalous:{class}"),
    }
}

fn drop_word(reason: DropReason) -> &'static str {
    match reason {
        DropReason::DropOldest => "drop_oldest",
        DropReason::DropNewest => "drop_newest",
    }
}
