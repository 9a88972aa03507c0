//! Which threads the system lets go first.

/// Lets every other thread go before the calling one: it has a core while nobody else wants it, which may be never. A low priority would not
/// do: what runs is left its turn by Linux, some milliseconds, whoever wakes up meanwhile, unless it is idle by its policy. It must hold no lock
/// that another thread takes. Elsewhere, and where the system does not allow it, it goes on as it was.
pub fn stand_back() {
    #[cfg(target_os = "linux")]
    set_policy(libc::SCHED_IDLE);
}

/// Has the calling thread, and those that it begins from now on, interrupt nobody when they wake up: they wait until who runs has done, or has
/// had its turn, and have their share of the cores as before. Elsewhere, and where the system does not allow it, they go on as they were.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    set_policy(libc::SCHED_BATCH);
}

#[cfg(target_os = "linux")]
fn set_policy(policy: libc::c_int) {
    #[cfg(not(miri))]
    {
        let calling_thread = 0;
        let params = libc::sched_param { sched_priority: 0 };
        // SAFETY: the system reads `params`, which outlives the call, and writes nothing.
        unsafe { libc::sched_setscheduler(calling_thread, policy, &params) };
    }
    let _ = policy;
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn a_thread_is_what_it_asked_to_be_and_so_are_those_that_it_begins() {
        use std::thread::spawn;

        use super::{give_way, stand_back};

        let policy = || -> libc::c_int {
            let fields = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // Behind the name, which may hold anything, `policy` is the 39th.
            let mut fields = fields.rsplit(')').next().unwrap().split_whitespace();
            fields.nth(38).unwrap().parse().unwrap()
        };
        for (ask, expected) in [(stand_back as fn(), libc::SCHED_IDLE), (give_way, libc::SCHED_BATCH)] {
            let found = spawn(move || {
                let before = policy();
                ask();
                [before, policy(), spawn(policy).join().unwrap()]
            });
            assert_eq!(found.join().unwrap(), [libc::SCHED_OTHER, expected, expected]);
        }
    }
}
