//! How long every stage takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart, microseconds: a minute. Longer ones count as this.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Upper bounds of the buckets of [`LatencyBuckets`], microseconds: 1, 2 and 5 per decade from what a trivial stage takes to
/// what nobody waits for.
pub const LATENCY_BOUNDS_US: [u64; 15] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000,
];

/// One histogram per stage, shared by every thread of the process. Recording costs a lock and an increment, far below a
/// microsecond, at a few records per frame.
#[derive(Clone, Default)]
pub struct Latencies {
    stages: Arc<Mutex<BTreeMap<&'static str, Stage>>>,
}

struct Stage {
    micros: Histogram<u64>,
    total: Duration,
}

/// Quantiles of one stage, microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LatencySummary {
    /// Name of the stage.
    pub stage: &'static str,
    /// Times it ran.
    pub count: u64,
    /// Median.
    pub micros_p50: u64,
    /// 99th percentile.
    pub micros_p99: u64,
    /// Longest.
    pub micros_max: u64,
    /// Of all runs together.
    pub micros_total: u64,
}

/// How many runs of one stage took how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyBuckets {
    /// Name of the stage.
    pub stage: &'static str,
    /// Runs that took at most the bound of the same place in [`LATENCY_BOUNDS_US`], to three digits.
    pub at_most: [u64; LATENCY_BOUNDS_US.len()],
    /// Times it ran.
    pub count: u64,
    /// Of all runs together, microseconds.
    pub micros_total: u64,
}

impl Latencies {
    /// Counts one run of `stage`.
    pub fn record(&self, stage: &'static str, took: Duration) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = stages.entry(stage).or_insert_with(|| Stage {
            micros: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("constant bounds are valid"),
            total: Duration::ZERO,
        });
        stage.total += took;
        stage
            .micros
            .saturating_record((took.as_micros() as u64).clamp(1, LATENCY_MAX_US));
    }

    /// Quantiles of every stage that ran, by name.
    pub fn summaries(&self) -> Vec<LatencySummary> {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = |(name, Stage { micros, total }): (&&'static str, &Stage)| LatencySummary {
            stage: name,
            count: micros.len(),
            micros_p50: micros.value_at_quantile(0.5),
            micros_p99: micros.value_at_quantile(0.99),
            micros_max: micros.max(),
            micros_total: total.as_micros() as u64,
        };
        stages.iter().map(summary).collect()
    }

    /// Buckets of every stage that ran, by name.
    pub fn buckets(&self) -> Vec<LatencyBuckets> {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = |(name, Stage { micros, total }): (&&'static str, &Stage)| LatencyBuckets {
            stage: name,
            at_most: at_most(micros),
            count: micros.len(),
            micros_total: total.as_micros() as u64,
        };
        stages.iter().map(buckets).collect()
    }
}

/// Counts up to each bound, in one pass: the lock is held meanwhile.
fn at_most(micros: &Histogram<u64>) -> [u64; LATENCY_BOUNDS_US.len()] {
    let mut counts = [0; LATENCY_BOUNDS_US.len()];
    for step in micros.iter_recorded() {
        // The least value of what the histogram does not tell apart, so that a bound is within its own bucket.
        let value = micros.lowest_equivalent(step.value_iterated_to());
        let first = LATENCY_BOUNDS_US.partition_point(|bound| *bound < value);
        for count in &mut counts[first..] {
            *count += step.count_at_value();
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_stage_are_those_of_its_records() {
        let latencies = Latencies::default();
        for millis in 1..=100 {
            latencies.record("embed", Duration::from_millis(millis));
        }
        let summary = &latencies.summaries()[0];
        assert_eq!((summary.stage, summary.count), ("embed", 100));
        assert_eq!(summary.micros_total, 5_050_000);
        assert!(summary.micros_p50.abs_diff(50_000) < 100, "{summary:?}");
        assert!(summary.micros_p99.abs_diff(99_000) < 200, "{summary:?}");
    }

    #[test]
    fn buckets_count_what_took_at_most_their_bound() {
        let latencies = Latencies::default();
        let mut state = 3_u64;
        let mut runs: Vec<u64> = LATENCY_BOUNDS_US.to_vec();
        for _ in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            runs.push(1 << (state >> 59));
        }
        runs.iter()
            .for_each(|micros| latencies.record("embed", Duration::from_micros(*micros)));
        let buckets = &latencies.buckets()[0];
        for (bound, counted) in LATENCY_BOUNDS_US.iter().zip(buckets.at_most) {
            let expected = runs.iter().filter(|micros| *micros <= bound).count() as u64;
            assert_eq!(counted, expected, "at most {bound} us");
        }
        assert_eq!(buckets.count, runs.len() as u64);
        assert_eq!(buckets.micros_total, runs.iter().sum::<u64>());
    }
}
