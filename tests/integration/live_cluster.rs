//! One run in two processes with a live camera in each: neither waits for the other, and every frame is accounted for.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use intakt_pipelines::sources::StopFlag;
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{end, write_hosts};
use crate::network_camera::NetworkCamera;
use crate::server::{HANG, Served, run_file};
use crate::support::{INTAKT, SHARED};

const HOUR_US: i64 = 3_600_000_000;

/// Frames of a camera that are logged until it counts as going on.
const GOES_ON: u64 = 20;

/// A camera at the dock that process 0 is posted to, and one at the gate that process 1 reads.
struct Plant {
    _dir: TempDir,
    served: Served,
    second: Child,
    gate: NetworkCamera,
    log: Receiver<Value>,
    normal: Vec<u8>,
    sent: BTreeMap<&'static str, u64>,
    logged: BTreeMap<String, u64>,
}

impl Plant {
    fn start() -> Self {
        let gate = NetworkCamera::start();
        let (dir, path) = run_file(&format!(
            "detector = \"line.intakt\"\n[server]\nlisten = \"127.0.0.1:0\"\n[[camera]]\nname = \"dock\"\nsource = \
             \"http\"\n[[camera]]\nname = \"gate\"\nsource = \"mjpeg\"\nurl = \"{}\"\nprocess = 1\n",
            gate.url
        ));
        let hosts = dir.path().join("hosts");
        write_hosts(&hosts);
        let second = Command::new(INTAKT)
            .arg("inspect")
            .arg(&path)
            .arg("--hosts")
            .arg(&hosts)
            .args(["--process", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut served = Served::start(&path, &["--hosts", hosts.to_str().unwrap(), "--process", "0"]);
        let log = served.log();
        Self {
            _dir: dir,
            served,
            second,
            gate,
            log,
            normal: fs::read(&SHARED.normal).unwrap(),
            sent: BTreeMap::new(),
            logged: BTreeMap::new(),
        }
    }

    fn dock_sends(&mut self, off_us: i64, image: &[u8]) {
        self.served.post_off("dock", off_us, image);
        *self.sent.entry("dock").or_default() += 1;
    }

    fn dock(&mut self, off_us: i64) {
        let image = self.normal.clone();
        self.dock_sends(off_us, &image);
    }

    fn gate_sends(&mut self, image: &[u8]) {
        self.gate.send(image);
        *self.sent.entry("gate").or_default() += 1;
    }

    fn gate(&mut self) {
        let image = self.normal.clone();
        self.gate_sends(&image);
    }

    fn logged(&self, camera: &str) -> u64 {
        self.logged.get(camera).copied().unwrap_or(0)
    }

    /// Counts what is logged, for a moment.
    fn hear(&mut self) {
        let first = self.log.recv_timeout(Duration::from_millis(100));
        for line in first.into_iter().chain(self.log.try_iter()) {
            *self
                .logged
                .entry(line["camera"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
    }

    /// Lets cameras send until so many more frames of `camera` are logged.
    fn until_logged(&mut self, camera: &str, more: u64, mut send: impl FnMut(&mut Self)) {
        let (begun, before) = (Instant::now(), self.logged(camera));
        let never = StopFlag::default();
        while self.logged(camera) < before + more {
            send(self);
            self.hear();
            // More than 1,000 requests a second would be refused.
            never.wait(Duration::from_millis(3));
            assert!(begun.elapsed() < HANG, "{camera}: {:?} of {:?}", self.logged, self.sent);
        }
    }

    /// Waits until all that was sent is logged, and ends the run in process 1; what both said.
    fn end(mut self) -> [String; 2] {
        for camera in ["dock", "gate"] {
            let missing = self.sent[camera] - self.logged(camera);
            self.until_logged(camera, missing, |_| ());
        }
        let pid = self.second.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let (code, first) = self.served.ended();
        let second = end(self.second);
        assert!(code < 2 && second.code < 2, "{first}\n{}", second.stderr);
        assert_eq!(self.log.iter().count(), 0, "all was logged before");
        for (said, camera) in [(&first, "dock"), (&first, "gate"), (&second.stderr, "gate")] {
            let [captured, judged, _, unreadable, dropped] = account(said, camera);
            assert_eq!(captured, judged + unreadable + dropped, "{camera}: {said}");
            assert_eq!(captured, self.sent[camera], "{camera}: {said}");
        }
        [first, second.stderr]
    }
}

/// What a process says of a camera at its end: frames captured, judged, rejected, unreadable and dropped.
fn account(said: &str, camera: &str) -> [u64; 5] {
    let numbers = said.lines().find_map(|line| {
        let numbers: Result<Vec<u64>, _> = line.strip_prefix(camera)?.split_whitespace().map(str::parse).collect();
        numbers.ok()?.try_into().ok()
    });
    numbers.unwrap_or_else(|| panic!("no account of {camera}: {said}"))
}

#[test]
fn a_live_camera_that_falls_silent_in_another_process_does_not_hold_the_log() {
    let mut plant = Plant::start();
    let both = |plant: &mut Plant| {
        plant.dock(0);
        plant.gate();
    };
    plant.until_logged("gate", 3, both);
    // First the connection stays, then the camera is gone.
    for is_gone in [false, true] {
        if is_gone {
            plant.gate.hang_up();
        }
        plant.until_logged("dock", GOES_ON, |plant| plant.dock(0));
        plant.dock_sends(0, b"torn");
        plant.gate_sends(b"torn");
        plant.until_logged("gate", 3, both);
    }
    let [first, second] = plant.end();
    assert_eq!(
        (account(&first, "dock")[3], account(&first, "gate")[3]),
        (2, 2),
        "{first}"
    );
    assert!(
        second.contains("camera \"gate\": the camera closed the connection"),
        "{second}"
    );
}

#[test]
fn a_clock_that_is_an_hour_off_in_one_process_stops_the_log_of_none() {
    // Ahead while the other contradicts, ahead before it is there, and behind.
    for (off_us, is_alone_first, said_by, said) in [
        (HOUR_US, false, 0, "camera \"dock\": its clock is 3600 s ahead"),
        (HOUR_US, true, 1, "camera \"gate\": its clock is 3600 s behind"),
        (-HOUR_US, false, 0, "camera \"dock\": its clock is 3600 s behind"),
    ] {
        let mut plant = Plant::start();
        match is_alone_first {
            true => plant.until_logged("dock", 1, |plant| plant.dock(off_us)),
            false => plant.until_logged("gate", 3, |plant| {
                plant.dock(0);
                plant.gate();
            }),
        }
        for camera in ["dock", "gate"] {
            plant.until_logged(camera, GOES_ON, |plant| {
                plant.dock(off_us);
                plant.gate();
            });
        }
        let said_of_both = plant.end();
        assert!(said_of_both[said_by].contains(said), "{said}: {said_of_both:?}");
    }
}
