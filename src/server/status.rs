//! `GET /api/v1/status`: all that is known of the run at this moment.

use axum::Json;
use axum::extract::State;
use intakt_pipelines::sinks::LiveStatus;

use super::routes::Shared;
use super::wire::status::RunStatus;

/// All that is known of the run at this moment: cameras, latencies, the newest windows, alerts, answers to standing questions.
#[utoipa::path(get, path = "/status", tag = "line", responses((status = 200, body = RunStatus)))]
pub(super) async fn status(State(shared): State<Shared>) -> Json<LiveStatus> {
    Json(shared.status())
}
