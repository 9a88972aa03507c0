//! Brings what became of a posted frame back to the request that posted it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intakt_operators::dataflow::JudgedFrame;
use intakt_operators::{DropReason, DroppedFrame, Outcome};
use intakt_pipelines::sinks::{Sink, outcome_json};
use tokio::sync::oneshot::{Receiver, Sender, channel};

/// What became of a posted frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its verdict, as JSON.
    Verdict(Vec<u8>),
    /// It was dropped.
    Dropped(DropReason),
}

/// A camera and a position in its stream.
type FrameId = (Arc<str>, u64);

/// The requests that wait. There is at most one per frame that is alive, because a frame's outcome ends its wait whether
/// anybody still listens or not.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    frames: BTreeMap<FrameId, Sender<Answer>>,
    closed: bool,
}

impl Answers {
    /// Will give the answer to a frame, and nothing if there will be none.
    pub(super) fn wait_for(&self, camera: Arc<str>, seq: u64) -> Receiver<Answer> {
        let (answer, answered) = channel();
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.frames.insert((camera, seq), answer);
        }
        answered
    }

    /// There will be no further answers.
    pub(super) fn close(&self) {
        *self.lock() = Waiting {
            frames: BTreeMap::new(),
            closed: true,
        };
    }

    fn answer(
        &self,
        camera: &Arc<str>,
        seq: u64,
        answer: impl FnOnce() -> Result<Answer, String>,
    ) -> Result<(), String> {
        let waiting = self.lock().frames.remove(&(camera.clone(), seq));
        if let Some(waiting) = waiting {
            // Whoever posted it may have gone.
            let _ = waiting.send(answer()?);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Answers {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let verdict = &judged.verdict;
        self.answer(&verdict.camera, verdict.seq, || {
            let json = outcome_json(&Outcome::Judged(verdict.clone()));
            json.map(Answer::Verdict)
                .map_err(|error| format!("cannot write a verdict as JSON: {error}"))
        })
    }

    fn dropped(&self, dropped: &DroppedFrame) {
        let answer = || Ok(Answer::Dropped(dropped.reason));
        // Saying why it was dropped cannot fail.
        let _ = self.answer(&dropped.camera, dropped.seq, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(seq: u64) -> DroppedFrame {
        DroppedFrame {
            camera: "dock".into(),
            seq,
            captured_at_us: 0,
            reason: DropReason::DropNewest,
        }
    }

    #[test]
    fn every_wait_ends() {
        let answers = Answers::default();
        let mut first = answers.wait_for("dock".into(), 0);
        let mut second = answers.wait_for("dock".into(), 1);
        let gone = answers.wait_for("dock".into(), 2);
        drop(gone);
        answers.dropped(&dropped(2));
        answers.dropped(&dropped(0));
        assert_eq!(first.try_recv(), Ok(Answer::Dropped(DropReason::DropNewest)));
        assert!(second.try_recv().is_err());
        assert_eq!(
            answers.lock().frames.len(),
            1,
            "nothing is kept of those that were answered"
        );
        answers.close();
        assert!(second.blocking_recv().is_err());
        assert!(answers.wait_for("dock".into(), 3).blocking_recv().is_err(), "nor later");
    }
}
