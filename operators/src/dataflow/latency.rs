//! How long every stage takes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

/// Longest latency that is told apart, microseconds: a minute. Longer ones count as this.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Significant digits of latencies: of all cameras, of one of them, and of one minute. Each digit less takes an eighth of the memory.
const DIGITS: u8 = 3;
const DIGITS_OF_CAMERA: u8 = 2;
const DIGITS_OF_MINUTE: u8 = 1;

/// Minutes that [`Latencies::recent`] can look back.
pub const LATENCY_MINUTES_MAX: u64 = 60;

/// Upper bounds of the buckets of [`LatencyBuckets`], microseconds: 1, 2 and 5 per decade from what a trivial stage takes to
/// what nobody waits for.
pub const LATENCY_BOUNDS_US: [u64; 15] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000,
];

/// How long every stage took, of all cameras and of each, since the beginning and in the last hour: histograms that are shared by
/// every thread of the process. Recording costs a lock and four increments, below a microsecond, at a few records per frame.
#[derive(Clone)]
pub struct Latencies {
    stages: Arc<Mutex<BTreeMap<&'static str, Stage>>>,
    begun: Instant,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            stages: Arc::default(),
            begun: Instant::now(),
        }
    }
}

struct Stage {
    all: Runs,
    cameras: BTreeMap<Arc<str>, Runs>,
}

/// Runs of a stage.
struct Runs {
    micros: Histogram<u64>,
    total: Duration,
    /// By minute since the beginning, the oldest first; minutes without a run are left out.
    minutes: VecDeque<Minute>,
}

struct Minute {
    minute: u64,
    micros: Histogram<u32>,
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
    /// The result of `work`, counted as a run of `stage` on a frame of `camera`.
    pub fn timed<R>(&self, stage: &'static str, camera: &Arc<str>, work: impl FnOnce() -> R) -> R {
        let started = Instant::now();
        let result = work();
        self.record(stage, camera, started.elapsed());
        result
    }

    /// Counts one run of `stage` on a frame of `camera`.
    pub fn record(&self, stage: &'static str, camera: &Arc<str>, took: Duration) {
        self.record_in(self.minute(), stage, camera, took);
    }

    fn record_in(&self, minute: u64, stage: &'static str, camera: &Arc<str>, took: Duration) {
        let mut stages = self.lock();
        let stage = stages.entry(stage).or_insert_with(|| Stage {
            all: Runs::new(DIGITS),
            cameras: BTreeMap::new(),
        });
        stage.all.record(minute, took);
        // A name is copied only for the first frame of its camera.
        match stage.cameras.get_mut(camera) {
            Some(runs) => runs.record(minute, took),
            None => {
                let mut runs = Runs::new(DIGITS_OF_CAMERA);
                runs.record(minute, took);
                stage.cameras.insert(camera.clone(), runs);
            }
        }
    }

    /// Quantiles of every stage that ran, by name: of all cameras, or of one.
    pub fn summaries(&self, camera: Option<&str>) -> Vec<LatencySummary> {
        self.each(camera, |stage, runs| Some(summary(stage, &runs.micros, runs.total)))
    }

    /// The same of the last minutes, the present one and `minutes` whole ones before it, to one digit.
    pub fn recent(&self, camera: Option<&str>, minutes: u64) -> Vec<LatencySummary> {
        self.recent_at(self.minute(), camera, minutes)
    }

    fn recent_at(&self, minute: u64, camera: Option<&str>, minutes: u64) -> Vec<LatencySummary> {
        self.each(camera, |stage, runs| {
            let (mut sum, mut total) = (micros::<u32>(DIGITS_OF_MINUTE), Duration::ZERO);
            for of in runs.minutes.iter().filter(|of| of.minute + minutes >= minute) {
                sum.add(&of.micros).expect("it grows with what is added");
                total += of.total;
            }
            (!sum.is_empty()).then(|| summary(stage, &sum, total))
        })
    }

    /// Buckets of every stage that ran, by name.
    pub fn buckets(&self) -> Vec<LatencyBuckets> {
        self.each(None, |stage, runs| {
            Some(LatencyBuckets {
                stage,
                at_most: at_most(&runs.micros),
                count: runs.micros.len(),
                micros_total: runs.total.as_micros() as u64,
            })
        })
    }

    fn each<T>(&self, camera: Option<&str>, of: impl Fn(&'static str, &Runs) -> Option<T>) -> Vec<T> {
        let stages = self.lock();
        let wanted = stages.iter().filter_map(|(name, stage)| match camera {
            None => Some((name, &stage.all)),
            Some(camera) => Some((name, stage.cameras.get(camera)?)),
        });
        wanted.filter_map(|(name, runs)| of(name, runs)).collect()
    }

    fn minute(&self) -> u64 {
        self.begun.elapsed().as_secs() / 60
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Stage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    fn new(digits: u8) -> Self {
        Self {
            micros: micros(digits),
            total: Duration::ZERO,
            minutes: VecDeque::new(),
        }
    }

    fn record(&mut self, minute: u64, took: Duration) {
        let took_us = (took.as_micros() as u64).clamp(1, LATENCY_MAX_US);
        self.total += took;
        count(&mut self.micros, took_us);
        // A thread that read the clock before another may be a minute behind it.
        if self.minutes.back().is_none_or(|newest| newest.minute < minute) {
            self.minutes.push_back(Minute {
                minute,
                micros: micros(DIGITS_OF_MINUTE),
                total: Duration::ZERO,
            });
            while let Some(oldest) = self.minutes.front()
                && oldest.minute + LATENCY_MINUTES_MAX < minute
            {
                self.minutes.pop_front();
            }
        }
        let newest = self.minutes.back_mut().expect("there is one");
        newest.total += took;
        count(&mut newest.micros, took_us);
    }
}

/// No runs yet. It takes memory for what it has counted.
fn micros<C: Counter>(digits: u8) -> Histogram<C> {
    Histogram::new(digits).expect("so many digits are valid")
}

fn count<C: Counter>(micros: &mut Histogram<C>, took_us: u64) {
    micros.record(took_us).expect("what is at most a minute can be counted");
}

fn summary(stage: &'static str, micros: &Histogram<impl Counter>, total: Duration) -> LatencySummary {
    LatencySummary {
        stage,
        count: micros.len(),
        micros_p50: micros.value_at_quantile(0.5),
        micros_p99: micros.value_at_quantile(0.99),
        micros_max: micros.max(),
        micros_total: total.as_micros() as u64,
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
            latencies.record("embed", &"dock".into(), Duration::from_millis(millis));
        }
        let summary = &latencies.summaries(None)[0];
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
            .for_each(|micros| latencies.record("embed", &"dock".into(), Duration::from_micros(*micros)));
        let buckets = &latencies.buckets()[0];
        for (bound, counted) in LATENCY_BOUNDS_US.iter().zip(buckets.at_most) {
            let expected = runs.iter().filter(|micros| *micros <= bound).count() as u64;
            assert_eq!(counted, expected, "at most {bound} us");
        }
        assert_eq!(buckets.count, runs.len() as u64);
        assert_eq!(buckets.micros_total, runs.iter().sum::<u64>());
    }

    #[test]
    fn cameras_and_minutes_are_told_apart() {
        let latencies = Latencies::default();
        let (dock, line): (Arc<str>, Arc<str>) = ("dock".into(), "line".into());
        let record =
            |minute, camera, millis| latencies.record_in(minute, "embed", camera, Duration::from_millis(millis));
        (0..10).for_each(|_| record(0, &dock, 10));
        (0..10).for_each(|_| record(0, &line, 1_000));
        record(7, &dock, 100);
        // A thread that read the clock a little earlier.
        record(6, &dock, 100);
        let seen = |summaries: Vec<LatencySummary>| -> Vec<(u64, u64)> {
            // To a power of ten: they are told to few digits.
            let millis = |us: u64| 10_u64.pow((us as f64 / 1e3).log10().round() as u32);
            let summaries = summaries.into_iter();
            summaries
                .map(|summary| (summary.count, millis(summary.micros_p50)))
                .collect()
        };
        assert_eq!(seen(latencies.summaries(None)), [(22, 100)]);
        assert_eq!(seen(latencies.summaries(Some("dock"))), [(12, 10)]);
        assert_eq!(seen(latencies.summaries(Some("line"))), [(10, 1_000)]);
        assert_eq!(seen(latencies.summaries(Some("nowhere"))), []);
        assert_eq!(seen(latencies.recent_at(8, Some("dock"), 1)), [(2, 100)]);
        assert_eq!(seen(latencies.recent_at(9, Some("dock"), 1)), []);
        assert_eq!(seen(latencies.recent_at(7, Some("dock"), 7)), [(12, 10)]);
        assert_eq!(seen(latencies.recent_at(7, Some("line"), 6)), []);
        let recent = &latencies.recent_at(7, None, 7)[0];
        assert_eq!((recent.count, recent.micros_total), (22, 10_300_000));
    }

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let latencies = Latencies::default();
        for minute in 0..200 {
            latencies.record_in(minute, "embed", &"dock".into(), Duration::from_secs(100));
        }
        assert_eq!(latencies.recent_at(199, None, 1_000)[0].count, LATENCY_MINUTES_MAX + 1);
        assert_eq!(latencies.summaries(None)[0].count, 200);
        assert!(latencies.summaries(None)[0].micros_max >= LATENCY_MAX_US);
    }
}
