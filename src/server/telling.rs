//! What can be said to a camera: thresholds, lots, questions.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use intakt_operators::detector::ScoreScale;
use intakt_operators::fixed_point;
use serde_json::json;

use super::asked::{Body, Named};
use super::audit::Asking;
use super::audit_log::Change;
use super::connections::Peer;
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{Keeper, Live, LiveRun};
use super::tokens::Caller;
use super::wire::cameras::{AskedThreshold, SaidToCamera, WantedLot, WantedThreshold};

/// Largest body but a detector's, bytes: ten thousand labels.
pub(super) const SAID_BYTES_MAX: usize = 1 << 20;

/// A threshold that is so many times as far from what is normal as the one before may be a slip.
const FAR: f64 = 10.0;

/// Longest name of a lot or a question, bytes.
const NAME_BYTES_MAX: usize = 200;

/// Cameras that an error names: a person reads it.
const CAMERAS_NAMED_MAX: usize = 20;

/// What was taken, and takes effect soon.
pub(super) type Accepted<T> = Result<(StatusCode, Json<T>), Refusal>;

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let address = parts.extensions.get::<Peer>().map(|Peer(peer)| peer.ip());
        Ok(Self {
            caller: parts.extensions.get().cloned().unwrap_or_else(Caller::local),
            address: address.as_ref().map(IpAddr::to_canonical),
        })
    }
}

/// Frames with a higher image score are rejected, from the camera's next frame on or from `at_seq`.
#[utoipa::path(put, path = "/cameras/{camera}/threshold", tag = "changes", params(("camera" = String, Path)),
    request_body = WantedThreshold, responses(
        (status = 202, body = SaidToCamera),
        (status = 400, description = "It is no image score that tells normal frames from others"),
        (status = 404, description = "There is no such camera"),
        (status = 409, description = "No run goes on here, or another process reads the camera"),
        (status = 503, description = "Too much waits to be heard"),
        (status = 507, description = "The audit log cannot be written"),
    ))]
pub(super) async fn threshold(
    State(shared): State<Shared>,
    LiveRun(live): LiveRun,
    Named(camera): Named<Arc<str>>,
    asking: Asking,
    Body(WantedThreshold { threshold, at_seq }): Body<WantedThreshold>,
) -> Accepted<SaidToCamera> {
    known(&live, &camera)?;
    seq_of_a_frame("at_seq", at_seq)?;
    if !threshold.is_finite() {
        return Err(Refusal::bad("threshold: it is a finite number".to_owned()));
    }
    let before = live.controls.newest(&camera).map_err(Refusal::busy)?;
    let scale = before.calibration().image;
    let [asked, normal_level, now] = [threshold, scale.normal_level, scale.threshold].map(fixed_point);
    if asked <= normal_level {
        return Err(Refusal::bad(format!(
            "threshold: it is an image score in the detector's own unit, and {asked} would reject everything: normal frames have \
             {normal_level} and more, and the threshold is {now} now"
        )));
    }
    let is_far = asked > far_from(scale);
    let far = is_far.then(|| format!("it is far above {now}, which it was: hardly anything will be rejected"));
    let notes = far.into_iter().chain(notes_on_change(&live, &camera, at_seq)).collect();
    let change = Change {
        what: "threshold",
        camera: Some(camera.clone()),
        before: now.into(),
        after: asked.into(),
        at_seq,
    };
    let name = camera.clone();
    let set = move || {
        let setup = live.controls.threshold(&name, threshold, at_seq)?;
        Ok(((), Some((name, setup))))
    };
    shared.change(asking, vec![change], set).await?;
    accepted(SaidToCamera {
        camera,
        threshold: Some(asked),
        at_seq,
        notes,
        ..SaidToCamera::default()
    })
}

/// The camera's next frames show parts of this lot.
#[utoipa::path(put, path = "/cameras/{camera}/lot", tag = "changes", params(("camera" = String, Path)),
    request_body = WantedLot, responses(
        (status = 202, body = SaidToCamera),
        (status = 404, description = "There is no such camera"),
        (status = 409, description = "No run goes on here, or another process reads the camera"),
        (status = 503, description = "Too much waits to be heard"),
        (status = 507, description = "The audit log cannot be written"),
    ))]
pub(super) async fn lot(
    State(shared): State<Shared>,
    LiveRun(live): LiveRun,
    Named(camera): Named<Arc<str>>,
    asking: Asking,
    Body(WantedLot { lot }): Body<WantedLot>,
) -> Accepted<SaidToCamera> {
    known(&live, &camera)?;
    if lot.is_empty() || lot.len() > NAME_BYTES_MAX {
        return Err(Refusal::bad("the name of a lot has 1 to 200 bytes".to_owned()));
    }
    let change = Change {
        what: "lot",
        camera: Some(camera.clone()),
        after: lot.as_str().into(),
        ..Change::default()
    };
    let (name, begun) = (camera.clone(), Arc::from(lot.as_str()));
    let begin = move || live.controls.lot(&name, begun).map(|()| ((), None));
    shared.change(asking, vec![change], begin).await?;
    accepted(SaidToCamera {
        camera,
        lot: Some(lot),
        ..SaidToCamera::default()
    })
}

/// Asks all the time what another threshold would do. The answers are in `/status` and `/metrics`.
#[utoipa::path(put, path = "/cameras/{camera}/what-if/{name}", tag = "changes",
    params(("camera" = String, Path), ("name" = String, Path, description = "What the question is called: 1 to 200 bytes")),
    request_body = AskedThreshold, responses(
        (status = 202, body = SaidToCamera),
        (status = 404, description = "There is no such camera"),
        (status = 409, description = "No run goes on here, it is not kept, or another process reads the camera"),
        (status = 503, description = "Too much waits to be heard"),
        (status = 507, description = "The audit log cannot be written"),
    ))]
pub(super) async fn ask(
    State(shared): State<Shared>,
    LiveRun(live): LiveRun,
    Named((camera, name)): Named<(Arc<str>, String)>,
    asking: Asking,
    Body(AskedThreshold { threshold }): Body<AskedThreshold>,
) -> Accepted<SaidToCamera> {
    if !(0.0..=1.0).contains(&threshold) || name.len() > NAME_BYTES_MAX {
        let error = "a question has a calibrated threshold between 0 and 1 and a name of at most 200 bytes";
        return Err(Refusal::bad(error.to_owned()));
    }
    question(&shared, live, asking, camera, name, Some(threshold)).await
}

/// Asks it no more.
#[utoipa::path(delete, path = "/cameras/{camera}/what-if/{name}", tag = "changes",
    params(("camera" = String, Path), ("name" = String, Path, description = "What the question is called")),
    responses(
        (status = 202, body = SaidToCamera),
        (status = 404, description = "There is no such camera"),
        (status = 409, description = "No run goes on here, it is not kept, or another process reads the camera"),
        (status = 503, description = "Too much waits to be heard"),
        (status = 507, description = "The audit log cannot be written"),
    ))]
pub(super) async fn ask_no_more(
    State(shared): State<Shared>,
    LiveRun(live): LiveRun,
    Named((camera, name)): Named<(Arc<str>, String)>,
    asking: Asking,
) -> Accepted<SaidToCamera> {
    question(&shared, live, asking, camera, name, None).await
}

async fn question(
    shared: &Shared,
    live: Live,
    asking: Asking,
    camera: Arc<str>,
    name: String,
    threshold: Option<f64>,
) -> Accepted<SaidToCamera> {
    known(&live, &camera)?;
    if matches!(shared.served.keeper, Keeper::Nobody) {
        let error = "the run is not kept, so that there are no frames to ask about: start it with `--run DIR`";
        return Err(Refusal::new(StatusCode::CONFLICT, error.to_owned()));
    }
    let as_json = |threshold: Option<f64>| json!({"name": name, "threshold": threshold});
    let change = Change {
        what: "question",
        camera: Some(camera.clone()),
        after: as_json(threshold),
        ..Change::default()
    };
    let (asked, of) = (Arc::from(name.as_str()), camera.clone());
    let ask = move || live.controls.what_if(&of, asked, threshold).map(|()| ((), None));
    shared.change(asking, vec![change], ask).await?;
    accepted(SaidToCamera {
        camera,
        what_if: Some(name),
        threshold,
        ..SaidToCamera::default()
    })
}

impl SaidToCamera {
    pub(super) fn detector(camera: Arc<str>, detector: Arc<str>, at_seq: Option<u64>, notes: Vec<String>) -> Self {
        Self {
            camera,
            detector: Some(detector),
            at_seq,
            notes,
            ..Self::default()
        }
    }
}

pub(super) fn accepted(said: SaidToCamera) -> Accepted<SaidToCamera> {
    Ok((StatusCode::ACCEPTED, Json(said)))
}

/// Refuses numbers that no frame ever has; `field` is where it was given.
pub(super) fn seq_of_a_frame(field: &str, seq: Option<u64>) -> Result<(), Refusal> {
    match seq.is_none_or(|seq| i64::try_from(seq).is_ok()) {
        true => Ok(()),
        false => Err(Refusal::bad(format!("{field}: no frame has such a number"))),
    }
}

/// The threshold from which on hardly anything is rejected.
pub(super) fn far_from(scale: ScoreScale) -> f64 {
    let [normal_level, threshold] = [scale.normal_level, scale.threshold].map(fixed_point);
    normal_level + FAR * (threshold - normal_level)
}

/// What whoever changes how a camera is looked at is to know.
pub(super) fn notes_on_change(live: &Live, camera: &str, at_seq: Option<u64>) -> impl Iterator<Item = String> {
    let given_up = live.controls.waits_for(camera);
    let given_up = given_up.map(|seq| format!("the change that waited for frame {seq} is given up for it"));
    given_up.into_iter().chain(has_come(live, camera, at_seq))
}

/// Says so where the frame from which something is to hold has come already.
fn has_come(live: &Live, camera: &str, at_seq: Option<u64>) -> Option<String> {
    let at_seq = at_seq?;
    let cameras = live.board.status().cameras;
    let camera = cameras.into_iter().find(|of| *of.camera == *camera)?;
    // Frames that wait have their numbers already.
    let newest = camera.last_verdict?.seq.saturating_add(camera.waiting);
    (newest >= at_seq).then(|| format!("frame {at_seq} has come already: it holds from the next frame on"))
}

/// Refuses cameras that are not spoken to here.
pub(super) fn known(live: &Live, camera: &str) -> Result<(), Refusal> {
    if live.controls.cameras().any(|known| **known == *camera) {
        return Ok(());
    }
    if live.controls.is_elsewhere(camera) {
        let error =
            format!("another process reads camera \"{camera}\", and is to be told: its own `--listen` serves it");
        return Err(Refusal::new(StatusCode::CONFLICT, error));
    }
    Err(unknown_camera(camera, live.controls.cameras()))
}

pub(super) fn unknown_camera<'a>(camera: &str, cameras: impl Iterator<Item = &'a Arc<str>>) -> Refusal {
    let named: Vec<String> = cameras
        .take(CAMERAS_NAMED_MAX)
        .map(|known| format!("\"{known}\""))
        .collect();
    let error = format!("there is no camera \"{camera}\"; there are {}", named.join(", "));
    Refusal::new(StatusCode::NOT_FOUND, error)
}
