//! `POST /api/v1/labels`: what frames truly are.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use intakt_operators::Truth;
use intakt_pipelines::labels::{GivenLabel, IdleLabels, parse_truth};
use intakt_pipelines::store::{Store, StoreError};
use serde_json::json;

use super::asked::Body;
use super::audit::Asking;
use super::audit_log::Change;
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{Kept, KeptRun, TakenIn};
use super::telling::{Accepted, known, seq_of_a_frame, unknown_camera};
use super::wire::labels::{NotedLabels, PostedLabel, PostedLabels};
use super::wire::verdicts::truth_word;

/// Labels in an entry of the audit log, which is read by the megabyte.
const LABELS_PER_ENTRY: usize = 1_000;

/// Notes what frames truly are: figures are corrected within seconds.
#[utoipa::path(post, path = "/labels", tag = "changes", request_body = PostedLabels, responses(
    (status = 202, body = NotedLabels),
    (status = 404, description = "There is no such camera"),
    (status = 409, description = "The run is not kept"),
    (status = 507, description = "The disk does not take them"),
))]
pub(super) async fn labels(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    asking: Asking,
    Body(PostedLabels(posted)): Body<PostedLabels>,
) -> Accepted<NotedLabels> {
    let mut labels = Vec::with_capacity(posted.len());
    for PostedLabel { camera, seq, truth } in posted {
        let truth = parse_truth(&truth).map_err(Refusal::bad)?;
        seq_of_a_frame("seq", Some(seq))?;
        labels.push(GivenLabel { camera, seq, truth });
    }
    let is_live = shared.served.live().is_some();
    match shared.served.live() {
        Some(live) => {
            let mut here = labels.iter().filter(|label| !live.controls.is_elsewhere(&label.camera));
            here.try_for_each(|label| known(live, &label.camera))?;
        }
        None => {
            let cameras = shared.read(&kept, Store::cameras).await?;
            if let Some(unknown) = labels.iter().find(|label| !cameras.contains(&label.camera)) {
                return Err(unknown_camera(&unknown.camera, cameras.iter()));
            }
        }
    }
    let noted = labels.len();
    if noted == 0 {
        return Ok((StatusCode::ACCEPTED, Json(NotedLabels::default())));
    }
    let changes = label_changes(&shared, &kept, &labels).await?;
    let horizon_us = kept.horizon_us;
    let labels = Arc::new(labels);
    let idle = {
        let labels = labels.clone();
        shared
            .read(&kept, move |store| IdleLabels::among(&labels, store, horizon_us))
            .await?
    };
    let (takes, failed) = (kept.labels, Arc::new(OnceLock::new()));
    let why = failed.clone();
    let note = move || match takes.note(&labels) {
        Ok(taken_in) => Ok((taken_in, None)),
        Err(reason) => {
            let _ = why.set(reason.clone());
            Err(reason)
        }
    };
    let noting = shared.change(asking, changes, note).await;
    let taken_in = noting.map_err(|refused| match failed.get() {
        Some(reason) => Refusal::new(StatusCode::INSUFFICIENT_STORAGE, reason.clone()),
        None => refused,
    })?;
    // The frames of a run that goes on may still come.
    let unmatched = idle.unmatched_note(is_live || taken_in != TakenIn::Now);
    let notes = taken_in.said().map(str::to_owned).into_iter().chain(unmatched);
    let notes = notes.chain(idle.notes()).collect();
    Ok((StatusCode::ACCEPTED, Json(NotedLabels { labels: noted, notes })))
}

/// Labels as the audit log has them, with what was said before.
async fn label_changes(shared: &Shared, kept: &Kept, labels: &[GivenLabel]) -> Result<Vec<Change>, Refusal> {
    let frames: Vec<(Arc<str>, u64)> = labels.iter().map(|label| (label.camera.clone(), label.seq)).collect();
    let said_before = move |store: &Store| -> Result<Vec<Option<Truth>>, StoreError> {
        frames.iter().map(|(camera, seq)| store.truth(camera, *seq)).collect()
    };
    let before = shared.read(kept, said_before).await?;
    let said = |label: &GivenLabel, truth: Option<&Truth>| json!({"camera": label.camera, "seq": label.seq, "truth": truth.map(truth_word)});
    let entries = labels.chunks(LABELS_PER_ENTRY).zip(before.chunks(LABELS_PER_ENTRY));
    let changes = entries.map(|(labels, before)| {
        let pairs = labels.iter().zip(before);
        Change {
            what: "labels",
            before: pairs.map(|(label, before)| said(label, before.as_ref())).collect(),
            after: labels.iter().map(|label| said(label, label.truth.as_ref())).collect(),
            ..Change::default()
        }
    });
    Ok(changes.collect())
}
