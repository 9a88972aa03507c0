//! What replaced what, when it can no longer change.

use std::collections::BTreeMap;

use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

/// By key: what is taken back and what is stated instead. A count that is only taken back has become zero.
pub(super) type Replaced<K, R> = BTreeMap<K, (Option<R>, Option<R>)>;

/// Collects the retractions and assertions of a time.
pub(super) trait Settle<'scope, K, R> {
    /// Sends all changes to worker 0. When the frontier has passed a time, `publish` gets the changes of that time, and what it
    /// returns leaves at that time. It is called in order of time.
    fn settle<O: Clone + 'static>(
        self,
        name: &str,
        publish: impl FnMut(u64, Replaced<K, R>) -> Vec<O> + 'static,
    ) -> StreamVec<'scope, u64, O>;
}

impl<'scope, K: ExchangeData + Ord, R: ExchangeData> Settle<'scope, K, R>
    for StreamVec<'scope, u64, ((K, R), u64, isize)>
{
    fn settle<O: Clone + 'static>(
        self,
        name: &str,
        mut publish: impl FnMut(u64, Replaced<K, R>) -> Vec<O> + 'static,
    ) -> StreamVec<'scope, u64, O> {
        type Open<K, R> = BTreeMap<u64, (Capability<u64>, Replaced<K, R>)>;
        let to_first = Exchange::new(|_: &((K, R), u64, isize)| 0);
        self.unary_frontier::<CapacityContainerBuilder<Vec<O>>, _, _, _>(to_first, name, move |_, _| {
            let mut open: Open<K, R> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|stamp, changes| {
                    // By the change's own time: differential sends changes of many times in one message.
                    for ((key, value), time, diff) in changes.drain(..) {
                        let at = open.entry(time);
                        let (_, replaced) = at.or_insert_with(|| (stamp.delayed(&time, 0), BTreeMap::new()));
                        let (before, after) = replaced.entry(key).or_insert((None, None));
                        *(if diff > 0 { after } else { before }) = Some(value);
                    }
                });
                while let Some(entry) = open.first_entry()
                    && !frontier.less_equal(entry.key())
                {
                    let (at_us, (capability, replaced)) = entry.remove_entry();
                    output
                        .session(&capability)
                        .give_iterator(publish(at_us, replaced).into_iter());
                }
            }
        })
    }
}
