//! Measures components of the anomaly map in frame pixels and calibrated scores.

use super::components::Components;
use super::stitch::FrameScores;
use crate::detector::ScoreScale;
use crate::imaging::FrameLayout;
use crate::{RectPx, Region, fixed_point};

/// What was added up over the map pixels of one component.
#[derive(Clone, Copy)]
struct Sums {
    n_pixels: u64,
    x_min: usize,
    x_max: usize,
    y_min: usize,
    y_max: usize,
    x_sum: u64,
    y_sum: u64,
    peak: f32,
    calibrated_sum: f64,
}

const EMPTY: Sums = Sums {
    n_pixels: 0,
    x_min: usize::MAX,
    x_max: 0,
    y_min: usize::MAX,
    y_max: 0,
    x_sum: 0,
    y_sum: 0,
    peak: f32::NEG_INFINITY,
    calibrated_sum: 0.0,
};

/// The region of every component, in the order of their labels.
pub(super) fn measure(scores: &FrameScores, labelled: &Components, scale: &ScoreScale) -> Vec<Region> {
    let mut sums = vec![EMPTY; labelled.count as usize];
    let width = scores.map.width;
    for run in &labelled.runs {
        let (y, x) = (run.pixels.start / width, run.pixels.start % width);
        sums[run.label as usize - 1].add(y, x, &scores.map.scores[run.pixels.clone()], scale);
    }
    sums.iter().map(|sums| sums.region(&scores.layout, scale)).collect()
}

impl Sums {
    /// Adds the pixels of row `y` from column `x` on that have these scores.
    fn add(&mut self, y: usize, x: usize, scores: &[f32], scale: &ScoreScale) {
        let n_pixels = scores.len();
        self.n_pixels += n_pixels as u64;
        self.x_min = self.x_min.min(x);
        self.x_max = self.x_max.max(x + n_pixels - 1);
        self.y_min = self.y_min.min(y);
        self.y_max = self.y_max.max(y);
        self.x_sum += (x..x + n_pixels).sum::<usize>() as u64;
        self.y_sum += (y * n_pixels) as u64;
        for &score in scores {
            self.peak = self.peak.max(score);
            self.calibrated_sum += scale.calibrated(score);
        }
    }

    fn region(&self, layout: &FrameLayout, scale: &ScoreScale) -> Region {
        let n = self.n_pixels as f64;
        let centroid_map = [self.x_sum as f64 / n, self.y_sum as f64 / n];
        Region {
            bbox_px: layout.map_rect_to_frame(RectPx {
                x: self.x_min as u32,
                y: self.y_min as u32,
                width: (self.x_max + 1 - self.x_min) as u32,
                height: (self.y_max + 1 - self.y_min) as u32,
            }),
            area_px: layout.area_to_frame(self.n_pixels),
            peak: fixed_point(scale.calibrated(self.peak) as f32),
            mean: fixed_point((self.calibrated_sum / n) as f32),
            centroid_px: layout.map_point_to_frame(centroid_map).map(hundredths),
        }
    }
}

/// Positions are printed to a hundredth of a pixel, which is finer than any of them is known.
fn hundredths(position_px: f64) -> f64 {
    (position_px * 100.0).round() / 100.0
}
