//! What is where.

use std::sync::Arc;

use axum::body::{Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use intakt_pipelines::sinks::{LiveStatus, RunState};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admission::{Rate, Strangers, admit, let_through, rates_of_callers};
use super::detectors::{Cards, DETECTOR_BYTES_MAX};
use super::line::{Lookers, Said};
use super::metrics::exposition;
use super::problem::Refusal;
use super::served::{SharedCompared, SharedCounted};
use super::telling::SAID_BYTES_MAX;
use super::tokens::{Role, Tokens};
use super::{
    Limits, Served, alerts, audit, batch, cameras, compare, detectors, frames, histogram, labels, latencies, line,
    openapi, page, posting, rates, session, status, telling, verdict_events, verdicts,
};

/// What Prometheus expects of its text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What every request is given.
pub(super) type Shared = Arc<SharedState>;

/// The server's own things and those that it serves.
pub(super) struct SharedState {
    pub(super) served: Served,
    pub(super) tokens: Option<Tokens>,
    pub(super) limits: Limits,
    pub(super) rates: Vec<Rate>,
    pub(super) strangers: Strangers,
    /// The run as it was said last.
    pub(super) line: watch::Receiver<Arc<Said>>,
    /// One more than are told of it.
    pub(super) viewers: Arc<()>,
    /// Those of them who look at pictures.
    pub(super) lookers: Arc<Lookers>,
    /// Places for bodies in memory.
    pub(super) bodies: Semaphore,
    /// Places for detectors in memory.
    pub(super) uploads: Semaphore,
    /// The place of the one who lists detectors.
    pub(super) lists: Semaphore,
    /// Places for whoever reads from the store.
    pub(super) reads: Semaphore,
    /// What was counted of the store's frames so far.
    pub(super) counted: SharedCounted,
    /// What was compared with the other run so far.
    pub(super) compared: SharedCompared,
    /// The cards of detectors that were read once.
    pub(super) cards: Cards,
    /// What there is to ask, as JSON.
    pub(super) openapi: Bytes,
}

/// All routes, behind the admission.
pub(super) fn router(
    served: Served,
    line: watch::Receiver<Arc<Said>>,
    lookers: Arc<Lookers>,
    counted: SharedCounted,
    tokens: Option<Tokens>,
    limits: Limits,
) -> Router {
    let (routes, document) = documented(limits);
    let shared = Arc::new(SharedState {
        served,
        rates: rates_of_callers(tokens.as_ref(), limits.requests_per_second_max),
        strangers: Strangers::new(limits.stranger_requests_per_second_max),
        tokens,
        line,
        viewers: Arc::default(),
        lookers,
        bodies: Semaphore::new(limits.bodies_max),
        uploads: Semaphore::new(1),
        lists: Semaphore::new(1),
        reads: Semaphore::new(limits.reads_max),
        counted,
        compared: SharedCompared::default(),
        cards: Cards::default(),
        openapi: document.to_json().expect("a document is JSON").into(),
        limits,
    });
    routes
        .merge(page::routes())
        .fallback(nothing_there)
        .method_not_allowed_fallback(not_that_way)
        .layer(from_fn_with_state(shared.clone(), admit))
        .with_state(shared)
}

/// The routes with what is said of them, by the role that they need.
fn documented(limits: Limits) -> (Router<Shared>, OpenApi) {
    let reading = OpenApiRouter::new()
        .routes(routes!(status::status))
        .routes(routes!(cameras::cameras))
        .routes(routes!(line::events))
        .routes(routes!(line::picture))
        .routes(routes!(frames::frame))
        .routes(routes!(frames::image))
        .routes(routes!(frames::heatmap))
        .routes(routes!(frames::closer))
        .routes(routes!(frames::nearest))
        .routes(routes!(verdicts::verdicts))
        .routes(routes!(verdict_events::verdict_events))
        .routes(routes!(histogram::histogram))
        .routes(routes!(compare::compare))
        .routes(routes!(compare::flips))
        .routes(routes!(compare::image))
        .routes(routes!(compare::heatmap))
        .routes(routes!(rates::rates))
        .routes(routes!(latencies::latencies))
        .routes(routes!(alerts::alerts))
        .routes(routes!(detectors::detectors))
        .routes(routes!(session::session))
        .routes(routes!(openapi::openapi));
    let frames = taking(
        limits.body_bytes_max,
        OpenApiRouter::new().routes(routes!(posting::post_frame)),
    );
    let batches = OpenApiRouter::new()
        .routes(routes!(batch::post_frames))
        // It counts by itself, image by image.
        .layer(DefaultBodyLimit::disable());
    let labels = taking(SAID_BYTES_MAX, OpenApiRouter::new().routes(routes!(labels::labels)));
    let changing = OpenApiRouter::new()
        .routes(routes!(telling::threshold))
        .routes(routes!(telling::lot))
        .routes(routes!(telling::ask, telling::ask_no_more))
        .routes(routes!(audit::audit));
    let changing = taking(SAID_BYTES_MAX, changing);
    let uploading = OpenApiRouter::new()
        .routes(routes!(detectors::upload))
        .routes(routes!(detectors::activate));
    let uploading = taking(DETECTOR_BYTES_MAX, uploading);
    let signing_in = OpenApiRouter::new().routes(routes!(session::sign_in, session::sign_out));
    let api = taking(SAID_BYTES_MAX, signing_in)
        .merge(needing(Role::Viewer, reading))
        .merge(needing(Role::Inspector, frames.merge(batches).merge(labels)))
        .merge(needing(Role::Admin, changing.merge(uploading)));
    let beside = OpenApiRouter::new().routes(routes!(metrics)).routes(routes!(ready));
    let (routes, mut document) = OpenApiRouter::with_openapi(openapi::about())
        .nest("/api/v1", api)
        .merge(needing(Role::Viewer, beside))
        .routes(routes!(health))
        .split_for_parts();
    openapi::finish(&mut document);
    (routes, document)
}

/// Routes that take a body of so many bytes at most. Of one that is announced to have more, nothing is read.
fn taking(bytes_max: usize, routes: OpenApiRouter<Shared>) -> OpenApiRouter<Shared> {
    routes
        .layer(from_fn(move |request: Request, next: Next| async move {
            match request.body().size_hint().lower() > bytes_max as u64 {
                true => Err(Refusal::too_large("body", bytes_max)),
                false => Ok(next.run(request).await),
            }
        }))
        .layer(DefaultBodyLimit::max(bytes_max))
}

/// Routes for whoever has a role, or a higher one.
fn needing(role: Role, mut routes: OpenApiRouter<Shared>) -> OpenApiRouter<Shared> {
    openapi::needs(routes.get_openapi_mut(), role);
    routes.route_layer(from_fn(move |request: Request, next: Next| {
        let_through(role, request, next)
    }))
}

impl SharedState {
    /// A place among the many who are told what happens, and how many others have one.
    pub(super) fn place_to_be_told(&self) -> Result<(Arc<()>, usize), Refusal> {
        let place = self.viewers.clone();
        // The server has one, and so has each viewer.
        let others = Arc::strong_count(&place) - 2;
        match others < self.limits.viewers_max {
            true => Ok((place, others)),
            false => Err(Refusal::busy(format!("{others} are told what happens already"))),
        }
    }

    /// The run as it is now.
    pub(super) fn status(&self) -> LiveStatus {
        match self.served.live() {
            Some(live) => live.board.status(),
            None => self.line.borrow().status.clone(),
        }
    }
}

/// The run's figures in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "line", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(shared): State<Shared>) -> Response {
    let live = shared.served.live();
    let buckets = live.map_or(Vec::new(), |live| live.board.buckets());
    let text = exposition(&shared.status(), &buckets);
    ([(CONTENT_TYPE, EXPOSITION)], text).into_response()
}

/// Whether the program is there.
#[utoipa::path(get, path = "/health", tag = "session", security(()), responses((status = 200, body = Object)))]
async fn health() -> Json<serde_json::Value> {
    Json(json!({"alive": true}))
}

/// Whether the run is ready for frames; of a run that does not go on here, whether there is something to see.
#[utoipa::path(get, path = "/ready", tag = "session", responses(
    (status = 200, body = Object),
    (status = 503, description = "It is not; `detail` says why"),
))]
async fn ready(State(shared): State<Shared>) -> Result<Json<serde_json::Value>, Refusal> {
    let status = shared.status();
    let is_shown = shared.served.live().is_none() && status.state != RunState::Starting;
    match unready(&status).filter(|_| !is_shown) {
        None => Ok(Json(json!({"ready": true}))),
        Some(reason) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned())),
    }
}

/// Why a run is not ready for frames, or has nothing to show yet.
fn unready(status: &LiveStatus) -> Option<&'static str> {
    match status.state {
        RunState::Starting => Some("the run is starting"),
        RunState::Ending | RunState::Ended | RunState::Interrupted => Some("the run is ending"),
        RunState::Running
            if status.keeps_log && status.newest_captured_at_us.is_some() && status.frontier_us.is_none() =>
        {
            Some("frames came, and no time has passed the dataflow yet")
        }
        RunState::Running => None,
    }
}

async fn nothing_there() -> Refusal {
    let there = "there is nothing here; `GET /api/v1/openapi.json` says what there is";
    Refusal::new(StatusCode::NOT_FOUND, there.to_owned())
}

async fn not_that_way() -> Refusal {
    let there = "this is not how to ask here; `GET /api/v1/openapi.json` says how";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, there.to_owned())
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
