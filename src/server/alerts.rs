//! `GET /api/v1/alerts`: what went wrong, and whether it still does.

use axum::Json;
use axum::extract::State;
use intakt_pipelines::store::scope_name;
use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::{Wanted, limit};
use super::problem::Refusal;
use super::routes::Shared;
use super::served::Keeper;
use super::wire::alerts::{AlertState, Alerts, ToldAlert};

/// Alerts in one answer.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Alerts among which those in a state are looked for, the newest.
const LOOKED_AT_MAX: usize = 100_000;

/// Which alerts are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedAlerts {
    /// In this state.
    #[param(inline)]
    state: Option<AlertState>,
    /// At most so many of the newest.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// The alerts of the run; where nobody keeps it, those that are open.
#[utoipa::path(get, path = "/alerts", tag = "results", params(WantedAlerts), responses((status = 200, body = Alerts)))]
pub(super) async fn alerts(
    State(shared): State<Shared>,
    Wanted(wanted): Wanted<WantedAlerts>,
) -> Result<Json<Alerts>, Refusal> {
    let limit = limit(wanted.limit, USUAL, MOST)?;
    let alerts = match (&shared.served.keeper, shared.served.live()) {
        (Keeper::Here(kept), _) => {
            let alerts = shared.read(kept, |store| store.alerts(LOOKED_AT_MAX)).await?;
            alerts.into_iter().map(ToldAlert::from).collect()
        }
        (_, Some(live)) => {
            let open = live.board.status().alerts.into_iter();
            let open = open.map(|alert| ToldAlert {
                rule: alert.rule,
                scope: scope_name(&alert.scope).into(),
                opened_at_us: alert.opened_at_us,
                closed_at_us: None,
                state: AlertState::Open,
            });
            let mut open: Vec<ToldAlert> = open.collect();
            open.sort_by_key(|alert| alert.opened_at_us);
            open
        }
        (_, None) => Vec::new(),
    };
    let wanted = |alert: &ToldAlert| wanted.state.is_none_or(|state| alert.state == state);
    let newest = alerts.into_iter().rev().filter(wanted).take(limit);
    Ok(Json(Alerts {
        alerts: newest.collect(),
    }))
}
