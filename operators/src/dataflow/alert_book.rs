//! Which alerts are open, why, and what has become of them: a state machine without a dataflow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{HOP_US, Rate, RateKey, Revision, SCORE_HOP_US, Scope, ScoreRate, Window};
use crate::metrics::{AlertRule, Figure, RuleWindow, Tally};

/// Something became wrong, right again, or turned out never to have been wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule, as it was written.
    pub rule: Arc<str>,
    /// Whose frames.
    #[serde(flatten)]
    pub scope: Scope,
    /// When it opened, microseconds of event time: the end of the window that was its cause, or when silence had lasted.
    pub opened_at_us: u64,
    /// When this happened, microseconds of event time.
    pub at_us: u64,
    /// What happened.
    pub state: AlertState,
    /// The figure that made it happen; none for silence, and where it is undefined.
    pub value: Option<f64>,
}

/// What happens to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The rule holds, and did not before.
    Opened,
    /// It holds no more.
    Closed,
    /// A correction of the window that was its cause says that it should not have opened. It may have closed meanwhile.
    Retracted,
}

/// What alerts are about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Seen {
    /// The counts of a hop change: new frames, or a correction if `new` is not set.
    Change {
        scope: Scope,
        hop_us: u64,
        new: bool,
        tally: Tally,
    },
    Rate(Rate),
    Scores(ScoreRate),
}

/// Number of the rule, and whose frames.
type Key = (usize, Scope);

/// What is known about silence in a run that goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownSilences {
    /// What happened before was told then, microseconds.
    pub from_us: u64,
    /// The alerts about silence that were not closed.
    pub open: Vec<OpenSilence>,
    /// Whether the run had ended, so that nobody watched until it went on: then cameras have been silent since then only.
    pub had_ended: bool,
}

/// A camera that is silent.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSilence {
    /// The rule that it breaks, as it was written.
    pub rule: Arc<str>,
    /// The camera.
    pub camera: Arc<str>,
    /// When the alert opened, microseconds.
    pub opened_at_us: u64,
}

pub(super) struct AlertBook {
    rules: Vec<(Arc<str>, AlertRule)>,
    /// Cameras that are silent from the beginning, until it is known when that is.
    expected: BTreeSet<Arc<str>>,
    /// What is still to be taken over when the past has been told again.
    known: Option<KnownSilences>,
    horizon_us: u64,
    /// Since when.
    open: BTreeMap<Key, u64>,
    /// By when the alert opened: the windows that were the cause, as long as labels can correct them.
    causes: BTreeMap<(u64, Key), Cause>,
    /// By camera: the end of the last hop with a frame; of a camera that was not seen, of the first hop of all.
    last_seen_us: BTreeMap<Arc<str>, u64>,
}

/// The window on which an alert opened.
enum Cause {
    /// What happened in it, corrected since.
    Counts { start_us: u64, counted: Tally },
    /// What is told again when it is corrected: how the frames scored of a window with this end, or what a shift or a lot
    /// counts.
    Told { end_us: u64 },
}

/// Whether a rule holds, and the figure.
type Found = (bool, Option<f64>);

impl Window {
    fn is(&self, of_rule: RuleWindow) -> bool {
        match (self, of_rule) {
            (Self::Sliding { length_us }, RuleWindow::Sliding { length_us: of_rule_us }) => *length_us == of_rule_us,
            (Self::Shift, RuleWindow::Shift) | (Self::Lot { .. }, RuleWindow::Lot) => true,
            _ => false,
        }
    }
}

impl AlertBook {
    pub(super) fn new(rules: Vec<(Arc<str>, AlertRule)>, expected: BTreeSet<Arc<str>>, horizon_us: u64) -> Self {
        Self {
            rules,
            expected,
            known: None,
            horizon_us,
            open: BTreeMap::new(),
            causes: BTreeMap::new(),
            last_seen_us: BTreeMap::new(),
        }
    }

    /// The same for a run that goes on, and whose past is told again first.
    pub(super) fn going_on(mut self, known: KnownSilences) -> Self {
        self.known = Some(known);
        self
    }

    /// When the next camera will have been silent for too long, if nothing is seen of it until then.
    pub(super) fn next_silence_us(&self) -> Option<u64> {
        let known = self.known.as_ref();
        if known.is_some_and(|known| known.had_ended) {
            return None;
        }
        let from_us = known.map_or(0, |known| known.from_us);
        self.silences().map(|(due_us, _)| due_us.max(from_us)).min()
    }

    /// Everything that is seen at a time, in any order. Times come in order. What happens is in order of rule and scope.
    pub(super) fn at(&mut self, at_us: u64, seen: &[Seen]) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for camera in std::mem::take(&mut self.expected) {
            self.last_seen_us.insert(camera, at_us);
        }
        if let Some(known) = self.known.take_if(|known| at_us >= known.from_us) {
            self.take_over(at_us, known);
        }
        let horizon_us = self.horizon_us;
        self.causes.retain(|(opened_at_us, _), cause| {
            let known_us = match cause {
                Cause::Counts { .. } => HOP_US,
                Cause::Told { .. } => SCORE_HOP_US,
            };
            opened_at_us.saturating_add(horizon_us + known_us) > at_us
        });
        self.count(at_us, seen, &mut alerts);
        // What was silent in the past was told then.
        let is_past = self.known.is_some();
        let silent: Vec<Key> = self
            .silences()
            .filter(|(due_us, _)| *due_us <= at_us && !is_past)
            .map(|(_, key)| key)
            .collect();
        silent
            .into_iter()
            .for_each(|key| self.open(key, at_us, None, &mut alerts));
        for seen in seen {
            match seen {
                Seen::Change { .. } => {}
                Seen::Rate(rate) => self.rate(rate, &mut alerts),
                Seen::Scores(rate) => self.scores(rate, &mut alerts),
            }
        }
        alerts.sort_by(|(a, _), (b, _)| a.cmp(b));
        alerts.into_iter().map(|(_, alert)| alert).collect()
    }

    fn take_over(&mut self, at_us: u64, known: KnownSilences) {
        for open in known.open {
            if let Some(index) = self.rules.iter().position(|(rule, _)| *rule == open.rule) {
                self.open.insert((index, Scope::Camera(open.camera)), open.opened_at_us);
            }
        }
        if known.had_ended {
            self.last_seen_us.values_mut().for_each(|seen_us| *seen_us = at_us);
        }
    }

    fn silences(&self) -> impl Iterator<Item = (u64, Key)> + '_ {
        let silent = self
            .rules
            .iter()
            .enumerate()
            .filter_map(|(index, (_, rule))| match rule {
                AlertRule::Silent { after_us } => Some((index, *after_us)),
                AlertRule::Beyond { .. } => None,
            });
        silent.flat_map(|(index, after_us)| {
            let due = self.last_seen_us.iter().map(move |(camera, seen_us)| {
                (seen_us.saturating_add(after_us), (index, Scope::Camera(camera.clone())))
            });
            due.filter(|(_, key)| !self.open.contains_key(key))
        })
    }

    /// New frames end silence; corrections are added to the causes they belong to.
    fn count(&mut self, at_us: u64, seen: &[Seen], alerts: &mut Vec<(Key, Alert)>) {
        let (mut corrected, mut back) = (BTreeSet::new(), BTreeSet::new());
        for seen in seen {
            let Seen::Change {
                scope,
                hop_us,
                new,
                tally,
            } = seen
            else {
                continue;
            };
            if let (true, Scope::Camera(camera)) = (*new && tally.frames > 0, scope) {
                self.last_seen_us.insert(camera.clone(), at_us);
                back.insert(scope);
            } else if !new {
                for (opened, cause) in &mut self.causes {
                    let (end_us, (_, of)) = opened;
                    if let Cause::Counts { start_us, counted } = cause
                        && of == scope
                        && (*start_us..*end_us).contains(hop_us)
                    {
                        counted.add(tally);
                        corrected.insert(opened.clone());
                    }
                }
            }
        }
        corrected
            .into_iter()
            .for_each(|opened| self.recount(opened, at_us, alerts));
        let silent = |(index, _): &Key| matches!(self.rules[*index].1, AlertRule::Silent { .. });
        let over = self.open.keys().filter(|key| silent(key) && back.contains(&key.1));
        let over: Vec<Key> = over.cloned().collect();
        over.into_iter().for_each(|key| self.close(key, at_us, None, alerts));
    }

    /// Retracts where the window on which an alert opened, as it is now, does not break its rule.
    fn recount(&mut self, opened: (u64, Key), at_us: u64, alerts: &mut Vec<(Key, Alert)>) {
        let rule = &self.rules[opened.1.0].1;
        if let AlertRule::Beyond {
            figure, above, limit, ..
        } = rule
            && let Some(Cause::Counts { counted, .. }) = self.causes.get(&opened)
        {
            let value = figure.of(counted);
            if !is_beyond(value, *above, *limit) {
                self.retract(opened, at_us, value, alerts);
            }
        }
    }

    fn retract(&mut self, opened: (u64, Key), at_us: u64, value: Option<f64>, alerts: &mut Vec<(Key, Alert)>) {
        let (opened_at_us, key) = &opened;
        alerts.push(self.record(key, *opened_at_us, at_us, AlertState::Retracted, value));
        if self.open.get(key) == Some(opened_at_us) {
            self.open.remove(key);
        }
        self.causes.remove(&opened);
    }

    fn rate(&mut self, rate: &Rate, alerts: &mut Vec<(Key, Alert)>) {
        let watched = self.watch(&rate.key, false, |figure| figure.of(&rate.after));
        if !matches!(rate.key.window, Window::Sliding { .. }) {
            self.told(rate, watched, alerts);
        } else if rate.end_us == rate.at_us {
            // Corrections are counted as they come, which is before the rates contain them.
            for (key, found) in watched {
                if self.turn(key.clone(), rate.at_us, found, alerts) {
                    let cause = Cause::Counts {
                        start_us: rate.start_us,
                        counted: rate.after,
                    };
                    self.causes.insert((rate.at_us, key), cause);
                }
            }
        }
    }

    fn scores(&mut self, rate: &ScoreRate, alerts: &mut Vec<(Key, Alert)>) {
        let watched = self.watch(&rate.key, true, |figure| match figure {
            Figure::Auroc => rate.after.auroc,
            Figure::Drift => rate.after.drift,
            Figure::P50 => rate.after.p50,
            Figure::P95 => rate.after.p95,
            Figure::P99 => rate.after.p99,
            _ => None,
        });
        self.told(rate, watched, alerts);
    }

    /// Opens and closes on a window that has ended, and retracts where one is corrected on which an alert opened.
    fn told<T>(&mut self, rate: &Revision<T>, watched: Vec<(Key, Found)>, alerts: &mut Vec<(Key, Alert)>) {
        let is_new = match rate.key.window {
            Window::Sliding { .. } => rate.end_us == rate.at_us,
            Window::Shift | Window::Lot { .. } => rate.revision == 0,
        };
        for (key, found) in watched {
            if is_new {
                if self.turn(key.clone(), rate.at_us, found, alerts) {
                    let end_us = rate.end_us;
                    self.causes.insert((rate.at_us, key), Cause::Told { end_us });
                }
                continue;
            }
            let is_cause = |((_, of), cause): &(&(u64, Key), &Cause)| {
                *of == key && matches!(cause, Cause::Told { end_us } if *end_us == rate.end_us)
            };
            let cause = self.causes.iter().find(is_cause).map(|(opened, _)| opened.clone());
            if let (Some(opened), (false, value)) = (cause, found) {
                self.retract(opened, rate.at_us, value, alerts);
            }
        }
    }

    /// The rules about a window, each with whether it holds and the figure.
    fn watch(&self, of: &RateKey, of_scores: bool, value: impl Fn(Figure) -> Option<f64>) -> Vec<(Key, Found)> {
        let watched = self
            .rules
            .iter()
            .enumerate()
            .filter_map(|(index, (_, rule))| match rule {
                AlertRule::Beyond {
                    figure,
                    window,
                    above,
                    limit,
                } if of.window.is(*window) && of_scores == figure.is_of_scores() => {
                    let value = value(*figure);
                    Some(((index, of.scope.clone()), (is_beyond(value, *above, *limit), value)))
                }
                _ => None,
            });
        watched.collect()
    }

    /// Opens or closes; whether it opened.
    fn turn(&mut self, key: Key, at_us: u64, (holds, value): Found, alerts: &mut Vec<(Key, Alert)>) -> bool {
        let opens = holds && !self.open.contains_key(&key);
        if opens {
            self.open(key, at_us, value, alerts);
        } else if !holds {
            self.close(key, at_us, value, alerts);
        }
        opens
    }

    fn open(&mut self, key: Key, at_us: u64, value: Option<f64>, alerts: &mut Vec<(Key, Alert)>) {
        alerts.push(self.record(&key, at_us, at_us, AlertState::Opened, value));
        self.open.insert(key, at_us);
    }

    fn close(&mut self, key: Key, at_us: u64, value: Option<f64>, alerts: &mut Vec<(Key, Alert)>) {
        if let Some(opened_at_us) = self.open.remove(&key) {
            alerts.push(self.record(&key, opened_at_us, at_us, AlertState::Closed, value));
        }
    }

    fn record(&self, key: &Key, opened_at_us: u64, at_us: u64, state: AlertState, value: Option<f64>) -> (Key, Alert) {
        let alert = Alert {
            rule: self.rules[key.0].0.clone(),
            scope: key.1.clone(),
            opened_at_us,
            at_us,
            state,
            value,
        };
        (key.clone(), alert)
    }
}

fn is_beyond(value: Option<f64>, above: bool, limit: f64) -> bool {
    value.is_some_and(|value| if above { value > limit } else { value < limit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::ScoreFigures;

    const MINUTE_US: u64 = 60_000_000;

    fn book(rule: &str) -> AlertBook {
        book_of(rule, &[])
    }

    fn book_of(rule: &str, expected: &[&str]) -> AlertBook {
        let expected = expected.iter().map(|&camera| camera.into()).collect();
        AlertBook::new(vec![(rule.into(), rule.parse().unwrap())], expected, 10 * MINUTE_US)
    }

    fn rate(end_us: u64, tally: Tally) -> Seen {
        let key = RateKey {
            scope: Scope::All,
            window: Window::Sliding { length_us: MINUTE_US },
        };
        Seen::Rate(Revision {
            key,
            start_us: end_us.saturating_sub(MINUTE_US),
            end_us,
            at_us: end_us,
            open: false,
            revision: 0,
            before: None,
            after: tally,
        })
    }

    fn labelled(good: i64, false_rejects: i64) -> Tally {
        Tally {
            frames: good + false_rejects,
            rejects: false_rejects,
            normal_passed: good,
            normal_rejected: false_rejects,
            ..Tally::default()
        }
    }

    fn correction(hop_us: u64) -> Seen {
        let tally = Tally {
            normal_rejected: -1,
            anomalous_rejected: 1,
            ..Tally::default()
        };
        Seen::Change {
            scope: Scope::All,
            hop_us,
            new: false,
            tally,
        }
    }

    fn states(alerts: &[Alert]) -> Vec<(AlertState, u64)> {
        alerts.iter().map(|alert| (alert.state, alert.opened_at_us)).collect()
    }

    #[test]
    fn an_alert_opens_once_and_closes() {
        let mut book = book("reject_rate 1m > 5 %");
        assert!(
            book.at(HOP_US, &[rate(HOP_US, labelled(95, 5))]).is_empty(),
            "5 % is not more than 5 %"
        );
        assert_eq!(
            states(&book.at(5 * HOP_US, &[rate(5 * HOP_US, labelled(9, 1))])),
            [(AlertState::Opened, 5 * HOP_US)]
        );
        assert!(book.at(6 * HOP_US, &[rate(6 * HOP_US, labelled(8, 2))]).is_empty());
        let closed = book.at(7 * HOP_US, &[rate(7 * HOP_US, Tally::default())]);
        assert_eq!(
            (states(&closed), closed[0].value),
            (vec![(AlertState::Closed, 5 * HOP_US)], None)
        );
    }

    #[test]
    fn a_correction_that_undoes_the_cause_retracts_the_alert_even_after_it_closed() {
        for closes in [false, true] {
            let mut book = book("false_reject_rate 1m > 10 %");
            let opened_at_us = 100 * HOP_US;
            assert_eq!(book.at(opened_at_us, &[rate(opened_at_us, labelled(8, 2))]).len(), 1);
            if closes {
                let closed = book.at(101 * HOP_US, &[rate(101 * HOP_US, labelled(10, 0))]);
                assert_eq!(states(&closed), [(AlertState::Closed, opened_at_us)]);
            }
            assert!(
                book.at(200 * HOP_US, &[correction(39 * HOP_US)]).is_empty(),
                "before the window"
            );
            assert!(
                book.at(201 * HOP_US, &[correction(100 * HOP_US)]).is_empty(),
                "after the window"
            );
            let still = book.at(202 * HOP_US, &[correction(40 * HOP_US)]);
            assert!(still.is_empty(), "one of nine is still more than 10 %");
            let retracted = book.at(203 * HOP_US, &[correction(99 * HOP_US)]);
            assert_eq!(
                (states(&retracted), retracted[0].value),
                (vec![(AlertState::Retracted, opened_at_us)], Some(0.0))
            );
            assert!(book.open.is_empty() && book.causes.is_empty());
        }
    }

    #[test]
    fn a_cause_past_the_horizon_is_forgotten() {
        let mut book = book("false_reject_rate 1m > 10 %");
        book.at(MINUTE_US, &[rate(MINUTE_US, labelled(0, 1))]);
        assert!(book.at(11 * MINUTE_US + HOP_US, &[correction(0)]).is_empty());
        assert!(book.causes.is_empty() && book.open.len() == 1);
    }

    #[test]
    fn a_silent_camera_is_named_when_silence_has_lasted() {
        let mut book = book("camera silent 10 s");
        let frame = Seen::Change {
            scope: Scope::Camera("left".into()),
            hop_us: 0,
            new: true,
            tally: labelled(1, 0),
        };
        assert_eq!(
            book.next_silence_us(),
            None,
            "a camera that was never seen is not silent"
        );
        assert!(book.at(HOP_US, std::slice::from_ref(&frame)).is_empty());
        assert_eq!(book.next_silence_us(), Some(11 * HOP_US));
        assert_eq!(states(&book.at(11 * HOP_US, &[])), [(AlertState::Opened, 11 * HOP_US)]);
        assert_eq!(book.next_silence_us(), None);
        assert_eq!(
            states(&book.at(15 * HOP_US, &[frame])),
            [(AlertState::Closed, 11 * HOP_US)]
        );
    }

    #[test]
    fn a_camera_that_is_expected_is_silent_from_the_first_frame_of_another_on() {
        let mut book = book_of("camera silent 10 s", &["left", "right"]);
        assert_eq!(book.next_silence_us(), None, "nobody knows yet when it is");
        let frame = |camera: &str| Seen::Change {
            scope: Scope::Camera(camera.into()),
            hop_us: 0,
            new: true,
            tally: labelled(1, 0),
        };
        assert!(book.at(5 * HOP_US, &[frame("left")]).is_empty());
        book.at(14 * HOP_US, &[frame("left")]);
        let silent = book.at(15 * HOP_US, &[]);
        assert_eq!(states(&silent), [(AlertState::Opened, 15 * HOP_US)]);
        assert_eq!(silent[0].scope, Scope::Camera("right".into()));
    }

    #[test]
    fn a_run_that_goes_on_knows_who_was_silent_and_counts_no_time_in_which_nobody_watched() {
        let frame = |camera: &str| Seen::Change {
            scope: Scope::Camera(camera.into()),
            hop_us: 0,
            new: true,
            tally: labelled(1, 0),
        };
        let going_on = |had_ended| {
            let known = KnownSilences {
                from_us: 20 * HOP_US,
                open: vec![OpenSilence {
                    rule: "camera silent 10 s".into(),
                    camera: "left".into(),
                    opened_at_us: 12 * HOP_US,
                }],
                had_ended,
            };
            let mut book = book("camera silent 10 s").going_on(known);
            // The past is told again: that one fell silent at 2 s, and the other at 15 s.
            for (at, camera) in [(2, "left"), (15, "right")] {
                assert!(book.at(at * HOP_US, &[frame(camera)]).is_empty());
            }
            book
        };
        let mut killed = going_on(false);
        assert_eq!(
            killed.next_silence_us(),
            Some(20 * HOP_US),
            "what is known is taken over"
        );
        assert!(killed.at(20 * HOP_US, &[]).is_empty());
        assert_eq!(
            killed.next_silence_us(),
            Some(25 * HOP_US),
            "as if it had not been killed"
        );
        let silent = killed.at(25 * HOP_US, &[]);
        assert_eq!(
            (states(&silent), silent[0].scope.clone()),
            (vec![(AlertState::Opened, 25 * HOP_US)], Scope::Camera("right".into()))
        );
        assert_eq!(
            states(&killed.at(26 * HOP_US, &[frame("left")])),
            [(AlertState::Closed, 12 * HOP_US)]
        );

        let mut ended = going_on(true);
        assert_eq!(ended.next_silence_us(), None, "nobody watched");
        assert!(ended.at(1_000 * HOP_US, &[correction(0)]).is_empty());
        assert_eq!(ended.next_silence_us(), Some(1_010 * HOP_US));
        assert_eq!(
            states(&ended.at(1_001 * HOP_US, &[frame("left")])),
            [(AlertState::Closed, 12 * HOP_US)]
        );
    }

    #[test]
    fn an_alert_on_auroc_is_retracted_when_labels_undo_it_and_one_on_drift_stays() {
        let scores = |end_us, at_us, auroc, drift| {
            let key = RateKey {
                scope: Scope::All,
                window: Window::Sliding { length_us: MINUTE_US },
            };
            let after = ScoreFigures {
                auroc,
                drift,
                ..ScoreFigures::default()
            };
            Seen::Scores(Revision {
                key,
                start_us: end_us - MINUTE_US,
                end_us,
                at_us,
                open: false,
                revision: u32::from(at_us > end_us),
                before: None,
                after,
            })
        };
        let mut book = book("auroc 1m < 0.9");
        assert!(
            book.at(MINUTE_US, &[scores(MINUTE_US, MINUTE_US, None, None)])
                .is_empty()
        );
        let later = 2 * MINUTE_US;
        let opened = book.at(later, &[scores(later, later, Some(0.8), None)]);
        assert_eq!(states(&opened), [(AlertState::Opened, later)]);
        assert_eq!(opened[0].value, Some(0.8));
        let still = book.at(later + HOP_US, &[scores(later, later + HOP_US, Some(0.85), None)]);
        assert!(still.is_empty(), "{still:?}");
        // The first window, on which nothing opened, is corrected too.
        let corrections = [
            scores(MINUTE_US, later + 2 * HOP_US, Some(1.0), None),
            scores(later, later + 2 * HOP_US, Some(0.95), None),
        ];
        let undone = book.at(later + 2 * HOP_US, &corrections);
        assert_eq!(states(&undone), [(AlertState::Retracted, later)]);
        assert_eq!(undone[0].value, Some(0.95));

        let mut book = super::tests::book("drift 1m > 0.2");
        book.at(later, &[scores(later, later, None, Some(0.3))]);
        let relabelled = book.at(later + HOP_US, &[scores(later, later + HOP_US, Some(1.0), Some(0.3))]);
        assert!(relabelled.is_empty(), "{relabelled:?}");
        let closed = book.at(3 * MINUTE_US, &[scores(3 * MINUTE_US, 3 * MINUTE_US, None, Some(0.1))]);
        assert_eq!(states(&closed), [(AlertState::Closed, later)]);
    }
}
