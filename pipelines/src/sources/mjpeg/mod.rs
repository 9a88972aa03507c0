//! Frames from a network camera that sends JPEGs over HTTP (`multipart/x-mixed-replace`).

mod connection;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use intakt_operators::Frame;

use self::connection::Connection;
use self::parts::Parts;
use super::camera_url::CameraUrl;
use super::outage::{Interrupted, Outage, Retried};
use super::{Clock, Next, Source, StopFlag};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// How a network camera is read.
#[derive(Clone, Copy, Debug)]
pub struct MjpegOptions {
    /// Longest wait for a connection: 5 s by default.
    pub connect_max: Duration,
    /// Longest silence until the connection is given up: 10 s by default.
    pub silence_max: Duration,
    /// Pause before the second try to connect: 0.5 s by default. It doubles with every further one.
    pub pause_first: Duration,
    /// Longest pause between two tries: 30 s by default.
    pub pause_max: Duration,
    /// Bytes of the largest frame: 32 MiB by default.
    pub frame_bytes_max: usize,
}

impl Default for MjpegOptions {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(5),
            silence_max: Duration::from_secs(10),
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_secs(30),
            frame_bytes_max: 32 << 20,
        }
    }
}

/// A network camera that sends JPEGs over HTTP.
///
/// A frame is the body of a part as it came; whether it is a picture is the decoder's affair. Its event time is the clock's
/// when its last byte was there. A part that is cut off, or too large, is a frame without bytes. When the connection fails
/// it is tried again, after pauses that double; that is told once, until a frame has come again.
///
/// Besides the frame handed out it holds at most one part and what was read with its end, 64 KiB.
pub struct Mjpeg {
    camera: Arc<str>,
    url: CameraUrl,
    origin: Arc<str>,
    options: MjpegOptions,
    clock: Arc<dyn Clock>,
    seq: u64,
    line: Option<(Connection, Parts)>,
    outage: Outage,
    /// Why the connection ended, if that is still to be told.
    failure: Option<String>,
}

impl Mjpeg {
    /// The camera at `url`: `http://user:password@host:port/path`. Nothing is sent before the first [`Source::next`].
    ///
    /// # Errors
    /// A sentence, if `url` is no such address.
    pub fn new(camera: Arc<str>, url: &str, options: MjpegOptions, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let url = CameraUrl::parse(url, "http", 80)?;
        Ok(Self {
            camera,
            origin: url.shown.as_str().into(),
            url,
            outage: Outage::new(options.pause_first, options.pause_max),
            options,
            clock,
            seq: 0,
            line: None,
            failure: None,
        })
    }

    fn connect(&mut self, stop: &StopFlag) -> Result<(), Interrupted> {
        let options = &self.options;
        let opened = Connection::open(&self.url, options.connect_max, options.silence_max, stop);
        let (connection, boundary, body) = opened?;
        let mut parts = Parts::new(&boundary, options.frame_bytes_max);
        parts.push(&body);
        self.line = Some((connection, parts));
        Ok(())
    }

    fn frame(&mut self, bytes: Result<Arc<[u8]>, Arc<str>>) -> Frame {
        let seq = self.seq;
        self.seq += 1;
        Frame {
            camera: self.camera.clone(),
            seq,
            captured_at_us: self.clock.now_us(),
            origin: self.origin.clone(),
            bytes,
            recorded: None,
        }
    }
}

impl Retried for Mjpeg {
    fn outage(&mut self) -> &mut Outage {
        &mut self.outage
    }

    fn is_connected(&self) -> bool {
        self.line.is_some() || self.failure.is_some()
    }

    /// The next frame, a broken one if the connection ends within it: then the next call says why.
    fn read_frame(&mut self, stop: &StopFlag) -> Result<Frame, Interrupted> {
        if let Some(failure) = self.failure.take() {
            return Err(Interrupted::Failed(failure));
        }
        let Some((connection, parts)) = self.line.as_mut() else {
            self.connect(stop)?;
            return self.read_frame(stop);
        };
        let failure = match read_part(connection, parts, stop) {
            Ok(part) => {
                self.outage.over();
                return Ok(self.frame(Ok(part.into())));
            }
            Err(Interrupted::Stopped) => return Err(Interrupted::Stopped),
            Err(Interrupted::Failed(failure)) => failure,
        };
        let cut = parts
            .is_in_part()
            .then(|| format!("not received as a whole: {failure}"));
        self.line = None;
        match cut {
            Some(reason) => {
                self.failure = Some(failure);
                Ok(self.frame(Err(reason.into())))
            }
            None => Err(Interrupted::Failed(failure)),
        }
    }
}

impl Source for Mjpeg {
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

fn read_part(connection: &mut Connection, parts: &mut Parts, stop: &StopFlag) -> Result<Vec<u8>, Interrupted> {
    let mut piece = vec![0; READ_BYTES];
    loop {
        if let Some(part) = parts.next().map_err(Interrupted::Failed)? {
            return Ok(part);
        }
        let read = connection.read(stop, &mut piece)?;
        parts.push(&piece[..read]);
    }
}

#[cfg(test)]
mod tests;
