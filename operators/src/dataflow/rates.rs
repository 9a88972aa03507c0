//! Rates over windows of event time, corrected when labels come late.
//!
//! A sliding window is published at the end of every hop that changes it. What a label corrects afterwards is not all of
//! those ends: a window of an hour that moves by the second has 3,600 that hold the frame, and nobody reads them again.
//! Corrected are
//! - the windows with a *fixed place* that hold the frame: of every sliding length the one that ends at a multiple of it
//!   (every full minute, quarter of an hour, hour), the shift and the lot. There is exactly one of each for a frame, so
//!   the truth about its time is always to be found, and a label costs a handful of records;
//! - every window that ends from now on and still holds the frame.
//!
//! At the end of the run the windows with a fixed place that have not ended are published as far as they are filled.
//!
//! A window that is a horizon old is frozen: it is forgotten here, and what was published stays true.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use differential_dataflow::difference::Abelian;
use differential_dataflow::operators::CountTotal;
use differential_dataflow::{AsCollection, ExchangeData};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use super::lots::{HopChange, by_lot};
use super::per_hop::PerHop;
use super::settle::{Replaced, Settle};
use super::{Expire, FrameChange, HOP_US, LotStarted, RateKey, RatePlan, SCORE_HOP_US, Scope, Window, Wire};
use crate::metrics::{ScoreHistogram, Tally};

/// A figure of a window, or its correction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision<T> {
    /// Scope and window.
    #[serde(flatten)]
    pub key: RateKey,
    /// Start of the window, microseconds of event time.
    pub start_us: u64,
    /// End of the window (exclusive), microseconds of event time.
    pub end_us: u64,
    /// When it was published, microseconds of event time: at the window's end, or when it was corrected.
    pub at_us: u64,
    /// 0 when the window is first published, and one more at each correction. The highest holds.
    pub revision: u32,
    /// Whether the window had not ended when the run did: this is what is in it so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// What was published before; none at revision 0.
    pub before: Option<T>,
    /// What holds now.
    pub after: T,
}

/// What happened to the frames of a window.
pub type Rate = Revision<Tally>;

/// How the frames of a window scored.
pub type ScoreRate = Revision<ScoreFigures>;

/// Figures of calibrated scores, quantised to 1/4096.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreFigures {
    /// Frames that were judged: the denominator of the quantiles and of the drift.
    pub judged: i64,
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Population stability index against the camera's calibration. None for lines and all, because a reference is a camera's.
    pub drift: Option<f64>,
    /// Area under the ROC curve over the labelled frames; none unless both classes occur.
    pub auroc: Option<f64>,
}

/// Keeps rates over what happens to frames.
pub trait Rates<'scope> {
    /// For every hop in which a window changes, its new content, on worker 0, at the hop's end, in order of scope, window and
    /// end. Cameras, their lines and all are scopes; a lot is published per camera when the next one starts there. The
    /// frontier passes a hop's end when nothing can be added to the hop.
    ///
    /// Panics on a plan that [`RatePlan::check`] refuses.
    fn rates(self, lots: StreamVec<'scope, u64, LotStarted>, plan: &Arc<RatePlan>) -> StreamVec<'scope, u64, Rate>;

    /// The same for scores, by hops of [`SCORE_HOP_US`], for sliding windows of whole minutes, shifts and lots.
    ///
    /// Panics on a plan that [`RatePlan::check`] refuses.
    fn score_rates(
        self,
        lots: StreamVec<'scope, u64, LotStarted>,
        plan: &Arc<RatePlan>,
    ) -> StreamVec<'scope, u64, ScoreRate>;
}

impl<'scope> Rates<'scope> for StreamVec<'scope, u64, FrameChange> {
    fn rates(self, lots: StreamVec<'scope, u64, LotStarted>, plan: &Arc<RatePlan>) -> StreamVec<'scope, u64, Rate> {
        plan.check().expect("a plan that was checked");
        let (scopes, windows) = (plan.clone(), plan.clone());
        // Without the scores, which would only be copied.
        let changes = self.map(|change| ((change.camera, change.hop_us), change.at_us, change.tally));
        let of_lots = by_lot(changes.clone(), lots, plan.horizon_us);
        let places = changes.flat_map(move |((camera, hop_us), at_us, tally)| {
            let scopes = scopes.scopes(&camera);
            scopes.map(move |scope| (Place::Hop(scope, hop_us), at_us, tally))
        });
        let expiring = places.concat(of_lots).expire(
            move |place, at_us, stay: &mut dyn FnMut(WindowKey, Range<u64>)| {
                windows.stays(place, at_us, HOP_US, stay);
            },
            left_open,
        );
        published(expiring, plan.clone(), HOP_US)
    }

    fn score_rates(
        self,
        lots: StreamVec<'scope, u64, LotStarted>,
        plan: &Arc<RatePlan>,
    ) -> StreamVec<'scope, u64, ScoreRate> {
        plan.check().expect("a plan that was checked");
        let (scopes, figures) = (plan.clone(), plan.clone());
        let windows = RatePlan {
            windows_us: plan
                .windows_us
                .iter()
                .copied()
                .filter(|length| length % SCORE_HOP_US == 0)
                .collect(),
            ..RatePlan::clone(plan)
        };
        let changes = scores_of(self);
        let of_lots = by_lot(changes.clone(), lots, plan.horizon_us)
            .map(|(place, at_us, scores)| (place, at_us / SCORE_HOP_US * SCORE_HOP_US, scores));
        let places = per_score_hop(changes).flat_map(move |((camera, hop_us), at_us, scores)| {
            let scopes = scopes.scopes(&camera);
            scopes.map(move |scope| (Place::Hop(scope, hop_us), at_us, scores.clone()))
        });
        let stays = move |place, at_us, stay: &mut dyn FnMut(WindowKey, Range<u64>)| {
            windows.stays(place, at_us, SCORE_HOP_US, stay);
        };
        let expiring = places.concat(of_lots).expire(stays, left_open);
        published(expiring, plan.clone(), SCORE_HOP_US).map(move |rate: Revision<ScoreHistogram>| {
            let figures_of = |scores: &ScoreHistogram| ScoreFigures::new(scores, &rate.key.scope, &figures);
            Revision {
                before: rate.before.as_ref().map(figures_of),
                after: figures_of(&rate.after),
                key: rate.key,
                start_us: rate.start_us,
                end_us: rate.end_us,
                at_us: rate.at_us,
                revision: rate.revision,
                open: rate.open,
            }
        })
    }
}

/// Changes of scores by camera and hop of [`HOP_US`].
pub(super) fn scores_of<'scope>(
    changes: StreamVec<'scope, u64, FrameChange>,
) -> StreamVec<'scope, u64, HopChange<ScoreHistogram>> {
    changes.flat_map(|change| {
        let any = !change.scores.counts().is_empty();
        any.then_some(((change.camera, change.hop_us), change.at_us, change.scores))
    })
}

/// The same by hops of [`SCORE_HOP_US`].
pub(super) fn per_score_hop<'scope>(
    changes: StreamVec<'scope, u64, HopChange<ScoreHistogram>>,
) -> StreamVec<'scope, u64, HopChange<ScoreHistogram>> {
    changes
        .map(|((camera, hop_us), at_us, scores)| ((camera, hop_us / SCORE_HOP_US * SCORE_HOP_US), at_us, scores))
        .per_hop(SCORE_HOP_US)
}

/// Where a change belongs: to all windows that hold a hop, or to one.
pub(super) enum Place {
    Hop(Scope, u64),
    Window(RateKey, Span),
}

/// Start and end of a window, microseconds.
pub(super) type Span = (u64, u64);
/// Where a window lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Position {
    /// It slides along.
    Sliding,
    /// It has a place.
    Fixed(Span),
    /// It has a place and had not ended when the run did.
    Open(Span),
}

type WindowKey = Wire<(RateKey, Position)>;

/// A window that has not ended when the run does.
fn left_open(Wire((key, position)): WindowKey) -> Option<WindowKey> {
    match position {
        Position::Fixed(span) => Some(Wire((key, Position::Open(span)))),
        Position::Sliding | Position::Open(_) => None,
    }
}

impl RatePlan {
    /// When a window with a fixed place is forgotten. That a lot has ended is known a hop later.
    fn frozen_us(&self, window: &Window, end_us: u64, hop_us: u64) -> u64 {
        let known_us = match window {
            Window::Lot { .. } => end_us.saturating_add(hop_us),
            Window::Sliding { .. } | Window::Shift => end_us,
        };
        known_us.saturating_add(self.horizon_us).saturating_add(hop_us)
    }

    /// For how long a change that happened in the hop `at_us` is part of which window.
    fn stays(&self, place: Place, at_us: u64, hop_us: u64, stay: &mut dyn FnMut(WindowKey, Range<u64>)) {
        let enters_us = at_us + hop_us;
        let mut fixed = |key: RateKey, (start_us, end_us)| {
            let stays = enters_us.max(end_us)..self.frozen_us(&key.window, end_us, hop_us);
            stay(Wire((key, Position::Fixed((start_us, end_us)))), stays);
        };
        match place {
            Place::Window(key, span) => fixed(key, span),
            Place::Hop(scope, place_us) => {
                for (window, span) in self.fixed(place_us) {
                    let scope = scope.clone();
                    fixed(RateKey { scope, window }, (span.start, span.end));
                }
                for &length_us in &self.windows_us {
                    let (scope, window) = (scope.clone(), Window::Sliding { length_us });
                    stay(
                        Wire((RateKey { scope, window }, Position::Sliding)),
                        enters_us..place_us + hop_us + length_us,
                    );
                }
            }
        }
    }
}

fn published<'scope, R: Abelian + ExchangeData>(
    expiring: StreamVec<'scope, u64, (WindowKey, u64, R)>,
    plan: Arc<RatePlan>,
    hop_us: u64,
) -> StreamVec<'scope, u64, Revision<R>> {
    let mut revisions = Revisions {
        plan,
        hop_us,
        next: BTreeMap::new(),
    };
    let changes = expiring.as_collection().count_total().inner;
    changes.settle("Publish", move |at_us, replaced| revisions.publish(at_us, replaced))
}

/// How often each window that can still be corrected was published.
struct Revisions {
    plan: Arc<RatePlan>,
    hop_us: u64,
    next: BTreeMap<(RateKey, Span), u32>,
}

impl Revisions {
    fn publish<R: Abelian>(&mut self, at_us: u64, replaced: Replaced<WindowKey, R>) -> Vec<Revision<R>> {
        // Windows that slide come before those with a fixed place. Where one of each ends here they are the same window, and
        // the later, which goes on being corrected, replaces the first.
        let mut published = BTreeMap::new();
        for (Wire((key, position)), (before, after)) in replaced {
            let (start_us, end_us) = match position {
                Position::Sliding => (sliding_start_us(&key.window, at_us), at_us),
                Position::Fixed(span) | Position::Open(span) => span,
            };
            let mut revision = 0;
            if let Position::Fixed(span) = position {
                if at_us >= self.plan.frozen_us(&key.window, end_us, self.hop_us) {
                    self.next.remove(&(key, span));
                    continue;
                }
                let next = self.next.entry((key.clone(), span)).or_insert(0);
                revision = *next;
                *next += 1;
            }
            let rate = Revision {
                key: key.clone(),
                start_us,
                end_us,
                at_us,
                revision,
                open: matches!(position, Position::Open(_)),
                before: before.filter(|_| revision > 0),
                after: after.unwrap_or_else(R::zero),
            };
            published.insert((key, end_us), rate);
        }
        published.into_values().collect()
    }
}

fn sliding_start_us(window: &Window, end_us: u64) -> u64 {
    match window {
        Window::Sliding { length_us } => end_us.saturating_sub(*length_us),
        Window::Shift | Window::Lot { .. } => end_us,
    }
}

impl ScoreFigures {
    fn new(scores: &ScoreHistogram, scope: &Scope, plan: &RatePlan) -> Self {
        let reference = match scope {
            Scope::Camera(camera) => plan.references.get(camera),
            Scope::Line(_) | Scope::All => None,
        };
        Self {
            judged: scores.judged(),
            p50: scores.quantile(0.5),
            p95: scores.quantile(0.95),
            p99: scores.quantile(0.99),
            drift: reference.and_then(|reference| reference.stability_index(scores)),
            auroc: scores.auroc(),
        }
    }
}

#[cfg(test)]
#[path = "rates_tests.rs"]
mod tests;
