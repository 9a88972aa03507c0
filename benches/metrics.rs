//! The exact metrics over all pixels of a small test set.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use intakt_operators::metrics::{AUPRO_FPR_LIMIT, PixelScores, aupro, pixel_auroc};
use intakt_operators::{AnomalyMap, Mask};
use support::bumps;

fn main() {
    let mut criterion = support::criterion();
    pixels(&mut criterion);
    criterion.final_summary();
}

/// 20 maps of 256×256, every second of them with two defects that the scores find nearly.
fn frames() -> Vec<(AnomalyMap, Mask)> {
    let frame = |seed: usize| {
        let found = [(60 + seed, 50, 5.0), (180, 70 + seed, 9.0)];
        let truth = [(62 + seed, 51, 5.0), (178, 70 + seed, 8.0)];
        let map = AnomalyMap::new(256, 256, bumps(256, 256, &found, seed as u64));
        let mask = match seed % 2 {
            0 => Mask::filled(256, 256, false),
            _ => Mask::new(
                256,
                256,
                bumps(256, 256, &truth, 0).iter().map(|score| *score > 1.0).collect(),
            ),
        };
        (map, mask)
    };
    (0..20).map(frame).collect()
}

fn pixels(criterion: &mut Criterion) {
    let frames = frames();
    let mut group = criterion.benchmark_group("metrics/20 maps 256x256");
    group.throughput(Throughput::Elements(20 * 256 * 256));
    group.bench_function("pixel AUROC", |b| b.iter(|| pixel_auroc(black_box(&frames))));
    group.bench_function("AUPRO", |b| b.iter(|| aupro(black_box(&frames), AUPRO_FPR_LIMIT)));
    group.bench_function("both, ranked once", |b| {
        b.iter(|| {
            let mut pixels = PixelScores::new();
            black_box(&frames)
                .iter()
                .for_each(|(map, truth)| pixels.push(map, Some(truth)));
            let ranked = pixels.rank();
            (ranked.auroc(), ranked.aupro(AUPRO_FPR_LIMIT))
        });
    });
    group.bench_function("naive: pixel AUROC over sorted pairs", |b| {
        b.iter(|| sorted_pairs(black_box(&frames)))
    });
    group.finish();
}

/// The area under the ROC curve from all pixels sorted with their labels; ties are not looked at.
fn sorted_pairs(frames: &[(AnomalyMap, Mask)]) -> f64 {
    let pixels = frames
        .iter()
        .flat_map(|(map, truth)| map.scores.iter().copied().zip(truth.bits.iter().copied()));
    let mut pixels: Vec<(f32, bool)> = pixels.collect();
    pixels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut normal, mut defective, mut pairs) = (0_u64, 0_u64, 0_u64);
    for (_, is_defective) in pixels {
        match is_defective {
            true => {
                defective += 1;
                pairs += normal;
            }
            false => normal += 1,
        }
    }
    pairs as f64 / (normal * defective) as f64
}
