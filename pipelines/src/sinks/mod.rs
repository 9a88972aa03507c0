//! Where verdicts, rates and pictures go: the only place that writes results.

mod canvas;
mod colormap;
mod contact_sheet;
mod heatmap;
mod heatmaps;
mod jsonl;
mod live;
mod picture_keeper;
pub(crate) mod small;
mod status_file;
mod text;
mod thumbnails;

pub use contact_sheet::{Cell, Tone, contact_sheet};
pub use heatmap::heatmap;
pub use heatmaps::{HeatmapSelection, Heatmaps, picture};
pub use jsonl::{Jsonl, outcome_json};
pub use live::{
    CameraStatus, DroppedCount, LastVerdict, LiveBoard, LiveStatus, QualityStatus, RunState, StageStatus, TroubleStatus,
};
pub use picture_keeper::PictureKeeper;
pub(crate) use small::small_size;
pub use status_file::{STATUS_FILE_NAME, STATUS_WRITTEN_EVERY, StatusFile};
pub use thumbnails::{CameraThumbnails, Thumbnail, Thumbnails, small_jpeg};

use std::sync::Arc;

use intakt_operators::dataflow::{Alert, ArrivedLabel, Compared, JudgedFrame, Rate, ScoreRate, WhatIf};
use intakt_operators::{DroppedFrame, Outcome};

use crate::store::Change;

/// Takes results of an inspection. An error stops the run.
pub trait Sink: Send + Sync {
    /// A worker stands ready for frames.
    fn started(&self) {}

    /// A frame of this event time was captured, on the thread that reads its camera. Most of these are judged; some are
    /// dropped.
    fn captured(&self, _camera: &Arc<str>, _seq: u64, _captured_at_us: u64) {}

    /// A frame was dropped, as soon as that is known, in no particular order.
    fn dropped(&self, _dropped: &DroppedFrame) {}

    /// A verdict as soon as it exists, in no particular order: for a reject gate or a live table.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn at_once(&self, _judged: &JudgedFrame) -> Result<(), String> {
        Ok(())
    }

    /// What became of a frame, in the order of time, camera and sequence. `time_us` is its time in the dataflow: `captured_at_us`,
    /// but for a frame that came late or whose camera's clock is wrong.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn outcome(&self, _time_us: u64, _outcome: &Outcome) -> Result<(), String> {
        Ok(())
    }

    /// What is wrong with a camera: why it delivers nothing at the moment, or how far its clock is off.
    fn trouble(&self, _camera: &Arc<str>, _reason: &str) {}

    /// A rate whose window moved.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn rate(&self, _rate: &Rate) -> Result<(), String> {
        Ok(())
    }

    /// All that belongs before this time was given: outcomes before it, and rates that were published before it.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn passed(&self, _frontier_us: u64) -> Result<(), String> {
        Ok(())
    }

    /// How the scores of a window that moved are spread.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn score_rate(&self, _rate: &ScoreRate) -> Result<(), String> {
        Ok(())
    }

    /// An alert opened, closed, or was retracted because a label undid its cause.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn alert(&self, _alert: &Alert) -> Result<(), String> {
        Ok(())
    }

    /// The answer to a standing question changed: what another threshold would do.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn what_if(&self, _answer: &WhatIf) -> Result<(), String> {
        Ok(())
    }

    /// A frame on which the detector and its shadow decided differently, in the order of time, camera and sequence.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn disagreement(&self, _disagreement: &Compared) -> Result<(), String> {
        Ok(())
    }

    /// Somebody said what a frame truly is; `time_us` is the time in the dataflow at which that was learned.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn label(&self, _time_us: u64, _label: &ArrivedLabel) -> Result<(), String> {
        Ok(())
    }

    /// The threshold or the detector of a camera changed.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn change(&self, _change: &Change) -> Result<(), String> {
        Ok(())
    }

    /// Whether [`Sink::draw`] does anything; frames are kept alive for it only then.
    fn draws(&self) -> bool {
        false
    }

    /// A verdict with its frame and map, on a pool thread, in no particular order.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn draw(&self, _judged: &JudgedFrame) -> Result<(), String> {
        Ok(())
    }
}
