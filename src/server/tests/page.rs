//! What a page in a browser is told and shown.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::described::check_answer;
use super::{FRAMES, Going, HANG, LIMITS, image, post};

/// How the line is, again and again, as a page is told.
pub(super) fn events(address: SocketAddr) -> impl Iterator<Item = serde_json::Value> {
    named("line", heard(address, "/api/v1/events?pictures=true"))
}

/// The pictures that a page is told.
pub(super) fn pictures(address: SocketAddr) -> impl Iterator<Item = serde_json::Value> {
    named("picture", heard(address, "/api/v1/events?pictures=true"))
}

fn named(
    name: &'static str,
    events: impl Iterator<Item = (String, serde_json::Value)>,
) -> impl Iterator<Item = serde_json::Value> {
    events.filter(move |(found, _)| found == name).map(|(_, data)| data)
}

/// Events, one after the other, with their names.
fn heard(address: SocketAddr, path: &str) -> impl Iterator<Item = (String, serde_json::Value)> + use<> {
    let mut name = String::new();
    streamed(address, path, "").filter_map(move |line| {
        if let Some(next) = line.strip_prefix("event: ") {
            name = next.to_owned();
        }
        let data = line.strip_prefix("data: ")?;
        Some((name.clone(), serde_json::from_str(data).unwrap()))
    })
}

/// The bytes of a picture that was told.
pub(super) fn file_of(picture: &serde_json::Value) -> Vec<u8> {
    STANDARD.decode(picture["jpeg"].as_str().unwrap()).unwrap()
}

/// The lines of an answer that does not end; asked for with `headers`, each with its line break.
pub(super) fn streamed(address: SocketAddr, path: &str, headers: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    std::io::BufReader::new(stream).lines().map(Result::unwrap)
}

#[test]
fn viewers_leave_places_for_those_who_ask() {
    let run = Going::start(LIMITS, None, false);
    run.ready();
    let mut viewers: Vec<_> = (0..LIMITS.viewers_max).map(|_| events(run.address)).collect();
    assert!(viewers.iter_mut().all(|viewer| viewer.next().is_some()));
    assert_eq!(run.get("/api/v1/events").status, 503);
    assert_eq!(run.get("/health").status, 200);
    // A place is free again when the next event finds nobody.
    viewers.pop();
    let began = std::time::Instant::now();
    while events(run.address).next().is_none() {
        assert!(began.elapsed() < HANG);
    }
    run.end();
}

#[test]
fn a_page_is_told_of_verdicts_and_shows_small_pictures() {
    let run = Going::start(LIMITS, None, false);
    run.ready();
    let mut events = events(run.address);
    let camera = |event: &serde_json::Value| event["cameras"][0].clone();
    let before = camera(&events.next().unwrap());
    assert_eq!(
        (&before["camera"], &before["state"]),
        (&"dock".into(), &"starting".into())
    );
    assert_eq!(before["last"], serde_json::Value::Null);
    assert_eq!(
        run.get("/api/v1/cameras/dock/picture?which=newest").status,
        404,
        "nothing was drawn"
    );
    let began = std::time::Instant::now();
    assert_eq!(post(run.address, FRAMES, &image()).status, 200);
    let told = events
        .by_ref()
        .map(|event| camera(&event))
        .find(|camera| camera["judged"] == 1)
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(told["last"]["seq"], 0);
    let drawn = events
        .map(|event| camera(&event))
        .find(|camera| !camera["picture"].is_null())
        .unwrap();
    assert_eq!(drawn["picture"]["seq"], 0);
    let drawn_at_us = &drawn["picture"]["drawn_at_us"];
    let picture = |headers: &str| {
        let mut stream = TcpStream::connect(run.address).unwrap();
        let head = format!(
            "GET /api/v1/cameras/dock/picture?which=newest&drawn_at_us={drawn_at_us} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        (
            String::from_utf8(reply[..end].to_vec()).unwrap(),
            reply[end + 4..].to_vec(),
        )
    };
    let (head, jpeg) = picture("");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("image/jpeg"),
        "{head}"
    );
    assert!(head.contains("immutable"), "the one that was asked for: {head}");
    assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]) && jpeg.ends_with(&[0xff, 0xd9]));
    // Whoever comes is told of it at once.
    let told = pictures(run.address).next().unwrap();
    assert_eq!(
        (&told["camera"], &told["seq"], &told["drawn_at_us"]),
        (&"dock".into(), &0.into(), drawn_at_us)
    );
    assert!(file_of(&told) == jpeg, "the same picture");
    check_answer("CameraPicture", &told, "picture");
    check_answer("Line", &super::page::events(run.address).next().unwrap(), "line");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (head, nothing) = picture(&format!("if-none-match: {tag}\r\n"));
    assert!(head.starts_with("HTTP/1.1 304") && nothing.is_empty(), "{head}");
    for path in ["dock/picture?which=other", "dock/picture", "quay/picture?which=newest"] {
        let refused = run.get(&format!("/api/v1/cameras/{path}"));
        assert!([400, 404].contains(&refused.status), "{path}: {refused:?}");
        assert!(refused.head.contains("application/problem+json"), "{path}: {refused:?}");
    }
    run.end();
}

#[test]
fn pictures_are_drawn_for_those_who_look_at_them() {
    let run = Going::start(LIMITS, None, false);
    run.ready();
    let post_one = || assert_eq!(post(run.address, FRAMES, &image()).status, 200);
    let drawn = |event: serde_json::Value| event["cameras"][0]["picture"]["seq"].as_u64();
    let mut hears = named("line", heard(run.address, "/api/v1/events"));
    post_one();
    assert_eq!(hears.by_ref().find_map(drawn), Some(0));
    let began = std::time::Instant::now();
    // More than a second later, with somebody who hears of the line and of verdicts, but looks at no picture.
    assert!(hears.nth(5).is_some());
    post_one();
    let later = hears.nth(5).and_then(drawn);
    assert!(
        later == Some(0) || began.elapsed() > Duration::from_secs(8),
        "{later:?}"
    );
    // Who does not look is told none.
    let names = heard(run.address, "/api/v1/events").map(|(name, _)| name);
    assert!(names.take(8).all(|name| name == "line"));
    let began = std::time::Instant::now();
    let mut looks = events(run.address);
    while looks.next().and_then(drawn) == Some(0) {
        assert!(began.elapsed() < Duration::from_secs(5));
        post_one();
    }
    // Each picture is told once: the one that is there, and then newer ones.
    let mut seqs = Vec::new();
    for (name, data) in heard(run.address, "/api/v1/events?pictures=true") {
        match name.as_str() {
            "picture" => seqs.push(data["seq"].as_u64().unwrap()),
            _ => post_one(),
        }
        if seqs.len() == 3 {
            break;
        }
    }
    assert!(seqs.is_sorted_by(|before, after| before < after), "{seqs:?}");
    run.end();
}
