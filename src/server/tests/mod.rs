//! A server over a real run, with a detector that takes no time and limits that are soon reached.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use intakt_operators::dataflow::{JudgedFrame, Latencies, Overflow};
use intakt_pipelines::labels::{GivenLabel, LabelJournal};
use intakt_pipelines::sinks::{LiveBoard, Sink, Thumbnails};
use intakt_pipelines::sources::{StopFlag, SystemClock, posted};
use intakt_pipelines::store::{Store, StoreOptions, StoreSink};
use intakt_pipelines::{Camera, Controls, Detectors, Figures, Inspection, InspectionReport, RunOptions, inspect};
use serde_json::Value;

use super::{Answers, Audit, Keeper, Kept, Limits, Listen, Live, Run, Served, Server, TakenIn, TakesLabels, Tokens};

mod access;
mod changes;
mod described;
mod kept;
mod page;
mod posting;

#[path = "../../../benches/support/idle.rs"]
#[allow(dead_code, reason = "the benches use more of it")]
mod idle;

/// A test's own patience: what hangs fails its test instead of hanging it.
const HANG: Duration = Duration::from_secs(30);

/// Requests that a test may make: refused only where a test means to reach a limit.
const LIMITS: Limits = Limits {
    body_bytes_max: 10_000,
    bodies_max: 4,
    body_wait_max: Duration::from_millis(300),
    batch_images_max: 3,
    detector_wait_max: Duration::from_millis(900),
    reads_max: 2,
    place_wait_max: HANG,
    verdict_wait_max: HANG,
    viewers_max: 3,
    requests_per_second_max: 1_000,
    stranger_requests_per_second_max: 1_000,
    connections_max: 16,
    connections_per_address_max: 15,
    header_wait_max: Duration::from_millis(300),
    write_wait_max: Duration::from_millis(300),
};

/// A run with one camera, "dock", whose frames are posted.
struct Going {
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

/// The run in a directory, whose labels are written down.
fn kept(directory: &Path) -> Kept {
    Kept {
        pictures: directory.join("pictures.sqlite"),
        store: directory.join("run.sqlite"),
        windows_us: vec![60_000_000],
        horizon_us: 3_600_000_000,
        labels: Arc::new(Journal(directory.join("labels.jsonl"))),
        detectors: Arc::new(kept::Alike),
    }
}

/// Writes labels down.
struct Journal(PathBuf);

impl TakesLabels for Journal {
    fn note(&self, labels: &[GivenLabel]) -> Result<TakenIn, String> {
        LabelJournal::append(&self.0, labels).map_err(|error| error.to_string())?;
        Ok(TakenIn::Now)
    }
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

impl Going {
    fn start(limits: Limits, tokens: Option<Tokens>, holds: bool) -> Self {
        Self::start_with(limits, tokens, holds, Overflow::DropNewest)
    }

    fn start_with(limits: Limits, tokens: Option<Tokens>, holds: bool, overflow: Overflow) -> Self {
        Self::start_kept(limits, tokens, holds, overflow, None)
    }

    /// The same, kept in `directory`.
    fn start_in(tokens: Option<Tokens>, directory: &Path) -> Self {
        Self::start_kept(LIMITS, tokens, false, Overflow::DropNewest, Some(directory))
    }

    /// A run that is kept in `directory`.
    fn start_kept(
        limits: Limits,
        tokens: Option<Tokens>,
        holds: bool,
        overflow: Overflow,
        directory: Option<&Path>,
    ) -> Self {
        let (poster, source) = posted("dock".into(), Arc::new(SystemClock)).unwrap();
        let mut camera = Camera::from(source);
        camera.intake.overflow = overflow;
        (camera.intake.depth, camera.intake.credit) = (1, Some(1));
        let (options, stop) = (RunOptions::new(1, 1).unwrap(), StopFlag::default());
        let latencies: Latencies = options.resources.latencies.clone();
        let board = LiveBoard::new(["dock".into()], latencies, stop.clone(), Arc::new(SystemClock));
        let detectors = Arc::new(Detectors::common(idle::detector()));
        let live = Live {
            board: Arc::new(board),
            thumbnails: Arc::new(Thumbnails::start(Arc::new(SystemClock)).unwrap()),
            answers: Arc::<Answers>::default(),
            posters: BTreeMap::from([("dock".into(), poster)]),
            controls: Controls::new(std::slice::from_ref(&camera), Some(detectors.clone())),
            detector_directories: directory.iter().map(|directory| directory.to_path_buf()).collect(),
            stop: stop.clone(),
        };
        let ((tell_captured, captured), (tell_held, held), (let_go, go)) = (channel(), channel(), channel());
        let gate = Arc::new(Gate {
            holds,
            captured: Mutex::new(tell_captured),
            held: Mutex::new(tell_held),
            go: Mutex::new(go),
        });
        let mut sinks: Vec<Arc<dyn Sink>> =
            vec![live.board.clone(), live.answers.clone(), live.thumbnails.clone(), gate];
        let keeper = match directory {
            None => Keeper::Nobody,
            Some(directory) => {
                let path = directory.join("run.sqlite");
                let store = Store::create(&path, "test", StoreOptions::default()).unwrap();
                let store = StoreSink::start(store, BTreeMap::new(), vec![], None).unwrap();
                sinks.push(Arc::new(store));
                Keeper::Here(kept(directory))
            }
        };
        let served = Served {
            run: Run::Here(live),
            keeper,
            starts: 7.into(),
            other: None,
            audit: directory.map(|directory| Arc::new(Audit::new(directory.join("audit.jsonl")))),
        };
        let listen = Listen::new("127.0.0.1:0", tokens).unwrap();
        let server = Server::start(listen, served, limits).unwrap();
        let inspection = Inspection {
            stop: stop.clone(),
            figures: directory.map_or_else(Figures::default, |_| Figures::labelled()),
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
        ask(self.address, "GET", path, "", &[])
    }

    /// The JSON of an answer.
    fn json(&self, path: &str) -> Value {
        self.get(path).json()
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

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Asks with `headers`, each with its line break.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    exchange(address, &head, body)
}

/// Sends JSON.
fn tell(address: SocketAddr, method: &str, path: &str, json: &str) -> Reply {
    ask(
        address,
        method,
        path,
        "content-type: application/json\r\n",
        json.as_bytes(),
    )
}

/// Sends a request and reads until the server closes.
fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // What was not read when the server closed resets the connection, after the answer.
    let _ = stream.write_all(body);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply);
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    Reply {
        status: head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap()),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

fn post(address: SocketAddr, path: &str, body: &[u8]) -> Reply {
    ask(address, "POST", path, "", body)
}

fn image() -> Vec<u8> {
    let mut frames = idle::stream("dock", 1, |_| ()).frames;
    frames.next().unwrap().bytes.unwrap().to_vec()
}

const FRAMES: &str = "/api/v1/cameras/dock/frames";
