//! Collects what belongs to a hop until the frontier has passed it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use intakt_operators::{Label, Outcome};

use super::reader::ResumePoint;
use super::records::{Alert, Change, Commit, Metric, TimedLabel, TimedOutcome};

/// Records wait here by their time in the dataflow, and leave as a [`Commit`] whenever the frontier has passed the end of a
/// hop.
///
/// It has no limit of its own. What it holds lies between the last committed hop and the newest record: at most lateness,
/// idle timeout and one hop of event time, because the sources let no record in that is further ahead of the frontier. Only
/// small records are in it, no pixels.
#[derive(Debug)]
pub struct HopBuffer {
    hop_us: u64,
    /// Everything before has left.
    committed_us: u64,
    hops: BTreeMap<u64, Commit>,
    cameras: BTreeMap<Arc<str>, ResumePoint>,
}

impl HopBuffer {
    /// Buffers hops of `hop_us` microseconds, beginning at the frontier that the store has committed. Panics if `hop_us` is 0.
    pub fn new(hop_us: u64, committed_frontier_us: u64) -> Self {
        assert!(hop_us > 0, "a hop has a length");
        Self {
            hop_us,
            committed_us: committed_frontier_us,
            hops: BTreeMap::new(),
            cameras: BTreeMap::new(),
        }
    }

    /// States where a camera begins; without it, it begins at frame 0. A live camera that numbers on behind frames that are
    /// gone begins at [`ResumePoint::next_unused_seq`] with nothing stored.
    pub fn resume_camera(&mut self, camera: Arc<str>, point: ResumePoint) {
        self.cameras.insert(camera, point);
    }

    /// What became of a frame. Panics (a bug of ours) if its hop was committed before.
    pub fn outcome(&mut self, time_us: u64, outcome: Outcome) {
        self.hop(time_us).outcomes.push(TimedOutcome { time_us, outcome });
    }

    /// A label that the dataflow learned at `time_us`. Panics as [`HopBuffer::outcome`] does.
    pub fn label(&mut self, time_us: u64, ordinal: u64, label: Label) {
        self.hop(time_us).labels.push(TimedLabel {
            time_us,
            ordinal,
            label,
        });
    }

    /// A metric that was published at `time_us`, whatever time it is about. Panics as [`HopBuffer::outcome`] does.
    pub fn metric(&mut self, time_us: u64, metric: Metric) {
        self.hop(time_us).metrics.push(metric);
    }

    /// An alert that opened, closed or was retracted at `time_us`. Panics as [`HopBuffer::outcome`] does.
    pub fn alert(&mut self, time_us: u64, alert: Alert) {
        self.hop(time_us).alerts.push(alert);
    }

    /// A change of threshold or detector. Panics as [`HopBuffer::outcome`] does.
    pub fn change(&mut self, change: Change) {
        self.hop(change.time_us).changes.push(change);
    }

    /// What is to be committed now that nothing before `frontier_us` can come any more; none until a hop has ended. Several
    /// hops leave as one commit.
    pub fn passed(&mut self, frontier_us: u64) -> Option<Commit> {
        let end_us = frontier_us / self.hop_us * self.hop_us;
        if end_us <= self.committed_us {
            return None;
        }
        let later = self.hops.split_off(&end_us);
        let mut commit = Commit {
            frontier_us: end_us,
            ..Commit::default()
        };
        for hop in std::mem::replace(&mut self.hops, later).into_values() {
            commit.outcomes.extend(hop.outcomes);
            commit.labels.extend(hop.labels);
            commit.metrics.extend(hop.metrics);
            commit.alerts.extend(hop.alerts);
            commit.changes.extend(hop.changes);
        }
        // As they take effect, whatever worker they came from.
        commit
            .changes
            .sort_by(|a, b| (a.time_us, &a.camera).cmp(&(b.time_us, &b.camera)));
        commit.next_seq = self.positions_after(&commit.outcomes);
        self.committed_us = end_us;
        Some(commit)
    }

    /// What is left at the end of a run: figures of windows that had not ended, and what was said when all was over. Panics (a
    /// bug of ours) if an outcome is left.
    pub fn rest(&mut self) -> Commit {
        let mut rest = Commit {
            frontier_us: self.committed_us,
            ..Commit::default()
        };
        for hop in std::mem::take(&mut self.hops).into_values() {
            assert!(hop.outcomes.is_empty(), "every outcome belongs to a hop that has ended");
            rest.metrics.extend(hop.metrics);
            rest.alerts.extend(hop.alerts);
        }
        rest
    }

    fn hop(&mut self, time_us: u64) -> &mut Commit {
        let committed_us = self.committed_us;
        assert!(
            time_us >= committed_us,
            "time {time_us} lies before the committed {committed_us}"
        );
        self.hops.entry(time_us / self.hop_us * self.hop_us).or_default()
    }

    fn positions_after(&mut self, outcomes: &[TimedOutcome]) -> BTreeMap<Arc<str>, u64> {
        let mut moved = BTreeSet::new();
        for TimedOutcome { outcome, .. } in outcomes {
            let point = self.cameras.entry(outcome.camera().clone()).or_default();
            point.already_stored.insert(outcome.seq());
            moved.insert(outcome.camera());
        }
        let positions = moved.into_iter().map(|camera| {
            let point = self.cameras.entry(camera.clone()).or_default();
            while point.already_stored.remove(&point.next_seq) {
                point.next_seq += 1;
            }
            (camera.clone(), point.next_seq)
        });
        positions.collect()
    }
}
