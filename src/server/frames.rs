//! `GET /api/v1/cameras/{camera}/frames/{seq}`, and `/image` and `/heatmap` below it: how a frame looked that people should look at.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use intakt_pipelines::pictures::{KeptPicture, Pictures};
use serde::Serialize;
use utoipa::ToSchema;

use super::asked::Named;
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::{KeptRun, blocking};

/// A frame whose pictures are kept.
#[derive(Serialize, ToSchema)]
pub(super) struct PicturedFrame {
    camera: Arc<str>,
    seq: u64,
    /// Columns of the frame, in which regions are given. Its pictures may be smaller.
    width_px: u32,
    /// Rows of the frame.
    height_px: u32,
}

/// A frame whose pictures are kept: rejected and borderline ones are, the newest of them.
#[utoipa::path(get, path = "/cameras/{camera}/frames/{seq}", tag = "frames",
    params(("camera" = String, Path), ("seq" = u64, Path)),
    responses(
        (status = 200, body = PicturedFrame),
        (status = 404, description = "No picture of it is kept"),
        (status = 409, description = "The run is not kept"),
))]
pub(super) async fn frame(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Named((camera, seq)): Named<(Arc<str>, u64)>,
) -> Result<Json<PicturedFrame>, Refusal> {
    let picture = picture(&shared, kept.pictures, camera.clone(), seq).await?;
    let [width_px, height_px] = picture.frame_px;
    Ok(Json(PicturedFrame {
        camera,
        seq,
        width_px,
        height_px,
    }))
}

/// The frame, at most 800 px wide and high.
#[utoipa::path(get, path = "/cameras/{camera}/frames/{seq}/image", tag = "frames",
    params(("camera" = String, Path), ("seq" = u64, Path)),
    responses(
        (status = 200, content_type = "image/jpeg", body = Vec<u8>),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "No picture of it is kept"),
        (status = 409, description = "The run is not kept"),
))]
pub(super) async fn image(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Named((camera, seq)): Named<(Arc<str>, u64)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let picture = picture(&shared, kept.pictures, camera, seq).await?;
    Ok(kept_picture(&headers, seq, "image", picture.frame_jpeg))
}

/// The same picture with its heatmap and regions.
#[utoipa::path(get, path = "/cameras/{camera}/frames/{seq}/heatmap", tag = "frames",
    params(("camera" = String, Path), ("seq" = u64, Path)),
    responses(
        (status = 200, content_type = "image/jpeg", body = Vec<u8>),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "No picture of it is kept"),
        (status = 409, description = "The run is not kept"),
))]
pub(super) async fn heatmap(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Named((camera, seq)): Named<(Arc<str>, u64)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let picture = picture(&shared, kept.pictures, camera, seq).await?;
    Ok(kept_picture(&headers, seq, "heatmap", picture.heatmap_jpeg))
}

/// The pictures of a frame that are kept in the file `pictures`.
pub(super) async fn picture(
    shared: &SharedState,
    pictures: PathBuf,
    camera: Arc<str>,
    seq: u64,
) -> Result<KeptPicture, Refusal> {
    let _place = shared.place_to_read().await?;
    let none = format!(
        "no picture of frame {seq} of camera \"{camera}\" is kept: rejected and borderline frames are, the newest of them"
    );
    let read = move || Pictures::look(&pictures)?.map_or(Ok(None), |pictures| pictures.of(&camera, seq));
    match blocking(read).await? {
        Ok(Some(picture)) => Ok(picture),
        Ok(None) => Err(Refusal::new(StatusCode::NOT_FOUND, none)),
        // Without the path, which is nobody's business.
        Err(_) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the file of the run's pictures cannot be read".to_owned(),
        )),
    }
}

/// A picture that is kept. A frame's picture is rarely drawn again, as when a run goes on from where it was cut.
pub(super) fn kept_picture(headers: &HeaderMap, seq: u64, which: &str, file: Vec<u8>) -> Response {
    let tag = format!("\"{which}-{seq}-{}\"", file.len());
    jpeg(headers, tag, "private, max-age=60", file.into())
}

/// A JPEG file; a browser that has it is told that it has not changed.
pub(super) fn jpeg(headers: &HeaderMap, tag: String, cache: &'static str, file: Bytes) -> Response {
    let is_known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let head = [(ETAG, tag), (CACHE_CONTROL, cache.to_owned())];
    match is_known {
        true => (StatusCode::NOT_MODIFIED, head).into_response(),
        false => (head, [(CONTENT_TYPE, "image/jpeg")], file).into_response(),
    }
}
