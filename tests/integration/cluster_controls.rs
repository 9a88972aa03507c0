//! What is said to the cameras of a run in two processes: labels to the one that keeps it, the rest to the one that reads them.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use intakt_pipelines::sources::StopFlag;
use serde_json::Value;

use crate::cluster::write_hosts;
use crate::network_camera::NetworkCamera;
use crate::server::{HANG, Served, run_file, tell};
use crate::support::{SHARED, decision, intakt, json_lines, label};

fn tell_in_vain(served: &Served, line: &str, body: &str, reason: &str) {
    let line = format!("{line} HTTP/1.1\r\ncontent-type: application/json\r\n");
    let (status, said) = served.exchange(&line, body.as_bytes());
    assert_eq!(status, 409, "{line}{said}");
    assert!(said.contains(reason), "{said}");
}

/// Lets both cameras send until a frame of the gate is logged that is as `wanted`; it.
fn until_logged(
    served: &Served,
    gate: &NetworkCamera,
    log: &Receiver<Value>,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let (begun, never, image) = (Instant::now(), StopFlag::default(), fs::read(&SHARED.normal).unwrap());
    loop {
        served.post_off("dock", 0, &image);
        gate.send(&image);
        // More than 1,000 requests a second would be refused.
        never.wait(Duration::from_millis(3));
        let logged = log.recv_timeout(HANG).unwrap();
        if logged["camera"] == "gate" && wanted(&logged) {
            return logged;
        }
        assert!(begun.elapsed() < HANG, "{logged}");
    }
}

fn rows(run: &Path, show: &str) -> Vec<Value> {
    json_lines(&intakt(&[&"query", &run, &"--show", &show]).expect(0).stdout)
}

#[test]
fn labels_of_every_camera_are_for_process_0_and_the_rest_for_the_process_that_reads_it() {
    let gate = NetworkCamera::start();
    let (dir, path) = run_file(&format!(
        "detector = \"line.intakt\"\n[[camera]]\nname = \"dock\"\nsource = \"http\"\n[[camera]]\nname = \"gate\"\nsource = \
         \"mjpeg\"\nurl = \"{}\"\nprocess = 1\n",
        gate.url
    ));
    let (hosts, run) = (dir.path().join("hosts"), dir.path().join("run"));
    write_hosts(&hosts);
    let start = |process: &'static str| {
        let (path, hosts, run) = (path.clone(), hosts.clone(), run.clone());
        thread::spawn(move || {
            let (hosts, run) = (hosts.to_str().unwrap(), run.to_str().unwrap());
            let more = ["--hosts", hosts, "--process", process, "--run", run];
            Served::start(&path, &[&more[..], &["--listen", "127.0.0.1:0"]].concat())
        })
    };
    let [first, second] = ["0", "1"].map(start);
    let [mut first, second] = [first, second].map(|starting| starting.join().unwrap());
    let log = first.log();

    let passed = until_logged(&first, &gate, &log, |frame| decision(frame) == "pass");
    assert_eq!(
        second.exchange("GET /ready HTTP/1.1\r\n", b"").0,
        200,
        "frames came, and the log is elsewhere"
    );
    let said = format!(
        "{{\"camera\": \"gate\", \"seq\": {}, \"truth\": \"anomalous\"}}",
        passed["seq"]
    );
    tell(&first, "POST /api/v1/labels", &said);
    tell_in_vain(&second, "POST /api/v1/labels", &said, "process 0 keeps the run");
    let next = passed["seq"].as_u64().unwrap() + 1;
    label(&run, "gate", next, "normal").expect(0);

    let strict = "{\"threshold\": 67.47}";
    let of_gate = "PUT /api/v1/cameras/gate/threshold";
    tell_in_vain(&first, of_gate, strict, "another process reads camera \\\"gate\\\"");
    tell(&second, of_gate, strict);
    let rejected = until_logged(&first, &gate, &log, |frame| decision(frame) == "reject");
    assert!(rejected["seq"].as_u64() > passed["seq"].as_u64());

    // Each is interrupted; the hop in which that happened is complete, because live cameras have ended with it.
    let second = thread::spawn(move || second.interrupt());
    let ended = [first.interrupt(), second.join().unwrap()];
    assert!(ended.iter().all(|code| *code < 2), "{ended:?}");
    let mut labels = rows(&run, "labels");
    labels.sort_by_key(|label| label["seq"].as_u64());
    let labels: Vec<_> = labels
        .iter()
        .map(|label| (label["camera"].as_str(), label["seq"].as_u64()))
        .collect();
    assert_eq!(
        labels,
        [(Some("gate"), passed["seq"].as_u64()), (Some("gate"), Some(next))]
    );
    assert!(rows(&run, "changes").iter().any(|change| change["camera"] == "gate"));
}
