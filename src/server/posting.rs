//! `POST /api/v1/cameras/{camera}/frames`: an image in, its verdict out.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use intakt_operators::DropReason;
use intakt_pipelines::sources::{Clock, Poster, SystemClock};
use serde::Deserialize;
use tokio::sync::oneshot::{Receiver, channel};
use tokio::time::timeout;
use utoipa::IntoParams;

use super::answers::Answer;
use super::asked::{Named, Wanted};
use super::problem::Refusal;
use super::routes::{Shared, json_bytes};
use super::served::{Live, LiveRun};
use super::wire::File;
use super::wire::posting::{FrameVerdict, TakenFrame};

/// Header with the event time of a frame, microseconds since 1970; the query `captured_at_us` means the same.
const CAPTURED_AT_HEADER: &str = "captured-at-us";

/// How far ahead of this machine's clock a frame may say that it was captured: more than clocks and time zones are apart. Time
/// cannot be taken back once it has gone on.
const AHEAD_MAX_US: u64 = 86_400_000_000;

/// Cameras that an error names: a person reads it.
const CAMERAS_NAMED_MAX: usize = 20;

/// When a frame that found its camera busy may be followed by another: a second is many frames.
const BUSY_PAUSE: Duration = Duration::ZERO;

/// What is asked for beside the image.
#[derive(Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wishes {
    /// Whether to wait for the verdict.
    #[serde(default = "yes")]
    #[param(required = false, default = true)]
    pub(super) wait: bool,
    /// When the image was captured, microseconds since 1970, at most a day ahead of this machine's clock; without it, now. A header
    /// `Captured-At-Us` means the same.
    pub(super) captured_at_us: Option<u64>,
}

fn yes() -> bool {
    true
}

/// Where a posted frame is in its camera's stream, and who will say what became of it.
pub(super) type Taken = (u64, Option<Receiver<Answer>>);

/// Hands the image to its camera, and answers with the verdict; with `wait=false` as soon as the camera has it.
#[utoipa::path(post, path = "/cameras/{camera}/frames", tag = "frames",
    params(("camera" = String, Path), Wishes),
    request_body(content = File, content_type = "application/octet-stream", description = "A PNG, JPEG, BMP or TIFF file"),
    responses(
        (status = 200, body = FrameVerdict, description = "The verdict, as in the log"),
        (status = 202, body = TakenFrame, description = "The camera has it, and nobody waits"),
        (status = 404, description = "No such camera takes posted frames"),
        (status = 409, description = "No run goes on here"),
        (status = 503, description = "The run is ending"),
        (status = 504, description = "The verdict took too long, and will be in the log"),
    ))]
pub(super) async fn post_frame(
    State(shared): State<Shared>,
    LiveRun(live): LiveRun,
    Named(camera): Named<String>,
    Wanted(wishes): Wanted<Wishes>,
    request: Request,
) -> Result<Response, Refusal> {
    let poster = poster(&live, &camera)?;
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(b"multipart/")) {
        // It would be a frame that is unreadable.
        let error = "a form is no image: send the file's bytes as they are (`--data-binary @part.png`), or forms to …/frames/batch";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_owned()));
    }
    let wishes = wishes.with(request.headers(), SystemClock.now_us())?;
    if live.stop.is_stopped() {
        return Err(ending());
    }
    let (seq, answered) = take(&shared, &live, &poster, &wishes, request).await?;
    let Some(answered) = answered else {
        let camera = poster.camera().clone();
        return Ok((StatusCode::ACCEPTED, Json(TakenFrame { camera, seq })).into_response());
    };
    verdict(&poster, seq, answered, shared.limits.verdict_wait_max)
        .await
        .map(json_bytes)
}

/// Waits for the verdict on a frame: its JSON.
pub(super) async fn verdict(
    poster: &Poster,
    seq: u64,
    answered: Receiver<Answer>,
    wait_max: Duration,
) -> Result<Vec<u8>, Refusal> {
    let refusal = match timeout(wait_max, answered).await {
        Ok(Ok(Answer::Verdict(json))) => return Ok(json),
        Ok(Ok(Answer::Dropped(reason))) => dropped(poster.camera(), reason),
        Ok(Err(_)) => ending(),
        Err(_) => too_slow(wait_max),
    };
    Err(Refusal {
        frame: Some((poster.camera().clone(), seq)),
        ..refusal
    })
}

pub(super) fn poster(live: &Live, camera: &str) -> Result<Poster, Refusal> {
    let posters = &live.posters;
    posters.get(camera).cloned().ok_or_else(|| {
        let named: Vec<String> = posters
            .keys()
            .take(CAMERAS_NAMED_MAX)
            .map(|name| format!("\"{name}\""))
            .collect();
        let known = match (named.is_empty(), posters.len() - named.len()) {
            (true, _) => "none does: they have `source = \"http\"` in the run file".to_owned(),
            (false, 0) => format!("these do: {}", named.join(", ")),
            (false, more) => format!("these do: {} and {more} more", named.join(", ")),
        };
        let error = format!("no camera \"{camera}\" takes posted frames; {known}");
        Refusal::new(StatusCode::NOT_FOUND, error)
    })
}

impl Wishes {
    /// The same with what headers say.
    fn with(mut self, headers: &HeaderMap, now_us: u64) -> Result<Self, Refusal> {
        if let Some(header) = headers.get(CAPTURED_AT_HEADER) {
            self.captured_at_us = Some(captured_at_us(header.as_bytes())?);
        }
        not_ahead(self.captured_at_us, now_us)?;
        Ok(self)
    }
}

/// The event time that a header states.
pub(super) fn captured_at_us(header: &[u8]) -> Result<u64, Refusal> {
    let number = std::str::from_utf8(header)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| Refusal::bad(format!("header {CAPTURED_AT_HEADER}: not a number of microseconds")))
}

/// Refuses a time that the run would have to wait for.
pub(super) fn not_ahead(captured_at_us: Option<u64>, now_us: u64) -> Result<(), Refusal> {
    match captured_at_us {
        Some(time_us) if time_us > now_us.saturating_add(AHEAD_MAX_US) => Err(Refusal::bad(format!(
            "captured_at_us: {time_us} is more than a day ahead of this machine's clock, which is at {now_us}; it is \
             microseconds since 1970"
        ))),
        _ => Ok(()),
    }
}

/// Reads the body and hands it to the camera.
async fn take(
    shared: &Shared,
    live: &Live,
    poster: &Poster,
    wishes: &Wishes,
    request: Request,
) -> Result<Taken, Refusal> {
    let wait_max = shared.limits.body_wait_max;
    let bytes_max = shared.limits.body_bytes_max;
    let place = timeout(wait_max, shared.bodies.acquire()).await;
    let _place = place.map_err(|_| too_many(shared.limits.bodies_max))?;
    let body = timeout(wait_max, body(request, bytes_max)).await;
    let body = body.map_err(|_| too_slow_a_body(wait_max))??;
    hand_over(live, poster, wishes, &body, wait_max).await
}

async fn body(request: Request, bytes_max: usize) -> Result<Bytes, Refusal> {
    let body = Bytes::from_request(request, &()).await;
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large("image", bytes_max),
        status => Refusal::new(status, error.body_text()),
    })?;
    if body.is_empty() {
        let error = "there is no image in the body: send the bytes of a PNG, JPEG, BMP or TIFF file";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, error.to_owned()));
    }
    Ok(body)
}

/// Hands an image to its camera, which takes it in time or not at all.
pub(super) async fn hand_over(
    live: &Live,
    poster: &Poster,
    wishes: &Wishes,
    body: &[u8],
    wait_max: Duration,
) -> Result<Taken, Refusal> {
    let taken = timeout(wait_max, hand(live, poster, wishes, body)).await;
    taken.unwrap_or_else(|_| Err(not_taken(poster.camera(), wait_max)))
}

async fn hand(live: &Live, poster: &Poster, wishes: &Wishes, body: &[u8]) -> Result<Taken, Refusal> {
    let (tell, told) = channel();
    let (answers, camera) = (live.answers.clone(), poster.camera().clone());
    let wait = wishes.wait;
    // A frame may be judged before this task goes on, so who waits for it is noted where it is numbered; and it is withdrawn
    // if this task has given up by then.
    let numbered =
        move |seq| !tell.is_closed() && tell.send((seq, wait.then(|| answers.wait_for(camera, seq)))).is_ok();
    let posted = poster
        .post(Arc::from(body), wishes.captured_at_us, Box::new(numbered))
        .await;
    posted.map_err(|_| ending())?;
    told.await.map_err(|_| ending())
}

pub(super) fn ending() -> Refusal {
    let error = "the run is ending: this frame was not judged";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_owned())
}

fn too_slow(waited: Duration) -> Refusal {
    let error = format!("no verdict within {waited:?}: it will be in the run's log");
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, error)
}

pub(super) fn too_many(bodies_max: usize) -> Refusal {
    Refusal {
        retry_after: Some(BUSY_PAUSE),
        ..Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("{bodies_max} images are being received already"),
        )
    }
}

pub(super) fn too_slow_a_body(waited: Duration) -> Refusal {
    let error = format!("the image did not arrive within {waited:?}");
    Refusal::new(StatusCode::REQUEST_TIMEOUT, error)
}

fn not_taken(camera: &str, waited: Duration) -> Refusal {
    Refusal {
        retry_after: Some(BUSY_PAUSE),
        ..Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "the queue of camera \"{camera}\" was full for {waited:?} (`overflow = \"block\"`); this frame is not part of the run"
            ),
        )
    }
}

fn dropped(camera: &str, reason: DropReason) -> Refusal {
    let why = match reason {
        DropReason::DropOldest => "a newer one came while it waited (`overflow = \"drop-oldest\"`)",
        DropReason::DropNewest => "it found the queue full (`overflow = \"drop-newest\"`)",
    };
    Refusal {
        retry_after: Some(BUSY_PAUSE),
        ..Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("camera \"{camera}\" has more frames than can be judged, and this one was dropped: {why}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::asked;
    use super::*;

    fn wished(uri: &str, header: Option<&str>) -> Result<Wishes, Refusal> {
        let mut headers = HeaderMap::new();
        header.map(|value| headers.insert(CAPTURED_AT_HEADER, value.parse().unwrap()));
        asked::<Wishes>(&uri.parse().unwrap())?.with(&headers, NOW_US)
    }

    const NOW_US: u64 = 1_767_592_800_000_000;

    #[test]
    fn wishes_are_read_or_refused() {
        let wishes = |wait, captured_at_us| Wishes { wait, captured_at_us };
        assert_eq!(wished("/f", None).unwrap(), wishes(true, None));
        assert_eq!(wished("/f?wait=false", None).unwrap(), wishes(false, None));
        assert_eq!(wished("/f?captured_at_us=7", None).unwrap(), wishes(true, Some(7)));
        assert_eq!(wished("/f?captured_at_us=7", Some("8")).unwrap(), wishes(true, Some(8)));
        let ahead = |more_us| format!("/f?captured_at_us={}", NOW_US + AHEAD_MAX_US + more_us);
        assert!(wished(&ahead(0), None).is_ok());
        for (uri, header) in [
            (ahead(1).as_str(), None),
            ("/f?captured_at_us=99999999999999999", None),
            ("/f?wait=nay", None),
            ("/f?wiat=false", None),
            ("/f?captured_at_us=-1", None),
            ("/f?captured_at_us=999999999999999999", None),
            ("/f?captured_at_us=18446744073709551616", None),
            ("/f", Some("noon")),
        ] {
            let refused = wished(uri, header).unwrap_err();
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{uri} {header:?}");
        }
    }
}
