//! Choosing PatchCore's coreset: one greedy step, and the whole loop over timely workers.

mod support;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use intakt_operators::dataflow::k_center;
use intakt_operators::detector::coreset::{CoresetShard, Farthest};
use support::clustered;

/// Dimensions after the random projection.
const DIMS: usize = 128;

fn main() {
    let mut criterion = support::criterion();
    one_step(&mut criterion);
    whole_coreset(&mut criterion);
    criterion.final_summary();
}

fn one_step(criterion: &mut Criterion) {
    let n_rows = 100_000;
    let rows = clustered(n_rows, DIMS, 100, 1);
    let fresh = shard(&rows, 0, 1);
    let mut stepped = fresh.clone();
    let mut next = picked(&fresh, 0);
    for _ in 0..200 {
        next = stepped
            .step(next.row_id, &next.vector)
            .expect("there are more rows than steps");
    }
    let mut group = criterion.benchmark_group("coreset/step 100000x128");
    group.throughput(Throughput::Elements(n_rows as u64));
    let first = picked(&fresh, 0);
    group.bench_function("first", |b| {
        let step = |mut shard: CoresetShard| (shard.step(first.row_id, &first.vector), shard);
        b.iter_batched(|| fresh.clone(), step, BatchSize::PerIteration);
    });
    group.bench_function("201st", |b| {
        let step = |mut shard: CoresetShard| (shard.step(next.row_id, &next.vector), shard);
        b.iter_batched(|| stepped.clone(), step, BatchSize::PerIteration);
    });
    group.bench_function("naive: every distance", |b| {
        let distances = vec![f32::INFINITY; n_rows];
        let step = |mut distances: Vec<f32>| (naive_step(&rows, black_box(&next.vector), &mut distances), distances);
        b.iter_batched(|| distances.clone(), step, BatchSize::PerIteration);
    });
    group.finish();
}

/// Brings every row's distance to its nearest pick up to date, and finds the furthest row.
fn naive_step(rows: &[f32], centre: &[f32], distances: &mut [f32]) -> Option<usize> {
    for (row, distance) in rows.chunks_exact(DIMS).zip(distances.iter_mut()) {
        let squared = row.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum();
        *distance = distance.min(squared);
    }
    (0..distances.len()).max_by(|&a, &b| distances[a].total_cmp(&distances[b]))
}

fn whole_coreset(criterion: &mut Criterion) {
    let (n_rows, k) = (20_000, 200);
    let rows = clustered(n_rows, DIMS, 100, 2);
    let mut group = criterion.benchmark_group("coreset/20000x128 to 200");
    for workers in [1, 2] {
        let shards: Vec<CoresetShard> = (0..workers).map(|worker| shard(&rows, worker, workers)).collect();
        group.bench_function(BenchmarkId::new("workers", workers), |b| {
            b.iter_batched(|| shards.clone(), |shards| choose(shards, k), BatchSize::PerIteration);
        });
    }
    group.bench_function("naive: one loop, every distance", |b| {
        b.iter(|| {
            let mut distances = vec![f32::INFINITY; n_rows];
            let mut pick = 0;
            for _ in 1..k {
                let centre = rows[pick * DIMS..][..DIMS].to_vec();
                pick = naive_step(black_box(&rows), &centre, &mut distances).expect("there are rows");
            }
            pick
        });
    });
    group.finish();
}

/// Every `peers`-th row from `index` on.
fn shard(rows: &[f32], index: usize, peers: usize) -> CoresetShard {
    let mut shard = CoresetShard::new(DIMS);
    for (row_id, row) in rows.chunks_exact(DIMS).enumerate().skip(index).step_by(peers) {
        shard.push(row_id as u64, row);
    }
    shard
}

fn picked(shard: &CoresetShard, row_id: u64) -> Farthest {
    let vector = shard.row(row_id).expect("the row is in the shard").to_vec();
    Farthest {
        squared_distance: f32::INFINITY,
        row_id,
        vector,
    }
}

/// Runs the loop; the time includes the start and the end of the workers.
fn choose(shards: Vec<CoresetShard>, k: u64) {
    let first = picked(&shards[0], 0);
    let workers = shards.len();
    let shards = Arc::new(shards);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let shard = shards[worker.index()].clone();
        let first = (worker.index() == 0).then(|| first.clone());
        worker.dataflow::<u64, _, _>(|scope| {
            k_center(scope, shard, first, k);
        });
    });
    let finished = guards.expect("the system gives threads").join();
    assert!(finished.iter().all(Result::is_ok), "a worker panicked");
}
