//! What is where.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use intakt_pipelines::sinks::{LiveStatus, RunState};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use super::admission::{Rate, admit};
use super::metrics::exposition;
use super::posting::post_frame;
use super::{Limits, Served, Token, line, page, session, telling};

/// What Prometheus expects of its text format.
const EXPOSITION: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What a refusal is told in.
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What every request is given.
pub(super) type Shared = Arc<SharedState>;

/// The server's own things and those that it serves.
pub(super) struct SharedState {
    pub(super) served: Served,
    pub(super) token: Option<Token>,
    pub(super) limits: Limits,
    pub(super) rate: Rate,
    pub(super) picture_rate: Rate,
    /// The run as it is now, as JSON.
    pub(super) line: watch::Receiver<Arc<str>>,
    /// Places for bodies in memory.
    pub(super) bodies: Semaphore,
}

/// All routes, behind the admission.
pub(super) fn router(served: Served, line: watch::Receiver<Arc<str>>, token: Option<Token>, limits: Limits) -> Router {
    let shared = Arc::new(SharedState {
        served,
        token,
        rate: Rate::new(limits.requests_per_second_max, Instant::now()),
        picture_rate: Rate::new(limits.pictures_per_second_max, Instant::now()),
        line,
        bodies: Semaphore::new(limits.bodies_max),
        limits,
    });
    let api = Router::new()
        .route("/cameras/{camera}/frames", post(post_frame))
        .route("/status", get(status))
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .merge(telling::routes())
        .merge(line::routes())
        .merge(session::routes());
    Router::new()
        .nest("/api/v1", api)
        .merge(page::routes())
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .fallback(nothing_there)
        .layer(middleware::from_fn_with_state(shared.clone(), admit))
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let board = &shared.served.board;
    let text = exposition(&board.status(), &board.buckets());
    ([(CONTENT_TYPE, EXPOSITION)], text).into_response()
}

async fn health() -> Json<serde_json::Value> {
    Json(json!({"alive": true}))
}

async fn ready(State(shared): State<Shared>) -> Result<Json<serde_json::Value>, Refusal> {
    match unready(&shared.served.board.status()) {
        None => Ok(Json(json!({"ready": true}))),
        Some(reason) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned())),
    }
}

/// Why a run is not ready for frames, or has nothing to show yet.
fn unready(status: &LiveStatus) -> Option<&'static str> {
    match status.state {
        RunState::Starting => Some("the run is starting"),
        RunState::Ending | RunState::Ended => Some("the run is ending"),
        RunState::Running
            if status.keeps_log && status.newest_captured_at_us.is_some() && status.frontier_us.is_none() =>
        {
            Some("frames came, and no time has passed the dataflow yet")
        }
        RunState::Running => None,
    }
}

async fn status(State(shared): State<Shared>) -> Json<LiveStatus> {
    Json(shared.served.board.status())
}

async fn nothing_there() -> Refusal {
    let there = "there is, below /api/v1, POST /cameras/{camera}/frames, /labels and /session, PUT /cameras/{camera}/threshold, \
                 /detector, /lot and /what-if/{name}, GET /status, /events and /cameras/{camera}/picture, and GET /, /metrics, \
                 /health and /ready";
    Refusal::new(StatusCode::NOT_FOUND, there.to_owned())
}

/// Why a request is not answered as its sender wished.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// What was found and what to do.
    pub(super) error: String,
    /// When it is worth trying again.
    pub(super) retry_after: Option<Duration>,
    /// The frame that it is about, where there is one.
    pub(super) frame: Option<(Arc<str>, u64)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: String) -> Self {
        Self {
            status,
            error,
            retry_after: None,
            frame: None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // RFC 9457.
        let title = self.status.canonical_reason().unwrap_or_default();
        let mut body =
            json!({"type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.error});
        if let Some((camera, seq)) = self.frame {
            body["camera"] = json!(camera);
            body["seq"] = json!(seq);
        }
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
        if let Some(wait) = self.retry_after {
            // In whole seconds, and never at once.
            let seconds = wait.as_secs() + 1;
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// What a request's query asks for; what is wrong with it is told as every other refusal is.
pub(super) fn asked<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    match Query::try_from_uri(uri) {
        Ok(Query(asked)) => Ok(asked),
        Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, error.body_text())),
    }
}

/// A body that is JSON already.
pub(super) fn json_bytes(json: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], Bytes::from(json)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_ready_while_it_runs_and_time_passes() {
        let status = |state, newest_captured_at_us, frontier_us| LiveStatus {
            state,
            keeps_log: true,
            frontier_us,
            newest_captured_at_us,
            ..LiveStatus::default()
        };
        for (state, newest_us, frontier_us, expected) in [
            (RunState::Starting, None, None, false),
            (RunState::Running, None, None, true),
            (RunState::Running, Some(5), None, false),
            (RunState::Running, Some(5), Some(3), true),
            (RunState::Ending, Some(5), Some(3), false),
            (RunState::Ended, Some(5), Some(3), false),
        ] {
            let found = unready(&status(state, newest_us, frontier_us)).is_none();
            assert_eq!(found, expected, "{state:?} {newest_us:?} {frontier_us:?}");
        }
        let beside_the_log = LiveStatus {
            keeps_log: false,
            ..status(RunState::Running, Some(5), None)
        };
        assert_eq!(unready(&beside_the_log), None, "time passes in process 0");
    }
}
