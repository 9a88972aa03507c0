//! Collections whose records leave a window by themselves.
//!
//! Not by retractions dated into the future: differential's batcher scans everything it holds whenever the frontier moves,
//! so that would be quadratic. Here an update waits in a map keyed by time and enters differential when it is due.

use std::collections::BTreeMap;
use std::ops::Range;

use differential_dataflow::difference::Abelian;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Turns records into updates that expire.
pub trait Expire<'scope, D, R> {
    /// For every `(data, time, diff)`, `stays` names keys and for how long each is there: `+diff` at the start of that span and
    /// `-diff` at its end. Both leave at those times, when the frontier has reached them; a span must not start before
    /// `time`. At the end of the input nothing expires, because the end of a stream is not the passing of time; what has not
    /// entered by then enters under the key that `at_end` makes of its own, if it makes any. The state is one entry per
    /// distinct key and time at which something is due.
    fn expire<K: Ord + Clone + 'static>(
        self,
        stays: impl Fn(D, u64, &mut dyn FnMut(K, Range<u64>)) + 'static,
        at_end: impl Fn(K) -> Option<K> + 'static,
    ) -> StreamVec<'scope, u64, (K, u64, R)>;
}

impl<'scope, D: 'static, R: Abelian + Clone + 'static> Expire<'scope, D, R> for StreamVec<'scope, u64, (D, u64, R)> {
    fn expire<K: Ord + Clone + 'static>(
        self,
        stays: impl Fn(D, u64, &mut dyn FnMut(K, Range<u64>)) + 'static,
        at_end: impl Fn(K) -> Option<K> + 'static,
    ) -> StreamVec<'scope, u64, (K, u64, R)> {
        type Builder<K, R> = CapacityContainerBuilder<Vec<(K, u64, R)>>;
        self.unary_frontier::<Builder<K, R>, _, _, _>(Pipeline, "Expire", move |capability, _| {
            let mut capability = Some(capability);
            let mut due = Due::default();
            move |(input, frontier), output| {
                input.for_each(|_, updates| {
                    for (data, time, diff) in updates.drain(..) {
                        stays(data, time, &mut |key, span| due.add(key, span, &diff));
                    }
                });
                let reached = frontier.frontier().first().copied();
                let Some(held) = capability.as_mut() else { return };
                while let Some((at, updates)) = due.next(reached, &at_end) {
                    held.downgrade(&at.max(*held.time()));
                    let updates = updates.into_iter().filter(|(_, diff)| !diff.is_zero());
                    output
                        .session(held)
                        .give_iterator(updates.map(|(key, diff)| (key, at, diff)));
                }
                match reached {
                    // Up to the frontier itself, not floored to the hop: a source that waits for a probe would stall.
                    Some(reached) => held.downgrade(&reached.max(*held.time())),
                    None => capability = None,
                }
            }
        })
    }
}

/// By time and key, what enters and what leaves.
struct Due<K, R>(BTreeMap<u64, Updates<K, R>>);

type Updates<K, R> = BTreeMap<K, (Option<R>, Option<R>)>;

impl<K, R> Default for Due<K, R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone, R: Abelian + Clone> Due<K, R> {
    fn add(&mut self, key: K, span: Range<u64>, diff: &R) {
        if span.start >= span.end {
            return;
        }
        let mut negated = diff.clone();
        negated.negate();
        let (_, leaves) = self.0.entry(span.end).or_default().entry(key.clone()).or_default();
        add(leaves, &negated);
        let (enters, _) = self.0.entry(span.start).or_default().entry(key).or_default();
        add(enters, diff);
    }

    /// The next time that was reached, with the updates of it; after the end of the input the next time at which something
    /// would have entered.
    fn next(&mut self, reached: Option<u64>, at_end: &impl Fn(K) -> Option<K>) -> Option<(u64, Vec<(K, R)>)> {
        let entry = self
            .0
            .first_entry()
            .filter(|entry| reached.is_none_or(|reached| *entry.key() <= reached))?;
        let (at, updates) = entry.remove_entry();
        let update = |(key, (enters, leaves)): (K, (Option<R>, Option<R>))| match reached {
            Some(_) => {
                let mut diff = enters;
                leaves.iter().for_each(|leaves| add(&mut diff, leaves));
                Some((key, diff?))
            }
            None => Some((at_end(key)?, enters?)),
        };
        Some((at, updates.into_iter().filter_map(update).collect()))
    }
}

fn add<R: Abelian + Clone>(sum: &mut Option<R>, diff: &R) {
    match sum {
        Some(sum) => sum.plus_equals(diff),
        None => *sum = Some(diff.clone()),
    }
}
