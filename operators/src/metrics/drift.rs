//! How far scores have moved away from those of the calibration.

use serde::{Deserialize, Serialize};

use super::{SCORE_BUCKETS, ScoreCount, ScoreHistogram, score_bucket};

/// Bins of a reference, each with about a tenth of its scores.
pub const DRIFT_BINS: usize = 10;

/// A share of nothing counts as this much, because the index takes logarithms.
const SHARE_MIN: f64 = 1e-4;

/// The scores a camera had when its detector was calibrated, in bins by their deciles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreReference {
    /// First bucket of each bin; the last ends at [`SCORE_BUCKETS`]. Fewer than ten where deciles fall together.
    bins: Vec<u16>,
    /// Share of the reference's scores in each bin.
    shares: Vec<f64>,
}

impl ScoreReference {
    /// The reference that these calibrated scores make; `None` without scores.
    pub fn new(calibrated_scores: &[f64]) -> Option<Self> {
        let counts = calibrated_scores.iter().map(|&score| ScoreCount {
            bucket: score_bucket(score),
            judged: 1,
            normal: 0,
            anomalous: 0,
        });
        let histogram: ScoreHistogram = counts.collect();
        let deciles = (1..DRIFT_BINS).filter_map(|decile| histogram.quantile(decile as f64 / DRIFT_BINS as f64));
        // A bin ends with the bucket of its decile, so that a decile counts as below.
        let mut bins: Vec<u16> = deciles.map(|score| score_bucket(score) + 1).collect();
        bins.insert(0, 0);
        bins.dedup();
        bins.retain(|&start| start < SCORE_BUCKETS);
        let shares = shares(&bins, &histogram)?;
        Some(Self { bins, shares })
    }

    /// Population stability index: the sum over the bins of `(a − e) ln(a / e)`, where `e` is the reference's share and `a` the
    /// share now, each at least 0.0001. By custom below 0.1 is stable and above 0.25 has shifted (Siddiqi, *Credit Risk
    /// Scorecards*, 2006). `None` where nothing was judged.
    pub fn stability_index(&self, now: &ScoreHistogram) -> Option<f64> {
        let now = shares(&self.bins, now)?;
        let terms = self.shares.iter().zip(now).map(|(&expected, actual)| {
            let (expected, actual) = (expected.max(SHARE_MIN), actual.max(SHARE_MIN));
            (actual - expected) * (actual / expected).ln()
        });
        Some(terms.sum())
    }
}

fn shares(bins: &[u16], histogram: &ScoreHistogram) -> Option<Vec<f64>> {
    let ends = bins.iter().skip(1).copied().chain([SCORE_BUCKETS]);
    bins.iter()
        .zip(ends)
        .map(|(&from, below)| histogram.share(from, below))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(scores: &[f64]) -> ScoreHistogram {
        let count = |&score: &f64| ScoreCount {
            bucket: score_bucket(score),
            judged: 1,
            normal: 0,
            anomalous: 0,
        };
        scores.iter().map(count).collect()
    }

    #[test]
    fn the_same_scores_have_not_drifted() {
        let scores: Vec<f64> = (1..=1000).map(|score| f64::from(score) / 1000.0).collect();
        let reference = ScoreReference::new(&scores).unwrap();
        assert_eq!(reference.bins.len(), 10);
        assert_eq!(reference.stability_index(&histogram(&scores)), Some(0.0));
        assert_eq!(reference.stability_index(&ScoreHistogram::default()), None);
    }

    #[test]
    fn a_shift_is_measured_as_by_hand() {
        let scores: Vec<f64> = (1..=1000).map(|score| f64::from(score) / 1000.0).collect();
        let reference = ScoreReference::new(&scores).unwrap();
        // All in the top bin: nine bins fall from a tenth to nothing.
        let index = reference.stability_index(&histogram(&[0.99; 50])).unwrap();
        let by_hand = 0.9 * 10f64.ln() + 9.0 * (1e-4 - 0.1) * (1e-4f64 / 0.1).ln();
        assert!((index - by_hand).abs() < 0.02, "{index} {by_hand}");
    }

    #[test]
    fn deciles_that_fall_together_make_fewer_bins() {
        let reference = ScoreReference::new(&[0.25; 40]).unwrap();
        assert_eq!(reference.bins.len(), 2);
        assert_eq!(reference.stability_index(&histogram(&[0.25])), Some(0.0));
        assert!(reference.stability_index(&histogram(&[0.75])).unwrap() > 1.0);
        assert_eq!(ScoreReference::new(&[]), None);
    }
}
