//! Rates: verdicts a second through the differential part of the dataflow, without labels and with them, and its memory.
//!
//! `cargo bench --bench rates` measures speed with criterion. `cargo bench --bench rates -- memory` sends ten million verdicts
//! through each of them and prints the resident memory on the way, then how long a new threshold takes among a million scores; it
//! fails where memory grows once all windows are full, or a threshold takes longer than a person notices.

mod support;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use criterion::Throughput;
use intakt_operators::dataflow::{
    AlternativeThreshold, ArrivedLabel, HOP_US, LotStarted, MatchLabels, RatePlan, Rates, WhatIfs,
};
use intakt_operators::{Decision, Label, Outcome, Truth, Verdict};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Input, Probe};

const VERDICTS: u64 = 200_000;
const MEMORY_VERDICTS: u64 = 10_000_000;
const CAMERAS: u64 = 16;
/// Verdicts let in before the worker is asked to move on, as many as may be under way in a busy line.
const BATCH: u64 = 64;
/// 30 frames a second and camera.
const BUSY_US: u64 = 1_000_000 / (30 * CAMERAS);
/// One frame in ten is labelled, two minutes of event time after it was judged.
const LABELLED_EVERY: u64 = 10;
const LABEL_DELAY_US: u64 = 120_000_000;

/// What is measured.
#[derive(Clone, Copy)]
struct Load {
    verdicts: u64,
    interval_us: u64,
    labels: bool,
    scores: bool,
}

/// Growth that the allocator's own bookkeeping may have over five million verdicts, megabytes.
const GROWTH_MAX_MB: f64 = 8.0;
/// Longest time for a new threshold of one camera, milliseconds.
const THRESHOLD_MAX_MS: f64 = 20.0;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "memory") {
        let is_flat = memory();
        return if what_if() && is_flat {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let mut criterion = support::criterion();
    let mut group = criterion.benchmark_group("rates/200000 verdicts of 16 cameras");
    group.throughput(Throughput::Elements(VERDICTS));
    let load = |interval_us, labels, scores| Load {
        verdicts: VERDICTS,
        interval_us,
        labels,
        scores,
    };
    // 7 minutes of event time: the shortest window slides.
    group.bench_function("30 a second and camera", |b| {
        b.iter(|| run(load(BUSY_US, false, false), |_| {}))
    });
    group.bench_function("the same with scores", |b| {
        b.iter(|| run(load(BUSY_US, false, true), |_| {}))
    });
    // 5.6 hours of event time: all windows slide, and each of 20,000 hops changes the rates of up to 11 scopes.
    group.bench_function("10 a second in all", |b| {
        b.iter(|| run(load(100_000, false, false), |_| {}))
    });
    group.bench_function("30 a second and camera, labels", |b| {
        b.iter(|| run(load(BUSY_US, true, false), |_| {}))
    });
    group.bench_function("the same with scores and labels", |b| {
        b.iter(|| run(load(BUSY_US, true, true), |_| {}))
    });
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// Ten million verdicts: 5.8 hours of event time, horizon one hour. Whether memory stays flat from the half on.
#[expect(clippy::print_stdout, reason = "figures are what a bench is for")]
fn memory() -> bool {
    let mut is_flat = true;
    for (name, labels, scores) in [
        ("rates", false, false),
        ("rates, labels", true, false),
        ("rates, labels, scores", true, true),
    ] {
        let started = Instant::now();
        let load = Load {
            verdicts: MEMORY_VERDICTS,
            interval_us: BUSY_US,
            labels,
            scores,
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = seen.clone();
        run(load, move |sent| {
            if [1_000_000, 3_000_000, 5_000_000, 10_000_000].contains(&sent) {
                let (rate, resident_mb) = (sent as f64 / started.elapsed().as_secs_f64(), resident_mb());
                println!("{name}: {sent} verdicts, {rate:.0} a second, {resident_mb:.1} MB resident");
                told.lock().expect("no panic").push(resident_mb);
            }
        });
        let seen = seen.lock().expect("no panic");
        let grown_mb = seen[3] - seen[2];
        if grown_mb > GROWTH_MAX_MB {
            println!("{name}: MEMORY GROWS, by {grown_mb:.1} MB");
            is_flat = false;
        }
    }
    is_flat
}

/// How long one camera's new threshold takes, and one for each camera, with a million scores kept. Whether it is soon enough.
#[expect(clippy::print_stdout, reason = "figures are what a bench is for")]
fn what_if() -> bool {
    let slowest_ms = Arc::new(Mutex::new(0.0_f64));
    let told = slowest_ms.clone();
    let guards = timely::execute(timely::Config::process(1), move |worker| {
        let cameras: Vec<Arc<str>> = (0..CAMERAS).map(|camera| format!("camera-{camera}").into()).collect();
        let mut outcomes: InputHandle<u64, CapacityContainerBuilder<Vec<Outcome>>> = InputHandle::new();
        let mut labels: InputHandle<u64, CapacityContainerBuilder<Vec<ArrivedLabel>>> = InputHandle::new();
        let mut asked: InputHandle<u64, CapacityContainerBuilder<Vec<AlternativeThreshold>>> = InputHandle::new();
        let probe = worker.dataflow::<u64, _, _>(|scope| {
            let (labels, asked) = (scope.input_from(&mut labels), scope.input_from(&mut asked));
            let horizon_us = RatePlan::default().horizon_us;
            let changes = scope.input_from(&mut outcomes).match_labels(labels, horizon_us);
            changes.what_if(asked, horizon_us).probe().0
        });
        labels.close();
        for number in 0..1_000_000 {
            let captured_at_us = number * BUSY_US;
            outcomes.advance_to(captured_at_us);
            asked.advance_to(captured_at_us);
            outcomes.send(outcome(&cameras, number, captured_at_us));
            if number % BATCH == BATCH - 1 {
                worker.step();
            }
        }
        let mut now_us = 1_000_000 * BUSY_US;
        outcomes.advance_to(now_us);
        asked.advance_to(now_us);
        worker.step_or_park_while(None, || probe.less_than(&now_us));
        for (threshold, cameras) in [(0.4, &cameras[..1]), (0.3, &cameras[..1]), (0.2, &cameras[..])] {
            let started = Instant::now();
            asked.send_batch(&mut cameras.iter().map(|camera| ask(camera, threshold)).collect());
            now_us += HOP_US;
            outcomes.advance_to(now_us);
            asked.advance_to(now_us);
            worker.step_or_park_while(None, || probe.less_than(&now_us));
            let millis = started.elapsed().as_secs_f64() * 1e3;
            println!(
                "threshold of {} cameras, 1000000 scores kept: {millis:.2} ms",
                cameras.len()
            );
            let mut slowest_ms = told.lock().expect("no panic");
            *slowest_ms = slowest_ms.max(millis / cameras.len() as f64);
        }
    });
    let finished = guards.expect("the system gives a thread").join();
    assert!(finished.iter().all(Result::is_ok), "the worker panicked");
    let slowest_ms = *slowest_ms.lock().expect("no panic");
    slowest_ms < THRESHOLD_MAX_MS
}

fn ask(camera: &Arc<str>, threshold: f64) -> AlternativeThreshold {
    AlternativeThreshold {
        camera: camera.clone(),
        ordinal: 0,
        name: "lower".into(),
        threshold: Some(threshold),
    }
}

/// Resident memory in megabytes; 0 where the system does not tell.
fn resident_mb() -> f64 {
    const PAGE_BYTES: f64 = 4096.0;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0.0) * PAGE_BYTES / 1e6
}

fn run(load: Load, progress: impl Fn(u64) + Send + Sync + 'static) {
    let guards = timely::execute(timely::Config::process(1), move |worker| {
        let cameras: Vec<Arc<str>> = (0..CAMERAS).map(|camera| format!("camera-{camera}").into()).collect();
        let mut outcomes: InputHandle<u64, CapacityContainerBuilder<Vec<Outcome>>> = InputHandle::new();
        let mut labels: InputHandle<u64, CapacityContainerBuilder<Vec<ArrivedLabel>>> = InputHandle::new();
        let mut lots: InputHandle<u64, CapacityContainerBuilder<Vec<LotStarted>>> = InputHandle::new();
        let plan = Arc::new(RatePlan {
            horizon_us: if load.labels { 3_600_000_000 } else { 0 },
            ..RatePlan::default()
        });
        let probe = worker.dataflow::<u64, _, _>(|scope| {
            let (labels, lots) = (scope.input_from(&mut labels), scope.input_from(&mut lots));
            let changes = scope.input_from(&mut outcomes).match_labels(labels, plan.horizon_us);
            let mut published = changes.clone().rates(lots.clone(), &plan).map(|_| ());
            if load.scores {
                published = published.concat(changes.score_rates(lots, &plan).map(|_| ()));
            }
            published.probe().0
        });
        lots.close();
        let mut label_input = load.labels.then_some(labels);
        for seq in 0..load.verdicts {
            let captured_at_us = seq * load.interval_us;
            outcomes.advance_to(captured_at_us);
            outcomes.send(outcome(&cameras, seq, captured_at_us));
            if let Some(labels) = &mut label_input {
                labels.advance_to(captured_at_us);
                let labelled = seq.checked_sub(LABEL_DELAY_US / load.interval_us);
                if let Some(seq) = labelled.filter(|seq| seq % LABELLED_EVERY == 0) {
                    labels.send(label(&cameras, seq, seq * load.interval_us));
                }
            }
            if seq % BATCH == BATCH - 1 {
                worker.step();
            }
            progress(seq + 1);
        }
        let end_us = load.verdicts * load.interval_us / HOP_US * HOP_US + HOP_US;
        outcomes.advance_to(end_us);
        if let Some(labels) = &mut label_input {
            labels.advance_to(end_us);
        }
        worker.step_or_park_while(None, || probe.less_than(&(end_us / 60_000_000 * 60_000_000)));
    });
    let finished = guards.expect("the system gives a thread").join();
    assert!(finished.iter().all(Result::is_ok), "the worker panicked");
}

fn outcome(cameras: &[Arc<str>], number: u64, captured_at_us: u64) -> Outcome {
    let reject = number.is_multiple_of(37);
    Outcome::Judged(Arc::new(Verdict {
        camera: cameras[(number % CAMERAS) as usize].clone(),
        seq: number / CAMERAS,
        captured_at_us,
        origin: cameras[0].clone(),
        detector: cameras[0].clone(),
        decision: if reject { Decision::Reject } else { Decision::Pass },
        image_score: 0.0,
        threshold: 1.0,
        // Most of the range, in no order.
        calibrated_score: (number.wrapping_mul(0x9E37_79B9) >> 7 & 0x7ff) as f64 / 4096.0
            + if reject { 0.5 } else { 0.0 },
        regions: vec![],
        suppressed: vec![],
    }))
}

fn label(cameras: &[Arc<str>], number: u64, captured_at_us: u64) -> ArrivedLabel {
    ArrivedLabel {
        ordinal: number,
        label: Label {
            camera: cameras[(number % CAMERAS) as usize].clone(),
            seq: number / CAMERAS,
            truth: if number.is_multiple_of(370) {
                Some(Truth::Anomalous("dent".into()))
            } else {
                Some(Truth::Normal)
            },
            captured_at_us,
        },
    }
}
