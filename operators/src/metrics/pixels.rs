//! Metrics of the anomaly maps: pixel AUROC and the area under the per-region-overlap curve (AUPRO).

use super::curves::Curve;
use super::order;
use super::ranking::PairCount;
use crate::postprocess::components::components;
use crate::{AnomalyMap, Mask};

/// One region covered completely, in the fixed point of the per-region overlap. Integers make the sum exact, so it
/// depends neither on the order of frames nor on rounding. Rounding down a pixel's share costs at most `area / 2^90` of
/// a region, and 2^32 regions fit.
const COVERED: u128 = 1 << 90;

/// Bits dropped from an overlap before it is multiplied by a number of pixels: 2^60 · 2 · 2^32 regions · 2^33 pixels is
/// below 2^127.
const AREA_SHIFT: u32 = 30;

/// The pixels of all frames, one frame after the other; the maps need not be kept.
///
/// Memory: 4 bytes for every normal pixel and 8 for every defective one; they are sorted in place.
#[derive(Clone, Debug, Default)]
pub struct PixelScores {
    /// Order keys of the normal pixels.
    normal: Vec<u32>,
    /// Order key of every defective pixel, and the region it belongs to.
    defective: Vec<(u32, u32)>,
    /// Pixels of every region.
    areas_px: Vec<u64>,
}

impl PixelScores {
    /// No pixels yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the pixels of one frame; without a mask all of them are normal.
    ///
    /// Panics where map and mask differ in size (a bug of ours).
    pub fn push(&mut self, map: &AnomalyMap, truth: Option<&Mask>) {
        if let Some(truth) = truth {
            let size = (map.height, map.width);
            assert_eq!((truth.height, truth.width), size, "the mask has the size of the map");
        }
        let Some(truth) = truth.filter(|truth| truth.bits.contains(&true)) else {
            self.normal.extend(map.scores.iter().map(|&score| order::key(score)));
            return;
        };
        let first = self.areas_px.len() as u64;
        let regions = components(truth);
        assert!(
            first + u64::from(regions.count) <= u64::from(u32::MAX),
            "more than 2^32 defects"
        );
        for (&score, label) in map.scores.iter().zip(regions.labels(map.scores.len())) {
            match label {
                0 => self.normal.push(order::key(score)),
                label => self.defective.push((order::key(score), first as u32 + label - 1)),
            }
        }
        self.areas_px.extend(regions.areas_px());
    }

    /// Sorts the pixels, which is most of the work of either metric.
    pub fn rank(mut self) -> RankedPixels {
        self.normal.sort_unstable();
        self.defective.sort_unstable();
        RankedPixels(self)
    }
}

/// All pixels in the order of their scores.
#[derive(Clone, Debug)]
pub struct RankedPixels(PixelScores);

impl RankedPixels {
    /// Area under the ROC curve of all pixels; `None` when there is no defective or no normal pixel.
    pub fn auroc(&self) -> Option<f64> {
        let mut pairs = PairCount::default();
        for step in self.steps() {
            pairs.add(step.defective.len() as u64, step.normal);
        }
        pairs.auroc()
    }

    /// Area under the PRO-FPR curve from 0 to `fpr_limit`, divided by `fpr_limit`; see [`aupro`].
    pub fn aupro(&self, fpr_limit: f64) -> Option<f64> {
        assert!(
            fpr_limit > 0.0 && fpr_limit <= 1.0,
            "false positive rate limit {fpr_limit}"
        );
        let (n_normal, n_regions) = (self.0.normal.len() as u64, self.0.areas_px.len() as u64);
        if n_normal == 0 || n_regions == 0 {
            return None;
        }
        let shares: Vec<u128> = self.0.areas_px.iter().map(|&area| COVERED / u128::from(area)).collect();
        let limit = fpr_limit * n_normal as f64;
        let (mut false_positives, mut covered) = (0, 0);
        // Trapezoids are counted twice, to stay integers, in units of a normal pixel by a region's fixed point.
        let (mut twice_area, mut cut_off) = (0, 0.0);
        for step in self.steps() {
            let overlap: u128 = covered >> AREA_SHIFT;
            covered += step
                .defective
                .iter()
                .map(|&(_, region)| shares[region as usize])
                .sum::<u128>();
            let next_overlap = covered >> AREA_SHIFT;
            if (false_positives + step.normal) as f64 > limit {
                let width = limit - false_positives as f64;
                let rise = (next_overlap - overlap) as f64 * (width / step.normal as f64);
                cut_off = width * (overlap as f64 + rise / 2.0);
                break;
            }
            twice_area += (overlap + next_overlap) * u128::from(step.normal);
            false_positives += step.normal;
        }
        let whole = (COVERED >> AREA_SHIFT) as f64 * n_regions as f64 * limit;
        // Only the last division can round up to more than all.
        Some(((twice_area as f64 / 2.0 + cut_off) / whole).min(1.0))
    }

    /// The curve whose area is [`Self::aupro`]: of each threshold, from the highest down, the share of the normal pixels above it
    /// and the mean share of a defect above it, up to the first threshold beyond `fpr_limit`. Nothing when there is no defective or
    /// no normal pixel.
    pub fn pro_curve(&self, fpr_limit: f64) -> Vec<[f64; 2]> {
        let (n_normal, n_regions) = (self.0.normal.len() as f64, self.0.areas_px.len() as f64);
        if self.0.normal.is_empty() || self.0.areas_px.is_empty() {
            return Vec::new();
        }
        let shares: Vec<u128> = self.0.areas_px.iter().map(|&area| COVERED / u128::from(area)).collect();
        let whole = COVERED as f64 * n_regions;
        let mut curve = Curve::new([fpr_limit, 1.0]);
        let (mut false_positives, mut covered) = (0, 0);
        for step in self.steps() {
            false_positives += step.normal;
            let here = step.defective.iter().map(|&(_, region)| shares[region as usize]);
            covered += here.sum::<u128>();
            let rate = false_positives as f64 / n_normal;
            curve.go_to([rate, (covered as f64 / whole).min(1.0)]);
            if rate > fpr_limit {
                break;
            }
        }
        curve.end()
    }

    /// The distinct scores, highest first, with the pixels that have them.
    fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let (mut normal, mut defective) = (self.0.normal.as_slice(), self.0.defective.as_slice());
        std::iter::from_fn(move || {
            let key = match (normal.last(), defective.last()) {
                (Some(&a), Some(&(b, _))) => a.max(b),
                (Some(&key), None) | (None, Some(&(key, _))) => key,
                (None, None) => return None,
            };
            let rest = normal.len() - normal.iter().rev().take_while(|&&other| other == key).count();
            let n_normal = (normal.len() - rest) as u64;
            normal = &normal[..rest];
            let rest = defective.len() - defective.iter().rev().take_while(|other| other.0 == key).count();
            let (lower, here) = defective.split_at(rest);
            defective = lower;
            Some(Step {
                normal: n_normal,
                defective: here,
            })
        })
    }
}

/// The pixels that share one score.
struct Step<'a> {
    normal: u64,
    defective: &'a [(u32, u32)],
}

/// Area under the ROC curve over all pixels of all frames (`sklearn.metrics.roc_auc_score` on the flattened maps),
/// exact. `None` when there is no defective or no normal pixel. Memory as in [`PixelScores`].
///
/// Panics where a map and its mask differ in size (a bug of ours).
pub fn pixel_auroc(frames: &[(AnomalyMap, Mask)]) -> Option<f64> {
    ranked(frames).auroc()
}

/// The area under the per-region-overlap curve as its authors define it (Bergmann et al., "The MVTec Anomaly Detection
/// Dataset", IJCV 2021, section 5.2, and their evaluation code), exact.
///
/// For every threshold that occurs, the false positive rate is the share of all normal pixels of all frames at or above
/// it, and the per-region overlap is the covered share of a defect, averaged over all defects (8-connected components
/// of the masks) of all frames, each counting alike whatever its size. The curve starts at (0, 0), is linear between
/// thresholds, and its area up to `fpr_limit` (interpolated there) is divided by `fpr_limit`, so that 1 is perfect and
/// nothing is above it. `None` when there is no defect or no normal pixel. Memory as in [`PixelScores`].
///
/// Panics where a map and its mask differ in size, or unless `0 < fpr_limit <= 1` (bugs of ours).
pub fn aupro(frames: &[(AnomalyMap, Mask)], fpr_limit: f64) -> Option<f64> {
    ranked(frames).aupro(fpr_limit)
}

fn ranked(frames: &[(AnomalyMap, Mask)]) -> RankedPixels {
    let mut pixels = PixelScores::new();
    for (map, truth) in frames {
        pixels.push(map, Some(truth));
    }
    pixels.rank()
}

#[cfg(test)]
#[path = "pixels_tests.rs"]
mod tests;
