//! What a run is told, and who told it.

use std::time::Duration;

use intakt_operators::dataflow::Overflow;
use serde_json::{Value, json};

use super::{Going, LIMITS, Limits, Reply, ask, idle, image, post, tell};

const CAMERA: &str = "/api/v1/cameras/dock";

/// Judges a frame; its verdict.
fn judge(run: &Going) -> Value {
    let reply = post(run.address, "/api/v1/cameras/dock/frames", &image());
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// The entries of the audit log, once there are so many.
fn entries(run: &Going, n: usize) -> Vec<Value> {
    loop {
        let entries = run.json("/api/v1/audit")["entries"].as_array().unwrap().clone();
        if entries.len() >= n {
            return entries;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_threshold_takes_effect_at_the_frame_that_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let run = Going::start_in(None, directory.path());
    run.ready();
    let threshold = |verdict: &Value| verdict["threshold"].as_f64().unwrap();
    assert_eq!(threshold(&judge(&run)), 10.0);
    let path = format!("{CAMERA}/threshold");
    let told = tell(run.address, "PUT", &path, r#"{"threshold": 11.5, "at_seq": 3}"#);
    assert_eq!(
        (told.status, told.json()),
        (202, json!({"camera": "dock", "threshold": 11.5, "at_seq": 3}))
    );
    let seen: Vec<f64> = (1..5).map(|_| threshold(&judge(&run))).collect();
    assert_eq!(seen, [10.0, 10.0, 11.5, 11.5]);
    // One that waits is given up for a later one, which rests on what holds.
    for (body, expected, note) in [
        (r#"{"threshold": 7, "at_seq": 1000}"#, 11.5, Value::Null),
        (
            r#"{"threshold": 12}"#,
            12.0,
            "the change that waited for frame 1000 is given up for it".into(),
        ),
        (
            r#"{"threshold": 13, "at_seq": 2}"#,
            13.0,
            "frame 2 has come already: it holds from the next frame on".into(),
        ),
    ] {
        let told = tell(run.address, "PUT", &path, body);
        assert_eq!((told.status, &told.json()["notes"][0]), (202, &note), "{body}");
        assert_eq!(threshold(&judge(&run)), expected, "{body}");
    }
    let entries = entries(&run, 7);
    let effects: Vec<(&Value, &Value)> = entries
        .iter()
        .filter(|entry| entry["what"] == "took effect")
        .map(|entry| (&entry["of"], &entry["frame"]))
        .collect();
    let asked = |after: f64| &entries.iter().find(|entry| entry["after"] == after).unwrap()["id"];
    assert_eq!(
        effects,
        [
            (asked(13.0), &json!(7)),
            (asked(12.0), &json!(6)),
            (asked(11.5), &json!(3))
        ],
        "the one that was given up never did"
    );
    run.end();
}

#[test]
fn every_change_is_noted_with_who_made_it_and_what_was_before() {
    let directory = tempfile::tempdir().unwrap();
    let run = Going::start_in(None, directory.path());
    run.ready();
    judge(&run);
    for (method, path, body) in [
        ("PUT", format!("{CAMERA}/threshold"), r#"{"threshold": 11}"#),
        ("PUT", format!("{CAMERA}/lot"), r#"{"lot": "L7"}"#),
        ("PUT", format!("{CAMERA}/what-if/stricter"), r#"{"threshold": 0.4}"#),
        ("DELETE", format!("{CAMERA}/what-if/stricter"), ""),
        (
            "POST",
            "/api/v1/labels".to_owned(),
            r#"{"camera": "dock", "seq": 0, "truth": "anomalous:hole"}"#,
        ),
    ] {
        let told = tell(run.address, method, &path, body);
        assert_eq!(told.status, 202, "{path}: {told:?}");
    }
    // What is refused is no change.
    for (path, body, status) in [
        (format!("{CAMERA}/threshold"), r#"{"threshold": 1e999}"#, 400),
        (format!("{CAMERA}/threshold"), r#"{"threshold": "x"}"#, 422),
        (format!("{CAMERA}/lot"), r#"{"lot": ""}"#, 400),
        (format!("{CAMERA}/what-if/q"), r#"{"threshold": 2}"#, 400),
        ("/api/v1/cameras/quay/lot".to_owned(), r#"{"lot": "L"}"#, 404),
    ] {
        assert_eq!(tell(run.address, "PUT", &path, body).status, status, "{path} {body}");
    }
    judge(&run);
    let entries = entries(&run, 6);
    let noted: Vec<Value> = entries
        .iter()
        .rev()
        .filter(|entry| entry["what"] != "took effect")
        .map(|entry| {
            json!([
                entry["what"],
                entry["who"],
                entry["address"],
                entry["before"],
                entry["after"]
            ])
        })
        .collect();
    let label = |truth: Value| json!([{"camera": "dock", "seq": 0, "truth": truth}]);
    assert_eq!(
        noted,
        [
            json!(["threshold", "local", "127.0.0.1", 10.0, 11.0]),
            json!(["lot", "local", "127.0.0.1", null, "L7"]),
            json!(["question", "local", "127.0.0.1", null, {"name": "stricter", "threshold": 0.4}]),
            json!(["question", "local", "127.0.0.1", null, {"name": "stricter", "threshold": null}]),
            json!([
                "labels",
                "local",
                "127.0.0.1",
                label(Value::Null),
                label(json!("anomalous:hole"))
            ]),
        ]
    );
    let file = directory.path().join("audit.jsonl");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), entries.len());
    run.end();
    let again = Going::start(LIMITS, None, false);
    assert_eq!(
        again.get("/api/v1/audit").status,
        409,
        "a run that is not kept has no log"
    );
    again.end();
}

#[test]
fn under_the_threshold_that_it_came_with_a_detector_is_the_one_that_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let run = Going::start_in(None, directory.path());
    run.ready();
    let given = judge(&run)["detector"].clone();
    let path = format!("{CAMERA}/threshold");
    for (threshold, is_given) in [
        ("12", false),
        ("11", false),
        ("10.0000001", true),
        ("10", true),
        ("12", false),
    ] {
        let body = format!(r#"{{"threshold": {threshold}}}"#);
        assert_eq!(tell(run.address, "PUT", &path, &body).status, 202);
        assert_eq!(judge(&run)["detector"] == given, is_given, "{threshold}");
    }
    run.end();
}

#[test]
fn what_takes_effect_right_before_the_end_is_noted() {
    let directory = tempfile::tempdir().unwrap();
    let run = Going::start_in(None, directory.path());
    run.ready();
    let path = format!("{CAMERA}/threshold");
    assert_eq!(tell(run.address, "PUT", &path, r#"{"threshold": 11}"#).status, 202);
    assert_eq!(judge(&run)["threshold"], 11.0);
    run.end();
    let log = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    assert_eq!(log.matches("took effect").count(), 1, "{log}");
}

#[test]
fn a_change_that_cannot_be_noted_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    // A directory in its place cannot be written to.
    std::fs::create_dir(directory.path().join("audit.jsonl")).unwrap();
    let run = Going::start_in(None, directory.path());
    run.ready();
    let refused = tell(
        run.address,
        "PUT",
        &format!("{CAMERA}/threshold"),
        r#"{"threshold": 11}"#,
    );
    assert_eq!(refused.status, 507, "{refused:?}");
    let label = r#"{"camera": "dock", "seq": 0, "truth": "normal"}"#;
    assert_eq!(tell(run.address, "POST", "/api/v1/labels", label).status, 507);
    assert_eq!(judge(&run)["threshold"], 10.0);
    assert!(!directory.path().join("labels.jsonl").exists());
    run.end();
}

fn upload(run: &Going, bytes: &[u8]) -> Reply {
    ask(
        run.address,
        "POST",
        "/api/v1/detectors",
        "content-type: application/octet-stream\r\n",
        bytes,
    )
}

#[test]
fn each_of_many_labels_is_in_the_audit_log() {
    let directory = tempfile::tempdir().unwrap();
    let run = Going::start_in(None, directory.path());
    run.ready();
    judge(&run);
    let label = |seq: u64| json!({"camera": "dock", "seq": seq, "truth": "normal"});
    let labels: Vec<Value> = (0..2_300).map(label).collect();
    let told = tell(run.address, "POST", "/api/v1/labels", &json!(labels).to_string());
    assert_eq!(told.status, 202, "{told:?}");
    let entries = run.json("/api/v1/audit")["entries"].take();
    let entries = entries.as_array().unwrap();
    let noted = entries
        .iter()
        .rev()
        .flat_map(|entry| entry["after"].as_array().unwrap());
    assert!(noted.eq(&labels));
    assert_eq!(entries.len(), 3);
    run.end();
}

#[test]
fn detectors_are_uploaded_listed_and_switched_to() {
    let directory = tempfile::tempdir().unwrap();
    let run = Going::start_in(None, directory.path());
    run.ready();
    let first = judge(&run)["detector"].clone();
    let listed = |run: &Going| run.json("/api/v1/detectors")["detectors"].as_array().unwrap().clone();
    assert_eq!(listed(&run).len(), 1);
    assert_eq!(
        (&listed(&run)[0]["id"], &listed(&run)[0]["cameras"]),
        (&first, &json!(["dock"]))
    );
    for foreign in [&b"no detector"[..], b"", &[0xff; 5_000]] {
        let refused = upload(&run, foreign);
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    let unknown = tell(
        run.address,
        "PUT",
        &format!("{CAMERA}/detector"),
        r#"{"detector": "0123456789ab"}"#,
    );
    assert_eq!(unknown.status, 404, "{unknown:?}");
    // The idle detector has no file that could be read back: its network is a test's own.
    let other = idle::detector().with_image_threshold(12.0).unwrap();
    assert_eq!(upload(&run, &other.to_bytes()).status, 400);
    let same = tell(
        run.address,
        "PUT",
        &format!("{CAMERA}/detector"),
        &json!({"detector": first}).to_string(),
    );
    assert_eq!((same.status, &same.json()["detector"]), (202, &first));
    run.end();
    let unkept = Going::start(LIMITS, None, false);
    assert_eq!(upload(&unkept, b"x").status, 409, "there is no place for it");
    unkept.end();
}

/// A batch of images, each with its headers.
fn batch(run: &Going, images: &[(&str, &[u8])]) -> Reply {
    let mut body = Vec::new();
    for (headers, image) in images {
        body.extend(format!("--cut\r\ncontent-disposition: form-data; name=image\r\n{headers}\r\n").bytes());
        body.extend(*image);
        body.extend(b"\r\n");
    }
    body.extend(b"--cut--\r\n");
    let headers = "content-type: multipart/form-data; boundary=cut\r\n";
    ask(run.address, "POST", "/api/v1/cameras/dock/frames/batch", headers, &body)
}

#[test]
fn a_batch_is_answered_image_by_image_in_its_order() {
    let run = Going::start_with(LIMITS, None, false, Overflow::DropNewest);
    run.ready();
    let image = image();
    let answered = batch(
        &run,
        &[
            ("captured-at-us: 7\r\n", &image),
            ("", b"no image"),
            ("captured-at-us: noon\r\n", &image),
        ],
    );
    assert_eq!(answered.status, 200, "{answered:?}");
    let answered = answered.json();
    assert_eq!(
        (&answered["camera"], &answered["stopped"]),
        (&json!("dock"), &Value::Null)
    );
    let images = answered["images"].as_array().unwrap();
    let statuses: Vec<&Value> = images.iter().map(|image| &image["status"]).collect();
    assert_eq!(statuses, [200, 200, 400]);
    assert_eq!(
        (&images[0]["verdict"]["seq"], &images[0]["verdict"]["captured_at_us"]),
        (&json!(0), &json!(7))
    );
    assert_eq!(images[1]["verdict"]["decision"], "unreadable");
    assert!(images[2]["verdict"].is_null() && images[2]["problem"]["detail"].is_string());

    let many = [("", &image[..]); 5];
    let stopped = batch(&run, &many).json();
    assert_eq!(stopped["images"].as_array().unwrap().len(), LIMITS.batch_images_max);
    assert_eq!(stopped["stopped"]["status"], 413, "{stopped}");
    let large = vec![7; LIMITS.body_bytes_max + 1];
    let stopped = batch(&run, &[("", &image), ("", &large)]).json();
    assert_eq!(
        (&stopped["images"][0]["status"], &stopped["stopped"]["status"]),
        (&json!(200), &json!(413))
    );
    assert_eq!(batch(&run, &[("", &large)]).status, 413);
    assert_eq!(batch(&run, &[]).status, 400);
    let path = "/api/v1/cameras/dock/frames/batch";
    assert_eq!(post(run.address, path, &image).status, 415);
    let cut = "content-type: multipart/form-data; boundary=cut\r\n";
    assert_eq!(ask(run.address, "POST", path, cut, b"--cut\r\n\r\nhalf").status, 400);
    let elsewhere = "/api/v1/cameras/quay/frames/batch";
    assert_eq!(ask(run.address, "POST", elsewhere, cut, b"--cut--").status, 404);
    let report = run.end();
    assert_eq!(
        (report.cameras["dock"].captured, report.cameras["dock"].dropped),
        (6, 0)
    );
}

#[test]
fn a_batch_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        place_wait_max: Duration::from_millis(50),
        ..LIMITS
    };
    let run = Going::start(limits, None, false);
    run.ready();
    let head = "POST /api/v1/cameras/dock/frames/batch HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
                content-type: multipart/form-data; boundary=cut\r\ncontent-length: 10000\r\n\r\n--cut\r\n\r\nhalf";
    assert_eq!(super::exchange(run.address, head, &[]).status, 408);
    let slow = "PUT /api/v1/cameras/dock/threshold HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"thr";
    assert_eq!(super::exchange(run.address, slow, &[]).status, 408);
    let slow = slow
        .replace("threshold", "detector")
        .replace("application/json", "application/octet-stream");
    // Whoever comes while one is uploaded is not kept waiting for as long as that takes.
    let address = run.address;
    let first = slow.clone();
    let first = std::thread::spawn(move || super::exchange(address, &first, &[]));
    let second = super::exchange(run.address, &slow, &[]);
    let mut statuses = [first.join().unwrap().status, second.status];
    // Either may have come first.
    statuses.sort_unstable();
    assert_eq!(statuses, [408, 503]);
    run.end();
}
