//! Adds up what changes within a hop, so that what comes behind works once a hop and not once a frame.

use std::collections::BTreeMap;

use differential_dataflow::difference::Semigroup;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Adds changes up per hop.
pub(super) trait PerHop<'scope, D, R> {
    /// Replaces the changes of a hop by one per distinct record, dated at the hop's start. They leave with the time of the hop's
    /// end, when the frontier has reached it. Nothing is held back within the hop, so that what is joined with the changes
    /// need not wait for its end.
    fn per_hop(self, hop_us: u64) -> StreamVec<'scope, u64, (D, u64, R)>;
}

impl<'scope, D: Ord + 'static, R: Semigroup + 'static> PerHop<'scope, D, R> for StreamVec<'scope, u64, (D, u64, R)> {
    fn per_hop(self, hop_us: u64) -> StreamVec<'scope, u64, (D, u64, R)> {
        type Builder<D, R> = CapacityContainerBuilder<Vec<(D, u64, R)>>;
        self.unary_frontier::<Builder<D, R>, _, _, _>(Pipeline, "PerHop", move |capability, _| {
            let mut capability = Some(capability);
            let mut hops: BTreeMap<u64, BTreeMap<D, R>> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|_, updates| {
                    for (data, time, diff) in updates.drain(..) {
                        use std::collections::btree_map::Entry;
                        match hops.entry(time / hop_us * hop_us).or_default().entry(data) {
                            Entry::Vacant(vacant) => drop(vacant.insert(diff)),
                            Entry::Occupied(mut occupied) => occupied.get_mut().plus_equals(&diff),
                        }
                    }
                });
                let Some(held) = capability.as_mut() else { return };
                let reached = frontier.frontier().first().map(|reached| reached / hop_us * hop_us);
                while let Some(entry) = hops.first_entry()
                    && reached.is_none_or(|reached| *entry.key() < reached)
                {
                    let (hop, updates) = entry.remove_entry();
                    held.downgrade(&hop.saturating_add(hop_us));
                    let updates = updates.into_iter().filter(|(_, diff)| !diff.is_zero());
                    output
                        .session(held)
                        .give_iterator(updates.map(|(data, diff)| (data, hop, diff)));
                }
                match reached {
                    Some(reached) => held.downgrade(&reached.saturating_add(hop_us)),
                    None => capability = None,
                }
            }
        })
    }
}
