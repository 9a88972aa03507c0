//! Measures components of the anomaly map in frame pixels and calibrated scores.

use super::components::Components;
use super::stitch::FrameScores;
use crate::detector::ScoreScale;
use crate::imaging::FrameLayout;
use crate::{RectPx, Region, SuppressedRegion, SuppressionReason, fixed_point};

/// A region that may count.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) region: Region,
}

impl Candidate {
    pub(super) fn suppressed(self, reason: SuppressionReason) -> SuppressedRegion {
        SuppressedRegion {
            region: self.region,
            reason,
        }
    }
}

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
pub(super) fn measure(scores: &FrameScores, labelled: &Components, scale: &ScoreScale) -> Vec<Candidate> {
    let mut sums = vec![EMPTY; labelled.count as usize];
    let width = scores.map.width;
    for (idx, (&label, &score)) in labelled.labels.iter().zip(&scores.map.scores).enumerate() {
        if label > 0 {
            sums[label as usize - 1].add(idx % width, idx / width, score, scale);
        }
    }
    let regions = sums.iter().map(|sums| sums.region(&scores.layout, scale));
    regions.map(|region| Candidate { region }).collect()
}

impl Sums {
    fn add(&mut self, x: usize, y: usize, score: f32, scale: &ScoreScale) {
        self.n_pixels += 1;
        self.x_min = self.x_min.min(x);
        self.x_max = self.x_max.max(x);
        self.y_min = self.y_min.min(y);
        self.y_max = self.y_max.max(y);
        self.x_sum += x as u64;
        self.y_sum += y as u64;
        self.peak = self.peak.max(score);
        self.calibrated_sum += scale.calibrated(score);
    }

    fn region(&self, layout: &FrameLayout, scale: &ScoreScale) -> Region {
        let [scale_x, scale_y] = layout.frame_px_per_map_px;
        let [origin_x, origin_y] = layout.map_origin_in_frame_px;
        let n = self.n_pixels as f64;
        let (x, width) = extent(self.x_min, self.x_max, origin_x, scale_x, layout.frame_width_px);
        let (y, height) = extent(self.y_min, self.y_max, origin_y, scale_y, layout.frame_height_px);
        let centre = |sum: u64, origin: f64, scale: f64| hundredths(origin + (sum as f64 / n + 0.5) * scale);
        Region {
            bbox_px: RectPx { x, y, width, height },
            area_px: ((n * scale_x * scale_y).round() as u64).max(1),
            peak: fixed_point(scale.calibrated(self.peak) as f32),
            mean: fixed_point((self.calibrated_sum / n) as f32),
            centroid_px: [
                centre(self.x_sum, origin_x, scale_x),
                centre(self.y_sum, origin_y, scale_y),
            ],
        }
    }
}

/// The frame pixels that map pixels `first..=last` touch along one axis: start and length.
fn extent(first: usize, last: usize, origin: f64, scale: f64, frame_px: u32) -> (u32, u32) {
    // The tolerance keeps an exact edge exact: 3 · (448 / 256) must not become the pixel after.
    let start = (origin + first as f64 * scale + 1e-6)
        .floor()
        .clamp(0.0, f64::from(frame_px)) as u32;
    let end = (origin + (last + 1) as f64 * scale - 1e-6)
        .ceil()
        .clamp(0.0, f64::from(frame_px)) as u32;
    (start, end.saturating_sub(start))
}

/// Positions are printed to a hundredth of a pixel, which is finer than any of them is known.
fn hundredths(position_px: f64) -> f64 {
    (position_px * 100.0).round() / 100.0
}
