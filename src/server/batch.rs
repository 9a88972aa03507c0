//! `POST /api/v1/cameras/{camera}/frames/batch`: several images in, their verdicts out.

use axum::Json;
use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use futures::StreamExt;
use intakt_pipelines::sources::{Clock, Poster, SystemClock};
use tokio::time::timeout;

use super::asked::Named;
use super::multipart::{Part, Parts, Step, Unfit};
use super::posting::{
    Wishes, captured_at_us, ending, hand_over, not_ahead, poster, too_many, too_slow_a_body, verdict,
};
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::{Live, LiveRun};
use super::wire::posting::{Batch, BatchBody, BatchImage};

/// Several images, at most 64, each a part of the body, which may say in a header `Captured-At-Us` when it was captured. An image is
/// handed to the camera when the one before has its verdict, so that no batch makes its own camera drop frames.
#[utoipa::path(post, path = "/cameras/{camera}/frames/batch", tag = "frames", params(("camera" = String, Path)),
    request_body(content = BatchBody, content_type = "multipart/form-data"),
    responses(
        (status = 200, body = Batch),
        (status = 404, description = "No such camera takes posted frames"),
        (status = 409, description = "No run goes on here"),
        (status = 503, description = "The run is ending"),
    ))]
pub(super) async fn post_frames(
    State(shared): State<Shared>,
    LiveRun(live): LiveRun,
    Named(camera): Named<String>,
    request: Request,
) -> Result<Json<Batch>, Refusal> {
    let poster = poster(&live, &camera)?;
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let parts = content_type.and_then(|kind| Parts::of(kind, shared.limits.body_bytes_max));
    let mut arriving = Arriving {
        parts: parts.ok_or_else(|| {
            let error =
                "a batch is multipart/form-data with a boundary, as `curl -F image=@a.png -F image=@b.png` sends it";
            Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_owned())
        })?,
        body: request.into_body().into_data_stream(),
    };
    let mut batch = Batch {
        camera: poster.camera().clone(),
        images: Vec::new(),
        stopped: None,
    };
    let stopped = take_all(&shared, &live, &poster, &mut arriving, &mut batch.images).await;
    match stopped {
        Err(refusal) if batch.images.is_empty() => Err(refusal),
        stopped => {
            batch.stopped = stopped.err().map(|refusal| refusal.problem());
            Ok(Json(batch))
        }
    }
}

async fn take_all(
    shared: &SharedState,
    live: &Live,
    poster: &Poster,
    arriving: &mut Arriving,
    images: &mut Vec<BatchImage>,
) -> Result<(), Refusal> {
    let limits = &shared.limits;
    loop {
        if live.stop.is_stopped() {
            return Err(ending());
        }
        let taken = {
            let place = timeout(limits.body_wait_max, shared.bodies.acquire()).await;
            let _place = place.map_err(|_| too_many(limits.bodies_max))?;
            let part = timeout(limits.body_wait_max, arriving.part(limits.body_bytes_max)).await;
            let Some(part) = part.map_err(|_| too_slow_a_body(limits.body_wait_max))?? else {
                break;
            };
            if images.len() == limits.batch_images_max {
                let error = format!("a batch has at most {} images", limits.batch_images_max);
                return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error));
            }
            match wishes(&part) {
                Ok(wishes) => hand_over(live, poster, &wishes, &part.bytes, limits.body_wait_max).await,
                Err(refusal) => Err(refusal),
            }
        };
        let judged = match taken {
            Ok((seq, Some(answered))) => verdict(poster, seq, answered, limits.verdict_wait_max).await,
            Ok((_, None)) => unreachable!("a batch waits for its verdicts"),
            Err(refusal) => Err(refusal),
        };
        images.push(BatchImage::of(judged));
    }
    match images.is_empty() {
        true => Err(Refusal::bad("there is no image in the body".to_owned())),
        false => Ok(()),
    }
}

fn wishes(part: &Part) -> Result<Wishes, Refusal> {
    if part.bytes.is_empty() {
        return Err(Refusal::bad("there is no image in this part".to_owned()));
    }
    let captured_at_us = part.captured_at_us.as_deref().map(captured_at_us).transpose()?;
    not_ahead(captured_at_us, SystemClock.now_us())?;
    Ok(Wishes {
        wait: true,
        captured_at_us,
    })
}

/// A body on its way.
struct Arriving {
    parts: Parts,
    body: BodyDataStream,
}

impl Arriving {
    /// The next part; none when all have come.
    async fn part(&mut self, part_bytes_max: usize) -> Result<Option<Part>, Refusal> {
        loop {
            let step = self.parts.next().map_err(|unfit| match unfit {
                Unfit::Broken(what) => Refusal::bad(format!("the body cannot be taken apart: {what}")),
                Unfit::TooLarge => Refusal::too_large("image", part_bytes_max),
            })?;
            match step {
                Step::Part(part) => return Ok(Some(part)),
                Step::End => return Ok(None),
                Step::More => match self.body.next().await {
                    Some(Ok(bytes)) => self.parts.feed(&bytes),
                    Some(Err(_)) | None => {
                        let error = "the body ends before its last boundary";
                        return Err(Refusal::bad(error.to_owned()));
                    }
                },
            }
        }
    }
}

impl BatchImage {
    fn of(judged: Result<Vec<u8>, Refusal>) -> Self {
        let (status, verdict, problem) = match judged {
            Ok(json) => (StatusCode::OK, serde_json::from_slice(&json).ok(), None),
            Err(refusal) => (refusal.status, None, Some(refusal.problem())),
        };
        Self {
            status: status.as_u16(),
            verdict,
            problem,
        }
    }
}
