//! Exact nearest neighbours of the patches of one image in a memory bank, on one thread and on two.
//!
//! `INTAKT_DATA=... cargo bench --bench nearest` takes embeddings of MVTec's `bottle` by ResNet-18 (layer2 and layer3: 384 dims, and
//! 1536 where four neighbouring patches are put together, which is what WideResNet-50-2 has). Without the data it makes up clusters.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Instant;

use intakt_kernels::network::Crew;
use intakt_kernels::{Bank, matmul_transposed, squared_distance};
use intakt_operators::FeatureMap;
use intakt_operators::detector::backbone::{Backbone, load_pretrained, read_weights};
use intakt_operators::detector::{EmbeddingRecipe, Upsampling, embed};
use intakt_operators::imaging::{decode, resize};
use support::clustered;

const RUNS: usize = 9;

/// Vectors that are searched in, and those that are looked for.
struct Patches {
    name: String,
    dims: usize,
    pool: Vec<f32>,
    queries: Vec<f32>,
}

fn main() {
    let of_images = std::env::var_os("INTAKT_DATA").map(|data| embedded(Path::new(&data)));
    let all = of_images.unwrap_or_else(|| {
        [384, 1_536]
            .map(|dims| Patches {
                name: format!("clusters, {dims} dims"),
                dims,
                pool: clustered(16_384, dims, 60, 1),
                queries: clustered(784, dims, 60, 2),
            })
            .into()
    });
    for Patches {
        name,
        dims,
        pool,
        queries,
    } in all
    {
        for rows in [1_638, 16_384] {
            let bank: Vec<f32> = spread(&pool, dims, rows);
            let started = Instant::now();
            let searched = Bank::new(dims, bank.clone());
            let built_ms = started.elapsed().as_secs_f64() * 1e3;
            let n_queries = queries.len() / dims;
            println!("{name}: {n_queries} queries in {rows} rows");
            println!("  built in {built_ms:.1} ms");
            for threads in [1, 2] {
                let crew = Crew::new(threads);
                let _at_work = crew.begin();
                for k in [1, 9] {
                    let ms = median_ms(|| drop(searched.k_nearest(&queries, k)));
                    println!("  nearest {k}, threads {threads}: {ms:.1} ms");
                }
            }
            let mut products = vec![0.0; n_queries * rows];
            let ms = median_ms(|| {
                matmul_transposed(n_queries, dims, rows, &queries, &bank, &mut products);
                let least = |products: &[f32]| products.iter().copied().fold(f32::INFINITY, f32::min);
                std::hint::black_box(products.chunks_exact(rows).map(least).sum::<f32>());
            });
            println!("  a matrix product and its minima, not exact, threads 1: {ms:.1} ms");
            let found = searched.nearest(&queries[..40 * dims]);
            let started = Instant::now();
            for (query, found) in queries.chunks_exact(dims).zip(&found) {
                let distances = bank.chunks_exact(dims).map(|row| squared_distance(query, row));
                let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
                assert_eq!(nearest.map(|(row, _)| row), Some(found.index as usize));
            }
            let ms = started.elapsed().as_secs_f64() * 1e3 * n_queries as f64 / found.len() as f64;
            println!(
                "  all pairs: {ms:.0} ms, from {} of the queries, the same answers",
                found.len()
            );
        }
    }
}

fn median_ms(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// Evenly spaced rows.
fn spread(pool: &[f32], dims: usize, rows: usize) -> Vec<f32> {
    let n_pool = pool.len() / dims;
    (0..rows)
        .flat_map(|row| &pool[row * n_pool / rows * dims..][..dims])
        .copied()
        .collect()
}

fn embedded(data: &Path) -> Vec<Patches> {
    let layers = ["layer2", "layer3"].map(str::to_owned);
    let weights = std::fs::read(data.join("weights/resnet18.safetensors")).expect("the weights");
    let tensors = read_weights(&weights).expect("tensors");
    let network = load_pretrained("resnet18", &layers, &tensors).expect("a ResNet-18");
    let recipe = EmbeddingRecipe {
        neighbourhood: 3,
        upsampling: Upsampling::Bilinear,
        kept_dims: None,
    };
    let of_image = |path: &PathBuf, edge_px: u32| {
        let image = decode(&std::fs::read(path).expect("an image"), u16::MAX).expect("an image");
        let maps = network.feature_maps(&resize(&image, edge_px, edge_px)).expect("maps");
        let maps: Vec<_> = maps.iter().map(FeatureMap::view).collect();
        embed(&maps, &recipe).expect("an embedding")
    };
    let bottle = data.join("mvtec/bottle");
    let images = |folder: &str| {
        let entries = std::fs::read_dir(bottle.join(folder)).expect("a folder");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    };
    let (train, test) = (images("train/good"), images("test/broken_large"));
    let pool = |edge_px, stacked: fn(FeatureMap) -> Vec<f32>, n_images| -> Vec<f32> {
        train
            .iter()
            .take(n_images)
            .flat_map(|path| stacked(of_image(path, edge_px)))
            .collect()
    };
    let whole: fn(FeatureMap) -> Vec<f32> = |map| map.data;
    vec![
        Patches {
            name: "bottle, ResNet-18, 384 dims".to_owned(),
            dims: 384,
            pool: pool(224, whole, 30),
            queries: whole(of_image(&test[0], 224)),
        },
        Patches {
            name: "bottle, ResNet-18, 2×2 patches, 1536 dims".to_owned(),
            dims: 1_536,
            pool: pool(224, stack, 30),
            queries: stack(of_image(&test[0], 224)),
        },
    ]
}

/// Every patch with those to its right, below, and both; at the border the last again.
fn stack(map: FeatureMap) -> Vec<f32> {
    let (height, width, dims) = (map.height, map.width, map.dims);
    let patch = |y: usize, x: usize| &map.data[(y.min(height - 1) * width + x.min(width - 1)) * dims..][..dims];
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    places
        .flat_map(|(y, x)| [patch(y, x), patch(y, x + 1), patch(y + 1, x), patch(y + 1, x + 1)].concat())
        .collect()
}
