//! The part of the dataflow that counts: from outcomes and labels to rates, scores, answers and alerts.

use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::Outcome;
use intakt_operators::dataflow::{
    Alerts, AlternativeThreshold, ArrivedLabel, Control, Controlled, InOrder, KnownSilences, LotStarted, MatchLabels,
    RatePlan, Rates, SCORE_HOP_US, WhatIfs, history,
};
use intakt_operators::metrics::AlertRule;
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Concat, Inspect};
use timely::dataflow::{Scope, StreamVec};

use crate::board::Board;
use crate::store::{Change, ChangeKind, TimedOutcome};

/// Which figures a run keeps besides its verdicts.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Windows, shifts, lines, and for how long labels correct them.
    pub plan: RatePlan,
    /// Whether the spread of scores is kept too.
    pub scores: bool,
    /// When to raise an alert, as it was written and as it was read.
    pub rules: Vec<(Arc<str>, AlertRule)>,
}

impl Figures {
    /// Rates over the usual windows that labels correct for a day, and the spread of scores.
    pub fn labelled() -> Self {
        Self {
            plan: RatePlan::default(),
            scores: true,
            rules: Vec::new(),
        }
    }

    /// How much of a run's past they rest on, microseconds.
    pub fn memory_us(&self) -> u64 {
        let shift_us = if self.plan.shifts.is_some() {
            24 * 3_600_000_000
        } else {
            0
        };
        let longest_us = self.plan.windows_us.iter().copied().max().unwrap_or(0).max(shift_us);
        self.plan.horizon_us + longest_us + SCORE_HOP_US
    }
}

impl Default for Figures {
    /// Rates over the usual windows, for a run in which nobody labels anything.
    fn default() -> Self {
        Self {
            plan: RatePlan {
                horizon_us: 0,
                ..RatePlan::default()
            },
            scores: false,
            rules: Vec::new(),
        }
    }
}

/// What is known of a run from before it goes on.
#[derive(Default)]
pub(crate) struct Known {
    /// Pages of outcomes, in the order of time.
    pub(crate) outcomes: Mutex<Option<Pages>>,
    /// Labels, in the order of time.
    pub(crate) labels: Mutex<Vec<(u64, ArrivedLabel)>>,
    /// Lots, in the order of time.
    pub(crate) lots: Mutex<Vec<(u64, LotStarted)>>,
    /// What happened before this was published then, microseconds.
    pub(crate) from_us: u64,
    /// Who was silent then; none where the run begins.
    pub(crate) silences: Option<KnownSilences>,
}

/// Gives the next page, or nothing when there is none.
pub(crate) type Pages = Box<dyn FnMut() -> Option<Result<Vec<TimedOutcome>, String>> + Send>;

/// Tells the sinks all figures, and what was said; what is left is the progress of that.
pub(crate) fn figures<'scope>(
    outcomes: StreamVec<'scope, u64, Outcome>,
    controls: StreamVec<'scope, u64, Controlled>,
    known: &Known,
    wanted: &Figures,
    board: &Arc<Board>,
) -> StreamVec<'scope, u64, ()> {
    let (scope, from_us) = (outcomes.scope(), known.from_us);
    let plan = Arc::new(wanted.plan.clone());
    let outcomes = outcomes.concat(past_outcomes(scope, known, board));
    let labels = controls.clone().flat_map(|controlled| match controlled.control {
        Control::Label(label) => Some(label),
        _ => None,
    });
    let lots = controls.clone().flat_map(
        |Controlled {
             camera,
             ordinal,
             control,
         }| match control {
            Control::LotStarted(lot) => Some(LotStarted { camera, ordinal, lot }),
            _ => None,
        },
    );
    let questions = controls.flat_map(
        |Controlled {
             camera,
             ordinal,
             control,
         }| match control {
            Control::WhatIf { name, threshold } => Some(AlternativeThreshold {
                camera,
                ordinal,
                name,
                threshold,
            }),
            _ => None,
        },
    );
    let labels = labels.concat(once(scope, &known.labels));
    let lots = lots.concat(once(scope, &known.lots));
    let changes = outcomes.match_labels(labels, plan.horizon_us);
    let all_rates = changes.clone().rates(lots.clone(), &plan);
    let told = board.clone();
    let rates = all_rates
        .clone()
        .filter(move |rate| rate.at_us >= from_us)
        .inspect(move |rate| {
            told.rate(rate);
            told.tell(|sink| sink.rate(rate));
        });
    let mut through = rates.flat_map(|_| None::<()>);
    if wanted.scores {
        let all_scores = changes.clone().score_rates(lots, &plan);
        let told = board.clone();
        let scores = all_scores
            .clone()
            .filter(move |rate| rate.at_us >= from_us)
            .inspect(move |rate| told.tell(|sink| sink.score_rate(rate)));
        let told = board.clone();
        let alerts = all_rates
            .alerts(
                all_scores,
                changes.clone(),
                wanted.rules.clone(),
                &plan,
                known.silences.clone(),
            )
            .filter(move |alert| alert.at_us >= from_us)
            .inspect(move |alert| told.tell(|sink| sink.alert(alert)));
        through = through
            .concat(scores.flat_map(|_| None))
            .concat(alerts.flat_map(|_| None));
    }
    if plan.horizon_us > 0 {
        let told = board.clone();
        let answers = changes
            .what_if(questions, plan.horizon_us)
            .filter(move |answer| answer.at_us >= from_us)
            .inspect(move |answer| told.tell(|sink| sink.what_if(answer)));
        through = through.concat(answers.flat_map(|_| None));
    }
    through
}

/// Tells the sinks what was said, in order; what is left is the progress of that. `change_of` says what a camera's setup changed.
pub(crate) fn said<'scope>(
    controls: StreamVec<'scope, u64, Controlled>,
    change_of: impl Fn(&str, u32) -> ChangeKind + 'static,
    board: &Arc<Board>,
) -> StreamVec<'scope, u64, ()> {
    let board = board.clone();
    // What a setup changed is known where its camera is.
    let told = controls.flat_map(
        move |Controlled {
                  camera,
                  ordinal,
                  control,
              }| {
            let told = match control {
                Control::Label(label) => Told::Label(label),
                Control::WhatIf { .. } => return None,
                Control::LotStarted(lot) => Told::Change(ChangeKind::Lot(lot)),
                Control::Setup(setup) => Told::Change(change_of(&camera, setup)),
            };
            Some((camera, ordinal, told))
        },
    );
    told.in_order(|(camera, ordinal, _)| (camera.clone(), *ordinal))
        .inspect_core(move |event| {
            let Ok((stamp, told)) = event else { return };
            let Some(&time_us) = stamp.least() else { return };
            for (camera, _, told) in told {
                let kind = match told {
                    Told::Label(label) => {
                        board.tell(|sink| sink.label(time_us, label));
                        continue;
                    }
                    Told::Change(kind) => kind.clone(),
                };
                let change = Change {
                    time_us,
                    camera: Some(camera.clone()),
                    kind,
                };
                board.tell(|sink| sink.change(&change));
            }
        })
        .flat_map(|_| None)
}

/// What the sinks are told of a control.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Told {
    Label(ArrivedLabel),
    Change(ChangeKind),
}

/// One worker tells the past.
fn past_outcomes<'scope>(
    scope: Scope<'scope, u64>,
    known: &Known,
    board: &Arc<Board>,
) -> StreamVec<'scope, u64, Outcome> {
    let mut pages = known.outcomes.lock().unwrap_or_else(PoisonError::into_inner).take();
    let board = board.clone();
    history(scope, move || {
        let page = pages.as_mut()?()?;
        let page = page.unwrap_or_else(|reason| {
            board.fail(reason);
            Vec::new()
        });
        Some(page.into_iter().map(|timed| (timed.time_us, timed.outcome)).collect())
    })
}

fn once<'scope, D: Clone + 'static>(
    scope: Scope<'scope, u64>,
    records: &Mutex<Vec<(u64, D)>>,
) -> StreamVec<'scope, u64, D> {
    let mut records = Some(std::mem::take(
        &mut *records.lock().unwrap_or_else(PoisonError::into_inner),
    ));
    history(scope, move || records.take().filter(|records| !records.is_empty()))
}
