//! Who changed what: lines of `audit.jsonl`, as they are written there.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditPage {
    /// The newest first.
    pub(crate) entries: Vec<Entry>,
    /// What to give as `cursor` for the next page; null when there is none.
    pub(crate) next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Entry {
    /// Its number; `of` of a later entry is one.
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) line: Noted,
}

/// A line of the audit log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Noted {
    /// Wall clock, microseconds since 1970.
    pub(crate) at_us: u64,
    /// What their token's line calls them; `local` without a token. Of what took effect: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) who: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Arc<str>>,
    /// Where they asked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) address: Option<IpAddr>,
    /// threshold, detector, upload, lot, question, labels; or `took effect` and `failed`, of an earlier entry.
    pub(crate) what: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) camera: Option<Arc<str>>,
    /// What it was, where that is known.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) before: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) after: Value,
    /// The frame from which it is to hold, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_seq: Option<u64>,
    /// The entry that took effect or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<u64>,
    /// The first frame that it held for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}
