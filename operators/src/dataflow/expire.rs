//! Collections whose records leave a sliding window by themselves.
//!
//! Not by retractions dated into the future: differential's batcher scans everything it holds whenever the frontier moves,
//! so that would be quadratic. Here a retraction waits in a map keyed by hop and enters differential when it is due.

use std::collections::BTreeMap;

use differential_dataflow::difference::Abelian;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Turns records into updates that expire.
pub trait Expire<'scope, D, R> {
    /// For every `(data, time, diff)`: `+diff` at the end of the hop that holds `time`, and `-diff` one window later. Both
    /// leave at those times, when the frontier has reached them. At the end of the input nothing expires, because the end
    /// of a stream is not the passing of time. The state is one entry per distinct record and hop.
    fn expire(self, window_us: u64, hop_us: u64) -> StreamVec<'scope, u64, (D, u64, R)>;
}

impl<'scope, D: Ord + Clone + 'static, R: Abelian + Clone + 'static> Expire<'scope, D, R>
    for StreamVec<'scope, u64, (D, u64, R)>
{
    fn expire(self, window_us: u64, hop_us: u64) -> StreamVec<'scope, u64, (D, u64, R)> {
        type Builder<D, R> = CapacityContainerBuilder<Vec<(D, u64, R)>>;
        self.unary_frontier::<Builder<D, R>, _, _, _>(Pipeline, "Expire", move |capability, _| {
            let mut capability = Some(capability);
            let mut due: BTreeMap<u64, BTreeMap<D, R>> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|_, updates| {
                    for (data, time, diff) in updates.drain(..) {
                        let enters_at = time / hop_us * hop_us + hop_us;
                        let mut negated = diff.clone();
                        negated.negate();
                        add(&mut due, enters_at + window_us, data.clone(), negated);
                        add(&mut due, enters_at, data, diff);
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
                        .give_iterator(updates.map(|(data, diff)| (data, at, diff)));
                }
                // Up to the frontier itself, not floored to the hop: a source that waits for a probe would stall.
                held.downgrade(&reached.max(*held.time()));
            }
        })
    }
}

fn add<D: Ord, R: Abelian>(due: &mut BTreeMap<u64, BTreeMap<D, R>>, at: u64, data: D, diff: R) {
    use std::collections::btree_map::Entry;
    match due.entry(at).or_default().entry(data) {
        Entry::Vacant(vacant) => drop(vacant.insert(diff)),
        Entry::Occupied(mut occupied) => occupied.get_mut().plus_equals(&diff),
    }
}
