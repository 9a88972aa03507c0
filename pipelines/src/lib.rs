//! Wiring only: the dataflows `fit`, `evaluate` and `inspect`, and the sources and sinks that do their I/O.

pub mod cluster;
pub mod datasets;
pub mod labels;
pub mod pictures;
pub mod png;
pub mod recording;
pub mod review;
pub mod sinks;
pub mod sources;
pub mod store;

mod board;
mod camera;
mod controls;
mod detector_file;
mod detectors;
mod error;
mod evaluate;
mod figures;
pub mod fit;
mod graph;
mod inspect;
mod progress;
mod run;

pub use camera::{Camera, Intake};
pub use controls::{Begun, Controls};
pub use detector_file::{load_detector, save_detector, write_atomically, write_picture};
pub use detectors::Detectors;
pub use error::PipelineError;
pub use evaluate::{EvaluatedImage, Evaluation, NotableImage, evaluate};
pub use figures::Figures;
pub use inspect::{CameraAccount, Inspection, InspectionReport, inspect};
pub use progress::{Progress, Silent};
pub use run::RunOptions;
