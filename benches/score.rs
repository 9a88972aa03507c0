//! From an embedding to an anomaly map: every scorer on one network input, beside the formula written down plainly.

mod support;

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::Criterion;
use intakt_operators::FeatureMap;
use intakt_operators::detector::{Gaussian, InputRecipe, Padim, PatchScores, Patchcore, Tensor};
use intakt_operators::imaging::FrameLayout;
use intakt_operators::postprocess::stitch;
use support::{clustered, values};

fn main() {
    let mut criterion = support::criterion();
    patchcore(&mut criterion);
    // What PaDiM draws of ResNet-18's and of WideResNet-50's dimensions; of the latter at fewer positions, whose full matrices fit.
    padim(&mut criterion, 64, 100);
    padim(&mut criterion, 16, 550);
    shared_gaussian(&mut criterion);
    stitching(&mut criterion);
    criterion.final_summary();
}

/// 1 % of the patches of 209 images (MVTec's `bottle`) at 32×32: the bank that ResNet-18 layer2 and layer3 make.
fn patchcore(criterion: &mut Criterion) {
    let (dims, bank_rows) = (384, 2_140);
    let bank = clustered(bank_rows, dims, 60, 1);
    let patches = FeatureMap::new(32, 32, dims, clustered(1_024, dims, 60, 2));
    let unweighted = Patchcore::new(dims, bank.clone(), 1).expect("a whole bank");
    let weighted = Patchcore::new(dims, bank.clone(), 9).expect("a whole bank");
    let mut group = criterion.benchmark_group("score/patchcore 1024x384, bank 2140");
    group.bench_function("distances", |b| b.iter(|| unweighted.score(black_box(&patches))));
    group.bench_function("distances and weights", |b| {
        b.iter(|| weighted.score(black_box(&patches)))
    });
    group.bench_function("naive: all pairs", |b| {
        b.iter(|| all_pairs(black_box(&patches.data), &bank, dims))
    });
    group.finish();
}

fn all_pairs(queries: &[f32], bank: &[f32], dims: usize) -> Vec<f32> {
    let squared = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    let nearest = |query| {
        bank.chunks_exact(dims)
            .map(|row| squared(query, row))
            .fold(f32::INFINITY, f32::min)
    };
    queries.chunks_exact(dims).map(|query| nearest(query).sqrt()).collect()
}

fn padim(criterion: &mut Criterion, edge: usize, dims: usize) {
    let positions = edge * edge;
    let (means, factor) = (values(positions * dims, 1), packed_factor(dims));
    let factors: Vec<f32> = factor.iter().copied().cycle().take(positions * factor.len()).collect();
    let padim = Padim::from_tensors(&BTreeMap::from([
        (
            "padim_means".to_owned(),
            Tensor::f32(&[edge, edge, dims], means.clone()),
        ),
        (
            "padim_factors".to_owned(),
            Tensor::f32(&[edge, edge, factor.len()], factors),
        ),
    ]))
    .expect("the tensors fit each other");
    let embedding = FeatureMap::new(edge, edge, dims, values(positions * dims, 2));
    let inverse = inverse_covariance(dims, &factor);
    let inverses: Vec<f32> = inverse.iter().copied().cycle().take(positions * dims * dims).collect();
    let mut group = criterion.benchmark_group(format!("score/padim {edge}x{edge}x{dims}"));
    group.bench_function("whitened norms", |b| b.iter(|| padim.score(black_box(&[&embedding]))));
    group.bench_function("naive: full matrices", |b| {
        b.iter(|| {
            full_matrices(
                black_box(&embedding.data),
                &means,
                inverses.chunks_exact(dims * dims),
                dims,
            )
        })
    });
    group.finish();
}

/// What a texture has: one Gaussian over the built-in backbone's 96 dimensions, on the 32×32 positions of an input of 256.
fn shared_gaussian(criterion: &mut Criterion) {
    let (edge, dims) = (32, 96);
    let (mean, factor) = (values(dims, 1), packed_factor(dims));
    let gaussian = Gaussian::from_tensors(&BTreeMap::from([
        ("gaussian_mean".to_owned(), Tensor::f32(&[dims], mean.clone())),
        (
            "gaussian_factor".to_owned(),
            Tensor::f32(&[factor.len()], factor.clone()),
        ),
    ]))
    .expect("the tensors fit each other");
    let embedding = FeatureMap::new(edge, edge, dims, values(edge * edge * dims, 2));
    let means: Vec<f32> = mean.iter().copied().cycle().take(edge * edge * dims).collect();
    let inverse = inverse_covariance(dims, &factor);
    let mut group = criterion.benchmark_group("score/gaussian 32x32x96");
    group.bench_function("whitened norms", |b| b.iter(|| gaussian.score(black_box(&embedding))));
    group.bench_function("naive: full matrix", |b| {
        let inverses = || std::iter::repeat_n(&inverse[..], edge * edge);
        b.iter(|| full_matrices(black_box(&embedding.data), &means, inverses(), dims))
    });
    group.finish();
}

/// The inverse Cholesky factor of some covariance, packed: ones on the diagonal, little below.
fn packed_factor(dims: usize) -> Vec<f32> {
    let row = |row: usize| {
        let below = values(row, row as u64).into_iter().map(|value| 0.1 * value);
        below.chain([1.0])
    };
    (0..dims).flat_map(row).collect()
}

/// `Wᵀ W` of a packed factor `W`.
fn inverse_covariance(dims: usize, packed: &[f32]) -> Vec<f32> {
    let factor = |row: usize, column: usize| {
        if column > row {
            0.0
        } else {
            packed[row * (row + 1) / 2 + column]
        }
    };
    let cell = |at: usize| {
        (0..dims)
            .map(|row| factor(row, at / dims) * factor(row, at % dims))
            .sum()
    };
    (0..dims * dims).map(cell).collect()
}

/// √((x − μ)ᵀ Σ⁻¹ (x − μ)) of every vector, as the paper writes it.
fn full_matrices<'a>(
    vectors: &[f32],
    means: &[f32],
    inverses: impl Iterator<Item = &'a [f32]>,
    dims: usize,
) -> Vec<f32> {
    let norm = |((vector, mean), inverse): ((&[f32], &[f32]), &[f32])| {
        let centred: Vec<f32> = vector.iter().zip(mean).map(|(x, mean)| x - mean).collect();
        let dot = |row: &[f32]| row.iter().zip(&centred).map(|(a, b)| a * b).sum::<f32>();
        let rows = inverse.chunks_exact(dims).zip(&centred);
        rows.map(|(row, value)| value * dot(row)).sum::<f32>().sqrt()
    };
    vectors
        .chunks_exact(dims)
        .zip(means.chunks_exact(dims))
        .zip(inverses)
        .map(norm)
        .collect()
}

fn stitching(criterion: &mut Criterion) {
    let input = InputRecipe {
        size_px: 256,
        crop_px: None,
        tiling: None,
        exclude_dark_margin: false,
        sixteen_bit_max: u16::MAX,
    };
    let layout = FrameLayout::new(&input, 448, 448).expect("a usual frame");
    let distances = values(32 * 32, 1);
    let tiles = [(
        0,
        PatchScores {
            height: 32,
            width: 32,
            distances,
            weights: None,
            nearest: None,
        },
    )];
    let mut group = criterion.benchmark_group("score/stitch 32x32 to 256x256");
    group.bench_function("without blur", |b| b.iter(|| stitch(&layout, black_box(&tiles), 0.0)));
    group.bench_function("with a blur of 4 px", |b| {
        b.iter(|| stitch(&layout, black_box(&tiles), 4.0))
    });
    group.finish();
}
