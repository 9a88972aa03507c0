//! `GET /api/v1/cameras`: what there is, and how it does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use intakt_operators::fixed_point;

use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::Keeper;
use super::wire::cameras::{Camera, Cameras};
use super::wire::line::LineCamera;

/// A detector and its threshold.
type Setting = (Arc<str>, f64);

/// The cameras of the run, with their state and what became of their frames.
#[utoipa::path(get, path = "/cameras", tag = "line", responses((status = 200, body = Cameras)))]
pub(super) async fn cameras(State(shared): State<Shared>) -> Result<Json<Cameras>, Refusal> {
    let line = shared.line.borrow().line.cameras.clone();
    let mut cameras = Vec::with_capacity(line.len());
    for camera in line {
        let setting = setting(&shared, &camera).await?;
        let (detector, threshold) = setting.unzip();
        let live = shared.served.live();
        cameras.push(Camera {
            takes_frames: live.is_some_and(|live| live.posters.contains_key(&camera.camera)),
            camera: camera.camera,
            state: camera.state,
            reason: camera.reason,
            captured: camera.captured,
            judged: camera.judged,
            rejected: camera.rejected,
            unreadable: camera.unreadable,
            dropped: camera.dropped,
            detector,
            threshold,
        });
    }
    Ok(Json(Cameras { cameras }))
}

/// What looks at a camera, or looked at its newest frame.
async fn setting(shared: &SharedState, camera: &LineCamera) -> Result<Option<Setting>, Refusal> {
    match (shared.served.live(), &shared.served.keeper) {
        (Some(live), _) => {
            let detector = live.controls.newest(&camera.camera).ok();
            Ok(detector.map(|detector| {
                (
                    detector.id().clone(),
                    fixed_point(detector.calibration().image.threshold),
                )
            }))
        }
        (None, Keeper::Here(kept)) => {
            let name = camera.camera.clone();
            let last = shared.read_counted(kept, move |_, counted| {
                let last = counted.camera(&name).and_then(|camera| camera.last.as_ref());
                Ok(last.map(|last| (last.detector.clone(), last.threshold)))
            });
            last.await
        }
        (None, _) => Ok(None),
    }
}
