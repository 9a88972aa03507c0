//! `GET /api/v1/verdicts`: what became of the frames of a kept run, page by page.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use intakt_operators::{Decision, DropReason, Outcome, RectPx, SuppressionReason, Truth, Verdict};
use intakt_pipelines::pictures::Pictures;
use intakt_pipelines::store::{DecisionKind, Listed, ListedOutcome, Listing, Order, OutcomeFilter, Position};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::asked::{Wanted, cursor, forged, limit, time_us};
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::{KeptRun, blocking};

/// Frames on a page: as many as a person looks through, and at most some hundred kilobytes.
const PAGE: usize = 50;
const PAGE_MAX: usize = 500;

/// Which frames are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedVerdicts {
    /// Of this camera.
    camera: Option<String>,
    /// With this decision.
    #[param(inline)]
    decision: Option<DecisionName>,
    /// From this time on: 2026-01-05T06:00:00Z, or microseconds since 1970.
    #[param(pattern = r"^([0-9]{1,16}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)$")]
    from: Option<String>,
    /// Before this time.
    #[param(pattern = r"^([0-9]{1,16}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)$")]
    to: Option<String>,
    /// With at least this calibrated score.
    min_score: Option<f64>,
    /// With at most this calibrated score.
    max_score: Option<f64>,
    /// Only those that somebody labelled, or only the others.
    labelled: Option<bool>,
    /// The newest first, or those first whose score is nearest to the threshold.
    #[param(inline)]
    order: Option<OrderName>,
    /// Frames on a page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^(newest\.[0-9]{1,18}|uncertain(\.[0-9]{1,18}){3})$")]
    cursor: Option<String>,
}

/// What was decided about a frame, or that nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DecisionName {
    Pass,
    Reject,
    Unreadable,
    Dropped,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OrderName {
    #[default]
    Newest,
    Uncertain,
}

/// A page of frames.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerdictPage {
    /// In the order that was asked for.
    verdicts: Vec<KeptVerdict>,
    /// What to give as `cursor` for the next page; null when there is none. A page may hold fewer frames than were asked for while
    /// there is one.
    next: Option<String>,
}

/// What became of a frame.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptVerdict {
    camera: Arc<str>,
    /// Its number in the camera's stream.
    seq: u64,
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
    has_picture: bool,
}

/// A connected set of anomalous pixels, in pixels of the frame.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Region {
    bbox_px: Rect,
    area_px: u64,
    peak: f64,
    mean: f64,
    centroid_px: [f64; 2],
}

/// A rectangle of pixels.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rect {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

/// A region that did not count.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Suppressed {
    #[serde(flatten)]
    region: Region,
    /// Why.
    #[schema(value_type = String)]
    reason: SuppressionReason,
}

/// What became of the frames of a kept run, page by page. Each frame is on one page, also while others are added.
#[utoipa::path(get, path = "/verdicts", tag = "results", params(WantedVerdicts), responses(
    (status = 200, body = VerdictPage),
    (status = 404, description = "There is no such camera"),
))]
pub(super) async fn verdicts(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Wanted(wanted): Wanted<WantedVerdicts>,
) -> Result<Json<VerdictPage>, Refusal> {
    let listing = wanted.listing()?;
    shared.camera_of_run(&kept, wanted.camera.as_deref()).await?;
    let limit = limit(wanted.limit, PAGE, PAGE_MAX)?;
    let (order, from) = wanted.position()?;
    let listed = shared
        .read(&kept, move |store| store.list(&listing, order, from, limit))
        .await?;
    let mut page = VerdictPage::from(listed);
    note_pictures(&shared, kept.pictures, page.verdicts.iter_mut().collect()).await?;
    Ok(Json(page))
}

/// Notes of which frames pictures are kept in the file `pictures`. In one that is damaged there are none.
pub(super) async fn note_pictures(
    shared: &SharedState,
    pictures: PathBuf,
    mut verdicts: Vec<&mut KeptVerdict>,
) -> Result<(), Refusal> {
    let named = |verdict: &&mut KeptVerdict| (verdict.camera.clone(), verdict.seq);
    let frames: Vec<(Arc<str>, u64)> = verdicts.iter().map(named).collect();
    let _place = shared.place_to_read().await?;
    let look = move || {
        let pictures = Pictures::look(&pictures).ok().flatten()?;
        pictures.have(frames.iter().map(|(camera, seq)| (&**camera, *seq))).ok()
    };
    let have = blocking(look).await?.unwrap_or_default();
    for (verdict, has_picture) in verdicts.iter_mut().zip(have) {
        verdict.has_picture = has_picture;
    }
    Ok(())
}

impl WantedVerdicts {
    fn listing(&self) -> Result<Listing, Refusal> {
        let score = |key: &str, score: Option<f64>| match score {
            Some(score) if !score.is_finite() => Err(Refusal::bad(format!("{key}: it is a number"))),
            score => Ok(score),
        };
        Ok(Listing {
            filter: OutcomeFilter {
                camera: self.camera.clone(),
                since_us: time_us("from", self.from.as_deref())?,
                until_us: time_us("to", self.to.as_deref())?,
                decision: self.decision.map(DecisionKind::from),
                ..OutcomeFilter::default()
            },
            min_score: score("min_score", self.min_score)?,
            max_score: score("max_score", self.max_score)?,
            labelled: self.labelled,
        })
    }

    fn position(&self) -> Result<(Order, Option<Position>), Refusal> {
        let typed = self.cursor.as_deref();
        let (order, position) = match self.order.unwrap_or_default() {
            OrderName::Newest => {
                let position = typed.map(|typed| {
                    let [before] = cursor(typed, NEWEST)?;
                    Some(Position::Newest { before: before as i64 })
                });
                (Order::Newest, position)
            }
            OrderName::Uncertain => {
                let position = typed.map(|typed| {
                    let [up_to, distance, id] = cursor(typed, UNCERTAIN)?;
                    Some(Position::Uncertain {
                        up_to: up_to as i64,
                        distance,
                        id: id as i64,
                    })
                });
                (Order::Uncertain, position)
            }
        };
        match position {
            Some(None) => Err(forged()),
            position => Ok((order, position.flatten())),
        }
    }
}

/// With what cursors begin.
const NEWEST: &str = "newest";
const UNCERTAIN: &str = "uncertain";

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

impl From<Listed> for VerdictPage {
    fn from(listed: Listed) -> Self {
        Self {
            verdicts: listed.outcomes.into_iter().map(KeptVerdict::from).collect(),
            next: listed.next.map(|next| match next {
                Position::Newest { before } => format!("{NEWEST}.{before}"),
                Position::Uncertain { up_to, distance, id } => format!("{UNCERTAIN}.{up_to}.{distance}.{id}"),
            }),
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
pub(super) fn truth_word(truth: &Truth) -> String {
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
