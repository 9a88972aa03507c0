//! What is said about a camera while it runs: labels, other detectors, lots, questions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::{ArrivedLabel, Waker};

/// Controls of one camera that wait for the dataflow, which takes them whenever it looks: more than anybody says in that time.
const CONTROLS_MAX: usize = 65_536;

/// Setups whose first frame is remembered until somebody asks: more than anybody sets up between two looks.
const BEGUN_MAX: usize = 1_024;

/// Something that is said about a camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Control {
    /// What one of its frames truly is.
    Label(ArrivedLabel),
    /// Frames from now on show parts of this lot.
    LotStarted(Arc<str>),
    /// The frames from the next one on are looked at by this one of the camera's detectors.
    Setup(u32),
    /// What another threshold would do.
    WhatIf {
        /// What the question is called.
        name: Arc<str>,
        /// The calibrated score above which a frame would be rejected; none when nobody asks any more.
        threshold: Option<f64>,
    },
}

/// A control that was let in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Controlled {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Position among the controls of the camera, counted from 0.
    pub ordinal: u64,
    /// What was said.
    pub control: Control,
}

/// Where a recorded control was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// At this time in the dataflow, microseconds.
    pub time_us: u64,
    /// Before this frame of the camera, and after those with lower numbers.
    pub before_seq: u64,
}

/// The controls of one camera on their way into the dataflow; clones are the same queue.
#[derive(Clone, Default)]
pub struct ControlQueue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<VecDeque<(Control, Option<Place>)>>,
    /// A setup, and the frame at which it is to take effect.
    planned: Mutex<Option<(u32, u64)>>,
    /// Setups with the first frame that each looked at, until somebody asks.
    begun: Mutex<VecDeque<(u32, u64)>>,
    waker: OnceLock<Arc<Waker>>,
}

impl ControlQueue {
    /// Says something now, or where it was said in a recording.
    ///
    /// # Errors
    /// Gives the control back when as many wait as may.
    pub fn say(&self, control: Control, place: Option<Place>) -> Result<(), Control> {
        let mut waiting = self.lock();
        if waiting.len() >= CONTROLS_MAX {
            return Err(control);
        }
        waiting.push_back((control, place));
        drop(waiting);
        if let Some(waker) = self.0.waker.get() {
            waker.wake();
        }
        Ok(())
    }

    /// Lets a setup take effect at frame `at_seq`, or at the next one if that has come before. If the camera ends before, it never
    /// does. A camera has one plan: what was planned before has to be given up.
    pub fn plan(&self, setup: u32, at_seq: u64) {
        *lock(&self.0.planned) = Some((setup, at_seq));
        if let Some(waker) = self.0.waker.get() {
            waker.wake();
        }
    }

    /// Gives up the setup that is planned and has not taken effect.
    pub fn give_up_plan(&self) -> Option<u32> {
        lock(&self.0.planned).take().map(|(setup, _)| setup)
    }

    /// The setup that is planned, and the frame at which it is to take effect.
    pub fn planned(&self) -> Option<(u32, u64)> {
        *lock(&self.0.planned)
    }

    /// The setups that took effect since this was asked last, with the first frame that each looked at.
    pub fn begun(&self) -> Vec<(u32, u64)> {
        lock(&self.0.begun).drain(..).collect()
    }

    /// Notes the first frame that a setup looks at.
    pub(super) fn begins(&self, setup: u32, seq: u64) {
        let mut begun = lock(&self.0.begun);
        if begun.len() == BEGUN_MAX {
            begun.pop_front();
        }
        begun.push_back((setup, seq));
    }

    pub(super) fn attach(&self, waker: &Arc<Waker>) {
        let _ = self.0.waker.set(waker.clone());
    }

    /// The next control whose turn it is, where `next_seq` is the frame that is let in next; none: there is none yet. After the
    /// last frame everything has its turn.
    pub(super) fn take(&self, next_seq: Option<u64>, after_last: bool) -> Option<(Control, Option<Place>)> {
        let mut planned = lock(&self.0.planned);
        if let Some((setup, _)) = planned.take_if(|(_, at_seq)| next_seq.is_some_and(|next_seq| *at_seq <= next_seq)) {
            return Some((Control::Setup(setup), None));
        }
        drop(planned);
        let mut waiting = self.lock();
        let due = |place: &Place| after_last || next_seq.is_some_and(|next_seq| place.before_seq <= next_seq);
        match waiting.front() {
            Some((_, place)) if place.as_ref().is_none_or(due) => waiting.pop_front(),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Control, Option<Place>)>> {
        lock(&self.0.waiting)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::{Patience, Watermark};
    use super::*;

    #[test]
    fn a_recorded_control_waits_for_its_frame_and_a_live_one_does_not() {
        let queue = ControlQueue::default();
        queue.say(Control::Setup(1), None).unwrap();
        let place = Place {
            time_us: 7,
            before_seq: 5,
        };
        queue.say(Control::Setup(2), Some(place)).unwrap();
        assert_eq!(queue.take(Some(0), false), Some((Control::Setup(1), None)));
        assert_eq!(queue.take(Some(4), false), None);
        assert_eq!(queue.take(None, false), None);
        assert_eq!(queue.take(Some(6), false), Some((Control::Setup(2), Some(place))));
        queue.say(Control::Setup(3), Some(place)).unwrap();
        assert_eq!(queue.take(None, true), Some((Control::Setup(3), Some(place))));
    }

    #[test]
    fn a_plan_waits_for_its_frame_and_holds_up_nothing() {
        let queue = ControlQueue::default();
        queue.plan(1, 5);
        queue.say(Control::LotStarted("L7".into()), None).unwrap();
        assert_eq!(
            queue.take(Some(4), false),
            Some((Control::LotStarted("L7".into()), None))
        );
        assert_eq!(queue.take(Some(4), false), None);
        assert_eq!(queue.take(None, false), None, "no frame waits");
        assert_eq!(queue.take(None, true), None, "the camera has ended before");
        assert_eq!(queue.planned(), Some((1, 5)));
        assert_eq!(queue.take(Some(5), false), Some((Control::Setup(1), None)));
        assert_eq!((queue.take(Some(5), false), queue.planned()), (None, None));
        queue.plan(2, 3);
        assert_eq!(
            queue.take(Some(9), false),
            Some((Control::Setup(2), None)),
            "its frame has passed"
        );
        queue.plan(3, 3);
        assert_eq!((queue.give_up_plan(), queue.give_up_plan()), (Some(3), None));
        assert_eq!(queue.take(Some(9), false), None);
    }

    #[test]
    fn what_is_said_on_an_idle_line_does_not_let_time_run_ahead() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut watermark = Watermark::new([Patience::LIVE], 0, start);
        watermark.stamp(0, 1_000_000, start);
        assert_eq!(watermark.advance(at(3_000), |_| false), 3_000_000);
        assert_eq!(watermark.stamp_control(0, None), 3_000_000);
        assert_eq!(watermark.advance(at(3_050), |_| false), 3_000_000);
        let frame = watermark.stamp(0, 4_100_000, at(3_100));
        assert_eq!(frame.time_us, 4_100_000, "it is not late");
    }

    #[test]
    fn a_full_queue_gives_the_control_back() {
        let queue = ControlQueue::default();
        (0..CONTROLS_MAX).for_each(|setup| queue.say(Control::Setup(setup as u32), None).unwrap());
        assert_eq!(queue.say(Control::Setup(9), None), Err(Control::Setup(9)));
    }
}
