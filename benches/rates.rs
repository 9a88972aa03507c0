//! Rolling rates: verdicts a second through the differential part of the dataflow.

mod support;

use std::sync::Arc;

use criterion::Throughput;
use intakt_operators::dataflow::{HOP_US, RollingRates};
use intakt_operators::{Decision, Outcome, Verdict};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::{Input, Probe};

const VERDICTS: u64 = 100_000;
const CAMERAS: u64 = 16;
/// Verdicts let in before the worker is asked to move on, as many as may be under way in a busy line.
const BATCH: u64 = 64;

fn main() {
    let mut criterion = support::criterion();
    let mut group = criterion.benchmark_group("rates/100000 verdicts of 16 cameras");
    group.throughput(Throughput::Elements(VERDICTS));
    // 3.5 minutes of event time: the shortest window slides.
    group.bench_function("30 a second and camera", |b| {
        b.iter(|| rolling_rates(1_000_000 / (30 * CAMERAS)))
    });
    // 2.8 hours of event time: all windows slide, and each of 10,000 hops changes three rates of up to 10 cameras.
    group.bench_function("10 a second in all", |b| b.iter(|| rolling_rates(100_000)));
    group.finish();
    criterion.final_summary();
}

fn rolling_rates(interval_us: u64) {
    let guards = timely::execute(timely::Config::process(1), move |worker| {
        let cameras: Vec<Arc<str>> = (0..CAMERAS).map(|camera| format!("camera-{camera}").into()).collect();
        let nothing: Arc<str> = "".into();
        let mut input: InputHandle<u64, CapacityContainerBuilder<Vec<Outcome>>> = InputHandle::new();
        let probe = worker.dataflow::<u64, _, _>(|scope| scope.input_from(&mut input).rolling_rates().probe().0);
        for seq in 0..VERDICTS {
            let captured_at_us = seq * interval_us;
            input.advance_to(captured_at_us);
            let verdict = Verdict {
                camera: cameras[(seq % CAMERAS) as usize].clone(),
                seq: seq / CAMERAS,
                captured_at_us,
                origin: nothing.clone(),
                detector: nothing.clone(),
                decision: if seq % 37 == 0 {
                    Decision::Reject
                } else {
                    Decision::Pass
                },
                image_score: 0.0,
                threshold: 1.0,
                calibrated_score: 0.0,
                regions: vec![],
                suppressed: vec![],
            };
            input.send(Outcome::Judged(verdict.into()));
            if seq % BATCH == BATCH - 1 {
                worker.step();
            }
        }
        let end_us = VERDICTS * interval_us / HOP_US * HOP_US + HOP_US;
        input.advance_to(end_us);
        worker.step_or_park_while(None, || probe.less_than(&end_us));
    });
    let finished = guards.expect("the system gives a thread").join();
    assert!(finished.iter().all(Result::is_ok), "the worker panicked");
}
