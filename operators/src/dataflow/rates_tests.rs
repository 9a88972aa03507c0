//! Every published record against recomputation from scratch.

use std::sync::Mutex;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::vec::ToStream;
use timely::dataflow::operators::{Input, Inspect};

use super::*;
use crate::dataflow::rates_testing::{CAMERAS, END_US, History, MINUTE_US, Naive, history, plan, run};
use crate::dataflow::{ArrivedLabel, MatchLabels};
use crate::metrics::{auroc, score_bucket};
use crate::{DropReason, DroppedFrame, Outcome};

type Published = (Vec<Rate>, Vec<ScoreRate>);

fn publish(history: &History, plan: &Arc<RatePlan>, workers: usize) -> Published {
    let of = plan.clone();
    let rates = run(history, workers, move |inputs| {
        let changes = inputs.outcomes.match_labels(inputs.labels, of.horizon_us);
        changes.rates(inputs.lots, &of)
    });
    let of = plan.clone();
    let scores = run(history, workers, move |inputs| {
        let changes = inputs.outcomes.match_labels(inputs.labels, of.horizon_us);
        changes.score_rates(inputs.lots, &of)
    });
    assert!(rates.iter().all(|(time, rate)| *time == rate.at_us));
    assert!(scores.iter().all(|(time, rate)| *time == rate.at_us));
    let rates = rates.into_iter().map(|(_, rate)| rate);
    (rates.collect(), scores.into_iter().map(|(_, rate)| rate).collect())
}

fn scopes() -> Vec<(Scope, Vec<&'static str>)> {
    let cameras = CAMERAS
        .iter()
        .map(|&camera| (Scope::Camera(camera.into()), vec![camera]));
    cameras
        .chain([
            (Scope::Line("one".into()), vec!["left", "top"]),
            (Scope::All, CAMERAS.to_vec()),
        ])
        .collect()
}

/// The shifts of [`plan`], written out: 00:01 and 00:04 of a clock that is two minutes behind.
fn shifts() -> [(u64, u64); 3] {
    [
        (0, 3 * MINUTE_US),
        (3 * MINUTE_US, 6 * MINUTE_US),
        (6 * MINUTE_US, 1443 * MINUTE_US),
    ]
}

/// All windows that could be published at a time: those that end there and those that ended before, with whether they are
/// fixed.
fn windows(at_us: u64, lengths_us: &[u64]) -> Vec<(Window, u64, u64, bool)> {
    let mut windows = Vec::new();
    for &length_us in lengths_us {
        let window = Window::Sliding { length_us };
        windows.push((window.clone(), at_us.saturating_sub(length_us), at_us, false));
        let ends = (1..).map(|n| n * length_us).take_while(|end| *end <= at_us);
        windows.extend(ends.map(|end| (window.clone(), end - length_us, end, true)));
    }
    windows.extend(
        shifts()
            .into_iter()
            .filter(|shift| shift.1 <= at_us)
            .map(|(start, end)| (Window::Shift, start, end, true)),
    );
    windows
}

/// Goes through the hops and states what changed, given what a window holds when everything before a time is known.
fn restate<T: Clone + PartialEq + Default>(
    hop_us: u64,
    horizon_us: u64,
    mut contents: impl FnMut(u64) -> Vec<(RateKey, u64, u64, bool, T)>,
) -> Vec<Revision<T>> {
    let mut published = Vec::new();
    let mut known: BTreeMap<(RateKey, Option<Span>), T> = BTreeMap::new();
    let mut revisions: BTreeMap<(RateKey, u64, u64), u32> = BTreeMap::new();
    for at_us in (hop_us..END_US).step_by(hop_us as usize) {
        let mut now = BTreeMap::new();
        for (key, start_us, end_us, fixed, after) in contents(at_us) {
            let known_us = if matches!(key.window, Window::Lot { .. }) {
                hop_us
            } else {
                0
            };
            if fixed && at_us >= end_us + known_us + horizon_us + hop_us {
                continue; // Frozen.
            }
            let before = known.insert((key.clone(), fixed.then_some((start_us, end_us))), after.clone());
            if before.clone().unwrap_or_default() == after {
                continue;
            }
            let mut revision = 0;
            if fixed {
                let next = revisions.entry((key.clone(), start_us, end_us)).or_insert(0);
                revision = *next;
                *next += 1;
            }
            let before = before.filter(|_| revision > 0);
            let rate = Revision {
                key: key.clone(),
                start_us,
                end_us,
                at_us,
                revision,
                open: false,
                before,
                after,
            };
            if fixed || !now.contains_key(&(key.clone(), end_us)) {
                now.insert((key, end_us), rate);
            }
        }
        published.extend(now.into_values());
    }
    published
}

fn naive_rates(history: &History, plan: &RatePlan) -> Vec<Rate> {
    let naive = Naive {
        history,
        horizon_us: plan.horizon_us,
    };
    restate(HOP_US, plan.horizon_us, |at_us| {
        let tallies = naive.tallies(at_us);
        let sum = |cameras: &[&str], start_us: u64, end_us: u64| {
            let mut sum = Tally::default();
            let inside = tallies
                .iter()
                .filter(|((camera, hop_us), _)| cameras.contains(&&**camera) && (start_us..end_us).contains(hop_us));
            inside.for_each(|(_, tally)| sum.add(tally));
            sum
        };
        let mut contents = Vec::new();
        for (scope, cameras) in scopes() {
            for (window, start_us, end_us, fixed) in windows(at_us, &plan.windows_us) {
                let key = RateKey {
                    scope: scope.clone(),
                    window,
                };
                contents.push((key, start_us, end_us, fixed, sum(&cameras, start_us, end_us)));
            }
        }
        for (camera, lot, start_us, end_us) in naive.lots(at_us) {
            let tally = sum(&[&*camera], start_us, end_us);
            let key = RateKey {
                scope: Scope::Camera(camera),
                window: Window::Lot { lot },
            };
            contents.push((key, start_us, end_us, true, tally));
        }
        contents
    })
}

/// Figures and, to know whether anything changed, the frames behind them.
fn naive_scores(history: &History, plan: &RatePlan) -> Vec<ScoreRate> {
    type Scored = (Vec<u16>, Vec<u16>, Vec<u16>);
    let naive = Naive {
        history,
        horizon_us: plan.horizon_us,
    };
    let lengths: Vec<u64> = plan
        .windows_us
        .iter()
        .copied()
        .filter(|length| length % MINUTE_US == 0)
        .collect();
    let states: Vec<Revision<Scored>> = restate(MINUTE_US, plan.horizon_us, |at_us| {
        let scores = naive.scores(at_us);
        let scored = |cameras: &[&str], start_us: u64, end_us: u64| {
            let mut scored = Scored::default();
            for (camera, hop_us, score, truth) in &scores {
                if cameras.contains(&&**camera) && (start_us..end_us).contains(hop_us) {
                    scored.0.push(score_bucket(*score));
                    match truth {
                        Some(false) => scored.1.push(score_bucket(*score)),
                        Some(true) => scored.2.push(score_bucket(*score)),
                        None => {}
                    }
                }
            }
            scored.0.sort_unstable();
            scored.1.sort_unstable();
            scored.2.sort_unstable();
            scored
        };
        let mut contents = Vec::new();
        for (scope, cameras) in scopes() {
            for (window, start_us, end_us, fixed) in windows(at_us, &lengths) {
                let scope = scope.clone();
                contents.push((
                    RateKey { scope, window },
                    start_us,
                    end_us,
                    fixed,
                    scored(&cameras, start_us, end_us),
                ));
            }
        }
        for (camera, lot, start_us, end_us) in naive.lots(at_us) {
            let scored = scored(&[&*camera], start_us, end_us);
            let (scope, window) = (Scope::Camera(camera), Window::Lot { lot });
            contents.push((RateKey { scope, window }, start_us, end_us, true, scored));
        }
        contents
    });
    let figures = |key: &RateKey, (judged, normal, anomalous): &Scored| {
        let quantile = |at: f64| {
            let rank = (at * judged.len() as f64).ceil() as usize;
            judged
                .get(rank.max(1) - 1)
                .map(|&bucket| (f64::from(bucket) + 0.5) / 4096.0)
        };
        let scores: Vec<f32> = normal
            .iter()
            .chain(anomalous)
            .map(|&bucket| f32::from(bucket))
            .collect();
        let labels: Vec<bool> = normal
            .iter()
            .map(|_| false)
            .chain(anomalous.iter().map(|_| true))
            .collect();
        let drift = match &key.scope {
            Scope::Camera(camera) => plan.references.get(camera).and_then(|reference| {
                let counts = judged.iter().map(|&bucket| crate::metrics::ScoreCount {
                    bucket,
                    judged: 1,
                    normal: 0,
                    anomalous: 0,
                });
                reference.stability_index(&counts.collect())
            }),
            _ => None,
        };
        ScoreFigures {
            judged: judged.len() as i64,
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            drift,
            auroc: auroc(&scores, &labels),
        }
    };
    let revised = states.into_iter().map(|state| Revision {
        before: state.before.as_ref().map(|before| figures(&state.key, before)),
        after: figures(&state.key, &state.after),
        key: state.key,
        start_us: state.start_us,
        end_us: state.end_us,
        at_us: state.at_us,
        revision: state.revision,
        open: false,
    });
    revised.collect()
}

fn assert_same<T: PartialEq + std::fmt::Debug>(published: &[T], expected: &[T]) {
    for (published, expected) in published.iter().zip(expected) {
        assert_eq!(published, expected);
    }
    assert_eq!(published.len(), expected.len());
}

#[test]
fn everything_published_agrees_with_recomputation_from_scratch() {
    for (seed, horizon_us) in [(1, 2 * MINUTE_US), (2, MINUTE_US), (3, 0), (4, 60 * MINUTE_US)] {
        let (history, plan) = (history(seed), plan(horizon_us));
        let (rates, scores) = publish(&history, &plan, 1);
        assert_same(&rates, &naive_rates(&history, &plan));
        assert_same(&scores, &naive_scores(&history, &plan));
        let (rates_of_three, scores_of_three) = publish(&history, &plan, 3);
        assert_same(&rates_of_three, &rates);
        assert_same(&scores_of_three, &scores);
        assert!(
            rates.len() > 3_000 && scores.len() > 30,
            "{} and {}",
            rates.len(),
            scores.len()
        );
        let corrections = rates
            .iter()
            .filter(|rate| rate.revision > 1 && rate.before.is_some())
            .count();
        assert_eq!(corrections > 100, horizon_us > 0, "{corrections} corrections");
        let of_lot = |key: &RateKey| matches!(key.window, Window::Lot { .. });
        let of_lots = rates.iter().filter(|rate| of_lot(&rate.key)).count();
        let scores_of_lots = scores.iter().filter(|rate| of_lot(&rate.key)).count();
        assert!(of_lots > 0 && scores_of_lots > 0, "{of_lots} and {scores_of_lots}");
        if horizon_us == 2 * MINUTE_US {
            let total = |figure: fn(&Tally) -> i64| rates.iter().map(|rate| figure(&rate.after)).sum::<i64>();
            assert!(total(|tally| tally.labels_too_late) > 0 && total(|tally| tally.labels_unmatched) > 0);
            assert!(
                rates
                    .iter()
                    .any(|rate| matches!(rate.key.window, Window::Lot { .. }) && rate.revision > 0)
            );
        }
    }
}

/// Rates of one camera with a frame a second, which ends after `seconds`.
fn until_the_end(seconds: u64) -> Vec<Rate> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let rates = seen.clone();
    timely::execute_directly(move |worker| {
        let mut outcomes: InputHandle<u64, CapacityContainerBuilder<Vec<Outcome>>> = InputHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let labels = Vec::<ArrivedLabel>::new().to_stream(scope);
            let lots = Vec::<LotStarted>::new().to_stream(scope);
            scope
                .input_from(&mut outcomes)
                .match_labels(labels, 0)
                .rates(
                    lots,
                    &Arc::new(RatePlan {
                        horizon_us: 0,
                        ..RatePlan::default()
                    }),
                )
                .inspect(move |rate| rates.lock().unwrap().push(rate.clone()));
        });
        for seq in 0..seconds {
            outcomes.advance_to(seq * HOP_US);
            let dropped = DroppedFrame {
                camera: "one".into(),
                seq,
                captured_at_us: seq * HOP_US,
                reason: DropReason::DropOldest,
            };
            outcomes.send(Outcome::Dropped(dropped));
        }
        outcomes.advance_to(seconds * HOP_US);
        worker.step();
    });
    Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
}

#[test]
fn windows_that_had_not_ended_are_told_at_the_end_as_far_as_they_are_filled() {
    let rates = until_the_end(90);
    let open = |rate: &&Rate| rate.open && matches!(rate.key.scope, Scope::Camera(_));
    let open: Vec<(u64, u64, i64)> = rates
        .iter()
        .filter(open)
        .map(|rate| (rate.start_us / HOP_US, rate.end_us / HOP_US, rate.after.frames))
        .collect();
    assert_eq!(open, [(60, 120, 30), (0, 900, 90), (0, 3_600, 90)]);
    let closed = rates.iter().filter(|rate| !rate.open && rate.end_us == 60 * HOP_US);
    assert!(closed.map(|rate| rate.after.frames).max() == Some(60));
}
