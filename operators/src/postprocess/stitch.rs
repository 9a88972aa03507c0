//! Joins the patch scores of a frame's tiles into one anomaly map.

use intakt_kernels::{gaussian_blur, resize_bilinear, resize_blurred};

use super::nearest::TileRows;
use crate::detector::{PatchScores, Recipe};
use crate::imaging::FrameLayout;
use crate::{AnomalyMap, RectPx};

/// One patch of a frame: where it lies and what the scorer says about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredPatch {
    /// Centre, columns of the anomaly map.
    pub x_map: f32,
    /// Centre, rows of the anomaly map.
    pub y_map: f32,
    /// Distance from what is normal.
    pub distance: f32,
    /// PatchCore's weight (eq. 7); 1 where the scorer gives none.
    pub weight: f32,
}

/// All that the detector says about one frame, before anything is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameScores {
    /// Geometry of the frame.
    pub layout: FrameLayout,
    /// Smoothed scores, `(map_height, map_width)`.
    pub map: AnomalyMap,
    /// Every patch of every tile, in the order of the tiles.
    pub patches: Vec<ScoredPatch>,
    /// The product in the frame, without the dark margin: frame pixels. The whole frame where no margin is excluded.
    pub product_px: RectPx,
    /// The rows of the memory bank nearest to the patches, a tile an entry; empty where the scorer has no bank.
    pub nearest: Vec<TileRows>,
}

impl Recipe {
    /// Standard deviation of the smoothing in map pixels. The recipe states it in pixels of the network input, which a
    /// tile's enlargement makes smaller than those of the map.
    pub fn blur_sigma_map_px(&self) -> f32 {
        match self.input.tiling {
            Some(tiling) => self.blur_sigma_px * tiling.tile_px as f32 / self.input.size_px as f32,
            None => self.blur_sigma_px,
        }
    }
}

/// The anomaly map and the patches of a frame from `(tile index in the layout, scores)`, in any order.
///
/// Every tile's grid is brought to the tile's size (bilinear, corners not aligned). Where tiles overlap they are blended with
/// linear ramps over the overlap; the weights are divided by their sum, so equal scores stay equal. The map is smoothed once
/// (Gaussian of `blur_sigma_map_px`), after the blending, so that no tile's edge shows. Tiles that are missing were skipped
/// because they do not show the product: pixels that no tile covers are 0 and do not dilute their neighbours (normalised
/// convolution, Knutsson & Westin 1993).
///
/// # Errors
/// A sentence, where a score is not finite: such a frame must not pass as normal.
///
/// Panics where a tile is given twice, is not in the layout, or has another number of scores than patches (bugs of ours).
pub fn stitch(
    layout: &FrameLayout,
    tiles: &[(usize, PatchScores)],
    blur_sigma_map_px: f32,
) -> Result<(AnomalyMap, Vec<ScoredPatch>), String> {
    // Sums of floats depend on their order, verdicts must not.
    let mut tiles: Vec<&(usize, PatchScores)> = tiles.iter().collect();
    tiles.sort_by_key(|(idx, _)| *idx);
    assert!(
        tiles.is_sorted_by(|left, right| left.0 < right.0),
        "a tile was scored twice"
    );
    tiles.iter().try_for_each(|(idx, scores)| check(*idx, scores))?;
    let mut patches = Vec::with_capacity(tiles.iter().map(|(_, scores)| scores.distances.len()).sum());
    for (idx, scores) in &tiles {
        push_patches(&mut patches, layout.tiles[*idx], scores);
    }
    let map = match &tiles[..] {
        [(idx, scores)] if is_whole(layout, layout.tiles[*idx]) => whole(layout, scores, blur_sigma_map_px),
        _ => blended(layout, &tiles, blur_sigma_map_px),
    };
    Ok((map, patches))
}

/// Whether a tile is the whole map.
fn is_whole(layout: &FrameLayout, tile: RectPx) -> bool {
    (tile.x, tile.y) == (0, 0)
        && [tile.width, tile.height].map(|px| px as usize) == [layout.map_width, layout.map_height]
}

/// The map of a frame that is one tile: there is nothing to blend, and both steps are one.
fn whole(layout: &FrameLayout, scores: &PatchScores, sigma_map_px: f32) -> AnomalyMap {
    let (height, width) = (layout.map_height, layout.map_width);
    let map = resize_blurred(
        scores.height,
        scores.width,
        &scores.distances,
        height,
        width,
        sigma_map_px,
    );
    AnomalyMap::new(height, width, map)
}

fn blended(layout: &FrameLayout, tiles: &[&(usize, PatchScores)], sigma_map_px: f32) -> AnomalyMap {
    let mut blend = Blend::new(layout);
    for (idx, scores) in tiles {
        blend.add(*idx, scores);
    }
    blend.smoothed(sigma_map_px)
}

fn check(tile_idx: usize, scores: &PatchScores) -> Result<(), String> {
    let n_patches = scores.height * scores.width;
    assert!(
        n_patches > 0 && scores.distances.len() == n_patches,
        "scores of {n_patches} patches"
    );
    assert!(
        scores.weights.as_ref().is_none_or(|weights| weights.len() == n_patches),
        "weights"
    );
    let weights = scores.weights.iter().flatten();
    match scores.distances.iter().chain(weights).find(|score| !score.is_finite()) {
        Some(score) => Err(format!(
            "the detector gives tile {tile_idx} the score {score}, which is no finite number"
        )),
        None => Ok(()),
    }
}

fn push_patches(patches: &mut Vec<ScoredPatch>, tile: RectPx, scores: &PatchScores) {
    let pitch_x = tile.width as f32 / scores.width as f32;
    let pitch_y = tile.height as f32 / scores.height as f32;
    patches.extend(scores.distances.iter().enumerate().map(|(idx, &distance)| ScoredPatch {
        x_map: tile.x as f32 + ((idx % scores.width) as f32 + 0.5) * pitch_x,
        y_map: tile.y as f32 + ((idx / scores.width) as f32 + 0.5) * pitch_y,
        distance,
        weight: scores.weights.as_ref().map_or(1.0, |weights| weights[idx]),
    }));
}

/// Weighted sums of the tiles' scores over the map.
struct Blend<'a> {
    layout: &'a FrameLayout,
    sums: Vec<f32>,
    weights: Vec<f32>,
}

impl<'a> Blend<'a> {
    fn new(layout: &'a FrameLayout) -> Self {
        let n_pixels = layout.map_width * layout.map_height;
        Self {
            layout,
            sums: vec![0.0; n_pixels],
            weights: vec![0.0; n_pixels],
        }
    }

    fn add(&mut self, tile_idx: usize, scores: &PatchScores) {
        let tile = self.layout.tiles[tile_idx];
        let (width, height) = (tile.width as usize, tile.height as usize);
        let upsampled = resize_bilinear(scores.height, scores.width, 1, &scores.distances, height, width);
        let ramp_x = ramp(
            tile.x,
            tile.width,
            self.layout.tiles.iter().map(|other| (other.x, other.width)),
        );
        let ramp_y = ramp(
            tile.y,
            tile.height,
            self.layout.tiles.iter().map(|other| (other.y, other.height)),
        );
        for (row, weight_y) in upsampled.chunks_exact(width).zip(&ramp_y).enumerate().map(|(y, pair)| {
            let start = (tile.y as usize + y) * self.layout.map_width + tile.x as usize;
            ((start, pair.0), pair.1)
        }) {
            let (start, scores) = row;
            let sums = &mut self.sums[start..start + width];
            let weights = &mut self.weights[start..start + width];
            for (((sum, total), score), weight_x) in sums.iter_mut().zip(weights).zip(scores).zip(&ramp_x) {
                *sum += score * weight_x * weight_y;
                *total += weight_x * weight_y;
            }
        }
    }

    fn smoothed(self, sigma_map_px: f32) -> AnomalyMap {
        let (height, width) = (self.layout.map_height, self.layout.map_width);
        let mut scores = self.sums;
        let mut covered = self.weights;
        for (score, weight) in scores.iter_mut().zip(&mut covered) {
            if *weight > 0.0 {
                *score /= *weight;
                *weight = 1.0;
            }
        }
        let mut smooth = gaussian_blur(height, width, &scores, sigma_map_px);
        if covered.contains(&0.0) {
            let reached = gaussian_blur(height, width, &covered, sigma_map_px);
            for ((score, covered), reached) in smooth.iter_mut().zip(&covered).zip(&reached) {
                *score = if *covered > 0.0 { *score / reached } else { 0.0 };
            }
        }
        AnomalyMap::new(height, width, smooth)
    }
}

/// Blending weights of a tile along one axis: 1, but rising linearly over what it shares with its nearest neighbour on either
/// side. Above 0 everywhere, and 1 up to an edge that has no neighbour.
fn ramp(start: u32, length: u32, tiles: impl Iterator<Item = (u32, u32)>) -> Vec<f32> {
    let end = start + length;
    let (mut shared_before, mut shared_after) = (0, 0);
    for (other, other_length) in tiles {
        // Of several neighbours the nearest shares most.
        if other < start {
            shared_before = shared_before.max((other + other_length).saturating_sub(start));
        }
        if other > start {
            shared_after = shared_after.max(end.saturating_sub(other));
        }
    }
    let rise = |position: u32, shared: u32| match shared {
        0 => 1.0,
        shared => ((position as f32 + 0.5) / shared as f32).min(1.0),
    };
    (0..length)
        .map(|position| rise(position, shared_before).min(rise(length - 1 - position, shared_after)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(width: u32, height: u32, tiles: &[(u32, u32, u32, u32)]) -> FrameLayout {
        FrameLayout {
            frame_width_px: width,
            frame_height_px: height,
            map_width: width as usize,
            map_height: height as usize,
            frame_px_per_map_px: [1.0; 2],
            map_origin_in_frame_px: [0.0; 2],
            tiles: tiles
                .iter()
                .map(|&(x, y, width, height)| RectPx { x, y, width, height })
                .collect(),
        }
    }

    /// 2 × 3 overlapping tiles of 32 over 80 × 50, the last ones flush with the edge.
    fn grid() -> FrameLayout {
        let corners = [0, 18].iter().flat_map(|&y| [0, 24, 48].map(|x| (x, y, 32, 32)));
        layout(80, 50, &corners.collect::<Vec<_>>())
    }

    fn scores(height: usize, width: usize, of: impl Fn(usize, usize) -> f32) -> PatchScores {
        let positions = (0..height * width).map(|idx| of(idx / width, idx % width));
        PatchScores {
            height,
            width,
            distances: positions.collect(),
            weights: None,
            nearest: None,
        }
    }

    #[test]
    fn constant_tiles_give_a_constant_map() {
        let tiles: Vec<_> = (0..6).map(|idx| (idx, scores(8, 8, |_, _| 3.5))).collect();
        let (map, patches) = stitch(&grid(), &tiles, 2.0).unwrap();
        assert_eq!(patches.len(), 6 * 64);
        assert!(map.scores.iter().all(|score| (score - 3.5).abs() < 1e-5));
    }

    #[test]
    fn a_blob_on_a_seam_is_the_same_as_without_tiles() {
        // One patch per pixel, so that upsampling plays no part: every tile sees its crop of one smooth picture.
        let picture = |y: u32, x: u32| (-((x as f32 - 30.0).powi(2) + (y as f32 - 25.0).powi(2)) / 60.0).exp();
        let layout = grid();
        let tiles: Vec<_> = (0..6)
            .map(|idx| {
                let tile = layout.tiles[idx];
                (
                    idx,
                    scores(32, 32, |y, x| picture(tile.y + y as u32, tile.x + x as u32)),
                )
            })
            .collect();
        let (map, _) = stitch(&layout, &tiles, 3.0).unwrap();
        let direct: Vec<f32> = (0..50 * 80).map(|idx| picture(idx / 80, idx % 80)).collect();
        let direct = gaussian_blur(50, 80, &direct, 3.0);
        for (stitched, direct) in map.scores.iter().zip(&direct) {
            assert!((stitched - direct).abs() < 1e-5, "{stitched} {direct}");
        }
    }

    #[test]
    fn tiles_that_disagree_are_blended_without_a_step() {
        let tiles: Vec<_> = (0..6)
            .map(|idx| (idx, scores(4, 4, |_, _| (idx % 3 % 2) as f32)))
            .collect();
        let (map, _) = stitch(&grid(), &tiles, 0.0).unwrap();
        let row = &map.scores[..80];
        let steps = row.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        assert!(steps.fold(0.0, f32::max) < 1.0 / 7.0, "overlaps are 8 wide: {row:?}");
        assert_eq!((row[0], row[79]), (0.0, 0.0));
        assert!((row[40] - 1.0).abs() < 1e-6, "{}", row[40]);
    }

    #[test]
    fn the_order_of_tiles_does_not_matter() {
        let tile = |idx: usize| {
            (
                idx,
                scores(5, 7, |y, x| ((idx * 31 + y * 7 + x * 3) % 17) as f32 * 0.37),
            )
        };
        let forwards: Vec<_> = (0..6).map(tile).collect();
        let backwards: Vec<_> = (0..6).rev().map(tile).collect();
        assert_eq!(
            stitch(&grid(), &forwards, 2.0).unwrap(),
            stitch(&grid(), &backwards, 2.0).unwrap()
        );
    }

    #[test]
    fn skipped_tiles_are_zero_and_do_not_dilute_their_neighbours() {
        let layout = layout(60, 20, &[(0, 0, 20, 20), (20, 0, 20, 20), (40, 0, 20, 20)]);
        let tiles = [(1, scores(4, 4, |_, _| 2.0)), (2, scores(4, 4, |_, _| 2.0))];
        let (map, patches) = stitch(&layout, &tiles, 4.0).unwrap();
        for (idx, score) in map.scores.iter().enumerate() {
            let expected = if idx % 60 < 20 { 0.0 } else { 2.0 };
            assert!((score - expected).abs() < 1e-5, "column {}: {score}", idx % 60);
        }
        assert!(patches.iter().all(|patch| patch.x_map > 20.0));
        let (nothing, patches) = stitch(&layout, &[], 4.0).unwrap();
        assert!(nothing.scores.iter().all(|&score| score == 0.0) && patches.is_empty());
    }

    #[test]
    fn a_tile_that_is_the_whole_map_is_as_if_it_were_blended() {
        let layout = layout(64, 48, &[(0, 0, 64, 48)]);
        let tile = (0, scores(7, 9, |y, x| ((y * 5 + x * 3) % 11) as f32 * 0.4));
        let (map, _) = stitch(&layout, std::slice::from_ref(&tile), 4.0).unwrap();
        let expected = blended(&layout, &[&tile], 4.0);
        for (found, expected) in map.scores.iter().zip(&expected.scores) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn one_global_score_fills_the_map() {
        let layout = layout(16, 12, &[(0, 0, 16, 12)]);
        let (map, patches) = stitch(&layout, &[(0, scores(1, 1, |_, _| 1.25))], 4.0).unwrap();
        assert!(map.scores.iter().all(|score| (score - 1.25).abs() < 1e-5));
        let centre = ScoredPatch {
            x_map: 8.0,
            y_map: 6.0,
            distance: 1.25,
            weight: 1.0,
        };
        assert_eq!(patches, [centre]);
    }

    #[test]
    fn patches_carry_their_centres_and_weights() {
        let layout = layout(40, 20, &[(0, 0, 20, 20), (20, 0, 20, 20)]);
        let mut weighted = scores(2, 2, |y, x| (2 * y + x) as f32);
        weighted.weights = Some(vec![0.1, 0.2, 0.3, 0.4]);
        let (_, patches) = stitch(&layout, &[(1, weighted)], 0.0).unwrap();
        let found: Vec<_> = patches
            .iter()
            .map(|p| (p.x_map, p.y_map, p.distance, p.weight))
            .collect();
        let expected = [
            (25.0, 5.0, 0.0, 0.1),
            (35.0, 5.0, 1.0, 0.2),
            (25.0, 15.0, 2.0, 0.3),
            (35.0, 15.0, 3.0, 0.4),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_score_that_is_not_a_number_is_an_error_not_a_pass() {
        let layout = layout(16, 16, &[(0, 0, 16, 16)]);
        for bad in [f32::NAN, f32::INFINITY] {
            let tiles = [(0, scores(2, 2, |y, x| if y + x == 2 { bad } else { 1.0 }))];
            assert!(stitch(&layout, &tiles, 1.0).unwrap_err().contains("no finite number"));
        }
    }
}
