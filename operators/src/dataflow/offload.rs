//! Runs heavy work of a stage on the process's pool.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam::channel::unbounded;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::{Latencies, Pool, Waker};

/// What the stages of a process share.
#[derive(Clone)]
pub struct Resources {
    /// Threads for heavy work.
    pub pool: Pool,
    /// A histogram per stage.
    pub latencies: Latencies,
}

impl Resources {
    /// A pool of `threads` and empty histograms.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn new(threads: usize) -> std::io::Result<Self> {
        Ok(Self {
            pool: Pool::new(threads)?,
            latencies: Latencies::default(),
        })
    }
}

/// Jobs an operator may have in the pool per pool thread: one that runs and one that is ready when it ends.
const JOBS_PER_THREAD: usize = 2;

/// Replaces every record by the result of `work` on it, computed on the pool.
pub trait Offload<'scope, D> {
    /// Results leave at the times of their records, in the order in which they become ready. A capability is held per
    /// record until its result is back, so the frontier waits for the pool. A panic in `work` is answered by `on_panic`
    /// with the panic's message: an unanswered job would hold the frontier for ever.
    ///
    /// ```
    /// use intakt_operators::dataflow::{Offload, Resources};
    /// use timely::dataflow::operators::{Inspect, vec::ToStream};
    ///
    /// let resources = Resources::new(2).unwrap();
    /// timely::execute_directly(move |worker| {
    ///     worker.dataflow::<u64, _, _>(|scope| {
    ///         (1..=3u64)
    ///             .to_stream(scope)
    ///             .offload("square", &resources, |x| x * x, |_, message| panic!("{message}"))
    ///             .inspect(|square| assert!([1, 4, 9].contains(square)));
    ///     });
    /// });
    /// ```
    fn offload<R: Send + 'static>(
        self,
        name: &str,
        resources: &Resources,
        work: impl Fn(&D) -> R + Send + Sync + 'static,
        on_panic: impl Fn(&D, String) -> R + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, R>;
}

impl<'scope, D: Send + 'static> Offload<'scope, D> for StreamVec<'scope, u64, D> {
    fn offload<R: Send + 'static>(
        self,
        name: &str,
        resources: &Resources,
        work: impl Fn(&D) -> R + Send + Sync + 'static,
        on_panic: impl Fn(&D, String) -> R + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, R> {
        self.on_pool(name, &resources.pool, move |record: &D| {
            answered(record, &work, &on_panic)
        })
    }
}

/// The result of `work`, or the answer to its panic.
pub(super) fn answered<D, R>(record: &D, work: impl Fn(&D) -> R, on_panic: impl Fn(&D, String) -> R) -> R {
    catch_unwind(AssertUnwindSafe(|| work(record))).unwrap_or_else(|panic| on_panic(record, message_of(panic.as_ref())))
}

/// [`Offload`] for work that answers its panics itself.
pub(super) trait OnPool<'scope, D> {
    /// As [`Offload::offload`]; `answer` must not panic.
    fn on_pool<R: Send + 'static>(
        self,
        name: &str,
        pool: &Pool,
        answer: impl Fn(&D) -> R + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, R>;
}

impl<'scope, D: Send + 'static> OnPool<'scope, D> for StreamVec<'scope, u64, D> {
    fn on_pool<R: Send + 'static>(
        self,
        name: &str,
        pool: &Pool,
        answer: impl Fn(&D) -> R + Send + Sync + 'static,
    ) -> StreamVec<'scope, u64, R> {
        let scope = self.scope();
        let (pool, answer) = (pool.clone(), Arc::new(answer));
        let jobs_max = pool.threads() * JOBS_PER_THREAD;
        self.unary::<CapacityContainerBuilder<Vec<R>>, _, _, _>(Pipeline, name, move |_, info| {
            let waker = Waker::new(scope.worker().sync_activator_for(info.address.to_vec()));
            let (reply, replies) = unbounded::<(u64, R)>();
            let mut waiting: VecDeque<(Capability<u64>, D)> = VecDeque::new();
            let mut out: BTreeMap<u64, Capability<u64>> = BTreeMap::new();
            let mut next_job = 0;
            move |input, output| {
                waker.disarm();
                input.for_each(|time, records| {
                    if let Some(capability) = time.retain_least(0) {
                        waiting.extend(records.drain(..).map(|record| (capability.clone(), record)));
                    }
                });
                while let Ok((job, result)) = replies.try_recv() {
                    let capability = out.remove(&job).expect("a job is answered once");
                    output.session(&capability).give(result);
                }
                while out.len() < jobs_max
                    && let Some((capability, record)) = waiting.pop_front()
                {
                    let (job, answer, reply, waker) = (next_job, answer.clone(), reply.clone(), waker.clone());
                    pool.submit(Box::new(move || {
                        let result = answer(&record);
                        // Before the reply, so that what the record holds (a credit) is free when the reply arrives, and nothing of
                        // the work is left when the dataflow has ended by it.
                        drop((record, answer));
                        // An error means that the dataflow was dropped: nobody waits for the result.
                        let _ = reply.send((job, result));
                        waker.wake();
                    }));
                    out.insert(job, capability);
                    next_job += 1;
                }
            }
        })
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use timely::dataflow::operators::vec::ToStream;
    use timely::dataflow::operators::{Inspect, Probe};

    use super::*;

    #[test]
    fn a_panic_in_the_pool_is_answered_and_does_not_hold_the_frontier() {
        let resources = Resources::new(2).unwrap();
        let results = Arc::new(Mutex::new(Vec::new()));
        let seen = results.clone();
        timely::execute_directly(move |worker| {
            let probe = worker.dataflow::<u64, _, _>(|scope| {
                (0..10u64)
                    .to_stream(scope)
                    .offload(
                        "divide",
                        &resources,
                        |x| {
                            assert!(*x != 7, "seven");
                            Ok(*x)
                        },
                        |x, message| Err(format!("{x}: {message}")),
                    )
                    .inspect(move |result: &Result<u64, String>| seen.lock().unwrap().push(result.clone()))
                    .probe()
                    .0
            });
            worker.step_or_park_while(None, || !probe.done());
        });
        let mut results = results.lock().unwrap().clone();
        results.sort();
        assert_eq!(results.len(), 10);
        assert_eq!(results.last(), Some(&Err("7: seven".to_owned())));
    }

    #[test]
    fn nothing_of_the_work_is_left_on_the_pool_when_the_dataflow_has_ended() {
        let resources = Resources::new(2).unwrap();
        for _ in 0..20_000 {
            let shared = Arc::new(());
            let (held, resources) = (shared.clone(), resources.clone());
            timely::execute_directly(move |worker| {
                worker.dataflow::<u64, _, _>(|scope| {
                    let work = move |_: &u64| drop(held.clone());
                    (0..4u64).to_stream(scope).offload("hold", &resources, work, |_, _| ());
                });
            });
            assert_eq!(Arc::strong_count(&shared), 1);
        }
    }
}
