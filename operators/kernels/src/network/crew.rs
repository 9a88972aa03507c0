//! Who helps: the cores that a pool of threads leaves idle.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, TryLockError};

use super::Team;
use super::team::lock;

/// The cores of a pool of threads. What runs on one of its threads (a network, a search, a decoder) is helped by a team while others have nothing to
/// do, so that a frame that comes alone is ready sooner; frames that come together run side by side, which is faster in sum.
pub struct Crew {
    threads: usize,
    at_work: AtomicUsize,
    team: Mutex<Team>,
}

/// A thread of the pool at work, until it is dropped. It stays on that thread.
pub struct AtWork<'a> {
    crew: &'a Crew,
    /// For whom the thread was at work before.
    before: Option<Arc<Crew>>,
    of_thread: PhantomData<*const ()>,
}

thread_local! {
    /// The crew of the pool that this thread is at work for.
    static CREW: RefCell<Option<Arc<Crew>>> = const { RefCell::new(None) };
}

impl Crew {
    /// For a pool of so many threads; helpers are started here.
    ///
    /// Panics where the system gives no thread.
    pub fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            threads,
            at_work: AtomicUsize::new(0),
            team: Mutex::new(Team::new(threads)),
        })
    }

    /// The calling thread, which is one of the pool's, begins with a piece of work.
    pub fn begin(self: &Arc<Self>) -> AtWork<'_> {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork {
            crew: self,
            before: CREW.replace(Some(self.clone())),
            of_thread: PhantomData,
        }
    }

    /// Threads that the caller may run a network on, itself included.
    fn free(&self) -> usize {
        1 + self.threads.saturating_sub(self.at_work.load(Ordering::Relaxed))
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.crew.at_work.fetch_sub(1, Ordering::Relaxed);
        CREW.set(self.before.take());
    }
}

/// Lets `work` have a team and says how many of it are idle: the calling thread alone, where it belongs to no pool, or others are
/// at work or have the team already.
pub(super) fn with_idle<R>(work: impl FnOnce(&mut Team, usize) -> R) -> R {
    let crew = CREW.with_borrow(Option::clone);
    let Some(crew) = crew.filter(|crew| crew.free() > 1) else {
        return work(&mut Team::new(1), 1);
    };
    match crew.team.try_lock() {
        Ok(mut team) => work(&mut team, crew.free()),
        // A panic of a member was the caller's; the team itself goes on.
        Err(TryLockError::Poisoned(team)) => work(&mut team.into_inner(), crew.free()),
        Err(TryLockError::WouldBlock) => work(&mut Team::new(1), 1),
    }
}

/// Does `work` with each part of a whole, one per idle thread of the calling thread's [`Crew`]; `cut` is told how many may be at work,
/// itself included, and makes so many parts or fewer.
///
/// Panics if it makes more, or if `work` does.
pub fn share<P: Send>(cut: impl FnOnce(usize) -> Vec<P>, work: impl Fn(P) + Sync) {
    with_idle(|team, threads| {
        let parts: Vec<_> = cut(threads).into_iter().map(|part| Mutex::new(Some(part))).collect();
        assert!(
            parts.len() <= threads.min(team.threads()),
            "a part for every thread at most"
        );
        team.run(parts.len(), &|member, _| {
            // Without any part the caller itself has nothing to do.
            let Some(part) = parts.get(member) else { return };
            let part = lock(part).take();
            part.into_iter().for_each(&work);
        });
    });
}

/// Items that may be ahead of those that are taken.
const AHEAD: usize = 4;

/// Lets `take` have the `items`, one after the other: while the calling thread makes the next ones, an idle thread of its
/// [`Crew`] takes them, where there is one.
///
/// Panics if either does.
pub fn pipelined<T: Send>(items: impl Iterator<Item = T> + Send, take: impl FnMut(T) + Send) {
    with_idle(|team, threads| {
        if threads.min(team.threads()) < 2 {
            return items.for_each(take);
        }
        let (sender, receiver) = sync_channel(AHEAD);
        let (making, taking) = (Mutex::new(Some((items, sender))), Mutex::new(Some((take, receiver))));
        team.run(2, &|member, _| {
            // What a member has taken out ends with it, also when it panics: then the other's end of the channel is closed.
            if member == 0 {
                let made = lock(&making).take();
                if let Some((mut items, sender)) = made {
                    // Nobody takes any more where the other has panicked.
                    let _ = items.try_for_each(|item| sender.send(item));
                }
            } else {
                let taken = lock(&taking).take();
                if let Some((take, receiver)) = taken {
                    receiver.into_iter().for_each(take);
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_taken_in_their_order_beside_or_by_the_same_thread() {
        for threads in [1, 2, 3] {
            let crew = Crew::new(threads);
            let _at_work = crew.begin();
            let (mut taken, mut by) = (Vec::new(), Vec::new());
            pipelined(0..100, |item| {
                taken.push(item);
                by.push(std::thread::current().id());
            });
            assert_eq!(taken, Vec::from_iter(0..100));
            let is_beside = by[0] != std::thread::current().id();
            assert_eq!(is_beside, threads > 1);
        }
    }

    #[test]
    fn a_panic_on_either_side_ends_both() {
        let crew = Crew::new(2);
        let _at_work = crew.begin();
        let panics = |making, taking| {
            let run = || {
                let items = (0..100).inspect(|item| assert_ne!(*item, making, "as asked for"));
                pipelined(items, |item| assert_ne!(item, taking, "as asked for"));
            };
            std::panic::catch_unwind(run).is_err()
        };
        assert!(panics(50, -1));
        assert!(panics(-1, 50));
        assert!(!panics(-1, -1), "the team goes on");
    }

    #[test]
    fn idle_threads_help_and_busy_ones_do_not() {
        let idle = || with_idle(|team, threads| (team.threads(), threads));
        assert_eq!(idle(), (1, 1), "this thread belongs to no pool");
        let crew = Crew::new(3);
        let first = crew.begin();
        assert_eq!(idle(), (3, 3));
        let second = crew.begin();
        assert_eq!(idle(), (3, 2));
        let third = crew.begin();
        assert_eq!(idle(), (1, 1));
        drop(third);
        drop(second);
        drop(first);
        assert_eq!(idle(), (1, 1), "this thread has done its work for the pool");
        let done = AtomicUsize::new(0);
        let once = |_| {
            done.fetch_add(1, Ordering::Relaxed);
        };
        share(|threads| vec![(); threads], once);
        assert_eq!(done.swap(0, Ordering::Relaxed), 1);
        let _again = crew.begin();
        share(|threads| vec![(); threads], once);
        assert_eq!(done.load(Ordering::Relaxed), 3, "every part is somebody's");
        with_idle(|_, _| assert_eq!(idle(), (1, 1), "one network has the team"));
    }
}
