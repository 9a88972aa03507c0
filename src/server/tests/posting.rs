//! Images in, verdicts out, and what is not taken.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use intakt_operators::dataflow::Overflow;
use serde_json::Value;

use super::{FRAMES, Going, HANG, LIMITS, Limits, Reply, ask, exchange, image, post};

#[test]
fn a_frame_that_finds_the_queue_full_is_told_at_once_and_the_others_are_judged() {
    let run = Going::start(LIMITS, None, true);
    let address = run.address;
    let post_image = move || post(address, FRAMES, &image());
    let first = thread::spawn(post_image);
    run.held.recv_timeout(HANG).unwrap();
    run.captured.recv_timeout(HANG).unwrap();
    let second = thread::spawn(post_image);
    run.captured.recv_timeout(HANG).unwrap();
    let third = post_image();
    assert_eq!(third.status, 429, "{third:?}");
    assert!(third.head.contains("retry-after: 1"), "{third:?}");
    assert!(
        third.body.contains("drop-newest") && third.body.contains("\"seq\":2"),
        "{third:?}"
    );
    (0..2).for_each(|_| run.let_go.send(()).unwrap());
    for (seq, reply) in [first, second].into_iter().enumerate() {
        let reply = reply.join().unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(
            reply.body.contains(&format!("\"seq\":{seq}")) && reply.body.contains("\"decision\":\"pass\""),
            "{reply:?}"
        );
    }
    let metrics = run.get("/metrics").body;
    for line in [
        "intakt_frames_captured_total{camera=\"dock\"} 3",
        "intakt_frames_judged_total{camera=\"dock\"} 2",
        "intakt_frames_dropped_total{camera=\"dock\",reason=\"drop_newest\"} 1",
        "intakt_frames_waiting{camera=\"dock\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let report = run.end();
    assert_eq!((report.cameras["dock"].judged, report.cameras["dock"].dropped), (2, 1));
}

#[test]
fn a_frame_that_no_queue_has_room_for_is_withdrawn() {
    let run = Going::start_with(LIMITS, None, true, Overflow::Block);
    let address = run.address;
    let post_image = move || post(address, FRAMES, &image());
    // One is held in the dataflow, one waits in the queue, and the reader has one in hand.
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(thread::spawn(post_image));
        run.captured.recv_timeout(HANG).unwrap();
    }
    for _ in 0..2 {
        let withdrawn = post_image();
        assert_eq!(withdrawn.status, 429, "{withdrawn:?}");
        assert!(withdrawn.body.contains("not part of the run"), "{withdrawn:?}");
    }
    (0..3).for_each(|_| run.let_go.send(()).unwrap());
    for reply in taken {
        assert_eq!(reply.join().unwrap().status, 200);
    }
    let account = run.end().cameras["dock"].clone();
    assert_eq!((account.captured, account.judged, account.dropped), (3, 3, 0));
}

#[test]
fn connections_without_a_place_wait_until_one_is_given_up() {
    let limits = Limits {
        connections_max: 1,
        ..LIMITS
    };
    let run = Going::start(limits, None, false);
    let mut says_nothing = TcpStream::connect(run.address).unwrap();
    assert_eq!(run.get("/health").status, 200);
    says_nothing.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut reply = Vec::new();
    says_nothing
        .read_to_end(&mut reply)
        .expect("it was closed before the other one was answered");
    run.end();
}

#[test]
fn one_address_does_not_take_every_place() {
    let limits = Limits {
        connections_per_address_max: 2,
        header_wait_max: HANG,
        ..LIMITS
    };
    let run = Going::start(limits, None, false);
    let held = [(); 2].map(|()| TcpStream::connect(run.address).unwrap());
    let mut one_more = TcpStream::connect(run.address).unwrap();
    one_more.set_read_timeout(Some(HANG / 2)).unwrap();
    let closed = one_more.read(&mut [0]);
    let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(
        matches!(closed, Ok(0)) || closed.as_ref().is_err_and(is_reset),
        "{closed:?}"
    );
    drop(held);
    while TcpStream::connect(run.address).is_ok_and(|mut next| {
        let _ = next.write_all(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        !matches!(next.read(&mut [0]), Ok(1))
    }) {
        thread::yield_now();
    }
    run.end();
}

#[test]
fn who_does_not_read_the_answers_gives_the_place_up() {
    let limits = Limits {
        connections_max: 1,
        header_wait_max: HANG,
        ..LIMITS
    };
    let run = Going::start(limits, None, false);
    let mut never_reads = TcpStream::connect(run.address).unwrap();
    // Far more than a connection holds on its way.
    let asked = "GET /assets/style.css HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".repeat(2_000);
    never_reads.write_all(asked.as_bytes()).unwrap();
    assert_eq!(run.get("/health").status, 200);
    run.end();
}

#[test]
fn latencies_are_those_of_a_camera_and_of_the_last_minutes() {
    let run = Going::start(LIMITS, None, false);
    for _ in 0..2 {
        assert_eq!(post(run.address, FRAMES, &image()).status, 200);
    }
    for (query, minutes) in [
        ("", Value::Null),
        ("?camera=dock", Value::Null),
        ("?camera=dock&window=15m", 15.into()),
        ("?window=30s", 1.into()),
    ] {
        let said = run.json(&format!("/api/v1/latencies{query}"));
        assert_eq!(said["minutes"], minutes, "{query}");
        let stages = said["stages"].as_array().unwrap();
        let frame = stages.iter().find(|stage| stage["stage"] == "frame").unwrap();
        assert_eq!(frame["count"], 2, "{query}: {frame}");
        assert!(frame["micros_p99"].as_u64() > Some(0), "{query}: {frame}");
    }
    assert_eq!(run.get("/api/v1/latencies?camera=nowhere").status, 404);
    for window in ["2h", "61m", "0m", "shift", "-1m"] {
        let path = format!("/api/v1/latencies?window={window}");
        assert_eq!(run.get(&path).status, 400, "{window}");
    }
    run.end();
}

#[test]
fn nobody_waits_for_a_run_that_ends() {
    let run = Going::start(LIMITS, None, true);
    let address = run.address;
    let under_way = thread::spawn(move || post(address, FRAMES, &image()));
    run.held.recv_timeout(HANG).unwrap();
    run.stop.stop();
    let refused = post(address, FRAMES, &image());
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(run.get("/ready").status, 503);
    assert_eq!(run.get("/health").status, 200);
    // Frames under way are still judged, and answered.
    run.let_go.send(()).unwrap();
    assert_eq!(under_way.join().unwrap().status, 200);
    assert_eq!(run.end().cameras["dock"].captured, 1);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_verdict_that_does_not_come_is_not_waited_for_for_ever() {
    let limits = Limits {
        verdict_wait_max: Duration::from_millis(50),
        ..LIMITS
    };
    let run = Going::start(limits, None, true);
    let reply = post(run.address, FRAMES, &image());
    assert_eq!(reply.status, 504, "{reply:?}");
    assert!(reply.body.contains("\"seq\":0"), "{reply:?}");
    run.let_go.send(()).unwrap();
    assert_eq!(run.end().cameras["dock"].judged, 1, "it is judged nevertheless");
}

#[test]
fn a_form_is_no_image() {
    let run = Going::start(LIMITS, None, false);
    run.ready();
    for kind in ["multipart/form-data; boundary=cut", "Multipart/Form-Data"] {
        let refused = ask(
            run.address,
            "POST",
            FRAMES,
            &format!("content-type: {kind}\r\n"),
            &image(),
        );
        assert!(
            refused.status == 415 && refused.body.contains("--data-binary"),
            "{refused:?}"
        );
    }
    // What curl says of anything it is told to send.
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    assert_eq!(ask(run.address, "POST", FRAMES, form, &image()).json()["seq"], 0);
    run.end();
}

#[test]
fn requests_are_refused_before_they_cost_anything() {
    let run = Going::start(LIMITS, None, false);
    run.ready();
    let unknown = post(run.address, "/api/v1/cameras/do%22ck/frames", &image());
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert!(unknown.body.contains("these do: \\\"dock\\\""), "{unknown:?}");
    assert_eq!(run.get("/nothing").status, 404);
    assert_eq!(run.get(FRAMES).status, 405);
    assert_eq!(post(run.address, FRAMES, b"").status, 400);
    // Announced, and not.
    for taking in [
        &format!("POST {FRAMES}"),
        "POST /api/v1/labels",
        "POST /api/v1/detectors",
        "PUT /api/v1/cameras/dock/detector",
        "PUT /api/v1/cameras/dock/threshold",
        "POST /api/v1/session",
    ] {
        let announced = format!("{taking} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 999999999999\r\n\r\n");
        let refused = exchange(run.address, &announced, &[]);
        assert_eq!(refused.status, 413, "{taking}");
        assert!(
            refused.head.contains("application/problem+json") && refused.body.contains("the body has more than"),
            "{refused:?}"
        );
    }
    let chunked = format!("POST {FRAMES} HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n4e20\r\n");
    assert_eq!(exchange(run.address, &chunked, &vec![7; 20_000]).status, 413);
    // A body that does not come, and a header that does not end.
    let slow =
        format!("POST {FRAMES} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 9\r\n\r\nhalf");
    assert_eq!(exchange(run.address, &slow, &[]).status, 408);
    let cut = exchange(run.address, "GET /health HTTP/1.1\r\nhost: 127", &[]);
    assert_ne!(cut.status, 200, "the connection was closed: {cut:?}");
    assert_eq!(
        run.end().cameras["dock"].captured,
        0,
        "none of these is part of the run"
    );
}

#[test]
fn more_requests_than_a_second_has_are_told_when_to_come_again() {
    let limits = Limits {
        requests_per_second_max: 1,
        ..LIMITS
    };
    let run = Going::start(limits, None, false);
    let replies: Vec<Reply> = (0..20).map(|_| run.get("/health")).collect();
    let refused = replies.iter().find(|reply| reply.status == 429).expect("one a second");
    assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
    assert_eq!(replies[0].status, 200);
    run.end();
}
