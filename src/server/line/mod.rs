//! The line as it is now: what the page is told four times a second, small pictures included.
//!
//! [`Line`] and pictures are put together and encoded once for all who look; what other views show, they ask for.

mod gallery;
mod picture;
mod watcher;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt, stream};
use intakt_pipelines::pictures::{AboutPicture, Pictures};
use intakt_pipelines::sinks::{CameraThumbnails, LiveStatus, small_jpeg};
use intakt_pipelines::store::Counted;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use utoipa::IntoParams;

use self::gallery::{Gallery, Hung};
pub(super) use self::picture::{__path_picture, picture};
use self::watcher::{Seen, Watcher};
use super::asked::Wanted;
use super::audit_log::Audit;
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{Keeper, Live, Run, Served, SharedCounted, Shown, blocking, lock};
use super::wire::line::{Line, LineEvent};

/// How often the page is told.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// How much later each viewer is told than the one before, so that telling all of them holds up no frame; the last ones together.
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
    /// By number.
    pictures: Vec<Arc<Hung>>,
}

/// Where it is told how a run is.
pub(super) type Told = watch::Sender<Arc<Said>>;

/// Those who look at pictures.
#[derive(Default)]
pub(super) struct Lookers {
    /// One more than there are.
    here: Arc<()>,
    come: Notify,
}

impl Lookers {
    /// One more, for as long as what is returned is kept.
    fn come(&self) -> Arc<()> {
        self.come.notify_one();
        self.here.clone()
    }

    fn are_here(&self) -> bool {
        Arc::strong_count(&self.here) > 1
    }
}

impl Said {
    /// Before anybody asks. Of a run elsewhere that cannot be read at the moment, nothing yet.
    pub(super) fn at_the_beginning(served: &Served, counted: &SharedCounted) -> Self {
        let status = match &served.run {
            Run::Here(live) => live.board.status(),
            Run::Elsewhere(shown) => shown.status(&mut lock(counted)).unwrap_or_default(),
        };
        Self::of(
            &mut Watcher::new(served.starts),
            status,
            |_| Seen::default(),
            Vec::new(),
        )
    }

    fn of(watcher: &mut Watcher, status: LiveStatus, seen: impl FnMut(&str) -> Seen, pictures: Vec<Arc<Hung>>) -> Self {
        let line = watcher.line(&status, seen);
        let json = serde_json::to_string(&LineEvent::Line(&line)).expect("what is said of a line is JSON");
        Self {
            json: json.into(),
            status,
            line,
            pictures,
        }
    }
}

/// Tells how the run is, until nobody can hear it any more.
pub(super) async fn tell(served: Served, counted: SharedCounted, lookers: Arc<Lookers>, told: Told) {
    let watcher = Watcher::new(served.starts);
    match served.run {
        Run::Here(live) => tell_live(live, watcher, served.audit, told).await,
        Run::Elsewhere(shown) => tell_shown(shown, watcher, served.keeper, counted, lookers, told).await,
    }
}

async fn tell_live(live: Live, mut watcher: Watcher, audit: Option<Arc<Audit>>, told: Told) {
    let mut every = regularly(TOLD_EVERY);
    let mut gallery = Gallery::default();
    loop {
        every.tick().await;
        // Also while nobody looks: who comes sees the last five minutes.
        let status = live.board.status();
        let mut seen = BTreeMap::new();
        for of in &status.cameras {
            let drawn = live.thumbnails.of(&of.camera);
            let pictures = drawn.about();
            gallery.hang(&of.camera, pictures, |about| file(&drawn, about));
            seen.insert(of.camera.clone(), Seen { pictures, recent: None });
        }
        let seen = |camera: &str| seen.remove(camera).unwrap_or_default();
        let said = Said::of(&mut watcher, status, seen, gallery.pictures());
        if told.send(Arc::new(said)).is_err() {
            return;
        }
        let begun = live.controls.begun();
        if let (Some(audit), false) = (&audit, begun.is_empty()) {
            let audit = audit.clone();
            let _ = blocking(move || audit.took_effect(begun)).await;
        }
    }
}

/// The file of one of a camera's pictures.
fn file(drawn: &CameraThumbnails, about: AboutPicture) -> Option<Arc<[u8]>> {
    let mut both = [&drawn.newest, &drawn.rejected].into_iter().flatten();
    both.find(|drawn| drawn.about == about).map(|drawn| drawn.jpeg.clone())
}

async fn tell_shown(
    shown: Arc<dyn Shown>,
    mut watcher: Watcher,
    keeper: Keeper,
    counted: SharedCounted,
    lookers: Arc<Lookers>,
    told: Told,
) {
    let mut every = regularly(LOOKED_EVERY);
    let gallery = Arc::<Mutex<Gallery>>::default();
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = lookers.come.notified() => {}
        }
        let (shown, keeper, counted) = (shown.clone(), keeper.clone(), counted.clone());
        // Pictures are made small for those who look at them alone.
        let hung = lookers.are_here().then(|| gallery.clone());
        let look = move || look(&*shown, &keeper, &counted, hung.as_deref().map(lock));
        let looked = blocking(look).await;
        // A store that cannot be read at the moment is read the next time; who asks for more is told why.
        let Ok(Ok((status, mut seen))) = looked else {
            // Whoever hears the last of it again knows that the server is there.
            told.send_if_modified(|said| said.status.said_at_us > 0);
            continue;
        };
        let seen = |camera: &str| seen.remove(camera).unwrap_or_default();
        let said = Said::of(&mut watcher, status, seen, lock(&gallery).pictures());
        if told.send(Arc::new(said)).is_err() {
            return;
        }
    }
}

/// A run that does not go on here, and by camera what is kept of it. Its pictures are hung in the `gallery`, if there is one.
fn look(
    shown: &dyn Shown,
    keeper: &Keeper,
    counted: &SharedCounted,
    mut gallery: Option<MutexGuard<'_, Gallery>>,
) -> Result<(LiveStatus, BTreeMap<Arc<str>, Seen>), String> {
    let (status, mut seen) = counts(shown, &mut lock(counted))?;
    let pictures = match keeper {
        // A file that is damaged holds no picture.
        Keeper::Here(kept) => Pictures::look(&kept.pictures).ok().flatten(),
        Keeper::Nobody | Keeper::Process0 => None,
    };
    for (camera, seen) in &mut seen {
        let Some((pictures, newest)) = pictures
            .as_ref()
            .and_then(|pictures| Some((pictures, pictures.newest(camera).ok()?)))
        else {
            continue;
        };
        if let Some(gallery) = &mut gallery {
            gallery.hang(camera, newest, |about| small_file(pictures, camera, about));
        }
        seen.pictures = newest;
    }
    Ok((status, seen))
}

/// A run that does not go on here, and of each camera of one that has ended its last minutes: of a run that goes on, they show in how
/// its counts grow.
fn counts(shown: &dyn Shown, counted: &mut Counted) -> Result<(LiveStatus, BTreeMap<Arc<str>, Seen>), String> {
    let status = shown.status(counted)?;
    let is_over = status.state.is_over();
    let seen = status.cameras.iter().map(|of| {
        let counted = is_over.then(|| counted.camera(&of.camera)).flatten();
        let seen = Seen {
            recent: counted.map(|counted| counted.recent.bars()),
            ..Seen::default()
        };
        (of.camera.clone(), seen)
    });
    let seen = seen.collect();
    Ok((status, seen))
}

/// A kept picture, made as small as those of a run that goes on here; none if it is damaged, or gone meanwhile.
fn small_file(pictures: &Pictures, camera: &str, about: AboutPicture) -> Option<Arc<[u8]>> {
    let kept = pictures.of(camera, about.seq).ok()??;
    small_jpeg(&kept.heatmap_jpeg).ok().map(Into::into)
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
    /// Whether somebody looks at small pictures meanwhile: each camera's is drawn once a second then, and else every ten seconds, and
    /// told as an event called `picture`.
    #[serde(default)]
    pictures: bool,
}

/// How the line is, four times a second, or every two seconds if the run does not go on in this process, as server-sent events called
/// `line`; with `pictures`, also as those called `picture`: first the newest of each camera and the newest that it rejected, then each as it is drawn. The data of each
/// is JSON.
#[utoipa::path(get, path = "/events", tag = "line", params(WantedLines), responses(
    (status = 200, body = LineEvent<'_>, content_type = "text/event-stream", description = "Events; the schemas are those of their data"),
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
    let looker = pictures.then(|| shared.lookers.come());
    let told = (shared, lines, (viewer, looker), 0);
    let events = stream::unfold(told, move |(shared, mut lines, places, mut seen)| async move {
        lines.changed().await.ok()?;
        tokio::time::sleep(after).await;
        let said = lines.borrow_and_update().clone();
        let mut events = vec![Event::default().event("line").data(&*said.json)];
        if pictures {
            if let Some(live) = shared.served.live() {
                live.thumbnails.watch();
            }
            let newer = said.pictures.iter().filter(|hung| hung.number > seen);
            events.extend(newer.map(|hung| Event::default().event("picture").data(&*hung.json)));
            seen = said.pictures.last().map_or(seen, |hung| hung.number);
        }
        Some((stream::iter(events.into_iter().map(Ok)), (shared, lines, places, seen)))
    });
    Ok(Sse::new(events.flatten()).keep_alive(KeepAlive::default()))
}
