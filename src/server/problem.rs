//! Why a request is not answered as its sender wished: problem details (RFC 9457).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::wire::problem::Problem;

/// What a refusal is told in.
pub(super) const PROBLEM: &str = "application/problem+json";

/// Why a request is not answered as its sender wished.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// What was found and what to do.
    pub(super) error: String,
    /// When it is worth trying again.
    pub(super) retry_after: Option<Duration>,
    /// The frame that it is about, where there is one.
    pub(super) frame: Option<(Arc<str>, u64)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: String) -> Self {
        Self {
            status,
            error,
            retry_after: None,
            frame: None,
        }
    }

    /// What was asked cannot be meant.
    pub(super) fn bad(error: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// What was sent, a body or a part of it, is too large.
    pub(super) fn too_large(what: &str, bytes_max: usize) -> Self {
        let error = format!("the {what} has more than {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    }

    /// It goes another time.
    pub(super) fn busy(error: String) -> Self {
        Self {
            retry_after: Some(Duration::ZERO),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// The same as it is told.
    pub(super) fn problem(&self) -> Problem {
        let (camera, seq) = self.frame.clone().unzip();
        Problem {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            // One sentence after the other: lines are for terminals.
            detail: self.error.replace("\n  ", "; "),
            camera,
            seq,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if let Some(wait) = self.retry_after {
            // In whole seconds, and never at once.
            headers.insert(RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
