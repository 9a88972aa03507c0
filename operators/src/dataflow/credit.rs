//! Bounds the frames of one camera that are alive in this process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Waker;

/// Counts the permits of one camera that are out.
#[derive(Default)]
pub struct Credit {
    out: AtomicUsize,
}

impl Credit {
    /// Frames alive now.
    pub fn out(&self) -> usize {
        self.out.load(Ordering::Acquire)
    }

    /// Takes a permit; `waker` is woken when it comes back.
    pub fn take(self: &Arc<Self>, waker: &Arc<Waker>) -> Permit {
        self.out.fetch_add(1, Ordering::AcqRel);
        Permit {
            credit: self.clone(),
            waker: waker.clone(),
        }
    }
}

/// Held by a frame while its pixels are alive; dropping it lets the next frame of the camera in.
pub struct Permit {
    credit: Arc<Credit>,
    waker: Arc<Waker>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.credit.out.fetch_sub(1, Ordering::AcqRel);
        self.waker.wake();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
