//! Counts of right and wrong verdicts, and their ratios.

/// Verdicts against the truth. "Positive" means rejected, as in the literature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Anomalous and rejected.
    pub tp: u64,
    /// Normal and rejected: false rejects.
    pub fp: u64,
    /// Normal and passed.
    pub tn: u64,
    /// Anomalous and passed: escapes.
    pub fn_: u64,
}

impl Confusion {
    /// Counts the verdicts of a threshold. A frame is rejected when its score is *above* the threshold, as in a
    /// verdict; `labels` are true for anomalous frames.
    ///
    /// Panics unless there is one label per score (a bug of ours).
    pub fn at(scores: &[f32], labels: &[bool], threshold: f32) -> Self {
        assert_eq!(scores.len(), labels.len(), "one label per score");
        let mut counts = Self::default();
        for (&score, &anomalous) in scores.iter().zip(labels) {
            counts.count(score > threshold, anomalous);
        }
        counts
    }

    /// Counts one more verdict.
    pub fn count(&mut self, rejected: bool, anomalous: bool) {
        match (rejected, anomalous) {
            (true, true) => self.tp += 1,
            (true, false) => self.fp += 1,
            (false, false) => self.tn += 1,
            (false, true) => self.fn_ += 1,
        }
    }

    /// Share of the rejected that are anomalous; `None` where nothing was rejected.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fp)
    }

    /// Share of the anomalous that were rejected; `None` where nothing is anomalous.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fn_)
    }

    /// Harmonic mean of precision and recall, `2 tp / (2 tp + fp + fn)`; `None` where nothing is anomalous or rejected.
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn_)
    }

    /// Share of right verdicts; `None` without frames.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn_)
    }

    /// Share of the normal that were rejected, `fp / (fp + tn)`; `None` where nothing is normal.
    pub fn false_reject_rate(&self) -> Option<f64> {
        ratio(self.fp, self.fp + self.tn)
    }

    /// Share of the anomalous that were passed, `fn / (fn + tp)`; `None` where nothing is anomalous.
    pub fn escape_rate(&self) -> Option<f64> {
        ratio(self.fn_, self.fn_ + self.tp)
    }
}

/// `part / whole`; `None` where the whole is empty.
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_at_the_threshold_passes() {
        let counts = Confusion::at(&[0.5, 0.5, 0.6, 0.6, f32::NAN], &[true, false, true, false, true], 0.5);
        assert_eq!(
            counts,
            Confusion {
                tp: 1,
                fp: 1,
                tn: 1,
                fn_: 2
            }
        );
        assert_eq!(counts.escape_rate(), Some(2.0 / 3.0));
        assert_eq!(counts.false_reject_rate(), Some(0.5));
    }

    #[test]
    fn ratios_of_nothing_are_undefined() {
        let nothing = Confusion::default();
        assert_eq!(
            (nothing.accuracy(), nothing.f1(), nothing.precision()),
            (None, None, None)
        );
        let passed_normals = Confusion::at(&[0.1, 0.2], &[false, false], 0.5);
        assert_eq!(passed_normals.precision(), None);
        assert_eq!(passed_normals.recall(), None);
        assert_eq!(passed_normals.f1(), None);
        assert_eq!(passed_normals.escape_rate(), None);
        assert_eq!(passed_normals.accuracy(), Some(1.0));
        assert_eq!(passed_normals.false_reject_rate(), Some(0.0));
        let escaped = Confusion::at(&[0.1], &[true], 0.5);
        assert_eq!(
            (escaped.f1(), escaped.precision(), escaped.escape_rate()),
            (Some(0.0), None, Some(1.0))
        );
    }
}
