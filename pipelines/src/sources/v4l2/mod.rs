//! Frames from a camera at `/dev/videoN`: USB, or CSI whose driver gives finished pictures. Linux only.

mod device;
mod reader;
mod yuyv;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use intakt_operators::Frame;

use self::device::Device;
use self::reader::{Open, Reader, Said};
use super::outage::{Interrupted, Outage, Retried};
use super::source::LOOK_EVERY;
use super::{Clock, Next, Source, StopFlag};

/// How a camera at `/dev/videoN` is read.
#[derive(Clone, Copy, Debug)]
pub struct V4l2Options {
    /// Columns and rows of the pictures; those that the camera is set to by default.
    pub size_px: Option<(u32, u32)>,
    /// Pictures a second; as many as the camera is set to by default.
    pub fps: Option<u32>,
    /// Longest silence until the camera is given up: 10 s by default.
    pub silence_max: Duration,
    /// Pause before the second try to open it: 0.5 s by default. It doubles with every further one.
    pub pause_first: Duration,
    /// Longest pause between two tries: 30 s by default.
    pub pause_max: Duration,
}

impl Default for V4l2Options {
    fn default() -> Self {
        Self {
            size_px: None,
            fps: None,
            silence_max: Duration::from_secs(10),
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_secs(30),
        }
    }
}

/// A camera at `/dev/videoN`.
///
/// MJPG pictures are passed on as they came, and asked for first; YUYV pictures become 24-bit BMPs, by BT.601 in limited range.
/// The event time of a frame is the clock's when it was taken from the driver. A picture that the driver marks as damaged, or
/// that is not whole, is a frame without bytes. A camera that is missing, unplugged or silent is tried again, after pauses that
/// double; that is told once, until a frame has come again.
///
/// Besides the frame handed out it holds one, and the driver's buffers hold a few. The driver is spoken to on a thread of its own,
/// so that one that hangs holds nobody up.
///
/// Raw sensors and drivers that are multi-planar only are not read. This was tested against a simulated driver, not with a camera.
pub struct V4l2 {
    camera: Arc<str>,
    origin: Arc<str>,
    options: V4l2Options,
    clock: Arc<dyn Clock>,
    seq: u64,
    open: Arc<Open>,
    reader: Option<Reader>,
    outage: Outage,
}

impl V4l2 {
    /// The camera at `path`, like `/dev/video0`. It is not opened before the first [`Source::next`].
    ///
    /// # Errors
    /// A sentence, if there can be no such path.
    pub fn new(camera: Arc<str>, path: &Path, options: V4l2Options, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let path = path.to_owned();
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err("a path without zero bytes is needed".into());
        }
        let origin = path.to_string_lossy().into();
        let open = Arc::new(move || Ok(Box::new(Device::open(&path, &options)?) as _));
        Ok(Self::opened_by(open, camera, origin, options, clock))
    }

    fn opened_by(
        open: Arc<Open>,
        camera: Arc<str>,
        origin: Arc<str>,
        options: V4l2Options,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            camera,
            origin,
            outage: Outage::new(options.pause_first, options.pause_max),
            options,
            clock,
            seq: 0,
            open,
            reader: None,
        }
    }
}

impl Retried for V4l2 {
    fn outage(&mut self) -> &mut Outage {
        &mut self.outage
    }

    fn is_connected(&self) -> bool {
        self.reader.is_some()
    }

    fn read_frame(&mut self, stop: &StopFlag) -> Result<Frame, Interrupted> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let (open, clock) = (self.open.clone(), self.clock.clone());
                let started = Reader::start(open, clock, self.options.silence_max);
                none.insert(started.map_err(Interrupted::Failed)?)
            }
        };
        match hear(reader, 2 * self.options.silence_max, stop)? {
            Said::Picture(bytes, captured_at_us) => {
                self.outage.over();
                let seq = self.seq;
                self.seq += 1;
                Ok(Frame {
                    camera: self.camera.clone(),
                    seq,
                    captured_at_us,
                    origin: self.origin.clone(),
                    bytes: bytes.map(Into::into).map_err(Into::into),
                    recorded: None,
                })
            }
            Said::Closed(failure) => {
                self.reader = None;
                Err(Interrupted::Failed(failure))
            }
        }
    }
}

impl Source for V4l2 {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    fn is_live(&self) -> bool {
        true
    }

    fn resume_at(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        self.next_frame(stop)
    }
}

/// Waits for what the reader says, at most `longest`, and looks at `stop` meanwhile. A reader that says nothing is kept: its driver
/// hangs, and would not let anybody else have the camera.
fn hear(reader: &Reader, longest: Duration, stop: &StopFlag) -> Result<Said, Interrupted> {
    let since = Instant::now();
    while !stop.is_stopped() {
        match reader.said.recv_timeout(LOOK_EVERY) {
            Ok(said) => return Ok(said),
            Err(RecvTimeoutError::Disconnected) => return Ok(Said::Closed("the driver of the camera failed".into())),
            Err(RecvTimeoutError::Timeout) if since.elapsed() >= longest => {
                return Err(Interrupted::Failed("the driver of the camera does not answer".into()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Err(Interrupted::Stopped)
}

#[cfg(test)]
mod tests;
