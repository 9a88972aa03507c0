//! Every frame that was captured has one outcome: checked hop by hop, when nothing more can come of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::HOP_US;
use crate::Outcome;

/// By hop and camera: frames that were let in or dropped before, less those that have an outcome.
type Hops = BTreeMap<u64, BTreeMap<Arc<str>, i64>>;

/// What the cameras of a worker let in, for whoever [accounts](Account) for it. Nothing is noted once it is gone.
#[derive(Clone, Default)]
pub struct Ledger(Rc<RefCell<Hops>>);

/// Where entries are noted.
pub(super) struct Entries(Weak<RefCell<Hops>>);

impl Ledger {
    pub(super) fn entries(&self) -> Entries {
        Entries(Rc::downgrade(&self.0))
    }
}

impl Entries {
    /// A frame of the camera is on its way, or was dropped.
    pub(super) fn note(&self, camera: &Arc<str>, time_us: u64) {
        if let Some(hops) = self.0.upgrade() {
            add(&mut hops.borrow_mut(), camera, time_us, 1);
        }
    }
}

fn add(hops: &mut Hops, camera: &Arc<str>, time_us: u64, frames: i64) {
    let cameras = hops.entry(time_us / HOP_US).or_default();
    match cameras.get_mut(camera) {
        Some(open) => *open += frames,
        None => drop(cameras.insert(camera.clone(), frames)),
    }
}

/// Accounts for frames.
pub trait Account<'scope> {
    /// Passes outcomes on at their time. When the frontier has passed a hop, `captured = judged + unreadable + dropped` holds in
    /// it for every camera of this worker.
    ///
    /// Panics where it does not (a bug of ours), because a run that loses frames must not go on as if it had not.
    fn account(self, ledger: Ledger) -> Self;
}

impl<'scope> Account<'scope> for StreamVec<'scope, u64, Outcome> {
    fn account(self, ledger: Ledger) -> Self {
        type Builder = CapacityContainerBuilder<Vec<Outcome>>;
        self.unary_frontier::<Builder, _, _, _>(Pipeline, "Account", move |_, _| {
            move |(input, frontier), output| {
                let mut hops = ledger.0.borrow_mut();
                input.for_each(|stamp, outcomes| {
                    let Some(&time_us) = stamp.least() else { return };
                    for outcome in outcomes.iter() {
                        add(&mut hops, outcome.camera(), time_us, -1);
                    }
                    output.session(&stamp).give_container(outcomes);
                });
                let reached = frontier.frontier().first().map(|reached_us| reached_us / HOP_US);
                while let Some(entry) = hops.first_entry()
                    && reached.is_none_or(|reached| *entry.key() < reached)
                {
                    let (hop, cameras) = entry.remove_entry();
                    for (camera, open) in cameras {
                        let from_us = hop * HOP_US;
                        assert_eq!(
                            open, 0,
                            "every frame of camera {camera} in the hop of {from_us} us has one outcome"
                        );
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::{Input, Probe};

    use super::*;
    use crate::{DropReason, DroppedFrame};

    /// Notes a frame of each time, accounts for those of `of_outcomes`, and lets the frontier pass `until_us`.
    fn settle(noted: &'static [u64], of_outcomes: &'static [u64], until_us: u64) {
        timely::execute_directly(move |worker| {
            let ledger = Ledger::default();
            let entries = ledger.entries();
            let mut outcomes: InputHandle<u64, CapacityContainerBuilder<Vec<Outcome>>> = InputHandle::new();
            let probe = worker.dataflow::<u64, _, _>(|scope| scope.input_from(&mut outcomes).account(ledger).probe().0);
            let camera: Arc<str> = "left".into();
            noted.iter().for_each(|&time_us| entries.note(&camera, time_us));
            for &captured_at_us in of_outcomes {
                outcomes.advance_to(captured_at_us);
                outcomes.send(Outcome::Dropped(DroppedFrame {
                    camera: camera.clone(),
                    seq: captured_at_us,
                    captured_at_us,
                    reason: DropReason::DropOldest,
                }));
            }
            outcomes.advance_to(until_us);
            worker.step_while(|| probe.less_than(&until_us));
            // What is still open is nobody's fault: the test ends here, not the run.
            entries.0.upgrade().unwrap().borrow_mut().clear();
        });
    }

    #[test]
    fn a_hop_that_is_accounted_for_passes() {
        settle(&[3, 4, HOP_US + 1], &[3, 4], HOP_US);
        settle(&[3, 4, HOP_US + 1], &[3, 4, HOP_US + 1], 2 * HOP_US);
    }

    #[test]
    #[should_panic(expected = "every frame of camera left in the hop of 0 us has one outcome")]
    fn a_lost_frame_ends_the_run_when_its_hop_has_passed() {
        settle(&[3, 4, HOP_US + 1], &[3], HOP_US);
    }

    #[test]
    #[should_panic(expected = "every frame of camera left in the hop of 1000000 us has one outcome")]
    fn a_frame_with_two_outcomes_ends_the_run() {
        settle(&[HOP_US], &[HOP_US, HOP_US + 1], 2 * HOP_US);
    }

    #[test]
    fn nothing_is_noted_for_nobody() {
        let entries = Ledger::default().entries();
        entries.note(&"left".into(), 3);
        assert!(entries.0.upgrade().is_none());
    }
}
