//! Rolling rates per camera over sliding windows of event time.

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::AsCollection;
use differential_dataflow::operators::CountTotal;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Capability, Concatenate};

use super::Expire;
use crate::{Decision, Outcome};

/// The windows rates are kept over: 1 minute, 15 minutes, 1 hour.
pub const WINDOWS_US: [u64; 3] = [60_000_000, 15 * 60_000_000, 60 * 60_000_000];

/// Windows move in steps of one second of event time: finer than anybody reads a rate, and the state of the longest window
/// is 3,600 counts per camera.
pub const HOP_US: u64 = 1_000_000;

/// What a rate is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RateKey {
    /// Length of the window, microseconds.
    pub window_us: u64,
    /// Name of the camera.
    pub camera: Arc<str>,
}

/// What happened in the window that ends at `at_us`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Window and camera.
    #[serde(flatten)]
    pub key: RateKey,
    /// End of the window (exclusive), microseconds of event time.
    pub at_us: u64,
    /// Frames in it.
    pub frames: u64,
    /// Frames that were rejected.
    pub rejects: u64,
    /// Frames of which no image could be made.
    pub unreadable: u64,
    /// Frames that were dropped.
    pub drops: u64,
}

impl Rate {
    /// Rejected share of the frames that could be judged; none where there were none.
    pub fn reject_rate(&self) -> Option<f64> {
        let judged = self.frames - self.unreadable - self.drops;
        (judged > 0).then(|| self.rejects as f64 / judged as f64)
    }
}

/// Frames, rejects, unreadables, drops: what differential adds up and takes away again.
type Counts = (isize, isize, isize, isize);
/// One change of a rate at a time: differential states a new count and takes the old one back.
type RateChange = (RateKey, Counts, u64, isize);

/// Keeps rates over verdicts.
pub trait RollingRates<'scope> {
    /// For every hop in which a window's content changes, its new content, on worker 0, at the hop's end, windows and cameras
    /// in order. The frontier passes a hop's end when nothing can be added to the hop.
    fn rolling_rates(self) -> StreamVec<'scope, u64, Rate>;
}

impl<'scope> RollingRates<'scope> for StreamVec<'scope, u64, Outcome> {
    fn rolling_rates(self) -> StreamVec<'scope, u64, Rate> {
        let scope = self.scope();
        let counted = counted(self);
        let windows = WINDOWS_US.map(|window_us| {
            counted
                .clone()
                .expire(window_us, HOP_US)
                .as_collection()
                .count_total()
                .inner
                .map(move |((camera, counts), time, diff)| (RateKey { window_us, camera }, counts, time, diff))
        });
        published(scope.concatenate(windows))
    }
}

/// What happened per camera and hop, as one record with the time of the hop's start. It leaves there when the frontier has
/// passed the hop, and the frontier behind moves hop by hop: everything that differential does happens once a hop, not once
/// a frame.
fn counted<'scope>(outcomes: StreamVec<'scope, u64, Outcome>) -> StreamVec<'scope, u64, (Arc<str>, u64, Counts)> {
    type Builder = CapacityContainerBuilder<Vec<(Arc<str>, u64, Counts)>>;
    outcomes.unary_frontier::<Builder, _, _, _>(Pipeline, "Count", |capability, _| {
        let mut capability = Some(capability);
        let mut hops: BTreeMap<u64, BTreeMap<Arc<str>, Counts>> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|stamp, outcomes| {
                // The frame's time in the dataflow, not `captured_at_us`: they differ for a frame that came late.
                let Some(hop) = stamp.least().map(|time| time / HOP_US * HOP_US) else {
                    return;
                };
                let cameras = hops.entry(hop).or_default();
                for outcome in outcomes.drain(..) {
                    let (frames, rejects, unreadable, drops) = cameras.entry(outcome.camera().clone()).or_default();
                    *frames += 1;
                    let Outcome::Judged(verdict) = outcome else {
                        *drops += 1;
                        continue;
                    };
                    *rejects += isize::from(verdict.decision == Decision::Reject);
                    *unreadable += isize::from(matches!(verdict.decision, Decision::Unreadable { .. }));
                }
            });
            let Some(held) = capability.as_mut() else { return };
            let reached = frontier.frontier().first().map(|reached| reached / HOP_US * HOP_US);
            while let Some(entry) = hops.first_entry()
                && reached.is_none_or(|reached| *entry.key() < reached)
            {
                let (hop, cameras) = entry.remove_entry();
                held.downgrade(&hop);
                let counts = cameras.into_iter().map(|(camera, counts)| (camera, hop, counts));
                output.session(held).give_iterator(counts);
            }
            match reached {
                Some(reached) => held.downgrade(&reached.max(*held.time())),
                None => capability = None,
            }
        }
    })
}

fn published<'scope>(changes: StreamVec<'scope, u64, RateChange>) -> StreamVec<'scope, u64, Rate> {
    type Open = BTreeMap<u64, (Capability<u64>, BTreeMap<RateKey, Counts>)>;
    let to_first = Exchange::new(|_: &RateChange| 0);
    changes.unary_frontier::<CapacityContainerBuilder<Vec<Rate>>, _, _, _>(to_first, "Publish", move |_, _| {
        let mut open: Open = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|stamp, changes| {
                // By the change's own time: differential sends changes of many times in one message.
                for (key, counts, time, diff) in changes.drain(..) {
                    let hop = open.entry(time);
                    let (_, rates) = hop.or_insert_with(|| (stamp.delayed(&time, 0), BTreeMap::new()));
                    // A count that is only taken back has become zero.
                    let rate = rates.entry(key).or_insert((0, 0, 0, 0));
                    if diff > 0 {
                        *rate = counts;
                    }
                }
            });
            while let Some(entry) = open.first_entry()
                && !frontier.less_equal(entry.key())
            {
                let (at_us, (capability, rates)) = entry.remove_entry();
                let rate = |(key, counts): (RateKey, Counts)| Rate {
                    key,
                    at_us,
                    frames: counts.0 as u64,
                    rejects: counts.1 as u64,
                    unreadable: counts.2 as u64,
                    drops: counts.3 as u64,
                };
                output.session(&capability).give_iterator(rates.into_iter().map(rate));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::{Input, Inspect, Probe};

    use super::*;
    use crate::Verdict;

    fn mix(x: u64) -> u64 {
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn verdict(i: u64) -> Verdict {
        let decision = match mix(i) % 10 {
            0 => Decision::Reject,
            1 => Decision::Unreadable { reason: "torn".into() },
            _ => Decision::Pass,
        };
        Verdict {
            camera: ["left", "right", "top"][(mix(i * 3) % 3) as usize].into(),
            seq: i,
            captured_at_us: i * 700_000,
            origin: "".into(),
            detector: "".into(),
            decision,
            image_score: 0.0,
            threshold: 0.0,
            calibrated_score: 0.0,
            regions: vec![],
            suppressed: vec![],
        }
    }

    /// All rates by worker count, as they were published.
    fn publish(workers: usize, n: u64) -> Vec<Rate> {
        let rates = Arc::new(Mutex::new(Vec::new()));
        let seen = rates.clone();
        timely::execute(timely::Config::process(workers), move |worker| {
            let seen = seen.clone();
            let mut input: InputHandle<u64, CapacityContainerBuilder<Vec<Outcome>>> = InputHandle::new();
            let probe = worker.dataflow::<u64, _, _>(|scope| {
                let rates = scope.input_from(&mut input).rolling_rates();
                rates
                    .inspect(move |rate| seen.lock().unwrap().push(rate.clone()))
                    .probe()
                    .0
            });
            for i in 0..n {
                let verdict = verdict(i);
                input.advance_to(verdict.captured_at_us);
                if i as usize % worker.peers() == worker.index() {
                    input.send(Outcome::Judged(verdict.into()));
                }
            }
            let end = n * 700_000 / HOP_US * HOP_US + HOP_US;
            input.advance_to(end);
            worker.step_or_park_while(None, || probe.less_than(&end));
        })
        .unwrap();
        Arc::try_unwrap(rates).unwrap().into_inner().unwrap()
    }

    #[test]
    fn rates_agree_with_counting_again_for_one_and_three_workers() {
        let n = 2_000; // 23 minutes of event time: the two shorter windows slide
        let one = publish(1, n);
        assert_eq!(one, publish(3, n));
        assert!(one.len() > 4_000);
        for rate in one.iter().step_by(37) {
            let in_window = |v: &Verdict| {
                v.camera == rate.key.camera
                    && v.captured_at_us < rate.at_us
                    && v.captured_at_us + rate.key.window_us >= rate.at_us
            };
            let window: Vec<Verdict> = (0..n).map(verdict).filter(in_window).collect();
            let rejects = window.iter().filter(|v| v.decision == Decision::Reject).count() as u64;
            assert_eq!((rate.frames, rate.rejects), (window.len() as u64, rejects), "{rate:?}");
        }
    }
}
