//! Threads that run one network together, while nobody else needs their cores.
//!
//! Frames that are many run side by side, one thread each: nothing is faster. A frame that is alone is shared among the idle
//! cores. Helpers are started once and woken once per image, not once per layer: between layers all members meet at a barrier
//! that spins, because a layer takes less time than waking a thread.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, Thread};

/// Turns of a loop that a waiting thread spins before it lets others run: some tens of microseconds.
const SPINS: usize = 2_000;

/// Names of helpers begin so. A panic of theirs is the caller's, too.
pub const HELPER_THREAD_PREFIX: &str = "helper-";

/// What the members do together: called once per member.
type Work<'a> = &'a (dyn Fn(usize, &Barrier) + Sync);

/// A team of the calling thread and helpers.
pub struct Team {
    helpers: Vec<Helper>,
    /// Used again and again; a thread that is alone needs none.
    meeting: Option<Arc<Meeting>>,
}

struct Helper {
    orders: Arc<Orders>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

/// What a helper is to do next.
#[derive(Default)]
struct Orders {
    next: Mutex<Option<Order>>,
    waiting: AtomicBool,
    ended: AtomicBool,
}

struct Order {
    work: Work<'static>,
    meeting: Arc<Meeting>,
    member: usize,
}

/// The piece of work that all members do.
#[derive(Default)]
struct Meeting {
    barrier: Barrier,
    at_work: AtomicUsize,
}

/// Where members wait for each other.
#[derive(Default)]
pub(super) struct Barrier {
    members: AtomicUsize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    /// Makes it ready for so many members. Nobody waits there.
    fn reset(&self, members: usize) {
        self.members.store(members, Ordering::Relaxed);
        // Not zero where a member panicked.
        self.arrived.store(0, Ordering::Relaxed);
        self.broken.store(false, Ordering::Relaxed);
    }

    pub(super) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    /// Returns when all members have arrived. What they did before is seen by all after.
    ///
    /// Panics if one of them has panicked.
    pub(super) fn wait(&self) {
        let round = self.round.load(Ordering::Relaxed);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.members() {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            return;
        }
        spin_until(|| self.round.load(Ordering::Acquire) != round || self.broken.load(Ordering::Acquire));
        assert!(
            !self.broken.load(Ordering::Acquire),
            "another member of the team panicked"
        );
    }
}

impl Team {
    /// A team of so many threads, the calling one included.
    ///
    /// Panics where the system gives no thread.
    pub fn new(threads: usize) -> Self {
        let helper = |at: usize| {
            let orders = Arc::new(Orders::default());
            let own = orders.clone();
            let builder = Builder::new().name(format!("{HELPER_THREAD_PREFIX}{at}"));
            let handle = builder
                .spawn(move || help(&own))
                .expect("the system gives a thread per core");
            Helper {
                orders,
                thread: handle.thread().clone(),
                handle: Some(handle),
            }
        };
        Self {
            helpers: (1..threads).map(helper).collect(),
            meeting: (threads > 1).then(Arc::default),
        }
    }

    /// Threads of the team.
    pub fn threads(&self) -> usize {
        1 + self.helpers.len()
    }

    /// Lets the first `members` threads do `work`, and returns when all are done.
    ///
    /// Panics if one of them does.
    pub(super) fn run(&mut self, members: usize, work: Work<'_>) {
        let members = members.clamp(1, self.threads());
        let Some(meeting) = self.meeting.as_ref().filter(|_| members > 1) else {
            let alone = Barrier::default();
            alone.reset(1);
            return work(0, &alone);
        };
        // No helper is at work: each has ended what it was told before, and hears of this by its orders.
        meeting.barrier.reset(members);
        meeting.at_work.store(members - 1, Ordering::Relaxed);
        // SAFETY: only the lifetime changes, and nobody uses `work` when this function ends: it waits until `at_work` is zero, which
        // every helper lets happen after its last use, also when it panics.
        let lasting = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        for (helper, member) in self.helpers.iter().zip(1..members) {
            helper.tell(Order {
                work: lasting,
                meeting: meeting.clone(),
                member,
            });
        }
        let own = catch_unwind(AssertUnwindSafe(|| work(0, &meeting.barrier)));
        if own.is_err() {
            meeting.barrier.broken.store(true, Ordering::Release);
        }
        spin_until(|| meeting.at_work.load(Ordering::Acquire) == 0);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(
            !meeting.barrier.broken.load(Ordering::Acquire),
            "a member of the team panicked"
        );
    }
}

impl Helper {
    fn tell(&self, order: Order) {
        *lock(&self.orders.next) = Some(order);
        self.orders.waiting.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// What a helper does until the team is gone.
fn help(orders: &Orders) {
    while !orders.ended.load(Ordering::Acquire) {
        let mut spins = 0;
        while !orders.waiting.swap(false, Ordering::AcqRel) {
            if orders.ended.load(Ordering::Acquire) {
                return;
            }
            spins += 1;
            // A token that is left over from before wakes it once in vain.
            if spins > SPINS {
                std::thread::park()
            } else {
                std::hint::spin_loop()
            }
        }
        let Some(Order { work, meeting, member }) = lock(&orders.next).take() else {
            continue;
        };
        if catch_unwind(AssertUnwindSafe(|| work(member, &meeting.barrier))).is_err() {
            meeting.barrier.broken.store(true, Ordering::Release);
        }
        meeting.at_work.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        for helper in &mut self.helpers {
            helper.orders.ended.store(true, Ordering::Release);
            helper.thread.unpark();
            // A helper catches all panics, so it ends by itself.
            let _ = helper.handle.take().map(JoinHandle::join);
        }
    }
}

fn spin_until(done: impl Fn() -> bool) {
    let mut spins = 0;
    while !done() {
        spins += 1;
        if spins > SPINS {
            std::thread::yield_now()
        } else {
            std::hint::spin_loop()
        }
    }
}

/// What is behind it, also after a panic: what is left there is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_meet_between_steps() {
        let mut team = Team::new(3);
        for members in [1, 2, 3, 5] {
            let steps = [const { AtomicUsize::new(0) }; 20];
            team.run(members, &|_, barrier| {
                for step in &steps {
                    step.fetch_add(1, Ordering::Relaxed);
                    barrier.wait();
                    assert_eq!(step.load(Ordering::Relaxed), barrier.members());
                }
            });
        }
    }

    #[test]
    fn a_panic_of_any_member_is_the_callers() {
        for panicking in 0..2 {
            let mut team = Team::new(2);
            let ran = catch_unwind(AssertUnwindSafe(|| {
                team.run(2, &|member, barrier| {
                    assert_ne!(member, panicking, "as asked for");
                    barrier.wait();
                });
            }));
            assert!(ran.is_err());
            // The team goes on.
            team.run(2, &|_, barrier| barrier.wait());
        }
    }
}
