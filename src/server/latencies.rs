//! `GET /api/v1/latencies`: how long the stages take.

use axum::Json;
use axum::extract::State;
use intakt_operators::dataflow::LATENCY_MINUTES_MAX;
use intakt_operators::metrics::parse_duration_us;
use intakt_pipelines::sinks::{LiveStatus, StageStatus};
use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::Wanted;
use super::problem::Refusal;
use super::routes::Shared;
use super::telling::unknown_camera;
use super::wire::latencies::{LatenciesOfStages, StageLatency};

const MINUTE_US: u64 = 60_000_000;

/// Which latencies are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedLatencies {
    /// Of frames of this camera; of all unless it is given.
    camera: Option<String>,
    /// Of the last minutes of wall clock: a length from `1m` to `1h`. Since the run began unless it is given. Of a run that does not go
    /// on in this process only the latter is known.
    #[param(pattern = r"^[1-9][0-9]{0,3}[smh]$")]
    window: Option<String>,
}

/// How long the stages take: since the run began to two digits, in the last minutes to one.
#[utoipa::path(get, path = "/latencies", tag = "results", params(WantedLatencies), responses(
    (status = 200, body = LatenciesOfStages),
    (status = 404, description = "There is no such camera in the run"),
))]
pub(super) async fn latencies(
    State(shared): State<Shared>,
    Wanted(WantedLatencies { camera, window }): Wanted<WantedLatencies>,
) -> Result<Json<LatenciesOfStages>, Refusal> {
    let minutes = window.as_deref().map(minutes).transpose()?;
    let said = shared.line.borrow().clone();
    if let Some(camera) = &camera
        && !said.status.cameras.iter().any(|known| *known.camera == **camera)
    {
        return Err(unknown_camera(
            camera,
            said.status.cameras.iter().map(|known| &known.camera),
        ));
    }
    let (minutes, stages) = match shared.served.live() {
        Some(live) => (minutes, live.board.stages(camera.as_deref(), minutes)),
        None => (None, since_the_beginning(&said.status, camera.as_deref())),
    };
    Ok(Json(LatenciesOfStages {
        minutes,
        stages: stages.into_iter().map(StageLatency::from).collect(),
    }))
}

fn minutes(typed: &str) -> Result<u64, Refusal> {
    let minutes = parse_duration_us(typed).ok().map(|us| us.div_ceil(MINUTE_US));
    minutes
        .filter(|minutes| (1..=LATENCY_MINUTES_MAX).contains(minutes))
        .ok_or_else(|| Refusal::bad("window: it is a length from 1m to 1h".to_owned()))
}

fn since_the_beginning(status: &LiveStatus, camera: Option<&str>) -> Vec<StageStatus> {
    match camera {
        None => status.stages.clone(),
        Some(camera) => {
            let of_camera = status.cameras.iter().find(|known| *known.camera == *camera);
            of_camera.map_or_else(Vec::new, |known| known.stages.clone())
        }
    }
}
