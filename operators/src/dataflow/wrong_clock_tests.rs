//! Cameras whose clocks jump: time goes on, at its own pace, and every frame's turn comes.

use std::time::Duration;

use super::*;

const MS: u64 = 1_000;
const HOUR_US: u64 = 3_600_000_000;
/// Where the cameras' clocks are when a test begins.
const NOON_US: u64 = 12 * HOUR_US;

/// A watermark, and a wall clock that begins at noon.
struct Line {
    watermark: Watermark,
    start: Instant,
    millis: u64,
    /// Times of the frames that have not had their turn, each with when it came.
    waiting: Vec<(u64, u64)>,
}

impl Line {
    fn new(cameras: usize) -> Self {
        let start = Instant::now();
        Self {
            watermark: Watermark::new(vec![Patience::LIVE; cameras], 0, start),
            start,
            millis: 0,
            waiting: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.millis)
    }

    fn noon_us(&self) -> u64 {
        NOON_US + self.millis * MS
    }

    /// Lets in a frame of a camera whose clock is off by `off_us`.
    fn frame(&mut self, camera: usize, off_us: i64) -> Stamp {
        let captured_at_us = self.noon_us().saturating_add_signed(off_us);
        let stamp = self.watermark.stamp(camera, captured_at_us, self.now());
        self.waiting.push((stamp.time_us, self.millis));
        stamp
    }

    /// Lets 100 ms go by. How long the frame that waits longest has waited, milliseconds.
    fn tick(&mut self) -> u64 {
        self.millis += 100;
        let reached_us = self.watermark.advance(self.now(), |_| false);
        self.waiting.retain(|(time_us, _)| *time_us >= reached_us);
        let oldest = self.waiting.iter().map(|(_, came)| self.millis - came).max();
        oldest.unwrap_or(0)
    }

    /// For 30 s frames of cameras whose clocks are off; the longest that one of them waited for its turn.
    fn go(&mut self, cameras: &[(usize, i64)]) -> u64 {
        let mut longest = 0;
        for _ in 0..300 {
            for &(camera, off_us) in cameras {
                self.frame(camera, off_us);
            }
            longest = longest.max(self.tick());
        }
        longest
    }
}

const HOUR: i64 = HOUR_US as i64;

#[test]
fn a_clock_that_jumps_while_the_others_are_silent_goes_by_theirs() {
    for silent in [1, 2] {
        let mut line = Line::new(1 + silent);
        (0..=silent).for_each(|camera| assert_eq!(line.frame(camera, 0).time_us, NOON_US));
        (0..50).for_each(|_| assert!(line.tick() <= 2_000));
        assert_eq!(line.frame(0, HOUR).time_us, line.noon_us(), "{silent} silent");
        assert!(line.go(&[(0, 0)]) <= 300, "{silent} silent");
        assert!(line.frame(1, 0).time_us <= line.noon_us());
    }
}

#[test]
fn a_clock_that_stays_ahead_while_the_other_is_silent_goes_by_its_time() {
    let mut line = Line::new(2);
    line.frame(1, 0);
    assert!(line.go(&[(0, HOUR)]) <= 1_000);
    assert!(line.watermark.advance(line.now(), |_| false) <= line.noon_us());
}

#[test]
fn frames_have_their_turn_after_the_only_clock_stepped_back() {
    let mut line = Line::new(1);
    line.go(&[(0, 0)]);
    assert!(line.go(&[(0, -HOUR)]) <= 1_300);
    let reached_us = line.watermark.advance(line.now(), |_| false);
    assert!(reached_us <= line.noon_us(), "time goes as fast as the wall clock");
    assert!(line.go(&[(0, 0)]) <= 1_300, "and right again");
}

#[test]
fn frames_have_their_turn_after_the_only_clock_jumped_and_came_back() {
    let mut line = Line::new(1);
    line.go(&[(0, 0)]);
    line.frame(0, HOUR);
    assert!(line.go(&[(0, 0)]) <= 1_300);
    let ahead_us = line.watermark.advance(line.now(), |_| false) - line.noon_us();
    assert!(ahead_us <= HOUR_US, "time goes as fast as the wall clock");
}

#[test]
fn frames_have_their_turn_when_a_run_goes_on_ahead_of_its_cameras() {
    let mut line = Line::new(2);
    line.watermark = Watermark::new([Patience::LIVE; 2], NOON_US + HOUR_US, line.start);
    assert!(line.go(&[(0, 0), (1, 500_000)]) <= 1_300);
}

#[test]
fn of_two_the_one_behind_has_no_say_once_time_has_passed_it() {
    let mut line = Line::new(2);
    line.go(&[(0, 0), (1, 0)]);
    assert!(line.go(&[(0, -HOUR), (1, 0)]) <= 300);
    let right = line.frame(1, 0);
    assert_eq!(right.time_us, line.noon_us());
}

#[test]
fn the_clocks_of_all_may_be_set() {
    for (cameras, off_us) in [(1, HOUR), (2, HOUR), (3, HOUR), (1, -HOUR), (2, -HOUR), (3, -HOUR)] {
        let mut line = Line::new(cameras);
        let all = |off_us| (0..cameras).map(|camera| (camera, off_us)).collect::<Vec<_>>();
        line.go(&all(0));
        assert!(line.go(&all(off_us)) <= 1_300, "{cameras} by {off_us}");
        if off_us > 0 {
            assert_eq!(line.frame(0, off_us).time_us, line.noon_us() + HOUR_US, "{cameras}");
        }
    }
}

#[test]
fn a_file_does_not_wait_for_a_camera_that_time_has_passed() {
    let mut line = Line::new(0);
    line.watermark = Watermark::new([Patience::LIVE, Patience::FILES], 0, line.start);
    line.frame(1, 0);
    line.go(&[(0, 0), (1, 0)]);
    for step in 0..100 {
        line.frame(0, -HOUR);
        line.tick();
        line.watermark.offer(1, line.noon_us());
        assert!(line.watermark.may_enter(1), "step {step}");
        line.frame(1, 0);
    }
}

#[test]
fn a_silent_camera_of_another_worker_is_compared_with_too() {
    let (mut busy, mut silent) = (Line::new(1), Line::new(1));
    silent.start = busy.start;
    silent.frame(0, 0);
    for step in 0..100 {
        silent.tick();
        busy.watermark.hear(vec![silent.watermark.position(silent.now())]);
        let off_us = if step == 50 { HOUR } else { 0 };
        let time_us = busy.frame(0, off_us).time_us;
        assert!(time_us.abs_diff(busy.noon_us()) <= 100 * MS, "step {step}");
        busy.tick();
        silent.watermark.hear(vec![busy.watermark.position(busy.now())]);
    }
    assert!(!silent.watermark.position(silent.now()).waited_for);
}

#[test]
fn a_worker_whose_camera_time_has_passed_holds_nobody() {
    let (mut first, mut second) = (Line::new(1), Line::new(1));
    second.start = first.start;
    for off_us in [0, -HOUR] {
        for _ in 0..100 {
            for (one, other) in [(0, 1), (1, 0)] {
                let lines = [&mut first, &mut second];
                lines[one].frame(0, off_us);
                assert!(lines[one].tick() <= 1_500, "{off_us}");
                let position = lines[one].watermark.position(lines[one].now());
                lines[other].watermark.hear(vec![position]);
            }
        }
    }
}

#[test]
fn time_goes_on_after_the_latest_there_is() {
    let mut line = Line::new(1);
    line.watermark.stamp(0, u64::MAX, line.start);
    assert!(line.go(&[(0, 0)]) <= 1_300);
    assert!(line.watermark.advance(line.now(), |_| false) < TIME_MAX_US);
}

#[test]
fn a_clock_that_is_off_can_be_told() {
    let mut line = Line::new(2);
    line.go(&[(0, 0), (1, 0)]);
    let (noon_us, now) = (line.noon_us(), line.now());
    let off = |at_us| line.watermark.clock_off(0, at_us, now).map(|off| off.to_string());
    assert_eq!(off(noon_us), None);
    let ahead = off(noon_us + HOUR_US).unwrap();
    assert!(ahead.contains("3600 s ahead"), "{ahead}");
    let behind = off(noon_us - HOUR_US).unwrap();
    assert!(behind.contains("3600 s behind"), "{behind}");
}

#[test]
fn time_never_stands_still_whatever_the_clocks_say() {
    let mut state = 11_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..200 {
        let n_cameras = 1 + random(4) as usize;
        let mut line = Line::new(n_cameras);
        let (mut off_us, mut sends) = (vec![0_i64; n_cameras], vec![true; n_cameras]);
        let (mut moved_at, mut reached_us) = (0, 0);
        for _ in 0..1_000 {
            let camera = random(n_cameras as u64) as usize;
            if random(40) == 0 {
                off_us[camera] = [0, 0, 1_500_000, 3_000_000, HOUR][random(5) as usize] * (random(3) as i64 - 1);
                sends[camera] = random(3) > 0;
            }
            for camera in (0..n_cameras).filter(|&camera| sends[camera]) {
                // One in a hundred frames is alone in what it says.
                let off_us = if random(100) == 0 { HOUR } else { off_us[camera] };
                line.frame(camera, off_us);
            }
            line.tick();
            let before_us = std::mem::replace(&mut reached_us, line.watermark.advance(line.now(), |_| false));
            if before_us < reached_us {
                moved_at = line.millis;
            }
            assert!(
                line.millis - moved_at <= 5_000,
                "round {round}, after {} ms",
                line.millis
            );
        }
    }
}
