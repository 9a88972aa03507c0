//! How long every stage takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart, microseconds: a minute. Longer ones count as this.
const LATENCY_MAX_US: u64 = 60_000_000;

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
}
