//! How good the verdicts and the anomaly maps of a labelled dataset are.
//!
//! Every metric is exact (all thresholds that occur, no binning), deterministic and independent of the order of frames.
//! Scores are f32 and results f64. Equal scores are one threshold, as in scikit-learn; `-0.0` equals `0.0`.
//! **Not-a-number ranks below every number**, because `score > threshold` is false for it whatever the threshold: a
//! frame or pixel without a score is one that no threshold rejects. What is undefined (a ratio of nothing) is `None`.

mod alert_rules;
mod confusion;
mod curves;
mod dataset;
mod drift;
mod labelled;
mod order;
mod pixels;
mod ranking;
mod regions;
mod score_histogram;
mod tally;
mod tiles;

pub use alert_rules::{AlertRule, Figure, RuleWindow, parse_duration_us};
pub use confusion::Confusion;
pub use curves::roc_curve;
pub use dataset::{AUPRO_FPR_LIMIT, DatasetMetrics, DatasetTally, EvaluatedFrame};
pub use drift::{DRIFT_BINS, ScoreReference};
pub use labelled::{Change, Finding, LabelledFrames, Truthful};
pub use pixels::{PixelScores, RankedPixels, aupro, pixel_auroc};
pub use ranking::{F1Max, auroc, average_precision, f1_max, recall_at_false_reject_rate};
pub use regions::{RegionHits, distance, mass_center, region_hits};
pub use score_histogram::{SCORE_BUCKETS, ScoreCount, ScoreHistogram, first_rejected_bucket, score_bucket};
pub use tally::Tally;

#[cfg(test)]
mod parity_tests;
pub use tiles::{CLEARLY_DEFECTIVE_PX, EvaluatedTile, TILE_FALSE_REJECT_RATE, TileMetrics};
