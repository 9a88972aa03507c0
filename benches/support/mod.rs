//! What the benches share: criterion on a short leash, and inputs that are the same in every run.

#![allow(dead_code, reason = "every bench takes what it needs")]

use std::time::Duration;

use criterion::Criterion;
use intakt_operators::imaging::Image;

/// Few samples and short times, so that all benches together take minutes: what is looked for are factors, not percents.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .without_plots()
        .configure_from_args()
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in 0 … 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 24) as f32
    }
}

/// `count` values in −1 … 1.
pub(crate) fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..count).map(|_| 2.0 * random.unit() - 1.0).collect()
}

/// `n_rows × dims` values in `n_clusters` clusters, as patches are: those of one kind of surface lie together. Uniform noise
/// would hide what exact search gains from that, and no detector has to search it.
pub(crate) fn clustered(n_rows: usize, dims: usize, n_clusters: usize, seed: u64) -> Vec<f32> {
    // The centres are the same for every seed, so that queries and bank come from the same surfaces.
    let centres = values(n_clusters * dims, 0);
    let mut random = Random(seed);
    let mut rows = Vec::with_capacity(n_rows * dims);
    for _ in 0..n_rows {
        let cluster = (random.next_u64() % n_clusters as u64) as usize;
        let centre = &centres[cluster * dims..][..dims];
        rows.extend(centre.iter().map(|value| value + 0.4 * (random.unit() - 0.5)));
    }
    rows
}

/// A square image of a brushed surface: a slow gradient, stripes and noise in every channel.
pub(crate) fn surface(edge_px: u32, seed: u64) -> Image {
    let mut random = Random(seed);
    let mut rgb = Vec::with_capacity((edge_px * edge_px * 3) as usize);
    for y in 0..edge_px {
        for x in 0..edge_px {
            let slow = 90.0 + 60.0 * x as f32 / edge_px as f32;
            let stripe = 25.0 * ((y as f32) * 0.7 + (x as f32 * 0.05).sin()).sin();
            rgb.extend((0..3).map(|channel| (slow + stripe + 8.0 * channel as f32 + 20.0 * random.unit()) as u8));
        }
    }
    Image::new(edge_px, edge_px, rgb)
}

/// Round bumps on a low floor of noise: `(height, width)` scores of which `bumps` exceed 1.
pub(crate) fn bumps(height: usize, width: usize, bumps: &[(usize, usize, f32)], seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    let score = |at: usize| {
        let (x, y) = ((at % width) as f32, (at / width) as f32);
        let bump = |&(cx, cy, radius): &(usize, usize, f32)| {
            let squared = (x - cx as f32).powi(2) + (y - cy as f32).powi(2);
            2.0 * (-0.7 * squared / (radius * radius)).exp()
        };
        bumps.iter().map(bump).sum::<f32>()
    };
    (0..height * width).map(|at| score(at) + 0.3 * random.unit()).collect()
}
