//! What a run file says about rates.

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::dataflow::{HOP_US, RatePlan, SCORE_HOP_US, Shifts};
use intakt_operators::metrics::{AlertRule, Figure, RuleWindow, parse_duration_us};
use intakt_pipelines::{Detectors, Figures};
use toml::Spanned;

use super::typed::{TypedQuestion, TypedRates};
use super::{Question, Reader};

/// Longest time that labels may correct what was: a week of sixteen busy cameras takes 5 GB.
const HORIZON_MAX_US: u64 = 7 * 24 * 3_600_000_000;

/// Most windows, rules and questions: each is kept for every camera.
const EACH_MAX: usize = 32;

impl Reader<'_> {
    /// What is counted, where the file says something about it or the run is kept.
    pub(super) fn figures(
        &mut self,
        typed: Option<&TypedRates>,
        lines: &BTreeMap<Arc<str>, Arc<str>>,
        cameras: &[Arc<str>],
        detectors: &Detectors,
        keeps: bool,
    ) -> Option<Figures> {
        if typed.is_none() && lines.is_empty() && !keeps {
            return None;
        }
        let mut figures = if keeps { Figures::labelled() } else { Figures::default() };
        figures.plan.cameras = cameras.iter().cloned().collect();
        figures.plan.lines.clone_from(lines);
        let references = cameras
            .iter()
            .filter_map(|camera| Some((camera.clone(), detectors.of(camera).score_reference()?)));
        figures.plan.references = references.collect();
        let Some(typed) = typed else { return Some(figures) };
        self.windows(typed, &mut figures.plan);
        self.horizon(typed, keeps, &mut figures.plan);
        self.shifts(typed, &mut figures.plan);
        for rule in &typed.alerts {
            self.alert(rule, &mut figures);
        }
        figures.scores |= !figures.rules.is_empty();
        let windows = typed.windows.as_deref().unwrap_or(&[]);
        for (key, values) in [("windows", windows), ("alerts", &typed.alerts)] {
            if let Some(excess) = values.get(EACH_MAX) {
                let what = format!(
                    "there are {} of them, and at most {EACH_MAX} are possible",
                    values.len()
                );
                self.problem(&excess.span(), key, &what);
            }
        }
        Some(figures)
    }

    /// The standing questions, which need the past that only a kept run has.
    pub(super) fn questions(&mut self, typed: &[Spanned<TypedQuestion>], keeps: bool) -> Vec<Question> {
        let mut questions = Vec::new();
        for question in typed {
            if questions.len() == EACH_MAX {
                self.problem(
                    &question.span(),
                    "what_if",
                    &format!("there are {} of them, and at most {EACH_MAX} are possible", typed.len()),
                );
                break;
            }
            let TypedQuestion { name, threshold } = question.get_ref();
            let threshold_at = threshold.span();
            let threshold = *threshold.get_ref();
            if !keeps {
                self.problem(
                    &question.span(),
                    "what_if",
                    "it needs a run that is kept: `run = \"DIR\"`, or `--run DIR`",
                );
            }
            if !(0.0..=1.0).contains(&threshold) {
                let what =
                    format!("{threshold} is no calibrated score: these lie between 0 and 1, the threshold is 0.5");
                self.problem(&threshold_at, "threshold", &what);
            }
            if questions.iter().any(|known: &Question| known.name == *name) {
                self.problem(
                    &question.span(),
                    "name",
                    &format!("two questions are called \"{name}\""),
                );
            }
            let name = name.clone();
            questions.push(Question { name, threshold });
        }
        questions
    }

    fn windows(&mut self, typed: &TypedRates, plan: &mut RatePlan) {
        let Some(windows) = &typed.windows else { return };
        plan.windows_us.clear();
        for window in windows {
            if let Some(window_us) = self.duration("windows", window) {
                plan.windows_us.push(window_us.next_multiple_of(HOP_US));
            }
        }
        plan.windows_us.sort_unstable();
        plan.windows_us.dedup();
    }

    fn horizon(&mut self, typed: &TypedRates, keeps: bool, plan: &mut RatePlan) {
        let Some(horizon) = &typed.label_horizon else { return };
        if !keeps {
            self.problem(
                &horizon.span(),
                "label_horizon",
                "labels need a run that is kept: `run = \"DIR\"`, or `--run DIR`",
            );
        }
        let Some(horizon_us) = self.duration("label_horizon", horizon) else {
            return;
        };
        if horizon_us > HORIZON_MAX_US {
            self.problem(&horizon.span(), "label_horizon", "it is at most 168 h, a week");
        }
        plan.horizon_us = horizon_us.min(HORIZON_MAX_US).next_multiple_of(SCORE_HOP_US);
    }

    fn shifts(&mut self, typed: &TypedRates, plan: &mut RatePlan) {
        let Some(shifts) = &typed.shifts else { return };
        let starts = shifts.get_ref().iter().map(|start| minutes(start));
        let Some(starts_minute) = starts.collect::<Option<Vec<_>>>() else {
            self.problem(&shifts.span(), "shifts", "they are times of the day, such as \"06:00\"");
            return;
        };
        let offset = typed.utc_offset.as_ref();
        let utc_offset_minutes = match offset.map(|offset| (offset.span(), signed_minutes(offset.get_ref()))) {
            None => 0,
            Some((_, Some(minutes))) => minutes,
            Some((span, None)) => {
                self.problem(
                    &span,
                    "utc_offset",
                    "it is hours and minutes ahead of UTC, such as \"+01:00\"",
                );
                0
            }
        };
        plan.shifts = Some(Shifts {
            starts_minute,
            utc_offset_minutes,
        });
        if let Err(reason) = plan.check() {
            self.problem(&shifts.span(), "shifts", &reason);
            plan.shifts = None;
        }
    }

    fn alert(&mut self, rule: &Spanned<String>, figures: &mut Figures) {
        match rule.get_ref().parse::<AlertRule>() {
            Ok(read) => {
                if let AlertRule::Beyond { figure, window, .. } = &read
                    && let Some(problem) = window_problem(*figure, *window, &figures.plan)
                {
                    let rule_text = rule.get_ref();
                    self.problem(
                        &rule.span(),
                        "alerts",
                        &format!("the window of \"{rule_text}\" {problem}"),
                    );
                }
                if figures.rules.iter().any(|(known, _)| **known == **rule.get_ref()) {
                    self.problem(&rule.span(), "alerts", "it is there twice");
                }
                figures.rules.push((rule.get_ref().as_str().into(), read));
            }
            Err(reason) => self.problem(&rule.span(), "alerts", &reason),
        }
    }

    fn duration(&mut self, key: &str, typed: &Spanned<String>) -> Option<u64> {
        parse_duration_us(typed.get_ref())
            .map_err(|reason| self.problem(&typed.span(), key, &reason))
            .ok()
    }
}

/// What is wrong with the window of a rule about a figure.
fn window_problem(figure: Figure, window: RuleWindow, plan: &RatePlan) -> Option<&'static str> {
    match window {
        RuleWindow::Sliding { length_us } if !plan.windows_us.contains(&length_us) => Some("is none of `windows`"),
        RuleWindow::Sliding { length_us } if figure.is_of_scores() && !length_us.is_multiple_of(SCORE_HOP_US) => {
            Some("is no whole minutes, and scores are counted by the minute")
        }
        RuleWindow::Shift if plan.shifts.is_none() => Some("needs `shifts`, which say when they start"),
        _ => None,
    }
}

/// Minutes after midnight, of `06:00`.
fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60).then_some(60 * hour + minute)
}

/// Minutes, of `+01:00` or `-03:30`.
fn signed_minutes(text: &str) -> Option<i32> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    Some(sign * i32::from(minutes(rest)?))
}
