//! Who asks, and what there is to ask.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::tokens;

/// A token that is shown once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShownToken {
    pub(crate) token: String,
}

/// Who asks, and what there is to ask.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    pub(crate) role: Role,
    /// What the token's line calls them; `local` without a token.
    pub(crate) name: Arc<str>,
    /// Whether this server asks for a token.
    pub(crate) token: bool,
    /// Whether a run goes on here, which can be spoken to.
    pub(crate) live: bool,
    /// Whether the run is kept, so that there are verdicts, rates and histograms.
    pub(crate) kept: bool,
    /// Whether there is another run to compare it with.
    pub(crate) compares: bool,
}

/// What somebody may do; each role may do what those before it may.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Reads.
    Viewer,
    /// Also posts frames, and says what they are.
    Inspector,
    /// Also changes how frames are judged, and reads who did.
    Admin,
}

impl From<tokens::Role> for Role {
    fn from(role: tokens::Role) -> Self {
        match role {
            tokens::Role::Viewer => Self::Viewer,
            tokens::Role::Inspector => Self::Inspector,
            tokens::Role::Admin => Self::Admin,
        }
    }
}
