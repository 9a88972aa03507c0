//! `/api/v1/detectors`: those that a run has, others that are uploaded, and which camera they look at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use intakt_operators::detector::{Detector, DetectorDescription};
use intakt_operators::fixed_point;
use intakt_pipelines::{load_detector, write_atomically};
use serde_json::json;
use tokio::time::timeout;

use super::asked::{Body, Named};
use super::audit::Asking;
use super::audit_log::Change;
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::{Kept, Live, LiveRun, blocking, lock};
use super::telling::{accepted, known, notes_on_change, seq_of_a_frame};
use super::wire::File;
use super::wire::cameras::SaidToCamera;
use super::wire::detectors::{Card, Detectors, WantedDetector};
use crate::detector_facts::{described_facts, facts};

/// Largest detector that is taken, bytes. PaDiM's largest are larger: restart the run with such a one.
pub(super) const DETECTOR_BYTES_MAX: usize = 1 << 30;

/// Most detectors that are kept for a run: each may have a gigabyte.
const DETECTORS_MAX: usize = 64;

/// Digits of a detector's id.
const ID_DIGITS: usize = 12;

/// The cards of detectors that were read once.
pub(super) type Cards = Mutex<BTreeMap<Arc<str>, Card>>;

/// The detectors of the run: those that look, those that cameras were given before, and those that lie beside it. Of one that does not
/// go on here, those that it was given, with the cameras that began with them, and those that lie beside it.
#[utoipa::path(get, path = "/detectors", tag = "line", responses(
    (status = 200, body = Detectors),
    (status = 409, description = "No run goes on here, and none is kept"),
))]
pub(super) async fn detectors(State(shared): State<Shared>) -> Result<Json<Detectors>, Refusal> {
    let live = shared.served.live().cloned();
    // One that goes on knows best.
    let kept = live.is_none().then(|| shared.kept()).transpose()?;
    let _place = shared.place_to_list().await?;
    let shared = shared.clone();
    let list = move || {
        let (mut cards, directories) = match (live, kept) {
            (Some(live), _) => (cards_of(&live), live.detector_directories),
            (None, kept) => {
                let directory = kept.as_ref().and_then(|kept| kept.store.parent()).map(Path::to_owned);
                (
                    kept.iter().flat_map(noted_cards).collect(),
                    directory.into_iter().collect(),
                )
            }
        };
        for (id, path) in beside(&directories) {
            if !cards.contains_key(&id)
                && let Some(card) = shared.card(&id, &path)
            {
                cards.insert(id, card);
            }
        }
        cards.into_values().collect()
    };
    let detectors = blocking(list).await?;
    Ok(Json(Detectors { detectors }))
}

/// The detectors that look, or that cameras were given before, by id.
fn cards_of(live: &Live) -> BTreeMap<Arc<str>, Card> {
    let mut cards: BTreeMap<Arc<str>, Card> = BTreeMap::new();
    for (camera, detector) in looking(live) {
        let card = cards
            .entry(detector.id().clone())
            .or_insert_with(|| Card::of(&detector));
        card.cameras.push(camera);
    }
    for detector in known_detectors(live, true) {
        cards
            .entry(detector.id().clone())
            .or_insert_with(|| Card::of(&detector));
    }
    cards
}

/// The detectors that were noted with a run, by id.
fn noted_cards(kept: &Kept) -> BTreeMap<Arc<str>, Card> {
    let noted = kept.detectors.all().into_iter();
    let cards = noted.map(|(described, cameras)| Card {
        cameras,
        ..Card::described(&described)
    });
    cards.map(|card| (card.id.clone(), card)).collect()
}

/// Keeps a detector beside the run, for its cameras to be switched to.
#[utoipa::path(post, path = "/detectors", tag = "changes",
    request_body(content = File, content_type = "application/octet-stream", description = "The file"),
    responses(
        (status = 201, body = Card),
        (status = 409, description = "No run goes on here, it is not kept, or it has as many detectors as may be"),
        (status = 503, description = "Another one is being uploaded"),
        (status = 507, description = "The disk does not take it"),
    ))]
pub(super) async fn upload(
    State(shared): State<Shared>,
    LiveRun(live): LiveRun,
    asking: Asking,
    request: Request,
) -> Result<(StatusCode, Json<Card>), Refusal> {
    if live.detector_directories.is_empty() {
        let error =
            "the run is neither kept nor recorded, so that there is no place for a detector: start it with `--run DIR`";
        return Err(Refusal::new(StatusCode::CONFLICT, error.to_owned()));
    }
    let _place = shared.place_to_upload().await?;
    let bytes = file(&shared, request).await?;
    let (detector, bytes) = parsed(bytes).await?;
    let card = Card::of(&detector);
    has_room(&live, &card.id)?;
    let change = Change {
        what: "upload",
        after: json!({"detector": card.id}),
        ..Change::default()
    };
    let id = card.id.clone();
    let keep = move || keep(&live, &id, &bytes).map(|()| ((), None));
    shared.change(asking, vec![change], keep).await.map_err(full)?;
    Ok((StatusCode::CREATED, Json(card)))
}

/// Lets a detector of the run look at a camera's frames, from the next one on or from `at_seq`; or the file that is the body, from the
/// next one on.
#[utoipa::path(put, path = "/cameras/{camera}/detector", tag = "changes", params(("camera" = String, Path)),
    request_body(content(
        (WantedDetector = "application/json"),
        (File = "application/octet-stream"),
    )),
    responses(
        (status = 202, body = SaidToCamera),
        (status = 404, description = "There is no such camera or detector"),
        (status = 409, description = "No run goes on here, another process reads the camera, or the run has as many detectors as may be"),
        (status = 503, description = "Too much waits to be heard"),
        (status = 507, description = "The disk does not take it"),
    ))]
pub(super) async fn activate(
    State(shared): State<Shared>,
    LiveRun(live): LiveRun,
    Named(camera): Named<Arc<str>>,
    asking: Asking,
    request: Request,
) -> Result<(StatusCode, Json<SaidToCamera>), Refusal> {
    known(&live, &camera)?;
    let is_json = request.headers().get(CONTENT_TYPE).is_some_and(is_json);
    let (detector, bytes, at_seq) = if is_json {
        let Body(WantedDetector { detector, at_seq }) = Body::from_request(request, &shared).await?;
        seq_of_a_frame("at_seq", at_seq)?;
        let detector = found(&live, detector).await?;
        // Who goes on with the run, or replays it, looks for it there.
        let is_kept =
            live.detector_directories.is_empty() || beside(&live.detector_directories).contains_key(detector.id());
        let bytes = if is_kept {
            None
        } else {
            has_room(&live, detector.id())?;
            let detector = detector.clone();
            Some(Bytes::from(blocking(move || detector.to_bytes()).await?))
        };
        (detector, bytes, at_seq)
    } else {
        let _place = shared.place_to_upload().await?;
        let bytes = file(&shared, request).await?;
        let (detector, bytes) = parsed(bytes).await?;
        has_room(&live, detector.id())?;
        (Arc::new(detector), Some(bytes), None)
    };
    let before = live.controls.newest(&camera).map_err(Refusal::busy)?;
    let id = detector.id().clone();
    let change = Change {
        what: "detector",
        camera: Some(camera.clone()),
        before: json!(before.id()),
        after: json!(id),
        at_seq,
    };
    let notes = notes_on_change(&live, &camera, at_seq).collect();
    let (name, of_file) = (camera.clone(), id.clone());
    let switch = move || {
        if let Some(bytes) = bytes {
            keep(&live, &of_file, &bytes)?;
        }
        let setup = live.controls.detector(&name, detector, at_seq)?;
        Ok(((), Some((name, setup))))
    };
    shared.change(asking, vec![change], switch).await.map_err(full)?;
    accepted(SaidToCamera::detector(camera, id, at_seq, notes))
}

fn is_json(content_type: &axum::http::HeaderValue) -> bool {
    let kind = content_type.to_str().unwrap_or_default().split(';').next();
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The body, which takes longer to come than others.
async fn file(shared: &Shared, request: Request) -> Result<Bytes, Refusal> {
    let wait_max = shared.limits.detector_wait_max;
    let body = timeout(wait_max, Bytes::from_request(request, shared)).await;
    let body = body.map_err(|_| {
        let error = format!("the detector did not arrive within {wait_max:?}");
        Refusal::new(StatusCode::REQUEST_TIMEOUT, error)
    })?;
    body.map_err(|error| Refusal::new(error.status(), error.body_text()))
}

async fn parsed(bytes: Bytes) -> Result<(Detector, Bytes), Refusal> {
    let parse = move || Detector::from_bytes(&bytes).map(|detector| (detector, bytes));
    let parsed = blocking(parse).await?;
    parsed.map_err(|error| Refusal::bad(error.to_string()))
}

/// Whether another detector may lie beside the run.
fn has_room(live: &Live, id: &str) -> Result<(), Refusal> {
    let kept = beside(&live.detector_directories);
    match kept.contains_key(id) || kept.len() < DETECTORS_MAX {
        true => Ok(()),
        false => {
            let error = format!("{DETECTORS_MAX} detectors lie beside the run: remove some that nobody needs");
            Err(Refusal::new(StatusCode::CONFLICT, error))
        }
    }
}

/// The detector of a run that has this id. No name of a file is made of what was asked for.
async fn found(live: &Live, wanted: String) -> Result<Arc<Detector>, Refusal> {
    if let Some(detector) = known_detectors(live, false).find(|detector| **detector.id() == *wanted) {
        return Ok(detector);
    }
    let path = beside(&live.detector_directories)
        .into_iter()
        .find(|(id, _)| **id == *wanted);
    let Some((id, path)) = path else {
        let error = format!("there is no detector \"{wanted}\"; `GET /api/v1/detectors` lists those that there are");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    };
    let unreadable = || {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("the file of detector \"{id}\" is not readable any more"),
        )
    };
    let loaded = blocking(move || load_detector(&path)).await?;
    loaded.map(Arc::new).map_err(|_| unreadable())
}

/// The cameras that are read here, with what looks at them.
fn looking(live: &Live) -> impl Iterator<Item = (Arc<str>, Arc<Detector>)> + '_ {
    let cameras = live.controls.cameras();
    cameras.filter_map(|camera| Some((camera.clone(), live.controls.newest(camera).ok()?)))
}

/// Those that look or did, or were to; `is_given` as in [`Controls::known`](intakt_pipelines::Controls::known).
fn known_detectors(live: &Live, is_given: bool) -> impl Iterator<Item = Arc<Detector>> + '_ {
    let cameras = live.controls.cameras();
    cameras.flat_map(move |camera| live.controls.known(camera, is_given).unwrap_or_default())
}

/// The files in directories that are called like detectors, by id.
fn beside(directories: &[PathBuf]) -> BTreeMap<Arc<str>, PathBuf> {
    let entries = directories
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok());
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    let named = paths.filter_map(|path| {
        let stem = path.file_stem()?.to_str()?;
        let is_id = stem.len() == ID_DIGITS && stem.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let is_detector = path.extension().is_some_and(|extension| extension == "intakt");
        (is_id && is_detector).then(|| (Arc::from(stem), path.clone()))
    });
    named.collect()
}

fn keep(live: &Live, id: &str, bytes: &[u8]) -> Result<(), String> {
    let mut directories = live.detector_directories.iter();
    directories.try_for_each(|directory| {
        write_atomically(&directory.join(format!("{id}.intakt")), bytes).map_err(|error| error.to_string())
    })
}

/// What a disk refuses, rather than a queue.
fn full(refusal: Refusal) -> Refusal {
    match refusal.error.starts_with("cannot write") {
        true => Refusal::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "the disk does not take the detector".to_owned(),
        ),
        false => refusal,
    }
}

impl SharedState {
    /// The card of a detector file, which is read once; none if it is not readable.
    fn card(&self, id: &Arc<str>, path: &Path) -> Option<Card> {
        if let Some(card) = lock(&self.cards).get(id) {
            return Some(card.clone());
        }
        let card = Card::of(&load_detector(path).ok()?);
        let mut cards = lock(&self.cards);
        if cards.len() < DETECTORS_MAX {
            cards.insert(id.clone(), card.clone());
        }
        Some(card)
    }
}

impl Card {
    fn of(detector: &Detector) -> Self {
        Self::new(&DetectorDescription::of(detector), facts(detector))
    }

    fn described(described: &DetectorDescription) -> Self {
        Self::new(described, described_facts(described))
    }

    fn new(described: &DetectorDescription, facts: Vec<(&str, String)>) -> Self {
        let facts = facts.into_iter().map(|(name, text)| (name.to_owned(), text));
        let facts: BTreeMap<String, String> = facts.collect();
        let scorer = facts.get("scorer").and_then(|scorer| scorer.split(',').next());
        Self {
            id: described.id.clone(),
            name: format!("{} on {}", scorer.unwrap_or_default(), described.recipe.backbone.name),
            threshold: fixed_point(described.calibration.image.threshold),
            statement: described.calibration.statement.clone(),
            manifest: described.manifest_sha256.clone(),
            intakt_version: described.intakt_version.clone(),
            recipe: facts,
            cameras: Vec::new(),
        }
    }
}
