//! `GET /api/v1/compare` and below it: the run beside another one of the same frames.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use intakt_pipelines::store::{FlipFilter, Flips};
use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::{Named, Wanted, cursor, forged, limit};
use super::frames::{WantedFile, Which, show};
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{TwoRuns, lock};
use super::verdicts::note_pictures;
use super::wire::File;
use super::wire::compare::{CameraComparison, Comparison, FlipPage, Flipped};
use super::wire::verdicts::DecisionName;

/// Flips on a page.
const PAGE: usize = 50;
const PAGE_MAX: usize = 200;

/// With what cursors begin.
const CURSOR: &str = "flip";

/// Which flips are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedFlips {
    /// Of this camera.
    camera: Option<String>,
    /// From this decision in the run; with `after`.
    #[param(inline)]
    before: Option<DecisionName>,
    /// To this decision in the other one; with `before`.
    #[param(inline)]
    after: Option<DecisionName>,
    /// Flips on a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^flip\.[0-9]{1,18}$")]
    cursor: Option<String>,
}

/// How many frames of the run have another decision in the other one.
#[utoipa::path(get, path = "/compare", tag = "results", responses(
    (status = 200, body = Comparison),
    (status = 409, description = "There is no other run, or this one is not kept"),
))]
pub(super) async fn compare(
    State(shared): State<Shared>,
    TwoRuns(kept, other): TwoRuns,
) -> Result<Json<Comparison>, Refusal> {
    let compared = shared.compared.clone();
    let compared = shared.read_both(&kept, &other, move |store, other| {
        let mut compared = lock(&compared);
        store.compare_on(other, &mut compared)?;
        Ok(compared.cameras())
    });
    let cameras = compared
        .await?
        .into_iter()
        .map(|(name, camera)| CameraComparison::new(name, &camera));
    let [run, other] = other.names;
    Ok(Json(Comparison {
        run,
        other,
        cameras: cameras.collect(),
    }))
}

/// The frames whose decision is another one in the other run, page by page.
#[utoipa::path(get, path = "/compare/flips", tag = "results", params(WantedFlips), responses(
    (status = 200, body = FlipPage),
    (status = 409, description = "There is no other run, or this one is not kept"),
))]
pub(super) async fn flips(
    State(shared): State<Shared>,
    TwoRuns(kept, other): TwoRuns,
    Wanted(wanted): Wanted<WantedFlips>,
) -> Result<Json<FlipPage>, Refusal> {
    let limit = limit(wanted.limit, PAGE, PAGE_MAX)?;
    let end = match &wanted.cursor {
        None => i64::MAX,
        Some(typed) => {
            let [end] = cursor(typed, CURSOR).ok_or_else(forged)?;
            end as i64
        }
    };
    let filter = FlipFilter {
        camera: wanted.camera,
        change: match (wanted.before, wanted.after) {
            (Some(before), Some(after)) => Some((before.into(), after.into())),
            (None, None) => None,
            _ => return Err(Refusal::bad("before and after: they go together".to_owned())),
        },
    };
    let read = shared.read_both(&kept, &other, move |store, other| {
        store.flips(other, &filter, end, limit)
    });
    let mut page = FlipPage::from(read.await?);
    let before = page.flips.iter_mut().map(|flip| &mut flip.before);
    note_pictures(&shared, kept.pictures, before.collect()).await?;
    let after = page.flips.iter_mut().map(|flip| &mut flip.after);
    note_pictures(&shared, other.pictures, after.collect()).await?;
    Ok(Json(page))
}

/// A frame of the other run, at most 800 px wide and high.
#[utoipa::path(get, path = "/compare/cameras/{camera}/frames/{seq}/image", tag = "results",
    params(("camera" = String, Path), ("seq" = u64, Path), WantedFile),
    responses(
        (status = 200, description = "The file, PNG where that is asked for", content((File = "image/jpeg"), (File = "image/png"))),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "No picture of it is kept"),
        (status = 409, description = "There is no other run, or this one is not kept"),
))]
pub(super) async fn image(
    State(shared): State<Shared>,
    TwoRuns(_, other): TwoRuns,
    Named((camera, seq)): Named<(Arc<str>, u64)>,
    Wanted(file): Wanted<WantedFile>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    show(&shared, other.pictures, camera, seq, Which::Frame, file, &headers).await
}

/// The same picture with its heatmap and regions.
#[utoipa::path(get, path = "/compare/cameras/{camera}/frames/{seq}/heatmap", tag = "results",
    params(("camera" = String, Path), ("seq" = u64, Path), WantedFile),
    responses(
        (status = 200, description = "The file, PNG where that is asked for", content((File = "image/jpeg"), (File = "image/png"))),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "No picture of it is kept"),
        (status = 409, description = "There is no other run, or this one is not kept"),
))]
pub(super) async fn heatmap(
    State(shared): State<Shared>,
    TwoRuns(_, other): TwoRuns,
    Named((camera, seq)): Named<(Arc<str>, u64)>,
    Wanted(file): Wanted<WantedFile>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    show(&shared, other.pictures, camera, seq, Which::Heatmap, file, &headers).await
}

impl From<Flips> for FlipPage {
    fn from(found: Flips) -> Self {
        let flips = found.flips.into_iter().map(|flip| Flipped {
            before: flip.here.into(),
            after: flip.there.into(),
        });
        Self {
            flips: flips.collect(),
            next: found.next.map(|end| format!("{CURSOR}.{end}")),
        }
    }
}
