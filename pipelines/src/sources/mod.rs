//! Where frames come from: the only place that reads images.

#[cfg(test)]
mod accounting;
mod bmp;
mod camera_url;
#[cfg(test)]
mod compliance;
mod files;
mod h264;
mod mjpeg;
mod mp4;
mod outage;
mod paced;
mod posted;
mod recording;
mod rtsp;
mod seq_set;
mod source;
mod stream;
pub mod synthetic;
#[cfg(all(feature = "v4l2", target_os = "linux"))]
mod v4l2;
mod video;
mod watch;

pub use files::{FILE_BYTES_MAX, FRAME_INTERVAL_US, FileFrames, file_frames, read_file};
pub use mjpeg::{Mjpeg, MjpegOptions};
pub use paced::Paced;
pub use posted::{NoLongerTaken, OnNumbered, Posted, Poster, posted};
pub use recording::{OnChange, RecordedSource, ReplayLog, ReplayNotes, ReplayOptions, recorded_cameras};
pub use rtsp::{Rtsp, RtspOptions};
pub use source::{Clock, DEVICE_THREAD, Judged, Next, STOP_WAIT_MAX, Source, StopFlag, SystemClock};
pub use stream::CameraStream;
#[cfg(all(feature = "v4l2", target_os = "linux"))]
pub use v4l2::{V4l2, V4l2Options};
pub use video::{Video, VideoOptions};
pub use watch::{WATCHED_FILES_MAX, Watch, WatchOptions};
