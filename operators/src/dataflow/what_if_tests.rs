//! Answers against deciding every frame of the horizon again.

use super::*;
use crate::dataflow::MatchLabels;
use crate::dataflow::rates_testing::{CAMERAS, END_US, History, MINUTE_US, Naive, history, run};
use crate::metrics::score_bucket;

const HORIZON_US: u64 = 3 * MINUTE_US;

fn answers(history: &History, workers: usize) -> Vec<WhatIf> {
    let answers = run(history, workers, |inputs| {
        let changes = inputs.outcomes.match_labels(inputs.labels, HORIZON_US);
        changes.what_if(inputs.thresholds, HORIZON_US)
    });
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The thresholds in force at a time: those that were said last.
fn in_force(history: &History, at_us: u64) -> BTreeMap<(Arc<str>, Arc<str>), f64> {
    let mut latest = BTreeMap::new();
    for (_, asked) in history.thresholds.iter().filter(|(time, _)| *time <= at_us) {
        latest.insert((asked.camera.clone(), asked.name.clone()), asked.threshold);
    }
    latest
        .into_iter()
        .filter_map(|(key, threshold)| Some((key, threshold?)))
        .collect()
}

fn naive(history: &History) -> Vec<WhatIf> {
    let recomputed = Naive {
        history,
        horizon_us: HORIZON_US,
    };
    let minutes = (MINUTE_US..END_US).step_by(MINUTE_US as usize);
    let mut times: Vec<u64> = minutes
        .chain(history.thresholds.iter().map(|(time, _)| *time))
        .collect();
    times.sort_unstable();
    times.dedup();
    let mut answered: BTreeMap<(Arc<str>, Arc<str>), Tally> = BTreeMap::new();
    let mut answers = Vec::new();
    for at_us in times {
        let known_us = at_us / MINUTE_US * MINUTE_US;
        let scores = recomputed.scores(known_us);
        let mut now: BTreeMap<(Arc<str>, Arc<str>), Tally> = BTreeMap::new();
        for (key, threshold) in in_force(history, at_us) {
            for (camera, hop_us, score, truth) in &scores {
                let gone_us = hop_us / MINUTE_US * MINUTE_US + 2 * MINUTE_US + HORIZON_US;
                if *camera != key.0 || gone_us <= known_us {
                    continue;
                }
                let tally = now.entry(key.clone()).or_default();
                let rejected = f64::from(score_bucket(*score)) / 4096.0 >= threshold;
                tally.frames += 1;
                tally.rejects += i64::from(rejected);
                if let Some(anomalous) = truth {
                    tally.count_labelled(rejected, *anomalous, 1);
                }
            }
        }
        let keys: std::collections::BTreeSet<_> = answered.keys().chain(now.keys()).cloned().collect();
        for key in keys {
            let (before, after) = (answered.get(&key).copied(), now.get(&key).copied());
            if before != after {
                let (camera, name) = key;
                answers.push(WhatIf {
                    camera,
                    name,
                    at_us,
                    before,
                    after,
                });
            }
        }
        answered = now;
    }
    answers
}

#[test]
fn answers_agree_with_deciding_again_for_one_and_three_workers() {
    for seed in [11, 12] {
        let history = history(seed);
        let expected = naive(&history);
        assert!(
            expected.len() > 30
                && CAMERAS
                    .iter()
                    .all(|camera| expected.iter().any(|it| &*it.camera == *camera))
        );
        for workers in [1, 3] {
            let answers = answers(&history, workers);
            for (answer, expected) in answers.iter().zip(&expected) {
                assert_eq!(answer, expected);
            }
            assert_eq!(answers.len(), expected.len());
        }
    }
}
