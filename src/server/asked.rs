//! What a request asks for; what is wrong with it is told as every other refusal is.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use intakt_pipelines::datasets::parse_micros;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Refusal;
use super::routes::Shared;

/// A JSON body, which comes in time.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Refusal> {
        let wait_max = shared.limits.body_wait_max;
        let read = timeout(wait_max, Json::<T>::from_request(request, shared)).await;
        let read = read.map_err(|_| {
            let error = format!("the body did not arrive within {wait_max:?}");
            Refusal::new(StatusCode::REQUEST_TIMEOUT, error)
        })?;
        let refused = |refused: JsonRejection| Refusal::new(refused.status(), refused.body_text());
        read.map(|Json(body)| Self(body)).map_err(refused)
    }
}

/// The named parts of a path. They are looked up, and no file's name is ever made of them.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(named)| Self(named))
            .map_err(|refused| Refusal::new(refused.status(), refused.body_text()))
    }
}

/// A query.
pub(super) struct Wanted<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Wanted<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        asked(&parts.uri).map(Self)
    }
}

/// What a request's query asks for.
pub(super) fn asked<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    match Query::try_from_uri(uri) {
        Ok(Query(asked)) => Ok(asked),
        Err(error) => Err(Refusal::bad(error.body_text())),
    }
}

/// A time that a query names, microseconds.
pub(super) fn time_us(key: &str, typed: Option<&str>) -> Result<Option<u64>, Refusal> {
    let parse = |typed| {
        parse_micros(typed).ok_or_else(|| {
            Refusal::bad(format!(
                "{key}: it is a time like 2026-01-05T06:00:00Z, or microseconds since 1970"
            ))
        })
    };
    typed.map(parse).transpose()
}

/// How much of a list is wanted, between 1 and `most`.
pub(super) fn limit(typed: Option<u32>, usual: usize, most: usize) -> Result<usize, Refusal> {
    match typed.map_or(usual, |typed| typed as usize) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(Refusal::bad(format!("limit: it is a number from 1 to {most}"))),
    }
}

/// The numbers of a cursor that begins with `order`.
pub(super) fn cursor<const N: usize>(typed: &str, order: &str) -> Option<[u64; N]> {
    let mut parts = typed.strip_prefix(order)?.strip_prefix('.')?.split('.');
    let mut numbers = [0; N];
    for number in &mut numbers {
        let digits = parts.next()?;
        // As it was written: no sign, and no number that no row has.
        *number = digits.parse().ok().filter(|number| *number <= i64::MAX as u64)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// A cursor that nobody was given.
pub(super) fn forged() -> Refusal {
    Refusal::bad("cursor: it is the `next` of an earlier answer to the same question".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_numbers_and_nothing_else() {
        assert_eq!(cursor::<2>("newest.1.2", "newest"), Some([1, 2]));
        for forged in [
            "",
            "newest",
            "newest.1",
            "newest.1.2.3",
            "newest.1.-2",
            "newest.1.x",
            "newest.1.",
            "uncertain.1.2",
            "newest1.2",
            "newest.1.9223372036854775808",
            "newest.1.99999999999999999999999",
            "newest.1.2\0",
        ] {
            assert_eq!(cursor::<2>(forged, "newest"), None, "{forged}");
        }
    }
}
