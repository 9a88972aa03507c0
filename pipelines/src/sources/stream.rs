//! A camera as a source of frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use intakt_operators::Frame;

/// The frames of one camera in order of capture, `seq` counted from 0 without gaps. Drained by a thread of its own, which
/// waits while the dataflow is busy.
pub struct CameraStream {
    /// Name of the camera; every frame carries it.
    pub camera: Arc<str>,
    /// The frames.
    pub frames: Box<dyn Iterator<Item = Frame> + Send>,
}

/// Ends all streams that were made with it, for example because nobody can take their verdicts any more.
#[derive(Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// No further frame is read.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl CameraStream {
    /// The same stream, which ends when `flag` is set.
    #[must_use]
    pub fn until(self, flag: &StopFlag) -> Self {
        let flag = flag.clone();
        Self {
            camera: self.camera,
            frames: Box::new(self.frames.take_while(move |_| !flag.is_stopped())),
        }
    }
}
