//! Decides.

use std::sync::Arc;
use std::time::Instant;

use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Map;

use super::{Found, FoundFrame, Latencies, UnreadableFrame};
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
    /// One verdict per frame, at the frame's own time.
    fn judge(
        self,
        latencies: &Latencies,
        detector_of: impl Fn(&str, u32) -> Arc<Detector> + 'static,
    ) -> StreamVec<'scope, u64, JudgedFrame>;
}

impl<'scope> Judge<'scope> for StreamVec<'scope, u64, Found> {
    fn judge(
        self,
        latencies: &Latencies,
        detector_of: impl Fn(&str, u32) -> Arc<Detector> + 'static,
    ) -> StreamVec<'scope, u64, JudgedFrame> {
        let latencies = latencies.clone();
        self.map(move |found| {
            let started = Instant::now();
            let (admitted_at, judged) = match found {
                Ok(found) => (found.scored.frame.admitted_at, judge_found(found)),
                Err(unreadable) => (
                    unreadable.admitted_at,
                    refuse(&unreadable, &detector_of(&unreadable.frame.camera, unreadable.setup)),
                ),
            };
            let camera = &judged.verdict.camera;
            latencies.record("judge", camera, started.elapsed());
            latencies.record("frame", camera, admitted_at.elapsed());
            judged
        })
    }
}

fn judge_found(found: FoundFrame) -> JudgedFrame {
    let (stamp, detector) = ((&found.scored.frame.frame).into(), &found.detector);
    // A frame of which no pixel is looked at must not pass as if it had been.
    let verdict = match found.findings.inspected {
        true => judge(&stamp, detector.id(), &found.findings, detector.calibration()),
        false => unreadable(&stamp, detector.id(), NOTHING_INSPECTED, detector.calibration()),
    };
    JudgedFrame {
        verdict: Arc::new(verdict),
        evidence: found.findings.inspected.then_some(found),
    }
}

fn refuse(UnreadableFrame { frame, reason, .. }: &UnreadableFrame, detector: &Detector) -> JudgedFrame {
    let verdict = unreadable(frame, detector.id(), reason, detector.calibration());
    JudgedFrame {
        verdict: Arc::new(verdict),
        evidence: None,
    }
}
