//! The picture adds up, whatever comes in whatever order.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use intakt_operators::dataflow::{Scope, ScoreFigures};
use intakt_operators::metrics::Tally;

use super::*;

/// A clock that stands still.
struct Noon;

impl Clock for Noon {
    fn now_us(&self) -> u64 {
        43_200_000_000
    }
}

/// A clock that is set by hand.
#[derive(Default)]
struct Watch(AtomicU64);

impl Clock for Watch {
    fn now_us(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

fn board(stop: &StopFlag) -> LiveBoard {
    LiveBoard::new(["left".into()], Latencies::default(), stop.clone(), Arc::new(Noon))
}

fn judged(seq: u64, decision: Decision) -> JudgedFrame {
    let verdict = Verdict {
        camera: "left".into(),
        seq,
        captured_at_us: seq * 100,
        origin: "".into(),
        detector: "".into(),
        decision,
        image_score: 1.0,
        threshold: 2.0,
        calibrated_score: 0.25,
        regions: vec![],
        suppressed: vec![],
    };
    JudgedFrame {
        verdict: Arc::new(verdict),
        evidence: None,
    }
}

fn rate(window: Window, end_us: u64, revision: u32, frames: i64) -> Rate {
    let scope = Scope::Camera("left".into());
    Rate {
        key: RateKey { scope, window },
        start_us: 0,
        end_us,
        at_us: end_us,
        open: false,
        revision,
        before: None,
        after: Tally {
            frames,
            ..Tally::default()
        },
    }
}

#[test]
fn every_frame_is_captured_and_then_becomes_one_thing() {
    let board = board(&StopFlag::default());
    let left: Arc<str> = "left".into();
    (0..6).for_each(|seq| board.captured(&left, seq, seq * 100));
    let broken = Decision::Unreadable {
        reason: "torn".to_owned(),
    };
    for (seq, decision) in [(2, Decision::Reject), (0, Decision::Pass), (1, broken)] {
        board.at_once(&judged(seq, decision)).expect("counted");
    }
    board.dropped(&DroppedFrame {
        camera: left,
        seq: 3,
        captured_at_us: 300,
        reason: DropReason::DropOldest,
    });
    let camera = &board.status().cameras[0];
    assert_eq!((camera.captured, camera.judged, camera.waiting), (6, 2, 2));
    assert_eq!((camera.passed, camera.rejected, camera.unreadable), (1, 1, 1));
    assert_eq!(
        camera.dropped,
        [DroppedCount {
            reason: DropReason::DropOldest,
            frames: 1
        }]
    );
    let last = camera.last_verdict.as_ref().expect("there were verdicts");
    assert_eq!(
        (last.seq, &last.decision),
        (2, &Decision::Reject),
        "the newest, not the last to come"
    );
}

#[test]
fn the_lag_is_how_long_the_oldest_frame_waits_for_the_log() {
    let clock = Arc::new(Watch::default());
    let cameras = ["left".into(), "right".into()];
    let board = LiveBoard::new(cameras, Latencies::default(), StopFlag::default(), clock.clone());
    let lag = || board.status().frontier_lag_seconds;
    let logged = |camera: &str, seq| {
        let dropped = DroppedFrame {
            camera: camera.into(),
            seq,
            captured_at_us: 0,
            reason: DropReason::DropOldest,
        };
        board.outcome(0, &Outcome::Dropped(dropped)).expect("noted");
    };
    board.captured(&"left".into(), 0, 5_000_000);
    assert_eq!(lag(), None, "time has not moved yet");
    board.passed(3_500_000).expect("noted");
    clock.0.store(1_000_000, Relaxed);
    // Event time says nothing about it.
    board.captured(&"left".into(), 1, 3_600_000_000);
    board.captured(&"right".into(), 0, 0);
    assert_eq!(lag(), Some(1.0));
    logged("left", 0);
    clock.0.store(1_500_000, Relaxed);
    assert_eq!(lag(), Some(0.5));
    logged("left", 1);
    assert_eq!(lag(), Some(0.5), "the other camera's");
    logged("right", 0);
    assert_eq!(lag(), Some(0.0));
    (0..3 * UNLOGGED_MAX as u64).for_each(|seq| board.captured(&"left".into(), 2 + seq, 0));
    clock.0.store(9_500_000, Relaxed);
    assert_eq!(lag(), Some(8.0), "also when more wait than are measured");
}

#[test]
fn a_trouble_is_over_when_a_frame_comes_and_is_not_forgotten() {
    let board = board(&StopFlag::default());
    let left: Arc<str> = "left".into();
    let trouble = |board: &LiveBoard| board.status().cameras[0].last_trouble.clone().expect("told");
    board.trouble(&left, &"ü".repeat(2 * TROUBLE_CHARS_MAX));
    assert!(!trouble(&board).over);
    assert_eq!(trouble(&board).reason.chars().count(), TROUBLE_CHARS_MAX);
    board.captured(&left, 0, 0);
    assert!(trouble(&board).over);
}

#[test]
fn the_newest_window_of_each_kind_is_shown() {
    let board = board(&StopFlag::default());
    let minute = Window::Sliding { length_us: 60_000_000 };
    let lot = |name: &str| Window::Lot { lot: name.into() };
    for rate in [
        rate(minute.clone(), 90, 0, 9),
        rate(minute.clone(), 60, 1, 6),
        rate(minute, 90, 1, 10),
        rate(lot("a"), 50, 0, 1),
        rate(lot("b"), 70, 0, 2),
    ] {
        board.rate(&rate).expect("noted");
    }
    let frames: Vec<i64> = board.status().rates.iter().map(|rate| rate.after.frames).collect();
    assert_eq!(frames, [10, 2]);
}

#[test]
fn what_labels_and_scores_say_is_that_of_the_newest_window() {
    let board = board(&StopFlag::default());
    let minute = Window::Sliding { length_us: 60_000_000 };
    let labelled = |end_us, normal_rejected| {
        let mut rate = rate(minute.clone(), end_us, 0, 9);
        rate.after.normal_rejected = normal_rejected;
        rate
    };
    let scored = |end_us, p50| {
        let of = rate(minute.clone(), end_us, 0, 9);
        ScoreRate {
            key: of.key,
            start_us: 0,
            end_us,
            at_us: of.at_us,
            open: false,
            revision: 0,
            before: None,
            after: ScoreFigures {
                p50: Some(p50),
                ..ScoreFigures::default()
            },
        }
    };
    board.rate(&labelled(60, 0)).expect("noted");
    assert_eq!(board.status().quality, [], "nobody has labelled anything");
    for (end_us, normal_rejected, p50) in [(120, 2, 0.3), (90, 7, 0.9)] {
        board.rate(&labelled(end_us, normal_rejected)).expect("noted");
        board.score_rate(&scored(end_us, p50)).expect("noted");
    }
    let status = board.status();
    assert_eq!(status.scores, [scored(120, 0.3)]);
    let quality = &status.quality[0];
    assert_eq!((quality.labelled, quality.false_reject_rate), (2, Some(1.0)));
    let json = serde_json::to_string(quality).expect("writes");
    assert!(!json.contains("recall"), "nothing is anomalous: {json}");
}

#[test]
fn the_newest_answer_to_each_question_is_shown_while_it_is_asked() {
    let board = board(&StopFlag::default());
    let answer = |name: &str, rejects: Option<i64>| WhatIf {
        camera: "left".into(),
        name: name.into(),
        at_us: 60_000_000,
        before: None,
        after: rejects.map(|rejects| Tally {
            rejects,
            ..Tally::default()
        }),
    };
    for (name, rejects) in [
        ("strict", Some(1)),
        ("lax", Some(0)),
        ("strict", Some(7)),
        ("lax", None),
    ] {
        board.what_if(&answer(name, rejects)).expect("noted");
    }
    assert_eq!(board.status().what_ifs, [answer("strict", Some(7))]);
}

#[test]
fn a_run_starts_runs_ends_and_has_ended() {
    let stop = StopFlag::default();
    let board = board(&stop);
    let mut states = vec![board.status().state];
    board.started();
    states.push(board.status().state);
    stop.stop();
    states.push(board.status().state);
    board.end();
    states.push(board.status().state);
    use RunState::{Ended, Ending, Running, Starting};
    assert_eq!(states, [Starting, Running, Ending, Ended]);
}

#[test]
fn a_status_survives_json_in_a_fixed_order() {
    let board = board(&StopFlag::default());
    board
        .latencies
        .record("embed", &"left".into(), Duration::from_millis(3));
    board.captured(&"left".into(), 0, 7);
    board.at_once(&judged(0, Decision::Pass)).expect("counted");
    board
        .rate(&rate(Window::Sliding { length_us: 60_000_000 }, 60_000_000, 0, 4))
        .expect("noted");
    let status = board.status();
    let json = serde_json::to_string(&status).expect("writes");
    assert_eq!(serde_json::from_str::<LiveStatus>(&json).expect("reads"), status);
    assert!(
        json.starts_with(
            r#"{"state":"starting","said_at_us":43200000000,"keeps_log":true,"frontier_us":null,"newest_captured_at_us":7,"#
        ),
        "{json}"
    );
}

#[test]
fn of_several_processes_only_process_0_keeps_the_log_and_shows_that_it_stands_still() {
    let clock = Arc::new(Watch::default());
    let board = || LiveBoard::new([], Latencies::default(), StopFlag::default(), clock.clone());
    let (alone, first, second) = (board(), board().in_process(0), board().in_process(1));
    for board in [&alone, &first] {
        board.passed(1_000_000).unwrap();
    }
    clock.0.store(3_000_000, Relaxed);
    let lag = |board: &LiveBoard| board.status().frontier_lag_seconds;
    // Alone nothing waits; of several, something may wait where nobody here sees it.
    assert_eq!([lag(&alone), lag(&first), lag(&second)], [Some(0.0), Some(3.0), None]);
    first.passed(2_000_000).unwrap();
    assert_eq!(lag(&first), Some(0.0));
    let keeps_log = [&alone, &first, &second].map(|board| board.status().keeps_log);
    assert_eq!(keeps_log, [true, true, false]);
}
