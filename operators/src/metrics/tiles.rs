//! How well single tiles of large frames are told apart.

use serde::{Deserialize, Serialize};

use super::{auroc, recall_at_false_reject_rate};

/// Share of normal tiles that may be rejected in the recalls of [`TileMetrics`].
pub const TILE_FALSE_REJECT_RATE: f64 = 0.01;

/// A tile with more defective pixels than this shows its defect, where one that holds a corner of it need not: the smallest
/// defects of the AITEX set have about as many.
pub const CLEARLY_DEFECTIVE_PX: u64 = 20;

/// One inspected tile of a labelled frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluatedTile {
    /// The highest inspected pixel of the anomaly map in it.
    pub score: f32,
    /// Inspected pixels in it that the truth marks.
    pub defective_px: u64,
}

/// What the anomaly maps say of single tiles. In the first two figures a tile is defective when the truth marks any pixel in
/// it; in those of clearly defective tiles, tiles with 1 to [`CLEARLY_DEFECTIVE_PX`] marked pixels are left out. A figure is
/// `None` where there are not both kinds of tiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileMetrics {
    /// Tiles that were inspected.
    pub tiles: usize,
    /// Those of them in which the truth marks a pixel.
    pub defective_tiles: usize,
    /// How well the scores rank defective tiles above the others.
    pub tile_auroc: Option<f64>,
    /// Share of defective tiles found at the threshold that rejects 1 % of the others.
    pub tile_recall_at_1_percent_false_rejects: Option<f64>,
    /// Tiles with more than [`CLEARLY_DEFECTIVE_PX`] marked pixels.
    pub clearly_defective_tiles: usize,
    /// [`Self::tile_auroc`] of the clearly defective tiles and those without a defect.
    pub clear_tile_auroc: Option<f64>,
    /// The recall of the clearly defective tiles.
    pub clear_tile_recall_at_1_percent_false_rejects: Option<f64>,
}

impl TileMetrics {
    /// Measures tiles, in any order; `None` without any.
    pub fn of(tiles: &[EvaluatedTile]) -> Option<Self> {
        let any = Ranking::of(tiles.iter());
        let clear = |tile: &&EvaluatedTile| tile.defective_px == 0 || tile.defective_px > CLEARLY_DEFECTIVE_PX;
        let clear = Ranking::of(tiles.iter().filter(clear));
        (!tiles.is_empty()).then_some(Self {
            tiles: tiles.len(),
            defective_tiles: any.defective,
            tile_auroc: any.auroc,
            tile_recall_at_1_percent_false_rejects: any.recall,
            clearly_defective_tiles: clear.defective,
            clear_tile_auroc: clear.auroc,
            clear_tile_recall_at_1_percent_false_rejects: clear.recall,
        })
    }
}

struct Ranking {
    defective: usize,
    auroc: Option<f64>,
    recall: Option<f64>,
}

impl Ranking {
    fn of<'a>(tiles: impl Iterator<Item = &'a EvaluatedTile>) -> Self {
        let (scores, defective): (Vec<f32>, Vec<bool>) = tiles.map(|tile| (tile.score, tile.defective_px > 0)).unzip();
        Self {
            defective: defective.iter().filter(|&&defective| defective).count(),
            auroc: auroc(&scores, &defective),
            recall: recall_at_false_reject_rate(&scores, &defective, TILE_FALSE_REJECT_RATE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_with_a_corner_of_a_defect_count_in_the_first_figures_only() {
        let tile = |score, defective_px| EvaluatedTile { score, defective_px };
        let mut tiles: Vec<_> = (0..100).map(|score| tile(score as f32, 0)).collect();
        tiles.extend([tile(-1.0, 20), tile(98.5, 21), tile(200.0, 400)]);
        let found = TileMetrics::of(&tiles).unwrap();
        assert_eq!(
            (found.tiles, found.defective_tiles, found.clearly_defective_tiles),
            (103, 3, 2)
        );
        assert_eq!(found.tile_auroc, Some((0.0 + 99.0 + 100.0) / 300.0));
        assert_eq!(found.clear_tile_auroc, Some((99.0 + 100.0) / 200.0));
        assert_eq!(found.tile_recall_at_1_percent_false_rejects, Some(2.0 / 3.0));
        assert_eq!(found.clear_tile_recall_at_1_percent_false_rejects, Some(1.0));
        assert_eq!(TileMetrics::of(&[]), None);
    }
}
