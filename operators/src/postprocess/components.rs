//! Connected components of a mask: pixels that touch at an edge or a corner (8-connected) belong together.

use std::ops::Range;

use crate::Mask;

/// The components of a picture. Labels count from 1 in row-major order of each component's first pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// Their pixels, in row-major order.
    pub runs: Vec<Run>,
    /// Number of components, which is also the highest label.
    pub count: u32,
}

/// Pixels of one component that follow each other in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Row-major indices into the picture.
    pub pixels: Range<usize>,
    /// The component's label.
    pub label: u32,
}

impl Components {
    /// Pixels of each component; the component with label `l` is at `l - 1`.
    pub fn areas_px(&self) -> Vec<u64> {
        let mut areas = vec![0; self.count as usize];
        for run in &self.runs {
            areas[run.label as usize - 1] += run.pixels.len() as u64;
        }
        areas
    }

    /// One label for each of a picture's `n_pixels`, row-major; 0 is background.
    pub fn labels(&self, n_pixels: usize) -> Vec<u32> {
        let mut labels = vec![0; n_pixels];
        for run in &self.runs {
            labels[run.pixels.clone()].fill(run.label);
        }
        labels
    }

    /// The components for which `keep[label - 1]` holds, numbered anew in the same order.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        let mut count = 0;
        let renumbered: Vec<u32> = keep
            .iter()
            .map(|&kept| {
                count += u32::from(kept);
                if kept { count } else { 0 }
            })
            .collect();
        for run in &mut self.runs {
            run.label = renumbered[run.label as usize - 1];
        }
        self.runs.retain(|run| run.label > 0);
        self.count = count;
    }
}

/// The 8-connected components of the set pixels of `mask`, as `scipy.ndimage.label` finds them with a full 3×3
/// structure.
///
/// Time is linear in the pixels: runs of set pixels are found row by row and united with the runs they touch in the row
/// above (two passes; He, Chao and Suzuki, "A run-based two-scan labeling algorithm", 2008).
pub fn components(mask: &Mask) -> Components {
    let (mut runs, roots) = united_runs(mask);
    let mut count = 0;
    for i in 0..runs.len() {
        // The root is the component's first run, because `unite` keeps the smaller index: it comes before its others.
        if roots[i] == i {
            count += 1;
            runs[i].label = count;
        } else {
            runs[i].label = runs[roots[i]].label;
        }
    }
    Components { runs, count }
}

/// The components of `score >= low` that hold at least one pixel with `score > high`: a weak rim is kept where it
/// belongs to something strong (Canny's hysteresis). Pixels outside `allowed` are background.
///
/// `high` is exceeded strictly, because a frame is rejected when its score is *above* the threshold: with the threshold
/// as `high`, a frame whose highest pixel is the threshold itself passes and has no region. A `low` above `high` acts
/// as `high`, so that a pixel above `high` always lies in a region. Not-a-number is background.
///
/// `scores` and `allowed` are row-major `(height, width)`. Panics where their sizes differ (a bug of ours).
pub fn hysteresis_components(
    scores: &[f32],
    width: usize,
    height: usize,
    low: f32,
    high: f32,
    allowed: &Mask,
) -> Components {
    assert_eq!(scores.len(), height * width, "scores of {height}x{width}");
    assert_eq!((allowed.height, allowed.width), (height, width), "allowed pixels");
    let low = low.min(high);
    let bits = scores
        .iter()
        .zip(&allowed.bits)
        .map(|(&score, &allowed)| allowed & (score >= low));
    let mut found = components(&Mask::new(height, width, bits.collect()));
    let mut strong = vec![false; found.count as usize];
    for run in &found.runs {
        strong[run.label as usize - 1] |= scores[run.pixels.clone()].iter().any(|&score| score > high);
    }
    found.retain(&strong);
    found
}

/// All runs in row-major order, without labels, and for each the index of the first run of its component.
fn united_runs(mask: &Mask) -> (Vec<Run>, Vec<usize>) {
    let mut runs: Vec<Run> = Vec::new();
    let mut parents: Vec<usize> = Vec::new();
    let mut above = 0..0;
    for (y, row) in mask.bits.chunks_exact(mask.width.max(1)).enumerate() {
        let first = runs.len();
        push_runs(row, y * mask.width, &mut runs);
        parents.extend(first..runs.len());
        let mut upper = above.start;
        for i in first..runs.len() {
            // Indices of the row above: those of this one, less a row. Runs that end left of this one, even diagonally, cannot
            // touch a later run of this row either.
            let [start, end] = [runs[i].pixels.start, runs[i].pixels.end].map(|at| at.saturating_sub(mask.width));
            while upper < above.end && runs[upper].pixels.end < start {
                upper += 1;
            }
            for touching in (upper..above.end).take_while(|&u| runs[u].pixels.start <= end) {
                unite(&mut parents, touching, i);
            }
        }
        above = first..runs.len();
    }
    for i in 0..parents.len() {
        // A parent is never behind its child, so it already points at its root.
        parents[i] = parents[parents[i]];
    }
    (runs, parents)
}

/// Pixels that are passed over at once where none is set.
const STRIDE: usize = 32;

fn push_runs(row: &[bool], row_start: usize, runs: &mut Vec<Run>) {
    let mut x = 0;
    loop {
        // The compiler looks at a whole stride at once.
        while let Some(stride) = row[x..].first_chunk::<STRIDE>()
            && !stride.iter().fold(false, |any, bit| any | bit)
        {
            x += STRIDE;
        }
        let Some(gap) = row[x..].iter().position(|&bit| bit) else {
            return;
        };
        let start = x + gap;
        x = row[start..]
            .iter()
            .position(|&bit| !bit)
            .map_or(row.len(), |length| start + length);
        runs.push(Run {
            pixels: row_start + start..row_start + x,
            label: 0,
        });
    }
}

/// Joins two components; the smaller root stays root.
fn unite(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

/// The root of `i`, halving the path on the way so that later look-ups are short.
fn root(parents: &mut [usize], mut i: usize) -> usize {
    while parents[i] != i {
        parents[i] = parents[parents[i]];
        i = parents[i];
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mask drawn with `#` for set pixels.
    fn mask(rows: &[&str]) -> Mask {
        let width = rows.first().map_or(0, |row| row.len());
        Mask::new(
            rows.len(),
            width,
            rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect(),
        )
    }

    /// The label of every pixel, and how many components there are.
    fn labelled(found: &Components, n_pixels: usize) -> (Vec<u32>, u32) {
        (found.labels(n_pixels), found.count)
    }

    /// The same by flood fill from every pixel in row-major order.
    fn naive(mask: &Mask) -> (Vec<u32>, u32) {
        let (height, width) = (mask.height, mask.width);
        let mut labels = vec![0; mask.bits.len()];
        let mut count = 0;
        for seed in 0..mask.bits.len() {
            if !mask.bits[seed] || labels[seed] != 0 {
                continue;
            }
            count += 1;
            labels[seed] = count;
            let mut open = vec![seed];
            while let Some(pixel) = open.pop() {
                let (y, x) = (pixel / width, pixel % width);
                for near_y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                    for near_x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                        let near = near_y * width + near_x;
                        if mask.bits[near] && labels[near] == 0 {
                            labels[near] = count;
                            open.push(near);
                        }
                    }
                }
            }
        }
        (labels, count)
    }

    /// A small generator (xorshift64*), so that the random masks are the same everywhere.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33
    }

    #[test]
    fn components_match_flood_fill() {
        let mut state = 7;
        for round in 0..600 {
            let (height, width) = (random(&mut state) as usize % 24, random(&mut state) as usize % 140);
            let density = [1, 10, 20, 30, 40, 50, 60, 70, 80, 90][round % 10];
            let bits = (0..height * width).map(|_| random(&mut state) % 100 < density);
            let mask = Mask::new(height, width, bits.collect());
            let found = components(&mask);
            assert_eq!(
                labelled(&found, mask.bits.len()),
                naive(&mask),
                "{height}x{width}, density {density} %, round {round}"
            );
            assert!(found.runs.is_sorted_by_key(|run| run.pixels.start));
        }
    }

    #[test]
    fn corners_connect_and_labels_follow_the_first_pixel() {
        let found = components(&mask(&["#...#.", ".#.#..", "..#...", "......", ".....#"]));
        assert_eq!(found.count, 2);
        assert_eq!(found.areas_px(), [5, 1]);
        // Both arms of the V are one component though the right one is found first as a run of its own.
        let labels = found.labels(30);
        assert_eq!((labels[0], labels[4], labels[29]), (1, 1, 2));
    }

    #[test]
    fn empty_and_full_masks() {
        assert_eq!(components(&Mask::filled(3, 5, false)).count, 0);
        assert_eq!(components(&Mask::filled(3, 5, true)).areas_px(), [15]);
        for (height, width) in [(0, 0), (0, 4), (4, 0)] {
            assert_eq!(components(&Mask::filled(height, width, true)).count, 0);
        }
    }

    #[test]
    fn hysteresis_keeps_weak_rims_of_strong_cores_only() {
        let scores = [0.5, 0.9, 0.0, 0.5, 0.5, 0.0, 0.7];
        let all = Mask::filled(1, 7, true);
        let found = hysteresis_components(&scores, 7, 1, 0.5, 0.7, &all);
        assert_eq!(found.labels(7), [1, 1, 0, 0, 0, 0, 0], "0.7 is not above 0.7");
        let found = hysteresis_components(&scores, 7, 1, 0.5, 0.6, &all);
        assert_eq!(labelled(&found, 7), (vec![1, 1, 0, 0, 0, 0, 2], 2));
    }

    #[test]
    fn hysteresis_matches_flood_fill() {
        let mut state = 19;
        for round in 0..300 {
            let (height, width) = (
                1 + random(&mut state) as usize % 16,
                1 + random(&mut state) as usize % 16,
            );
            let scores: Vec<f32> = (0..height * width).map(|_| (random(&mut state) % 12) as f32).collect();
            let allowed = Mask::new(
                height,
                width,
                scores.iter().map(|_| !random(&mut state).is_multiple_of(10)).collect(),
            );
            let (low, high) = (6.0, 9.0);
            let weak = scores
                .iter()
                .zip(&allowed.bits)
                .map(|(&score, &allowed)| allowed && score >= low);
            let (weak, _) = naive(&Mask::new(height, width, weak.collect()));
            let strong = |label| label > 0 && (0..scores.len()).any(|i| weak[i] == label && scores[i] > high);
            let kept = naive(&Mask::new(
                height,
                width,
                weak.iter().map(|&label| strong(label)).collect(),
            ));
            let found = hysteresis_components(&scores, width, height, low, high, &allowed);
            assert_eq!(labelled(&found, scores.len()), kept, "{height}x{width}, round {round}");
        }
    }

    #[test]
    fn hysteresis_ignores_pixels_that_are_not_allowed() {
        let allowed = Mask::new(1, 4, vec![true, false, true, true]);
        let found = hysteresis_components(&[0.6, 0.9, 0.6, 0.8], 4, 1, 0.5, 0.7, &allowed);
        assert_eq!(found.labels(4), [0, 0, 1, 1]);
    }

    #[test]
    fn a_pixel_above_high_always_lies_in_a_region() {
        let all = Mask::filled(1, 3, true);
        let found = hysteresis_components(&[0.6, f32::NAN, f32::INFINITY], 3, 1, 0.9, 0.5, &all);
        assert_eq!(found.labels(3), [1, 0, 2]);
        assert_eq!(
            hysteresis_components(&[0.6, 0.2, 0.3], 3, 1, f32::NAN, 0.5, &all).labels(3),
            [1, 0, 0]
        );
    }
}
