//! Tells when nothing more can come before a time.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Watches the frontier.
pub trait Passed<'scope> {
    /// Calls `passed` on worker 0 whenever the frontier moves, with the time before which nothing more comes; at the end of the
    /// input with none. The frontier behind moves when the call has returned, so whoever waits for it waits for what `passed`
    /// does. Records stay here.
    fn passed(self, passed: impl FnMut(Option<u64>) + 'static) -> StreamVec<'scope, u64, ()>;
}

impl<'scope, D: 'static> Passed<'scope> for StreamVec<'scope, u64, D> {
    fn passed(self, mut passed: impl FnMut(Option<u64>) + 'static) -> StreamVec<'scope, u64, ()> {
        let first = self.scope().worker().index() == 0;
        self.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Passed", move |capability, _| {
            let mut capability = Some(capability);
            move |(input, frontier), _| {
                input.for_each(|_, records| records.clear());
                let Some(held) = capability.as_mut() else { return };
                match frontier.frontier().first().copied() {
                    Some(reached) if reached > *held.time() => {
                        if first {
                            passed(Some(reached));
                        }
                        held.downgrade(&reached);
                    }
                    Some(_) => {}
                    None => {
                        if first {
                            passed(None);
                        }
                        capability = None;
                    }
                }
            }
        })
    }
}
