//! `GET /api/v1/cameras/{camera}/frames/{seq}`, and `/image`, `/heatmap`, `/closer` and `/nearest/{rank}` below it: how a frame looked that people
//! should look at, and the normal patches nearest to what was found in it.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use intakt_operators::imaging::decode;
use intakt_pipelines::pictures::{AboutPicture, KeptPicture, Pictures};
use intakt_pipelines::png::encode_png;
use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::{Named, Wanted};
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::{KeptRun, blocking};
use super::wire::File;
use super::wire::frames::{Format, Nearest, PicturedFrame};

/// A frame whose pictures are kept: rejected and borderline ones are, the newest of them, and the last of each camera.
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
        closer_px: picture.closer.map(|closer| closer.rect_px.into()),
        nearest: picture.nearest.into_iter().map(Nearest::from).collect(),
    }))
}

/// The frame, at most 800 px wide and high, for people: it is kept as JPEG, which is not the pixels that were judged, whatever it is served as.
#[utoipa::path(get, path = "/cameras/{camera}/frames/{seq}/image", tag = "frames",
    params(("camera" = String, Path), ("seq" = u64, Path), WantedFile),
    responses(
        (status = 200, description = "The file, PNG where that is asked for", content((File = "image/jpeg"), (File = "image/png"))),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "No picture of it is kept"),
        (status = 409, description = "The run is not kept"),
))]
pub(super) async fn image(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Named((camera, seq)): Named<(Arc<str>, u64)>,
    Wanted(file): Wanted<WantedFile>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    show(&shared, kept.pictures, camera, seq, Which::Frame, file, &headers).await
}

/// The same picture with its heatmap and regions.
#[utoipa::path(get, path = "/cameras/{camera}/frames/{seq}/heatmap", tag = "frames",
    params(("camera" = String, Path), ("seq" = u64, Path), WantedFile),
    responses(
        (status = 200, description = "The file, PNG where that is asked for", content((File = "image/jpeg"), (File = "image/png"))),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "No picture of it is kept"),
        (status = 409, description = "The run is not kept"),
))]
pub(super) async fn heatmap(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Named((camera, seq)): Named<(Arc<str>, u64)>,
    Wanted(file): Wanted<WantedFile>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    show(&shared, kept.pictures, camera, seq, Which::Heatmap, file, &headers).await
}

/// The part of the frame around what was found, pixel by pixel, of a frame that is larger than its picture.
#[utoipa::path(get, path = "/cameras/{camera}/frames/{seq}/closer", tag = "frames",
    params(("camera" = String, Path), ("seq" = u64, Path), WantedFile),
    responses(
        (status = 200, description = "The file, PNG where that is asked for", content((File = "image/jpeg"), (File = "image/png"))),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "No picture of it is kept, or that is as large as the frame"),
        (status = 409, description = "The run is not kept"),
))]
pub(super) async fn closer(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Named((camera, seq)): Named<(Arc<str>, u64)>,
    Wanted(file): Wanted<WantedFile>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    show(&shared, kept.pictures, camera, seq, Which::Closer, file, &headers).await
}

/// The training image of a nearest normal patch, at most 320 px wide and high.
#[utoipa::path(get, path = "/cameras/{camera}/frames/{seq}/nearest/{rank}", tag = "frames",
    params(("camera" = String, Path), ("seq" = u64, Path), ("rank" = usize, Path, description = "Index in `nearest` of the frame")),
    responses(
        (status = 200, content_type = "image/jpeg", body = File),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "No picture of it is kept"),
        (status = 409, description = "The run is not kept"),
))]
pub(super) async fn nearest(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Named((camera, seq, rank)): Named<(Arc<str>, u64, usize)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut picture = picture(&shared, kept.pictures, camera, seq).await?;
    let found = picture
        .nearest
        .get_mut(rank)
        .map(|patch| std::mem::take(&mut patch.training.image.jpeg));
    match found.filter(|file| !file.is_empty()) {
        Some(file) => Ok(kept_picture(&headers, picture.about, &format!("nearest-{rank}"), file)),
        None => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("frame {seq} has no picture of a training image {rank}"),
        )),
    }
}

/// As what kind of file a picture is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedFile {
    /// JPEG as it is kept, or PNG for programs that read nothing else.
    #[param(inline)]
    format: Option<Format>,
}

/// Which picture of a frame.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Frame,
    Heatmap,
    Closer,
}

/// One of the pictures of a frame that are kept in the file `pictures`.
pub(super) async fn show(
    shared: &SharedState,
    pictures: PathBuf,
    camera: Arc<str>,
    seq: u64,
    which: Which,
    WantedFile { format }: WantedFile,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let picture = picture(shared, pictures, camera, seq).await?;
    let (name, file) = match which {
        Which::Frame => ("image", picture.frame_jpeg),
        Which::Heatmap => ("heatmap", picture.heatmap_jpeg),
        Which::Closer => {
            let none = || {
                Refusal::new(
                    StatusCode::NOT_FOUND,
                    format!("the picture of frame {seq} is as large as it is"),
                )
            };
            ("closer", picture.closer.ok_or_else(none)?.jpeg)
        }
    };
    match format.unwrap_or_default() {
        Format::Jpeg => Ok(kept_picture(headers, picture.about, name, file)),
        Format::Png => {
            let tag = tag(picture.about, &format!("{name}-png"));
            let png = match is_known(headers, &tag) {
                true => Vec::new(),
                false => {
                    let _place = shared.place_to_read().await?;
                    // Without the reason, which is of a file that somebody damaged.
                    let damaged =
                        |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the picture is damaged".to_owned());
                    blocking(move || as_png(&file)).await?.map_err(damaged)?
                }
            };
            Ok(picture_file(headers, tag, REVALIDATED, "image/png", png.into()))
        }
    }
}

fn as_png(file: &[u8]) -> Result<Vec<u8>, String> {
    let image = decode(file, u16::MAX).map_err(|error| error.to_string())?;
    encode_png(&image)
}

/// What is kept of a frame in the file `pictures`.
async fn picture(shared: &SharedState, pictures: PathBuf, camera: Arc<str>, seq: u64) -> Result<KeptPicture, Refusal> {
    let none = format!(
        "no picture of frame {seq} of camera \"{camera}\" is kept: rejected and borderline frames are, the newest of them, and the last of each camera"
    );
    let read = move |pictures: &Pictures| pictures.of(&camera, seq);
    let found = read_pictures(shared, pictures, read).await?;
    found.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, none))
}

/// Reads from the file `pictures`, if it is there; few do so at once.
pub(super) async fn read_pictures<T: Send + 'static>(
    shared: &SharedState,
    pictures: PathBuf,
    read: impl FnOnce(&Pictures) -> Result<Option<T>, String> + Send + 'static,
) -> Result<Option<T>, Refusal> {
    let _place = shared.place_to_read().await?;
    let read = move || Pictures::look(&pictures)?.map_or(Ok(None), |pictures| read(&pictures));
    // Without the path, which is nobody's business.
    let error = "the file of the run's pictures cannot be read";
    let refused = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_owned());
    blocking(read).await?.map_err(refused)
}

/// A browser may keep it, and asks each time whether it is still the same.
const REVALIDATED: &str = "private, no-cache";

/// A picture as it is kept.
fn kept_picture(headers: &HeaderMap, about: AboutPicture, name: &str, file: Vec<u8>) -> Response {
    jpeg(headers, tag(about, name), REVALIDATED, file.into())
}

/// Another run may be at the same address later, and a frame may be drawn again where a run goes on from where it was cut: when it was
/// drawn tells them apart.
fn tag(about: AboutPicture, name: &str) -> String {
    format!("\"{name}-{}-{}\"", about.seq, about.drawn_at_us)
}

/// A JPEG file; a browser that has it is told that it has not changed.
pub(super) fn jpeg(headers: &HeaderMap, tag: String, cache: &'static str, file: Bytes) -> Response {
    picture_file(headers, tag, cache, "image/jpeg", file)
}

/// Whether the browser has the file with this tag: it may name several, or say that any would do.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|known| known.to_str().ok());
    let mut known = known.flat_map(|known| known.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn picture_file(
    headers: &HeaderMap,
    tag: String,
    cache: &'static str,
    content_type: &'static str,
    file: Bytes,
) -> Response {
    let is_known = is_known(headers, &tag);
    let head = [(ETAG, tag), (CACHE_CONTROL, cache.to_owned())];
    match is_known {
        true => (StatusCode::NOT_MODIFIED, head).into_response(),
        false => (head, [(CONTENT_TYPE, content_type)], file).into_response(),
    }
}
