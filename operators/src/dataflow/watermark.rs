//! Decides at which time frames enter and how far time has come: the clock of the cameras, without any clock of its own.

use std::time::Instant;

use super::{ClockOff, HOP_US, Patience, Position};
use crate::Stamp;

/// Latest event time, 9999-12-31T23:59:59Z in microseconds: a camera that claims a later one is wrong, and sums of times
/// must not overflow.
pub const TIME_MAX_US: u64 = 253_402_300_799_000_000;

/// Latest time that a live camera's frame enters at, a year before the latest there is: time has to be able to go on.
const LIVE_TIME_MAX_US: u64 = TIME_MAX_US - 366 * 86_400_000_000;

struct Camera {
    patience: Patience,
    /// Time of its newest frame, as it was taken to be.
    newest_us: Option<u64>,
    /// What its last frame said, right or wrong.
    said_us: Option<u64>,
    low_us: u64,
    /// Time of the frame that waits to be let in.
    offered_us: Option<u64>,
    heard_at: Instant,
    quiet: bool,
    /// Whether it is too far behind the others, or behind what time has reached.
    behind: bool,
    ended: bool,
}

impl Camera {
    /// Where it is by its own clock; none before its first frame. The clock of a live camera goes on between its frames,
    /// however long it is silent; the times of a file do not.
    fn clock_us(&self, now: Instant) -> Option<u64> {
        if self.patience.can_wait {
            return self.newest_us.filter(|_| !self.quiet);
        }
        Some(self.said_us?.saturating_add(micros_between(self.heard_at, now)))
    }

    fn is_waited_for(&self) -> bool {
        !self.ended && !self.quiet && !self.behind
    }
}

/// The times of some cameras. They are numbered from 0.
///
/// The frontier is the least, over the cameras that are waited for, of what their latest frames still allow to come. A camera
/// is not waited for when it has ended, when it is silent for longer than its patience says, or when its clock is too far
/// behind. It may come back at any time: then its frames are late until they are not, and nothing is lost. When no camera is
/// waited for, time goes on with the wall clock, so that frames whose clock stepped back have their turn too.
pub struct Watermark {
    cameras: Vec<Camera>,
    /// Where the cameras of other workers are.
    others: Vec<Position>,
    reached_us: u64,
    latest_us: u64,
    /// Where time was when a frame last came in time, and when that was.
    led: Option<(u64, Instant)>,
}

impl Watermark {
    /// The clock of cameras that have not been heard of at `now`. Nothing enters before `from_us`.
    pub fn new(cameras: impl IntoIterator<Item = Patience>, from_us: u64, now: Instant) -> Self {
        let silent = |patience| Camera {
            patience,
            newest_us: None,
            said_us: None,
            low_us: 0,
            offered_us: None,
            heard_at: now,
            quiet: false,
            behind: false,
            ended: false,
        };
        Self {
            cameras: cameras.into_iter().map(silent).collect(),
            others: Vec::new(),
            reached_us: from_us,
            latest_us: 0,
            led: None,
        }
    }

    /// Where the other workers are. Frames of cameras that can be read again do not depend on it.
    pub fn hear(&mut self, others: Vec<Position>) {
        self.others = others;
    }

    /// Where this worker is, for the others.
    pub fn position(&self, now: Instant) -> Position {
        let believed = self.cameras.iter().filter(|camera| !camera.ended && !camera.behind);
        let clocks = believed.filter_map(|camera| camera.clock_us(now)).collect();
        let ended_at_us = self.cameras.iter().map(|camera| camera.low_us).max();
        Position {
            // At the end time goes on to the end of a hop, which says nothing about where cameras were.
            reached_us: ended_at_us.filter(|_| self.all_ended()).unwrap_or(self.reached_us),
            newest_us: lower_median(clocks),
            waited_for: self.waited_for().next().is_some(),
            ended: self.all_ended(),
        }
    }

    /// A frame of the camera, of this time, waits to be let in.
    pub fn offer(&mut self, camera: usize, time_us: u64) {
        self.cameras[camera].offered_us = Some(time_us.min(TIME_MAX_US));
    }

    /// Whether the camera's offered frame may be let in now, rather than when the other cameras have come nearer. Of cameras
    /// that wait for each other, the one with the earliest frame may.
    pub fn may_enter(&self, camera: usize) -> bool {
        let Camera {
            patience, offered_us, ..
        } = &self.cameras[camera];
        let Some(skew_max_us) = patience.skew_max_us.filter(|_| patience.can_wait) else {
            return true;
        };
        let others = self.waited_for().filter(|(idx, _)| *idx != camera);
        let slowest = others
            .map(|(_, other)| other.newest_us.max(other.offered_us).unwrap_or(0))
            .min();
        slowest.is_none_or(|slowest_us| *offered_us <= Some(slowest_us.saturating_add(skew_max_us)))
    }

    /// Takes in a frame and says when it enters.
    pub fn stamp(&mut self, camera: usize, captured_at_us: u64, now: Instant) -> Stamp {
        let time_us = self.overruled(camera, captured_at_us, now);
        let low_us = time_us.saturating_sub(self.cameras[camera].patience.lateness_us);
        self.enter(camera, captured_at_us, Stamp { time_us, low_us }, now)
    }

    /// Says when a frame that was dropped would have entered. Time does not move by it: older frames of the camera may still
    /// be in its queue.
    pub fn stamp_dropped(&mut self, camera: usize, captured_at_us: u64, now: Instant) -> Stamp {
        let low_us = self.cameras[camera].low_us.max(self.reached_us);
        let time_us = self.overruled(camera, captured_at_us, now).max(low_us);
        self.latest_us = self.latest_us.max(time_us);
        Stamp { time_us, low_us }
    }

    /// When something that is said about a camera enters: now, which is not before what its last frame still allows to come, or when
    /// it did in a recording. So a recording, in which the camera is waited for, never passes that time before.
    pub fn stamp_control(&mut self, camera: usize, recorded_us: Option<u64>) -> u64 {
        let now_us = self.cameras[camera].low_us.max(self.reached_us);
        let time_us = recorded_us.unwrap_or(0).min(TIME_MAX_US).max(now_us);
        self.latest_us = self.latest_us.max(time_us);
        time_us
    }

    /// Whether a frame that its camera says was captured at `captured_at_us` shows that the camera's clock is wrong.
    pub fn clock_off(&self, camera: usize, captured_at_us: u64, now: Instant) -> Option<ClockOff> {
        let skew_max_us = self.cameras[camera].patience.clock_skew_max_us()?;
        let typical_us = self.typical_us(camera, captured_at_us, now, true);
        let ahead_us = captured_at_us.saturating_sub(typical_us);
        let behind_us = self.reached_us.saturating_sub(captured_at_us);
        match (ahead_us > skew_max_us, behind_us > skew_max_us) {
            (true, _) => Some(ClockOff::Ahead(ahead_us)),
            (_, true) => Some(ClockOff::Behind(behind_us)),
            _ => None,
        }
    }

    /// A time as a camera tells it, unless its clock is too far ahead of the others': then theirs.
    fn overruled(&self, camera: usize, captured_at_us: u64, now: Instant) -> u64 {
        if self.cameras[camera].patience.can_wait {
            return captured_at_us.min(TIME_MAX_US);
        }
        let ahead_us = match self.clock_off(camera, captured_at_us, now) {
            Some(ClockOff::Ahead(by_us)) => by_us,
            _ => 0,
        };
        (captured_at_us - ahead_us).min(LIVE_TIME_MAX_US)
    }

    /// Takes in a frame of a recording, which enters when it did then.
    pub fn repeat(&mut self, camera: usize, recorded: Stamp, now: Instant) -> Stamp {
        let recorded = Stamp {
            time_us: recorded.time_us.min(TIME_MAX_US),
            low_us: recorded.low_us.min(recorded.time_us).min(TIME_MAX_US),
        };
        self.enter(camera, recorded.time_us, recorded, now)
    }

    fn enter(&mut self, camera: usize, said_us: u64, stamp: Stamp, now: Instant) -> Stamp {
        let reached_us = self.reached_us;
        let camera = &mut self.cameras[camera];
        let time_us = stamp.time_us.max(camera.low_us).max(reached_us);
        camera.newest_us = camera.newest_us.max(Some(stamp.time_us));
        camera.said_us = Some(said_us);
        camera.low_us = camera.low_us.max(stamp.low_us);
        camera.offered_us = None;
        camera.heard_at = now;
        camera.quiet = false;
        let low_us = camera.low_us.max(reached_us);
        self.latest_us = self.latest_us.max(time_us);
        // What is stamped up does not lead: or time would stand still as long as such frames come.
        if stamp.time_us >= reached_us || self.led_us(now) < Some(time_us) {
            self.led = Some((self.latest_us, now));
        }
        Stamp { time_us, low_us }
    }

    /// No further frame of the camera comes.
    pub fn end(&mut self, camera: usize) {
        self.cameras[camera].ended = true;
    }

    /// The time below which no frame will enter any more. `has_frames` says whether a camera has frames that wait to be let
    /// in: such a camera is not silent, we are slow.
    pub fn advance(&mut self, now: Instant, has_frames: impl Fn(usize) -> bool) -> u64 {
        for (idx, camera) in self.cameras.iter_mut().enumerate() {
            let silent = |idle| now.saturating_duration_since(camera.heard_at) >= idle;
            camera.quiet = camera.patience.idle.is_some_and(silent) && !has_frames(idx);
        }
        for idx in 0..self.cameras.len() {
            self.cameras[idx].behind = self.is_behind(idx, now);
        }
        let least_us = self.waited_for().map(|(_, camera)| camera.low_us).min();
        self.reached_us = self.reached_us.max(least_us.unwrap_or_else(|| self.followed_us(now)));
        self.reached_us
    }

    /// Where time is when no camera of this worker is waited for: where the slowest of the other workers is. If nobody is waited
    /// for anywhere, time goes on with the wall clock from where the furthest camera was, hop by hop: or the last frames of an
    /// idle line would wait for the next part. A worker that stayed behind would hold all the others.
    fn followed_us(&self, now: Instant) -> u64 {
        let waited_for = self.others.iter().filter(|other| other.waited_for);
        let slowest_us = waited_for.map(|other| other.reached_us).min();
        let furthest_us = || {
            let own = self.cameras.iter().map(|camera| camera.low_us);
            let others = self.others.iter().map(|other| other.reached_us);
            own.chain(others).chain(self.gone_on_us(now)).max()
        };
        slowest_us.or_else(furthest_us).unwrap_or(0).min(TIME_MAX_US)
    }

    /// How far time has gone on by the wall clock, in whole hops; none before the first frame, and when no camera is left that
    /// sent one.
    fn gone_on_us(&self, now: Instant) -> Option<u64> {
        let left = self.cameras.iter().filter(|camera| !camera.ended);
        let heard_of = left.filter(|camera| camera.newest_us.is_some());
        let lateness_us = heard_of.map(|camera| camera.patience.lateness_us).max()?;
        let now_us = self.led_us(now)?.saturating_sub(lateness_us);
        Some(now_us / HOP_US * HOP_US)
    }

    /// Where time is by the wall clock, from the last frame that came in time.
    fn led_us(&self, now: Instant) -> Option<u64> {
        let (time_us, at) = self.led?;
        Some(time_us.saturating_add(micros_between(at, now)))
    }

    /// How many cameras are waited for.
    pub fn n_waited_for(&self) -> usize {
        self.waited_for().count()
    }

    /// When the next camera will have been silent for too long, if nothing is heard until then.
    pub fn next_silence(&self) -> Option<Instant> {
        let due = |(_, camera): (usize, &Camera)| Some(camera.heard_at + camera.patience.idle?);
        self.waited_for().filter_map(due).min()
    }

    /// Whether every camera has ended.
    pub fn all_ended(&self) -> bool {
        self.cameras.iter().all(|camera| camera.ended)
    }

    /// When every camera has ended: lets time go to the end of the last hop of `hop_us` in which anything entered, and returns
    /// where time is. What is said after that enters there, and makes it one more hop.
    pub fn close(&mut self, hop_us: u64) -> u64 {
        // A worker that followed the others is somewhere within a hop, and whoever waits for that hop to end would do so for ever.
        let followed_us = self.reached_us.div_ceil(hop_us) * hop_us;
        self.reached_us = followed_us.max(self.latest_us / hop_us * hop_us + hop_us);
        self.reached_us
    }

    fn waited_for(&self) -> impl Iterator<Item = (usize, &Camera)> {
        let cameras = self.cameras.iter().enumerate();
        cameras.filter(|(_, camera)| camera.is_waited_for())
    }

    /// Whether a camera is too far behind those that are not silent, or behind what time has reached: whoever waits for it
    /// waits as long as its clock is wrong. Silent ones do not count here: a queue that we are slow to work off is no wrong clock.
    fn is_behind(&self, idx: usize, now: Instant) -> bool {
        let camera = &self.cameras[idx];
        let (Some(skew_max_us), Some(clock_us)) = (camera.patience.clock_skew_max_us(), camera.clock_us(now)) else {
            return false;
        };
        let typical_us = self.typical_us(idx, clock_us, now, false);
        clock_us.saturating_add(skew_max_us) < typical_us.max(self.reached_us)
    }

    /// Where the cameras are, if this one is at `own_us`: the lower median of their clocks, those of the silent ones too where
    /// that is asked for, which one wrong clock among three does not move. Of two cameras nobody knows which is wrong; the one
    /// behind is believed. Time does not go back, so that a camera which it has passed by more than the skew limit has no say.
    fn typical_us(&self, idx: usize, own_us: u64, now: Instant, silent_too: bool) -> u64 {
        let skew_max_us = self.cameras[idx].patience.skew_max_us.unwrap_or(u64::MAX);
        let cameras = self.cameras.iter().enumerate().filter(|(other, _)| *other != idx);
        let here = cameras.filter(|(_, other)| !other.ended && (silent_too || !other.quiet));
        let here = here.filter_map(|(_, other)| other.clock_us(now));
        let elsewhere = self.others.iter().filter(|other| !other.ended);
        let elsewhere = elsewhere.filter(|other| silent_too || other.waited_for);
        let elsewhere = elsewhere.filter_map(|other| other.newest_us);
        let with_a_say = |clock_us: &u64| clock_us.saturating_add(skew_max_us) >= self.reached_us;
        let clocks = here.chain(elsewhere).filter(with_a_say).chain([own_us]);
        lower_median(clocks.collect()).unwrap_or(own_us)
    }
}

fn lower_median(mut times: Vec<u64>) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied()
}

fn micros_between(earlier: Instant, later: Instant) -> u64 {
    let micros = later.saturating_duration_since(earlier).as_micros();
    u64::try_from(micros).unwrap_or(TIME_MAX_US)
}

#[cfg(test)]
#[path = "watermark_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "wrong_clock_tests.rs"]
mod wrong_clock_tests;
