//! All metrics of a labelled dataset in one pass over its frames.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};

use super::{Confusion, PixelScores, RegionHits, auroc, average_precision, distance, f1_max, mass_center, region_hits};
use crate::{AnomalyMap, Mask};

/// The false positive rate up to which AUPRO is integrated: the value of the metric's authors, who find maps with more
/// false positives than that of no use (Bergmann et al., IJCV 2021).
pub const AUPRO_FPR_LIMIT: f64 = 0.3;

/// One labelled frame after inspection. Map and masks have one size.
#[derive(Clone, Debug)]
pub struct EvaluatedFrame {
    /// Its score in the detector's own unit.
    pub image_score: f32,
    /// Whether it truly has a defect.
    pub truth_anomalous: bool,
    /// Whether the verdict was to reject it.
    pub rejected: bool,
    /// Its anomaly map; `None` where the detector makes none.
    pub map: Option<AnomalyMap>,
    /// Where its defects truly are; `None` where nobody drew them. Not looked at for normal frames.
    pub truth_mask: Option<Mask>,
    /// The union of the regions that counted; `None` on a frame with a map means that there were none.
    pub predicted_mask: Option<Mask>,
    /// Frame pixels per map pixel, (x, y).
    pub frame_px_per_map_px: [f64; 2],
}

/// What `evaluate` reports; a metric that is undefined for the dataset is null in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetMetrics {
    /// Area under the ROC curve of the image scores.
    pub image_auroc: Option<f64>,
    /// Average precision of the image scores.
    pub image_ap: Option<f64>,
    /// Highest F1 that any threshold on the image scores reaches.
    pub image_f1_max: Option<f64>,
    /// The score it is reached at, which is itself rejected; an f32 written exactly.
    pub image_f1_max_threshold: Option<f64>,
    /// Area under the ROC curve of all pixels.
    pub pixel_auroc: Option<f64>,
    /// Area under the per-region-overlap curve up to [`AUPRO_FPR_LIMIT`].
    pub aupro: Option<f64>,
    /// Of the verdicts: share of the rejected that are anomalous.
    pub precision: Option<f64>,
    /// Of the verdicts: share of the anomalous that were rejected.
    pub recall: Option<f64>,
    /// Of the verdicts: harmonic mean of precision and recall.
    pub f1: Option<f64>,
    /// Of the verdicts: share that is right.
    pub accuracy: Option<f64>,
    /// Share of the normal frames that were rejected.
    pub false_reject_rate: Option<f64>,
    /// Share of the anomalous frames that were passed.
    pub escape_rate: Option<f64>,
    /// Share of the defects that a region overlaps.
    pub region_hit_rate: Option<f64>,
    /// Share of the defects that no region overlaps.
    pub region_miss_rate: Option<f64>,
    /// Distance between the centres of mass of truth and prediction, frame pixels, mean over the anomalous frames that
    /// have both.
    pub mass_center_distance_px: Option<f64>,
    /// Frames evaluated.
    pub frames: u64,
    /// The counts behind the rates of verdicts; not in the JSON.
    #[serde(skip)]
    pub confusion: Confusion,
    /// The counts behind the rates of regions; not in the JSON.
    #[serde(skip)]
    pub regions: RegionHits,
    /// The curve behind AUPRO, see [`RankedPixels::pro_curve`](super::RankedPixels::pro_curve); not in the JSON.
    #[serde(skip)]
    pub pro_curve: Vec<[f64; 2]>,
}

impl DatasetMetrics {
    /// Measures the frames, as [`DatasetTally`] does one by one.
    pub fn of(frames: impl IntoIterator<Item: Borrow<EvaluatedFrame>>) -> Self {
        let mut tally = DatasetTally::default();
        for frame in frames {
            tally.add(frame.borrow());
        }
        tally.measure()
    }
}

/// What is kept of the frames taken in so far: 13 bytes a frame and what [`PixelScores`] needs for its pixels. The metrics do
/// not depend on the order of the frames.
#[derive(Default)]
pub struct DatasetTally {
    scores: Vec<f32>,
    labels: Vec<bool>,
    confusion: Confusion,
    pixels: PixelScores,
    regions: RegionHits,
    distances_px: Vec<f64>,
}

impl DatasetTally {
    /// Takes a frame in, which may be dropped afterwards.
    ///
    /// All pixels of a normal frame are normal. An anomalous frame without a mask counts for the metrics of images and
    /// verdicts only, and so does a frame with neither map nor predicted mask.
    ///
    /// Panics where map and masks of a frame differ in size (a bug of ours).
    pub fn add(&mut self, frame: &EvaluatedFrame) {
        self.scores.push(frame.image_score);
        self.labels.push(frame.truth_anomalous);
        self.confusion.count(frame.rejected, frame.truth_anomalous);
        match (frame.truth_anomalous, &frame.truth_mask) {
            (true, Some(truth)) => self.add_places(frame, Some(truth)),
            (true, None) => {}
            (false, _) => self.add_places(frame, None),
        }
    }

    /// Takes in where a frame's defects are; without `truth` it has none.
    fn add_places(&mut self, frame: &EvaluatedFrame, truth: Option<&Mask>) {
        if let Some(map) = &frame.map {
            self.pixels.push(map, truth);
        }
        let size = frame.map.as_ref().map(|map| (map.height, map.width));
        let size = size.or(frame.predicted_mask.as_ref().map(|mask| (mask.height, mask.width)));
        let Some((height, width)) = size else { return };
        let nothing = Mask::filled(height, width, false);
        let truth = truth.unwrap_or(&nothing);
        let predicted = frame.predicted_mask.as_ref().unwrap_or(&nothing);
        self.regions.add(region_hits(truth, predicted));
        if let (Some(truth), Some(predicted)) = (mass_center(truth), mass_center(predicted)) {
            self.distances_px
                .push(distance(truth, predicted, frame.frame_px_per_map_px));
        }
    }

    /// The metrics of all frames taken in.
    pub fn measure(mut self) -> DatasetMetrics {
        let best = f1_max(&self.scores, &self.labels);
        let pixels = self.pixels.rank();
        // Sums of floats depend on their order; the order of distances does not depend on that of the frames.
        self.distances_px.sort_unstable_by(f64::total_cmp);
        let n_distances = self.distances_px.len();
        DatasetMetrics {
            image_auroc: auroc(&self.scores, &self.labels),
            image_ap: average_precision(&self.scores, &self.labels),
            image_f1_max: best.map(|best| best.f1),
            image_f1_max_threshold: best.map(|best| f64::from(best.threshold)),
            pixel_auroc: pixels.auroc(),
            aupro: pixels.aupro(AUPRO_FPR_LIMIT),
            precision: self.confusion.precision(),
            recall: self.confusion.recall(),
            f1: self.confusion.f1(),
            accuracy: self.confusion.accuracy(),
            false_reject_rate: self.confusion.false_reject_rate(),
            escape_rate: self.confusion.escape_rate(),
            region_hit_rate: self.regions.region_hit_rate(),
            region_miss_rate: self.regions.region_miss_rate(),
            mass_center_distance_px: (n_distances > 0)
                .then(|| self.distances_px.iter().sum::<f64>() / n_distances as f64),
            frames: self.scores.len() as u64,
            confusion: self.confusion,
            regions: self.regions,
            pro_curve: pixels.pro_curve(AUPRO_FPR_LIMIT),
        }
    }
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
