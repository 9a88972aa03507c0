//! Finds the regions of a frame and sets aside what does not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::{Latencies, ScoredFrame, UnreadableFrame};
use crate::detector::Detector;
use crate::postprocess::{Findings, StaticArtefacts, suppress};

/// A frame with its regions.
#[derive(Clone, Debug)]
pub struct FoundFrame {
    /// The frame and its map.
    pub scored: ScoredFrame,
    /// What counts, and what does not.
    pub findings: Arc<Findings>,
    /// The detector that looked.
    pub detector: Arc<Detector>,
}

/// Finds regions and suppresses.
pub trait Suppress<'scope> {
    /// Adds its findings to each frame, at the frame's own time; `unreadable` frames pass through.
    ///
    /// Where a camera's rules know static artefacts, its frames leave in the order in which they were let in, so that the
    /// result does not depend on which frame the pool ended first. Other cameras' frames leave at once. Nothing waits for
    /// the frontier: a frame that did would hold a credit that a later one needs to move it. `remembered` is what such a
    /// camera has seen before its first frame here.
    fn suppress(
        self,
        unreadable: StreamVec<'scope, u64, UnreadableFrame>,
        latencies: &Latencies,
        detector_of: impl Fn(&str, u32) -> Arc<Detector> + 'static,
        remembered: impl Fn(&str) -> StaticArtefacts + 'static,
    ) -> StreamVec<'scope, u64, Found>;
}

/// A frame with its regions, or without any because it has no map.
pub type Found = Result<FoundFrame, UnreadableFrame>;

impl<'scope> Suppress<'scope> for StreamVec<'scope, u64, ScoredFrame> {
    fn suppress(
        self,
        unreadable: StreamVec<'scope, u64, UnreadableFrame>,
        latencies: &Latencies,
        detector_of: impl Fn(&str, u32) -> Arc<Detector> + 'static,
        remembered: impl Fn(&str) -> StaticArtefacts + 'static,
    ) -> StreamVec<'scope, u64, Found> {
        let latencies = latencies.clone();
        type Builder = CapacityContainerBuilder<Vec<Found>>;
        self.binary::<_, Builder, _, _, _, _>(unreadable, Pipeline, Pipeline, "Suppress", move |_, _| {
            // A setup of its own: what another threshold found says little about where this one finds something.
            let mut queues: BTreeMap<(Arc<str>, u32), Queue> = BTreeMap::new();
            move |scored_frames, unreadable_frames, output| {
                let mut take = |capability: &Capability<u64>, next: Next| {
                    let (camera, setup, ordinal) = match &next {
                        Ok(scored) => (&scored.frame.frame.camera, scored.frame.setup, scored.frame.ordinal),
                        Err(unreadable) => (&unreadable.frame.camera, unreadable.setup, unreadable.ordinal),
                    };
                    let detector = detector_of(camera, setup);
                    if !detector.recipe().suppression.static_artefacts {
                        let found = next.map(|scored| find(scored, detector, None, &latencies));
                        output.session(capability).give(found);
                        return;
                    }
                    let queue = queues.entry((camera.clone(), setup)).or_insert_with(|| Queue {
                        next_ordinal: 0,
                        waiting: BTreeMap::new(),
                        artefacts: if setup == 0 {
                            remembered(camera)
                        } else {
                            StaticArtefacts::new()
                        },
                    });
                    queue.waiting.insert(ordinal, (capability.clone(), next));
                    while let Some((capability, next)) = queue.waiting.remove(&queue.next_ordinal) {
                        queue.next_ordinal += 1;
                        let artefacts = Some(&mut queue.artefacts);
                        let found = next.map(|scored| find(scored, detector.clone(), artefacts, &latencies));
                        output.session(&capability).give(found);
                    }
                };
                scored_frames.for_each(|stamp, frames| {
                    let Some(capability) = stamp.retain_least(0) else {
                        return;
                    };
                    frames.drain(..).for_each(|scored| take(&capability, Ok(scored)));
                });
                unreadable_frames.for_each(|stamp, frames| {
                    let Some(capability) = stamp.retain_least(0) else {
                        return;
                    };
                    frames
                        .drain(..)
                        .for_each(|unreadable| take(&capability, Err(unreadable)));
                });
            }
        })
    }
}

type Next = Result<ScoredFrame, UnreadableFrame>;

/// The frames of a camera that came before their turn, and what it remembers.
struct Queue {
    next_ordinal: u64,
    waiting: BTreeMap<u64, (Capability<u64>, Next)>,
    artefacts: StaticArtefacts,
}

fn find(
    scored: ScoredFrame,
    detector: Arc<Detector>,
    artefacts: Option<&mut StaticArtefacts>,
    latencies: &Latencies,
) -> FoundFrame {
    let findings = latencies.timed("suppress", &scored.frame.frame.camera, || {
        let findings = suppress(
            &scored.scores,
            detector.recipe(),
            detector.calibration(),
            artefacts.as_deref(),
        );
        if let Some(artefacts) = artefacts {
            artefacts.observe(&findings.candidates());
        }
        findings
    });
    FoundFrame {
        scored,
        findings: Arc::new(findings),
        detector,
    }
}
