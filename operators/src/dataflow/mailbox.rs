//! The bounded queue between the thread that reads a camera and the dataflow.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::Waker;
use crate::{DropReason, DroppedFrame, Frame, Stamp};

/// Drops that wait to be published: at a thousand a second a minute's worth. Beyond that the reader waits, because the
/// dataflow has stopped for good and nothing may go uncounted.
const DROPS_MAX: usize = 65_536;

/// What happens to a frame that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Its reader waits.
    Block,
    /// The oldest frame in the queue is dropped for it: a late verdict is a missed part.
    DropOldest,
    /// It is dropped.
    DropNewest,
}

/// The reading thread's end. Dropping it ends the camera's stream.
pub struct Outbox(Arc<Mailbox>);

/// The operator's end.
pub struct Inbox {
    pub(super) camera: Arc<str>,
    mailbox: Arc<Mailbox>,
}

/// What an inbox holds at the moment.
pub(super) enum Post {
    /// A frame waits, which enters at this time if it is not late.
    Frame {
        time_us: u64,
        seq: u64,
    },
    Nothing,
    Ended,
}

struct Mailbox {
    depth: usize,
    overflow: Overflow,
    queue: Mutex<Queue>,
    space: Condvar,
    waker: OnceLock<Arc<Waker>>,
}

/// A dropped frame, and its time where that comes from a recording.
pub(super) type Drop = (DroppedFrame, Option<Stamp>);

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    dropped: VecDeque<Drop>,
    captured: u64,
    no_more_frames: bool,
    nobody_listens: bool,
}

/// A queue of at most `depth` frames of `camera`.
pub fn mailbox(camera: Arc<str>, depth: usize, overflow: Overflow) -> (Outbox, Inbox) {
    let mailbox = Arc::new(Mailbox {
        depth: depth.max(1),
        overflow,
        queue: Mutex::default(),
        space: Condvar::new(),
        waker: OnceLock::new(),
    });
    (Outbox(mailbox.clone()), Inbox { camera, mailbox })
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.space.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

impl Outbox {
    /// Hands over a captured frame. Where the queue is full, that or an older one is dropped, or the call waits.
    ///
    /// # Errors
    /// Gives the frame back when the dataflow is gone and the reader should stop.
    pub fn send(&self, frame: Frame) -> Result<(), Frame> {
        let Self(mailbox) = self;
        let mut queue = mailbox.lock();
        while !queue.nobody_listens && mailbox.must_wait(&queue) {
            queue = mailbox.wait(queue);
        }
        if queue.nobody_listens {
            return Err(frame);
        }
        queue.captured += 1;
        match mailbox.overflow {
            Overflow::DropNewest if queue.frames.len() >= mailbox.depth => {
                queue.dropped.push_back(dropped(frame, DropReason::DropNewest));
            }
            _ => queue.frames.push_back(frame),
        }
        if queue.frames.len() > mailbox.depth
            && let Some(oldest) = queue.frames.pop_front()
        {
            queue.dropped.push_back(dropped(oldest, DropReason::DropOldest));
        }
        drop(queue);
        mailbox.wake();
        Ok(())
    }

    /// Hands on that a frame was dropped when it was recorded.
    ///
    /// # Errors
    /// As [`Outbox::send`].
    pub fn send_dropped(&self, frame: DroppedFrame, stamp: Stamp) -> Result<(), DroppedFrame> {
        let Self(mailbox) = self;
        let mut queue = mailbox.lock();
        while !queue.nobody_listens && queue.dropped.len() >= DROPS_MAX {
            queue = mailbox.wait(queue);
        }
        if queue.nobody_listens {
            return Err(frame);
        }
        queue.captured += 1;
        queue.dropped.push_back((frame, Some(stamp)));
        drop(queue);
        mailbox.wake();
        Ok(())
    }

    /// Frames handed over so far, those that were dropped included.
    pub fn captured(&self) -> u64 {
        self.0.lock().captured
    }
}

impl Mailbox {
    fn must_wait(&self, queue: &Queue) -> bool {
        match self.overflow {
            Overflow::Block => queue.frames.len() >= self.depth,
            Overflow::DropOldest | Overflow::DropNewest => queue.dropped.len() >= DROPS_MAX,
        }
    }
}

fn dropped(frame: Frame, reason: DropReason) -> Drop {
    let dropped = DroppedFrame {
        camera: frame.camera,
        seq: frame.seq,
        captured_at_us: frame.captured_at_us,
        reason,
    };
    (dropped, None)
}

impl std::ops::Drop for Outbox {
    fn drop(&mut self) {
        self.0.lock().no_more_frames = true;
        self.0.wake();
    }
}

impl Inbox {
    pub(super) fn attach(&self, waker: &Arc<Waker>) {
        let _ = self.mailbox.waker.set(waker.clone());
    }

    /// What is there, and the frames that were dropped since the last call, oldest first: in one look, so that a drop which comes
    /// before a frame in a recording is told before it. A stream has ended when both are through.
    pub(super) fn look(&self) -> (VecDeque<Drop>, Post) {
        let mut queue = self.mailbox.lock();
        let dropped = std::mem::take(&mut queue.dropped);
        let post = match queue.frames.front() {
            Some(frame) => Post::Frame {
                time_us: frame.recorded.map_or(frame.captured_at_us, |recorded| recorded.time_us),
                seq: frame.seq,
            },
            None if queue.no_more_frames => Post::Ended,
            None => Post::Nothing,
        };
        drop(queue);
        if !dropped.is_empty() {
            self.mailbox.space.notify_all();
        }
        (dropped, post)
    }

    /// The oldest frame. It may not be the one that was looked at: that can have been dropped since.
    pub(super) fn take(&self) -> Option<Frame> {
        let frame = self.mailbox.lock().frames.pop_front();
        self.mailbox.space.notify_all();
        frame
    }
}

impl std::ops::Drop for Inbox {
    fn drop(&mut self) {
        self.mailbox.lock().nobody_listens = true;
        self.mailbox.space.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(seq: u64) -> Frame {
        Frame {
            camera: "one".into(),
            seq,
            captured_at_us: seq,
            origin: "".into(),
            bytes: Err("none".into()),
            recorded: None,
        }
    }

    fn drained(inbox: &Inbox) -> (Vec<u64>, Vec<u64>) {
        let (dropped, _) = inbox.look();
        let dropped = dropped.into_iter().map(|(dropped, _)| dropped.seq).collect();
        let frames = std::iter::from_fn(|| inbox.take()).map(|frame| frame.seq).collect();
        (frames, dropped)
    }

    #[test]
    fn every_captured_frame_is_taken_or_dropped() {
        for (overflow, frames, gone) in [
            (Overflow::DropOldest, [7, 8, 9], [0, 1, 2, 3, 4, 5, 6]),
            (Overflow::DropNewest, [0, 1, 2], [3, 4, 5, 6, 7, 8, 9]),
        ] {
            let (outbox, inbox) = mailbox("one".into(), 3, overflow);
            (0..10).for_each(|seq| outbox.send(frame(seq)).unwrap());
            assert_eq!(outbox.captured(), 10);
            drop(outbox);
            assert_eq!(drained(&inbox), (frames.to_vec(), gone.to_vec()), "{overflow:?}");
            assert!(matches!(inbox.look().1, Post::Ended));
        }
    }

    #[test]
    fn a_full_queue_holds_its_reader_until_there_is_space_or_nobody() {
        let (outbox, inbox) = mailbox("one".into(), 2, Overflow::Block);
        let reader = std::thread::spawn(move || (0..5).map(|seq| outbox.send(frame(seq)).is_ok()).collect::<Vec<_>>());
        let mut taken = 0;
        while taken < 2 {
            taken += u64::from(inbox.take().is_some());
        }
        drop(inbox);
        let sent = reader.join().unwrap();
        assert!(sent[..2].iter().all(|sent| *sent) && !sent[4], "{sent:?}");
    }

    #[test]
    fn a_stream_ends_with_its_last_drops() {
        let (outbox, inbox) = mailbox("one".into(), 1, Overflow::DropOldest);
        outbox.send(frame(0)).unwrap();
        outbox.send(frame(1)).unwrap();
        drop(outbox);
        let (dropped, post) = inbox.look();
        assert_eq!(dropped.len(), 1);
        assert!(matches!(post, Post::Frame { time_us: 1, seq: 1 }));
        assert_eq!(inbox.take().map(|frame| frame.seq), Some(1));
        assert!(matches!(inbox.look().1, Post::Ended));
    }

    #[test]
    fn a_drop_that_was_recorded_before_a_frame_is_seen_before_it() {
        const PAIRS: u64 = 200_000;
        let (outbox, inbox) = mailbox("one".into(), 4, Overflow::Block);
        let reader = std::thread::spawn(move || {
            for pair in 0..PAIRS {
                let (drop, _) = dropped(frame(2 * pair), DropReason::DropOldest);
                let stamp = Stamp { time_us: 0, low_us: 0 };
                outbox.send_dropped(drop, stamp).unwrap();
                outbox.send(frame(2 * pair + 1)).unwrap();
            }
        });
        let mut n_dropped = 0;
        loop {
            let (dropped, post) = inbox.look();
            n_dropped += dropped.len() as u64;
            match post {
                Post::Frame { seq, .. } => {
                    assert!(
                        n_dropped > seq / 2,
                        "frame {seq} is seen, and {n_dropped} of the drops before it"
                    );
                    inbox.take();
                }
                Post::Nothing => {}
                Post::Ended => break,
            }
        }
        assert_eq!(n_dropped, PAIRS);
        reader.join().unwrap();
    }
}
