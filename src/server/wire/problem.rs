//! Why a request is not answered as its sender wished.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

/// Problem details, as RFC 9457 has them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    pub(crate) r#type: &'static str,
    /// The status in words.
    pub(crate) title: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What was found and what to do.
    pub(crate) detail: String,
    /// The camera of the frame that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) camera: Option<Arc<str>>,
    /// The number of that frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
}
