//! Calibrated scores in 4096 steps: quantiles, AUROC and what a threshold would do, all exact in the quantised score.

use serde::{Deserialize, Serialize};

use super::confusion::ratio;
use super::ranking::PairCount;

/// Steps a calibrated score (0…1) is quantised to. Bucket `b` holds the scores above `b / 4096` up to and including
/// `(b + 1) / 4096`, and the first also 0. So a threshold that is a multiple of `1 / 4096`, like 0.5, cuts between two
/// buckets and loses nothing.
pub const SCORE_BUCKETS: u16 = 4096;

/// The bucket of a calibrated score. What is below 0 or not a number is in the first, what is above 1 in the last.
pub fn score_bucket(calibrated_score: f64) -> u16 {
    buckets_up_to(calibrated_score).saturating_sub(1)
}

/// The first bucket whose frames a threshold rejects. A threshold between two multiples of `1 / 4096` acts as the higher.
pub fn first_rejected_bucket(threshold: f64) -> u16 {
    buckets_up_to(threshold)
}

/// The score at the middle of a bucket.
fn score_of_bucket(bucket: u16) -> f64 {
    (f64::from(bucket) + 0.5) / f64::from(SCORE_BUCKETS)
}

fn buckets_up_to(score: f64) -> u16 {
    // Saturating, and 0 for not-a-number.
    ((score * f64::from(SCORE_BUCKETS)).ceil() as u16).min(SCORE_BUCKETS)
}

/// How many frames fell into one bucket, or a change of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScoreCount {
    /// See [`score_bucket`].
    pub bucket: u16,
    /// Judged frames, labelled or not.
    pub judged: i32,
    /// Those labelled normal.
    pub normal: i32,
    /// Those labelled anomalous.
    pub anomalous: i32,
}

/// Counts per bucket, or a change of them: only what is not zero, lowest bucket first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScoreHistogram {
    counts: Vec<ScoreCount>,
}

impl FromIterator<ScoreCount> for ScoreHistogram {
    /// Counts of one bucket add up, in any order.
    fn from_iter<I: IntoIterator<Item = ScoreCount>>(counts: I) -> Self {
        let mut counts: Vec<ScoreCount> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|count| count.bucket);
        counts.dedup_by(|next, kept| {
            let same = next.bucket == kept.bucket;
            if same {
                kept.judged += next.judged;
                kept.normal += next.normal;
                kept.anomalous += next.anomalous;
            }
            same
        });
        counts.retain(|count| !is_zero(count));
        Self { counts }
    }
}

impl ScoreHistogram {
    /// The counts, lowest bucket first.
    pub fn counts(&self) -> &[ScoreCount] {
        &self.counts
    }

    /// Adds another histogram; buckets that come to nothing leave.
    pub fn add(&mut self, other: &ScoreHistogram) {
        if other.counts.is_empty() {
            return;
        }
        let mine = std::mem::take(&mut self.counts);
        self.counts.reserve_exact(mine.len() + other.counts.len());
        let mut left = mine.as_slice();
        for count in &other.counts {
            // What is added is mostly much shorter: runs between its buckets are copied whole.
            let (below, rest) = left.split_at(n_below(left, count.bucket));
            self.counts.extend_from_slice(below);
            left = rest;
            let mut sum = *count;
            if let [own, rest @ ..] = left
                && own.bucket == count.bucket
            {
                sum.judged += own.judged;
                sum.normal += own.normal;
                sum.anomalous += own.anomalous;
                left = rest;
            }
            if !is_zero(&sum) {
                self.counts.push(sum);
            }
        }
        self.counts.extend_from_slice(left);
    }

    /// Turns every count into its opposite.
    pub fn negate(&mut self) {
        for count in &mut self.counts {
            count.judged = -count.judged;
            count.normal = -count.normal;
            count.anomalous = -count.anomalous;
        }
    }

    /// Judged frames in it.
    pub fn judged(&self) -> i64 {
        self.counts.iter().map(|count| i64::from(count.judged)).sum()
    }

    /// The middle of the lowest bucket that at least the share `at` (0…1) of the judged frames reach up to (nearest rank);
    /// `None` where nothing was judged.
    pub fn quantile(&self, at: f64) -> Option<f64> {
        let rank = (at * self.judged() as f64).ceil().max(1.0) as i64;
        let mut below = 0;
        let found = self.counts.iter().find(|count| {
            below += i64::from(count.judged);
            below >= rank
        });
        found.map(|count| score_of_bucket(count.bucket))
    }

    /// Area under the ROC curve of the labelled frames, ties within a bucket counting half; `None` where a class is empty.
    pub fn auroc(&self) -> Option<f64> {
        let mut pairs = PairCount::default();
        for count in self.counts.iter().rev() {
            pairs.add(count.anomalous as u64, count.normal as u64);
        }
        pairs.auroc()
    }

    /// Share of the judged frames in buckets `from..below`; `None` where nothing was judged.
    pub fn share(&self, from: u16, below: u16) -> Option<f64> {
        let start = self.counts.partition_point(|count| count.bucket < from);
        let within = self.counts[start..].iter().take_while(|count| count.bucket < below);
        let inside: i64 = within.map(|count| i64::from(count.judged)).sum();
        ratio(inside as u64, self.judged() as u64)
    }
}

fn is_zero(count: &ScoreCount) -> bool {
    count.judged == 0 && count.normal == 0 && count.anomalous == 0
}

/// How many of the counts lie below a bucket: found in steps that double, because it is mostly few.
fn n_below(counts: &[ScoreCount], bucket: u16) -> usize {
    let mut bound = 1;
    while bound <= counts.len() && counts[bound - 1].bucket < bucket {
        bound *= 2;
    }
    let start = bound / 2;
    let within = &counts[start..(bound - 1).min(counts.len())];
    start + within.partition_point(|count| count.bucket < bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(x: u64) -> u64 {
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn count(bucket: u16, truth: Option<bool>, times: i32) -> ScoreCount {
        ScoreCount {
            bucket,
            judged: times,
            normal: if truth == Some(false) { times } else { 0 },
            anomalous: if truth == Some(true) { times } else { 0 },
        }
    }

    #[test]
    fn a_threshold_at_a_half_cuts_between_two_buckets() {
        assert_eq!(first_rejected_bucket(0.5), 2048);
        assert_eq!((score_bucket(0.5), score_bucket(0.500_001)), (2047, 2048));
        assert_eq!((score_bucket(0.0), score_bucket(1.0)), (0, 4095));
        assert_eq!(
            (score_bucket(f64::NAN), score_bucket(-1.0), score_bucket(9.0)),
            (0, 0, 4095)
        );
        assert_eq!(first_rejected_bucket(1.0), 4096);
    }

    #[test]
    fn auroc_and_quantiles_agree_with_all_pairs_under_insertion_and_removal() {
        let mut histogram = ScoreHistogram::default();
        let mut frames: Vec<(u16, Option<bool>)> = Vec::new();
        for i in 1..400 {
            let hash = mix(i);
            let frame = (
                (hash % 40) as u16,
                [None, Some(false), Some(true)][(hash >> 20) as usize % 3],
            );
            frames.push(frame);
            histogram.add(&[count(frame.0, frame.1, 1)].into_iter().collect());
            if i % 3 == 0 {
                let frame = frames.swap_remove((hash >> 40) as usize % frames.len());
                let mut removed: ScoreHistogram = [count(frame.0, frame.1, 1)].into_iter().collect();
                removed.negate();
                histogram.add(&removed);
            }
            let of = |truth| {
                frames
                    .iter()
                    .filter(move |frame| frame.1 == Some(truth))
                    .map(|frame| frame.0)
            };
            let won = |a: u16, n: u16| {
                if a > n {
                    1.0
                } else if a == n {
                    0.5
                } else {
                    0.0
                }
            };
            let wins: Vec<f64> = of(true).flat_map(|a| of(false).map(move |n| won(a, n))).collect();
            let auroc = (!wins.is_empty()).then(|| wins.iter().sum::<f64>() / wins.len() as f64);
            assert_eq!(histogram.auroc(), auroc);
            let mut sorted: Vec<u16> = frames.iter().map(|frame| frame.0).collect();
            sorted.sort_unstable();
            for at in [0.5, 0.95, 0.99] {
                let rank = (at * sorted.len() as f64).ceil() as usize;
                assert_eq!(histogram.quantile(at), Some(score_of_bucket(sorted[rank - 1])));
            }
        }
    }

    #[test]
    fn nothing_has_no_figures() {
        let nothing: ScoreHistogram = [count(3, None, 1), count(3, None, -1)].into_iter().collect();
        assert_eq!(nothing, ScoreHistogram::default());
        assert_eq!(
            (nothing.quantile(0.5), nothing.auroc(), nothing.share(0, 9)),
            (None, None, None)
        );
    }
}
