//! What Intakt itself costs at the pace of a line: thirty frames a second through a detector that has nothing to do.
//!
//! Not criterion: what counts is not the time, which the camera decides, but the processor's share of it.

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/idle.rs"]
mod idle;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use intakt_pipelines::{Detectors, Inspection, InspectionReport, RunOptions, inspect};

use self::cpu::cpu_seconds;

const FRAMES_PER_SECOND: u32 = 30;
/// 10 s: Linux counts processor time in 10 ms, which is then a tenth of a percent.
const FRAMES: u64 = 300;
/// The share of one core that the dataflow may take.
const CPU_SHARE_MAX: f64 = 0.01;
/// A stage has next to nothing to do, but not nothing; what it does is no overhead of the dataflow.
const STAGES: [&str; 7] = ["decode", "patch", "embed", "score", "aggregate", "suppress", "judge"];

#[expect(clippy::print_stdout, reason = "figures are what a bench is for")]
fn main() -> ExitCode {
    // As criterion does: `cargo test --all-targets` runs benches without the flag, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let mut within = true;
    let camera = camera_share();
    println!("paced/camera alone: {:.2} % of a core", 100.0 * camera);
    for workers in [1, 2] {
        let (report, share) = watched(workers);
        let in_stages = stage_seconds(&report) / report.seconds;
        let dataflow = share - camera - in_stages;
        let frame = report.latencies.iter().find(|summary| summary.stage == "frame");
        let frame = frame.expect("frames were judged");
        println!(
            "paced/30 frames a second, {workers} workers: {:.2} % of a core, of which the stages {:.2} % and the dataflow \
             {:.2} %; frame p50 {} us, p99 {} us",
            100.0 * share,
            100.0 * in_stages,
            100.0 * dataflow,
            frame.micros_p50,
            frame.micros_p99
        );
        within &= dataflow < CPU_SHARE_MAX;
    }
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the simulated camera costs by itself: a thread that is woken thirty times a second.
fn camera_share() -> f64 {
    let (cpu_before, started) = (cpu_seconds(), Instant::now());
    (0..FRAMES).for_each(|seq| wait_until(started + due(seq)));
    (cpu_seconds() - cpu_before) / started.elapsed().as_secs_f64()
}

fn stage_seconds(report: &InspectionReport) -> f64 {
    let stages = report
        .latencies
        .iter()
        .filter(|summary| STAGES.contains(&summary.stage));
    stages.map(|summary| summary.micros_total as f64 / 1e6).sum()
}

/// One run, and the processor time of this process per wall time of it.
fn watched(workers: usize) -> (InspectionReport, f64) {
    let detectors = Arc::new(Detectors::common(idle::detector()));
    let options = RunOptions::new(workers, workers).expect("the system gives threads");
    let (cpu_before, started) = (cpu_seconds(), Instant::now());
    let streams = vec![idle::stream("camera", FRAMES, move |seq| wait_until(started + due(seq))).into()];
    let report = inspect(Inspection::new(streams, detectors, vec![]), &options).expect("nothing fails");
    assert_eq!(report.total(|account| account.judged), FRAMES, "every frame is judged");
    let share = (cpu_seconds() - cpu_before) / started.elapsed().as_secs_f64();
    (report, share)
}

/// When a frame is captured, from the start of the run.
fn due(seq: u64) -> Duration {
    Duration::from_secs(seq) / FRAMES_PER_SECOND
}

fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}
