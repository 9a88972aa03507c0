//! `GET /api/v1/openapi.json`: what there is to ask and what is answered, made from the code.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Content, Info, OpenApi, Ref, RefOr, Response as Described, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::problem::PROBLEM;
use super::routes::Shared;
use super::session::COOKIE_NAME;
use super::tokens::Role;
use super::wire::problem::Problem;

/// Names of the two ways to show a token.
const BEARER: &str = "bearer";
const SESSION: &str = "session";

/// What every request may be answered: problems that no route has of its own.
const OF_ALL: [(&str, &str); 4] = [
    ("400", "What was asked cannot be meant; `detail` says why"),
    ("401", "No token was shown, and the server asks for one"),
    (
        "403",
        "The role of the token is too low, or the page of another host asks",
    ),
    (
        "429",
        "More requests a second than are answered; `Retry-After` says when to come again",
    ),
];

/// What an operation with a body may be answered besides.
const OF_BODIES: [(&str, &str); 4] = [
    ("408", "The body did not arrive in time"),
    ("413", "The body is larger than is taken"),
    ("415", "The body is not what is taken"),
    ("422", "The body is JSON, but not what is meant"),
];

/// The document, without operations.
pub(super) fn about() -> OpenApi {
    let mut info = Info::new("Intakt", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Inspects camera streams: images in, verdicts and figures out. Times are microseconds of event time since 1970 unless \
         something else is said. Errors are problem details (RFC 9457)."
            .to_owned(),
    );
    let mut components = Components::new();
    components
        .schemas
        .insert(Problem::name().into_owned(), Problem::schema());
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(COOKIE_NAME)));
    components.add_security_scheme(BEARER, bearer);
    components.add_security_scheme(SESSION, session);
    let mut document = OpenApi::new(info, utoipa::openapi::Paths::new());
    document.components = Some(components);
    document
}

/// Says of each operation that it needs `role`, and how it is shown.
pub(super) fn needs(document: &mut OpenApi, role: Role) {
    for operation in operations(document) {
        let description = operation.description.get_or_insert_default();
        let needs = format!("Needs the role {}.", role.name());
        *description = match description.is_empty() {
            true => needs,
            false => format!("{description}\n\n{needs}"),
        };
        operation.security = Some(vec![
            SecurityRequirement::new(BEARER, [""; 0]),
            SecurityRequirement::new(SESSION, [""; 0]),
        ]);
    }
}

/// Adds what all operations may be answered, and the form in which refusals are told.
pub(super) fn finish(document: &mut OpenApi) {
    for operation in operations(document) {
        let of_body = operation.request_body.iter().flat_map(|_| OF_BODIES);
        for (status, description) in OF_ALL.into_iter().chain(of_body) {
            let described = || ResponseBuilder::new().description(description).build();
            let responses = &mut operation.responses.responses;
            responses.entry(status.to_owned()).or_insert_with(|| described().into());
        }
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response
                && status.starts_with(['4', '5'])
            {
                told_as_problem(response);
            }
        }
    }
}

fn told_as_problem(response: &mut Described) {
    let schema = Ref::from_schema_name(Problem::name());
    response.content.clear();
    response
        .content
        .insert(PROBLEM.to_owned(), Content::new(Some(schema)).into());
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        operations.into_iter().flatten()
    })
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "session", responses((status = 200, body = Object, description = "OpenAPI 3.1")))]
pub(super) async fn openapi(State(shared): State<Shared>) -> Response {
    let json: Bytes = shared.openapi.clone();
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}
