//! What rates are about: whose frames, and over which windows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::metrics::ScoreReference;

/// The windows rates are kept over unless the plan says otherwise: 1 minute, 15 minutes, 1 hour.
pub const WINDOWS_US: [u64; 3] = [60_000_000, 15 * 60_000_000, 60 * 60_000_000];

/// Windows move in steps of one second of event time: finer than anybody reads a rate, and the state of the longest window
/// is 3,600 counts per camera.
pub const HOP_US: u64 = 1_000_000;

/// Windows of scores move in steps of one minute: a quantile of a quarter of an hour does not change by the second, and
/// histograms of thousands of entries are added up 60 times less often.
pub const SCORE_HOP_US: u64 = 60_000_000;

const MINUTE_US: i128 = 60_000_000;
const DAY_US: i128 = 24 * 60 * MINUTE_US;

/// Whose frames a figure is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "scope", content = "name")]
pub enum Scope {
    /// One camera's.
    Camera(Arc<str>),
    /// Those of the cameras of a line.
    Line(Arc<str>),
    /// Everybody's.
    All,
}

/// Over which frames of its scope a figure is. A frame belongs to windows by its time in the dataflow, to the hop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "window")]
pub enum Window {
    /// Those of the last so many microseconds.
    Sliding {
        /// Length, microseconds.
        length_us: u64,
    },
    /// Those of a shift.
    Shift,
    /// Those of a lot, on one camera.
    Lot {
        /// Name of the lot.
        lot: Arc<str>,
    },
}

/// What a figure is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RateKey {
    /// Whose frames.
    #[serde(flatten)]
    pub scope: Scope,
    /// Which of them.
    #[serde(flatten)]
    pub window: Window,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Camera(name) | Self::Line(name) => name,
            Self::All => "all",
        })
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sliding { length_us } if length_us % 60_000_000 == 0 => write!(f, "{} min", length_us / 60_000_000),
            Self::Sliding { length_us } => write!(f, "{} s", length_us / 1_000_000),
            Self::Shift => f.write_str("shift"),
            Self::Lot { lot } => write!(f, "lot {lot}"),
        }
    }
}

/// Shifts: from each start of the day to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shifts {
    /// When they start, minutes after midnight, ascending.
    pub starts_minute: Vec<u16>,
    /// Minutes that the plant's clock is ahead of UTC.
    pub utc_offset_minutes: i32,
}

/// What rates are to be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatePlan {
    /// Lengths of the sliding windows: multiples of [`HOP_US`]. Those that are multiples of [`SCORE_HOP_US`] have score figures.
    pub windows_us: Vec<u64>,
    /// The shifts, if there are any.
    pub shifts: Option<Shifts>,
    /// For how long after a window's end labels can correct it: a multiple of [`SCORE_HOP_US`]; 0 for never.
    pub horizon_us: u64,
    /// Cameras that are expected: one of which nothing is seen is silent from the beginning.
    #[serde(default)]
    pub cameras: BTreeSet<Arc<str>>,
    /// The line of each camera that is part of one.
    pub lines: BTreeMap<Arc<str>, Arc<str>>,
    /// The scores of each camera's calibration.
    pub references: BTreeMap<Arc<str>, ScoreReference>,
}

impl Default for RatePlan {
    /// The three usual windows, no shifts, no lines, a horizon of 24 hours.
    fn default() -> Self {
        Self {
            windows_us: WINDOWS_US.to_vec(),
            shifts: None,
            horizon_us: DAY_US as u64,
            cameras: BTreeSet::new(),
            lines: BTreeMap::new(),
            references: BTreeMap::new(),
        }
    }
}

impl RatePlan {
    /// Whether the plan can be kept.
    ///
    /// # Errors
    /// Says which length or start is at fault and what it must be.
    pub fn check(&self) -> Result<(), String> {
        if let Some(length) = self
            .windows_us
            .iter()
            .find(|&&length| length == 0 || length % HOP_US != 0)
        {
            return Err(format!(
                "cannot keep a window of {length} microseconds: it must be a positive multiple of {HOP_US}"
            ));
        }
        if !self.horizon_us.is_multiple_of(SCORE_HOP_US) {
            let horizon = self.horizon_us;
            return Err(format!(
                "cannot keep a horizon of {horizon} microseconds: it must be a multiple of {SCORE_HOP_US}"
            ));
        }
        let Some(shifts) = &self.shifts else { return Ok(()) };
        let ascending = shifts.starts_minute.windows(2).all(|pair| pair[0] < pair[1]);
        if shifts.starts_minute.is_empty() || !ascending || shifts.starts_minute.iter().any(|&start| start >= 24 * 60) {
            let starts = &shifts.starts_minute;
            return Err(format!(
                "cannot keep shifts that start at minutes {starts:?}: they must ascend and lie below 1440"
            ));
        }
        Ok(())
    }

    /// Whom a frame of this camera counts for.
    pub fn scopes(&self, camera: &Arc<str>) -> impl Iterator<Item = Scope> + use<> {
        let line = self.lines.get(camera).cloned().map(Scope::Line);
        [Some(Scope::Camera(camera.clone())), line, Some(Scope::All)]
            .into_iter()
            .flatten()
    }

    /// The windows with a fixed place that hold the hop: of each sliding length the one that ends at a multiple of it, and the
    /// shift. Every frame is in exactly one of each kind.
    pub(super) fn fixed(&self, hop_us: u64) -> impl Iterator<Item = (Window, Range<u64>)> + '_ {
        let sliding = self.windows_us.iter().map(move |&length_us| {
            let start = hop_us / length_us * length_us;
            (Window::Sliding { length_us }, start..start.saturating_add(length_us))
        });
        sliding.chain(self.shifts.iter().map(move |shifts| (Window::Shift, shifts.at(hop_us))))
    }
}

impl Shifts {
    /// The shift that holds a time, microseconds of UTC.
    pub(super) fn at(&self, time_us: u64) -> Range<u64> {
        let offset_us = i128::from(self.utc_offset_minutes) * MINUTE_US;
        let local_us = i128::from(time_us) + offset_us;
        let midnight_us = local_us.div_euclid(DAY_US) * DAY_US;
        let starts = [-DAY_US, 0, DAY_US].into_iter().flat_map(|day_us| {
            let starts = self.starts_minute.iter();
            starts.map(move |&minute| midnight_us + day_us + i128::from(minute) * MINUTE_US)
        });
        let (mut start, mut end) = (i128::MIN, i128::MAX);
        for candidate in starts {
            if candidate <= local_us {
                start = candidate;
            } else {
                end = end.min(candidate);
            }
        }
        let utc = |local_us: i128| u64::try_from((local_us - offset_us).max(0)).unwrap_or(u64::MAX);
        utc(start)..utc(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_follow_the_clock_of_the_plant() {
        let shifts = Shifts {
            starts_minute: vec![6 * 60, 14 * 60, 22 * 60],
            utc_offset_minutes: 60,
        };
        let hour = 3_600_000_000;
        assert_eq!(
            shifts.at(100 * hour),
            93 * hour..101 * hour,
            "04:00 UTC is 05:00 here: the night shift"
        );
        assert_eq!(shifts.at(101 * hour), 101 * hour..109 * hour);
        assert_eq!(shifts.at(0), 0..5 * hour, "the first shift began before time did");
        let once = Shifts {
            starts_minute: vec![0],
            utc_offset_minutes: -90,
        };
        assert_eq!(once.at(25 * hour), 3 * hour / 2..51 * hour / 2);
    }

    #[test]
    fn plans_that_cannot_be_kept_say_why() {
        let plan = RatePlan {
            windows_us: vec![1_500_000],
            ..RatePlan::default()
        };
        assert!(plan.check().unwrap_err().contains("1500000 microseconds"));
        let plan = RatePlan {
            horizon_us: 1,
            ..RatePlan::default()
        };
        assert!(plan.check().unwrap_err().contains("horizon of 1"));
        let plan = RatePlan {
            shifts: Some(Shifts {
                starts_minute: vec![600, 360],
                utc_offset_minutes: 0,
            }),
            ..RatePlan::default()
        };
        assert!(plan.check().unwrap_err().contains("[600, 360]"));
        assert_eq!(RatePlan::default().check(), Ok(()));
    }
}
