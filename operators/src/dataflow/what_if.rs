//! Standing what-if: what other thresholds would do with the frames of the horizon.

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::AsCollection;
use differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use differential_dataflow::hashable::Hashable;
use differential_dataflow::operators::CountTotal;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use super::rates::{per_score_hop, scores_of};
use super::settle::Settle;
use super::{Expire, FrameChange, SCORE_HOP_US};
use crate::metrics::{ScoreCount, Tally, first_rejected_bucket};

/// From its time in the dataflow on, a threshold that is asked about: another one under the same name replaces it. Of two
/// at one time the one that was said later holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlternativeThreshold {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Its position among what was said about the camera.
    pub ordinal: u64,
    /// What the question is called.
    pub name: Arc<str>,
    /// The calibrated score above which a frame would be rejected, 0…1, acting as the next multiple of 1/4096; none when nobody
    /// asks any more.
    pub threshold: Option<f64>,
}

/// What a threshold would have done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// What the question is called.
    pub name: Arc<str>,
    /// When the answer changed, microseconds of event time.
    pub at_us: u64,
    /// What was answered before.
    pub before: Option<Tally>,
    /// Judged frames of the horizon under the threshold; none when nobody asks any more or there are none.
    pub after: Option<Tally>,
}

/// Answers what other thresholds would do.
pub trait WhatIfs<'scope> {
    /// For every change of an answer, on worker 0: at the time of the threshold, or at the end of the minute in which frames came,
    /// were labelled or fell behind the horizon. It leaves when the hop of that time has ended. Frames of the last `horizon_us`, a multiple of [`SCORE_HOP_US`], are
    /// asked, as one histogram per camera, so that a new threshold costs at most 4096 additions, however many they are.
    fn what_if(
        self,
        thresholds: StreamVec<'scope, u64, AlternativeThreshold>,
        horizon_us: u64,
    ) -> StreamVec<'scope, u64, WhatIf>;
}

impl<'scope> WhatIfs<'scope> for StreamVec<'scope, u64, FrameChange> {
    fn what_if(
        self,
        thresholds: StreamVec<'scope, u64, AlternativeThreshold>,
        horizon_us: u64,
    ) -> StreamVec<'scope, u64, WhatIf> {
        let retained = per_score_hop(scores_of(self)).expire(
            move |(camera, hop_us), at_us, stay: &mut dyn FnMut(Arc<str>, _)| {
                stay(camera, at_us + SCORE_HOP_US..hop_us + 2 * SCORE_HOP_US + horizon_us);
            },
            Some,
        );
        let scores = retained.flat_map(|(camera, time, scores)| {
            let counts = scores.counts().to_vec().into_iter();
            counts.map(move |count| ((camera.clone(), count.bucket), time, Scored::from(count)))
        });
        let thresholds = standing(thresholds).as_collection();
        let decided = scores
            .as_collection()
            .join_map(thresholds, |camera, &bucket, (name, first_rejected)| {
                ((camera.clone(), name.clone()), bucket >= *first_rejected)
            });
        let tallies = decided
            .inner
            .map(|((key, rejected), time, scored)| (key, time, scored.tally(rejected)));
        let answers = tallies.as_collection().count_total().inner;
        answers.settle("WhatIf", |at_us, replaced| {
            let answers = replaced.into_iter().map(|((camera, name), (before, after))| WhatIf {
                camera,
                name,
                at_us,
                before,
                after,
            });
            answers.collect()
        })
    }
}

/// Camera, name and first bucket that is rejected.
type Standing = (Arc<str>, (Arc<str>, u16));

/// The thresholds as a collection: each replaces the one before it.
fn standing<'scope>(
    thresholds: StreamVec<'scope, u64, AlternativeThreshold>,
) -> StreamVec<'scope, u64, (Standing, u64, isize)> {
    let by_camera = Exchange::new(|asked: &AlternativeThreshold| asked.camera.hashed());
    type Builder = CapacityContainerBuilder<Vec<(Standing, u64, isize)>>;
    thresholds.unary_frontier::<Builder, _, _, _>(by_camera, "Standing", |_, _| {
        let mut asked = BTreeMap::new();
        let mut current: BTreeMap<(Arc<str>, Arc<str>), u16> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|stamp, thresholds| {
                let Some(capability) = stamp.retain_least(0) else {
                    return;
                };
                let at = asked.entry(*capability.time());
                let (_, changes) = at.or_insert_with(|| (capability, BTreeMap::new()));
                for asked in thresholds.drain(..) {
                    let bucket = asked.threshold.map(first_rejected_bucket);
                    let later = changes.entry((asked.camera, asked.name)).or_insert((0, None));
                    if asked.ordinal >= later.0 {
                        *later = (asked.ordinal, bucket);
                    }
                }
            });
            while let Some(entry) = asked.first_entry()
                && !frontier.less_equal(entry.key())
            {
                let (time, (capability, changes)) = entry.remove_entry();
                let mut session = output.session(&capability);
                for ((camera, name), (_, bucket)) in changes {
                    let key = (camera.clone(), name.clone());
                    let before = match bucket {
                        Some(bucket) => current.insert(key, bucket),
                        None => current.remove(&key),
                    };
                    let updates = [(before, -1), (bucket, 1)].into_iter();
                    session
                        .give_iterator(updates.filter_map(|(bucket, diff)| {
                            Some(((camera.clone(), (name.clone(), bucket?)), time, diff))
                        }));
                }
            }
        }
    })
}

/// How many frames of one bucket there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Scored {
    judged: i64,
    normal: i64,
    anomalous: i64,
}

impl From<ScoreCount> for Scored {
    fn from(count: ScoreCount) -> Self {
        Self {
            judged: count.judged.into(),
            normal: count.normal.into(),
            anomalous: count.anomalous.into(),
        }
    }
}

impl Scored {
    fn tally(self, rejected: bool) -> Tally {
        let mut tally = Tally {
            frames: self.judged,
            rejects: if rejected { self.judged } else { 0 },
            ..Tally::default()
        };
        tally.count_labelled(rejected, true, self.anomalous);
        tally.count_labelled(rejected, false, self.normal);
        tally
    }
}

impl IsZero for Scored {
    fn is_zero(&self) -> bool {
        self.judged == 0 && self.normal == 0 && self.anomalous == 0
    }
}

impl Semigroup for Scored {
    fn plus_equals(&mut self, other: &Self) {
        self.judged += other.judged;
        self.normal += other.normal;
        self.anomalous += other.anomalous;
    }
}

impl Multiply<isize> for Scored {
    type Output = Self;

    fn multiply(self, times: &isize) -> Self {
        let times = *times as i64;
        Self {
            judged: self.judged * times,
            normal: self.normal * times,
            anomalous: self.anomalous * times,
        }
    }
}

#[cfg(test)]
#[path = "what_if_tests.rs"]
mod tests;
