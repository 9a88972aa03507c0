//! What can be said to a run: labels, thresholds, detectors, lots, questions.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use axum::{Json, Router};
use intakt_operators::detector::Detector;
use intakt_pipelines::labels::{GivenLabel, LabelJournal, parse_truth};
use intakt_pipelines::{Controls, write_atomically};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::routes::{Refusal, Shared};

/// Largest body but a detector's, bytes: ten thousand labels.
const SAID_BYTES_MAX: usize = 1 << 20;

/// Largest detector that is taken, bytes. PaDiM's largest are larger: restart the run with such a one.
const DETECTOR_BYTES_MAX: usize = 1 << 30;

/// How a run is spoken to.
#[derive(Clone)]
pub(crate) struct Told {
    /// Its cameras.
    pub(crate) controls: Controls,
    /// Who keeps the run.
    pub(crate) keeper: Keeper,
    /// Where detectors are kept that cameras were switched to: beside the run and beside its recording.
    pub(crate) detector_directories: Vec<PathBuf>,
}

/// Who keeps a run.
#[derive(Clone)]
pub(crate) enum Keeper {
    /// Nobody.
    Nobody,
    /// This process, with this journal of its labels.
    Here(PathBuf),
    /// Process 0, which is another one.
    Process0,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostedLabel {
    camera: Arc<str>,
    seq: u64,
    truth: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PostedLabels {
    One(PostedLabel),
    Many(Vec<PostedLabel>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Threshold<T> {
    threshold: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lot {
    lot: String,
}

/// A JSON body; what is wrong with it is told as every other refusal is.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let read = Json::<T>::from_request(request, state).await;
        let refused = |refused: JsonRejection| Refusal::new(refused.status(), refused.body_text());
        read.map(|Json(body)| Self(body)).map_err(refused)
    }
}

type Said = Result<(StatusCode, Json<Value>), Refusal>;

/// The routes.
pub(super) fn routes() -> Router<Shared> {
    let detector = put(detector).layer(DefaultBodyLimit::max(DETECTOR_BYTES_MAX));
    Router::new()
        .route("/labels", post(labels))
        .route("/cameras/{camera}/threshold", put(threshold))
        .route("/cameras/{camera}/lot", put(lot))
        .route("/cameras/{camera}/what-if/{name}", put(ask).delete(ask_no_more))
        .layer(DefaultBodyLimit::max(SAID_BYTES_MAX))
        .route("/cameras/{camera}/detector", detector)
}

/// Notes labels; the run takes them in within a second.
async fn labels(State(shared): State<Shared>, Body(posted): Body<PostedLabels>) -> Said {
    let told = shared.served.told.clone();
    let posted = match posted {
        PostedLabels::One(label) => vec![label],
        PostedLabels::Many(labels) => labels,
    };
    let journal = match told.keeper.clone() {
        Keeper::Here(journal) => journal,
        Keeper::Nobody => {
            let error = "the run is not kept, so that a label would have nothing to correct: start it with `--run DIR`";
            return Err(Refusal::new(StatusCode::CONFLICT, error.to_owned()));
        }
        Keeper::Process0 => {
            let error = "process 0 keeps the run, and labels of all cameras are posted there";
            return Err(Refusal::new(StatusCode::CONFLICT, error.to_owned()));
        }
    };
    let mut labels = Vec::with_capacity(posted.len());
    for PostedLabel { camera, seq, truth } in posted {
        if !told.controls.is_elsewhere(&camera) {
            known(&told, &camera)?;
        }
        let truth = parse_truth(&truth).map_err(bad)?;
        labels.push(GivenLabel { camera, seq, truth });
    }
    let noted = labels.len();
    blocking(move || LabelJournal::append(&journal, &labels).map_err(|error| error.to_string())).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"labels": noted}))))
}

/// From the camera's next frame on.
async fn threshold(
    State(shared): State<Shared>,
    Path(camera): Path<String>,
    Body(Threshold { threshold }): Body<Threshold<f32>>,
) -> Said {
    let told = known(&shared.served.told, &camera)?.clone();
    let name = camera.clone();
    blocking(move || told.controls.threshold(&name, threshold)).await?;
    accepted(&camera, json!({"threshold": threshold}))
}

/// The body is a detector file, which is kept beside the run and its recording.
async fn detector(State(shared): State<Shared>, Path(camera): Path<String>, body: Bytes) -> Said {
    let told = known(&shared.served.told, &camera)?.clone();
    let name = camera.clone();
    let switch = move || {
        let detector = Detector::from_bytes(&body).map_err(|error| error.to_string())?;
        for directory in &told.detector_directories {
            let path = directory.join(format!("{}.intakt", detector.id()));
            write_atomically(&path, &body).map_err(|error| error.to_string())?;
        }
        let id = detector.id().clone();
        told.controls.detector(&name, Arc::new(detector)).map(|()| id)
    };
    let id = blocking(switch).await?;
    accepted(&camera, json!({"detector": id}))
}

async fn lot(State(shared): State<Shared>, Path(camera): Path<String>, Body(Lot { lot }): Body<Lot>) -> Said {
    let told = known(&shared.served.told, &camera)?;
    if lot.is_empty() || lot.len() > 200 {
        return Err(bad("the name of a lot has 1 to 200 bytes".to_owned()));
    }
    told.controls.lot(&camera, lot.as_str().into()).map_err(busy)?;
    accepted(&camera, json!({"lot": lot}))
}

async fn ask(
    State(shared): State<Shared>,
    Path((camera, name)): Path<(String, String)>,
    Body(Threshold { threshold }): Body<Threshold<f64>>,
) -> Said {
    if !(0.0..=1.0).contains(&threshold) || name.len() > 200 {
        let error = "a question has a calibrated threshold between 0 and 1 and a name of at most 200 bytes";
        return Err(bad(error.to_owned()));
    }
    question(&shared, &camera, &name, Some(threshold))
}

async fn ask_no_more(State(shared): State<Shared>, Path((camera, name)): Path<(String, String)>) -> Said {
    question(&shared, &camera, &name, None)
}

fn question(shared: &Shared, camera: &str, name: &str, threshold: Option<f64>) -> Said {
    let told = known(&shared.served.told, camera)?;
    if matches!(told.keeper, Keeper::Nobody) {
        let error = "the run is not kept, so that there are no frames to ask about: start it with `--run DIR`";
        return Err(Refusal::new(StatusCode::CONFLICT, error.to_owned()));
    }
    told.controls.what_if(camera, name.into(), threshold).map_err(busy)?;
    accepted(camera, json!({"what_if": name, "threshold": threshold}))
}

fn accepted(camera: &str, mut said: Value) -> Said {
    said["camera"] = json!(camera);
    Ok((StatusCode::ACCEPTED, Json(said)))
}

fn known<'a>(told: &'a Told, camera: &str) -> Result<&'a Told, Refusal> {
    if told.controls.cameras().any(|known| **known == *camera) {
        return Ok(told);
    }
    if told.controls.is_elsewhere(camera) {
        let error =
            format!("another process reads camera \"{camera}\", and is to be told: its own `--listen` serves it");
        return Err(Refusal::new(StatusCode::CONFLICT, error));
    }
    let named: Vec<String> = told
        .controls
        .cameras()
        .take(20)
        .map(|known| format!("\"{known}\""))
        .collect();
    let error = format!("there is no camera \"{camera}\"; there are {}", named.join(", "));
    Err(Refusal::new(StatusCode::NOT_FOUND, error))
}

fn bad(error: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error)
}

fn busy(error: String) -> Refusal {
    Refusal {
        retry_after: Some(std::time::Duration::ZERO),
        ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }
}

/// Does what takes time, or waits for a disk, beside the server's own thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(bad),
        Err(_) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed at this; nothing was changed".to_owned(),
        )),
    }
}
