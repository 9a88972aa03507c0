//! Where verdicts, rates and pictures go: the only place that writes results.

mod canvas;
mod colormap;
mod contact_sheet;
mod heatmap;
mod heatmaps;
mod jsonl;
mod text;

pub use contact_sheet::{Cell, Tone, contact_sheet};
pub use heatmap::heatmap;
pub use heatmaps::{HeatmapSelection, Heatmaps, picture};
pub use jsonl::{Jsonl, outcome_json};

use std::sync::Arc;

use intakt_operators::Outcome;
use intakt_operators::dataflow::{JudgedFrame, Rate};

/// Takes results of an inspection. An error stops the run.
pub trait Sink: Send + Sync {
    /// A verdict as soon as it exists, in no particular order: for a reject gate or a live table.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn at_once(&self, _judged: &JudgedFrame) -> Result<(), String> {
        Ok(())
    }

    /// What became of a frame, in the order of time, camera and sequence.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn outcome(&self, _outcome: &Outcome) -> Result<(), String> {
        Ok(())
    }

    /// Why a camera delivers nothing at the moment.
    fn trouble(&self, _camera: &Arc<str>, _reason: &str) {}

    /// A rate whose window moved.
    ///
    /// # Errors
    /// A sentence that says what could not be done.
    fn rate(&self, _rate: &Rate) -> Result<(), String> {
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
