//! Which rows of a memory bank are nearest to what was found in a frame: the normal patches that it is least unlike.

use super::image_score::{evidence, patches_of};
use super::inspected::InspectedArea;
use super::stitch::{FrameScores, ScoredPatch};
use crate::detector::{PatchScores, Recipe, ScoreScale};
use crate::{RectPx, Region, fixed_point};

/// Regions of a frame that are compared: the strongest, as many as one looks at.
pub const NEAREST_MAX: usize = 3;

/// The rows of the memory bank nearest to the patches of one tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileRows {
    tile_idx: usize,
    /// Rows and columns of patches.
    grid: [usize; 2],
    rows: Vec<u32>,
}

impl TileRows {
    /// Those of the tiles of a frame, of a scorer with a memory bank; of other scorers none.
    pub fn of(tiles: &[(usize, PatchScores)]) -> Vec<Self> {
        let of_tile = |(tile_idx, scores): &(usize, PatchScores)| {
            Some(Self {
                tile_idx: *tile_idx,
                grid: [scores.height, scores.width],
                rows: scores.nearest.clone()?,
            })
        };
        tiles.iter().filter_map(of_tile).collect()
    }
}

/// A patch of a frame, and the row of the memory bank nearest to it.
#[derive(Clone, Debug, PartialEq)]
pub struct NearestRow {
    /// Index of the region whose peak the patch is at; none where the frame has no region.
    pub region: Option<usize>,
    /// The patch, frame pixels.
    pub rect_px: RectPx,
    /// Its distance from what is normal: for PatchCore the one to `row`.
    pub distance: f32,
    /// The row.
    pub row: u32,
}

/// The nearest rows of the patches at the peaks of the first [`NEAREST_MAX`] of `regions`, which are those of the frame's verdict; of a
/// frame without regions that of the patch that its image score would come from had nothing been suppressed. `scale` is that of pixels.
pub fn nearest_rows(scores: &FrameScores, regions: &[Region], recipe: &Recipe, scale: &ScoreScale) -> Vec<NearestRow> {
    if scores.nearest.is_empty() {
        return Vec::new();
    }
    let peaks: Vec<(Option<usize>, usize)> = match regions {
        [] => highest(scores, recipe).map(|peak| (None, peak)).into_iter().collect(),
        regions => (0..regions.len().min(NEAREST_MAX))
            .filter_map(|idx| Some((Some(idx), peak_of(&regions[idx], scores, scale)?)))
            .collect(),
    };
    peaks
        .into_iter()
        .filter_map(|(region, map_idx)| {
            let (patch, tile, patch_idx) = patch_at(map_idx, scores)?;
            Some(NearestRow {
                region,
                rect_px: scores.layout.patch_rect_to_frame(tile.tile_idx, tile.grid, patch_idx),
                distance: patch.distance,
                row: tile.rows[patch_idx],
            })
        })
        .collect()
}

/// Where to look first, frame pixels: the middle of the strongest of `regions`, which are those of the frame's verdict; in a frame without
/// regions, the place that its image score would come from had nothing been suppressed.
pub fn strongest_point(scores: &FrameScores, regions: &[Region], recipe: &Recipe) -> Option<[f64; 2]> {
    if let Some(strongest) = regions.first() {
        return Some(strongest.centroid_px);
    }
    let (map_idx, width) = (highest(scores, recipe)?, scores.map.width);
    let at = [(map_idx % width) as f64, (map_idx / width) as f64];
    Some(scores.layout.map_point_to_frame(at))
}

/// The map pixel that the image score comes from.
fn highest(scores: &FrameScores, recipe: &Recipe) -> Option<usize> {
    let inspected = InspectedArea::new(&scores.layout, scores.product_px, &recipe.suppression).mask;
    let patches = patches_of(scores, &inspected);
    evidence(&scores.map, &patches, &inspected, recipe.image_score).map(|evidence| evidence.map_idx)
}

/// The highest map pixel within a region's rectangle that is not above the region's peak, as pixels of others may be.
fn peak_of(region: &Region, scores: &FrameScores, scale: &ScoreScale) -> Option<usize> {
    let (layout, width) = (&scores.layout, scores.map.width);
    let bbox = region.bbox_px;
    let is_inside = |at: f64, start: u32, len: u32| (f64::from(start)..f64::from(start) + f64::from(len)).contains(&at);
    let mut peak: Option<usize> = None;
    for (map_idx, &score) in scores.map.scores.iter().enumerate() {
        let [x, y] = layout.map_point_to_frame([(map_idx % width) as f64, (map_idx / width) as f64]);
        let is_higher = peak.is_none_or(|peak| score > scores.map.scores[peak]);
        if is_higher
            && is_inside(x + 0.5, bbox.x, bbox.width)
            && is_inside(y + 0.5, bbox.y, bbox.height)
            && fixed_point(scale.calibrated(score) as f32) <= region.peak
        {
            peak = Some(map_idx);
        }
    }
    peak
}

/// The patch whose centre is nearest to that of a map pixel (of equally near ones the first), in its tile.
fn patch_at(map_idx: usize, scores: &FrameScores) -> Option<(&ScoredPatch, &TileRows, usize)> {
    let (x, y) = (map_idx % scores.map.width, map_idx / scores.map.width);
    let away = |patch: &ScoredPatch| (patch.x_map - x as f32 - 0.5).powi(2) + (patch.y_map - y as f32 - 0.5).powi(2);
    let places = scores
        .nearest
        .iter()
        .flat_map(|tile| (0..tile.rows.len()).map(move |patch_idx| (tile, patch_idx)));
    let placed = scores.patches.iter().zip(places);
    let nearest = placed.min_by(|(left, _), (right, _)| away(left).total_cmp(&away(right)));
    nearest.map(|(patch, (tile, patch_idx))| (patch, tile, patch_idx))
}

#[cfg(test)]
mod tests {
    use super::super::suppress::tests::{calibration, recipe};
    use super::*;
    use crate::detector::{ImageScore, SuppressionRules};
    use crate::imaging::FrameLayout;
    use crate::postprocess::{stitch, suppress};

    const ROWS: usize = 12;
    const COLUMNS: usize = 8;

    /// A frame of two tiles side by side, 4 map pixels and 8 frame pixels a patch: distance 1 but where `hot` says otherwise, and a row of
    /// the bank for each patch of each tile.
    fn scores(hot: &[(usize, usize, f32)]) -> FrameScores {
        let tile = |x| RectPx {
            x,
            y: 0,
            width: 32,
            height: 48,
        };
        let layout = FrameLayout {
            frame_width_px: 128,
            frame_height_px: 96,
            map_width: 64,
            map_height: 48,
            frame_px_per_map_px: [2.0; 2],
            map_origin_in_frame_px: [0.0; 2],
            tiles: vec![tile(0), tile(32)],
        };
        let n_patches = ROWS * COLUMNS;
        let tiles = [0, 1].map(|tile_idx| {
            let mut distances = vec![1.0; n_patches];
            for &(_, patch_idx, distance) in hot.iter().filter(|(tile, ..)| *tile == tile_idx) {
                distances[patch_idx] = distance;
            }
            let rows = (0..n_patches).map(|patch_idx| (tile_idx * n_patches + patch_idx) as u32);
            let scores = PatchScores {
                height: ROWS,
                width: COLUMNS,
                distances,
                weights: None,
                nearest: Some(rows.collect()),
            };
            (tile_idx, scores)
        });
        let (map, patches) = stitch(&layout, &tiles, 0.0).unwrap();
        FrameScores {
            product_px: RectPx {
                x: 0,
                y: 0,
                width: 128,
                height: 96,
            },
            nearest: TileRows::of(&tiles),
            layout,
            map,
            patches,
        }
    }

    fn found(scores: &FrameScores, how: ImageScore, rules: SuppressionRules) -> Vec<(Option<usize>, u32, RectPx)> {
        let recipe = recipe(how, rules);
        let findings = suppress(scores, &recipe, &calibration(), None);
        nearest_rows(scores, &findings.regions, &recipe, &calibration().pixel)
            .into_iter()
            .map(|nearest| (nearest.region, nearest.row, nearest.rect_px))
            .collect()
    }

    fn cell(x: u32, y: u32) -> RectPx {
        RectPx {
            x,
            y,
            width: 8,
            height: 8,
        }
    }

    #[test]
    fn one_looks_first_where_the_score_comes_from() {
        for (hot, expected) in [
            // Of patches of 8 frame pixels, that in row 11 and column 7 of the second tile, and the one in row 2 and column 5 of the first.
            (vec![(0, 21, 6.0), (1, 95, 9.0)], [64.0 + 60.0, 92.0]),
            (vec![(0, 21, 1.5)], [44.0, 20.0]),
        ] {
            let (scores, recipe) = (scores(&hot), recipe(ImageScore::Max, SuppressionRules::default()));
            let regions = suppress(&scores, &recipe, &calibration(), None).regions;
            assert_eq!(regions.is_empty(), hot.len() == 1);
            let [x, y] = strongest_point(&scores, &regions, &recipe).unwrap();
            assert!(
                (x - expected[0]).abs() < 4.0 && (y - expected[1]).abs() < 4.0,
                "{x}, {y}"
            );
        }
    }

    #[test]
    fn the_strongest_regions_name_the_row_at_their_peak() {
        let scores = scores(&[(0, 18, 4.0), (0, 21, 6.0), (0, 22, 5.0), (1, 0, 3.0), (1, 95, 9.0)]);
        let expected = [
            (Some(0), 96 + 95, cell(64 + 56, 88)),
            (Some(1), 21, cell(40, 16)),
            (Some(2), 18, cell(16, 16)),
        ];
        for how in [ImageScore::Max, ImageScore::Reweighted] {
            assert_eq!(found(&scores, how, SuppressionRules::default()), expected);
        }
    }

    #[test]
    fn a_weaker_region_around_a_stronger_one_names_its_own_row() {
        let ring = (0..5).flat_map(|y| (0..5).map(move |x| (x, y)));
        let ring = ring.filter(|&(x, y)| [0, 4].contains(&x) || [0, 4].contains(&y));
        let mut hot: Vec<_> = ring.map(|(x, y)| (0, (y + 2) * COLUMNS + x + 1, 3.0)).collect();
        hot.push((0, 4 * COLUMNS + 3, 8.0));
        hot.push((0, 2 * COLUMNS + 5, 3.5));
        let found = found(&scores(&hot), ImageScore::Max, SuppressionRules::default());
        let rows: Vec<u32> = found.iter().map(|(_, row, _)| *row).collect();
        assert_eq!(rows, [4 * 8 + 3, 2 * 8 + 5]);
    }

    #[test]
    fn a_frame_without_regions_names_its_highest_inspected_patch() {
        let scores = scores(&[(0, 0, 1.9), (0, 42, 1.5)]);
        let rules = |border_px| SuppressionRules {
            border_px,
            ..SuppressionRules::default()
        };
        for how in [ImageScore::Max, ImageScore::Reweighted] {
            assert_eq!(found(&scores, how, rules(0)), [(None, 0, cell(0, 0))]);
            assert_eq!(found(&scores, how, rules(8)), [(None, 42, cell(16, 40))]);
        }
    }

    #[test]
    fn scorers_without_a_bank_name_none() {
        let without = FrameScores {
            nearest: Vec::new(),
            ..scores(&[(0, 18, 4.0)])
        };
        assert_eq!(found(&without, ImageScore::Max, SuppressionRules::default()), []);
    }
}
