//! Tells when nothing more can come before a time.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Watches the frontier.
pub trait Passed<'scope> {
    /// Calls `passed` on worker 0 whenever the frontier of both streams moves, with the time before which nothing more comes. The
    /// frontier behind moves when the call has returned, so whoever waits for it waits for what `passed` does. Records stay
    /// here.
    ///
    /// `ahead` may be ahead of time, such as figures that are known before their window ends: when this stream has ended, what
    /// `ahead` says of time is nothing that has happened.
    fn passed<A: 'static>(
        self,
        ahead: StreamVec<'scope, u64, A>,
        passed: impl FnMut(u64) + 'static,
    ) -> StreamVec<'scope, u64, ()>;
}

impl<'scope, D: 'static> Passed<'scope> for StreamVec<'scope, u64, D> {
    fn passed<A: 'static>(
        self,
        ahead: StreamVec<'scope, u64, A>,
        mut passed: impl FnMut(u64) + 'static,
    ) -> StreamVec<'scope, u64, ()> {
        let first = self.scope().worker().index() == 0;
        type Builder = CapacityContainerBuilder<Vec<()>>;
        self.binary_frontier::<_, Builder, _, _, _, _>(ahead, Pipeline, Pipeline, "Passed", move |capability, _| {
            let mut capability = Some(capability);
            move |(input, frontier), (ahead, ahead_frontier), _| {
                input.for_each(|_, records| records.clear());
                ahead.for_each(|_, records| records.clear());
                let Some(held) = capability.as_mut() else { return };
                let ahead_us = ahead_frontier.frontier().first().copied();
                let Some(own_us) = frontier.frontier().first().copied() else {
                    if ahead_us.is_none() {
                        capability = None;
                    }
                    return;
                };
                let reached_us = ahead_us.map_or(own_us, |ahead_us| ahead_us.min(own_us));
                if reached_us > *held.time() {
                    if first {
                        passed(reached_us);
                    }
                    held.downgrade(&reached_us);
                }
            }
        })
    }
}
