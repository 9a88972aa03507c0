//! The anomaly map at the size of the frame.

use std::ops::Range;

use intakt_operators::AnomalyMap;
use intakt_operators::imaging::FrameLayout;

/// Where a frame row or column falls on the map: the two map positions around it and the weight of the second.
#[derive(Clone, Copy)]
struct Tap {
    lower: usize,
    upper: usize,
    weight: f32,
}

impl Tap {
    fn blend(self, scores: &[f32]) -> f32 {
        scores[self.lower] + (scores[self.upper] - scores[self.lower]) * self.weight
    }
}

/// A map, bilinearly interpolated at the pixel centres of a frame.
pub(super) struct Upsampled<'a> {
    map: &'a AnomalyMap,
    columns: Vec<Option<Tap>>,
    rows: Vec<Option<Tap>>,
}

impl<'a> Upsampled<'a> {
    pub(super) fn new(map: &'a AnomalyMap, layout: &FrameLayout, width: usize, height: usize) -> Self {
        let taps = |axis: usize, frame_extent: usize, map_extent: usize| {
            let (origin, scale) = (layout.map_origin_in_frame_px[axis], layout.frame_px_per_map_px[axis]);
            (0..frame_extent).map(|px| tap(px, origin, scale, map_extent)).collect()
        };
        Self {
            map,
            columns: taps(0, width, map.width),
            rows: taps(1, height, map.height),
        }
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn height(&self) -> usize {
        self.rows.len()
    }

    /// Calls `visit` with the column and the score of every pixel of a row that lies in `columns` and on the map.
    pub(super) fn for_each(&self, y: usize, columns: Range<usize>, mut visit: impl FnMut(usize, f32)) {
        let Some(row) = self.rows[y] else { return };
        let [lower, upper] = [row.lower, row.upper].map(|y| &self.map.scores[y * self.map.width..][..self.map.width]);
        for (x, column) in columns.clone().zip(&self.columns[columns]) {
            if let Some(column) = column {
                let lower = column.blend(lower);
                visit(x, lower + (column.blend(upper) - lower) * row.weight);
            }
        }
    }
}

/// Pixel centres lie at half pixels in both grids; beyond the outermost centres the edge value continues to the map's edge.
fn tap(frame_px: usize, origin: f64, scale: f64, map_extent: usize) -> Option<Tap> {
    let on_map = (frame_px as f64 + 0.5 - origin) / scale;
    // Written so that not-a-number, from a scale of zero, is outside.
    if !(on_map >= 0.0 && on_map < map_extent as f64) {
        return None;
    }
    let last = map_extent - 1;
    let centred = (on_map - 0.5).clamp(0.0, last as f64);
    let lower = centred as usize;
    Some(Tap {
        lower,
        upper: (lower + 1).min(last),
        weight: (centred - lower as f64) as f32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(origin: [f64; 2], scale: [f64; 2]) -> FrameLayout {
        FrameLayout {
            frame_width_px: 0,
            frame_height_px: 0,
            map_width: 0,
            map_height: 0,
            frame_px_per_map_px: scale,
            map_origin_in_frame_px: origin,
            tiles: Vec::new(),
        }
    }

    /// The score at a frame pixel, if it lies on the map.
    fn at(heat: &Upsampled<'_>, x: usize, y: usize) -> Option<f32> {
        let mut found = None;
        heat.for_each(y, x..x + 1, |at, score| found = Some((at, score)));
        found.map(|(at, score)| {
            assert_eq!(at, x);
            score
        })
    }

    #[test]
    fn a_map_of_the_frames_size_is_unchanged() {
        let map = AnomalyMap::new(3, 4, (0..12).map(|i| i as f32 / 7.0).collect());
        let heat = Upsampled::new(&map, &layout([0.0; 2], [1.0; 2]), 4, 3);
        for y in 0..3 {
            for x in 0..4 {
                assert_eq!(at(&heat, x, y), Some(map.scores[y * 4 + x]));
            }
        }
    }

    #[test]
    fn centres_are_aligned_and_values_between_are_mixed() {
        let map = AnomalyMap::new(1, 2, vec![0.0, 1.0]);
        let heat = Upsampled::new(&map, &layout([0.0; 2], [4.0, 4.0]), 8, 4);
        let row: Vec<f32> = (0..8).map(|x| at(&heat, x, 2).unwrap()).collect();
        assert_eq!(row, [0.0, 0.0, 0.125, 0.375, 0.625, 0.875, 1.0, 1.0]);
    }

    #[test]
    fn pixels_beside_a_cropped_map_have_no_score() {
        let map = AnomalyMap::new(2, 2, vec![1.0; 4]);
        let heat = Upsampled::new(&map, &layout([3.0, 1.0], [2.0, 2.0]), 10, 6);
        let covered: Vec<bool> = (0..10).map(|x| at(&heat, x, 1).is_some()).collect();
        assert_eq!(
            covered,
            [false, false, false, true, true, true, true, false, false, false]
        );
        assert!(at(&heat, 4, 0).is_none() && at(&heat, 4, 4).is_some() && at(&heat, 4, 5).is_none());
    }

    #[test]
    fn a_senseless_scale_shows_nothing() {
        let map = AnomalyMap::new(2, 2, vec![1.0; 4]);
        for scale in [0.0, -1.0, f64::NAN] {
            let heat = Upsampled::new(&map, &layout([0.5; 2], [scale; 2]), 4, 4);
            assert!((1..4).all(|x| at(&heat, x, x).is_none()), "{scale}");
        }
        let empty = AnomalyMap::new(0, 0, Vec::new());
        let heat = Upsampled::new(&empty, &layout([0.0; 2], [1.0; 2]), 4, 4);
        assert!(at(&heat, 0, 0).is_none());
    }
}
