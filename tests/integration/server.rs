//! `inspect --listen`: images in over HTTP, verdicts and figures out.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use intakt_pipelines::sources::StopFlag;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::support::{INTAKT, SHARED, intakt, json_lines, label};

/// A test's own patience.
pub(crate) const HANG: Duration = Duration::from_secs(60);

const RUN_FILE: &str = r#"
detector = "line.intakt"

[server]
listen = "127.0.0.1:0"

[[camera]]
name = "dock"
source = "http"
"#;

pub(crate) fn run_file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    fs::copy(&SHARED.detector, dir.path().join("line.intakt")).unwrap();
    let path = dir.path().join("run.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

/// A run that is served.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: String,
    /// Hears what it says after it listens.
    said: Option<JoinHandle<String>>,
}

impl Served {
    pub(crate) fn start(run_file: &Path, more: &[&str]) -> Self {
        let served = Self::listening(run_file, more);
        let never = StopFlag::default();
        while served.get("/ready").0 != 200 {
            // More than 1,000 requests a second would be refused, and those after them.
            never.wait(Duration::from_millis(5));
        }
        served
    }

    /// One that may not be ready yet.
    pub(crate) fn listening(run_file: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(INTAKT);
        command.arg("inspect").arg(run_file).args(more);
        Self::spawn(command)
    }

    /// Whatever listens, once it stands ready.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let streams = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = streams.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut before = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it does not listen: {before}");
            match line.trim().strip_prefix("listening on http://") {
                Some(address) => break address.to_owned(),
                None => before += &line,
            }
        };
        // Nothing of what it says may stop it.
        let said = thread::spawn(move || io::read_to_string(said).unwrap());
        Self {
            child,
            address,
            said: Some(said),
        }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.exchange(&format!("GET {path} HTTP/1.1\r\n"), b"")
    }

    fn post(&self, query: &str, body: &[u8]) -> (u16, String) {
        self.exchange(&format!("POST /api/v1/cameras/dock/frames{query} HTTP/1.1\r\n"), body)
    }

    /// Posts a frame whose camera's clock is off, and does not wait for its verdict.
    pub(crate) fn post_off(&self, camera: &str, off_us: i64, image: &[u8]) {
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let captured_at_us = now_us.saturating_add_signed(off_us);
        let line =
            format!("POST /api/v1/cameras/{camera}/frames?wait=false&captured_at_us={captured_at_us} HTTP/1.1\r\n");
        let (status, body) = self.exchange(&line, image);
        assert_eq!(status, 202, "{body}");
    }

    /// The lines of the log as they are written.
    pub(crate) fn log(&mut self) -> Receiver<Value> {
        let (tell, lines) = channel();
        let log = BufReader::new(self.child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in log.lines() {
                let _ = tell.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        lines
    }

    /// Interrupts it; how it ended.
    pub(crate) fn interrupt(self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.ended().0
    }

    /// Waits for its end; how it ended, and what it said.
    pub(crate) fn ended(mut self) -> (i32, String) {
        let said = self.said.take().unwrap().join().unwrap();
        (self.child.wait().unwrap().code().unwrap(), said)
    }

    pub(crate) fn exchange(&self, line: &str, body: &[u8]) -> (u16, String) {
        exchange(&self.address, line, body).unwrap()
    }

    /// Posts an image; the number that it is given.
    fn number_of(&self, image: &[u8]) -> u64 {
        let (status, body) = self.post("", image);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["seq"].as_u64().unwrap()
    }

    /// Ends it without letting it know.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Interrupts it; how it ended, and the verdicts that it wrote.
    fn end(mut self) -> (i32, Vec<Value>) {
        let log = self.log();
        (self.interrupt(), log.iter().collect())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // After a failed test it would go on; after `end` it is gone.
        let _ = self.child.kill();
    }
}

/// Asks a server once; the status and the body of its answer.
pub(crate) fn exchange(address: &str, line: &str, body: &[u8]) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(HANG))?;
    let length = body.len();
    let head = format!("{line}host: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    // Pictures are no text; who asks for one looks at its status.
    let reply = String::from_utf8_lossy(&reply);
    let (head, body) = reply.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

/// A verdict without what says where and when its frame came from.
fn judgement(mut verdict: Value) -> Value {
    for key in ["camera", "seq", "captured_at_us", "origin"] {
        verdict.as_object_mut().unwrap().remove(key).unwrap();
    }
    verdict
}

#[test]
fn a_posted_image_gets_the_verdict_that_its_file_gets() {
    let (dir, path) = run_file(RUN_FILE);
    let status_dir = dir.path().join("monday");
    let served = Served::start(&path, &["--run", status_dir.to_str().unwrap()]);
    let mut answered = Vec::new();
    for (n, file) in [&SHARED.normal, &SHARED.blotted].into_iter().enumerate() {
        let (status, body) = served.post("?captured_at_us=1767592800000000", &fs::read(file).unwrap());
        assert_eq!(status, 200, "{body}");
        let verdict: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&verdict["seq"], &verdict["camera"]), (&n.into(), &"dock".into()));
        assert_eq!(verdict["captured_at_us"], 1_767_592_800_000_000_u64);
        let of_file = intakt(&[&"inspect", &SHARED.detector, file]).verdicts().remove(0);
        assert_eq!(judgement(verdict.clone()), judgement(of_file));
        answered.push(verdict);
    }
    let (status, body) = served.post("", b"no image");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"decision\":\"unreadable\""), "{body}");
    answered.push(serde_json::from_str(&body).unwrap());
    let (status, body) = served.post("?wait=false", &fs::read(&SHARED.normal).unwrap());
    assert_eq!((status, body.as_str()), (202, r#"{"camera":"dock","seq":3}"#));

    // A frame that nobody waits for is counted when its camera's thread comes to it.
    let never = StopFlag::default();
    let metrics = loop {
        let metrics = served.get("/metrics").1;
        if metrics.contains("intakt_frames_captured_total{camera=\"dock\"} 4") {
            break metrics;
        }
        never.wait(Duration::from_millis(5));
    };
    for line in [
        r#"intakt_frames_unreadable_total{camera="dock"} 1"#,
        r#"intakt_verdicts_total{camera="dock",decision="reject"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let live: Value = serde_json::from_str(&served.get("/api/v1/status").1).unwrap();
    assert_eq!(
        (&live["state"], &live["cameras"][0]["captured"]),
        (&"running".into(), &4.into())
    );

    let (code, mut written) = served.end();
    assert_eq!(code, 1, "something was rejected");
    assert_eq!(written.len(), 4, "also the one that nobody waited for: {written:?}");
    written.truncate(3);
    assert_eq!(written, answered, "the log says what the answers said");
    let file = fs::read_to_string(status_dir.join("status.json")).unwrap();
    let last: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(
        (&last["state"], &last["cameras"][0]["waiting"]),
        (&"ended".into(), &0.into())
    );
}

#[test]
fn a_run_is_told_labels_thresholds_lots_and_detectors_and_replays_them() {
    let (dir, path) = run_file(RUN_FILE);
    let [run, recording] = ["run", "recording"].map(|name| dir.path().join(name));
    let more = ["--run", run.to_str().unwrap(), "--record", recording.to_str().unwrap()];
    let served = Served::start(&path, &more);
    let blotted = fs::read(&SHARED.blotted).unwrap();
    let decide = |seq: u64, expected: &str| {
        let at_us = 1_767_592_800_000_000 + seq * 1_000_000;
        let (status, body) = served.post(&format!("?captured_at_us={at_us}"), &blotted);
        assert_eq!(status, 200, "{body}");
        let verdict: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&verdict["seq"], &verdict["decision"]),
            (&seq.into(), &expected.into()),
            "{verdict}"
        );
        verdict
    };
    let tell = |line: &str, body: &str, status: u16| {
        let line = format!("{line} HTTP/1.1\r\ncontent-type: application/json\r\n");
        let (found, said) = served.exchange(&line, body.as_bytes());
        assert_eq!(found, status, "{line}{said}");
        said
    };
    let first = decide(0, "reject");
    tell("PUT /api/v1/cameras/dock/threshold", r#"{"threshold": 1e9}"#, 202);
    let tolerant = decide(1, "pass");
    assert_eq!(tolerant["threshold"], 1e9);
    assert_ne!(tolerant["detector"], first["detector"]);
    tell("PUT /api/v1/cameras/dock/lot", r#"{"lot": "L7"}"#, 202);
    let detector = fs::read(&SHARED.detector).unwrap();
    let (status, body) = served.exchange("PUT /api/v1/cameras/dock/detector HTTP/1.1\r\n", &detector);
    assert_eq!(status, 202, "{body}");
    assert_eq!(decide(2, "reject")["detector"], first["detector"]);
    tell("PUT /api/v1/cameras/dock/what-if/never", r#"{"threshold": 1.0}"#, 202);
    tell(
        "POST /api/v1/labels",
        r#"{"camera": "dock", "seq": 0, "truth": "anomalous:blot"}"#,
        202,
    );
    tell(
        "POST /api/v1/labels",
        r#"[{"camera": "dock", "seq": 1, "truth": "anomalous"}]"#,
        202,
    );
    let early = r#"{"camera": "dock", "seq": 900, "truth": "normal"}"#;
    let noted = tell("POST /api/v1/labels", early, 202);
    assert!(
        noted.contains("not in the log yet") && noted.contains(": frame 900"),
        "{noted}"
    );
    assert!(noted.contains("as soon as it is, within 24.0 h"), "{noted}");

    for (line, body, status, said) in [
        (
            "PUT /api/v1/cameras/quay/threshold",
            r#"{"threshold": 1}"#,
            404,
            "there is no camera",
        ),
        ("PUT /api/v1/cameras/dock/threshold", r#"{"threshold": 1e99}"#, 400, ""),
        (
            "PUT /api/v1/cameras/dock/threshold",
            r#"{"threshold": 0.5}"#,
            400,
            "would reject everything: normal frames have",
        ),
        (
            "POST /api/v1/labels",
            r#"[{"camera": "dock", "seq": 0, "truth": "normal"}, {"camera": "dock", "seq": -1, "truth": "normal"}]"#,
            422,
            "[1].seq: invalid value: integer `-1`",
        ),
        (
            "PUT /api/v1/cameras/dock/what-if/x",
            r#"{"threshold": 7}"#,
            400,
            "between 0 and 1",
        ),
        (
            "PUT /api/v1/cameras/dock/threshold",
            r#"{"threshold": "high"}"#,
            422,
            "threshold: invalid type",
        ),
        ("PUT /api/v1/cameras/dock/threshold", "{", 400, "EOF"),
        ("PUT /api/v1/cameras/dock/detector", "no detector", 400, ""),
        (
            "POST /api/v1/labels",
            r#"{"camera": "dock", "seq": 0, "truth": "bad"}"#,
            400,
            "no truth",
        ),
        (
            "POST /api/v1/labels",
            r#"{"camera": "quay", "seq": 0, "truth": "normal"}"#,
            404,
            "there is no camera",
        ),
    ] {
        let found = tell(line, body, status);
        let refusal: Value = serde_json::from_str(&found).unwrap();
        let error = refusal["detail"].as_str().unwrap();
        assert!(error.contains(said), "{line}: {found}");
    }
    let (_, written) = served.end();
    assert_eq!(written.len(), 3);
    let changes = intakt(&[&"query", &run, &"--show", &"changes"]).expect(0).stdout;
    let kinds: Vec<_> = [
        "\"detector\":",
        "\"threshold\":1000000000.0",
        "\"lot\":\"L7\"",
        "\"detector\":",
    ]
    .to_vec();
    assert_eq!(changes.lines().count(), 4, "{changes}");
    assert!(
        changes.lines().zip(kinds).all(|(line, kind)| line.contains(kind)),
        "{changes}"
    );
    let labels = intakt(&[&"query", &run, &"--show", &"labels"]).expect(0).stdout;
    // Those that came at the very end wait in the journal.
    assert!(labels.lines().count() <= 3);
    label(&run, "dock", 2, "anomalous").expect(0);
    let metrics = intakt(&[&"query", &run, &"--show", &"metrics"]).expect(0).stdout;
    let recall = json_lines(&metrics)
        .into_iter()
        .rfind(|row| row["name"] == "recall" && row["scope"] == "camera/dock");
    assert_eq!(recall.unwrap()["after"], 2.0 / 3.0, "{metrics}");
    let replayed = intakt(&[&"replay", &recording]).expect(1);
    assert_eq!(replayed.verdicts(), written);
    assert!(
        intakt(&[&"replay", &recording, &"--diff"])
            .expect(0)
            .stdout
            .starts_with("0 of 3")
    );

    // The replay is kept, once as a whole and once killed after the threshold was changed and before the lot was.
    let [whole, killed] = ["whole", "killed"].map(|name| dir.path().join(name));
    intakt(&[&"replay", &recording, &"--run", &whole]).expect(1);
    let mut child = Command::new(INTAKT)
        .arg("replay")
        .arg(&recording)
        .args(["--speed", "1", "--run"])
        .arg(&killed)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    intakt(&[&"replay", &recording, &"--run", &killed, &"--resume"]).expect(1);
    for show in ["outcomes", "changes", "labels", "metrics", "alerts"] {
        let [whole, killed] = [&whole, &killed].map(|run| intakt(&[&"query", run, &"--show", &show]).expect(0).stdout);
        assert_eq!(killed, whole, "{show}");
    }
    assert_eq!(intakt(&[&"query", &whole, &"--show", &"changes"]).stdout, changes);
}

#[test]
fn a_label_after_a_kill_does_not_let_numbers_be_given_twice() {
    let (dir, path) = run_file(RUN_FILE);
    let run = dir.path().join("run");
    let more = ["--run", run.to_str().unwrap(), "--resume"];
    let image = fs::read(&SHARED.normal).unwrap();
    let served = Served::start(&path, &more);
    assert_eq!([(); 3].map(|()| served.number_of(&image)), [0, 1, 2]);
    while intakt(&[&"query", &run]).stdout.is_empty() {
        thread::yield_now();
    }
    served.kill();
    label(&run, "dock", 0, "normal").expect(0);
    let served = Served::start(&path, &more);
    assert_eq!(served.number_of(&image), 10_000);
}

#[test]
fn numbers_are_not_given_twice_when_nothing_of_a_start_was_kept() {
    let (dir, path) = run_file(RUN_FILE);
    let run = dir.path().join("run");
    let more = ["--run", run.to_str().unwrap(), "--resume"];
    let image = fs::read(&SHARED.normal).unwrap();
    // Killed before its first second is over, each time.
    for first in [0, 10_000, 20_000] {
        let served = Served::start(&path, &more);
        assert_eq!([(); 2].map(|()| served.number_of(&image)), [first, first + 1]);
        served.kill();
    }
    let served = Served::start(&path, &more);
    assert_eq!(served.number_of(&image), 30_000);
    served.end();
    let served = Served::start(&path, &more);
    assert_eq!(served.number_of(&image), 30_001, "nothing was lost");
}

#[test]
fn an_inspection_without_posted_cameras_is_served_too() {
    let (dir, path) = run_file(&RUN_FILE.replace("\"http\"", "\"watch\"\npath = \"incoming\""));
    fs::create_dir(dir.path().join("incoming")).unwrap();
    let served = Served::start(&path, &[]);
    let (status, body) = served.post("", b"image");
    assert_eq!(status, 404);
    assert!(body.contains("none does"), "{body}");
    assert_eq!(served.get("/health").0, 200);
    assert_eq!(served.end().0, 0);
}

#[test]
fn a_server_is_planned_and_refused_before_anything_runs() {
    let (dir, path) = run_file(RUN_FILE);
    let plan = intakt(&[&"check", &path]).expect(0).stdout;
    for said in [
        "http POST /api/v1/cameras/dock/frames",
        "served on http://127.0.0.1:0, without a token",
    ] {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    fs::write(dir.path().join("token"), "0123456789abcdef\n").unwrap();
    let with_token = RUN_FILE.replace("127.0.0.1:0\"", "0.0.0.0:0\"\ntoken_file = \"token\"");
    fs::write(&path, with_token).unwrap();
    assert!(
        intakt(&[&"check", &path])
            .expect(0)
            .stdout
            .contains("0.0.0.0:0, with a token")
    );

    for (text, said) in [
        (
            RUN_FILE.replace("127.0.0.1", "0.0.0.0"),
            "run.toml:5: listen: others can reach 0.0.0.0:0, so it needs a token",
        ),
        (
            RUN_FILE.replace("127.0.0.1:0", "here"),
            "run.toml:5: listen: \"here\" is no address and port",
        ),
        (
            RUN_FILE.replace("listen = \"127.0.0.1:0\"", ""),
            "run.toml:9: source: a source of kind \"http\" needs a server",
        ),
        (
            RUN_FILE.replace(":0\"", ":0\"\ntoken_file = \"no\""),
            "run.toml:6: token_file: cannot take a token from",
        ),
        (
            format!("{RUN_FILE}path = \"x\""),
            "run.toml:10: path: a source of kind \"http\" has none",
        ),
        (
            format!("{RUN_FILE}paced = true"),
            "paced: a source of kind \"http\" comes at its own pace",
        ),
    ] {
        let (_dir, path) = run_file(&text);
        intakt(&[&"check", &path]).expect_error(&[said]);
        intakt(&[&"inspect", &path]).expect_error(&[said]);
    }
    let (_dir, path) = run_file(&RUN_FILE.replace("listen = \"127.0.0.1:0\"", ""));
    intakt(&[&"check", &path, &"--listen", &"127.0.0.1:0"]).expect(0);
    intakt(&[&"check", &path, &"--listen", &"0.0.0.0:0"]).expect_error(&["\n  --listen: others can reach"]);
    intakt(&[&"check", &path, &"--listen", &"0.0.0.0:0", &"--token-file", &"no"])
        .expect_error(&["\n  --token-file: cannot"]);
    intakt(&[&"inspect", &SHARED.detector, &SHARED.normal, &"--listen", &"0.0.0.0:0"])
        .expect_error(&["cannot serve: others can reach 0.0.0.0:0", "--token-file"]);
}

#[test]
fn top_says_what_it_cannot_show() {
    let dir = tempdir().unwrap();
    intakt(&[&"top", &dir.path()]).expect_error(&["no terminal", "status.json"]);
}

/// Longest that a frame waits for its line, where the slowest way is a hop of a second, its lateness, and half a second until
/// somebody looks; the rest is for a busy machine.
const LOGGED_WITHIN: Duration = Duration::from_secs(6);

#[test]
fn frames_are_logged_while_clocks_jump() {
    let gate = "[[camera]]\nname = \"gate\"\nsource = \"http\"\nidle_ms = 50\n";
    let hour = 3_600_000_000;
    for (text, jump_us, after_us) in [
        (format!("{RUN_FILE}{gate}"), hour, 0),
        (RUN_FILE.to_owned(), hour, 0),
        (RUN_FILE.to_owned(), -hour, -hour),
    ] {
        let (_dir, path) = run_file(&text);
        let mut served = Served::start(&path, &[]);
        let log = served.log();
        let (image, mut posted) = (fs::read(&SHARED.normal).unwrap(), 0);
        let mut post = |camera: &str, off_us| {
            served.post_off(camera, off_us, &image);
            posted += 1;
        };
        if text.contains("gate") {
            post("gate", 0);
            // Then it is silent.
            log.recv_timeout(LOGGED_WITHIN).unwrap();
        }
        post("dock", 0);
        post("dock", jump_us);
        let mut logged = 0;
        let begun = Instant::now();
        while logged < 20 {
            post("dock", after_us);
            // A few while nothing is logged, so that the log goes on while frames come.
            logged += log.recv_timeout(Duration::from_millis(100)).iter().count();
            assert!(begun.elapsed() < 3 * LOGGED_WITHIN, "{logged} logged");
        }
        let metrics = served.get("/metrics").1;
        let lag = metrics
            .lines()
            .find_map(|line| line.strip_prefix("intakt_frontier_lag_seconds "));
        let lag: f64 = lag.unwrap().parse().unwrap();
        assert!(lag < LOGGED_WITHIN.as_secs_f64(), "{lag}");
        assert_eq!(served.interrupt(), 0, "captured = judged + unreadable + dropped");
        let all = log.iter().count() + logged + usize::from(text.contains("gate"));
        assert_eq!(all, posted);
    }
}

/// Posts the blotted part as if it had been seen so many seconds after noon.
fn post_at(served: &Served, second: u64) -> Value {
    let at_us = 1_767_592_800_000_000 + second * 1_000_000;
    let blotted = fs::read(&SHARED.blotted).unwrap();
    let (status, body) = served.post(&format!("?captured_at_us={at_us}"), &blotted);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

pub(crate) fn tell(served: &Served, line: &str, body: &str) {
    let line = format!("{line} HTTP/1.1\r\ncontent-type: application/json\r\n");
    let (status, said) = served.exchange(&line, body.as_bytes());
    assert_eq!(status, 202, "{line}{said}");
}

/// Asks until what is there is as `wanted`.
fn until<T: std::fmt::Debug>(ask: impl Fn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let (began, never) = (std::time::Instant::now(), StopFlag::default());
    loop {
        let found = ask();
        if wanted(&found) {
            return found;
        }
        assert!(began.elapsed() < HANG, "{found:#?}");
        // More than 1,000 requests a second would be refused.
        never.wait(Duration::from_millis(10));
    }
}

#[test]
fn a_time_that_cannot_be_is_refused() {
    let (_dir, path) = run_file(RUN_FILE);
    let served = Served::start(&path, &[]);
    let (status, body) = served.post("?captured_at_us=99999999999999999", &fs::read(&SHARED.normal).unwrap());
    assert_eq!(status, 400, "{body}");
    let refusal: Value = serde_json::from_str(&body).unwrap();
    let error = refusal["detail"].as_str().unwrap();
    assert!(error.contains("more than a day ahead"), "{error}");
    assert_eq!(served.end().0, 0);
}

#[test]
fn standing_questions_are_answered_while_the_run_goes_on() {
    let (dir, path) = run_file(RUN_FILE);
    let run = dir.path().join("run");
    let served = Served::start(&path, &["--run", run.to_str().unwrap()]);
    post_at(&served, 0);
    post_at(&served, 1);
    for (name, threshold) in [("never", "1.0"), ("always", "0.0")] {
        let line = format!("PUT /api/v1/cameras/dock/what-if/{name}");
        tell(&served, &line, &format!("{{\"threshold\": {threshold}}}"));
    }
    post_at(&served, 130);
    post_at(&served, 250);
    let is_answered = |metrics: &String| {
        let answers = [
            r#"intakt_what_if_rejects{camera="dock",question="never"} 0"#,
            r#"intakt_what_if_rejects{camera="dock",question="always"} 3"#,
            r#"intakt_what_if_frames{camera="dock",question="always"} 3"#,
        ];
        answers.iter().all(|line| metrics.lines().any(|found| found == *line))
    };
    until(|| served.get("/metrics").1, is_answered);
    let status: Value = serde_json::from_str(&served.get("/api/v1/status").1).unwrap();
    let always = &status["what_ifs"][0];
    assert_eq!(
        (&always["name"], &always["after"]["rejects"]),
        (&"always".into(), &3.into())
    );

    tell(&served, "DELETE /api/v1/cameras/dock/what-if/always", "");
    post_at(&served, 255);
    until(
        || served.get("/metrics").1,
        |metrics| !metrics.contains("question=\"always\""),
    );
    served.end();
}

#[test]
fn what_labels_and_scores_say_of_the_newest_windows_is_seen_while_the_run_goes_on() {
    let (dir, path) = run_file(RUN_FILE);
    let run = dir.path().join("run");
    let served = Served::start(&path, &["--run", run.to_str().unwrap()]);
    let undefined = served.get("/metrics").1;
    assert!(!undefined.contains("intakt_precision{"), "{undefined}");
    post_at(&served, 0);
    post_at(&served, 1);
    let labels =
        r#"[{"camera": "dock", "seq": 0, "truth": "anomalous"}, {"camera": "dock", "seq": 1, "truth": "normal"}]"#;
    tell(&served, "POST /api/v1/labels", labels);
    post_at(&served, 130);
    post_at(&served, 250);
    let is_labelled = |metrics: &String| {
        let figures = [
            r#"intakt_labelled_frames{scope="camera",name="dock",window="3600s"} 2"#,
            r#"intakt_precision{scope="camera",name="dock",window="3600s"} 0.5"#,
            r#"intakt_recall{scope="all",name="",window="3600s"} 1"#,
            r#"intakt_false_reject_rate{scope="camera",name="dock",window="3600s"} 1"#,
            r#"intakt_escape_rate{scope="camera",name="dock",window="3600s"} 0"#,
            r#"intakt_auroc{scope="camera",name="dock",window="3600s"} 0.5"#,
        ];
        figures.iter().all(|line| metrics.lines().any(|found| found == *line))
    };
    let metrics = until(|| served.get("/metrics").1, is_labelled);
    for figure in [
        r#"intakt_f1{scope="camera",name="dock",window="3600s"} "#,
        r#"intakt_calibrated_score{scope="camera",name="dock",window="3600s",quantile="0.5"} "#,
        r#"intakt_calibrated_score{scope="all",name="",window="900s",quantile="0.99"} "#,
        r#"intakt_score_drift{scope="camera",name="dock",window="3600s"} "#,
    ] {
        assert!(
            metrics.lines().any(|line| line.starts_with(figure)),
            "{figure}: {metrics}"
        );
    }
    let status: Value = serde_json::from_str(&served.get("/api/v1/status").1).unwrap();
    let of_dock = |list: &str| {
        let found = status[list].as_array().unwrap().iter();
        found
            .filter(|entry| entry["name"] == "dock")
            .cloned()
            .collect::<Vec<_>>()
    };
    let hour = of_dock("quality")
        .into_iter()
        .find(|entry| entry["length_us"] == 3_600_000_000_u64);
    let hour = hour.unwrap();
    assert_eq!((&hour["labelled"], &hour["precision"]), (&2.into(), &0.5.into()));
    assert_eq!(of_dock("scores").len(), 3, "a minute, a quarter of an hour, an hour");
    served.end();
}

#[test]
fn a_label_says_when_its_frame_was_captured() {
    let (dir, path) = run_file(RUN_FILE);
    let run = dir.path().join("run");
    let served = Served::start(&path, &["--run", run.to_str().unwrap()]);
    let verdict = post_at(&served, 0);
    tell(
        &served,
        "POST /api/v1/labels",
        r#"{"camera": "dock", "seq": 0, "truth": "normal"}"#,
    );
    let kept = |show: &str| intakt(&[&"query", &run, &"--show", &show]).expect(0).stdout;
    tell(
        &served,
        "POST /api/v1/labels",
        r#"{"camera": "dock", "seq": 1, "truth": "normal"}"#,
    );
    // Labels may be kept before their frames are.
    until(|| kept("labels") + &kept("outcomes"), |kept| kept.lines().count() == 3);
    let labels = json_lines(&kept("labels"));
    assert_eq!(labels[0]["captured_at_us"], verdict["captured_at_us"]);
    assert_eq!(labels[1]["captured_at_us"], Value::Null, "its frame is still to come");
    served.end();
}

#[test]
fn an_alert_that_was_open_is_shown_when_the_run_goes_on() {
    let (dir, path) = run_file(
        "detector = \"line.intakt\"\nrun = \"kept\"\n[server]\nlisten = \"127.0.0.1:0\"\n[rates]\nwindows = [\"1m\"]\nalerts = \
         [\"reject_rate 1m > 5 %\"]\n[[camera]]\nname = \"dock\"\nsource = \"http\"\n",
    );
    let (run, blotted) = (dir.path().join("kept"), fs::read(&SHARED.blotted).unwrap());
    let alerts = |served: &Served| {
        let status: Value = serde_json::from_str(&served.get("/api/v1/status").1).unwrap();
        let alerts = status["alerts"].as_array().unwrap().iter();
        alerts
            .map(|alert| alert["rule"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let served = Served::start(&path, &[]);
    let kept = || {
        served.post("", &blotted);
        intakt(&[&"query", &run, &"--show", &"alerts"]).stdout
    };
    until(kept, |kept| kept.contains("reject_rate"));
    let before = alerts(&served);
    assert!(!before.is_empty());
    served.kill();
    let served = Served::start(&path, &["--resume"]);
    assert_eq!(alerts(&served), before);
}
