//! From an anomaly map to regions, and to the picture of them.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use intakt_operators::detector::{
    BackboneRecipe, Calibration, CalibrationMethod, EmbeddingRecipe, ImageScore, InputRecipe, Recipe, ScoreScale,
    ScorerRecipe, SuppressionRules, Tiling, Upsampling,
};
use intakt_operators::imaging::FrameLayout;
use intakt_operators::postprocess::components::components;
use intakt_operators::postprocess::{FrameScores, ScoredPatch, suppress};
use intakt_operators::{AnomalyMap, Mask, RectPx};
use intakt_pipelines::png::encode_png;
use intakt_pipelines::sinks::heatmap;
use support::{Random, bumps, surface};

/// Defects of a few to a few hundred map pixels: centre and radius.
const DEFECTS: [(usize, usize, f32); 4] = [(60, 50, 3.0), (180, 70, 8.0), (120, 190, 12.0), (30, 220, 2.0)];

fn main() {
    let mut criterion = support::criterion();
    rules(&mut criterion);
    labelling(&mut criterion);
    drawing(&mut criterion);
    criterion.final_summary();
}

fn rules(criterion: &mut Criterion) {
    let whole = (recipe(None), scores(&recipe(None), 1_024, 1_024));
    let tiling = Some(Tiling {
        tile_px: 256,
        overlap_px: 32,
    });
    let strip = (recipe(tiling), scores(&recipe(tiling), 4_096, 256));
    let mut group = criterion.benchmark_group("suppression/suppress");
    for (name, (recipe, scores)) in [("256x256, 4 regions", whole), ("4096x256, 4 regions", strip)] {
        group.throughput(Throughput::Elements(scores.map.scores.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| suppress(black_box(&scores), &recipe, &calibration(), None))
        });
    }
    group.finish();
}

fn labelling(criterion: &mut Criterion) {
    let few = Mask::new(
        256,
        256,
        bumps(256, 256, &DEFECTS, 1).iter().map(|score| *score > 1.0).collect(),
    );
    let mut random = Random(3);
    let noise = Mask::new(256, 256, (0..256 * 256).map(|_| random.unit() < 0.3).collect());
    for (name, mask) in [("4 regions", few), ("noise, 30 % set", noise)] {
        let mut group = criterion.benchmark_group(format!("suppression/components 256x256, {name}"));
        group.bench_function("runs", |b| b.iter(|| components(black_box(&mask))));
        group.bench_function("naive: flood fill", |b| b.iter(|| flood_fill(black_box(&mask))));
        group.finish();
    }
}

/// Labels by filling every component from its first pixel.
fn flood_fill(mask: &Mask) -> (Vec<u32>, u32) {
    let (width, height) = (mask.width as i64, mask.height as i64);
    let mut labels = vec![0; mask.bits.len()];
    let (mut count, mut open) = (0, Vec::new());
    for start in 0..mask.bits.len() {
        if !mask.bits[start] || labels[start] > 0 {
            continue;
        }
        count += 1;
        labels[start] = count;
        open.push(start);
        while let Some(at) = open.pop() {
            let (x, y) = (at as i64 % width, at as i64 / width);
            for (dx, dy) in (0..9).map(|around| (around % 3 - 1, around / 3 - 1)) {
                if (0..width).contains(&(x + dx)) && (0..height).contains(&(y + dy)) {
                    let other = ((y + dy) * width + x + dx) as usize;
                    if mask.bits[other] && labels[other] == 0 {
                        labels[other] = count;
                        open.push(other);
                    }
                }
            }
        }
    }
    (labels, count)
}

fn drawing(criterion: &mut Criterion) {
    let frame = surface(1_024, 1);
    let (recipe, calibration) = (recipe(None), calibration());
    let scores = scores(&recipe, 1_024, 1_024);
    let found = suppress(&scores, &recipe, &calibration, None);
    let calibrated = scores
        .map
        .scores
        .iter()
        .map(|score| calibration.pixel.calibrated(*score) as f32);
    let map = AnomalyMap::new(256, 256, calibrated.collect());
    let draw = || {
        heatmap(
            &frame,
            black_box(&map),
            &scores.layout,
            &found.regions,
            &found.suppressed,
        )
    };
    let picture = draw();
    let mut group = criterion.benchmark_group("suppression/heatmap 1024x1024");
    group.bench_function("draw", |b| b.iter(draw));
    group.bench_function("encode as PNG", |b| b.iter(|| encode_png(black_box(&picture))));
    group.finish();
}

fn recipe(tiling: Option<Tiling>) -> Recipe {
    Recipe {
        backbone: BackboneRecipe {
            name: "none".into(),
            layers: vec![],
            precision: Default::default(),
            hash: String::new(),
        },
        input: InputRecipe {
            size_px: 256,
            crop_px: None,
            tiling,
            exclude_dark_margin: false,
            sixteen_bit_max: u16::MAX,
        },
        embedding: EmbeddingRecipe {
            neighbourhood: 1,
            upsampling: Upsampling::Nearest,
            kept_dims: None,
        },
        scorer: ScorerRecipe::GlobalKnn { n_neighbors: 1 },
        image_score: ImageScore::Max,
        blur_sigma_px: 4.0,
        suppression: SuppressionRules {
            border_px: 4,
            min_area_px: 100,
            ..SuppressionRules::default()
        },
    }
}

fn scores(recipe: &Recipe, width_px: u32, height_px: u32) -> FrameScores {
    let layout = FrameLayout::new(&recipe.input, width_px, height_px).expect("a usual frame");
    let map = bumps(layout.map_height, layout.map_width, &DEFECTS, 1);
    // The patches decide nothing where the image score is the map's maximum; as many as there are at a stride of 8.
    let patch = |idx: usize| ScoredPatch {
        x_map: (idx * 8 % layout.map_width) as f32,
        y_map: (idx * 8 / layout.map_width * 8) as f32,
        distance: 0.2,
        weight: 1.0,
    };
    FrameScores {
        nearest: Vec::new(),
        patches: (0..map.len() / 64).map(patch).collect(),
        map: AnomalyMap::new(layout.map_height, layout.map_width, map),
        product_px: RectPx {
            x: 0,
            y: 0,
            width: width_px,
            height: height_px,
        },
        layout,
    }
}

fn calibration() -> Calibration {
    let scale = ScoreScale {
        normal_level: 0.2,
        threshold: 1.0,
    };
    Calibration {
        method: CalibrationMethod::Fixed {
            image_threshold: 1.0,
            pixel_threshold: None,
        },
        image: scale,
        pixel: scale,
        n_frames: 0,
        normal_quantiles: Vec::new(),
        guaranteed_false_reject_rate: None,
        statement: String::new(),
    }
}
