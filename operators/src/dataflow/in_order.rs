//! Brings the records of all workers into one order.

use std::collections::BTreeMap;

use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use super::Wire;

/// Sends every record to worker 0, where they leave in the order of their time and key.
pub trait InOrder<'scope, D> {
    /// A record leaves at its own time, when the frontier has passed that time: then no earlier one can follow. Keys must
    /// tell the records of one time apart.
    fn in_order<K: Ord + 'static>(self, key: impl Fn(&D) -> K + 'static) -> StreamVec<'scope, u64, D>;
}

impl<'scope, D: ExchangeData> InOrder<'scope, D> for StreamVec<'scope, u64, D> {
    fn in_order<K: Ord + 'static>(self, key: impl Fn(&D) -> K + 'static) -> StreamVec<'scope, u64, D> {
        type Held<K, D> = BTreeMap<u64, (Capability<u64>, BTreeMap<K, D>)>;
        let to_first = Exchange::new(|_: &Wire<D>| 0);
        let sent = self.map(Wire);
        sent.unary_frontier::<CapacityContainerBuilder<Vec<D>>, _, _, _>(to_first, "InOrder", move |_, _| {
            let mut held: Held<K, D> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|time, records| {
                    let Some(capability) = time.retain_least(0) else { return };
                    let (_, slot) = held
                        .entry(*capability.time())
                        .or_insert_with(|| (capability, BTreeMap::new()));
                    for Wire(record) in records.drain(..) {
                        let earlier = slot.insert(key(&record), record);
                        assert!(earlier.is_none(), "two records of one time share a key");
                    }
                });
                while let Some(entry) = held.first_entry()
                    && !frontier.less_equal(entry.key())
                {
                    let (capability, records) = entry.remove();
                    output.session(&capability).give_iterator(records.into_values());
                }
            }
        })
    }
}
