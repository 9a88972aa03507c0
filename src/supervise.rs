//! Starts a run again when it fails for a reason that may pass.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use intakt_pipelines::PipelineError;
use intakt_pipelines::sources::StopFlag;

use crate::cli::InspectArgs;
use crate::{Outcome, run_file, terminal};

/// Environment variable with the generation of a supervised run: 1, and one more at each restart.
const GENERATION: &str = "INTAKT_GENERATION";

/// Status of a supervised run that is to be started again (`EX_TEMPFAIL`). Nobody but the supervisor sees it.
const LOST: i32 = 75;

/// Pause before the first restart. It doubles with every restart that brings no progress.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A run that lived for as long made progress: it is twice the longest pause, so that whatever fails at once is given up, and
/// what fails once an hour never is.
const PROGRESS: Duration = Duration::from_secs(60);
/// Most restarts in a row without progress: with the pauses, about four minutes.
const RESTARTS_MAX: u32 = 10;

/// How often is looked whether the run has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often this run was started again, plus one.
pub(crate) fn generation() -> u64 {
    let stated = std::env::var(GENERATION).ok();
    stated.and_then(|generation| generation.parse().ok()).unwrap_or(1)
}

/// Whether a supervisor has started this process.
pub(crate) fn is_supervised() -> bool {
    std::env::var_os(GENERATION).is_some()
}

/// How a process ends that gives a run up which could go on if it were started again.
pub(crate) fn status_of_a_lost_run() -> i32 {
    if is_supervised() { LOST } else { Outcome::Failed as i32 }
}

/// Stops a supervised run when its supervisor wants it, or has died: either way the supervisor's end of our input closes.
pub(crate) fn obey(stop: StopFlag) {
    if !is_supervised() {
        return;
    }
    // It waits for ever on purpose, and ends with the process.
    std::thread::spawn(move || {
        let mut input = std::io::stdin();
        while input.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        stop.stop();
    });
}

/// Inspects in a process of its own with `arguments`, those of this process, again and again if it must be. A run that is kept
/// goes on where it was.
///
/// # Errors
/// The run failed for good.
pub(crate) fn run(args: &InspectArgs, arguments: impl Iterator<Item = OsString>) -> Result<Outcome, PipelineError> {
    let kept = args.keep.run.is_some() || run_file::keeps(&args.detector, &args.set);
    let refused = |error| PipelineError::Refused(format!("cannot start the run: {error}"));
    let program = std::env::current_exe().map_err(refused)?;
    let arguments: Vec<OsString> = arguments.filter(|argument| argument != "--supervise").collect();
    let interrupts = Interrupts::listen()?;
    let mut policy = RestartPolicy::default();
    for generation in generation().. {
        let mut command = Command::new(&program);
        command.args(&arguments).env(GENERATION, generation.to_string());
        if generation > 1 && kept && !args.keep.resume {
            command.arg("--resume");
        }
        let began = Instant::now();
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(refused)?;
        let ended = interrupts.wait(&mut child).map_err(refused)?;
        if interrupts.stop.is_stopped() && !matches!(ended, Some(0 | 1)) {
            return Err(PipelineError::Stopped("it was interrupted".to_owned()));
        }
        match policy.after(ended, began.elapsed()) {
            Next::End(outcome) => return Ok(outcome),
            Next::GiveUp => {
                let reason = format!(
                    "it failed {RESTARTS_MAX} times in a row within {} s",
                    PROGRESS.as_secs()
                );
                return Err(PipelineError::Stopped(reason));
            }
            Next::Restart { pause } => {
                let (seconds, next) = (pause.as_secs(), generation + 1);
                terminal::say(&format!("starting the run again in {seconds} s: generation {next}"));
                if interrupts.stop.wait(pause) {
                    return Err(PipelineError::Stopped("it was interrupted".to_owned()));
                }
            }
        }
    }
    Err(PipelineError::Stopped("it was started too often".to_owned()))
}

/// How often somebody has interrupted this process.
struct Interrupts {
    count: Arc<AtomicU32>,
    stop: StopFlag,
}

impl Interrupts {
    fn listen() -> Result<Self, PipelineError> {
        let (count, stop) = (Arc::new(AtomicU32::new(0)), StopFlag::default());
        let (counted, stopped) = (count.clone(), stop.clone());
        let handle = move || {
            counted.fetch_add(1, Ordering::AcqRel);
            stopped.stop();
        };
        ctrlc::set_handler(handle)
            .map_err(|error| PipelineError::Refused(format!("cannot listen for interrupts: {error}")))?;
        Ok(Self { count, stop })
    }

    /// Waits for the end of the run; its status, if no signal ended it. The first interrupt asks it to end, the second ends it.
    fn wait(&self, child: &mut Child) -> std::io::Result<Option<i32>> {
        let never = StopFlag::default();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            match self.count.load(Ordering::Acquire) {
                0 => {}
                1 => drop(child.stdin.take()),
                _ => child.kill()?,
            }
            never.wait(LOOK_EVERY);
        }
    }
}

/// What to do when a run has ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It did its work, or failed in a way that a restart does not mend.
    End(Outcome),
    /// It fails again and again.
    GiveUp,
    Restart {
        pause: Duration,
    },
}

/// Decides whether a run is started again, and when.
#[derive(Default)]
struct RestartPolicy {
    /// In a row, without progress.
    restarts: u32,
}

impl RestartPolicy {
    /// A run ended with this status (none: a signal ended it) after it had lived for so long.
    fn after(&mut self, status: Option<i32>, lived: Duration) -> Next {
        match status {
            Some(0) => return Next::End(Outcome::Passed),
            Some(1) => return Next::End(Outcome::Rejected),
            // It was killed, for example because memory ran out.
            Some(LOST) | None => {}
            // What it was asked for cannot be done: it would fail again.
            Some(_) => return Next::End(Outcome::Failed),
        }
        if lived >= PROGRESS {
            self.restarts = 0;
        }
        if self.restarts == RESTARTS_MAX {
            return Next::GiveUp;
        }
        let pause = (PAUSE_MIN * 2_u32.pow(self.restarts)).min(PAUSE_MAX);
        self.restarts += 1;
        Next::Restart { pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::from_secs(2);

    #[test]
    fn what_cannot_be_mended_is_not_started_again() {
        let mut policy = RestartPolicy::default();
        assert_eq!(policy.after(Some(0), AT_ONCE), Next::End(Outcome::Passed));
        assert_eq!(policy.after(Some(1), AT_ONCE), Next::End(Outcome::Rejected));
        assert_eq!(policy.after(Some(2), AT_ONCE), Next::End(Outcome::Failed));
        assert_eq!(policy.after(Some(101), PROGRESS), Next::End(Outcome::Failed));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_failures_without_progress_are_given_up() {
        let mut policy = RestartPolicy::default();
        let mut pauses = Vec::new();
        while let Next::Restart { pause } = policy.after(Some(LOST), AT_ONCE) {
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]);
        assert_eq!(policy.after(None, AT_ONCE), Next::GiveUp);
    }

    #[test]
    fn progress_is_a_new_beginning() {
        let mut policy = RestartPolicy::default();
        for _ in 0..1_000 {
            policy.after(None, AT_ONCE);
            let pause = PAUSE_MIN;
            assert_eq!(policy.after(Some(LOST), PROGRESS), Next::Restart { pause });
        }
    }
}
