//! From the scores of a frame's pixels and patches to one image score.

use std::borrow::Cow;

use super::inspected::InspectedArea;
use super::stitch::{FrameScores, ScoredPatch};
use crate::detector::{FrameStatistics, ImageScore, Recipe};
use crate::{AnomalyMap, Mask, Truth};

/// The image score over the pixels of `allowed`; 0 where nothing is allowed.
///
/// `Max` and `TopMean` look at the smoothed map (fewer allowed pixels than n: the mean of all), `Reweighted` at the patches
/// whose centre is allowed: the weight times the distance of the one with the highest distance (of equal ones the first).
/// Panics where map and mask differ in size (a bug of ours).
pub fn image_score(map: &AnomalyMap, patches: &[ScoredPatch], allowed: &Mask, how: ImageScore) -> f32 {
    evidence(map, patches, allowed, how).map_or(0.0, |evidence| evidence.score)
}

/// What calibration needs of a held-out frame: over the area that is inspected, before any region is suppressed.
pub fn frame_statistics(scores: &FrameScores, recipe: &Recipe, truth: Truth) -> FrameStatistics {
    let inspected = InspectedArea::new(&scores.layout, scores.product_px, &recipe.suppression).mask;
    let patches = patches_of(scores, &inspected);
    let of = |how| image_score(&scores.map, &patches, &inspected, how);
    FrameStatistics {
        image_score: of(recipe.image_score),
        map_max: of(ImageScore::Max),
        map_median: median(&mut allowed_scores(&scores.map, &inspected)),
        truth,
    }
}

/// The patches that speak for what is inspected: all where the centre of at least one is inspected. Otherwise the area is
/// smaller than a patch, or lies between the centres; then each patch within one patch of it is moved to the inspected pixel
/// nearest to it (of equally near ones the first), or a defect there would be seen by none.
pub(super) fn patches_of<'a>(scores: &'a FrameScores, inspected: &Mask) -> Cow<'a, [ScoredPatch]> {
    let is_inspected = |patch| pixel_of(patch, &scores.map).is_some_and(|idx| inspected.bits[idx]);
    if scores.patches.iter().any(is_inspected) || !inspected.bits.contains(&true) {
        return Cow::Borrowed(&scores.patches);
    }
    let reach = patch_pitch_map_px(&scores.patches).ceil() as usize;
    let moved = |patch| {
        let [x_map, y_map] = nearest_inspected(patch, inspected, reach)?;
        Some(ScoredPatch { x_map, y_map, ..*patch })
    };
    scores.patches.iter().filter_map(moved).collect()
}

/// Centre of the inspected pixel nearest to a patch, at most `reach` pixels away along either axis.
fn nearest_inspected(patch: &ScoredPatch, inspected: &Mask, reach: usize) -> Option<[f32; 2]> {
    let around = |centre: f32, len: usize| {
        let pixel = (centre.max(0.0) as usize).min(len - 1);
        pixel.saturating_sub(reach)..(pixel + reach + 1).min(len)
    };
    let columns = around(patch.x_map, inspected.width);
    let pixels = around(patch.y_map, inspected.height).flat_map(|y| columns.clone().map(move |x| (y, x)));
    pixels
        .filter(|(y, x)| inspected.bits[y * inspected.width + x])
        .map(|(y, x)| [x as f32 + 0.5, y as f32 + 0.5])
        .min_by(|left, right| {
            let away = |[x, y]: &[f32; 2]| (x - patch.x_map).powi(2) + (y - patch.y_map).powi(2);
            away(left).total_cmp(&away(right))
        })
}

/// Map pixels between neighbouring patches: the larger of the two directions; 0 where there is one patch.
pub(super) fn patch_pitch_map_px(patches: &[ScoredPatch]) -> f32 {
    let first = patches.first();
    let beside = patches.windows(2).find(|pair| pair[0].y_map == pair[1].y_map);
    let across = beside.map_or(0.0, |pair| pair[1].x_map - pair[0].x_map);
    let below = first.and_then(|first| patches.iter().find(|patch| patch.y_map > first.y_map));
    let down = first.zip(below).map_or(0.0, |(first, below)| below.y_map - first.y_map);
    across.max(down).max(0.0)
}

/// An image score and the map pixel it came from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    pub(super) score: f32,
    pub(super) map_idx: usize,
}

pub(super) fn evidence(map: &AnomalyMap, patches: &[ScoredPatch], allowed: &Mask, how: ImageScore) -> Option<Evidence> {
    assert_eq!((map.height, map.width), (allowed.height, allowed.width), "map and mask");
    match how {
        ImageScore::Max => highest_pixel(map, allowed),
        ImageScore::TopMean(n) => highest_pixel(map, allowed).map(|highest| Evidence {
            score: top_mean(allowed_scores(map, allowed), n),
            ..highest
        }),
        ImageScore::Reweighted => highest_patch(map, patches, allowed),
    }
}

/// Pixels that are passed over at once where none is higher.
const STRIDE: usize = 64;

fn highest_pixel(map: &AnomalyMap, allowed: &Mask) -> Option<Evidence> {
    let mut best: Option<Evidence> = None;
    let strides = map.scores.chunks(STRIDE).zip(allowed.bits.chunks(STRIDE));
    for (first, (scores, allowed)) in (0..).step_by(STRIDE).zip(strides) {
        let at_most = best.map_or(f32::NEG_INFINITY, |best| best.score);
        let pixels = scores.iter().zip(allowed);
        // Without an early end, so that the compiler looks at many at once.
        if !pixels
            .clone()
            .fold(false, |any, (score, allowed)| any | (allowed & (*score > at_most)))
        {
            continue;
        }
        for (at, (&score, _)) in pixels.enumerate().filter(|(_, (_, allowed))| **allowed) {
            if best.is_none_or(|best| score > best.score) {
                best = Some(Evidence {
                    score,
                    map_idx: first + at,
                });
            }
        }
    }
    best
}

fn highest_patch(map: &AnomalyMap, patches: &[ScoredPatch], allowed: &Mask) -> Option<Evidence> {
    let mut best: Option<(&ScoredPatch, usize)> = None;
    for patch in patches {
        let map_idx = pixel_of(patch, map);
        let higher = best.is_none_or(|(best, _)| patch.distance > best.distance);
        if higher && map_idx.is_some_and(|idx| allowed.bits[idx]) {
            best = map_idx.map(|idx| (patch, idx));
        }
    }
    best.map(|(patch, map_idx)| Evidence {
        score: patch.weight * patch.distance,
        map_idx,
    })
}

/// The map pixel that holds the patch's centre; none for an empty map.
fn pixel_of(patch: &ScoredPatch, map: &AnomalyMap) -> Option<usize> {
    let x = (patch.x_map.max(0.0) as usize).min(map.width.checked_sub(1)?);
    let y = (patch.y_map.max(0.0) as usize).min(map.height.checked_sub(1)?);
    Some(y * map.width + x)
}

fn allowed_scores(map: &AnomalyMap, allowed: &Mask) -> Vec<f32> {
    let pixels = map.scores.iter().zip(&allowed.bits);
    pixels
        .filter(|(_, allowed)| **allowed)
        .map(|(&score, _)| score)
        .collect()
}

/// Mean of the n highest scores, of which there is at least one.
fn top_mean(mut scores: Vec<f32>, n: usize) -> f32 {
    let n = n.clamp(1, scores.len());
    scores.select_nth_unstable_by(n - 1, |left, right| right.total_cmp(left));
    scores.truncate(n);
    // The selection leaves the top in an unstated order, and a sum depends on it.
    scores.sort_by(f32::total_cmp);
    (scores.iter().map(|&score| f64::from(score)).sum::<f64>() / n as f64) as f32
}

/// The lower median; 0 of nothing.
fn median(scores: &mut [f32]) -> f32 {
    match scores.len() {
        0 => 0.0,
        n => *scores.select_nth_unstable_by((n - 1) / 2, f32::total_cmp).1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RectPx;
    use crate::imaging::FrameLayout;

    fn patch(x_map: f32, y_map: f32, distance: f32, weight: f32) -> ScoredPatch {
        ScoredPatch {
            x_map,
            y_map,
            distance,
            weight,
        }
    }

    fn row(scores: &[f32]) -> AnomalyMap {
        AnomalyMap::new(1, scores.len(), scores.to_vec())
    }

    #[test]
    fn maximum_and_top_mean_look_at_allowed_pixels_only() {
        let map = row(&[9.0, 4.0, 1.0, 6.0, 8.0]);
        let allowed = Mask::new(1, 5, vec![false, true, true, true, false]);
        let score = |how| image_score(&map, &[], &allowed, how);
        assert_eq!(score(ImageScore::Max), 6.0);
        assert_eq!(score(ImageScore::TopMean(2)), 5.0);
        assert_eq!(score(ImageScore::TopMean(100)), 11.0 / 3.0);
        assert_eq!(score(ImageScore::TopMean(0)), 6.0);
    }

    #[test]
    fn top_mean_matches_sorting() {
        let mut state = 1_u64;
        for round in 1..200 {
            let scores: Vec<f32> = (0..round)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((state >> 40) % 97) as f32 * 0.13
                })
                .collect();
            let mut sorted = scores.clone();
            sorted.sort_by(|left, right| right.total_cmp(left));
            let n = 1 + round % 7;
            let top = &sorted[..n.min(sorted.len())];
            let expected = top.iter().map(|&score| f64::from(score)).sum::<f64>() / top.len() as f64;
            let found = image_score(
                &row(&scores),
                &[],
                &Mask::filled(1, round, true),
                ImageScore::TopMean(n),
            );
            assert!((f64::from(found) - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn reweighted_takes_the_weight_of_the_highest_allowed_distance() {
        let map = row(&[0.0; 8]);
        let mut allowed = Mask::filled(1, 8, true);
        let patches = [
            patch(1.0, 0.5, 5.0, 0.9),
            patch(3.0, 0.5, 7.0, 0.5),
            patch(5.0, 0.5, 7.0, 1.0),
        ];
        let score = |allowed: &Mask| image_score(&map, &patches, allowed, ImageScore::Reweighted);
        assert_eq!(score(&allowed), 3.5, "of equal distances the first");
        allowed.bits[3] = false;
        assert_eq!(score(&allowed), 7.0);
        allowed.bits[5] = false;
        assert_eq!(score(&allowed), 4.5);
    }

    fn scores(width: usize, patches: Vec<ScoredPatch>) -> FrameScores {
        let whole = RectPx {
            x: 0,
            y: 0,
            width: width as u32,
            height: width as u32,
        };
        FrameScores {
            layout: FrameLayout {
                frame_width_px: whole.width,
                frame_height_px: whole.height,
                map_width: width,
                map_height: width,
                frame_px_per_map_px: [1.0; 2],
                map_origin_in_frame_px: [0.0; 2],
                tiles: vec![whole],
            },
            map: AnomalyMap::new(width, width, vec![0.0; width * width]),
            patches,
            product_px: whole,
            nearest: Vec::new(),
        }
    }

    #[test]
    fn an_area_between_the_patch_centres_is_seen_by_the_patches_around_it() {
        let patches: Vec<_> = [(4.0, 4.0, 1.0), (12.0, 4.0, 2.0), (4.0, 12.0, 3.0), (12.0, 12.0, 9.0)]
            .map(|(x, y, distance)| patch(x, y, distance, 1.0))
            .to_vec();
        let scores = scores(16, patches.clone());
        let of = |pixels: &[(usize, usize)]| {
            let mut inspected = Mask::filled(16, 16, false);
            pixels.iter().for_each(|(x, y)| inspected.bits[y * 16 + x] = true);
            let patches = patches_of(&scores, &inspected);
            image_score(&scores.map, &patches, &inspected, ImageScore::Reweighted)
        };
        assert_eq!(
            of(&[(4, 4), (11, 11)]),
            1.0,
            "a centre is inspected: the others stay where they are"
        );
        assert_eq!(of(&[(7, 7)]), 9.0);
        assert_eq!(
            of(&[(0, 5)]),
            3.0,
            "the patches on the right are more than a patch away"
        );
        assert_eq!(of(&[]), 0.0);
        for (x, y) in (0..16).flat_map(|y| (0..16).map(move |x| (x, y))) {
            assert!(of(&[(x, y)]) > 0.0, "{x},{y}");
        }
    }

    #[test]
    fn the_pitch_is_that_of_the_coarser_direction() {
        let at = |centres: &[(f32, f32)]| {
            let patches: Vec<_> = centres.iter().map(|&(x, y)| patch(x, y, 1.0, 1.0)).collect();
            patch_pitch_map_px(&patches)
        };
        assert_eq!(at(&[(2.0, 4.0), (6.0, 4.0), (2.0, 12.0), (6.0, 12.0)]), 8.0);
        assert_eq!(at(&[(4.0, 4.0), (4.0, 12.0)]), 8.0, "one column");
        assert_eq!(at(&[(4.0, 4.0)]), 0.0);
        assert_eq!(at(&[]), 0.0);
    }

    #[test]
    fn nothing_allowed_scores_zero() {
        let map = row(&[3.0; 4]);
        for how in [ImageScore::Max, ImageScore::TopMean(2), ImageScore::Reweighted] {
            assert_eq!(
                image_score(&map, &[patch(1.0, 0.5, 5.0, 1.0)], &Mask::filled(1, 4, false), how),
                0.0
            );
            assert_eq!(
                image_score(&row(&[]), &[patch(1.0, 0.5, 5.0, 1.0)], &Mask::filled(1, 0, true), how),
                0.0
            );
        }
    }

    #[test]
    fn a_centre_on_the_edge_belongs_to_the_last_pixel() {
        let evidence = evidence(
            &row(&[0.0; 4]),
            &[patch(4.0, 1.0, 2.0, 1.0)],
            &Mask::filled(1, 4, true),
            ImageScore::Reweighted,
        );
        assert_eq!(evidence, Some(Evidence { score: 2.0, map_idx: 3 }));
    }
}
