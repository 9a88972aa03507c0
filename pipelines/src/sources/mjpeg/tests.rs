//! Against a server that misbehaves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;

use super::super::compliance::{Counter, Subject, Taken, TickingClock, frame, trouble};
use super::*;

const HEAD: &str = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=\"cut\"\r\n\r\n";

/// What the server sends over one connection, and whether it closes it then.
#[derive(Clone)]
struct Answer {
    pieces: Vec<Vec<u8>>,
    closes: bool,
    /// Counts the pieces that were sent.
    sent: Counter,
}

fn closing(bytes: impl Into<Vec<u8>>) -> Answer {
    Answer {
        closes: true,
        ..silent_after(bytes)
    }
}

fn silent_after(bytes: impl Into<Vec<u8>>) -> Answer {
    Answer {
        pieces: vec![bytes.into()],
        closes: false,
        sent: Counter::default(),
    }
}

fn part(bytes: &str) -> String {
    format!(
        "--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n{bytes}\r\n",
        bytes.len()
    )
}

/// Answers one connection after the other, the last answer to all that follow. Its threads end with the test binary.
fn serve(listener: TcpListener, answers: Vec<Answer>) {
    thread::spawn(move || {
        let mut open = Vec::new();
        for n in 0.. {
            let Ok((mut socket, _)) = listener.accept() else { break };
            let answer = answers[n.min(answers.len() - 1)].clone();
            let sent = answer.sent.newest();
            read_request(&mut socket);
            for piece in &answer.pieces {
                // The client may have gone.
                if socket.write_all(piece).is_err() {
                    break;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
            if !answer.closes {
                open.push(socket);
            }
        }
    });
}

fn read_request(socket: &mut TcpStream) -> String {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|read| read == 1) {
        request.push(byte[0]);
    }
    String::from_utf8(request).expect("ASCII")
}

fn server(answers: Vec<Answer>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    serve(listener, answers);
    address
}

/// Tries again at once, and gives up a silent camera soon.
fn options() -> MjpegOptions {
    MjpegOptions {
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(5),
        silence_max: Duration::from_millis(200),
        frame_bytes_max: 1000,
        ..MjpegOptions::default()
    }
}

fn camera(address: SocketAddr, options: MjpegOptions) -> Mjpeg {
    let url = format!("http://user:secret@{address}/stream?key=secret");
    Mjpeg::new("gate".into(), &url, options, Arc::new(TickingClock::default())).expect("an address")
}

/// What the camera says: a frame's bytes or reason, or a trouble. Nothing secret is in any of it.
fn say(source: &mut Mjpeg, n: usize) -> Vec<String> {
    let stop = StopFlag::default();
    let said = (0..n).map(|_| match source.next(&stop) {
        Next::Frame(frame) => {
            assert!(!frame.origin.contains("secret"));
            frame.bytes.map_or_else(
                |reason| format!("broken: {reason}"),
                |bytes| String::from_utf8_lossy(&bytes).into(),
            )
        }
        Next::Trouble(trouble) => format!("trouble: {trouble}"),
        other => panic!("{other:?}"),
    });
    let said: Vec<String> = said.collect();
    assert!(said.iter().all(|said| !said.contains("secret")), "{said:?}");
    said
}

#[test]
fn a_network_camera_complies() {
    /// Bytes of a frame, and how many frames there are.
    const FRAME_BYTES: usize = 64 << 10;
    const FRAMES: usize = 300;
    /// What the system may hold between the server and the source, and far less than the camera has.
    const SYSTEM_BYTES_MAX: usize = 8 << 20;
    let patient = MjpegOptions {
        silence_max: Duration::from_secs(60),
        frame_bytes_max: FRAME_BYTES,
        ..options()
    };
    let mut pieces = vec![part(&"no JPEG ".repeat(FRAME_BYTES / 8)).into_bytes(); FRAMES];
    pieces[0].splice(..0, HEAD.bytes());
    let sent = Counter::default();
    let address = server(vec![Answer {
        pieces,
        closes: false,
        sent: sent.clone(),
    }]);
    let fresh = || -> Box<dyn Source> {
        sent.anew();
        Box::new(camera(address, patient))
    };
    Subject {
        fresh: &fresh,
        frames: FRAMES as u64,
        ends: false,
        replayable: false,
        broken: &[],
        taken: Taken::Counted(&|| sent.count()),
        ahead_max: (SYSTEM_BYTES_MAX / FRAME_BYTES) as u64,
    }
    .complies();
}

#[test]
fn a_camera_that_is_down_is_waited_for() {
    let reserved = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = reserved.local_addr().expect("bound");
    drop(reserved);
    let (mut source, stop) = (camera(address, options()), StopFlag::default());
    let told = trouble(&mut source, &stop);
    assert!(
        told.starts_with(&format!("cannot connect to {address}: ")) && told.contains("; next try in "),
        "{told}"
    );
    serve(
        TcpListener::bind(address).expect("the port is free"),
        vec![silent_after(format!("{HEAD}{}", part("up")))],
    );
    // Told once, however often it was tried.
    assert!(matches!(source.next(&stop), Next::Frame(_)));
}

#[test]
fn what_a_camera_does_wrong_is_told_and_it_is_tried_again() {
    let good = silent_after(format!("{HEAD}{}", part("good")));
    for (answer, said) in [
        ("HTTP/1.0 404 Not Found\r\n\r\n", "the camera answers with status 404"),
        (
            "HTTP/1.0 401 secret\r\nWWW-Authenticate: secret\r\n\r\n",
            "the camera refuses the login",
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Type: image/secret\r\n\r\n",
            "the answer is no stream of pictures",
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Type: multipart/x; boundary=--\r\n\r\n",
            "the answer states no boundary",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "the answer is chunked",
        ),
        ("secret", "the answer is no HTTP"),
        ("", "the camera closed the connection"),
        (
            &format!("{HEAD}--other\r\n{}", "x".repeat(70_000)),
            "no boundary in 65536 bytes",
        ),
        (&format!("{HEAD}--cut--\r\n"), "the camera ended the stream"),
    ] {
        let address = server(vec![closing(answer), closing(answer), good.clone()]);
        let heard = say(&mut camera(address, options()), 2);
        assert!(heard[0].starts_with(&format!("trouble: {said}")), "{heard:?}");
        assert_eq!(heard[1], "good", "told once, tried twice");
    }
}

#[test]
fn a_frame_that_is_cut_off_is_a_frame_without_bytes() {
    let begun = format!("{HEAD}{}--cut\r\nContent-Length: 9\r\n\r\nhalf", part("first"));
    let huge = format!(
        "{HEAD}{}--cut\r\nContent-Length: 99999999999\r\n\r\nhalf",
        part("first")
    );
    let closed = "the camera closed the connection";
    let silent = "the camera was silent for 0.2 s";
    let large = "a part of 99999999999 bytes; at most 1000 are read";
    for (answer, why) in [
        (closing(begun.clone()), closed),
        (silent_after(begun), silent),
        (silent_after(huge), large),
    ] {
        let address = server(vec![answer, silent_after(format!("{HEAD}{}", part("good")))]);
        let heard = say(&mut camera(address, options()), 4);
        let expected = [
            "first".to_owned(),
            format!("broken: not received as a whole: {why}"),
            format!("trouble: {why}; next try in 0.0 s"),
            "good".to_owned(),
        ];
        assert_eq!(heard, expected);
    }
}

#[test]
fn no_more_than_a_part_is_held() {
    let body = part(&"x".repeat(900)).repeat(3000);
    let address = server(vec![silent_after(format!("{HEAD}{body}"))]);
    let (mut source, stop) = (camera(address, options()), StopFlag::default());
    for _ in 0..3000 {
        frame(&mut source, &stop);
        let held = source.line.as_ref().map_or(0, |(_, parts)| parts.held_bytes());
        assert!(held < READ_BYTES + 1100, "{held} bytes");
    }
}

#[test]
fn the_login_is_sent_and_the_request_is_one() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        let mut socket = listener.accept().expect("a connection").0;
        let request = read_request(&mut socket);
        socket
            .write_all(format!("{HEAD}{}", part("a")).as_bytes())
            .expect("sent");
        request
    });
    assert_eq!(say(&mut camera(address, options()), 1), ["a"]);
    let request = server.join().expect("served");
    assert!(
        request.starts_with("GET /stream?key=secret HTTP/1.0\r\nHost: 127.0.0.1:"),
        "{request}"
    );
    assert!(
        request.contains("\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n"),
        "{request}"
    );
}
