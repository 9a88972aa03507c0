//! The line as it is now: what the page is told four times a second, and the pictures that it asks for.
//!
//! [`Line`] is put together and encoded once for all who look; what other views show, they ask for.

mod picture;
mod watcher;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use intakt_pipelines::pictures::Pictures;
use intakt_pipelines::sinks::{LiveStatus, RunState};
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;

pub(super) use self::picture::{__path_picture, picture};
use self::watcher::{Seen, Watcher};
use super::asked::Wanted;
use super::audit_log::Audit;
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{Keeper, Live, Run, Served, SharedCounted, Shown, blocking, lock};
use super::wire::line::Line;

/// How often the page is told.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// How much later each viewer is told than the one before, so that what they ask for then does not come all at once and holds up no
/// frame; the last ones together.
const AFTER_ANOTHER: Duration = Duration::from_millis(2);
const AFTER_MAX: Duration = Duration::from_millis(120);

/// How often it is looked whether there is news of a run that does not go on here.
const LOOKED_EVERY: Duration = Duration::from_secs(2);

/// What was said last of a run.
pub(super) struct Said {
    pub(super) status: LiveStatus,
    pub(super) line: Line,
    /// The line as JSON.
    json: Arc<str>,
}

/// Where it is told how a run is.
pub(super) type Told = watch::Sender<Arc<Said>>;

impl Said {
    /// Before anybody asks. Of a run elsewhere that cannot be read at the moment, nothing yet.
    pub(super) fn at_the_beginning(served: &Served, counted: &SharedCounted) -> Self {
        let status = match &served.run {
            Run::Here(live) => live.board.status(),
            Run::Elsewhere(shown) => shown.status(&mut lock(counted)).unwrap_or_default(),
        };
        Self::of(&mut Watcher::new(served.starts), status, |_| Seen::default())
    }

    fn of(watcher: &mut Watcher, status: LiveStatus, seen: impl FnMut(&str) -> Seen) -> Self {
        let line = watcher.line(&status, seen);
        let json = serde_json::to_string(&line).expect("what is said of a line is JSON");
        Self {
            json: json.into(),
            status,
            line,
        }
    }
}

/// Tells how the run is, until nobody can hear it any more.
pub(super) async fn tell(served: Served, counted: SharedCounted, told: Told) {
    let watcher = Watcher::new(served.starts);
    match served.run {
        Run::Here(live) => tell_live(live, watcher, served.audit, told).await,
        Run::Elsewhere(shown) => tell_shown(shown, watcher, served.keeper, counted, told).await,
    }
}

async fn tell_live(live: Live, mut watcher: Watcher, audit: Option<Arc<Audit>>, told: Told) {
    let mut every = regularly(TOLD_EVERY);
    loop {
        every.tick().await;
        // Also while nobody looks: who comes sees the last five minutes.
        let said = Said::of(&mut watcher, live.board.status(), |camera| Seen {
            pictures: live.thumbnails.of(camera).about(),
            recent: None,
        });
        if told.send(Arc::new(said)).is_err() {
            return;
        }
        let begun = live.controls.begun();
        if let (Some(audit), false) = (&audit, begun.is_empty()) {
            let audit = audit.clone();
            // What cannot be noted took effect nevertheless, as its entry says that it would.
            let _ = blocking(move || begun.into_iter().try_for_each(|begun| audit.took_effect(begun))).await;
        }
    }
}

async fn tell_shown(shown: Arc<dyn Shown>, mut watcher: Watcher, keeper: Keeper, counted: SharedCounted, told: Told) {
    let mut every = regularly(LOOKED_EVERY);
    loop {
        every.tick().await;
        let (shown, keeper, counted) = (shown.clone(), keeper.clone(), counted.clone());
        let looked = blocking(move || look(&*shown, &keeper, &counted)).await;
        // A store that cannot be read at the moment is read the next time; who asks for more is told why.
        let Ok(Ok((status, mut seen))) = looked else {
            // Whoever hears the last of it again knows that the server is there.
            told.send_if_modified(|said| said.status.said_at_us > 0);
            continue;
        };
        let said = Said::of(&mut watcher, status, |camera| seen.remove(camera).unwrap_or_default());
        if told.send(Arc::new(said)).is_err() {
            return;
        }
    }
}

/// A run that does not go on here, and by camera what is kept of it.
fn look(
    shown: &dyn Shown,
    keeper: &Keeper,
    counted: &SharedCounted,
) -> Result<(LiveStatus, BTreeMap<Arc<str>, Seen>), String> {
    let mut counted = lock(counted);
    let status = shown.status(&mut counted)?;
    let pictures = match keeper {
        // A file that is damaged holds no picture.
        Keeper::Here(kept) => Pictures::look(&kept.pictures).ok().flatten(),
        Keeper::Nobody | Keeper::Process0 => None,
    };
    let seen = status.cameras.iter().map(|of| {
        let newest = pictures.as_ref().and_then(|pictures| pictures.newest(&of.camera).ok());
        // Of a run that goes on, it shows in how its counts grow.
        let recent = (status.state == RunState::Ended).then(|| counted.camera(&of.camera));
        let seen = Seen {
            pictures: newest.unwrap_or_default(),
            recent: recent.flatten().map(|counted| counted.recent.bars()),
        };
        (of.camera.clone(), seen)
    });
    let seen = seen.collect();
    Ok((status, seen))
}

fn regularly(every: Duration) -> tokio::time::Interval {
    let mut every = tokio::time::interval(every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    every
}

/// What somebody wants to hear.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedLines {
    /// Whether somebody looks at the small pictures meanwhile: each camera's is drawn once a second then, and else every ten seconds.
    #[serde(default)]
    pictures: bool,
}

/// How the line is, four times a second, or every two seconds if the run does not go on in this process, as server-sent events called
/// `line`. The data of each is JSON.
#[utoipa::path(get, path = "/events", tag = "line", params(WantedLines), responses(
    (status = 200, body = Line, content_type = "text/event-stream", description = "Events; the schema is that of their data"),
    (status = 503, description = "As many are told as may be"),
))]
pub(super) async fn events(
    State(shared): State<Shared>,
    Wanted(WantedLines { pictures }): Wanted<WantedLines>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let (viewer, others) = shared.place_to_be_told()?;
    let mut lines = shared.line.clone();
    if lines.borrow().status.said_at_us > 0 {
        // Of a run that has ended there may be no news for long.
        lines.mark_changed();
    }
    let after = AFTER_ANOTHER
        .saturating_mul(u32::try_from(others).unwrap_or(u32::MAX))
        .min(AFTER_MAX);
    let told = (shared, lines, viewer);
    let events = futures::stream::unfold(told, move |(shared, mut lines, viewer)| async move {
        lines.changed().await.ok()?;
        tokio::time::sleep(after).await;
        if let (Some(live), true) = (shared.served.live(), pictures) {
            live.thumbnails.watch();
        }
        let json = lines.borrow_and_update().json.clone();
        Some((Ok(Event::default().event("line").data(&*json)), (shared, lines, viewer)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
