//! What Intakt itself costs per frame: the whole dataflow of `inspect` with a detector that has nothing to do.

#[path = "support/idle.rs"]
mod idle;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use intakt_pipelines::{Detectors, Inspection, RunOptions, inspect};

const CAMERAS: u64 = 4;

/// A run has at least as many frames, or the start of its threads would be all that is measured.
const FRAMES_MIN: u64 = 1_000;

/// The overhead that is accepted: a tenth of what a camera of a hundred frames a second leaves.
const PER_FRAME_MAX: Duration = Duration::from_millis(1);

fn main() {
    let mut criterion = support::criterion();
    saturated(&mut criterion);
    criterion.final_summary();
}

/// Time per frame while every camera delivers as fast as frames are taken. An iteration is a frame.
fn saturated(criterion: &mut Criterion) {
    let detectors = Arc::new(Detectors::common(idle::detector()));
    let mut group = criterion.benchmark_group("overhead/frame of 4 cameras");
    for workers in [1, 2] {
        let options = RunOptions::new(workers, workers).expect("the system gives threads");
        group.bench_function(BenchmarkId::new("workers and pool threads", workers), |b| {
            b.iter_custom(|iterations| {
                let n_frames = iterations.max(FRAMES_MIN).next_multiple_of(CAMERAS);
                let per_frame = run(n_frames, &detectors, &options) / n_frames as u32;
                assert!(per_frame < PER_FRAME_MAX, "{per_frame:?} per frame with nothing to do");
                per_frame * iterations as u32
            });
        });
    }
    group.finish();
}

fn run(n_frames: u64, detectors: &Arc<Detectors>, options: &RunOptions) -> Duration {
    let per_camera = n_frames / CAMERAS;
    let streams = (0..CAMERAS)
        .map(|camera| idle::stream(&format!("camera-{camera}"), per_camera, |_| ()).into())
        .collect();
    let started = Instant::now();
    let report = inspect(Inspection::new(streams, detectors.clone(), vec![]), options).expect("nothing fails");
    let took = started.elapsed();
    assert_eq!(
        report.total(|account| account.judged),
        n_frames,
        "every frame is judged"
    );
    took
}
