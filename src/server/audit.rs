//! Changes that are noted before they are made, and `GET /api/v1/audit`, which says who made them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::{Wanted, cursor, forged, limit};
use super::audit_log::{self, Change};
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::blocking;
use super::tokens::Caller;
use super::wire::audit::AuditPage;
use crate::terminal;

/// Entries on a page.
const PAGE: usize = 100;
const PAGE_MAX: usize = 500;

/// With what cursors begin.
const CURSOR: &str = "before";

/// Who asks, from where.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) caller: Caller,
    pub(super) address: Option<IpAddr>,
}

impl SharedState {
    /// Changes something: it is noted before, in one entry or several, and where that cannot be, it is not changed. Of a run that keeps
    /// nothing it is said on standard error. `make` gives the camera
    /// and the setup that it made, where it made one.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        asking: Asking,
        what: Vec<Change>,
        make: impl FnOnce() -> Result<(T, Option<(Arc<str>, u32)>), String> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = self.clone();
        let changed = move || {
            let Some(audit) = &shared.served.audit else {
                for change in &what {
                    let line = audit_log::line(&asking.caller, asking.address, change);
                    terminal::say(&format!("changed: {line}"));
                }
                return make().map(|(made, _)| made).map_err(Refusal::busy);
            };
            let mut noted = Vec::new();
            let failed = |noted: &[u64], reason: &str| {
                // It has failed anyway; what cannot be noted now is that.
                noted.iter().for_each(|noted| drop(audit.failed(*noted, reason)));
            };
            for change in &what {
                match audit.note(&asking.caller, asking.address, change) {
                    Ok(number) => noted.push(number),
                    Err(error) => {
                        failed(&noted, "the rest of it cannot be noted");
                        return Err(unnoted(error));
                    }
                }
            }
            // Held, so that what takes effect at once finds its entry.
            let mut waiting = audit.lock();
            match make() {
                Ok((made, setup)) => {
                    waiting.extend(setup.into_iter().zip(noted));
                    Ok(made)
                }
                Err(reason) => {
                    failed(&noted, &reason);
                    Err(Refusal::busy(reason))
                }
            }
        };
        blocking(changed).await?
    }
}

fn unnoted(error: io::Error) -> Refusal {
    Refusal::new(
        StatusCode::INSUFFICIENT_STORAGE,
        format!("nothing was changed, because it cannot be noted in the audit log: {error}"),
    )
}

/// Which entries are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedEntries {
    /// Entries on a page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^before\.[0-9]{1,18}$")]
    cursor: Option<String>,
}

/// Who changed what, the newest first.
#[utoipa::path(get, path = "/audit", tag = "changes", params(WantedEntries), responses(
    (status = 200, body = AuditPage),
    (status = 409, description = "The run is not kept"),
))]
pub(super) async fn audit(
    State(shared): State<Shared>,
    Wanted(wanted): Wanted<WantedEntries>,
) -> Result<Json<AuditPage>, Refusal> {
    let limit = limit(wanted.limit, PAGE, PAGE_MAX)?;
    let before = match wanted.cursor.as_deref().map(|typed| cursor(typed, CURSOR)) {
        Some(None) => return Err(forged()),
        Some(Some([before])) => Some(before),
        None => None,
    };
    let Some(audit) = shared.served.audit.clone() else {
        let error =
            "the run is neither kept nor recorded, so that changes are noted nowhere: start it with `--run DIR`";
        return Err(Refusal::new(StatusCode::CONFLICT, error.to_owned()));
    };
    let (entries, next) = blocking(move || audit.read(before, limit)).await?.map_err(|error| {
        let error = format!("cannot read the audit log: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    })?;
    Ok(Json(AuditPage {
        entries,
        next: next.map(|next| format!("{CURSOR}.{next}")),
    }))
}
