//! Wakes an operator from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use timely::scheduling::SyncActivator;

/// At most one pending activation of an operator, whatever the rate of its events.
pub struct Waker {
    activator: SyncActivator,
    armed: AtomicBool,
}

impl Waker {
    /// A waker for the operator that `activator` activates.
    pub fn new(activator: SyncActivator) -> Arc<Self> {
        Arc::new(Self {
            activator,
            armed: AtomicBool::new(false),
        })
    }

    /// Schedules the operator, unless it already is.
    pub fn wake(&self) {
        if !self.armed.swap(true, Ordering::AcqRel) {
            // An error means that the worker is gone: then nobody is left to wake.
            let _ = self.activator.activate();
        }
    }

    /// The operator's first line, before it drains any queue: what is pushed later wakes it again.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Release);
    }
}
