//! How our numbers and words look in SQLite.

use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Trouble;

/// A number that is a key: its order must be kept, so it has to fit.
pub(super) fn key(what: &'static str, number: u64) -> Result<i64, Trouble> {
    i64::try_from(number).map_err(|_| Trouble::TooLarge { what, found: number })
}

/// A key as it was written.
pub(super) fn from_key(number: i64) -> Result<u64, Trouble> {
    u64::try_from(number).map_err(|_| Trouble::Damaged(format!("a time or position is {number}")))
}

/// A number that is no key: its bits are kept.
pub(super) fn bits(number: u64) -> i64 {
    number as i64
}

/// Reads what [`bits`] wrote.
pub(super) fn bits_in(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

/// Reads a score; SQLite has no not-a-number and keeps NULL for it.
pub(super) fn score_in(row: &Row<'_>, column: usize) -> rusqlite::Result<f64> {
    Ok(row.get::<_, Option<f64>>(column)?.unwrap_or(f64::NAN))
}

/// The word that stands for a reason in our JSON.
pub(super) fn word(reason: &impl Serialize) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("reasons are plain words, not {other:?}"),
    }
}

/// The reason that a word stands for.
pub(super) fn from_word<T: DeserializeOwned>(word: String) -> Result<T, Trouble> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|error| Trouble::Damaged(error.to_string()))
}
