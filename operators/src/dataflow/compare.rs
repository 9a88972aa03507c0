//! Compares the verdicts of two detectors on the same frames.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::Verdict;

/// Two verdicts on one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What counts.
    pub verdict: Arc<Verdict>,
    /// What the shadow detector would have said.
    pub shadow: Arc<Verdict>,
}

impl Compared {
    /// Whether the two decide differently.
    pub fn disagrees(&self) -> bool {
        self.verdict.decision != self.shadow.decision
    }
}

/// Compares with a shadow detector.
pub trait Compare<'scope> {
    /// One record per frame that both have judged, at the frame's own time, when the later of the two is there. Both verdicts
    /// on a frame are on one worker. Frames that only one of the two gets must not occur.
    fn compare(self, shadow: StreamVec<'scope, u64, Arc<Verdict>>) -> StreamVec<'scope, u64, Compared>;
}

impl<'scope> Compare<'scope> for StreamVec<'scope, u64, Arc<Verdict>> {
    fn compare(self, shadow: StreamVec<'scope, u64, Arc<Verdict>>) -> StreamVec<'scope, u64, Compared> {
        type Builder = CapacityContainerBuilder<Vec<Compared>>;
        self.binary::<_, Builder, _, _, _, _>(shadow, Pipeline, Pipeline, "Compare", |_, _| {
            let mut first: BTreeMap<(Arc<str>, u64), Arc<Verdict>> = BTreeMap::new();
            let key = |verdict: &Arc<Verdict>| (verdict.camera.clone(), verdict.seq);
            move |verdicts, shadows, output| {
                verdicts.for_each(|stamp, verdicts| {
                    let Some(capability) = stamp.retain_least(0) else {
                        return;
                    };
                    for verdict in verdicts.drain(..) {
                        match first.remove(&key(&verdict)) {
                            Some(shadow) => output.session(&capability).give(Compared { verdict, shadow }),
                            None => drop(first.insert(key(&verdict), verdict)),
                        }
                    }
                });
                shadows.for_each(|stamp, shadows| {
                    let Some(capability) = stamp.retain_least(0) else {
                        return;
                    };
                    for shadow in shadows.drain(..) {
                        match first.remove(&key(&shadow)) {
                            Some(verdict) => output.session(&capability).give(Compared { verdict, shadow }),
                            None => drop(first.insert(key(&shadow), shadow)),
                        }
                    }
                });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use timely::dataflow::operators::capture::{Capture, Event};
    use timely::dataflow::operators::vec::ToStream;

    use super::*;
    use crate::Decision;

    fn verdict(seq: u64, decision: Decision) -> Arc<Verdict> {
        Arc::new(Verdict {
            camera: "one".into(),
            seq,
            captured_at_us: seq,
            origin: "".into(),
            detector: "".into(),
            decision,
            image_score: 0.0,
            threshold: 0.0,
            calibrated_score: 0.0,
            regions: vec![],
            suppressed: vec![],
        })
    }

    #[test]
    fn every_frame_is_compared_once_whichever_verdict_comes_first() {
        let captured = timely::execute_directly(|worker| {
            worker.dataflow::<u64, _, _>(|scope| {
                let reject = |seq: u64| match seq % 3 {
                    0 => Decision::Reject,
                    _ => Decision::Pass,
                };
                let verdicts: Vec<_> = (0..9).map(|seq| verdict(seq, Decision::Pass)).collect();
                let shadows: Vec<_> = (0..9).rev().map(|seq| verdict(seq, reject(seq))).collect();
                let verdicts = verdicts.to_stream(scope);
                verdicts.compare(shadows.to_stream(scope)).capture()
            })
        });
        let data = captured.into_iter().filter_map(|event| match event {
            Event::Messages(_, data) => Some(data),
            Event::Progress(_) => None,
        });
        let mut compared: Vec<Compared> = data.flatten().collect();
        compared.sort_by_key(|compared| compared.verdict.seq);
        assert_eq!(compared.len(), 9);
        for (seq, compared) in compared.iter().enumerate() {
            assert_eq!((compared.verdict.seq, compared.shadow.seq), (seq as u64, seq as u64));
            assert_eq!(compared.disagrees(), seq % 3 == 0);
        }
    }
}
