//! The run store: hops committed a second, what a verdict costs on the disk, and how fast it is found again.

#![allow(
    clippy::print_stdout,
    reason = "bytes on the disk are no time that criterion could report"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Throughput};
use intakt_operators::{Decision, Outcome, RectPx, Region, Verdict};
use intakt_pipelines::store::{Commit, DecisionKind, OutcomeFilter, Store, StoreOptions, TimedOutcome};

const CAMERAS: u64 = 16;
const FRAMES_A_HOP: u64 = 30;
const HOP_US: u64 = 1_000_000;
/// Hops of the store that is queried: a million verdicts, 35 minutes of the line.
const HOPS: u64 = 2_084;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("run.sqlite");
    let mut criterion = support::criterion();
    commits(&mut criterion, directory.path());
    fill(&path);
    queries(&mut criterion, &path);
    criterion.final_summary();
}

fn commits(criterion: &mut criterion::Criterion, directory: &Path) {
    let mut group = criterion.benchmark_group("store/commit of 16 cameras × 30 verdicts");
    group.throughput(Throughput::Elements(CAMERAS * FRAMES_A_HOP));
    let mut store = new_store(&directory.join("commits.sqlite"));
    let mut hop = 0;
    group.bench_function("on the disk", |b| {
        let next = || {
            hop += 1;
            batch(hop - 1)
        };
        b.iter_batched(
            next,
            |batch| store.commit(&batch).expect("there is room"),
            BatchSize::PerIteration,
        )
    });
    group.finish();
}

fn fill(path: &Path) {
    let mut store = new_store(path);
    for hop in 0..HOPS {
        store.commit(&batch(hop)).expect("there is room");
    }
    drop(store);
    let bytes = std::fs::metadata(path).expect("it was written").len();
    println!(
        "store: {:.0} bytes a verdict, {bytes} in all",
        bytes as f64 / (HOPS * CAMERAS * FRAMES_A_HOP) as f64
    );
}

fn queries(criterion: &mut criterion::Criterion, path: &Path) {
    let store = Store::open_read_only(path, StoreOptions::default()).expect("it was written");
    let mut group = criterion.benchmark_group("store/query of a million verdicts");
    let everything = OutcomeFilter::default();
    let last_minute = OutcomeFilter {
        camera: Some("camera-7".to_owned()),
        since_us: Some((HOPS - 60) * HOP_US),
        ..OutcomeFilter::default()
    };
    let rejects = OutcomeFilter {
        decision: Some(DecisionKind::Reject),
        ..last_minute.clone()
    };
    for (name, filter) in [
        ("all of them", everything),
        ("one camera, last minute", last_minute),
        ("one camera, last minute, rejects", rejects),
    ] {
        let rows = store.query(&filter).count();
        println!("store: {name}: {rows} rows");
        group.bench_function(name, |b| b.iter(|| assert_eq!(store.query(&filter).count(), rows)));
    }
    group.finish();
}

fn new_store(path: &Path) -> Store {
    Store::create(path, "bench", StoreOptions::default()).expect("a new file can be made")
}

fn batch(hop: u64) -> Commit {
    let mut outcomes = Vec::new();
    for seq in hop * FRAMES_A_HOP..(hop + 1) * FRAMES_A_HOP {
        for camera in 0..CAMERAS {
            let time_us = hop * HOP_US + seq % FRAMES_A_HOP * (HOP_US / FRAMES_A_HOP) + camera;
            let outcome = Outcome::Judged(Arc::new(verdict(camera, seq, time_us)));
            outcomes.push(TimedOutcome { time_us, outcome });
        }
    }
    let next_seq = (0..CAMERAS).map(|camera| (camera_name(camera), (hop + 1) * FRAMES_A_HOP));
    Commit {
        frontier_us: (hop + 1) * HOP_US,
        outcomes,
        next_seq: next_seq.collect(),
        ..Commit::default()
    }
}

fn camera_name(camera: u64) -> Arc<str> {
    format!("camera-{camera}").into()
}

/// One verdict in 50 is a reject with two regions.
fn verdict(camera: u64, seq: u64, captured_at_us: u64) -> Verdict {
    let rejected = (seq + camera).is_multiple_of(50);
    let region = Region {
        bbox_px: RectPx {
            x: 100,
            y: 200,
            width: 12,
            height: 9,
        },
        area_px: 80,
        peak: 0.731_245,
        mean: 0.612_345,
        centroid_px: [105.5, 204.25],
    };
    Verdict {
        camera: camera_name(camera),
        seq,
        captured_at_us,
        origin: "".into(),
        detector: "0123456789ab".into(),
        decision: if rejected { Decision::Reject } else { Decision::Pass },
        image_score: 1.234_567 + seq as f64 / 1e6,
        threshold: 2.345_678,
        calibrated_score: 0.345_678,
        regions: if rejected { vec![region; 2] } else { vec![] },
        suppressed: vec![],
    }
}
