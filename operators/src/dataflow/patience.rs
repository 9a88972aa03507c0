//! How long a run waits for a camera, and how far it believes the camera's clock.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// When a camera's frames count as late, and when others no longer wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How much older than the camera's newest frame a frame may be and still keep its own time, microseconds.
    pub lateness_us: u64,
    /// Wall time without a frame after which the others no longer wait for the camera; none: they always wait.
    pub idle: Option<Duration>,
    /// How far the camera's event time may be from the others', microseconds. One that can wait (a file) waits beyond that;
    /// one that cannot (a live camera) is taken to have a wrong clock, and goes by the others'. None: no limit.
    pub skew_max_us: Option<u64>,
    /// Whether the camera can wait.
    pub can_wait: bool,
}

impl Patience {
    /// Of files: nothing is late, nobody goes on without them, and a camera is at most 10 s of event time ahead of the
    /// others, which bounds the verdicts that wait for their turn.
    pub const FILES: Self = Self {
        lateness_us: 0,
        idle: None,
        skew_max_us: Some(10_000_000),
        can_wait: true,
    };

    /// Of live cameras: frames may overtake each other by 100 ms, a camera that is silent for 500 ms holds nobody, and a clock
    /// that is off by more than 2 s is wrong.
    pub const LIVE: Self = Self {
        lateness_us: 100_000,
        idle: Some(Duration::from_millis(500)),
        skew_max_us: Some(2_000_000),
        can_wait: false,
    };

    /// How far the clock of a camera that cannot wait may be off, microseconds; none: it is believed.
    pub(super) fn clock_skew_max_us(&self) -> Option<u64> {
        self.skew_max_us.filter(|_| !self.can_wait)
    }
}

/// How far a live camera's clock is from what its frames go by, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockOff {
    /// Ahead of the other cameras: its frames go by their time.
    Ahead(u64),
    /// Behind what time has reached: its frames are late, and stamped up.
    Behind(u64),
}

impl Display for ClockOff {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = |micros: &u64| micros.saturating_add(500_000) / 1_000_000;
        match self {
            Self::Ahead(by_us) => {
                let by = seconds(by_us);
                write!(
                    f,
                    "its clock is {by} s ahead of the other cameras': its frames go by their time"
                )
            }
            Self::Behind(by_us) => {
                let by = seconds(by_us);
                write!(
                    f,
                    "its clock is {by} s behind the time of the run, or its frames come late: they count at that time"
                )
            }
        }
    }
}
