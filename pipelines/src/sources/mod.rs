//! Where frames come from: the only place that reads images.

mod files;
mod recording;
mod source;
mod stream;
pub mod synthetic;

pub use files::{FILE_BYTES_MAX, FRAME_INTERVAL_US, file_frames, read_file};
pub use recording::{RecordedSource, ReplayLog, ReplayNotes, ReplayOptions, recorded_cameras};
pub use source::{Clock, Next, STOP_WAIT_MAX, Source, StopFlag, SystemClock};
pub use stream::CameraStream;
