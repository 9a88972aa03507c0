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
    /// `time`. At the end of the input nothing more enters or expires, because the end of a stream is not the passing of
    /// time. The state is one entry per distinct key and time at which something is due.
    fn expire<K: Ord + Clone + 'static>(
        self,
        stays: impl Fn(D, u64, &mut dyn FnMut(K, Range<u64>)) + 'static,
    ) -> StreamVec<'scope, u64, (K, u64, R)>;
}

impl<'scope, D: 'static, R: Abelian + Clone + 'static> Expire<'scope, D, R> for StreamVec<'scope, u64, (D, u64, R)> {
    fn expire<K: Ord + Clone + 'static>(
        self,
        stays: impl Fn(D, u64, &mut dyn FnMut(K, Range<u64>)) + 'static,
    ) -> StreamVec<'scope, u64, (K, u64, R)> {
        type Builder<K, R> = CapacityContainerBuilder<Vec<(K, u64, R)>>;
        self.unary_frontier::<Builder<K, R>, _, _, _>(Pipeline, "Expire", move |capability, _| {
            let mut capability = Some(capability);
            let mut due: BTreeMap<u64, BTreeMap<K, R>> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|_, updates| {
                    for (data, time, diff) in updates.drain(..) {
                        let mut negated = diff.clone();
                        negated.negate();
                        stays(data, time, &mut |key, span| {
                            if span.start < span.end {
                                add(&mut due, span.end, key.clone(), &negated);
                                add(&mut due, span.start, key, &diff);
                            }
                        });
                    }
                });
                let Some(reached) = frontier.frontier().first().copied() else {
                    due.clear();
                    capability = None;
                    return;
                };
                let Some(held) = capability.as_mut() else { return };
                while let Some(entry) = due.first_entry()
                    && *entry.key() <= reached
                {
                    let (at, updates) = entry.remove_entry();
                    held.downgrade(&at.max(*held.time()));
                    let updates = updates.into_iter().filter(|(_, diff)| !diff.is_zero());
                    output
                        .session(held)
                        .give_iterator(updates.map(|(key, diff)| (key, at, diff)));
                }
                // Up to the frontier itself, not floored to the hop: a source that waits for a probe would stall.
                held.downgrade(&reached.max(*held.time()));
            }
        })
    }
}

fn add<K: Ord, R: Abelian + Clone>(due: &mut BTreeMap<u64, BTreeMap<K, R>>, at: u64, key: K, diff: &R) {
    use std::collections::btree_map::Entry;
    match due.entry(at).or_default().entry(key) {
        Entry::Vacant(vacant) => drop(vacant.insert(diff.clone())),
        Entry::Occupied(mut occupied) => occupied.get_mut().plus_equals(diff),
    }
}
