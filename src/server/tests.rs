//! A server over a real run, with a detector that takes no time and limits that are soon reached.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use intakt_operators::dataflow::{JudgedFrame, Latencies, Overflow};
use intakt_pipelines::sinks::{LiveBoard, Sink, Thumbnails};
use intakt_pipelines::sources::{StopFlag, SystemClock, posted};
use intakt_pipelines::{Camera, Controls, Detectors, Inspection, InspectionReport, RunOptions, inspect};

use super::listen::tests::{SECRET, token};
use super::{Answers, Keeper, Limits, Listen, Served, Server, Token, Told};

#[path = "../../benches/support/idle.rs"]
#[allow(dead_code, reason = "the benches use more of it")]
mod idle;

/// A test's own patience: what hangs fails its test instead of hanging it.
const HANG: Duration = Duration::from_secs(30);

/// Requests that a test may make: refused only where a test means to reach a limit.
const LIMITS: Limits = Limits {
    body_bytes_max: 10_000,
    bodies_max: 4,
    body_wait_max: Duration::from_millis(300),
    verdict_wait_max: HANG,
    requests_per_second_max: 1_000,
    pictures_per_second_max: 1_000,
    connections_max: 16,
    header_wait_max: Duration::from_millis(300),
};

/// A run with one camera, "dock", whose frames are posted.
struct Run {
    address: SocketAddr,
    stop: StopFlag,
    server: Server,
    inspection: JoinHandle<InspectionReport>,
    /// Told of every frame that was captured.
    captured: Receiver<()>,
    /// Told of every frame that is held in the dataflow; each is held until it is taken out of `held_back`.
    held: Receiver<()>,
    let_go: Sender<()>,
}

/// Tells of frames, and holds them where that is asked for.
struct Gate {
    holds: bool,
    captured: Mutex<Sender<()>>,
    held: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

impl Sink for Gate {
    fn captured(&self, _: &Arc<str>, _: u64, _: u64) {
        let _ = self.captured.lock().unwrap().send(());
    }

    fn draws(&self) -> bool {
        self.holds
    }

    fn draw(&self, _: &JudgedFrame) -> Result<(), String> {
        let _ = self.held.lock().unwrap().send(());
        // Nobody is left to let go when a test has failed.
        let _ = self.go.lock().unwrap().recv();
        Ok(())
    }
}

impl Run {
    fn start(limits: Limits, token: Option<Token>, holds: bool) -> Self {
        Self::start_with(limits, token, holds, Overflow::DropNewest)
    }

    fn start_with(limits: Limits, token: Option<Token>, holds: bool, overflow: Overflow) -> Self {
        let (poster, source) = posted("dock".into(), Arc::new(SystemClock)).unwrap();
        let mut camera = Camera::from(source);
        camera.intake.overflow = overflow;
        (camera.intake.depth, camera.intake.credit) = (1, Some(1));
        let (options, stop) = (RunOptions::new(1, 1).unwrap(), StopFlag::default());
        let latencies: Latencies = options.resources.latencies.clone();
        let board = LiveBoard::new(["dock".into()], latencies, stop.clone(), Arc::new(SystemClock));
        let detectors = Arc::new(Detectors::common(idle::detector()));
        let served = Served {
            board: Arc::new(board),
            thumbnails: Arc::new(Thumbnails::start(Arc::new(SystemClock)).unwrap()),
            answers: Arc::<Answers>::default(),
            posters: BTreeMap::from([("dock".into(), poster)]),
            told: Told {
                controls: Controls::new(std::slice::from_ref(&camera), Some(detectors.clone())),
                keeper: Keeper::Nobody,
                detector_directories: vec![],
            },
            stop: stop.clone(),
        };
        let ((tell_captured, captured), (tell_held, held), (let_go, go)) = (channel(), channel(), channel());
        let gate = Arc::new(Gate {
            holds,
            captured: Mutex::new(tell_captured),
            held: Mutex::new(tell_held),
            go: Mutex::new(go),
        });
        let sinks: Vec<Arc<dyn Sink>> = vec![
            served.board.clone(),
            served.answers.clone(),
            served.thumbnails.clone(),
            gate,
        ];
        let listen = Listen::new("127.0.0.1:0", token).unwrap();
        let server = Server::start(listen, served, limits).unwrap();
        let inspection = Inspection {
            stop: stop.clone(),
            ..Inspection::new(vec![camera], detectors, sinks)
        };
        Self {
            address: server.address(),
            stop,
            server,
            inspection: thread::spawn(move || inspect(inspection, &options).unwrap()),
            captured,
            held,
            let_go,
        }
    }

    fn get(&self, path: &str) -> Reply {
        exchange(
            self.address,
            &format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"),
            &[],
        )
    }

    /// Waits until the run stands ready.
    fn ready(&self) {
        while self.get("/ready").status != 200 {
            thread::yield_now();
        }
    }

    fn end(self) -> InspectionReport {
        self.stop.stop();
        let report = self.inspection.join().unwrap();
        self.server.finish();
        report
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

/// Sends a request and reads until the server closes.
fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut reply = Vec::new();
    // What was not read when the server closed resets the connection, after the answer.
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    Reply {
        status: head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap()),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

fn post(address: SocketAddr, path: &str, body: &[u8]) -> Reply {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, &head, body)
}

fn image() -> Vec<u8> {
    let mut frames = idle::stream("dock", 1, |_| ()).frames;
    frames.next().unwrap().bytes.unwrap().to_vec()
}

const FRAMES: &str = "/api/v1/cameras/dock/frames";

#[test]
fn a_frame_that_finds_the_queue_full_is_told_at_once_and_the_others_are_judged() {
    let run = Run::start(LIMITS, None, true);
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
    let run = Run::start_with(LIMITS, None, true, Overflow::Block);
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
    let run = Run::start(limits, None, false);
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
fn nobody_waits_for_a_run_that_ends() {
    let run = Run::start(LIMITS, None, true);
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
    let run = Run::start(limits, None, true);
    let reply = post(run.address, FRAMES, &image());
    assert_eq!(reply.status, 504, "{reply:?}");
    assert!(reply.body.contains("\"seq\":0"), "{reply:?}");
    run.let_go.send(()).unwrap();
    assert_eq!(run.end().cameras["dock"].judged, 1, "it is judged nevertheless");
}

#[test]
fn requests_are_refused_before_they_cost_anything() {
    let run = Run::start(LIMITS, None, false);
    run.ready();
    let unknown = post(run.address, "/api/v1/cameras/do%22ck/frames", &image());
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert!(unknown.body.contains("these do: \\\"dock\\\""), "{unknown:?}");
    assert_eq!(run.get("/nothing").status, 404);
    assert_eq!(run.get(FRAMES).status, 405);
    assert_eq!(post(run.address, FRAMES, b"").status, 400);
    // Announced, and not.
    let announced = format!("POST {FRAMES} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 999999999999\r\n\r\n");
    assert_eq!(exchange(run.address, &announced, &[]).status, 413);
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
    let run = Run::start(limits, None, false);
    let replies: Vec<Reply> = (0..20).map(|_| run.get("/health")).collect();
    let refused = replies.iter().find(|reply| reply.status == 429).expect("one a second");
    assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
    assert_eq!(replies[0].status, 200);
    run.end();
}

#[test]
fn everything_but_health_asks_for_the_token() {
    let run = Run::start(LIMITS, Some(token()), false);
    for path in ["/metrics", "/ready", "/api/v1/status", "/nothing", FRAMES] {
        let refused = run.get(path);
        assert_eq!(refused.status, 401, "{path}: {refused:?}");
        assert!(refused.head.contains("www-authenticate: bearer"), "{refused:?}");
    }
    assert_eq!(post(run.address, FRAMES, &image()).status, 401);
    assert_eq!(run.get("/health").status, 200);
    let stays = |path: &str, token: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        !exchange(run.address, &request, &[]).head.contains("connection: close")
    };
    assert!(
        stays("/ready", SECRET) && !stays("/ready", "") && !stays("/health", ""),
        "strangers keep no place"
    );
    let head = |token: &str| {
        let length = image().len();
        format!(
            "POST {FRAMES} HTTP/1.1\r\nhost: line.example\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-length: {length}\r\n\r\n"
        )
    };
    assert_eq!(exchange(run.address, &head("0123456789abcdeX"), &image()).status, 401);
    assert_eq!(exchange(run.address, &head(SECRET), &image()).status, 200);
    assert_eq!(run.end().cameras["dock"].judged, 1);
}

#[test]
fn the_page_takes_the_token_once_and_works_with_its_cookie() {
    let run = Run::start(LIMITS, Some(token()), false);
    for (path, kind) in [
        ("/", "text/html"),
        ("/assets/app.js", "text/javascript"),
        ("/assets/style.css", "text/css"),
    ] {
        let page = run.get(path);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        assert!(page.head.contains(kind), "{page:?}");
        assert!(
            page.head.contains("content-security-policy: default-src 'self'"),
            "{page:?}"
        );
    }
    for path in ["/api/v1/events", "/api/v1/cameras/dock/picture?which=newest"] {
        assert_eq!(run.get(path).status, 401, "{path}");
    }
    let sign_in = |token: &str| {
        let body = format!("{{\"token\": \"{token}\"}}");
        let head = format!(
            "POST /api/v1/session HTTP/1.1\r\nhost: line.example\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        exchange(run.address, &head, body.as_bytes())
    };
    let refused = sign_in("0123456789abcdeF");
    assert!(
        refused.status == 401 && !refused.head.contains("set-cookie"),
        "{refused:?}"
    );
    let signed_in = sign_in(SECRET);
    assert_eq!(signed_in.status, 204);
    let cookie = signed_in
        .head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(
        cookie.contains("httponly") && cookie.contains("samesite=strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(SECRET), "the token itself is not kept in a browser");
    let cookie = cookie.split(';').next().unwrap();
    let with = |more: &str| {
        let head = format!("GET /api/v1/status HTTP/1.1\r\nhost: line.example\r\nconnection: close\r\n{more}\r\n");
        exchange(run.address, &head, &[]).status
    };
    assert_eq!(with(&format!("cookie: a=b; {cookie}\r\n")), 200);
    assert_eq!(with(&format!("cookie: {cookie}0\r\n")), 401);
    assert_eq!(
        with(&format!("cookie: {cookie}\r\norigin: https://line.example\r\n")),
        200
    );
    assert_eq!(
        with(&format!("cookie: {cookie}\r\norigin: https://other.example\r\n")),
        403
    );
    run.end();
}

/// The lines of events that a page would be told, one after the other.
fn events(address: SocketAddr) -> impl Iterator<Item = serde_json::Value> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
        .write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        .unwrap();
    let lines = std::io::BufReader::new(stream).lines().map(Result::unwrap);
    lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
}

#[test]
fn a_page_is_told_of_verdicts_and_shows_small_pictures() {
    let run = Run::start(LIMITS, None, false);
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
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(told["last"]["seq"], 0);
    let drawn = events
        .map(|event| camera(&event))
        .find(|camera| !camera["picture"].is_null())
        .unwrap();
    assert_eq!(drawn["picture"]["seq"], 0);
    let picture = |headers: &str| {
        let mut stream = TcpStream::connect(run.address).unwrap();
        let head = format!(
            "GET /api/v1/cameras/dock/picture?which=newest&seq=0 HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}\r\n"
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
    assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]) && jpeg.ends_with(&[0xff, 0xd9]));
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
