//! Where the workers of a run are in event time, so that a silent worker does not hold the others.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Where a worker is. The default is where every worker begins: nothing has come, and others wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The time below which none of its frames will enter any more, microseconds.
    pub reached_us: u64,
    /// Where its cameras are by their clocks, those of silent ones included, microseconds; none before their first frame.
    pub newest_us: Option<u64>,
    /// Whether others wait for it: it has a camera that has neither ended nor fallen silent or behind.
    pub waited_for: bool,
    /// Whether all its cameras have ended, or it has none.
    pub ended: bool,
}

impl Default for Position {
    fn default() -> Self {
        Self {
            reached_us: 0,
            newest_us: None,
            waited_for: true,
            ended: false,
        }
    }
}

/// The positions of all workers as this process knows them. Workers of this process write theirs; those of other processes are
/// written as they are told. An old position is no error, only a reason to wait longer.
#[derive(Clone)]
pub struct Abreast(Arc<Mutex<Vec<Position>>>);

impl Abreast {
    /// So many workers in all processes, none of which has been heard of.
    pub fn new(workers: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![Position::default(); workers])))
    }

    /// A worker is here now.
    pub fn tell(&self, worker: usize, position: Position) {
        if let Some(told) = self.positions().get_mut(worker) {
            *told = position;
        }
    }

    /// Where a worker is.
    pub fn position(&self, worker: usize) -> Position {
        self.positions().get(worker).copied().unwrap_or_default()
    }

    /// Where the other workers are.
    pub fn others(&self, worker: usize) -> Vec<Position> {
        let positions = self.positions();
        let others = positions.iter().enumerate().filter(|(other, _)| *other != worker);
        others.map(|(_, position)| *position).collect()
    }

    /// The time below which no frame will enter any more at any worker, microseconds; none when all have ended.
    pub fn reached_us(&self) -> Option<u64> {
        let positions = self.positions();
        let going_on = positions.iter().filter(|position| !position.ended);
        going_on.map(|position| position.reached_us).min()
    }

    fn positions(&self) -> std::sync::MutexGuard<'_, Vec<Position>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
