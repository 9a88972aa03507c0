//! Decides at which time frames enter and how far time has come: the clock of the cameras, without any clock of its own.

use std::time::{Duration, Instant};

use super::{HOP_US, Position};
use crate::Stamp;

/// Latest event time, 9999-12-31T23:59:59Z in microseconds: a camera that claims a later one is wrong, and sums of times
/// must not overflow.
pub const TIME_MAX_US: u64 = 253_402_300_799_000_000;

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
}

struct Camera {
    patience: Patience,
    newest_us: Option<u64>,
    low_us: u64,
    /// Time of the frame that waits to be let in.
    offered_us: Option<u64>,
    heard_at: Instant,
    quiet: bool,
    ended: bool,
}

/// The times of some cameras. They are numbered from 0.
///
/// The frontier is the least, over the cameras that are waited for, of what their latest frames still allow to come. A camera
/// is not waited for when it has ended, when it is silent for longer than its patience says, or when its clock is too far
/// behind. It may come back at any time: then its frames are late until they are not, and nothing is lost.
pub struct Watermark {
    cameras: Vec<Camera>,
    /// Where the cameras of other workers are.
    others: Vec<Position>,
    reached_us: u64,
    latest_us: u64,
}

impl Watermark {
    /// The clock of cameras that have not been heard of at `now`. Nothing enters before `from_us`.
    pub fn new(cameras: impl IntoIterator<Item = Patience>, from_us: u64, now: Instant) -> Self {
        let silent = |patience| Camera {
            patience,
            newest_us: None,
            low_us: 0,
            offered_us: None,
            heard_at: now,
            quiet: false,
            ended: false,
        };
        Self {
            cameras: cameras.into_iter().map(silent).collect(),
            others: Vec::new(),
            reached_us: from_us,
            latest_us: 0,
        }
    }

    /// Where the other workers are. Frames of cameras that can be read again do not depend on it.
    pub fn hear(&mut self, others: Vec<Position>) {
        self.others = others;
    }

    /// Where this worker is, for the others.
    pub fn position(&self) -> Position {
        let mut newest: Vec<u64> = self.waited_for().filter_map(|(_, camera)| camera.newest_us).collect();
        newest.sort_unstable();
        let ended_at_us = self.cameras.iter().map(|camera| camera.low_us).max();
        Position {
            // At the end time goes on to the end of a hop, which says nothing about where cameras were.
            reached_us: ended_at_us.filter(|_| self.all_ended()).unwrap_or(self.reached_us),
            newest_us: newest.get(newest.len().saturating_sub(1) / 2).copied(),
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
        let time_us = self.overruled(camera, captured_at_us);
        let low_us = time_us.saturating_sub(self.cameras[camera].patience.lateness_us);
        self.enter(camera, Stamp { time_us, low_us }, now)
    }

    /// Says when a frame that was dropped would have entered. Time does not move by it: older frames of the camera may still
    /// be in its queue.
    pub fn stamp_dropped(&mut self, camera: usize, captured_at_us: u64) -> Stamp {
        let low_us = self.cameras[camera].low_us.max(self.reached_us);
        let time_us = self.overruled(camera, captured_at_us).max(low_us);
        self.latest_us = self.latest_us.max(time_us);
        Stamp { time_us, low_us }
    }

    /// When something that is said about a camera enters: now, or when it did in a recording.
    pub fn stamp_control(&mut self, recorded_us: Option<u64>) -> u64 {
        let time_us = recorded_us.unwrap_or(0).min(TIME_MAX_US).max(self.reached_us);
        self.latest_us = self.latest_us.max(time_us);
        time_us
    }

    /// A time as a camera tells it, unless its clock is too far ahead of the others'.
    fn overruled(&self, camera: usize, captured_at_us: u64) -> u64 {
        let patience = self.cameras[camera].patience;
        let limit_us = match patience.skew_max_us.filter(|_| !patience.can_wait) {
            Some(skew_max_us) => self.typical_us(camera, captured_at_us).saturating_add(skew_max_us),
            None => TIME_MAX_US,
        };
        captured_at_us.min(limit_us).min(TIME_MAX_US)
    }

    /// Takes in a frame of a recording, which enters when it did then.
    pub fn repeat(&mut self, camera: usize, recorded: Stamp, now: Instant) -> Stamp {
        let recorded = Stamp {
            time_us: recorded.time_us.min(TIME_MAX_US),
            low_us: recorded.low_us.min(recorded.time_us).min(TIME_MAX_US),
        };
        self.enter(camera, recorded, now)
    }

    fn enter(&mut self, camera: usize, stamp: Stamp, now: Instant) -> Stamp {
        let reached_us = self.reached_us;
        let camera = &mut self.cameras[camera];
        let time_us = stamp.time_us.max(camera.low_us).max(reached_us);
        camera.newest_us = camera.newest_us.max(Some(stamp.time_us));
        camera.low_us = camera.low_us.max(stamp.low_us);
        camera.offered_us = None;
        camera.heard_at = now;
        camera.quiet = false;
        let low_us = camera.low_us.max(reached_us);
        self.latest_us = self.latest_us.max(time_us);
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
        let waited_for = self.waited_for().filter(|(idx, _)| !self.is_far_behind(*idx));
        let least_us = waited_for.map(|(_, camera)| camera.low_us).min();
        self.reached_us = self.reached_us.max(least_us.unwrap_or_else(|| self.followed_us(now)));
        self.reached_us
    }

    /// Where time is when no camera of this worker is waited for: where the slowest of the other workers is. If all are silent
    /// everywhere, time goes on with the wall clock from where the furthest camera was, hop by hop: or the last frames of an idle
    /// line would wait for the next part. A worker that stayed behind would hold all the others.
    fn followed_us(&self, now: Instant) -> u64 {
        let waited_for = self.others.iter().filter(|other| other.waited_for);
        let slowest_us = waited_for.map(|other| other.reached_us).min();
        let furthest_us = || {
            let own = self.cameras.iter().map(|camera| camera.low_us);
            let others = self.others.iter().map(|other| other.reached_us);
            own.chain(others).chain(self.idle_us(now)).max()
        };
        slowest_us.or_else(furthest_us).unwrap_or(0).min(TIME_MAX_US)
    }

    /// How far time has gone on since the last frame, by the wall clock; none before the first one.
    fn idle_us(&self, now: Instant) -> Option<u64> {
        let heard = self
            .cameras
            .iter()
            .filter(|camera| !camera.ended && camera.newest_us.is_some());
        let (heard_at, lateness_us) = heard.fold((None, 0), |(at, late_us), camera| {
            (at.max(Some(camera.heard_at)), camera.patience.lateness_us.max(late_us))
        });
        let idle_us = now.saturating_duration_since(heard_at?).as_micros();
        let idle_us = u64::try_from(idle_us).unwrap_or(TIME_MAX_US);
        let now_us = self.latest_us.saturating_add(idle_us).saturating_sub(lateness_us);
        Some(now_us / HOP_US * HOP_US)
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
        cameras.filter(|(_, camera)| !camera.ended && !camera.quiet)
    }

    fn is_far_behind(&self, idx: usize) -> bool {
        let camera = &self.cameras[idx];
        let (false, Some(skew_max_us), Some(newest_us)) =
            (camera.patience.can_wait, camera.patience.skew_max_us, camera.newest_us)
        else {
            return false;
        };
        newest_us.saturating_add(skew_max_us) < self.typical_us(idx, newest_us)
    }

    /// Where the cameras are, if this one is at `own_us`: the lower median of their newest frames, which one wrong clock among
    /// three does not move. Of two cameras nobody knows which is wrong; the one behind is believed.
    fn typical_us(&self, camera: usize, own_us: u64) -> u64 {
        let others = self.waited_for().filter(|(idx, _)| *idx != camera);
        let elsewhere = self.others.iter().filter(|other| other.waited_for);
        let elsewhere = elsewhere.filter_map(|other| other.newest_us);
        let here = others.filter_map(|(_, other)| other.newest_us);
        let mut newest: Vec<u64> = here.chain(elsewhere).collect();
        newest.push(own_us);
        newest.sort_unstable();
        newest[(newest.len() - 1) / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;
    const HOUR_US: u64 = 3_600_000_000;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_frame_within_the_lateness_keeps_its_time_and_a_later_one_is_stamped_up() {
        let start = Instant::now();
        let mut watermark = Watermark::new([Patience::LIVE], 0, start);
        assert_eq!(watermark.stamp(0, 1_000 * MS, start).time_us, 1_000 * MS);
        assert_eq!(watermark.advance(start, |_| false), 900 * MS);
        assert_eq!(watermark.stamp(0, 950 * MS, start).time_us, 950 * MS);
        let late = watermark.stamp(0, 100 * MS, start);
        assert_eq!(
            late,
            Stamp {
                time_us: 900 * MS,
                low_us: 900 * MS
            }
        );
    }

    #[test]
    fn the_slowest_camera_holds_time_until_it_is_silent_too_long() {
        let start = Instant::now();
        let mut watermark = Watermark::new([Patience::LIVE, Patience::LIVE], 0, start);
        watermark.stamp(0, 1_000 * MS, start);
        assert_eq!(
            watermark.advance(start, |_| false),
            0,
            "the other one has not been heard of"
        );
        watermark.stamp(1, 1_000 * MS, start);
        for step in 1..100 {
            watermark.stamp(0, (1_000 + 10 * step) * MS, at(start, 10 * step));
            let reached = watermark.advance(at(start, 10 * step), |_| false);
            let expected = if step < 50 { 900 } else { 900 + 10 * step };
            assert_eq!(reached, expected * MS, "step {step}");
        }
        assert_eq!(
            watermark.next_silence(),
            Some(at(start, 990 + 500)),
            "the silent camera sets no timer"
        );
        let back = watermark.stamp(1, 1_010 * MS, at(start, 1_000));
        assert_eq!(back.time_us, (900 + 990) * MS, "late, not lost");
        assert_eq!(watermark.advance(at(start, 1_000), |_| false), (900 + 990) * MS);
    }

    #[test]
    fn a_worker_whose_cameras_are_silent_follows_the_others() {
        let start = Instant::now();
        let mut silent = Watermark::new([Patience::LIVE], 0, start);
        let mut busy = Watermark::new([Patience::LIVE], 0, start);
        busy.stamp(0, 1_000 * MS, start);
        busy.advance(start, |_| false);
        silent.hear(vec![busy.position()]);
        assert_eq!(silent.advance(start, |_| false), 0, "it may still begin");
        assert_eq!(silent.advance(at(start, 500), |_| false), 900 * MS);
        busy.stamp(0, 2_000 * MS, at(start, 900));
        busy.advance(at(start, 900), |_| false);
        silent.hear(vec![busy.position(), Position::default()]);
        assert_eq!(
            silent.advance(at(start, 900), |_| false),
            900 * MS,
            "a third has not been heard of"
        );
        silent.hear(vec![busy.position()]);
        assert_eq!(silent.advance(at(start, 900), |_| false), 1_900 * MS);
        busy.advance(at(start, 9_000), |_| false);
        assert!(!busy.position().waited_for && !silent.position().waited_for);
        busy.hear(vec![silent.position()]);
        assert_eq!(
            busy.advance(at(start, 9_000), |_| false),
            10_000 * MS,
            "silent everywhere: 8,100 ms after the last frame, less its lateness"
        );
        silent.hear(vec![busy.position()]);
        assert_eq!(silent.advance(at(start, 9_000), |_| false), 10_000 * MS);
        silent.hear(vec![]);
        assert_eq!(
            silent.advance(at(start, 9_000), |_| false),
            10_000 * MS,
            "time never goes back"
        );
    }

    #[test]
    fn a_wrong_clock_is_found_out_by_cameras_of_other_workers() {
        let start = Instant::now();
        let elsewhere = |newest_us| Position {
            newest_us: Some(newest_us),
            ..Position::default()
        };
        let mut watermark = Watermark::new([Patience::LIVE], 0, start);
        watermark.hear(vec![elsewhere(HOUR_US), elsewhere(HOUR_US + MS)]);
        let ahead = watermark.stamp(0, 2 * HOUR_US, start).time_us;
        assert!(ahead <= HOUR_US + 3_000 * MS, "{ahead}");
    }

    #[test]
    fn a_camera_whose_frames_wait_for_us_is_not_silent() {
        let start = Instant::now();
        let mut watermark = Watermark::new([Patience::LIVE, Patience::LIVE], 0, start);
        watermark.stamp(0, 5_000 * MS, start);
        watermark.stamp(1, 4_000 * MS, start);
        assert_eq!(watermark.advance(at(start, 10_000), |idx| idx == 1), 3_900 * MS);
        assert_eq!(
            watermark.advance(at(start, 10_000), |_| false),
            14_000 * MS,
            "all silent: the furthest, and the wall clock from there"
        );
    }

    #[test]
    fn a_clock_an_hour_off_stops_nobody_and_is_overruled() {
        for off in [true, false] {
            let start = Instant::now();
            let mut watermark = Watermark::new([Patience::LIVE; 3], 0, start);
            let now_us = 10 * HOUR_US;
            let wrong_us = if off { now_us + HOUR_US } else { now_us - HOUR_US };
            let mut reached = 0;
            for step in 0..200 {
                let now = at(start, 30 * step);
                let moment = 30 * step * MS;
                watermark.stamp(0, now_us + moment, now);
                watermark.stamp(1, now_us + moment, now);
                let wrong = watermark.stamp(2, wrong_us + moment, now);
                reached = watermark.advance(now, |_| false);
                if step > 0 {
                    assert!(wrong.time_us.abs_diff(now_us + moment) <= 2_000 * MS, "{wrong:?}");
                }
            }
            assert!(reached + 500 * MS >= now_us + 199 * 30 * MS, "ahead {off}: {reached}");
        }
    }

    #[test]
    fn files_wait_for_each_other_and_never_for_ever() {
        let start = Instant::now();
        let mut watermark = Watermark::new([Patience::FILES; 2], 0, start);
        watermark.offer(0, HOUR_US);
        assert!(!watermark.may_enter(0), "the other may have an earlier one");
        watermark.offer(1, 2 * HOUR_US);
        assert!(!watermark.may_enter(1));
        assert!(watermark.may_enter(0), "both wait: the earlier one");
        watermark.stamp(0, HOUR_US, start);
        watermark.offer(0, HOUR_US + 5_000 * MS);
        assert!(watermark.may_enter(0));
        watermark.stamp(0, HOUR_US + 5_000 * MS, start);
        assert!(!watermark.may_enter(1));
        watermark.end(0);
        assert!(watermark.may_enter(1));
    }

    #[test]
    fn a_recording_is_stamped_as_it_was() {
        let start = Instant::now();
        let mut live = Watermark::new([Patience::LIVE, Patience::LIVE], 0, start);
        let mut state = 7_u64;
        let mut recorded = Vec::new();
        for step in 0..2_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (camera, jitter) = ((state >> 60) as usize % 2, (state >> 40) % 250);
            let stamp = live.stamp(camera, (1_000 + 10 * step - jitter) * MS, at(start, 10 * step));
            live.advance(at(start, 10 * step), |_| false);
            recorded.push((camera, stamp));
        }
        // Replayed at once, and each camera by itself.
        for only in [None, Some(0), Some(1)] {
            let mut replay = Watermark::new([Patience::FILES, Patience::FILES], 0, start);
            for &(camera, stamp) in recorded
                .iter()
                .filter(|(camera, _)| only.is_none_or(|only| only == *camera))
            {
                assert_eq!(replay.repeat(camera, stamp, start).time_us, stamp.time_us);
                let reached = replay.advance(start, |_| false);
                assert!(reached <= stamp.low_us);
            }
        }
    }

    #[test]
    fn time_ends_with_a_hop_and_goes_on_for_what_is_said_later() {
        let start = Instant::now();
        let mut watermark = Watermark::new([Patience::FILES], 0, start);
        watermark.stamp(0, 2_500 * MS, start);
        watermark.end(0);
        assert_eq!(
            [watermark.close(1_000 * MS), watermark.close(1_000 * MS)],
            [3_000 * MS; 2]
        );
        assert_eq!(watermark.stamp_control(None), 3_000 * MS);
        assert_eq!(
            [watermark.close(1_000 * MS), watermark.close(1_000 * MS)],
            [4_000 * MS; 2]
        );
        let mut nothing = Watermark::new([Patience::FILES], 7_000 * MS, start);
        assert_eq!(
            nothing.close(1_000 * MS),
            7_000 * MS,
            "a run that goes on with nothing stays where it was"
        );
    }

    #[test]
    fn absurd_times_are_bounded() {
        let start = Instant::now();
        let mut watermark = Watermark::new([Patience::FILES], 0, start);
        assert_eq!(watermark.stamp(0, u64::MAX, start).time_us, TIME_MAX_US);
        let absurd = Stamp {
            time_us: u64::MAX,
            low_us: u64::MAX,
        };
        assert_eq!(watermark.repeat(0, absurd, start).time_us, TIME_MAX_US);
        assert_eq!(watermark.advance(start, |_| false), TIME_MAX_US);
    }
}
