//! What whoever asks the server sees, the page included: whatever leaves it or comes into it as JSON is a type here, described in OpenAPI
//! by the same type. Nothing else in the server derives `ToSchema`.
//!
//! Two answers are made by the pipelines and described here: `/status`, a [`LiveStatus`](intakt_pipelines::sinks::LiveStatus), by
//! [`RunStatus`](status::RunStatus), and the verdict on a posted image, its line of the log, by
//! [`FrameVerdict`](posting::FrameVerdict). What a query may ask stands beside the function that answers, with its limits; the
//! words that it may choose from are here. `/health`, `/ready` and the document itself have no type.

pub(super) mod alerts;
pub(super) mod audit;
pub(super) mod cameras;
pub(super) mod compare;
pub(super) mod detectors;
pub(super) mod frames;
pub(super) mod histogram;
pub(super) mod labels;
pub(super) mod latencies;
pub(super) mod line;
pub(super) mod posting;
pub(super) mod problem;
pub(super) mod rates;
pub(super) mod session;
pub(super) mod status;
pub(super) mod verdicts;

use utoipa::ToSchema;

/// Bytes as they are.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it says how a body looks that is no JSON")]
pub(crate) struct File(Vec<u8>);
