//! Recordings: what the sources delivered and when it was let in, kept so that a replay takes the same decisions.
//!
//! A recording is a directory of `000000.mcap`, `000001.mcap`, …, each a whole MCAP file that any viewer opens: a channel
//! `/<camera>/image` of `foxglove.CompressedImage` per camera, and the channel `/intakt/events` of JSON lines, in the order of
//! recording, with what an image message has no field for. Log time is the logical time, publish time the capture time.
//!
//! A file grows by whole chunks, each written by one append and covered by a CRC. A chunk that was cut is as if it had never
//! been, so that a recording ends between two events whatever ended it.

mod compressed_image;
mod event;
mod event_line;
mod file_events;
mod queue;
mod reader;
mod recorder;
mod records;
mod storage;
mod tally;
mod writer;

#[cfg(test)]
mod tests;

pub use event::RecordedEvent;
pub use queue::Unwritten;
pub use reader::{Played, PlayedEvents, Recording};
pub use recorder::{Recorder, RecorderOptions, RecordingAccount};
pub use tally::RecordedCamera;

/// Version of the files' layout. A reader refuses a higher one.
const FORMAT_VERSION: u64 = 1;

/// Name of the metadata record that begins every file: format version, file number, run, program version.
const ABOUT_METADATA: &str = "intakt_recording";

/// Name of the metadata record that ends every file that was closed: the number of its events, and what each camera has in it.
const ACCOUNT_METADATA: &str = "intakt_account";

/// Channel of the JSON lines. No camera's channel has this name, because theirs end in `/image`.
const EVENTS_TOPIC: &str = "/intakt/events";

/// Channel of a camera's images.
fn image_topic(camera: &str) -> String {
    format!("/{camera}/image")
}
