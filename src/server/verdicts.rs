//! `GET /api/v1/verdicts`: what became of the frames of a kept run, page by page.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use intakt_pipelines::pictures::Pictures;
use intakt_pipelines::store::{DecisionKind, Listed, Listing, Order, OutcomeFilter, Position};
use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::{Wanted, cursor, forged, limit, time_us};
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::{KeptRun, blocking};
use super::wire::verdicts::{DecisionName, KeptVerdict, OrderName, VerdictPage};

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
