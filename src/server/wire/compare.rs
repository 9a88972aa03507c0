//! A run beside another one of the same frames.

use std::sync::Arc;

use intakt_pipelines::store::ComparedCamera;
use serde::Serialize;
use utoipa::ToSchema;

use super::verdicts::{DecisionName, KeptVerdict};

/// Two runs of the same frames, counted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Comparison {
    /// What the run is called that is served.
    pub(crate) run: Arc<str>,
    /// What the other one is called.
    pub(crate) other: Arc<str>,
    pub(crate) cameras: Vec<CameraComparison>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CameraComparison {
    camera: Arc<str>,
    /// Frames that were judged in both.
    both: u64,
    /// Those whose decision, image score and threshold are the same to the last bit.
    identical: u64,
    /// Those whose decisions differ.
    flips: Vec<FlipCount>,
    /// Frames that were judged in the run alone.
    only_in_run: u64,
    /// Frames that were judged in the other one alone.
    only_in_other: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct FlipCount {
    /// In the run.
    before: DecisionName,
    /// In the other one.
    after: DecisionName,
    frames: u64,
}

/// A page of frames whose decision is another one in the other run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlipPage {
    /// The newest first.
    pub(crate) flips: Vec<Flipped>,
    /// What to give as `cursor` for the next page; null when there is none. A page may hold fewer flips than were asked for while
    /// there is one.
    pub(crate) next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Flipped {
    /// What became of it in the run.
    pub(crate) before: KeptVerdict,
    /// What became of it in the other one.
    pub(crate) after: KeptVerdict,
}

impl CameraComparison {
    pub(crate) fn new(camera: Arc<str>, compared: &ComparedCamera) -> Self {
        let flips = compared.flips.iter().map(|(&(before, after), &frames)| FlipCount {
            before: before.into(),
            after: after.into(),
            frames,
        });
        Self {
            camera,
            both: compared.both,
            identical: compared.identical,
            flips: flips.collect(),
            only_in_run: compared.only_here,
            only_in_other: compared.only_there,
        }
    }
}
