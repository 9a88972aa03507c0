//! Metrics of one score per frame: how well the scores rank anomalous frames above normal ones.

use super::order;

/// The best F1 that any threshold reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct F1Max {
    /// The highest F1, 0…1.
    pub f1: f64,
    /// The score it is reached at: predicted anomalous is `score >= threshold`. It is one of the scores.
    pub threshold: f32,
    /// Precision at that threshold.
    pub precision: f64,
    /// Recall at that threshold.
    pub recall: f64,
}

impl F1Max {
    /// The same cut as a verdict states it, where a frame is rejected when `score > threshold`: the next f32 below.
    pub fn verdict_threshold(&self) -> f32 {
        self.threshold.next_down()
    }
}

/// Area under the ROC curve: the probability that an anomalous frame scores higher than a normal one, ties counting
/// half (`sklearn.metrics.roc_auc_score`). `labels` are true for anomalous frames. `None` when one of the classes is
/// empty.
///
/// Panics unless there is one label per score (a bug of ours).
pub fn auroc(scores: &[f32], labels: &[bool]) -> Option<f64> {
    let mut pairs = PairCount::default();
    for group in groups(scores, labels) {
        pairs.add(group.anomalous, group.normal);
    }
    pairs.auroc()
}

/// Share of anomalous scores above the lowest threshold at which at most `rate` of the normal ones are above it. `None` when
/// one of the classes is empty.
///
/// Panics unless there is one label per score (a bug of ours).
pub fn recall_at_false_reject_rate(scores: &[f32], labels: &[bool], rate: f64) -> Option<f64> {
    let (anomalous, normal) = (
        labels.iter().filter(|label| **label).count(),
        labels.iter().filter(|label| !**label).count(),
    );
    let (mut found, mut rejected) = (0, 0);
    for group in groups(scores, labels) {
        rejected += group.normal;
        if rejected as f64 > rate * normal as f64 {
            break;
        }
        found += group.anomalous;
    }
    (anomalous > 0 && normal > 0).then(|| found as f64 / anomalous as f64)
}

/// Average precision: precision at every threshold, weighted by the recall gained there, without interpolation
/// (`sklearn.metrics.average_precision_score`). `None` when nothing is anomalous.
///
/// Panics unless there is one label per score (a bug of ours).
pub fn average_precision(scores: &[f32], labels: &[bool]) -> Option<f64> {
    let anomalous = labels.iter().filter(|&&anomalous| anomalous).count();
    let (mut hits, mut predicted, mut sum) = (0, 0, 0.0);
    for group in groups(scores, labels) {
        hits += group.anomalous;
        predicted += group.anomalous + group.normal;
        sum += group.anomalous as f64 * (hits as f64 / predicted as f64);
    }
    (anomalous > 0).then(|| (sum / anomalous as f64).min(1.0))
}

/// The highest F1 over all thresholds that occur, with `score >= threshold` predicted anomalous (the points of
/// `sklearn.metrics.precision_recall_curve`). Among equals the lowest threshold wins, because it lets fewer escape.
/// `None` when nothing is anomalous or no score is a number.
///
/// Panics unless there is one label per score (a bug of ours).
pub fn f1_max(scores: &[f32], labels: &[bool]) -> Option<F1Max> {
    let anomalous = labels.iter().filter(|&&anomalous| anomalous).count() as u64;
    let (mut hits, mut predicted) = (0, 0);
    // F1 = 2 hits / (predicted + anomalous): compared as fractions, so that equals are equal.
    let mut best: Option<(u64, u64, u32)> = None;
    // No threshold reaches a score that is not a number.
    for group in groups(scores, labels).filter(|group| group.key != order::NAN_KEY) {
        hits += group.anomalous;
        predicted += group.anomalous + group.normal;
        let as_good = best.is_none_or(|(best_hits, best_predicted, _)| {
            u128::from(hits) * u128::from(best_predicted + anomalous)
                >= u128::from(best_hits) * u128::from(predicted + anomalous)
        });
        if as_good {
            best = Some((hits, predicted, group.key));
        }
    }
    best.filter(|_| anomalous > 0).map(|(hits, predicted, key)| F1Max {
        f1: 2.0 * hits as f64 / (predicted + anomalous) as f64,
        threshold: order::score(key),
        precision: hits as f64 / predicted as f64,
        recall: hits as f64 / anomalous as f64,
    })
}

/// Counts, threshold by threshold from the highest down, in how many pairs the anomalous one scores higher (the
/// Mann-Whitney statistic, exact in integers).
#[derive(Default)]
pub(super) struct PairCount {
    anomalous: u64,
    normal: u64,
    /// Twice the pairs that are ranked rightly; a tie counts once.
    twice_won: u128,
}

impl PairCount {
    /// Goes on to the next lower threshold, at which this many of each class score.
    pub(super) fn add(&mut self, anomalous: u64, normal: u64) {
        self.twice_won += u128::from(normal) * (2 * u128::from(self.anomalous) + u128::from(anomalous));
        self.anomalous += anomalous;
        self.normal += normal;
    }

    /// The area under the ROC curve; `None` when a class is empty.
    pub(super) fn auroc(&self) -> Option<f64> {
        let pairs = u128::from(self.anomalous) * u128::from(self.normal);
        (pairs > 0).then(|| self.twice_won as f64 / (2 * pairs) as f64)
    }
}

/// How many of each class share one score.
struct Group {
    key: u32,
    anomalous: u64,
    normal: u64,
}

/// The distinct scores with their counts, highest first.
fn groups(scores: &[f32], labels: &[bool]) -> impl Iterator<Item = Group> {
    assert_eq!(scores.len(), labels.len(), "one label per score");
    let keyed = scores.iter().map(|&score| order::key(score));
    let mut ranked: Vec<(u32, bool)> = keyed.zip(labels.iter().copied()).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let mut start = 0;
    std::iter::from_fn(move || {
        let &(key, _) = ranked.get(start)?;
        let group = &ranked[start..start + ranked[start..].iter().take_while(|ranked| ranked.0 == key).count()];
        start += group.len();
        let anomalous = group.iter().filter(|ranked| ranked.1).count() as u64;
        Some(Group {
            key,
            anomalous,
            normal: group.len() as u64 - anomalous,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_needs_both_classes() {
        assert_eq!(auroc(&[], &[]), None);
        assert_eq!(auroc(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(auroc(&[0.1, 0.2], &[false, false]), None);
        assert_eq!(average_precision(&[0.1, 0.2], &[false, false]), None);
        assert_eq!(f1_max(&[0.1, 0.2], &[false, false]), None);
    }

    #[test]
    fn ties_count_half_and_signed_zeros_are_equal() {
        assert_eq!(auroc(&[0.0, -0.0], &[true, false]), Some(0.5));
        assert_eq!(
            auroc(&[1.0; 7], &[true, false, true, false, false, true, true]),
            Some(0.5)
        );
        assert_eq!(auroc(&[1.0, 2.0, 2.0], &[false, false, true]), Some(0.75));
    }

    #[test]
    fn scores_that_are_not_numbers_rank_lowest() {
        let scores = [f32::NAN, f32::NEG_INFINITY, 1.0];
        assert_eq!(auroc(&scores, &[true, false, false]), Some(0.0));
        assert_eq!(auroc(&scores, &[false, true, true]), Some(1.0));
        assert_eq!(f1_max(&[f32::NAN], &[true]), None);
        // The first frame escapes at any threshold, so the best recall is a half.
        let best = f1_max(&[f32::NAN, 1.0], &[true, true]).unwrap();
        assert_eq!((best.threshold, best.precision, best.recall), (1.0, 1.0, 0.5));
        assert_eq!(average_precision(&[f32::NAN, 1.0], &[true, false]), Some(0.5));
    }

    #[test]
    fn lowest_of_equally_good_thresholds_wins() {
        let tied = f1_max(&[2.0, 1.0, 0.5, 0.2], &[true, false, false, true]).unwrap();
        assert_eq!(
            (tied.f1, tied.threshold),
            (2.0 / 3.0, 0.2),
            "2/3 both at 2.0 and at 0.2"
        );
        let highest = f1_max(&[4.0, 3.0, 2.5, 2.2, 2.0], &[true, false, false, false, true]).unwrap();
        assert_eq!((highest.f1, highest.threshold), (2.0 / 3.0, 4.0), "4/7 at 2.0");
    }

    #[test]
    fn verdict_threshold_makes_the_same_cut() {
        let scores = [0.0, 0.25, -1.0, 3.5];
        let labels = [true, true, false, true];
        let best = f1_max(&scores, &labels).unwrap();
        assert_eq!(best.threshold, 0.0);
        let counts = super::super::Confusion::at(&scores, &labels, best.verdict_threshold());
        assert_eq!((counts.f1(), counts.recall()), (Some(best.f1), Some(best.recall)));
    }

    #[test]
    fn recall_is_taken_where_the_rate_of_false_rejects_allows_it() {
        let scores: Vec<f32> = (0..100).map(|score| score as f32).collect();
        // Normal at every tenth score from 0 to 90: one of ten may be rejected at 0.1, so all above 80 are found.
        let labels: Vec<bool> = (0..100).map(|score| score % 10 != 0).collect();
        assert_eq!(
            recall_at_false_reject_rate(&scores, &labels, 0.1),
            Some(19.0 - 1.0).map(|found| found / 90.0)
        );
        assert_eq!(recall_at_false_reject_rate(&scores, &labels, 0.0), Some(9.0 / 90.0));
        assert_eq!(recall_at_false_reject_rate(&[1.0], &[true], 0.1), None);
    }
}
