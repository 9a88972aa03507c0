//! What happened to frames, as counts that can be taken back, and the shares they make.

use serde::{Deserialize, Serialize};

use super::Confusion;
use super::confusion::ratio;

/// Counts of a window, or a change of them. Signed, because a correction takes back what it replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tally {
    /// Frames that were captured: judged, unreadable or dropped.
    pub frames: i64,
    /// Judged frames that were rejected.
    pub rejects: i64,
    /// Frames of which no image could be made.
    pub unreadable: i64,
    /// Frames that were never looked at.
    pub dropped: i64,
    /// Judged frames that were rejected and are labelled anomalous.
    pub anomalous_rejected: i64,
    /// Judged frames that were rejected and are labelled normal: false rejects.
    pub normal_rejected: i64,
    /// Judged frames that passed and are labelled normal.
    pub normal_passed: i64,
    /// Judged frames that passed and are labelled anomalous: escapes.
    pub anomalous_passed: i64,
    /// Labels whose frame was older than the horizon when they came. They count at the time they came at.
    pub labels_too_late: i64,
    /// Labels that waited for the whole horizon and whose frame never came. They count at the time they were given up at.
    pub labels_unmatched: i64,
}

impl Tally {
    /// Frames that passed or were rejected.
    pub fn judged(&self) -> i64 {
        self.frames - self.unreadable - self.dropped
    }

    /// Verdicts against labels. Frames without a label, and labelled frames without a verdict, are not in it.
    ///
    /// Panics on a negative count: a sum over whole windows has none (a bug of ours).
    pub fn confusion(&self) -> Confusion {
        Confusion {
            tp: count(self.anomalous_rejected),
            fp: count(self.normal_rejected),
            tn: count(self.normal_passed),
            fn_: count(self.anomalous_passed),
        }
    }

    /// Rejects over all captured frames, unreadable and dropped ones included; `None` without frames.
    pub fn reject_rate(&self) -> Option<f64> {
        ratio(count(self.rejects), count(self.frames))
    }

    /// Rejects over the frames that were judged; `None` where none was.
    pub fn reject_rate_of_judged(&self) -> Option<f64> {
        ratio(count(self.rejects), count(self.judged()))
    }

    /// Unreadable frames over all captured frames; `None` without frames.
    pub fn unreadable_rate(&self) -> Option<f64> {
        ratio(count(self.unreadable), count(self.frames))
    }

    /// Dropped frames over all captured frames; `None` without frames.
    pub fn drop_rate(&self) -> Option<f64> {
        ratio(count(self.dropped), count(self.frames))
    }

    /// Counts `times` a judged frame whose truth is known; minus one takes a label back.
    pub fn count_labelled(&mut self, rejected: bool, anomalous: bool, times: i64) {
        *match (rejected, anomalous) {
            (true, true) => &mut self.anomalous_rejected,
            (true, false) => &mut self.normal_rejected,
            (false, false) => &mut self.normal_passed,
            (false, true) => &mut self.anomalous_passed,
        } += times;
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Tally) {
        self.zip(other, |count, other| *count += other);
    }

    /// Turns every count into its opposite.
    pub fn negate(&mut self) {
        self.zip(&self.clone(), |count, same| *count = -same);
    }

    fn zip(&mut self, other: &Tally, with: impl Fn(&mut i64, i64)) {
        with(&mut self.frames, other.frames);
        with(&mut self.rejects, other.rejects);
        with(&mut self.unreadable, other.unreadable);
        with(&mut self.dropped, other.dropped);
        with(&mut self.anomalous_rejected, other.anomalous_rejected);
        with(&mut self.normal_rejected, other.normal_rejected);
        with(&mut self.normal_passed, other.normal_passed);
        with(&mut self.anomalous_passed, other.anomalous_passed);
        with(&mut self.labels_too_late, other.labels_too_late);
        with(&mut self.labels_unmatched, other.labels_unmatched);
    }
}

fn count(count: i64) -> u64 {
    u64::try_from(count).expect("a whole window has no negative count")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_and_unreadables_are_in_the_denominator() {
        let tally = Tally {
            frames: 10,
            rejects: 2,
            unreadable: 1,
            dropped: 4,
            ..Tally::default()
        };
        assert_eq!(
            (tally.reject_rate(), tally.reject_rate_of_judged()),
            (Some(0.2), Some(0.4))
        );
        assert_eq!((tally.unreadable_rate(), tally.drop_rate()), (Some(0.1), Some(0.4)));
        assert_eq!(Tally::default().reject_rate(), None);
    }

    #[test]
    fn a_label_taken_back_leaves_nothing() {
        let mut tally = Tally::default();
        tally.count_labelled(true, false, 1);
        assert_eq!(tally.confusion().false_reject_rate(), Some(1.0));
        tally.count_labelled(true, false, -1);
        tally.count_labelled(true, true, 1);
        assert_eq!(tally.confusion().precision(), Some(1.0));
        let mut opposite = tally;
        opposite.negate();
        tally.add(&opposite);
        assert_eq!(tally, Tally::default());
    }
}
