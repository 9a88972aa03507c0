//! Decides.

use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use super::{FoundFrame, Latencies, UnreadableFrame};
use crate::Verdict;
use crate::detector::Detector;
use crate::postprocess::{judge, unreadable};

/// Why a frame cannot be judged although it could be read.
const NOTHING_INSPECTED: &str =
    "nothing of the frame is inspected: the region of interest, the border and the dark margin leave no pixel";

/// A verdict with what it rests on, for the sinks that draw or measure. It stays in its process.
#[derive(Clone, Debug)]
pub struct JudgedFrame {
    /// The answer.
    pub verdict: Arc<Verdict>,
    /// The frame, its map and its regions; none where the frame was unreadable.
    pub evidence: Option<FoundFrame>,
}

/// Turns findings into verdicts.
pub trait Judge<'scope> {
    /// One verdict per frame, at the frame's own time: the findings', and `Unreadable` for the frames of the other stream.
    fn judge(
        self,
        unreadable_frames: StreamVec<'scope, u64, UnreadableFrame>,
        latencies: &Latencies,
        detector_of: impl Fn(&str) -> Arc<Detector> + 'static,
    ) -> StreamVec<'scope, u64, JudgedFrame>;
}

impl<'scope> Judge<'scope> for StreamVec<'scope, u64, FoundFrame> {
    fn judge(
        self,
        unreadable_frames: StreamVec<'scope, u64, UnreadableFrame>,
        latencies: &Latencies,
        detector_of: impl Fn(&str) -> Arc<Detector> + 'static,
    ) -> StreamVec<'scope, u64, JudgedFrame> {
        let (readable_latencies, unreadable_latencies) = (latencies.clone(), latencies.clone());
        let judged = self.map(move |found| {
            let frame = &found.scored.frame;
            readable_latencies.record("frame", frame.admitted_at.elapsed());
            let (stamp, detector) = ((&frame.frame).into(), &found.detector);
            // A frame of which no pixel is looked at must not pass as if it had been.
            let verdict = match found.findings.inspected {
                true => judge(&stamp, detector.id(), &found.findings, detector.calibration()),
                false => unreadable(&stamp, detector.id(), NOTHING_INSPECTED, detector.calibration()),
            };
            let evidence = found.findings.inspected.then_some(found);
            JudgedFrame {
                verdict: Arc::new(verdict),
                evidence,
            }
        });
        let refused = unreadable_frames.map(
            move |UnreadableFrame {
                      frame,
                      reason,
                      admitted_at,
                  }| {
                let detector = detector_of(&frame.camera);
                let verdict = unreadable(&(&frame).into(), detector.id(), reason, detector.calibration());
                unreadable_latencies.record("frame", admitted_at.elapsed());
                JudgedFrame {
                    verdict: Arc::new(verdict),
                    evidence: None,
                }
            },
        );
        judged.concat(refused)
    }
}
