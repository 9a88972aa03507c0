//! The camera itself, through its driver.
//!
//! The crate that speaks to the driver panics where the driver says something that it does not know, and where a stream cannot
//! be ended. Here that is an error like others; the program spares the thread that it happens on, see [`super::reader`].

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use moq_v4l::buffer::{Flags, Type};
use moq_v4l::io::mmap::Stream;
use moq_v4l::io::traits::{CaptureStream, Stream as _};
use moq_v4l::video::Capture;
use moq_v4l::video::capture::Parameters;
use moq_v4l::{Format, FourCC, Fraction};

use super::reader::{Picture, Sending};
use super::yuyv::Yuyv;
use super::{LOOK_EVERY, V4l2Options};

/// Buffers that the driver is asked for: one in hand, and three for it to fill.
const BUFFERS: u32 = 4;
/// Most buffers that a driver gives (`VIDEO_MAX_FRAME`).
const BUFFERS_MAX: usize = 32;
/// `POLLIN`: a picture can be taken.
const READABLE: i16 = 1;
/// `ENODEV`: the camera was unplugged.
const UNPLUGGED: i32 = 19;

/// How the pictures come.
#[derive(Clone, Copy)]
enum Pixels {
    Mjpg,
    Yuyv(Yuyv),
}

impl Pixels {
    fn encode(self, bytes: &[u8]) -> Picture {
        match self {
            Self::Mjpg if bytes.is_empty() => Err("the camera sent an empty picture".into()),
            Self::Mjpg => Ok(bytes.to_vec()),
            Self::Yuyv(layout) => layout.to_bmp(bytes),
        }
    }
}

/// A camera that sends.
pub(super) struct Device {
    handles: Handles,
    pixels: Pixels,
}

impl Device {
    /// Opens the camera, chooses its format, and lets it send.
    ///
    /// # Errors
    /// A sentence: what was tried, and what the system says, or what the camera has instead.
    pub(super) fn open(path: &Path, options: &V4l2Options) -> Result<Self, String> {
        let camera = tried("open the camera", || moq_v4l::Device::with_path(path))?;
        let mut handles = Handles {
            camera: Some(camera),
            stream: None,
        };
        let camera = handles.camera()?;
        let pixels = choose_pixels(camera, options.size_px)?;
        if let Some(fps) = options.fps {
            choose_rate(camera, fps)?;
        }
        let stream = tried("get buffers from the camera", || {
            Stream::with_buffers(camera, Type::VideoCapture, BUFFERS)
        })?;
        start(handles.stream.insert(stream))?;
        Ok(Self { handles, pixels })
    }
}

impl Sending for Device {
    fn picture(&mut self, longest: Duration) -> Result<Option<Picture>, String> {
        let longest_millis = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
        let handle = self.handles.camera()?.handle();
        match handle.poll(READABLE, longest_millis) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(format!("cannot wait for the camera: {error}")),
        }
        let stream = self.handles.stream.as_mut().ok_or("the camera is closed")?;
        let (buffer, about) = tried("take a picture", || stream.next())?;
        if about.flags.contains(Flags::ERROR) {
            return Ok(Some(Err("the driver marks the picture as damaged".into())));
        }
        let bytes = buffer.get(..about.bytesused as usize);
        let bytes = bytes.ok_or("the driver states more bytes than its buffer has");
        Ok(Some(
            bytes.map_err(str::to_owned).and_then(|bytes| self.pixels.encode(bytes)),
        ))
    }
}

/// What has to be closed, in which order.
struct Handles {
    /// `None` only while it is dropped.
    camera: Option<moq_v4l::Device>,
    stream: Option<Stream<'static>>,
}

impl Handles {
    fn camera(&self) -> Result<&moq_v4l::Device, String> {
        self.camera.as_ref().ok_or_else(|| "the camera is closed".into())
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            match stream.stop() {
                Err(error) if error.raw_os_error() != Some(UNPLUGGED) => {
                    // Dropping it would stop it again and panic, and its buffers might panic while that unwinds, which would end
                    // the program. So it stays open; no driver is known to refuse this.
                    mem::forget(stream);
                }
                _ => let_go(stream),
            }
        }
        // Last, so that closing it cannot fail while something else unwinds.
        let_go(self.camera.take());
    }
}

/// Drops what may panic at that. There is nothing left to do about it then.
fn let_go<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

/// What the system answers to `ask`.
fn tried<T>(what: &str, ask: impl FnOnce() -> io::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(answer) => answer.map_err(|error| format!("cannot {what}: {error}")),
        Err(_) => Err(format!("cannot {what}: its driver gives an answer that makes no sense")),
    }
}

/// MJPG if the camera has it in that size, or else YUYV.
fn choose_pixels(camera: &moq_v4l::Device, size_px: Option<(u32, u32)>) -> Result<Pixels, String> {
    let current = tried("ask the camera for its format", || camera.format())?;
    let wanted_px = size_px.unwrap_or((current.width, current.height));
    let mut other_px = None;
    for code in [b"MJPG", b"YUYV"] {
        let wanted = Format::new(wanted_px.0, wanted_px.1, FourCC::new(code));
        let found = tried("set the format of the camera", || camera.set_format(&wanted))?;
        if found.fourcc.repr != *code {
            continue;
        }
        if size_px.is_some_and(|size_px| size_px != (found.width, found.height)) {
            other_px = Some((found.width, found.height));
            continue;
        }
        return match code {
            b"MJPG" => Ok(Pixels::Mjpg),
            _ => Yuyv::new(found.width, found.height, found.stride).map(Pixels::Yuyv),
        };
    }
    Err(match other_px {
        Some((width, height)) => format!(
            "the camera has {width}x{height} pixels instead of {}x{}: ask for a size that it has",
            wanted_px.0, wanted_px.1
        ),
        None => "the camera has neither MJPG nor YUYV pictures".into(),
    })
}

fn choose_rate(camera: &moq_v4l::Device, fps: u32) -> Result<(), String> {
    let wanted = Parameters::with_fps(fps);
    let found = tried("set the rate of the camera", || camera.set_params(&wanted))?.interval;
    if is_rate(found, fps) {
        return Ok(());
    }
    Err(format!(
        "the camera takes a picture every {}/{} s instead of {fps} a second: ask for a rate that it has",
        found.numerator, found.denominator
    ))
}

/// Whether pictures come at `fps`, to half a picture a second: 30000/1001 is 30.
fn is_rate(interval: Fraction, fps: u32) -> bool {
    let (numerator, denominator) = (u64::from(interval.numerator), u64::from(interval.denominator));
    numerator != 0 && 2 * u128::from(denominator.abs_diff(numerator * u64::from(fps))) <= u128::from(numerator)
}

/// Gives the driver all buffers but the first and lets it fill them. The first is given when a picture is taken: the crate then
/// gives back the one in hand, and takes it for that.
fn start(stream: &mut Stream<'static>) -> Result<(), String> {
    let given = (1..BUFFERS_MAX)
        .take_while(|index| stream.queue(*index).is_ok())
        .count();
    if given == 0 {
        return Err("cannot get buffers from the camera: its driver has none left".into());
    }
    // The crate waits for ever otherwise, should the driver take back that there is a picture.
    stream.set_timeout(LOOK_EVERY);
    tried("start the camera", || stream.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_compared_to_half_a_picture_a_second() {
        for (numerator, denominator, fps, is) in [
            (1, 30, 30, true),
            (1001, 30_000, 30, true),
            (333_333, 10_000_000, 30, true),
            (1, 25, 30, false),
            (0, 30, 30, false),
            (0, 0, 30, false),
            (u32::MAX, u32::MAX, u32::MAX, false),
            (1, 0, 1, false),
        ] {
            assert_eq!(
                is_rate(Fraction::new(numerator, denominator), fps),
                is,
                "{numerator}/{denominator}"
            );
        }
    }

    #[test]
    fn a_panic_of_the_crate_is_an_error() {
        let answer = tried("look", || -> io::Result<()> { panic!("no such colour space") });
        assert_eq!(
            answer,
            Err("cannot look: its driver gives an answer that makes no sense".into())
        );
    }

    #[test]
    fn a_file_is_no_camera() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let said = Device::open(file.path(), &V4l2Options::default()).map(drop);
        assert!(
            said.as_ref()
                .is_err_and(|said| said.starts_with("cannot ask the camera for its format: ")),
            "{said:?}"
        );
    }
}
