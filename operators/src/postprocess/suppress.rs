//! Decides which regions of an anomaly map count, by stated rules; what does not count is kept with its reason.

use super::components::{Components, components, hysteresis_components};
use super::image_score::{Evidence, evidence, patch_pitch_map_px, patches_of};
use super::inspected::InspectedArea;
use super::measure::measure;
use super::static_artefacts::StaticArtefacts;
use super::stitch::{FrameScores, ScoredPatch};
use crate::detector::{Calibration, ImageScore, Recipe, SuppressionRules};
use crate::{Mask, Region, SuppressedRegion, SuppressionReason};

/// Most regions a verdict lists, and as many suppressed ones: a frame out of focus can have thousands, which nobody reads.
/// The weakest are left out and counted in [`Findings::left_out`]; the image score and [`Findings::counted`] hold them all.
pub const REGIONS_MAX: usize = 100;

/// Rounds in which a region is sought for an image score without one. Each round takes away what the rules suppress, and one
/// or two are usual; after the last the region counts, because giving up must not pass a part.
const ROUNDS_MAX: usize = 16;

/// What was found in a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// What counts, strongest peak first, then by place.
    pub regions: Vec<Region>,
    /// What does not count and why, in the same order.
    pub suppressed: Vec<SuppressedRegion>,
    /// Regions beyond [`REGIONS_MAX`] that neither list holds.
    pub left_out: usize,
    /// Whether any pixel of the frame is inspected; without one there is nothing to judge.
    pub inspected: bool,
    /// Image score over what is inspected and not suppressed.
    pub image_score: f32,
    /// The map pixels of the regions that count.
    pub counted: Mask,
}

impl Findings {
    /// What [`StaticArtefacts::observe`] wants to know: every region inside the inspected area, whether it counted or not.
    pub fn candidates(&self) -> Vec<Region> {
        candidates(&self.regions, &self.suppressed)
    }
}

/// [`Findings::candidates`] of a frame whose findings are gone but for what its verdict tells.
pub fn candidates(regions: &[Region], suppressed: &[SuppressedRegion]) -> Vec<Region> {
    let inside = |reason| {
        use SuppressionReason::{BelowMinArea, BelowMinPeak, StaticArtefact};
        matches!(reason, BelowMinArea | BelowMinPeak | StaticArtefact)
    };
    let suppressed = suppressed.iter().filter(|found| inside(found.reason));
    let all = regions.iter().chain(suppressed.map(|found| &found.region));
    let mut all: Vec<Region> = all.cloned().collect();
    all.sort_by(strongest_first);
    all
}

/// Finds the regions of a frame and applies the recipe's suppression rules.
///
/// 1. Regions are the 8-connected components of pixels above the pixel threshold inside the inspected area, extended by
///    hysteresis where the recipe asks for it.
/// 2. Each goes through the rules in order: minimum area, minimum peak, static artefact (`static_places` is the memory of the
///    camera *before* this frame; none turns the rule off). The first that applies is its reason.
/// 3. The image score is taken over the inspected pixels without the suppressed regions. Scores other than `Max` can be
///    raised by the halo that smoothing and neighbouring patches spread around a region without being above the pixel
///    threshold, so there the halo (3 σ of the smoothing and one patch) is taken away as well, save what counts.
/// 4. Where that score exceeds its threshold though no region counts (possible unless the score is `Max`), the region is the
///    component around the pixel where the score came from, down to nine tenths of the way from the normal level to that
///    pixel's score. The same rules apply to it, and step 3 is repeated without it where one does. So a frame is rejected only
///    together with a region that counts.
/// 5. Components above the pixel threshold outside the inspected area are listed with the reason of their place.
pub fn suppress(
    scores: &FrameScores,
    recipe: &Recipe,
    calibration: &Calibration,
    static_places: Option<&StaticArtefacts>,
) -> Findings {
    let inspected = InspectedArea::new(&scores.layout, scores.product_px, &recipe.suppression);
    let mut search = Search::new(scores, recipe, calibration, static_places);
    let labelled = search.components(&inspected.mask);
    let candidates = measure(scores, &labelled, &calibration.pixel);
    let reasons: Vec<_> = candidates
        .iter()
        .map(|candidate| search.rule_against(candidate))
        .collect();
    let mut allowed = inspected.mask.clone();
    search.sort_out(&labelled, candidates, &reasons, &mut allowed);
    let image_score = search.settle_image_score(&patches_of(scores, &inspected.mask), &mut allowed);
    search.list_outside(&inspected);
    search.finish(inspected.mask.bits.contains(&true), image_score)
}

/// One frame's search for regions.
struct Search<'a> {
    scores: &'a FrameScores,
    rules: &'a SuppressionRules,
    how: ImageScore,
    calibration: &'a Calibration,
    static_places: Option<&'a StaticArtefacts>,
    halo_map_px: usize,
    regions: Vec<Region>,
    suppressed: Vec<SuppressedRegion>,
    counted: Mask,
}

impl<'a> Search<'a> {
    fn new(
        scores: &'a FrameScores,
        recipe: &'a Recipe,
        calibration: &'a Calibration,
        static_places: Option<&'a StaticArtefacts>,
    ) -> Self {
        let halo_map_px = match recipe.image_score {
            // Every pixel above the threshold is in some region, so what remains of the halo cannot reject.
            ImageScore::Max => 0,
            ImageScore::TopMean(_) | ImageScore::Reweighted => {
                (3.0 * recipe.blur_sigma_map_px() + patch_pitch_map_px(&scores.patches)).ceil() as usize
            }
        };
        Self {
            scores,
            rules: &recipe.suppression,
            how: recipe.image_score,
            calibration,
            static_places: static_places.filter(|_| recipe.suppression.static_artefacts),
            halo_map_px,
            regions: Vec::new(),
            suppressed: Vec::new(),
            counted: Mask::filled(scores.map.height, scores.map.width, false),
        }
    }

    fn components(&self, allowed: &Mask) -> Components {
        let high = self.calibration.pixel.highest_passing();
        let low = match self.rules.hysteresis_low {
            Some(low) => self.calibration.pixel.score_at(low),
            None => high.next_up(),
        };
        let map = &self.scores.map;
        hysteresis_components(&map.scores, map.width, map.height, low, high, allowed)
    }

    fn rule_against(&self, region: &Region) -> Option<SuppressionReason> {
        if region.area_px < self.rules.min_area_px {
            return Some(SuppressionReason::BelowMinArea);
        }
        if self.rules.min_peak.is_some_and(|min_peak| region.peak < min_peak) {
            return Some(SuppressionReason::BelowMinPeak);
        }
        let is_static = self.static_places.is_some_and(|places| places.is_static(region));
        is_static.then_some(SuppressionReason::StaticArtefact)
    }

    /// Lists the candidates and takes the pixels of the suppressed ones out of `allowed`.
    fn sort_out(
        &mut self,
        labelled: &Components,
        candidates: Vec<Region>,
        reasons: &[Option<SuppressionReason>],
        allowed: &mut Mask,
    ) {
        let mut removed = Mask::filled(allowed.height, allowed.width, false);
        for run in &labelled.runs {
            let pixels = match reasons[run.label as usize - 1] {
                Some(_) => &mut removed.bits,
                None => &mut self.counted.bits,
            };
            pixels[run.pixels.clone()].fill(true);
        }
        for (region, reason) in candidates.into_iter().zip(reasons) {
            match *reason {
                Some(reason) => self.suppressed.push(SuppressedRegion { region, reason }),
                None => self.regions.push(region),
            }
        }
        if reasons.iter().any(Option::is_some) {
            grow(&mut removed, self.halo_map_px);
            for ((allowed, removed), counted) in allowed.bits.iter_mut().zip(&removed.bits).zip(&self.counted.bits) {
                *allowed &= !removed || *counted;
            }
        }
    }

    /// The image score over `allowed`, and a region for it where it exceeds its threshold without one.
    fn settle_image_score(&mut self, patches: &[ScoredPatch], allowed: &mut Mask) -> f32 {
        let mut round = 0;
        while let Some(found) = evidence(&self.scores.map, patches, allowed, self.how) {
            if !self.regions.is_empty() || !self.calibration.image.exceeds(found.score) {
                return found.score;
            }
            round += 1;
            let (labelled, candidates) = self.around(found, allowed);
            let reason = candidates.first().and_then(|region| self.rule_against(region));
            self.sort_out(&labelled, candidates, &[reason.filter(|_| round < ROUNDS_MAX)], allowed);
        }
        0.0
    }

    /// The component around the pixel that an image score came from, as the only component.
    fn around(&self, found: Evidence, allowed: &Mask) -> (Components, Vec<Region>) {
        let map = &self.scores.map;
        let peak = map.scores[found.map_idx];
        let level = peak - 0.1 * (peak - self.calibration.pixel.normal_level).max(0.0);
        let bits = map
            .scores
            .iter()
            .zip(&allowed.bits)
            .map(|(&score, &allowed)| allowed & (score >= level));
        let mut labelled = components(&Mask::new(map.height, map.width, bits.collect()));
        let of_peak = labelled.runs.iter().find(|run| run.pixels.contains(&found.map_idx));
        let own = of_peak.expect("the peak is allowed and above the level").label;
        labelled.retain(&(1..=labelled.count).map(|label| label == own).collect::<Vec<_>>());
        let candidates = measure(self.scores, &labelled, &self.calibration.pixel);
        (labelled, candidates)
    }

    fn list_outside(&mut self, inspected: &InspectedArea) {
        let above = self.calibration.pixel.highest_passing();
        let pixels = self.scores.map.scores.iter().zip(&inspected.mask.bits);
        // Without an early end, so that the compiler looks at many at once.
        if !pixels.fold(false, |any, (score, inside)| any | (!inside & (*score > above))) {
            return;
        }
        use SuppressionReason::{Border, DarkMargin, OutsideRoi};
        for reason in [OutsideRoi, Border, DarkMargin] {
            let mut pixels = self.scores.map.scores.iter().enumerate();
            if !pixels.any(|(idx, &score)| score > above && inspected.reason_at(idx) == Some(reason)) {
                continue;
            }
            let labelled = self.components(&inspected.excluded_by(reason));
            let found = measure(self.scores, &labelled, &self.calibration.pixel);
            let listed = found.into_iter().map(|region| SuppressedRegion { region, reason });
            self.suppressed.extend(listed);
        }
    }

    fn finish(mut self, inspected: bool, image_score: f32) -> Findings {
        self.regions.sort_by(strongest_first);
        self.suppressed
            .sort_by(|left, right| strongest_first(&left.region, &right.region).then(left.reason.cmp(&right.reason)));
        let beyond = |n: usize| n.saturating_sub(REGIONS_MAX);
        let left_out = beyond(self.regions.len()) + beyond(self.suppressed.len());
        self.regions.truncate(REGIONS_MAX);
        self.suppressed.truncate(REGIONS_MAX);
        Findings {
            regions: self.regions,
            suppressed: self.suppressed,
            left_out,
            inspected,
            image_score,
            counted: self.counted,
        }
    }
}

fn strongest_first(left: &Region, right: &Region) -> std::cmp::Ordering {
    let place = || (left.bbox_px, left.area_px).cmp(&(right.bbox_px, right.area_px));
    right.peak.total_cmp(&left.peak).then_with(place)
}

/// Sets every pixel within `radius` of a set one, in both directions (a square neighbourhood).
fn grow(mask: &mut Mask, radius: usize) {
    if radius == 0 || mask.bits.is_empty() {
        return;
    }
    let (height, width) = (mask.height, mask.width);
    for row in mask.bits.chunks_exact_mut(width) {
        grow_line(row, radius);
    }
    let mut column = vec![false; height];
    for x in 0..width {
        (0..height).for_each(|y| column[y] = mask.bits[y * width + x]);
        grow_line(&mut column, radius);
        (0..height).for_each(|y| mask.bits[y * width + x] = column[y]);
    }
}

fn grow_line(line: &mut [bool], radius: usize) {
    let set: Vec<usize> = (0..line.len()).filter(|&idx| line[idx]).collect();
    let mut filled = 0;
    for idx in set {
        let end = (idx + radius + 1).min(line.len());
        let start = idx.saturating_sub(radius).max(filled);
        line[start.min(end)..end].fill(true);
        filled = end;
    }
}

#[cfg(test)]
#[path = "suppress_tests.rs"]
pub(super) mod tests;
