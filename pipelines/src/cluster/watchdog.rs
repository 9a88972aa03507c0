//! Notices that a run does not go on: a state machine without a clock or a thread of its own.

use std::time::{Duration, Instant};

use super::Hosts;

/// Watches whether all workers are heard of, and whether the log gets as far as the cameras are.
pub(crate) struct Watchdog {
    patience: Duration,
    workers_per_process: usize,
    /// By worker: when it was heard of last; none when it has said that it has ended.
    heard: Vec<Option<Instant>>,
    log: Log,
    looked_at: Instant,
}

struct Log {
    frontier_us: u64,
    /// Since when it has stood there although it could go on.
    behind_since: Option<Instant>,
}

/// Why a run does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// A process says nothing.
    Silent { process: usize, seconds: u64 },
    /// Everybody is there, and the log stands still.
    Log { seconds: u64 },
}

impl Watchdog {
    /// For the workers of so many processes, all of which are there at `now`.
    pub(crate) fn new(patience: Duration, processes: usize, workers_per_process: usize, now: Instant) -> Self {
        Self {
            patience,
            workers_per_process,
            heard: vec![Some(now); processes * workers_per_process],
            log: Log {
                frontier_us: 0,
                behind_since: None,
            },
            looked_at: now,
        }
    }

    /// A worker has said something; `last` if it has no more to say.
    pub(crate) fn heard(&mut self, worker: usize, last: bool, now: Instant) {
        if let Some(heard) = self.heard.get_mut(worker) {
            *heard = (!last).then_some(now);
        }
    }

    /// The log has got to `frontier_us`, and could get to `reached_us`, where the slowest worker's cameras are.
    pub(crate) fn logged(&mut self, frontier_us: u64, reached_us: u64, now: Instant) {
        let stands = frontier_us <= self.log.frontier_us && frontier_us < reached_us;
        self.log.behind_since = stands.then(|| self.log.behind_since.unwrap_or(now));
        self.log.frontier_us = self.log.frontier_us.max(frontier_us);
    }

    /// Whether the run has to be given up.
    pub(crate) fn look(&mut self, now: Instant) -> Option<Stall> {
        let since_look = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        // Whoever did not look for long was stopped itself, and must hear the others before it accuses them.
        if since_look >= self.patience / 2 {
            self.heard.iter_mut().flatten().for_each(|heard| *heard = now);
            self.log.behind_since = self.log.behind_since.map(|_| now);
            return None;
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        let heard = self.heard.iter().enumerate();
        let longest = heard
            .filter_map(|(worker, heard)| Some((since((*heard)?), worker)))
            .max();
        if let Some((silence, worker)) = longest.filter(|(silence, _)| *silence >= self.patience) {
            return Some(Stall::Silent {
                process: worker / self.workers_per_process,
                seconds: silence.as_secs(),
            });
        }
        let stands = self
            .log
            .behind_since
            .map(since)
            .filter(|stands| *stands >= self.patience)?;
        Some(Stall::Log {
            seconds: stands.as_secs(),
        })
    }
}

impl Stall {
    /// What happened, and what is likely behind it.
    pub(crate) fn sentence(self, hosts: &Hosts) -> String {
        match self {
            Self::Silent { process, seconds } => format!(
                "the run cannot go on: process {process} ({}) has said nothing for {seconds} s\n  hint: it hangs or was stopped, \
                 or its machine or the network failed; start all processes again",
                hosts.of(process)
            ),
            Self::Log { seconds } => format!(
                "the run cannot go on: frames were let in, and for {seconds} s no verdict has reached the log\n  hint: a detector \
                 that takes longer needs a higher `--watchdog`; otherwise this is a fault of intakt"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Run {
        watchdog: Watchdog,
        began: Instant,
    }

    impl Run {
        fn new() -> Self {
            let began = Instant::now();
            let watchdog = Watchdog::new(PATIENCE, 2, 2, began);
            Self { watchdog, began }
        }

        /// Every half second of the time, `beat` says who is heard of and where the log is.
        fn go(
            &mut self,
            seconds: std::ops::Range<u64>,
            mut beat: impl FnMut(&mut Watchdog, Instant, u64),
        ) -> Option<Stall> {
            (2 * seconds.start..2 * seconds.end).find_map(|half| {
                let now = self.began + Duration::from_millis(500 * half);
                beat(&mut self.watchdog, now, half);
                self.watchdog.look(now)
            })
        }
    }

    fn all(watchdog: &mut Watchdog, now: Instant) {
        (0..4).for_each(|worker| watchdog.heard(worker, false, now));
    }

    #[test]
    fn a_silent_worker_is_noticed_after_the_patience_and_named_by_its_process() {
        let mut run = Run::new();
        assert_eq!(run.go(0..100, |watchdog, now, _| all(watchdog, now)), None);
        let but_third =
            |watchdog: &mut Watchdog, now, _| [0, 1, 3].iter().for_each(|&it| watchdog.heard(it, false, now));
        assert_eq!(run.go(100..129, but_third), None);
        let silent = Stall::Silent {
            process: 1,
            seconds: 30,
        };
        assert_eq!(run.go(129..131, but_third), Some(silent));
        let sentence = silent.sentence(&Hosts::parse("a:1\nb:2").unwrap());
        assert!(sentence.contains("process 1 (b:2)"), "{sentence}");
    }

    #[test]
    fn a_worker_that_has_ended_may_be_silent() {
        let mut run = Run::new();
        run.watchdog.heard(3, true, run.began);
        let others = |watchdog: &mut Watchdog, now, _| (0..3).for_each(|worker| watchdog.heard(worker, false, now));
        assert_eq!(run.go(0..200, others), None);
    }

    #[test]
    fn a_log_that_stands_still_while_cameras_go_on_is_noticed() {
        let mut run = Run::new();
        let stands = run.go(0..100, |watchdog, now, half| {
            all(watchdog, now);
            watchdog.logged(half.min(20) * 1_000_000, half * 1_000_000, now);
        });
        assert_eq!(stands, Some(Stall::Log { seconds: 30 }));
    }

    #[test]
    fn neither_silent_cameras_nor_a_slow_log_are_a_stall() {
        let mut run = Run::new();
        let silent = run.go(0..200, |watchdog, now, _| {
            all(watchdog, now);
            watchdog.logged(5_000_000, 5_000_000, now);
        });
        assert_eq!(silent, None);
        let slow = run.go(200..500, |watchdog, now, half| {
            all(watchdog, now);
            watchdog.logged(5_000_000 + half / 40, u64::MAX, now);
        });
        assert_eq!(slow, None);
    }

    #[test]
    fn whoever_was_stopped_itself_does_not_accuse_the_others() {
        let mut run = Run::new();
        assert_eq!(run.go(0..10, |watchdog, now, _| all(watchdog, now)), None);
        assert_eq!(run.go(1_000..1_029, |_, _, _| ()), None, "it has just come back");
        assert!(run.go(1_029..1_040, |_, _, _| ()).is_some());
    }
}
