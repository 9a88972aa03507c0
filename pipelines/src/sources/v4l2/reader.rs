//! The thread that a camera's driver is spoken to on: the driver may hang, and the crate that speaks to it may panic.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::LOOK_EVERY;
use crate::sources::{Clock, DEVICE_THREAD, StopFlag};

/// Opens the camera and lets it send, or says why not.
pub(super) type Open = dyn Fn() -> Result<Box<dyn Sending>, String> + Send + Sync;

/// The bytes of a picture, or why they cannot be used.
pub(super) type Picture = Result<Vec<u8>, String>;

/// A camera that sends. It stops when it is dropped.
pub(super) trait Sending {
    /// The next picture, if one comes within `longest`.
    ///
    /// # Errors
    /// A sentence, where no further one can be had before it is opened again.
    fn picture(&mut self, longest: Duration) -> Result<Option<Picture>, String>;
}

/// What is heard of a camera.
pub(super) enum Said {
    /// A picture, and when it was taken from the driver, microseconds.
    Picture(Picture, u64),
    /// Why there is none; the camera is closed, and can be opened again.
    Closed(String),
}

/// Reads a camera until that fails, or until it is dropped.
pub(super) struct Reader {
    /// What it says. It waits until that is heard.
    pub(super) said: Receiver<Said>,
    ends: StopFlag,
}

impl Reader {
    /// Opens the camera and reads it, on a thread of its own. A camera that is silent for `silence_max` is closed.
    ///
    /// # Errors
    /// A sentence, if the system gives no thread.
    pub(super) fn start(open: Arc<Open>, clock: Arc<dyn Clock>, silence_max: Duration) -> Result<Self, String> {
        let (says, said) = sync_channel(0);
        let ends = StopFlag::default();
        let ended = ends.clone();
        let read = move || {
            let closed = read(open.as_ref(), clock.as_ref(), silence_max, &says, &ended);
            if let Err(failure) = closed {
                // Nobody may listen any more.
                let _ = says.send(Said::Closed(failure));
            }
        };
        let thread = thread::Builder::new().name(DEVICE_THREAD.into()).spawn(read);
        // It ends by itself; who waited for it would wait for its driver.
        thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { said, ends })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ends.stop();
    }
}

fn read(
    open: &Open,
    clock: &dyn Clock,
    silence_max: Duration,
    says: &SyncSender<Said>,
    ended: &StopFlag,
) -> Result<(), String> {
    let mut sending = open()?;
    let mut last = Instant::now();
    while !ended.is_stopped() {
        if let Some(picture) = sending.picture(LOOK_EVERY.min(silence_max))? {
            if says.send(Said::Picture(picture, clock.now_us())).is_err() {
                break;
            }
            last = Instant::now();
        } else if last.elapsed() >= silence_max {
            return Err(format!("the camera was silent for {:.1} s", silence_max.as_secs_f64()));
        }
    }
    Ok(())
}
