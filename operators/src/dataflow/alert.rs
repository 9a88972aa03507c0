//! Alerts on rates, drift and silence.

use std::collections::BTreeMap;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use super::alert_book::{Alert, AlertBook, KnownSilences, Seen};
use super::{FrameChange, HOP_US, Rate, RatePlan, Scope, ScoreRate, Wire};
use crate::metrics::AlertRule;

/// Watches rates.
pub trait Alerts<'scope> {
    /// What happens to alerts, on worker 0, at the time it happens, in order of time, rule and scope. A rule is about every scope
    /// by itself, and is looked at whenever its sliding window, which must be in the plan, moves, or a shift or lot ends;
    /// silence is counted in
    /// hops of event time, so it takes other cameras (or a source's idle timeout) to move on. When `changes` correct the
    /// window an alert opened on and the rule did not hold there after all, the alert is retracted, within the horizon of
    /// the plan. Labels do not change how frames scored, so alerts on drift are not retracted. Rules come as they were
    /// written and as they were read. `known` is what is known about silence, where a run goes on.
    fn alerts(
        self,
        scores: StreamVec<'scope, u64, ScoreRate>,
        changes: StreamVec<'scope, u64, FrameChange>,
        rules: Vec<(Arc<str>, AlertRule)>,
        plan: &Arc<RatePlan>,
        known: Option<KnownSilences>,
    ) -> StreamVec<'scope, u64, Alert>;
}

impl<'scope> Alerts<'scope> for StreamVec<'scope, u64, Rate> {
    fn alerts(
        self,
        scores: StreamVec<'scope, u64, ScoreRate>,
        changes: StreamVec<'scope, u64, FrameChange>,
        rules: Vec<(Arc<str>, AlertRule)>,
        plan: &Arc<RatePlan>,
        known: Option<KnownSilences>,
    ) -> StreamVec<'scope, u64, Alert> {
        let (expected, horizon_us) = (plan.cameras.clone(), plan.horizon_us);
        let rates = self.map(|rate| Wire((rate.at_us, Seen::Rate(rate))));
        let scores = scores.map(|rate| Wire((rate.at_us, Seen::Scores(rate))));
        let counted = counted(changes, plan.clone()).map(Wire);
        let [to_first, figures_to_first] = [(); 2].map(|()| Exchange::new(|_: &Wire<(u64, Seen)>| 0));
        let figures = rates.concat(scores);
        type Builder = CapacityContainerBuilder<Vec<Alert>>;
        counted.binary_frontier::<_, Builder, _, _, _, _>(
            figures,
            to_first,
            figures_to_first,
            "Alert",
            |capability, _| {
                let mut capability = Some(capability);
                let mut book = AlertBook::new(rules, expected, horizon_us);
                if let Some(known) = known {
                    book = book.going_on(known);
                }
                let mut waiting: BTreeMap<u64, Vec<Seen>> = BTreeMap::new();
                let mut last_us = 0;
                move |(counted, frontier), (figures, figures_frontier), output| {
                    let mut take = |records: &mut Vec<Wire<(u64, Seen)>>| {
                        for Wire((at_us, seen)) in records.drain(..) {
                            waiting.entry(at_us).or_default().push(seen);
                        }
                    };
                    counted.for_each(|_, records| take(records));
                    figures.for_each(|_, records| take(records));
                    let Some(held) = capability.as_mut() else { return };
                    let figures_us = figures_frontier.frontier().first().copied();
                    let reached = frontier.frontier().first().copied();
                    if reached.is_none() && figures_us.is_some() {
                        // Figures of windows that the end of the run leaves open are ahead of time, and that has not happened.
                        return;
                    }
                    let reached =
                        reached.map(|reached| figures_us.map_or(reached, |figures_us| figures_us.min(reached)));
                    // At the end of the input windows are told that have not ended: nobody is to be alarmed about the future.
                    let before_us = reached.unwrap_or(last_us + 1);
                    last_us = reached.unwrap_or(last_us);
                    loop {
                        // At the end of the input nobody is silent: the end of a stream is not the passing of time.
                        let silence = book.next_silence_us().filter(|_| reached.is_some());
                        let next = [waiting.keys().next().copied(), silence].into_iter().flatten().min();
                        let Some(at_us) = next.filter(|&next| next < before_us) else {
                            break;
                        };
                        held.downgrade(&at_us);
                        let alerts = book.at(at_us, &waiting.remove(&at_us).unwrap_or_default());
                        output.session(held).give_iterator(alerts.into_iter());
                    }
                    match reached {
                        Some(reached) => held.downgrade(&reached.max(*held.time())),
                        None => capability = None,
                    }
                }
            },
        )
    }
}

/// Changes of counts, at the hop's end: that is when rates contain them. Of new frames only the camera matters, for silence.
fn counted<'scope>(
    changes: StreamVec<'scope, u64, FrameChange>,
    plan: Arc<RatePlan>,
) -> StreamVec<'scope, u64, (u64, Seen)> {
    changes.flat_map(move |change| {
        let new = change.hop_us == change.at_us;
        let scopes = plan
            .scopes(&change.camera)
            .filter(move |scope| !new || matches!(scope, Scope::Camera(_)));
        scopes.map(move |scope| {
            let seen = Seen::Change {
                scope,
                hop_us: change.hop_us,
                new,
                tally: change.tally,
            };
            (change.at_us + HOP_US, seen)
        })
    })
}

#[cfg(test)]
#[path = "alert_tests.rs"]
mod tests;
