//! Finds the regions of a frame and sets aside what does not count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::{Latencies, ScoredFrame};
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
    /// Adds its findings to each frame, at the frame's own time.
    ///
    /// Where a camera's rules know static artefacts, its frames wait until the frontier has passed their time, so that they
    /// are looked at in order of capture and the result does not depend on which frame the pool ended first. Other
    /// cameras' frames leave at once.
    fn suppress(
        self,
        latencies: &Latencies,
        detector_of: impl Fn(&str) -> Arc<Detector> + 'static,
    ) -> StreamVec<'scope, u64, FoundFrame>;
}

impl<'scope> Suppress<'scope> for StreamVec<'scope, u64, ScoredFrame> {
    fn suppress(
        self,
        latencies: &Latencies,
        detector_of: impl Fn(&str) -> Arc<Detector> + 'static,
    ) -> StreamVec<'scope, u64, FoundFrame> {
        let latencies = latencies.clone();
        type Builder = CapacityContainerBuilder<Vec<FoundFrame>>;
        // By time, camera and sequence.
        type Held = BTreeMap<(u64, Arc<str>, u64), (Capability<u64>, ScoredFrame)>;
        self.unary_frontier::<Builder, _, _, _>(Pipeline, "Suppress", move |_, _| {
            let mut held: Held = BTreeMap::new();
            let mut artefacts: BTreeMap<Arc<str>, StaticArtefacts> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|time, frames| {
                    let Some(capability) = time.retain_least(0) else { return };
                    for scored in frames.drain(..) {
                        let frame = &scored.frame.frame;
                        let detector = detector_of(&frame.camera);
                        if detector.recipe().suppression.static_artefacts {
                            let key = (*capability.time(), frame.camera.clone(), frame.seq);
                            held.insert(key, (capability.clone(), scored));
                        } else {
                            output
                                .session(&capability)
                                .give(find(scored, detector, None, &latencies));
                        }
                    }
                });
                while let Some(entry) = held.first_entry()
                    && !frontier.less_equal(&entry.key().0)
                {
                    let ((_, camera, _), (capability, scored)) = entry.remove_entry();
                    let detector = detector_of(&camera);
                    let memory = artefacts.entry(camera).or_default();
                    output
                        .session(&capability)
                        .give(find(scored, detector, Some(memory), &latencies));
                }
            }
        })
    }
}

fn find(
    scored: ScoredFrame,
    detector: Arc<Detector>,
    artefacts: Option<&mut StaticArtefacts>,
    latencies: &Latencies,
) -> FoundFrame {
    let started = Instant::now();
    let findings = suppress(
        &scored.scores,
        detector.recipe(),
        detector.calibration(),
        artefacts.as_deref(),
    );
    if let Some(artefacts) = artefacts {
        artefacts.observe(&findings.candidates());
    }
    latencies.record("suppress", started.elapsed());
    FoundFrame {
        scored,
        findings: Arc::new(findings),
        detector,
    }
}
