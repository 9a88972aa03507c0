//! What went wrong.

use std::sync::Arc;

use intakt_pipelines::store::Alert;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlertState {
    Open,
    Closed,
    /// A label undid its cause.
    Retracted,
}

/// Alerts, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alerts {
    pub(crate) alerts: Vec<ToldAlert>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToldAlert {
    /// As it is written in the run file.
    pub(crate) rule: Arc<str>,
    /// `all`, `camera/NAME` or `line/NAME`.
    pub(crate) scope: Arc<str>,
    /// Microseconds of event time.
    pub(crate) opened_at_us: u64,
    /// Microseconds of event time; null while it is open.
    pub(crate) closed_at_us: Option<u64>,
    pub(crate) state: AlertState,
}

impl From<Alert> for ToldAlert {
    fn from(alert: Alert) -> Self {
        Self {
            state: match (alert.retracted, alert.closed_at_us) {
                (true, _) => AlertState::Retracted,
                (false, Some(_)) => AlertState::Closed,
                (false, None) => AlertState::Open,
            },
            rule: alert.rule,
            scope: alert.scope,
            opened_at_us: alert.opened_at_us,
            closed_at_us: alert.closed_at_us,
        }
    }
}
