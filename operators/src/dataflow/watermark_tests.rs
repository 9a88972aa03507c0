//! Tests of the watermark.

use std::time::Duration;

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
    silent.hear(vec![busy.position(start)]);
    assert_eq!(silent.advance(start, |_| false), 0, "it may still begin");
    assert_eq!(silent.advance(at(start, 500), |_| false), 900 * MS);
    busy.stamp(0, 2_000 * MS, at(start, 900));
    busy.advance(at(start, 900), |_| false);
    silent.hear(vec![busy.position(at(start, 900)), Position::default()]);
    assert_eq!(
        silent.advance(at(start, 900), |_| false),
        900 * MS,
        "a third has not been heard of"
    );
    silent.hear(vec![busy.position(at(start, 900))]);
    assert_eq!(silent.advance(at(start, 900), |_| false), 1_900 * MS);
    busy.advance(at(start, 9_000), |_| false);
    assert!(!busy.position(at(start, 9_000)).waited_for && !silent.position(at(start, 9_000)).waited_for);
    busy.hear(vec![silent.position(at(start, 9_000))]);
    assert_eq!(
        busy.advance(at(start, 9_000), |_| false),
        10_000 * MS,
        "silent everywhere: 8,100 ms after the last frame, less its lateness"
    );
    silent.hear(vec![busy.position(at(start, 9_000))]);
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
    assert_eq!(watermark.stamp_control(0, None), 3_000 * MS);
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
