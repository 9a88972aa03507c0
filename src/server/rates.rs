//! `GET /api/v1/rates`: figures window by window, with what labels corrected.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use intakt_operators::dataflow::{Rate, Scope, Window};
use intakt_operators::metrics::parse_duration_us;
use intakt_pipelines::store::{WindowFigures, WindowFilter, WindowKind, WindowPosition, scope_name, tally_figures};
use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::{Wanted, cursor, forged, limit, time_us};
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{Kept, KeptRun};
use super::wire::rates::{Figure, RatePage, WindowRate};

/// Windows on a page.
const PAGE: usize = 200;
const PAGE_MAX: usize = 1_000;

/// With what cursors begin.
const CURSOR: &str = "window";

/// Which windows are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedRates {
    /// Of this scope: `all`, `camera/NAME` or `line/NAME`.
    #[param(pattern = r"^(all|camera/.+|line/.+)$")]
    scope: Option<String>,
    /// Of this kind: a length like `15m`, `shift`, `lot`, or `lot/NAME`.
    #[param(pattern = r"^([1-9][0-9]{0,3}[smh]|shift|lot|lot/.+)$")]
    window: Option<String>,
    /// That end after this time: 2026-01-05T06:00:00Z, or microseconds since 1970.
    #[param(pattern = r"^([0-9]{1,16}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)$")]
    from: Option<String>,
    /// That end at this time or before.
    #[param(pattern = r"^([0-9]{1,16}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)$")]
    to: Option<String>,
    /// Windows on a page.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^window(\.[0-9]{1,18}){3}$")]
    cursor: Option<String>,
}

/// Figures of a kept run, window by window, with what labels corrected. Each window is on one page, also while others end.
#[utoipa::path(get, path = "/rates", tag = "results", params(WantedRates), responses(
    (status = 200, body = RatePage),
    (status = 404, description = "There is no such camera, line or lot in the run"),
))]
pub(super) async fn rates(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Wanted(wanted): Wanted<WantedRates>,
) -> Result<Json<RatePage>, Refusal> {
    let filter = wanted.filter()?;
    let limit = limit(wanted.limit, PAGE, PAGE_MAX)?;
    let from = wanted.cursor.as_deref().map(position).transpose()?;
    // Before the store: what has ended meanwhile is in both rather than in none.
    let newest = match shared.served.live() {
        Some(live) if from.is_none() => live.board.status().rates,
        _ => Vec::new(),
    };
    let tail_of = filter.clone();
    let read = shared.read(&kept, move |store| {
        Ok((store.committed_frontier_us(), store.windows(&filter, from, limit)?))
    });
    let (closed_up_to_us, (windows, next)) = read.await?;
    let windows: Vec<WindowRate> = windows
        .into_iter()
        .map(|window| WindowRate::of(window, closed_up_to_us))
        .collect();
    let tail = newest.iter().filter_map(WindowRate::sliding);
    let tail = tail
        .filter(|(window, kind, scope)| {
            let wanted = tail_of.scope.as_ref().is_none_or(|wanted| wanted == scope)
                && tail_of.kind.as_ref().is_none_or(|wanted| wanted == kind);
            let is_known = windows.iter().any(|known| {
                (&known.scope, &known.window) == (&window.scope, &window.window) && known.end_us >= window.end_us
            });
            wanted && !is_known
        })
        .map(|(window, ..)| window);
    let tail: Vec<WindowRate> = tail.collect();
    if windows.is_empty() && next.is_none() && tail.is_empty() {
        refuse_unknown(&shared, &kept, &tail_of).await?;
    }
    Ok(Json(RatePage {
        closed_up_to_us,
        corrected_from_us: closed_up_to_us.saturating_sub(kept.horizon_us),
        lengths: lengths(&kept),
        tail,
        windows,
        next: next.map(|next| format!("{CURSOR}.{}.{}.{}", next.end_us, next.length_us, next.scope)),
    }))
}

/// Refuses a camera, a line, a lot and a length that the run does not have, and never had.
async fn refuse_unknown(shared: &Shared, kept: &Kept, wanted: &WindowFilter) -> Result<(), Refusal> {
    let is_known = async |any: WindowFilter| {
        let (found, more) = shared.read(kept, move |store| store.windows(&any, None, 1)).await?;
        Ok::<_, Refusal>(!found.is_empty() || more.is_some())
    };
    let of_kind = |kind: &WindowKind| WindowFilter {
        kind: Some(kind.clone()),
        ..WindowFilter::default()
    };
    let absent = |what: &str, name: &str| {
        let error = format!("no window of {what} \"{name}\" has ended, if there is one");
        Refusal::new(StatusCode::NOT_FOUND, error)
    };
    match &wanted.kind {
        // It may have gone on with other windows than it began with.
        Some(kind @ WindowKind::Length(length_us))
            if !kept.windows_us.contains(length_us) && !is_known(of_kind(kind)).await? =>
        {
            let lengths = lengths(kept);
            let error = match lengths.is_empty() {
                true => "window: the run has none that slide".to_owned(),
                false => format!("window: the run has those of {}", lengths.join(", ")),
            };
            return Err(Refusal::bad(error));
        }
        Some(kind @ WindowKind::Lot(lot)) if !lot.is_empty() && !is_known(of_kind(kind)).await? => {
            return Err(absent("lot", lot));
        }
        _ => {}
    }
    match &wanted.scope {
        Some(Scope::Camera(camera)) => shared.camera_of_run(kept, Some(camera)).await,
        Some(scope @ Scope::Line(line)) => {
            let any = WindowFilter {
                scope: Some(scope.clone()),
                ..WindowFilter::default()
            };
            match is_known(any).await? {
                true => Ok(()),
                false => Err(absent("line", line)),
            }
        }
        Some(Scope::All) | None => Ok(()),
    }
}

fn position(typed: &str) -> Result<WindowPosition, Refusal> {
    let [end_us, length_us, scope] = cursor(typed, CURSOR).ok_or_else(forged)?;
    Ok(WindowPosition {
        end_us,
        length_us,
        scope: scope as i64,
    })
}

impl WantedRates {
    fn filter(&self) -> Result<WindowFilter, Refusal> {
        Ok(WindowFilter {
            scope: self.scope.as_deref().map(scope).transpose()?,
            kind: self.window.as_deref().map(kind).transpose()?,
            after_us: time_us("from", self.from.as_deref())?,
            up_to_us: time_us("to", self.to.as_deref())?,
        })
    }
}

fn scope(typed: &str) -> Result<Scope, Refusal> {
    match typed.split_once('/') {
        None if typed == "all" => Ok(Scope::All),
        Some(("camera", name)) => Ok(Scope::Camera(name.into())),
        Some(("line", name)) => Ok(Scope::Line(name.into())),
        _ => Err(Refusal::bad("scope: it is all, camera/NAME or line/NAME".to_owned())),
    }
}

fn kind(typed: &str) -> Result<WindowKind, Refusal> {
    match typed.split_once('/') {
        None if typed == "shift" => Ok(WindowKind::Shift),
        None if typed == "lot" => Ok(WindowKind::Lot("".into())),
        Some(("lot", name)) => Ok(WindowKind::Lot(name.into())),
        _ => parse_duration_us(typed)
            .map(WindowKind::Length)
            .map_err(|_| Refusal::bad("window: it is a length like 15m, shift, lot or lot/NAME".to_owned())),
    }
}

/// The windows that slide, as they are counted now.
fn lengths(kept: &Kept) -> Vec<String> {
    let words = kept
        .windows_us
        .iter()
        .map(|length_us| kind_word(&WindowKind::Length(*length_us)));
    words.collect()
}

fn kind_word(kind: &WindowKind) -> String {
    match kind {
        WindowKind::Shift => "shift".to_owned(),
        WindowKind::Lot(lot) => format!("lot/{lot}"),
        WindowKind::Length(length_us) => match length_us / 1_000_000 {
            seconds if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
            seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
            seconds => format!("{seconds}s"),
        },
    }
}

impl WindowRate {
    fn of(window: WindowFigures, closed_up_to_us: u64) -> Self {
        let figures: BTreeMap<String, Figure> = window
            .figures
            .into_iter()
            .map(|(name, figure)| (name, Figure::from(figure)))
            .collect();
        Self {
            scope: scope_name(&window.scope),
            window: kind_word(&window.kind),
            start_us: window.start_us,
            end_us: window.end_us,
            closed: window.end_us <= closed_up_to_us,
            revision: figures.values().map(|figure| figure.revision).max().unwrap_or(0),
            figures,
        }
    }

    /// The newest window that slides, with its kind and scope.
    fn sliding(rate: &Rate) -> Option<(Self, WindowKind, Scope)> {
        let Window::Sliding { length_us } = rate.key.window else {
            return None;
        };
        let (kind, scope) = (WindowKind::Length(length_us), rate.key.scope.clone());
        let revision = u64::from(rate.revision);
        let figures = tally_figures(&rate.after).into_iter().map(|(name, value)| {
            let figure = Figure {
                value,
                revision,
                before: None,
                first: None,
            };
            (name.to_owned(), figure)
        });
        let window = Self {
            scope: scope_name(&scope),
            window: kind_word(&kind),
            start_us: rate.start_us,
            end_us: rate.end_us,
            closed: false,
            revision,
            figures: figures.collect(),
        };
        Some((window, kind, scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_windows_are_read_as_they_are_told() {
        for word in ["90s", "15m", "1h", "24h", "shift", "lot/L/7"] {
            assert_eq!(kind_word(&kind(word).unwrap()), word);
        }
        for word in [
            "",
            "0m",
            "15",
            "-1m",
            "lots",
            "shift/a",
            "99999999999999999999h",
            "1m\0",
        ] {
            assert!(kind(word).is_err(), "{word}");
        }
        for word in ["", "camera", "cameras/a", "All", "line"] {
            assert!(scope(word).is_err(), "{word}");
        }
    }
}
