//! `/api/v1/session`: how a browser shows its token, which cannot send a header with every picture that it asks for, and what it
//! may do then.

use axum::extract::State;
use axum::http::header::{COOKIE, HOST, HeaderName, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::asked::Body;
use super::problem::Refusal;
use super::routes::Shared;
use super::served::Keeper;
use super::tokens::Caller;
use super::wire::session::{Session, ShownToken};

/// Where it is.
pub(super) const PATH: &str = "/api/v1/session";

/// What the cookie is called, before the port: the cookies of a host are sent to all servers there.
pub(super) const COOKIE_NAME: &str = "intakt_session";

/// Cookies of a request that are looked at.
const COOKIES_MAX: usize = 16;

/// What a request's cookies show instead of the token: those of this server and of others on its host.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let sent = headers
        .get(COOKIE)
        .and_then(|sent| sent.to_str().ok())
        .unwrap_or_default();
    let named = sent.split(';').filter_map(|cookie| cookie.trim().split_once('='));
    let ours = named.filter(|(name, _)| name.starts_with(COOKIE_NAME));
    ours.map(|(_, shown)| shown.as_bytes()).take(COOKIES_MAX)
}

/// The cookie of the server that a browser asks, with what it shows and for how long.
fn cookie(headers: &HeaderMap, shown: &str, and: &str) -> [(HeaderName, String); 1] {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let port: String = port.chars().filter(char::is_ascii_digit).collect();
    let cookie = format!("{COOKIE_NAME}{port}={shown}; Path=/; HttpOnly; SameSite=Strict{and}");
    [(SET_COOKIE, cookie)]
}

/// Who asks, and what there is to ask.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = Session)))]
pub(super) async fn session(State(shared): State<Shared>, Extension(caller): Extension<Caller>) -> Json<Session> {
    Json(Session {
        role: caller.role.into(),
        name: caller.name,
        token: shared.tokens.is_some(),
        live: shared.served.live().is_some(),
        kept: matches!(shared.served.keeper, Keeper::Here(_)),
        compares: shared.served.other.is_some(),
    })
}

/// Whoever shows a token is given a cookie that stands for it, which no script can read and no other page sends.
#[utoipa::path(post, path = "/session", tag = "session", request_body = ShownToken, security(()), responses(
    (status = 204, description = "The cookie is set, where the server asks for a token"),
    (status = 401, description = "This is no token of this server"),
))]
pub(super) async fn sign_in(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Body(ShownToken { token }): Body<ShownToken>,
) -> Result<Response, Refusal> {
    let Some(tokens) = &shared.tokens else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let Some(session) = tokens.session(token.as_bytes()) else {
        let error = "this is no token of this server".to_owned();
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, error));
    };
    Ok((StatusCode::NO_CONTENT, cookie(&headers, session, "")).into_response())
}

/// Whoever leaves a shared screen takes the cookie back.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204, description = "The browser forgets its cookie")))]
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    (StatusCode::NO_CONTENT, cookie(&headers, "", "; Max-Age=0")).into_response()
}
