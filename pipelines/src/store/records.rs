//! What a run stores besides verdicts, and what it commits at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::{Label, Outcome};
use serde::{Deserialize, Serialize};

/// What became of a frame, at the frame's time in the dataflow.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedOutcome {
    /// Time in the dataflow, microseconds: `captured_at_us`, or the frontier at its arrival for a frame that came late.
    pub time_us: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// A label, at the time at which the dataflow learned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedLabel {
    /// Time in the dataflow, microseconds; usually much later than the label's own `captured_at_us`.
    pub time_us: u64,
    /// Its number among all that were said in this run: of two about one frame that came at one time the higher holds.
    pub ordinal: u64,
    /// What was said about which frame.
    pub label: Label,
}

/// A metric as it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// End of the window (exclusive), microseconds of event time. It may lie in the past, or be still to come.
    pub at_us: u64,
    /// Length of the window, microseconds.
    pub window_us: u64,
    /// What it is about: a camera, a line, all.
    pub scope: Arc<str>,
    /// Name of the metric.
    pub name: Arc<str>,
    /// The value; none where it is undefined (a rate of nothing).
    pub value: Option<f64>,
}

/// A metric that was published, or published again because something in its window was corrected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRevision {
    /// End of the window (exclusive), microseconds of event time. It may lie in the past.
    pub at_us: u64,
    /// Length of the window, microseconds.
    pub window_us: u64,
    /// What it is about: a camera, a line, all.
    pub scope: Arc<str>,
    /// Name of the metric.
    pub name: Arc<str>,
    /// 0 when first published, one more with each correction.
    pub revision: u64,
    /// The value of the revision before; none for the first, or where it was undefined.
    pub before: Option<f64>,
    /// The value; none where it is undefined (a rate of nothing).
    pub after: Option<f64>,
}

/// An alert as it stands. Committing it again with the same rule, scope and opening replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// The rule as the user wrote it.
    pub rule: Arc<str>,
    /// What it is about: a camera, a line, all.
    pub scope: Arc<str>,
    /// Event time at which it opened, microseconds.
    pub opened_at_us: u64,
    /// Event time at which it closed, microseconds; none while it is open.
    pub closed_at_us: Option<u64>,
    /// Whether its cause was undone by a correction.
    pub retracted: bool,
}

/// A change of how frames are judged, from an exact time on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Frames from this time on are judged by it, microseconds in the dataflow.
    pub time_us: u64,
    /// The camera; none for all of them.
    pub camera: Option<Arc<str>>,
    /// What was changed.
    #[serde(flatten)]
    pub kind: ChangeKind,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The image score above which a frame is rejected.
    Threshold(f64),
    /// The lot that frames show parts of.
    Lot(Arc<str>),
    /// The detector, by the first 12 digits of its SHA-256.
    Detector(Arc<str>),
}

impl ChangeKind {
    /// A threshold, in the fewest digits that mean it.
    pub fn threshold(threshold: f32) -> Self {
        let told = threshold.to_string().parse();
        Self::Threshold(told.expect("what a number is told as can be read"))
    }
}

/// Everything that a hop (or several) brought: it is stored as a whole or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The store is complete up to here (exclusive), microseconds.
    pub frontier_us: u64,
    /// One per frame, in any order.
    pub outcomes: Vec<TimedOutcome>,
    /// In the order in which they arrived.
    pub labels: Vec<TimedLabel>,
    /// In the order in which they were published. One that is as it was stored is no revision.
    pub metrics: Vec<Metric>,
    /// In any order.
    pub alerts: Vec<Alert>,
    /// In the order in which they take effect.
    pub changes: Vec<Change>,
    /// For each camera whose position moved, the first frame that has no outcome in the store yet.
    pub next_seq: BTreeMap<Arc<str>, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_told_in_few_digits_and_lose_nothing() {
        assert_eq!(ChangeKind::threshold(12.3), ChangeKind::Threshold(12.3));
        for bits in (0..u32::MAX)
            .step_by(65_537)
            .filter(|bits| f32::from_bits(*bits).is_finite())
        {
            let threshold = f32::from_bits(bits);
            let ChangeKind::Threshold(told) = ChangeKind::threshold(threshold) else {
                unreachable!("it is a threshold")
            };
            assert_eq!((told as f32).to_bits(), bits, "{threshold}");
        }
    }
}
