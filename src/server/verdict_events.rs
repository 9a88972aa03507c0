//! `GET /api/v1/verdicts/events`: what becomes of the frames of a kept run, one after the other.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use intakt_pipelines::store::OutcomeFilter;
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;

use super::asked::Wanted;
use super::line::Said;
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{Kept, KeptRun};
use super::verdicts::note_pictures;
use super::wire::verdicts::{DecisionName, KeptVerdict};

/// What a client sends that was cut off: the last `id` that it heard.
const LAST_EVENT_ID: &str = "last-event-id";

/// Which frames are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedEvents {
    /// Of this camera.
    camera: Option<String>,
    /// With this decision.
    #[param(inline)]
    decision: Option<DecisionName>,
    /// Those behind the event with this `id`; all of the run behind 0. Unless it is given, those that are yet to come.
    #[param(maximum = 9223372036854775807u64)]
    after: Option<u64>,
}

/// What becomes of the frames of a kept run, in the order of its log, as server-sent events called `verdict`: each as soon as it is
/// kept, which takes a second or two. The data of each is JSON. Its `id` says how to go on where the connection broke off, as `after` or
/// as a `Last-Event-ID` header, which counts more: nothing is missed, and nothing comes twice.
#[utoipa::path(
    get,
    path = "/verdicts/events",
    tag = "results",
    params(WantedEvents, ("Last-Event-ID" = Option<u64>, Header, description = "The last `id` that was heard")),
    responses(
        (status = 200, body = KeptVerdict, content_type = "text/event-stream", description = "Events; the schema is that of their data"),
        (status = 404, description = "There is no such camera"),
        (status = 503, description = "As many are told as may be"),
    ),
)]
pub(super) async fn verdict_events(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    headers: HeaderMap,
    Wanted(wanted): Wanted<WantedEvents>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let (viewer, _) = shared.place_to_be_told()?;
    shared.camera_of_run(&kept, wanted.camera.as_deref()).await?;
    let newest = shared.read(&kept, |store| store.newest()).await?;
    let behind = behind(&headers, wanted.after)?.unwrap_or(newest);
    if behind > newest {
        let error = format!("no event of this run has the `id` {behind}: it is of another run, or was never told");
        return Err(Refusal::bad(error));
    }
    let following = Following {
        filter: OutcomeFilter {
            camera: wanted.camera,
            decision: wanted.decision.map(Into::into),
            ..OutcomeFilter::default()
        },
        behind,
        ready: VecDeque::new(),
        lines: shared.line.clone(),
        shared,
        kept,
        _viewer: viewer,
    };
    let events = futures::stream::unfold(following, |mut following| async {
        let event = following.next().await?;
        Some((Ok(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Behind which outcome somebody wants to hear of what follows.
fn behind(headers: &HeaderMap, after: Option<u64>) -> Result<Option<i64>, Refusal> {
    let refused = |name: &str| Refusal::bad(format!("{name}: it is the `id` of an event"));
    if let Some(heard) = headers.get(LAST_EVENT_ID) {
        let heard = heard.to_str().ok().and_then(|heard| heard.parse::<u64>().ok());
        let heard = heard.and_then(|heard| i64::try_from(heard).ok());
        return heard.map(Some).ok_or_else(|| refused("Last-Event-ID"));
    }
    let after = after.map(i64::try_from).transpose();
    after.map_err(|_| refused("after"))
}

/// Somebody who is told of outcomes.
struct Following {
    shared: Shared,
    kept: Kept,
    filter: OutcomeFilter,
    /// The last outcome that was read.
    behind: i64,
    /// Those that were read and not told yet.
    ready: VecDeque<Event>,
    /// Says when to look for more.
    lines: watch::Receiver<Arc<Said>>,
    _viewer: Arc<()>,
}

impl Following {
    /// The next event, once it is there; none when the server ends, or where the store cannot be read: who asks again hears why, and
    /// goes on with the last `id`.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            // What comes while the store is read is looked for the next time.
            self.lines.mark_unchanged();
            match self.read().await {
                Ok(()) if self.ready.is_empty() => self.lines.changed().await.ok()?,
                Ok(()) => {}
                // It has waited for its turn, and does again.
                Err(refusal) if refusal.is_busy() => {}
                Err(_) => return None,
            }
        }
    }

    async fn read(&mut self) -> Result<(), Refusal> {
        let (filter, behind) = (self.filter.clone(), self.behind);
        let read = self.shared.read(&self.kept, move |store| {
            let newest = store.newest()?;
            Ok((newest, store.list_behind(&filter, behind)?))
        });
        let (newest, found) = read.await?;
        let listed = found.into_iter().map(|(number, listed)| (number, listed.into()));
        let (numbers, mut verdicts): (Vec<i64>, Vec<KeptVerdict>) = listed.unzip();
        if !numbers.is_empty() {
            note_pictures(&self.shared, self.kept.pictures.clone(), verdicts.iter_mut().collect()).await?;
        }
        // What is not wanted is not looked at again.
        self.behind = numbers.last().map_or(self.behind.max(newest), |last| *last);
        self.ready = numbers
            .into_iter()
            .zip(verdicts)
            .map(|(number, verdict)| event(number, &verdict))
            .collect();
        Ok(())
    }
}

fn event(number: i64, verdict: &KeptVerdict) -> Event {
    let json = serde_json::to_string(verdict).expect("a verdict is JSON");
    Event::default().event("verdict").id(number.to_string()).data(json)
}
