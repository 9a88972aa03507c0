//! Calibration: where the threshold lies, how it was chosen, and what that is worth.

use serde::{Deserialize, Serialize};

use super::ImageScore;
use super::thresholds::{Chosen, choose};
use crate::{Truth, fixed_point};

/// How the threshold is chosen. A frame is rejected when its score is strictly above the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CalibrationMethod {
    /// Split conformal quantile of held-out normal scores (Vovk et al. 2005; Angelopoulos & Bates 2021, arXiv 2107.07511,
    /// eq. 1). The only method with a guarantee that needs no model.
    Conformal {
        /// Share of normal frames that may be rejected, above 0 and at most 0.5.
        false_reject_rate: f64,
    },
    /// A generalised Pareto tail fitted to the highest normal scores (Siffer et al. 2017, KDD, eq. 1): reaches rates that
    /// the number of frames alone cannot guarantee.
    PeaksOverThreshold {
        /// Share of normal frames that may be rejected, above 0 and at most 0.5.
        false_reject_rate: f64,
    },
    /// The threshold with the highest F1 over labelled frames of both classes.
    F1Max,
    /// Thresholds that somebody chose.
    Fixed {
        /// For the image score.
        image_threshold: f32,
        /// For the pixels of the anomaly map. None: the image threshold where the image score is the map's maximum,
        /// otherwise the highest pixel of the held-out normal frames.
        pixel_threshold: Option<f32>,
    },
}

impl CalibrationMethod {
    /// The share of normal frames that may be rejected, where the method takes one.
    pub fn target_false_reject_rate(&self) -> Option<f64> {
        match *self {
            Self::Conformal { false_reject_rate } | Self::PeaksOverThreshold { false_reject_rate } => {
                Some(false_reject_rate)
            }
            Self::F1Max | Self::Fixed { .. } => None,
        }
    }
}

/// What calibration needs to know of one held-out frame; every number is taken over the inspected pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameStatistics {
    /// The frame's image score.
    pub image_score: f32,
    /// Highest value of its anomaly map.
    pub map_max: f32,
    /// Median of its anomaly map.
    pub map_median: f32,
    /// What the frame truly is.
    pub truth: Truth,
}

/// Normal scores that a calibration keeps: enough for the deciles that drift is measured by.
pub const NORMAL_QUANTILES_MAX: usize = 257;

/// Maps scores of one kind to 0…1: 0 up to the normal level, 0.5 at the threshold, towards 1 beyond.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreScale {
    /// The score of something quite normal.
    pub normal_level: f32,
    /// The highest score that is accepted.
    pub threshold: f32,
}

impl ScoreScale {
    /// The calibrated score: with `u = max(0, score − normal) / (threshold − normal)`, it is `u / (1 + u)`. Never falls when
    /// the score rises. Where the threshold is not above the normal level (all normal scores were equal) it is a steep
    /// ramp that ends at the threshold, so that 0.5 still separates what passes from what does not.
    pub fn calibrated(&self, score: f32) -> f64 {
        // Written around the threshold, so that the threshold itself gives exactly 0.5.
        let u = (1.0 + (f64::from(score) - f64::from(self.threshold)) / self.span()).max(0.0);
        if u.is_infinite() { 1.0 } else { u / (1.0 + u) }
    }

    /// The score that [`ScoreScale::calibrated`] maps to `calibrated`, which is clamped to 0…0.999999.
    pub fn score_at(&self, calibrated: f64) -> f32 {
        let calibrated = calibrated.clamp(0.0, 0.999_999);
        let u = calibrated / (1.0 - calibrated);
        (f64::from(self.threshold) + (u - 1.0) * self.span()) as f32
    }

    /// Whether `score` is above the threshold in the fixed point of verdicts: what is printed is what is decided.
    pub fn exceeds(&self, score: f32) -> bool {
        fixed_point(score) > fixed_point(self.threshold)
    }

    /// The highest score that does not exceed: `score > highest_passing()` is the same as `exceeds(score)`, for loops over
    /// pixels.
    pub fn highest_passing(&self) -> f32 {
        let printed = fixed_point(self.threshold);
        let mut score = (printed + 0.5 / crate::SCORE_STEPS_PER_UNIT) as f32;
        while fixed_point(score) > printed {
            score = score.next_down();
        }
        while score < f32::MAX && fixed_point(score.next_up()) <= printed {
            score = score.next_up();
        }
        score
    }

    /// The score between the normal level and the threshold, which is never nothing.
    pub fn span(&self) -> f64 {
        let smallest = (f64::from(self.threshold).abs() * 1e-6).max(1e-6);
        (f64::from(self.threshold) - f64::from(self.normal_level)).max(smallest)
    }
}

/// The thresholds of a detector and how they came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How the thresholds were chosen.
    pub method: CalibrationMethod,
    /// Scale of image scores; its threshold decides.
    pub image: ScoreScale,
    /// Scale of the anomaly map's pixels; its threshold draws the regions. The same threshold as that of the image where
    /// the image score is the map's maximum.
    pub pixel: ScoreScale,
    /// Held-out frames that were used.
    pub n_frames: usize,
    /// Image scores of the held-out normal frames, ascending; of many, [`NORMAL_QUANTILES_MAX`] evenly spaced ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub normal_quantiles: Vec<f32>,
    /// The false-reject rate that holds for frames exchangeable with the held-out ones, whatever their distribution; none
    /// where the method guarantees nothing.
    pub guaranteed_false_reject_rate: Option<f64>,
    /// One sentence for people.
    pub statement: String,
}

impl Calibration {
    /// [`Calibration::normal_quantiles`], calibrated.
    pub fn calibrated_normal_scores(&self) -> Vec<f64> {
        let scores = self.normal_quantiles.iter();
        scores.map(|&score| self.image.calibrated(score)).collect()
    }

    /// The same with another threshold for the image score, as somebody chose it. Where the image score is the map's maximum
    /// the regions follow; otherwise the map keeps its own threshold.
    #[must_use]
    pub fn with_image_threshold(mut self, threshold: f32, how: ImageScore) -> Self {
        let is_maximum = how == ImageScore::Max;
        if is_maximum {
            self.pixel.threshold = threshold;
        }
        self.image.threshold = threshold;
        self.method = CalibrationMethod::Fixed {
            image_threshold: threshold,
            pixel_threshold: (!is_maximum).then_some(self.pixel.threshold),
        };
        self.guaranteed_false_reject_rate = None;
        self.statement = format!("threshold {threshold} was set by hand, after the fit");
        self
    }

    /// Whether the numbers make sense, for a calibration that was read from a file.
    ///
    /// # Errors
    /// A sentence naming the first number that does not.
    pub fn validate(&self) -> Result<(), String> {
        let levels = [
            self.image.normal_level,
            self.image.threshold,
            self.pixel.normal_level,
            self.pixel.threshold,
        ];
        let known = self.normal_quantiles.len();
        if known > NORMAL_QUANTILES_MAX || self.normal_quantiles.iter().any(|score| !score.is_finite()) {
            return Err(format!(
                "the calibration's {known} normal scores are not all finite, or more than {NORMAL_QUANTILES_MAX}"
            ));
        }
        if levels.iter().any(|level| !level.is_finite()) {
            return Err(format!("calibration levels {levels:?} are not all finite"));
        }
        match self.guaranteed_false_reject_rate {
            Some(rate) if !(0.0..=1.0).contains(&rate) => {
                Err(format!("guaranteed false-reject rate {rate} is not a share"))
            }
            _ => Ok(()),
        }
    }
}

/// Chooses the thresholds of a detector from frames that it was not fitted on.
///
/// Conformal and peaks-over-threshold use the normal frames only; the others ignore no frame. The image threshold is chosen
/// on the image scores and the pixel threshold, by the same method, on the maps' maxima. Whatever the method, at least one
/// held-out normal frame passes, and where normal scores are equal all of them do, because a score must be strictly above.
///
/// # Errors
/// A sentence with a hint: no normal frame, a score that is not finite, a rate outside `(0, 0.5]`, too few frames for a
/// tail, one class only for F1, a fixed threshold that rejects every normal frame.
pub fn calibrate(
    frames: &[FrameStatistics],
    method: CalibrationMethod,
    how: ImageScore,
) -> Result<Calibration, String> {
    check(frames)?;
    let image = choose(&labelled(frames, |frame| frame.image_score), method)?;
    let pixel_threshold = match how {
        ImageScore::Max => image.threshold,
        ImageScore::TopMean(_) | ImageScore::Reweighted => pixel_threshold(frames, method)?,
    };
    let normal = || frames.iter().filter(|frame| !frame.truth.is_anomalous());
    Ok(Calibration {
        method,
        image: ScoreScale {
            normal_level: normal().map(|frame| frame.image_score).fold(f32::INFINITY, f32::min),
            threshold: image.threshold,
        },
        pixel: ScoreScale {
            normal_level: lower_median(normal().map(|frame| frame.map_median).collect()),
            threshold: pixel_threshold,
        },
        n_frames: image.n_frames,
        normal_quantiles: quantiles(normal().map(|frame| frame.image_score).collect()),
        guaranteed_false_reject_rate: image.guaranteed_false_reject_rate,
        statement: image.statement,
    })
}

fn pixel_threshold(frames: &[FrameStatistics], method: CalibrationMethod) -> Result<f32, String> {
    let maxima = labelled(frames, |frame| frame.map_max);
    let method = match method {
        CalibrationMethod::Fixed {
            pixel_threshold: Some(threshold),
            ..
        } => CalibrationMethod::Fixed {
            image_threshold: threshold,
            pixel_threshold: None,
        },
        CalibrationMethod::Fixed {
            pixel_threshold: None, ..
        } => return Ok(highest_normal(&maxima)),
        other => other,
    };
    choose(&maxima, method)
        .map(|Chosen { threshold, .. }| threshold)
        .map_err(|error| format!("pixel threshold: {error}"))
}

fn highest_normal(scores: &[(f32, bool)]) -> f32 {
    let normal = scores.iter().filter(|(_, anomalous)| !anomalous);
    normal.map(|&(score, _)| score).fold(f32::NEG_INFINITY, f32::max)
}

fn labelled(frames: &[FrameStatistics], of: impl Fn(&FrameStatistics) -> f32) -> Vec<(f32, bool)> {
    frames
        .iter()
        .map(|frame| (of(frame), frame.truth.is_anomalous()))
        .collect()
}

fn quantiles(mut scores: Vec<f32>) -> Vec<f32> {
    scores.sort_by(f32::total_cmp);
    let kept = scores.len().min(NORMAL_QUANTILES_MAX);
    let steps = kept.saturating_sub(1).max(1);
    (0..kept)
        .map(|step| scores[step * (scores.len() - 1) / steps])
        .collect()
}

fn lower_median(mut levels: Vec<f32>) -> f32 {
    levels.sort_by(f32::total_cmp);
    levels[(levels.len() - 1) / 2]
}

fn check(frames: &[FrameStatistics]) -> Result<(), String> {
    if frames.iter().all(|frame| frame.truth.is_anomalous()) {
        return Err(format!(
            "cannot calibrate: none of the {} held-out frames is normal\n  hint: hold out some normal images that the \
             detector is not fitted on",
            frames.len()
        ));
    }
    for (idx, frame) in frames.iter().enumerate() {
        let numbers = [frame.image_score, frame.map_max, frame.map_median];
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(format!(
                "cannot calibrate: held-out frame {idx} has scores {numbers:?} (image, map maximum, map median), which are \
                 not all finite"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "calibration_tests.rs"]
mod tests;
