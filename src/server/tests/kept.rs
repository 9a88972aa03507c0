//! A run that has ended, from its store.

mod pictures;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use intakt_operators::detector::{Calibration, CalibrationMethod, DetectorDescription, ScoreScale};
use intakt_operators::{Decision, Label, Outcome, Truth, Verdict};
use intakt_pipelines::sinks::{CameraStatus, LiveStatus, RunState};
use intakt_pipelines::store::{Alert, Commit, Counted, Metric, Store, StoreOptions, TimedLabel, TimedOutcome};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::{NotedDetectors, Shown};
use super::page::streamed;
use super::{LIMITS, Limits, Listen, Reply, Run, Served, Server, ask, kept, tell};

const SECOND_US: u64 = 1_000_000;

/// A server over the store of a run that has ended.
struct Ended {
    store: Store,
    directory: TempDir,
    server: Server,
    address: SocketAddr,
    next_seq: u64,
}

/// What is seen of a run that has ended: its cameras, from the store.
struct Seen(std::path::PathBuf);

impl Shown for Seen {
    fn status(&self, counted: &mut Counted) -> Result<LiveStatus, String> {
        let store = Store::open_read_only(&self.0, StoreOptions::default()).map_err(|error| error.to_string())?;
        store.count_on(counted).map_err(|error| error.to_string())?;
        let camera = |name: &Arc<str>| CameraStatus {
            camera: name.clone(),
            ..CameraStatus::default()
        };
        Ok(LiveStatus {
            state: RunState::Ended,
            said_at_us: 1,
            cameras: counted.cameras().map(|(name, _)| camera(name)).collect(),
            ..LiveStatus::default()
        })
    }
}

/// Every detector is the same.
pub(super) struct Alike;

impl NotedDetectors for Alike {
    fn of(&self, id: &str) -> Option<DetectorDescription> {
        Some(DetectorDescription {
            id: id.into(),
            calibration: calibration(),
            ..DetectorDescription::of(&super::idle::detector())
        })
    }

    fn all(&self) -> Vec<(DetectorDescription, Vec<Arc<str>>)> {
        let all = ["0123456789ab", "ba9876543210"].map(|id| self.of(id).unwrap());
        all.into_iter().zip([vec![], vec!["dock".into()]]).collect()
    }
}

/// Of every detector.
fn calibration() -> Calibration {
    let scale = ScoreScale {
        normal_level: 2.0,
        threshold: 18.0,
    };
    Calibration {
        method: CalibrationMethod::F1Max,
        image: scale,
        pixel: scale,
        n_frames: 3,
        normal_quantiles: vec![2.0, 6.0, 10.0],
        guaranteed_false_reject_rate: None,
        statement: String::new(),
    }
}

impl Ended {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.sqlite");
        let store = Store::create(&path, "test", StoreOptions::default()).unwrap();
        // That somebody is gone may show only after the next one has come.
        let viewers_max = 16;
        let server = serve(directory.path(), Limits { viewers_max, ..LIMITS });
        Self {
            store,
            address: server.address(),
            server,
            directory,
            next_seq: 0,
        }
    }

    fn commit_figures(&mut self, metrics: Vec<Metric>, alerts: Vec<Alert>) {
        let commit = Commit {
            frontier_us: self.next_seq * SECOND_US,
            metrics,
            alerts,
            ..Commit::default()
        };
        self.store.commit(&commit).unwrap();
    }

    /// Commits frames of camera "dock", a second each, with scores that go up and down.
    fn add(&mut self, frames: u64) {
        let seqs = self.next_seq..self.next_seq + frames;
        let frontier_us = seqs.end * SECOND_US;
        let outcomes = seqs.clone().map(|seq| TimedOutcome {
            time_us: seq * SECOND_US,
            outcome: Outcome::Judged(Arc::new(verdict(seq))),
        });
        let commit = Commit {
            frontier_us,
            outcomes: outcomes.collect(),
            next_seq: [("dock".into(), seqs.end)].into(),
            ..Commit::default()
        };
        self.store.commit(&commit).unwrap();
        self.next_seq = seqs.end;
    }

    /// Commits what somebody said of frames.
    fn label(&mut self, ordinal: u64, seq: u64, truth: impl Into<Option<Truth>>) {
        let label = Label {
            camera: "dock".into(),
            seq,
            truth: truth.into(),
            captured_at_us: 0,
        };
        let time_us = self.next_seq * SECOND_US;
        self.store
            .commit(&Commit {
                frontier_us: time_us,
                labels: vec![TimedLabel {
                    time_us,
                    ordinal,
                    label,
                }],
                ..Commit::default()
            })
            .unwrap();
    }

    fn get(&self, path: &str) -> Reply {
        ask(self.address, "GET", path, "", &[])
    }

    fn json(&self, path: &str) -> Value {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json()
    }

    /// All pages of a list; before each further one is read, `meanwhile` happens.
    fn paged(&mut self, path: &str, of: &str, mut meanwhile: impl FnMut(&mut Self)) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.json(&format!("{path}{cursor}"));
            found.extend(page[of].as_array().unwrap().iter().cloned());
            let Some(next) = page["next"].as_str() else {
                return found;
            };
            cursor = format!("&cursor={next}");
            meanwhile(self);
        }
    }
}

fn serve(directory: &Path, limits: Limits) -> Server {
    let served = Served {
        run: Run::Elsewhere(Arc::new(Seen(directory.join("run.sqlite")))),
        keeper: super::Keeper::Here(kept(directory)),
        starts: 7.into(),
        other: None,
        audit: None,
    };
    Server::start(Listen::new("127.0.0.1:0", None).unwrap(), served, limits).unwrap()
}

/// Scores from 0 to 1 in a hundred steps, in no order.
fn score(seq: u64) -> f64 {
    (seq * 37 % 101) as f64 / 100.0
}

fn verdict(seq: u64) -> Verdict {
    Verdict {
        camera: "dock".into(),
        seq,
        captured_at_us: seq * SECOND_US,
        origin: "".into(),
        detector: "0123456789ab".into(),
        decision: match score(seq) > 0.5 {
            true => Decision::Reject,
            false => Decision::Pass,
        },
        image_score: 20.0 * score(seq),
        threshold: 10.0,
        calibrated_score: score(seq),
        regions: vec![],
        suppressed: vec![],
    }
}

fn seqs(verdicts: &[Value]) -> Vec<u64> {
    verdicts
        .iter()
        .map(|verdict| verdict["seq"].as_u64().unwrap())
        .collect()
}

#[test]
fn every_frame_is_on_one_page_while_frames_are_added() {
    let mut run = Ended::start();
    run.add(100);
    let found = run.paged("/api/v1/verdicts?limit=7", "verdicts", |run| run.add(3));
    assert!(seqs(&found).into_iter().eq((0..100).rev()));
    let frames = run.next_seq;
    let found = run.paged("/api/v1/verdicts?limit=7&order=uncertain", "verdicts", |run| run.add(3));
    let nearness = |verdict: &Value| (verdict["calibrated_score"].as_f64().unwrap() - 0.5).abs();
    assert!(found.is_sorted_by_key(nearness));
    let unique: BTreeSet<u64> = seqs(&found).into_iter().collect();
    assert_eq!((found.len() as u64, unique.len() as u64), (frames, frames));
    run.server.finish();
}

#[test]
fn the_detectors_of_a_run_that_has_ended_are_listed() {
    let run = Ended::start();
    let listed = run.json("/api/v1/detectors");
    let expected = [("0123456789ab", json!([])), ("ba9876543210", json!(["dock"]))];
    let listed = listed["detectors"].as_array().unwrap();
    assert_eq!(listed.len(), expected.len());
    for (card, (id, cameras)) in listed.iter().zip(expected) {
        assert_eq!((&card["id"], &card["cameras"]), (&json!(id), &cameras), "{card}");
        assert!(
            card["threshold"] == 18.0 && card["recipe"]["scorer"].is_string(),
            "{card}"
        );
    }
    run.server.finish();
}

/// The ids and frames of the next verdicts that are told.
fn told(address: SocketAddr, query: &str, headers: &str) -> impl Iterator<Item = (u64, Value)> + use<> {
    let lines = streamed(address, &format!("/api/v1/verdicts/events{query}"), headers);
    let mut id = 0;
    lines.filter_map(move |line| {
        assert_eq!(line.strip_prefix("event: ").unwrap_or("verdict"), "verdict");
        if let Some(told) = line.strip_prefix("id: ") {
            id = told.parse().unwrap();
        }
        let data = line.strip_prefix("data: ")?;
        Some((id, serde_json::from_str(data).unwrap()))
    })
}

#[test]
fn verdicts_are_told_in_their_order_and_again_behind_the_last_that_was_heard() {
    let mut run = Ended::start();
    run.add(1_500);
    run.label(0, 7, Truth::Normal);
    let mut from_now_on = told(run.address, "", "");
    let mut all = told(run.address, "?after=0", "");
    for seq in 0..1_500 {
        let (id, verdict) = all.next().unwrap();
        assert_eq!((id, verdict["seq"].as_u64()), (seq + 1, Some(seq)));
        assert_eq!(verdict["truth"] == "normal", seq == 7);
    }
    // Cut off behind the tenth rejected one.
    let rejected: Vec<u64> = (0..1_500).filter(|seq| score(*seq) > 0.5).collect();
    let query = "?after=0&camera=dock&decision=reject";
    let mut rejects = told(run.address, query, "");
    let (last, _) = rejects.nth(9).unwrap();
    assert_eq!(last, rejected[9] + 1);
    drop(rejects);
    let mut rejects = told(run.address, query, &format!("last-event-id: {last}\r\n"));
    let again: Vec<u64> = rejects.by_ref().take(20).map(|(id, _)| id - 1).collect();
    assert_eq!(again, rejected[10..30]);
    // What is kept later comes to those who wait, whatever they were told before.
    run.add(5);
    assert_eq!(all.next().unwrap().0, 1_501);
    drop((all, rejects));
    let mut later = told(run.address, "?after=1503", "");
    assert_eq!(later.next().unwrap().1["seq"], 1_503);
    let (id, verdict) = from_now_on.next().unwrap();
    assert!(id > 1_500 && verdict["seq"].as_u64() == Some(id - 1), "{id} {verdict}");
    for (query, header) in [
        ("?after=-1", ""),
        ("?after=x", ""),
        ("?after=9223372036854775808", ""),
        ("?since=1", ""),
        ("?after=1506", ""),
        ("", "last-event-id: 1506\r\n"),
        ("?decision=maybe", ""),
        ("", "last-event-id: 7x\r\n"),
        ("", "last-event-id: -7\r\n"),
        ("", "last-event-id: \u{e9}\r\n"),
    ] {
        let refused = ask(
            run.address,
            "GET",
            &format!("/api/v1/verdicts/events{query}"),
            header,
            &[],
        );
        assert_eq!(refused.status, 400, "{query} {header}: {refused:?}");
    }
    run.server.finish();
}

#[test]
fn frames_are_found_by_camera_decision_time_score_and_label() {
    let mut run = Ended::start();
    run.add(100);
    run.label(0, 7, Truth::Anomalous("hole".to_owned()));
    run.label(1, 8, Truth::Normal);
    run.label(2, 8, Truth::Anomalous(String::new()));
    run.label(3, 9, Truth::Normal);
    run.label(4, 9, None);
    let all = |run: &mut Ended, filter: &str| {
        let found = run.paged(&format!("/api/v1/verdicts?limit=500{filter}"), "verdicts", |_| ());
        seqs(&found).into_iter().rev().collect::<Vec<u64>>()
    };
    let wanted = |wanted: &dyn Fn(u64) -> bool| (0..100).filter(|seq| wanted(*seq)).collect::<Vec<u64>>();
    for (filter, expected) in [
        ("&camera=dock", wanted(&|_| true)),
        ("&decision=reject", wanted(&|seq| score(seq) > 0.5)),
        ("&from=10000000&to=20000000", wanted(&|seq| (10..20).contains(&seq))),
        ("&from=1970-01-01T00:01:00Z", wanted(&|seq| seq >= 60)),
        (
            "&min_score=0.4&max_score=0.6",
            wanted(&|seq| (0.4..=0.6).contains(&score(seq))),
        ),
        ("&labelled=true", vec![7, 8]),
        (
            "&labelled=false&camera=dock&decision=pass",
            wanted(&|seq| score(seq) <= 0.5 && ![7, 8].contains(&seq)),
        ),
    ] {
        assert_eq!(all(&mut run, filter), expected, "{filter}");
    }
    for path in ["verdicts", "verdicts/events"] {
        let refused = run.get(&format!("/api/v1/{path}?camera=quay"));
        assert_eq!(refused.status, 404, "{refused:?}");
        assert!(refused.body.contains("there are \\\"dock\\\""), "{refused:?}");
    }
    let labelled = run.json("/api/v1/verdicts?labelled=true");
    let truths: Vec<&Value> = labelled["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| &of["truth"])
        .collect();
    assert_eq!(truths, ["anomalous", "anomalous:hole"], "what was said last");
    run.server.finish();
}

#[test]
fn cursors_and_filters_that_mean_nothing_are_refused() {
    let mut run = Ended::start();
    run.add(10);
    for query in [
        "verdicts?cursor=",
        "verdicts?cursor=7",
        "verdicts?cursor=newest",
        "verdicts?cursor=newest.-1",
        "verdicts?cursor=newest.99999999999999999999",
        "verdicts?cursor=newest.1%00",
        "verdicts?cursor=uncertain.1.2.3",
        "verdicts?cursor=newest.1&order=uncertain",
        "verdicts?limit=0",
        "verdicts?limit=501",
        "verdicts?limit=-1",
        "verdicts?decision=maybe",
        "verdicts?min_score=nan",
        "verdicts?min_score=inf",
        "verdicts?from=noon",
        "verdicts?camra=dock",
        "rates?cursor=window.1.2",
        "rates?cursor=window.1.2.x",
        "rates?scope=dock",
        "rates?window=long",
        "rates?window=2m",
        "rates?limit=1001",
        "histogram",
        "histogram?camera=dock&buckets=0",
        "histogram?camera=dock&buckets=3",
        "histogram?camera=dock&buckets=8192",
        "alerts?state=gone",
        "alerts?limit=0",
    ] {
        let refused = run.get(&format!("/api/v1/{query}"));
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
        assert!(
            refused.head.contains("application/problem+json"),
            "{query}: {refused:?}"
        );
    }
    let refused = run.get("/api/v1/rates?scope=camera/attic");
    assert_eq!(refused.status, 404, "{refused:?}");
    // Well made, and of no row.
    for query in [
        "verdicts?cursor=newest.0",
        "verdicts?cursor=newest.9223372036854775807",
        "verdicts?order=uncertain&cursor=uncertain.0.0.0",
        "verdicts?order=uncertain&cursor=uncertain.9223372036854775807.9223372036854775807.9223372036854775807",
        "rates?cursor=window.0.0.0",
        "rates?cursor=window.9223372036854775807.9223372036854775807.9223372036854775807",
        "rates?to=99999999999999999&from=99999999999999999",
        "rates?window=1m&from=99999999999999999",
        "rates?scope=camera/dock&from=99999999999999999",
    ] {
        assert_eq!(run.get(&format!("/api/v1/{query}")).status, 200, "{query}");
    }
    run.server.finish();
}

#[test]
fn a_histogram_adds_up_to_the_frames_that_were_judged() {
    let mut run = Ended::start();
    let sum = |histogram: &Value, of: &str, from: u64| -> u64 {
        let counts = histogram["counts"].as_array().unwrap().iter();
        let counts = counts.filter(|count| count["bucket"].as_u64().unwrap() >= from);
        counts.map(|count| count[of].as_u64().unwrap()).sum()
    };
    for (frames, labels) in [(10, 0), (90, 3), (300, 40)] {
        run.add(frames);
        for label in 0..labels {
            let truth = match label % 2 {
                0 => Truth::Normal,
                _ => Truth::Anomalous("hole".to_owned()),
            };
            run.label(run.next_seq * 100 + label, label * 2, truth);
        }
        run.label(run.next_seq * 100 + 98, 1, Truth::Normal);
        run.label(run.next_seq * 100 + 99, 1, None);
        for buckets in [2, 256, 4096] {
            let histogram = run.json(&format!("/api/v1/histogram?camera=dock&buckets={buckets}"));
            assert_eq!(histogram["judged"], run.next_seq, "{histogram}");
            let totals = ["unlabelled", "normal", "anomalous"].map(|of| {
                assert_eq!(histogram[of], sum(&histogram, of, 0), "{of}");
                sum(&histogram, of, 0)
            });
            assert_eq!(totals.iter().sum::<u64>(), run.next_seq);
            assert_eq!(totals[1] + totals[2], labels.min(run.next_seq));
            // Today's threshold: what it rejects is what was rejected.
            let rejected: u64 = ["unlabelled", "normal", "anomalous"]
                .map(|of| sum(&histogram, of, buckets / 2))
                .iter()
                .sum();
            let wanted = (0..run.next_seq).filter(|seq| score(*seq) > 0.5).count() as u64;
            assert_eq!(rejected, wanted, "{buckets}");
        }
    }
    let histogram = run.json("/api/v1/histogram?camera=dock");
    assert_eq!(
        (
            &histogram["detector"],
            &histogram["image_threshold"],
            &histogram["frames_of_other_detectors"]
        ),
        (&json!("0123456789ab"), &json!(10.0), &json!(0))
    );
    // The detector was calibrated at another threshold than that of the newest frame.
    assert_eq!(
        histogram["scale"],
        json!({"normal_level": 2.0, "threshold": 10.0, "span": 8.0, "far_from": 82.0})
    );
    assert_eq!(histogram["calibration"], json!([0.0, 1.0 / 3.0, 0.5]));
    assert_eq!(run.get("/api/v1/histogram?camera=quay").status, 404);
    run.server.finish();
}

#[test]
fn figures_say_what_was_corrected_and_what_is_closed() {
    let mut run = Ended::start();
    run.add(120);
    let metric = |end_seconds: u64, scope: &str, value: f64| Metric {
        at_us: end_seconds * SECOND_US,
        window_us: 60 * SECOND_US,
        scope: scope.into(),
        name: "precision".into(),
        value: Some(value),
    };
    let alert = |opened_at_us: u64, closed_at_us: Option<u64>, retracted| Alert {
        rule: "reject_rate 1m > 20 %".into(),
        scope: "camera/dock".into(),
        opened_at_us,
        closed_at_us,
        retracted,
    };
    let scopes = ["camera/dock", "all", "camera/dock/lot/L7"];
    run.commit_figures(
        (1..=3)
            .flat_map(|minute| scopes.map(|scope| metric(60 * minute, scope, 0.5)))
            .collect(),
        vec![alert(1, Some(2), false), alert(3, Some(4), true), alert(5, None, false)],
    );
    run.commit_figures(vec![metric(60, "camera/dock", 0.9)], vec![]);
    let all = run.paged("/api/v1/rates?limit=2", "windows", |_| ());
    assert_eq!(all.len(), 9);
    let lots_alone = run.json("/api/v1/rates?window=lot");
    assert_eq!(lots_alone["lengths"], json!(["1m"]), "whatever is on the page");
    // A frame is in one of the windows of a length that follow each other.
    let around = run.json("/api/v1/rates?scope=camera/dock&window=1m&from=61000000&to=121000000");
    assert_eq!(around["windows"].as_array().unwrap().len(), 1);
    assert_eq!(around["windows"][0]["end_us"], 120 * SECOND_US);
    let found = run.json("/api/v1/rates?scope=camera/dock&window=1m");
    assert_eq!(found["closed_up_to_us"], 120 * SECOND_US);
    let windows: Vec<Value> = found["windows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|window| {
            json!([
                window["end_us"].as_u64().unwrap() / SECOND_US,
                window["closed"],
                window["revision"]
            ])
        })
        .collect();
    assert_eq!(
        windows,
        [json!([180, false, 0]), json!([120, true, 0]), json!([60, true, 1])]
    );
    let corrected = &found["windows"][2]["figures"]["precision"];
    assert_eq!(
        corrected,
        &json!({"value": 0.9, "revision": 1, "before": 0.5, "first": 0.5})
    );
    assert_eq!(found["tail"], json!([]), "nothing goes on here");
    let lots = run.json("/api/v1/rates?window=lot/L7&from=60000000&to=120000000");
    assert_eq!(lots["windows"].as_array().unwrap().len(), 1);
    let states = |path: &str| -> Vec<Value> {
        let alerts = run.json(path);
        alerts["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| alert["state"].clone())
            .collect()
    };
    assert_eq!(states("/api/v1/alerts"), ["open", "retracted", "closed"]);
    assert_eq!(states("/api/v1/alerts?state=closed"), ["closed"]);
    assert_eq!(states("/api/v1/alerts?limit=1"), ["open"]);
    // A window of before the run went on with others.
    let of_before = Metric {
        window_us: 120 * SECOND_US,
        ..metric(120, "camera/dock", 0.5)
    };
    run.commit_figures(vec![of_before], vec![]);
    let of_before = run.json("/api/v1/rates?window=2m&scope=camera/dock");
    assert_eq!(of_before["windows"].as_array().unwrap().len(), 1);
    let later = run.get("/api/v1/rates?window=2m&from=600000000");
    assert_eq!(later.status, 200, "{later:?}");
    run.server.finish();
}

#[test]
fn what_needs_a_run_that_goes_on_says_so_and_labels_are_taken() {
    let mut run = Ended::start();
    run.add(10);
    for (method, path, body) in [
        ("POST", "/api/v1/cameras/dock/frames", "x"),
        ("POST", "/api/v1/cameras/dock/frames/batch", "x"),
        ("PUT", "/api/v1/cameras/dock/threshold", r#"{"threshold": 1}"#),
        (
            "PUT",
            "/api/v1/cameras/dock/detector",
            r#"{"detector": "0123456789ab"}"#,
        ),
        ("PUT", "/api/v1/cameras/dock/lot", r#"{"lot": "L"}"#),
        ("PUT", "/api/v1/cameras/dock/what-if/q", r#"{"threshold": 0.4}"#),
        ("DELETE", "/api/v1/cameras/dock/what-if/q", ""),
        ("POST", "/api/v1/detectors", "x"),
    ] {
        let refused = tell(run.address, method, path, body);
        assert_eq!(refused.status, 409, "{method} {path}: {refused:?}");
        assert!(
            refused.json()["detail"].as_str().unwrap().contains("intakt inspect"),
            "{refused:?}"
        );
    }
    let noted = tell(
        run.address,
        "POST",
        "/api/v1/labels",
        r#"[{"camera": "dock", "seq": 3, "truth": "normal"}]"#,
    );
    assert_eq!((noted.status, noted.json()), (202, json!({"labels": 1, "notes": []})));
    let mistyped = r#"[{"camera": "dock", "seq": 999, "truth": "normal"}]"#;
    let notes = tell(run.address, "POST", "/api/v1/labels", mistyped).json()["notes"].clone();
    let expected =
        "no such frame was there: frame 999 of camera \"dock\"; what was said of it is kept, and counts for nothing";
    assert_eq!(notes, json!([expected]));
    let journal = run.directory.path().join("labels.jsonl");
    assert_eq!(std::fs::read_to_string(&journal).unwrap().lines().count(), 2);
    for (body, status) in [
        (r#"{"camera": "quay", "seq": 3, "truth": "normal"}"#, 404),
        (r#"{"camera": "dock", "seq": 3, "truth": "good"}"#, 400),
        (
            r#"{"camera": "dock", "seq": 9223372036854775808, "truth": "normal"}"#,
            400,
        ),
        (r#"{"camera": "dock", "seq": -3, "truth": "normal"}"#, 422),
        (r#"{"camera": "dock", "seq": 3}"#, 422),
        ("[", 400),
    ] {
        assert_eq!(
            tell(run.address, "POST", "/api/v1/labels", body).status,
            status,
            "{body}"
        );
    }
    let large = format!("[{}]", " ".repeat(2 << 20));
    assert_eq!(tell(run.address, "POST", "/api/v1/labels", &large).status, 413);
    assert_eq!(std::fs::read_to_string(&journal).unwrap().lines().count(), 2);
    while run.get("/ready").status != 200 {
        std::thread::yield_now();
    }
    let session = run.json("/api/v1/session");
    assert_eq!((&session["live"], &session["kept"]), (&json!(false), &json!(true)));
    run.server.finish();
}
