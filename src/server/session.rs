//! `POST /api/v1/session`: how a browser shows the token, which cannot send a header with every picture that it asks for.

use axum::Router;
use axum::extract::State;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;

use super::routes::{Refusal, Shared};
use super::telling::Body;

/// Where it is.
pub(super) const PATH: &str = "/api/v1/session";

const NAME: &str = "intakt_session";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    token: String,
}

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/session", post(sign_in))
}

/// What a request's cookie shows instead of the token.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&[u8]> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?.split(';');
    let mut named = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    named.find(|(name, _)| *name == NAME).map(|(_, shown)| shown.as_bytes())
}

/// Whoever shows the token is given a cookie that stands for it, which no script can read and no other page sends.
async fn sign_in(State(shared): State<Shared>, Body(Shown { token }): Body<Shown>) -> Result<Response, Refusal> {
    let Some(asked) = &shared.token else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    if !asked.is(token.as_bytes()) {
        let error = "this is not the token of this server".to_owned();
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, error));
    }
    let cookie = format!("{NAME}={}; Path=/; HttpOnly; SameSite=Strict", asked.session());
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}
