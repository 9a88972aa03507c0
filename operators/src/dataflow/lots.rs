//! Lots: parts made together, and the frames of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::ExchangeData;
use differential_dataflow::difference::Monoid;
use differential_dataflow::hashable::Hashable;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use super::rates::{Place, Span};
use super::{HOP_US, RateKey, Scope, Window};

/// From the hop of its time in the dataflow on, the camera sees parts of this lot. Of two in one hop the one that was
/// said later holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LotStarted {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Its position among what was said about the camera.
    pub ordinal: u64,
    /// Name of the lot.
    pub lot: Arc<str>,
}

/// Camera and hop, when something changed there, and by what.
pub(super) type HopChange<R> = ((Arc<str>, u64), u64, R);

/// The changes of lots that have ended: those of all its hops when it ends, with the time of that hop, and each correction
/// with its own. Frames from before a camera's first lot belong to none. A lot is forgotten when it is a horizon old.
pub(super) fn by_lot<'scope, R: Monoid + ExchangeData>(
    changes: StreamVec<'scope, u64, HopChange<R>>,
    lots: StreamVec<'scope, u64, LotStarted>,
    horizon_us: u64,
) -> StreamVec<'scope, u64, (Place, u64, R)> {
    let by_camera = Exchange::new(|((camera, _), _, _): &HopChange<R>| camera.hashed());
    let by_start = Exchange::new(|started: &LotStarted| started.camera.hashed());
    type Builder<R> = CapacityContainerBuilder<Vec<(Place, u64, R)>>;
    changes.binary_frontier::<_, Builder<R>, _, _, _, _>(lots, by_camera, by_start, "ByLot", move |capability, _| {
        let mut capability = Some(capability);
        let mut hops: BTreeMap<u64, Hop<R>> = BTreeMap::new();
        let mut cameras: BTreeMap<Arc<str>, CameraLots<R>> = BTreeMap::new();
        move |(changes, change_frontier), (lots, lot_frontier), output| {
            changes.for_each(|_, changes| {
                for ((camera, hop_us), at_us, diff) in changes.drain(..) {
                    let hop = hops.entry(at_us).or_insert_with(Hop::new);
                    hop.changes.push((camera, hop_us, diff));
                }
            });
            lots.for_each(|stamp, lots| {
                let Some(&time_us) = stamp.least() else { return };
                let hop = hops.entry(time_us / HOP_US * HOP_US).or_insert_with(Hop::new);
                hop.started.extend(lots.drain(..).map(|lot| (time_us, lot)));
            });
            let Some(held) = capability.as_mut() else { return };
            let frontiers = [
                change_frontier.frontier().first().copied(),
                lot_frontier.frontier().first().copied(),
            ];
            let reached = frontiers.into_iter().flatten().min();
            let reached = reached.map(|reached| reached / HOP_US * HOP_US);
            while let Some(entry) = hops.first_entry()
                && reached.is_none_or(|reached| *entry.key() < reached)
            {
                let (at_us, hop) = entry.remove_entry();
                held.downgrade(&at_us);
                let changed = hop.apply(at_us, horizon_us, &mut cameras);
                output.session(held).give_iterator(changed.into_iter());
            }
            match reached {
                Some(reached) => held.downgrade(&reached.max(*held.time())),
                None => {
                    let at_us = *held.time();
                    output.session(held).give_iterator(unfinished(at_us, &cameras));
                    capability = None;
                }
            }
        }
    })
}

/// The lots that went on when the run ended.
fn unfinished<R: Clone>(
    at_us: u64,
    cameras: &BTreeMap<Arc<str>, CameraLots<R>>,
) -> impl Iterator<Item = (Place, u64, R)> + use<R> {
    let unfinished = cameras.iter().filter_map(move |(camera, lots)| {
        let lot = lots.current.as_ref()?;
        let span = (lot.start_us, at_us + HOP_US);
        Some((place(camera, lot.name.clone(), span), at_us, lot.content.clone()))
    });
    unfinished.collect::<Vec<_>>().into_iter()
}

/// What came in one hop.
struct Hop<R> {
    started: Vec<(u64, LotStarted)>,
    changes: Vec<(Arc<str>, u64, R)>,
}

/// The lots of one camera that labels can still correct.
struct CameraLots<R> {
    /// By start.
    ended: BTreeMap<u64, (Arc<str>, u64)>,
    current: Option<Lot<R>>,
}

struct Lot<R> {
    name: Arc<str>,
    start_us: u64,
    content: R,
}

impl<R: Monoid> Hop<R> {
    fn new() -> Self {
        Self {
            started: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn apply(
        mut self,
        at_us: u64,
        horizon_us: u64,
        cameras: &mut BTreeMap<Arc<str>, CameraLots<R>>,
    ) -> Vec<(Place, u64, R)> {
        self.started.sort_unstable();
        let started = self.started.into_iter().map(|(_, lot)| (lot.camera, lot.lot));
        let started: BTreeMap<Arc<str>, Arc<str>> = started.collect();
        let mut changed = Vec::new();
        for (camera, lot) in started {
            let lots = cameras.entry(camera.clone()).or_insert_with(CameraLots::new);
            lots.ended
                .retain(|_, (_, end_us)| end_us.saturating_add(horizon_us) > at_us);
            if let Some((name, span, content)) = lots.start(lot, at_us) {
                changed.push((place(&camera, name, span), at_us, content));
            }
        }
        for (camera, hop_us, diff) in self.changes {
            let Some(lots) = cameras.get_mut(&camera) else { continue };
            if let Some((name, span)) = lots.change(hop_us, &diff) {
                changed.push((place(&camera, name, span), at_us, diff));
            }
        }
        changed
    }
}

fn place(camera: &Arc<str>, lot: Arc<str>, span: Span) -> Place {
    let (scope, window) = (Scope::Camera(camera.clone()), Window::Lot { lot });
    Place::Window(RateKey { scope, window }, span)
}

impl<R: Monoid> CameraLots<R> {
    fn new() -> Self {
        Self {
            ended: BTreeMap::new(),
            current: None,
        }
    }

    /// Ends the current lot, unless it is the same that starts.
    fn start(&mut self, name: Arc<str>, at_us: u64) -> Option<(Arc<str>, Span, R)> {
        if self.current.as_ref().is_some_and(|current| current.name == name) {
            return None;
        }
        let next = Lot {
            name,
            start_us: at_us,
            content: R::zero(),
        };
        let ended = self.current.replace(next)?;
        self.ended.insert(ended.start_us, (ended.name.clone(), at_us));
        Some((ended.name, (ended.start_us, at_us), ended.content))
    }

    /// Adds to the lot of a hop: the lot if it has ended, nothing while it goes on.
    fn change(&mut self, hop_us: u64, diff: &R) -> Option<(Arc<str>, Span)> {
        if let Some(current) = self.current.as_mut()
            && hop_us >= current.start_us
        {
            current.content.plus_equals(diff);
            return None;
        }
        let (&start_us, (name, end_us)) = self.ended.range(..=hop_us).next_back()?;
        (hop_us < *end_us).then(|| (name.clone(), (start_us, *end_us)))
    }
}
