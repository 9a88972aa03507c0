//! Whether defects were found as regions, and how far off.

use super::confusion::ratio;
use crate::Mask;
use crate::postprocess::components::components;

/// Found and missed defects, and findings where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionHits {
    /// Defects (8-connected regions of the truth) that share at least one pixel with a predicted region.
    pub hits: u64,
    /// Defects that share none.
    pub misses: u64,
    /// Predicted regions that share no pixel with a defect.
    pub false_regions: u64,
}

impl RegionHits {
    /// Adds the counts of another frame.
    pub fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.false_regions += other.false_regions;
    }

    /// Share of the defects that were hit; `None` without defects.
    pub fn region_hit_rate(&self) -> Option<f64> {
        ratio(self.hits, self.hits + self.misses)
    }

    /// Share of the defects that were missed; `None` without defects.
    pub fn region_miss_rate(&self) -> Option<f64> {
        ratio(self.misses, self.hits + self.misses)
    }
}

/// Compares the regions of one frame: those of `truth` with those of `predicted`, both 8-connected.
///
/// Panics where the masks differ in size (a bug of ours).
pub fn region_hits(truth: &Mask, predicted: &Mask) -> RegionHits {
    let size = (truth.height, truth.width);
    assert_eq!((predicted.height, predicted.width), size, "both masks have one size");
    let (defects, n_defects) = touched(truth, predicted);
    let (right, n_predicted) = touched(predicted, truth);
    RegionHits {
        hits: defects,
        misses: n_defects - defects,
        false_regions: n_predicted - right,
    }
}

/// How many regions of `mask` share a pixel with `other`, and how many there are.
fn touched(mask: &Mask, other: &Mask) -> (u64, u64) {
    let regions = components(mask);
    let mut hit = vec![false; regions.count as usize];
    for run in &regions.runs {
        hit[run.label as usize - 1] |= other.bits[run.pixels.clone()].contains(&true);
    }
    (hit.iter().filter(|&&hit| hit).count() as u64, u64::from(regions.count))
}

/// Centre of mass (x, y) of the set pixels, every pixel counting alike, in pixels of the mask; the centre of a pixel is
/// at its index. `None` where nothing is set.
pub fn mass_center(mask: &Mask) -> Option<[f64; 2]> {
    let (mut sum_x, mut sum_y, mut area) = (0u64, 0u64, 0u64);
    for (i, _) in mask.bits.iter().enumerate().filter(|(_, set)| **set) {
        sum_x += (i % mask.width) as u64;
        sum_y += (i / mask.width) as u64;
        area += 1;
    }
    Some([ratio(sum_x, area)?, ratio(sum_y, area)?])
}

/// Euclidean distance between two points of a map, in frame pixels: `frame_px_per_map_px` are the scale factors (x, y).
pub fn distance(a: [f64; 2], b: [f64; 2], frame_px_per_map_px: [f64; 2]) -> f64 {
    let [dx, dy] = [0, 1].map(|axis| (a[axis] - b[axis]) * frame_px_per_map_px[axis]);
    // Not `hypot`: its last bit is the C library's, and the root of a sum is the same everywhere.
    (dx * dx + dy * dy).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Mask {
        Mask::new(
            rows.len(),
            rows[0].len(),
            rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect(),
        )
    }

    #[test]
    fn one_shared_pixel_is_a_hit() {
        let truth = mask(&["##...#", "##....", "......", "#....."]);
        let predicted = mask(&[".....#", ".#....", "...#..", "..#..."]);
        let found = region_hits(&truth, &predicted);
        // The two predicted pixels at the bottom touch at a corner: one region, and it is false.
        assert_eq!((found.hits, found.misses), (2, 1));
        assert_eq!(found.false_regions, 1);
        assert_eq!(found.region_hit_rate(), Some(2.0 / 3.0));
        assert_eq!(found.region_miss_rate(), Some(1.0 / 3.0));
    }

    #[test]
    fn one_prediction_may_hit_two_defects_and_several_one() {
        let truth = mask(&["#.#....", ".......", "#######"]);
        let predicted = mask(&["###....", ".......", "#.#.#.#"]);
        assert_eq!(
            region_hits(&truth, &predicted),
            RegionHits {
                hits: 3,
                misses: 0,
                false_regions: 0
            }
        );
    }

    #[test]
    fn without_defects_there_is_no_rate() {
        let found = region_hits(&Mask::filled(2, 3, false), &Mask::filled(2, 3, true));
        assert_eq!(
            (found.region_hit_rate(), found.region_miss_rate(), found.false_regions),
            (None, None, 1)
        );
    }

    #[test]
    fn mass_centers_are_in_x_then_y_and_scaled_per_axis() {
        let center = mass_center(&mask(&["....", ".###", ".###"])).unwrap();
        assert_eq!(center, [2.0, 1.5]);
        assert_eq!(mass_center(&Mask::filled(3, 3, false)), None);
        assert_eq!(mass_center(&Mask::filled(0, 0, false)), None);
        assert_eq!(distance([0.0, 0.0], [3.0, 2.0], [1.0, 2.0]), 5.0);
    }
}
