//! From scores to a verdict: stitching, suppression, the image score and the decision.

pub mod components;
mod image_score;
mod inspected;
mod judge;
mod measure;
mod nearest;
mod static_artefacts;
mod stitch;
mod suppress;
pub use image_score::{frame_statistics, image_score};
pub use inspected::InspectedArea;
pub use judge::{FrameStamp, judge, unreadable};
pub use nearest::{NEAREST_MAX, NearestRow, TileRows, nearest_rows, strongest_point};
pub use static_artefacts::{REMEMBERED_FRAMES, SEEN_FRAMES_MIN, StaticArtefacts};
pub use stitch::{FrameScores, ScoredPatch, stitch};
pub use suppress::{Findings, REGIONS_MAX, candidates, suppress};
