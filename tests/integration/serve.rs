//! `intakt serve` and `intakt demo --serve`: a run in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use intakt_pipelines::sources::StopFlag;
use intakt_pipelines::store::{Store, StoreOptions};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::server::{Served, run_file};
use crate::support::{INTAKT, OTHER, SHARED, intakt};

/// What takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

/// Serves a run that is kept.
pub(crate) fn serve(run: &Path) -> Served {
    let mut command = Command::new(INTAKT);
    command.arg("serve").arg(run).args(["--listen", "127.0.0.1:0"]);
    Served::spawn(command)
}

/// A kept run that goes on, whose camera "good" takes what is posted to it: its place, its directory, and its server.
fn line() -> (TempDir, PathBuf, Served) {
    let (dir, path) = run_file(
        "detector = \"line.intakt\"\n[server]\nlisten = \"127.0.0.1:0\"\n[[camera]]\nname = \"good\"\nsource = \"http\"\n",
    );
    let run = dir.path().join("run");
    let going_on = Served::start(&path, &["--run", run.to_str().unwrap()]);
    (dir, run, going_on)
}

/// A JSON answer.
pub(crate) fn json(served: &Served, path: &str) -> Value {
    let (status, body) = served.get(path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Waits until an answer is as it is to be.
fn until(served: &Served, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let (never, begun) = (StopFlag::default(), Instant::now());
    loop {
        let answer = json(served, path);
        if is_so(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < HANG, "{path} stays {answer}");
        never.wait(Duration::from_millis(20));
    }
}

fn label(served: &Served, seq: u64) -> (u16, String) {
    say(served, seq, "normal")
}

fn say(served: &Served, seq: u64, truth: &str) -> (u16, String) {
    let label = format!("{{\"camera\": \"good\", \"seq\": {seq}, \"truth\": \"{truth}\"}}");
    let line = "POST /api/v1/labels HTTP/1.1\r\ncontent-type: application/json\r\n";
    served.exchange(line, label.as_bytes())
}

#[test]
fn a_run_that_has_ended_is_read_and_labelled() {
    let dir = tempdir().unwrap();
    let run = dir.path().join("run");
    let images = SHARED.dataset.join("test/good");
    let ran = intakt(&[&"inspect", &SHARED.detector, &images, &"--run", &run]);
    let verdicts = ran.verdicts();
    let camera = verdicts[0]["camera"].as_str().unwrap().to_owned();
    assert_eq!(camera, "good", "{verdicts:?}");

    let served = serve(&run);
    let listed = json(&served, "/api/v1/verdicts?limit=500");
    let listed = listed["verdicts"].as_array().unwrap();
    assert_eq!(listed.len(), verdicts.len());
    for (kept, logged) in listed.iter().rev().zip(&verdicts) {
        for key in [
            "camera",
            "seq",
            "decision",
            "image_score",
            "calibrated_score",
            "regions",
            "detector",
        ] {
            assert_eq!(kept[key], logged[key], "{key}");
        }
    }
    let cameras = json(&served, "/api/v1/cameras");
    assert_eq!(
        (&cameras["cameras"][0]["state"], &cameras["cameras"][0]["captured"]),
        (&"ended".into(), &verdicts.len().into())
    );
    let status = json(&served, "/api/v1/status");
    assert_eq!(status["state"], "ended");
    // Whatever was decided of it, the last frame can be seen.
    let last = &verdicts.last().unwrap()["seq"];
    assert_eq!(status["cameras"][0]["last_verdict"]["seq"], *last);
    let newest = &json(&served, "/api/v1/verdicts?limit=1")["verdicts"][0];
    assert_eq!((&newest["seq"], &newest["has_picture"]), (last, &true.into()));
    let latencies = json(&served, "/api/v1/latencies?camera=good&window=15m");
    let frame = latencies["stages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stage| stage["stage"] == "frame");
    assert_eq!(
        (&latencies["minutes"], &frame.unwrap()["count"]),
        (&Value::Null, &verdicts.len().into()),
        "of an ended run what it said last is known"
    );
    let histogram = json(&served, "/api/v1/histogram?camera=good");
    assert_eq!(
        (&histogram["judged"], &histogram["normal"]),
        (&verdicts.len().into(), &0.into())
    );

    assert_eq!(label(&served, 0), (202, "{\"labels\":1,\"notes\":[]}".to_owned()));
    until(&served, "/api/v1/histogram?camera=good", |histogram| {
        histogram["normal"] == 1
    });
    let rates = "/api/v1/rates?scope=camera/good&window=1m";
    let figure = |rates: &Value| rates["windows"][0]["figures"]["labelled"]["value"].clone();
    until(&served, rates, |rates| figure(rates) == 1.0);
    // What was said can be taken back, as if it had never been said.
    assert_eq!(
        say(&served, 0, "unlabelled"),
        (202, "{\"labels\":1,\"notes\":[]}".to_owned())
    );
    until(&served, rates, |rates| figure(rates) == Value::Null);
    until(&served, "/api/v1/histogram?camera=good", |histogram| {
        histogram["normal"] == 0
    });
    assert_eq!(
        json(&served, "/api/v1/verdicts?labelled=true")["verdicts"],
        Value::Array(vec![])
    );
    let line = "PUT /api/v1/cameras/good/threshold HTTP/1.1\r\ncontent-type: application/json\r\n";
    let (status, body) = served.exchange(line, b"{\"threshold\": 1}");
    assert_eq!(status, 409, "{body}");
    let audit = json(&served, "/api/v1/audit");
    assert_eq!(audit["entries"][0]["what"], "labels");
    assert_eq!(served.interrupt(), 0);
    intakt(&[&"serve", &dir.path().join("none")]).expect_error(&["no such file"]);
}

#[test]
fn a_correction_that_is_killed_leaves_the_run_ended_and_its_labels_are_taken_in_later() {
    let dir = tempdir().unwrap();
    let run = dir.path().join("run");
    let n_frames = intakt(&[
        &"inspect",
        &SHARED.detector,
        &SHARED.dataset.join("test/good"),
        &"--run",
        &run,
    ])
    .verdicts()
    .len() as u64;
    let never = StopFlag::default();
    for delay_ms in [0, 3, 6, 10, 15, 25, 40, 80] {
        let served = serve(&run);
        for seq in 0..n_frames {
            let (status, body) = label(&served, seq);
            assert_eq!(
                (status, body.as_str()),
                (202, "{\"labels\":1,\"notes\":[]}"),
                "the run has ended"
            );
            say(&served, seq, "unlabelled");
        }
        label(&served, 0);
        never.wait(Duration::from_millis(delay_ms));
        served.kill();
        let store = Store::open_read_only(&run.join("run.sqlite"), StoreOptions::default()).unwrap();
        assert!(store.has_ended().unwrap(), "killed after {delay_ms} ms");
    }
    let served = serve(&run);
    label(&served, 1);
    let rates = "/api/v1/rates?scope=camera/good&window=1m";
    until(&served, rates, |rates| {
        rates["windows"][0]["figures"]["labelled"]["value"] == 2.0
    });
    assert_eq!(served.interrupt(), 0);
}

#[test]
fn a_run_that_goes_on_elsewhere_is_read_and_labelled_there() {
    let (_dir, run, going_on) = line();
    let image = fs::read(&SHARED.normal).unwrap();
    let post = "POST /api/v1/cameras/good/frames HTTP/1.1\r\n";
    assert_eq!(going_on.exchange(post, &image).0, 200);
    let served = serve(&run);
    until(&served, "/api/v1/status", |status| status["state"] == "running");
    until(&served, "/api/v1/verdicts", |page| {
        page["verdicts"].as_array().unwrap().len() == 1
    });
    let (status, body) = label(&served, 0);
    assert!(
        status == 202 && body.contains("the run that is going on takes them in"),
        "{body}"
    );
    until(&served, "/api/v1/verdicts?labelled=true", |page| {
        page["verdicts"][0]["truth"] == "normal"
    });
    going_on.kill();
    let status = until(&served, "/api/v1/status", |status| status["state"] == "interrupted");
    assert_eq!(status["cameras"][0]["judged"], 1, "{status}");
    assert_eq!(served.interrupt(), 0);
}

#[test]
fn frames_of_before_a_threshold_are_counted_on_its_scale() {
    let (dir, run, going_on) = line();
    let images = [&SHARED.normal, &SHARED.blotted].map(|path| fs::read(path).unwrap());
    let post = |image: &[u8]| {
        let (status, body) = going_on.exchange("POST /api/v1/cameras/good/frames HTTP/1.1\r\n", image);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let before: Vec<Value> = images.iter().chain(&images).map(|image| post(image)).collect();
    let scores = |verdicts: &[Value]| -> Vec<f64> {
        let score = |verdict: &Value| verdict["image_score"].as_f64().unwrap();
        verdicts.iter().map(score).collect()
    };
    // Above what the blotted ones score: then none of them is rejected any more.
    let threshold = scores(&before).into_iter().fold(0.0, f64::max) * 1.5;
    let put = "PUT /api/v1/cameras/good/threshold HTTP/1.1\r\ncontent-type: application/json\r\n";
    assert_eq!(
        going_on
            .exchange(put, format!("{{\"threshold\": {threshold}}}").as_bytes())
            .0,
        202
    );
    let after = post(&images[1]);
    assert_ne!(
        after["detector"], before[0]["detector"],
        "another threshold, another id"
    );
    let path = "/api/v1/histogram?camera=good";
    let found = until(&going_on, path, |found| found["judged"] == 5);
    let check = |found: &Value| {
        assert_eq!(found["frames_of_other_detectors"], 0, "{found}");
        let counts = found["counts"].as_array().unwrap().iter();
        let rejected = counts.filter(|count| count["bucket"].as_u64() >= Some(128)).count();
        assert_eq!(rejected, 0, "{found}");
        let told = found["scale"]["threshold"].as_f64().unwrap();
        assert!((told - threshold).abs() < 1e-3 * threshold, "{found}");
        assert!(!found["calibration"].as_array().unwrap().is_empty(), "{found}");
    };
    check(&found);
    // What is told and has not taken effect yet is not what frames are counted by.
    assert_eq!(going_on.exchange(put, b"{\"threshold\": 1000000}").0, 202);
    check(&json(&going_on, path));
    going_on.interrupt();
    let served = serve(&run);
    check(&until(&served, path, |found| found["judged"] == 5));
    let listed = json(&served, "/api/v1/detectors");
    let [card] = listed["detectors"].as_array().unwrap().as_slice() else {
        panic!("{listed}");
    };
    assert_eq!(
        (&card["id"], card["cameras"].as_array().map(Vec::len)),
        (&before[0]["detector"], Some(1))
    );
    assert_eq!(served.interrupt(), 0);
    let report = dir.path().join("report.html");
    intakt(&[&"report", &run, &"-o", &report]).expect(0);
    let report = fs::read_to_string(report).unwrap();
    assert!(
        report.contains("was set by hand"),
        "what the detector is made of is told"
    );
    assert!(!report.contains("for `intakt show`") && !report.contains("for <code>intakt show"));
}

#[test]
fn a_detector_that_looked_before_can_look_again() {
    let (dir, run, going_on) = line();
    let image = fs::read(&SHARED.normal).unwrap();
    let looking = || {
        let (status, body) = going_on.exchange("POST /api/v1/cameras/good/frames HTTP/1.1\r\n", &image);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["detector"].clone()
    };
    let put = |what: &str, body: String| {
        let line = format!("PUT /api/v1/cameras/good/{what} HTTP/1.1\r\ncontent-type: application/json\r\n");
        let (status, answer) = going_on.exchange(&line, body.as_bytes());
        assert_eq!(status, 202, "{what} {body}: {answer}");
    };
    let first = looking();
    put("threshold", "{\"threshold\": 1000000}".to_owned());
    let second = looking();
    assert_ne!(first, second);
    for detector in [&first, &second] {
        put("detector", format!("{{\"detector\": {detector}}}"));
        assert_eq!(looking(), *detector);
    }
    let listed = json(&going_on, "/api/v1/detectors")["detectors"].take();
    let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|card| &card["id"]).collect();
    assert!(
        ids.len() == 2 && ids.contains(&&first) && ids.contains(&&second),
        "{ids:?}"
    );
    going_on.interrupt();
    // The run goes on with the one that looked last.
    let kept = ["--run", run.to_str().unwrap(), "--resume"];
    let going_on = Served::start(&dir.path().join("run.toml"), &kept);
    let (status, body) = going_on.exchange("POST /api/v1/cameras/good/frames HTTP/1.1\r\n", &image);
    assert_eq!(status, 200, "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["detector"], second);
    going_on.interrupt();
}

#[test]
fn an_uploaded_detector_looks_from_the_frame_that_was_named() {
    let (dir, path) = run_file(
        "detector = \"line.intakt\"\n[server]\nlisten = \"127.0.0.1:0\"\n[[camera]]\nname = \"good\"\nsource = \"http\"\n",
    );
    let [run, tape] = ["run", "tape"].map(|name| dir.path().join(name));
    let kept = ["--run", run.to_str().unwrap(), "--record", tape.to_str().unwrap()];
    let going_on = Served::start(&path, &kept);
    let image = fs::read(&SHARED.normal).unwrap();
    let post = || -> Value {
        let (status, body) = going_on.exchange("POST /api/v1/cameras/good/frames HTTP/1.1\r\n", &image);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let first = post();
    let upload = "POST /api/v1/detectors HTTP/1.1\r\ncontent-type: application/octet-stream\r\n";
    let (status, body) = going_on.exchange(upload, &fs::read(&*OTHER).unwrap());
    assert_eq!(status, 201, "{body}");
    let other = serde_json::from_str::<Value>(&body).unwrap()["id"].clone();
    let cameras_of = |served: &Served, id: &Value| {
        let listed = json(served, "/api/v1/detectors")["detectors"].take();
        let cards = listed.as_array().unwrap();
        assert_eq!(cards.len(), 2, "{listed}");
        let card = cards.iter().find(|card| card["id"] == *id);
        card.unwrap_or_else(|| panic!("{id} in {listed}"))["cameras"].clone()
    };
    assert_eq!(
        (cameras_of(&going_on, &first["detector"]), cameras_of(&going_on, &other)),
        (["good"].into(), Value::Array(vec![]))
    );
    let switch = "PUT /api/v1/cameras/good/detector HTTP/1.1\r\ncontent-type: application/json\r\n";
    let asked = format!("{{\"detector\": {other}, \"at_seq\": 3}}");
    assert_eq!(going_on.exchange(switch, asked.as_bytes()).0, 202);
    for seq in 1..6 {
        let verdict = post();
        let (detector, decision) = if seq < 3 {
            (&first["detector"], "pass")
        } else {
            (&other, "reject")
        };
        assert_eq!(
            (&verdict["seq"], &verdict["detector"]),
            (&seq.into(), detector),
            "{verdict}"
        );
        assert_eq!(verdict["decision"], decision, "{verdict}");
    }
    let audit = until(&going_on, "/api/v1/audit", |audit| {
        audit["entries"][0]["what"] == "took effect"
    });
    assert_eq!(audit["entries"][0]["frame"], 3, "{audit}");
    assert_eq!(cameras_of(&going_on, &other), Value::from(["good"]));
    going_on.interrupt();
    // What it was is known afterwards, too, and happens again.
    let served = serve(&run);
    assert_eq!(
        (cameras_of(&served, &first["detector"]), cameras_of(&served, &other)),
        (["good"].into(), Value::Array(vec![]))
    );
    assert_eq!(served.interrupt(), 0);
    let report = dir.path().join("report.html");
    intakt(&[&"report", &run, &"-o", &report]).expect(0);
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains(other.as_str().unwrap()) && !report.contains("not beside the run any"));
    intakt(&[&"replay", &tape, &"--diff"]).expect(0);
}

#[test]
fn no_more_detectors_lie_beside_a_run_than_may_be() {
    let (_dir, run, going_on) = line();
    let file = fs::read(&SHARED.detector).unwrap();
    for number in 0..64 {
        fs::write(run.join(format!("{number:012x}.intakt")), "").unwrap();
    }
    for line in [
        "POST /api/v1/detectors HTTP/1.1\r\ncontent-type: application/octet-stream\r\n",
        "PUT /api/v1/cameras/good/detector HTTP/1.1\r\n",
    ] {
        let (status, body) = going_on.exchange(line, &file);
        assert!(
            status == 409 && body.contains("64 detectors lie beside the run"),
            "{line}: {body}"
        );
    }
    fs::remove_file(run.join("000000000000.intakt")).unwrap();
    let line = "PUT /api/v1/cameras/good/detector HTTP/1.1\r\n";
    assert_eq!(going_on.exchange(line, &file).0, 202);
    going_on.interrupt();
}

#[test]
fn the_demo_is_shown_until_it_is_interrupted() {
    let dir = tempdir().unwrap();
    let (out, run) = (dir.path().join("demo"), dir.path().join("run"));
    let mut command = Command::new(INTAKT);
    command
        .args(["demo", "--serve", "--listen", "127.0.0.1:0", "--out"])
        .arg(&out)
        .arg("--run")
        .arg(&run);
    let served = Served::spawn(command);
    for camera in ["fabric", "metal", "labels"] {
        let path = format!("/api/v1/verdicts?camera={camera}&limit=1");
        let page = until(&served, &path, |page| page["verdicts"][0]["seq"].as_u64() > Some(3));
        let label = format!("{{\"camera\": \"{camera}\", \"seq\": 0, \"truth\": \"normal\"}}");
        let line = "POST /api/v1/labels HTTP/1.1\r\ncontent-type: application/json\r\n";
        assert_eq!(served.exchange(line, label.as_bytes()).0, 202, "{page}");
    }
    let status = until(&served, "/api/v1/cameras", |cameras| {
        cameras["cameras"][2]["judged"].as_u64() > Some(3)
    });
    assert_eq!(status["cameras"].as_array().unwrap().len(), 3);
    assert_eq!(served.interrupt(), 0);
    assert!(run.join("run.sqlite").is_file() && out.join("line.toml").is_file());
}

#[test]
fn rejected_frames_of_a_kept_run_can_be_looked_at_afterwards() {
    let dir = tempdir().unwrap();
    let run = dir.path().join("run");
    let images = SHARED.dataset.join("test/blot");
    let ran = intakt(&[&"inspect", &SHARED.detector, &images, &"--run", &run]);
    let verdicts = ran.verdicts();
    let rejected = verdicts.iter().find(|verdict| verdict["decision"] == "reject");
    let seq = rejected.expect("blots are rejected")["seq"].as_u64().unwrap();
    let served = serve(&run);
    let frame = json(&served, &format!("/api/v1/cameras/blot/frames/{seq}"));
    assert!(frame["width_px"].as_u64() > Some(0), "{frame}");
    assert_eq!(served.get("/api/v1/cameras/blot/frames/9999").0, 404);
}

#[test]
fn a_run_and_its_replay_under_another_threshold_are_compared() {
    let dir = tempdir().unwrap();
    let [recording, run, replayed] = ["recording", "run", "replayed"].map(|name| dir.path().join(name));
    let images = SHARED.dataset.join("test");
    let ran = intakt(&[
        &"inspect",
        &SHARED.detector,
        &images,
        &"--run",
        &run,
        &"--record",
        &recording,
    ]);
    let verdicts = ran.verdicts();
    let score = |verdict: &Value| verdict["image_score"].as_f64().unwrap();
    let rejected: Vec<&Value> = verdicts
        .iter()
        .filter(|verdict| verdict["decision"] == "reject")
        .collect();
    // Between the weakest and the strongest reject: one decision flips, and at least one does not.
    let mut scores: Vec<f64> = rejected.iter().map(|verdict| score(verdict)).collect();
    scores.sort_by(f64::total_cmp);
    assert!(scores.len() > 1 && scores[0] < scores[1], "{scores:?}");
    let threshold = f64::midpoint(scores[0], scores[1]);
    let flipped = rejected.iter().find(|verdict| score(verdict) == scores[0]).unwrap();
    let replay = intakt(&[
        &"replay",
        &recording,
        &"--threshold",
        &threshold.to_string(),
        &"--run",
        &replayed,
    ]);
    assert_eq!(replay.verdicts().len(), verdicts.len());

    let mut command = Command::new(INTAKT);
    command.arg("serve").arg(&run).arg("--compare").arg(&replayed);
    command.args(["--listen", "127.0.0.1:0"]);
    let served = Served::spawn(command);
    let compared = json(&served, "/api/v1/compare");
    assert_eq!(
        (&compared["run"], &compared["other"]),
        (&"run".into(), &"replayed".into())
    );
    let total = |key: &str| -> u64 {
        let cameras = compared["cameras"].as_array().unwrap().iter();
        cameras.map(|camera| camera[key].as_u64().unwrap()).sum()
    };
    assert_eq!(total("both"), verdicts.len() as u64);
    assert_eq!((total("only_in_run"), total("only_in_other")), (0, 0));
    let page = json(&served, "/api/v1/compare/flips?before=reject&after=pass");
    let flips = page["flips"].as_array().unwrap();
    assert_eq!(flips.len(), 1, "{page}");
    for key in ["camera", "seq", "image_score"] {
        assert_eq!(flips[0]["before"][key], flipped[key], "{key}");
        assert_eq!(flips[0]["after"][key], flipped[key], "{key}");
    }
    assert_eq!(json(&served, "/api/v1/compare/flips")["flips"], page["flips"]);
    assert_eq!(served.get("/api/v1/compare/flips?before=reject").0, 400);
    assert_eq!(served.get("/api/v1/compare/flips?cursor=flip.x").0, 400);
    // The replay kept pictures of what it rejected.
    let kept = rejected.iter().find(|verdict| score(verdict) > threshold).unwrap();
    let picture = format!(
        "/api/v1/compare/cameras/{}/frames/{}/heatmap",
        kept["camera"].as_str().unwrap(),
        kept["seq"]
    );
    assert_eq!(served.get(&picture).0, 200);
    assert_eq!(served.interrupt(), 0);

    let alone = serve(&run);
    assert_eq!(alone.get("/api/v1/compare").0, 409);
    intakt(&[&"serve", &run, &"--compare", &dir.path().join("none")]).expect_error(&["no such file"]);
}
