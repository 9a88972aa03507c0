//! A source whose frames are an iterator's.

use std::sync::Arc;

use intakt_operators::Frame;

use super::{Next, Source, StopFlag};

/// The frames of one camera in order of capture, `seq` counted from 0 without gaps. They wait while the dataflow is busy.
pub struct CameraStream {
    /// Name of the camera; every frame carries it.
    pub camera: Arc<str>,
    /// The frames.
    pub frames: Box<dyn Iterator<Item = Frame> + Send>,
}

impl Source for CameraStream {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    fn is_live(&self) -> bool {
        false
    }

    fn resume_at(&mut self, seq: u64) {
        let seq = usize::try_from(seq).unwrap_or(usize::MAX);
        let frames = std::mem::replace(&mut self.frames, Box::new(std::iter::empty()));
        self.frames = Box::new(frames.skip(seq));
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        if stop.is_stopped() {
            return Next::Ended;
        }
        self.frames.next().map_or(Next::Ended, Next::Frame)
    }
}
