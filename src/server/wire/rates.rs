//! Figures window by window.

use std::collections::BTreeMap;

use intakt_pipelines::store::RevisedFigure;
use serde::Serialize;
use utoipa::ToSchema;

/// A page of windows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RatePage {
    /// All frames before this time came, microseconds of event time.
    pub(crate) closed_up_to_us: u64,
    /// Labels still correct the windows that end after this time, microseconds of event time.
    pub(crate) corrected_from_us: u64,
    /// The windows that slide as the run counts them now, the shortest first: lengths like `15m`, also those of which none has ended.
    pub(crate) lengths: Vec<String>,
    /// Those that end at a multiple of their length, shifts and lots; the newest end first.
    pub(crate) windows: Vec<WindowRate>,
    /// The newest sliding window of each scope and length, where it ends after the last one that is closed: the open end of a chart.
    pub(crate) tail: Vec<WindowRate>,
    /// What to give as `cursor` for the next page; null when there is none. A page may hold fewer windows than were asked for while
    /// there is one.
    pub(crate) next: Option<String>,
}

/// The figures of a window.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct WindowRate {
    /// `all`, `camera/NAME` or `line/NAME`.
    pub(crate) scope: String,
    /// A length like `15m`, `shift`, or `lot/NAME`.
    pub(crate) window: String,
    /// Where it begins, microseconds of event time.
    pub(crate) start_us: u64,
    /// Where it ends (exclusive), microseconds of event time.
    pub(crate) end_us: u64,
    /// Whether all its frames came.
    pub(crate) closed: bool,
    /// How often it was corrected.
    pub(crate) revision: u64,
    /// By name. What was never published is absent, what is undefined null.
    pub(crate) figures: BTreeMap<String, Figure>,
}

/// A figure, and what it was.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Figure {
    pub(crate) value: Option<f64>,
    /// How often it was corrected.
    pub(crate) revision: u64,
    /// Its value before the newest correction.
    pub(crate) before: Option<f64>,
    /// Its value as it was first published.
    pub(crate) first: Option<f64>,
}

impl From<RevisedFigure> for Figure {
    fn from(figure: RevisedFigure) -> Self {
        Self {
            value: figure.value,
            revision: figure.revision,
            before: figure.before,
            first: figure.first,
        }
    }
}
