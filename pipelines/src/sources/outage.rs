//! A camera that cannot be reached: when it is tried again, and what is told about it.

use std::time::Duration;

use intakt_operators::Frame;

use super::{Next, StopFlag};

/// Why there is no frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    Stopped,
    Failed(String),
}

/// A camera that is tried again when it fails.
pub(super) trait Retried {
    fn outage(&mut self) -> &mut Outage;

    /// Whether it is connected, or has something to tell about that: the next try is not waited for.
    fn is_connected(&self) -> bool;

    /// The next frame of the connection, which is opened if there is none.
    fn read_frame(&mut self, stop: &StopFlag) -> Result<Frame, Interrupted>;

    /// The next frame, whatever failed before it; or a trouble that was not told yet.
    fn next_frame(&mut self, stop: &StopFlag) -> Next {
        while !stop.is_stopped() {
            if !self.is_connected() && self.outage().wait(stop) {
                break;
            }
            match self.read_frame(stop) {
                Ok(frame) => return Next::Frame(frame),
                Err(Interrupted::Stopped) => break,
                Err(Interrupted::Failed(failure)) => {
                    if let Some(trouble) = self.outage().failed(failure) {
                        return Next::Trouble(trouble);
                    }
                }
            }
        }
        Next::Ended
    }
}

/// The time without pictures: every failed try doubles the pause before the next.
pub(super) struct Outage {
    pause_first: Duration,
    pause_max: Duration,
    failures: u32,
    told: Option<String>,
}

impl Outage {
    pub(super) fn new(pause_first: Duration, pause_max: Duration) -> Self {
        Self {
            pause_first,
            pause_max,
            failures: 0,
            told: None,
        }
    }

    /// Counts a failure. What to tell, unless it was told before.
    pub(super) fn failed(&mut self, reason: String) -> Option<String> {
        self.failures = self.failures.saturating_add(1);
        if self.told.as_ref() == Some(&reason) {
            return None;
        }
        let trouble = format!("{reason}; next try in {:.1} s", self.pause().as_secs_f64());
        self.told = Some(reason);
        Some(trouble)
    }

    /// A picture came: the next failure is a new trouble.
    pub(super) fn over(&mut self) {
        self.failures = 0;
        self.told = None;
    }

    /// Waits until the next try is due. Whether it was stopped.
    pub(super) fn wait(&self, stop: &StopFlag) -> bool {
        stop.wait(self.pause())
    }

    fn pause(&self) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let pause = self
            .pause_first
            .saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX));
        pause.min(self.pause_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit_and_a_trouble_is_told_once() {
        let mut outage = Outage::new(Duration::from_millis(500), Duration::from_secs(3));
        assert_eq!(outage.pause(), Duration::ZERO, "the first try is at once");
        assert_eq!(
            outage.failed("refused".into()),
            Some("refused; next try in 0.5 s".into())
        );
        for pause_ms in [1000, 2000, 3000, 3000] {
            assert_eq!(outage.failed("refused".into()), None);
            assert_eq!(outage.pause(), Duration::from_millis(pause_ms));
        }
        for _ in 0..100 {
            outage.failed("refused".into());
        }
        assert_eq!(
            outage.failed("not found".into()),
            Some("not found; next try in 3.0 s".into())
        );
        outage.over();
        assert_eq!(
            outage.failed("refused".into()),
            Some("refused; next try in 0.5 s".into())
        );
    }
}
