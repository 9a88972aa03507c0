//! Joins what became of frames with what is said about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::hashable::Hashable;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::HOP_US;
use crate::metrics::{Change, Finding, LabelledFrames, ScoreHistogram, Tally, Truthful, score_bucket};
use crate::{Decision, Label, Outcome, Truth};

/// A label as it arrived. Its time is the time it has in the dataflow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArrivedLabel {
    /// Position among the labels of its time: of two about one frame the one with the later time wins, then the higher ordinal.
    pub ordinal: u64,
    /// The label.
    pub label: Label,
}

/// What one hop changed in the counts of a camera, in the same hop or in an earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameChange {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Start of the hop whose counts change: that of the frames, microseconds.
    pub hop_us: u64,
    /// Start of the hop in which they change, microseconds: the same for new frames, a later one for corrections.
    pub at_us: u64,
    /// Counts of frames and labels to add.
    pub tally: Tally,
    /// Counts of scores to add.
    pub scores: ScoreHistogram,
}

/// Matches outcomes with labels.
pub trait MatchLabels<'scope> {
    /// What every hop changes, per camera and hop of the frames. A change leaves with the time of the hop's start, when both
    /// frontiers have passed the hop, and the frontier behind moves hop by hop; nothing waits longer, so labels may come
    /// whenever they like. All of a camera is at one worker. Whatever the order in which records of a hop arrive, the
    /// changes are the same.
    ///
    /// Frames are kept until `horizon_us` after their hop. Labels for older ones count as too late; labels of frames that did not
    /// come for the horizon count as unmatched.
    fn match_labels(
        self,
        labels: StreamVec<'scope, u64, ArrivedLabel>,
        horizon_us: u64,
    ) -> StreamVec<'scope, u64, FrameChange>;
}

impl<'scope> MatchLabels<'scope> for StreamVec<'scope, u64, Outcome> {
    fn match_labels(
        self,
        labels: StreamVec<'scope, u64, ArrivedLabel>,
        horizon_us: u64,
    ) -> StreamVec<'scope, u64, FrameChange> {
        let found = gathered(self);
        let by_camera = Exchange::new(|found: &CameraHop| found.camera.hashed());
        let by_label = Exchange::new(|arrived: &ArrivedLabel| arrived.label.camera.hashed());
        type Builder = CapacityContainerBuilder<Vec<FrameChange>>;
        found.binary_frontier::<_, Builder, _, _, _, _>(labels, by_camera, by_label, "MatchLabels", |capability, _| {
            let mut capability = Some(capability);
            let mut matching = Matching::new(horizon_us);
            move |(found, found_frontier), (labels, label_frontier), output| {
                found.for_each(|stamp, hops| {
                    let Some(&hop_us) = stamp.least() else { return };
                    hops.drain(..).for_each(|hop| matching.found(hop_us, hop));
                });
                labels.for_each(|stamp, labels| {
                    let Some(&time_us) = stamp.least() else { return };
                    labels.drain(..).for_each(|label| matching.said(time_us, label));
                });
                let Some(held) = capability.as_mut() else { return };
                let frontiers = [
                    found_frontier.frontier().first().copied(),
                    label_frontier.frontier().first().copied(),
                ];
                let reached = frontiers.into_iter().flatten().min();
                let reached = reached.map(|reached| reached / HOP_US * HOP_US);
                while let Some(hop_us) = matching.next_hop_us(reached) {
                    held.downgrade(&hop_us);
                    output.session(held).give_iterator(matching.hop(hop_us).into_iter());
                }
                match reached {
                    Some(reached) => held.downgrade(&reached.max(*held.time())),
                    None => capability = None,
                }
            }
        })
    }
}

/// Frames of one camera and hop.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct CameraHop {
    camera: Arc<str>,
    frames: Vec<(u64, Finding)>,
}

/// What became of the frames, per camera and hop, as one record with the time of the hop's start, so that workers exchange
/// and join once a hop, not once a frame.
fn gathered<'scope>(outcomes: StreamVec<'scope, u64, Outcome>) -> StreamVec<'scope, u64, CameraHop> {
    type Builder = CapacityContainerBuilder<Vec<CameraHop>>;
    outcomes.unary_frontier::<Builder, _, _, _>(Pipeline, "Gather", |capability, _| {
        let mut capability = Some(capability);
        let mut hops: BTreeMap<u64, Found> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|stamp, outcomes| {
                // The frame's time in the dataflow, not `captured_at_us`: they differ for a frame that came late.
                let Some(hop) = stamp.least().map(|time| time / HOP_US * HOP_US) else {
                    return;
                };
                let cameras = hops.entry(hop).or_default();
                for outcome in outcomes.drain(..) {
                    let frame = (outcome.seq(), finding(&outcome));
                    match cameras.get_mut(outcome.camera()) {
                        Some(frames) => frames.push(frame),
                        None => drop(cameras.insert(outcome.camera().clone(), vec![frame])),
                    }
                }
            });
            let Some(held) = capability.as_mut() else { return };
            let reached = frontier.frontier().first().map(|reached| reached / HOP_US * HOP_US);
            while let Some(entry) = hops.first_entry()
                && reached.is_none_or(|reached| *entry.key() < reached)
            {
                let (hop, cameras) = entry.remove_entry();
                held.downgrade(&hop);
                let hops = cameras.into_iter().map(|(camera, frames)| CameraHop { camera, frames });
                output.session(held).give_iterator(hops);
            }
            match reached {
                Some(reached) => held.downgrade(&reached.max(*held.time())),
                None => capability = None,
            }
        }
    })
}

/// Of one hop, by camera: sequence numbers and what became of those frames.
type Found = BTreeMap<Arc<str>, Vec<(u64, Finding)>>;

fn finding(outcome: &Outcome) -> Finding {
    let Outcome::Judged(verdict) = outcome else {
        return Finding::Dropped;
    };
    match verdict.decision {
        Decision::Pass => Finding::Passed(score_bucket(verdict.calibrated_score)),
        Decision::Reject => Finding::Rejected(score_bucket(verdict.calibrated_score)),
        Decision::Unreadable { .. } => Finding::Unreadable,
    }
}

/// The cameras of one worker, and what waits for the frontier.
struct Matching {
    horizon_us: u64,
    cameras: BTreeMap<Arc<str>, LabelledFrames>,
    hops: BTreeMap<u64, BTreeMap<Arc<str>, Said>>,
}

/// What came in one hop for one camera; labels with their time.
#[derive(Default)]
struct Said {
    frames: Vec<(u64, Finding)>,
    labels: Vec<(u64, ArrivedLabel)>,
}

impl Matching {
    fn new(horizon_us: u64) -> Self {
        Self {
            horizon_us,
            cameras: BTreeMap::new(),
            hops: BTreeMap::new(),
        }
    }

    fn found(&mut self, hop_us: u64, hop: CameraHop) {
        let said = self.hops.entry(hop_us).or_default().entry(hop.camera).or_default();
        said.frames.extend(hop.frames);
    }

    fn said(&mut self, time_us: u64, arrived: ArrivedLabel) {
        let hop = self.hops.entry(time_us / HOP_US * HOP_US).or_default();
        let said = hop.entry(arrived.label.camera.clone()).or_default();
        said.labels.push((time_us, arrived));
    }

    /// The next hop in which something happens, if it is complete. Deadlines are no reason to go on when the input has ended.
    fn next_hop_us(&self, reached: Option<u64>) -> Option<u64> {
        let said = self.hops.keys().next().copied();
        let Some(reached) = reached else { return said };
        let deadline = self.cameras.values().filter_map(LabelledFrames::next_deadline_us).min();
        let next = [said, deadline].into_iter().flatten().min();
        next.filter(|&next| next < reached)
    }

    fn hop(&mut self, at_us: u64) -> Vec<FrameChange> {
        let mut said = self.hops.remove(&at_us).unwrap_or_default();
        for camera in said.keys() {
            if !self.cameras.contains_key(camera) {
                let frames = LabelledFrames::new(HOP_US, self.horizon_us);
                self.cameras.insert(camera.clone(), frames);
            }
        }
        let mut changes = Vec::new();
        for (camera, frames) in &mut self.cameras {
            let Said {
                frames: found,
                mut labels,
            } = said.remove(camera).unwrap_or_default();
            labels.sort_unstable();
            let labels = labels.into_iter().map(|(_, arrived)| Truthful {
                seq: arrived.label.seq,
                anomalous: arrived.label.truth.as_ref().map(Truth::is_anomalous),
                captured_at_us: arrived.label.captured_at_us,
            });
            let changed = frames.hop(at_us, found, labels);
            changes.extend(
                changed
                    .into_iter()
                    .map(|(hop_us, Change { tally, scores })| FrameChange {
                        camera: camera.clone(),
                        hop_us,
                        at_us,
                        tally,
                        scores,
                    }),
            );
        }
        changes
    }
}
