//! The bounded queue between the thread that reads a camera and the dataflow.

use std::sync::{Arc, OnceLock};

use crossbeam::channel::{Receiver, SendError, Sender, TryRecvError, bounded};

use super::Waker;
use crate::Frame;

/// The reading thread's end. Dropping it ends the camera's stream.
pub struct Outbox {
    // An Option, so that `drop` can hang up before it wakes the operator.
    sender: Option<Sender<Frame>>,
    waker: Arc<OnceLock<Arc<Waker>>>,
}

/// The operator's end.
pub struct Inbox {
    pub(super) camera: Arc<str>,
    receiver: Receiver<Frame>,
    waker: Arc<OnceLock<Arc<Waker>>>,
}

/// What an inbox holds at the moment.
pub(super) enum Post {
    Frame(Frame),
    Nothing,
    Ended,
}

/// A queue of at most `depth` frames of `camera`; a full one blocks its sender.
pub fn mailbox(camera: Arc<str>, depth: usize) -> (Outbox, Inbox) {
    let (sender, receiver) = bounded(depth);
    let waker = Arc::new(OnceLock::new());
    (
        Outbox {
            sender: Some(sender),
            waker: waker.clone(),
        },
        Inbox {
            camera,
            receiver,
            waker,
        },
    )
}

impl Outbox {
    /// Hands over a frame, waiting while the queue is full.
    ///
    /// # Errors
    /// Gives the frame back when the dataflow is gone and the reader should stop.
    pub fn send(&self, frame: Frame) -> Result<(), Frame> {
        let Some(sender) = &self.sender else { return Err(frame) };
        sender.send(frame).map_err(|SendError(frame)| frame)?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.sender = None;
        self.wake();
    }
}

impl Inbox {
    pub(super) fn attach(&self, waker: &Arc<Waker>) {
        let _ = self.waker.set(waker.clone());
    }

    pub(super) fn take(&self) -> Post {
        match self.receiver.try_recv() {
            Ok(frame) => Post::Frame(frame),
            Err(TryRecvError::Empty) => Post::Nothing,
            Err(TryRecvError::Disconnected) => Post::Ended,
        }
    }
}
