//! Alerts against the windows they opened on, recomputed at every later hop.

use super::*;
use crate::dataflow::rates_testing::{END_US, History, MINUTE_US, Naive, history, plan, run};
use crate::dataflow::{AlertState, MatchLabels, Rates};
use crate::metrics::{RuleWindow, Tally};

const HORIZON_US: u64 = 2 * MINUTE_US;
const RULES: [&str; 6] = [
    "reject_rate 1m > 60 %",
    "false_reject_rate 1m > 45 %",
    "drift 2m > 0.2",
    "camera silent 10 s",
    "false_reject_rate shift > 47 %",
    "false_reject_rate lot > 47 %",
];

fn alerts(history: &History, workers: usize) -> Vec<Alert> {
    let alerts = run(history, workers, |inputs| {
        let plan = plan(HORIZON_US);
        let changes = inputs.outcomes.match_labels(inputs.labels, HORIZON_US);
        let scores = changes.clone().score_rates(inputs.lots.clone(), &plan);
        let rules = RULES.map(|rule| (rule.into(), rule.parse().unwrap())).to_vec();
        changes
            .clone()
            .rates(inputs.lots, &plan)
            .alerts(scores, changes, rules, &plan, None)
    });
    assert!(alerts.iter().all(|(time, alert)| *time == alert.at_us));
    alerts.into_iter().map(|(_, alert)| alert).collect()
}

fn cameras(scope: &Scope) -> &'static [&'static str] {
    match scope {
        Scope::Camera(camera) if &**camera == "left" => &["left"],
        Scope::Camera(camera) if &**camera == "right" => &["right"],
        Scope::Camera(_) => &["top"],
        Scope::Line(_) => &["left", "top"],
        Scope::All => &["left", "right", "top"],
    }
}

/// What is retracted, recomputed from scratch: rule, scope, when it opened, when it was retracted.
fn retractions(history: &History, opened: &[&Alert]) -> Vec<(Arc<str>, Scope, u64, u64)> {
    let naive = Naive {
        history,
        horizon_us: HORIZON_US,
    };
    let known: Vec<_> = (0..END_US / HOP_US).map(|hop| naive.tallies(hop * HOP_US)).collect();
    let mut retracted = Vec::new();
    for alert in opened {
        let Ok(AlertRule::Beyond {
            figure, limit, window, ..
        }) = alert.rule.parse::<AlertRule>()
        else {
            continue;
        };
        let opened_at_us = alert.opened_at_us;
        let window = match window {
            RuleWindow::Sliding { length_us } => opened_at_us.saturating_sub(length_us)..opened_at_us,
            RuleWindow::Shift => plan(HORIZON_US).shifts.as_ref().unwrap().at(opened_at_us - 1),
            RuleWindow::Lot => {
                let lots = naive.lots(opened_at_us);
                let ended = lots.iter().find(|(camera, _, _, end_us)| {
                    alert.scope == Scope::Camera(camera.clone()) && end_us + HOP_US == opened_at_us
                });
                let (_, _, start_us, end_us) = ended.expect("the alert opened when a lot had ended");
                *start_us..*end_us
            }
        };
        let undone = (alert.opened_at_us / HOP_US..END_US / HOP_US).find(|hop| {
            let mut sum = Tally::default();
            let inside = known[*hop as usize]
                .iter()
                .filter(|((camera, hop_us), _)| cameras(&alert.scope).contains(&&**camera) && window.contains(hop_us));
            inside.for_each(|(_, tally)| sum.add(tally));
            figure.of(&sum).is_none_or(|value| value <= limit)
        });
        if let Some(hop) = undone.filter(|_| &*alert.rule != RULES[2]) {
            retracted.push((
                alert.rule.clone(),
                alert.scope.clone(),
                alert.opened_at_us,
                hop * HOP_US,
            ));
        }
    }
    retracted.sort();
    retracted
}

/// Camera and time of every hop at which it had had no frame for ten seconds, not counting those after it.
fn silences(history: &History) -> Vec<(Scope, u64)> {
    let mut silences = Vec::new();
    for camera in ["left", "right", "top"] {
        let seen = history
            .outcomes
            .iter()
            .filter(|(_, outcome)| &**outcome.camera() == camera);
        let mut ends: Vec<u64> = seen.map(|(at, _)| at / HOP_US * HOP_US + HOP_US).collect();
        ends.push(END_US + 60 * MINUTE_US);
        ends.dedup();
        let silent = ends
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > 10 * HOP_US && pair[0] + 10 * HOP_US < END_US);
        silences.extend(silent.map(|pair| (Scope::Camera(camera.into()), pair[0] + 10 * HOP_US)));
    }
    silences.sort();
    silences
}

#[test]
fn alerts_are_retracted_exactly_when_a_label_undoes_their_cause() {
    let mut retractions_by_rule = [0; RULES.len()];
    for seed in [21, 22, 23] {
        let history = history(seed);
        let seen = alerts(&history, 1);
        assert_eq!(seen, alerts(&history, 3));
        let of = |state| seen.iter().filter(move |alert: &&Alert| alert.state == state);
        let opened: Vec<&Alert> = of(AlertState::Opened).collect();
        let mut retracted: Vec<_> = of(AlertState::Retracted)
            .map(|alert| (alert.rule.clone(), alert.scope.clone(), alert.opened_at_us, alert.at_us))
            .collect();
        retracted.sort();
        assert_eq!(retracted, retractions(&history, &opened));
        for (rule, retractions) in RULES.iter().zip(&mut retractions_by_rule) {
            *retractions += retracted.iter().filter(|(of, ..)| **of == **rule).count();
        }
        let silent = opened.iter().filter(|alert| &*alert.rule == RULES[3]);
        let mut silent: Vec<(Scope, u64)> = silent.map(|alert| (alert.scope.clone(), alert.at_us)).collect();
        silent.sort();
        assert_eq!(silent, silences(&history));
        assert!(opened.iter().any(|alert| &*alert.rule == RULES[2]), "drift");
        assert!(of(AlertState::Closed).count() > 5);
    }
    let of_labels = [1, 4, 5].map(|rule: usize| retractions_by_rule[rule]);
    assert!(of_labels.iter().all(|retractions| *retractions > 0), "{of_labels:?}");
}
