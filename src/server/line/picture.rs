//! `GET /api/v1/cameras/{camera}/picture`: how the newest frame of a camera looks.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use intakt_pipelines::pictures::{AboutPicture, Pictures};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::asked::{Named, Wanted};
use super::super::frames::{jpeg, read_pictures};
use super::super::problem::Refusal;
use super::super::routes::{Shared, SharedState};
use super::super::served::{Keeper, Kept, Live};
use super::super::wire::File;
use super::super::wire::line::WhichPicture;

/// Which picture is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::server) struct WantedPicture {
    /// Of the newest frame, or of the newest that was rejected.
    #[param(inline)]
    which: WhichPicture,
    /// When the one that is meant was drawn; a later one may have taken its place.
    drawn_at_us: Option<u64>,
}

/// A picture of a camera's newest frame, or of the newest that was rejected, with its heatmap: at most 400 px wide and high. Of a run
/// that goes on elsewhere or has ended, of the newest frame of which one is kept: at most 800 px.
#[utoipa::path(get, path = "/cameras/{camera}/picture", tag = "line",
    params(("camera" = String, Path), WantedPicture),
    responses(
        (status = 200, content_type = "image/jpeg", body = File),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "There is no such picture yet"),
    ))]
pub(in crate::server) async fn picture(
    State(shared): State<Shared>,
    Named(camera): Named<String>,
    Wanted(wanted): Wanted<WantedPicture>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let found = match (shared.served.live(), &shared.served.keeper) {
        (Some(live), _) => drawn(live, &camera, wanted.which),
        (None, Keeper::Here(kept)) => kept_one(&shared, kept, camera.clone(), wanted.which).await?,
        (None, Keeper::Nobody | Keeper::Process0) => None,
    };
    let Some((about, file)) = found else {
        let error = format!("there is no such picture of camera \"{camera}\" yet");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    };
    let tag = format!("\"{}-{}\"", about.seq, about.drawn_at_us);
    // What was asked for by its time does not change; the newest does.
    let cache = match wanted.drawn_at_us == Some(about.drawn_at_us) {
        true => "private, max-age=3600, immutable",
        false => "no-cache",
    };
    Ok(jpeg(&headers, tag, cache, file))
}

fn drawn(live: &Live, camera: &str, which: WhichPicture) -> Option<(AboutPicture, Bytes)> {
    let pictures = live.thumbnails.of(camera);
    let picture = match which {
        WhichPicture::Newest => pictures.newest,
        WhichPicture::Rejected => pictures.rejected,
    }?;
    Some((picture.about, Bytes::from_owner(picture.jpeg)))
}

async fn kept_one(
    shared: &SharedState,
    kept: &Kept,
    camera: String,
    which: WhichPicture,
) -> Result<Option<(AboutPicture, Bytes)>, Refusal> {
    let read = move |pictures: &Pictures| {
        let newest = pictures.newest(&camera)?;
        let about = match which {
            WhichPicture::Newest => newest.newest,
            WhichPicture::Rejected => newest.rejected,
        };
        about.map_or(Ok(None), |about| pictures.of(&camera, about.seq))
    };
    let found = read_pictures(shared, kept.pictures.clone(), read).await?;
    Ok(found.map(|picture| (picture.about, picture.heatmap_jpeg.into())))
}
