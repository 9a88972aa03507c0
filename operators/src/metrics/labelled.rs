//! Verdicts and labels of one camera, joined: what each hop changes, in the past too.
//!
//! A label may come before its frame is judged, long after, twice, or corrected. What it changes is counted in the hop of
//! the *frame*, as a difference from what was counted there before. A frame is kept for a horizon after its hop; then it
//! cannot change any more.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{ScoreCount, ScoreHistogram, Tally};

/// What became of a frame, as far as rates go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Finding {
    /// It was never looked at.
    Dropped,
    /// No image could be made of it.
    Unreadable,
    /// It passed, with its score in this bucket.
    Passed(u16),
    /// It was rejected, with its score in this bucket.
    Rejected(u16),
}

/// A label, as far as the metrics of two classes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truthful {
    /// Position of its frame in the camera's stream.
    pub seq: u64,
    /// Whether the frame has a defect; none takes back what was said before.
    pub anomalous: Option<bool>,
    /// Event time of its frame, as the label has it, microseconds.
    pub captured_at_us: u64,
}

/// What is to be added to the counts of one hop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Counts of frames and labels.
    pub tally: Tally,
    /// Counts of scores.
    pub scores: ScoreHistogram,
}

/// The frames of one camera that labels can still correct: 16 bytes a frame.
pub struct LabelledFrames {
    hop_us: u64,
    horizon_us: u64,
    blocks: BTreeMap<u64, Block>,
    /// Runs of sequence numbers by the hop they came in, for forgetting.
    ages: VecDeque<(u64, Vec<(u64, u64)>)>,
    waiting: BTreeMap<u64, Waiting>,
    /// Sequence numbers by the hop at which their label is given up, unless another has come meanwhile.
    deadlines: BTreeMap<u64, Vec<u64>>,
}

/// Sequence numbers have no gaps, so frames lie in blocks of consecutive ones.
const BLOCK_FRAMES: u64 = 256;

struct Block {
    frames: Vec<Option<Kept>>,
    occupied: usize,
}

#[derive(Clone, Copy)]
struct Kept {
    hop_us: u64,
    finding: Finding,
    anomalous: Option<bool>,
}

struct Waiting {
    anomalous: Option<bool>,
    until_us: u64,
}

#[derive(Default)]
struct Changes(BTreeMap<u64, (Tally, Vec<ScoreCount>)>);

impl LabelledFrames {
    /// Nothing known yet. Hops are `hop_us` long; frames can be corrected for `horizon_us` after their hop, a multiple of it.
    pub fn new(hop_us: u64, horizon_us: u64) -> Self {
        Self {
            hop_us,
            horizon_us,
            blocks: BTreeMap::new(),
            ages: VecDeque::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeMap::new(),
        }
    }

    /// The next hop, after the last one, at which something is given up without anybody saying anything.
    pub fn next_deadline_us(&self) -> Option<u64> {
        self.deadlines.keys().next().copied()
    }

    /// Everything that came in the hop that starts at `now_us`, and the changes it makes, by hop. Hops come in order. Frames in
    /// any order: a second one of a sequence number counts, but its label goes to the first. Labels in the order in which
    /// the newer one wins.
    pub fn hop(
        &mut self,
        now_us: u64,
        mut frames: Vec<(u64, Finding)>,
        labels: impl IntoIterator<Item = Truthful>,
    ) -> BTreeMap<u64, Change> {
        let mut changes = Changes::default();
        self.forget(now_us);
        frames.sort_unstable();
        self.judge(now_us, &frames, &mut changes);
        for label in labels {
            self.label(now_us, label, &mut changes);
        }
        self.give_up(now_us, &mut changes);
        changes.finish()
    }

    fn forget(&mut self, now_us: u64) {
        while self
            .ages
            .front()
            .is_some_and(|(hop_us, _)| self.is_frozen(*hop_us, now_us))
            && let Some((_, runs)) = self.ages.pop_front()
        {
            for seq in runs.into_iter().flat_map(|(first, last)| first..=last) {
                let Some(block) = self.blocks.get_mut(&(seq / BLOCK_FRAMES)) else {
                    continue;
                };
                block.frames[(seq % BLOCK_FRAMES) as usize] = None;
                block.occupied -= 1;
                if block.occupied == 0 {
                    self.blocks.remove(&(seq / BLOCK_FRAMES));
                }
            }
        }
    }

    fn is_frozen(&self, hop_us: u64, now_us: u64) -> bool {
        hop_us.saturating_add(self.hop_us).saturating_add(self.horizon_us) <= now_us
    }

    fn judge(&mut self, now_us: u64, frames: &[(u64, Finding)], changes: &mut Changes) {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &(seq, finding) in frames {
            let mut kept = Kept {
                hop_us: now_us,
                finding,
                anomalous: None,
            };
            changes.judged(&kept);
            let block = self.blocks.entry(seq / BLOCK_FRAMES).or_insert_with(|| Block {
                frames: vec![None; BLOCK_FRAMES as usize],
                occupied: 0,
            });
            let slot = &mut block.frames[(seq % BLOCK_FRAMES) as usize];
            if slot.is_some() {
                continue;
            }
            if !self.waiting.is_empty()
                && let Some(waiting) = self.waiting.remove(&seq)
            {
                kept.anomalous = waiting.anomalous;
                changes.labelled(&kept, 1);
            }
            *slot = Some(kept);
            block.occupied += 1;
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => runs.push((seq, seq)),
            }
        }
        if !runs.is_empty() {
            self.ages.push_back((now_us, runs));
        }
    }

    fn label(&mut self, now_us: u64, label: Truthful, changes: &mut Changes) {
        let block = self.blocks.get_mut(&(label.seq / BLOCK_FRAMES));
        let kept = block.and_then(|block| block.frames[(label.seq % BLOCK_FRAMES) as usize].as_mut());
        if let Some(kept) = kept {
            changes.labelled(kept, -1);
            kept.anomalous = label.anomalous;
            changes.labelled(kept, 1);
        } else if self.is_frozen(label.captured_at_us / self.hop_us * self.hop_us, now_us) {
            changes.at(now_us).0.labels_too_late += 1;
        } else {
            let until_us = now_us.saturating_add(self.horizon_us);
            let anomalous = label.anomalous;
            self.waiting.insert(label.seq, Waiting { anomalous, until_us });
            self.deadlines.entry(until_us).or_default().push(label.seq);
        }
    }

    fn give_up(&mut self, now_us: u64, changes: &mut Changes) {
        while let Some(entry) = self.deadlines.first_entry()
            && *entry.key() <= now_us
        {
            for seq in entry.remove() {
                if self.waiting.get(&seq).is_some_and(|waiting| waiting.until_us <= now_us) {
                    self.waiting.remove(&seq);
                    changes.at(now_us).0.labels_unmatched += 1;
                }
            }
        }
    }
}

impl Changes {
    fn at(&mut self, hop_us: u64) -> &mut (Tally, Vec<ScoreCount>) {
        self.0.entry(hop_us).or_default()
    }

    fn judged(&mut self, kept: &Kept) {
        let (tally, scores) = self.at(kept.hop_us);
        tally.frames += 1;
        let bucket = match kept.finding {
            Finding::Dropped => return tally.dropped += 1,
            Finding::Unreadable => return tally.unreadable += 1,
            Finding::Passed(bucket) => bucket,
            Finding::Rejected(bucket) => {
                tally.rejects += 1;
                bucket
            }
        };
        scores.push(ScoreCount {
            bucket,
            judged: 1,
            normal: 0,
            anomalous: 0,
        });
    }

    /// Counts the frame's label, or takes it back. A frame without a verdict has nothing to be right or wrong about.
    fn labelled(&mut self, kept: &Kept, times: i32) {
        let (rejected, bucket) = match kept.finding {
            Finding::Dropped | Finding::Unreadable => return,
            Finding::Passed(bucket) => (false, bucket),
            Finding::Rejected(bucket) => (true, bucket),
        };
        let Some(anomalous) = kept.anomalous else { return };
        let (tally, scores) = self.at(kept.hop_us);
        tally.count_labelled(rejected, anomalous, i64::from(times));
        scores.push(ScoreCount {
            bucket,
            judged: 0,
            normal: if anomalous { 0 } else { times },
            anomalous: if anomalous { times } else { 0 },
        });
    }

    fn finish(self) -> BTreeMap<u64, Change> {
        let changes = self.0.into_iter().map(|(hop_us, (tally, scores))| {
            let scores = scores.into_iter().collect();
            (hop_us, Change { tally, scores })
        });
        changes.filter(|(_, change)| *change != Change::default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(seq: u64, anomalous: impl Into<Option<bool>>, captured_at_us: u64) -> Truthful {
        Truthful {
            seq,
            anomalous: anomalous.into(),
            captured_at_us,
        }
    }

    #[test]
    fn a_corrected_label_takes_back_what_it_replaces() {
        let mut frames = LabelledFrames::new(10, 100);
        frames.hop(0, vec![(0, Finding::Rejected(9))], []);
        let first = frames.hop(50, vec![], [label(0, false, 0)]);
        assert_eq!((first[&0].tally.normal_rejected, first.len()), (1, 1));
        assert!(frames.hop(60, vec![], [label(0, false, 0)]).is_empty(), "said twice");
        let corrected = frames.hop(70, vec![], [label(0, true, 0)]);
        let tally = corrected[&0].tally;
        assert_eq!((tally.normal_rejected, tally.anomalous_rejected), (-1, 1));
        assert_eq!(corrected[&0].scores.counts()[0].normal, -1);
        let taken_back = frames.hop(80, vec![], [label(0, None, 0)]);
        assert_eq!(taken_back[&0].tally.anomalous_rejected, -1);
        assert_eq!(taken_back[&0].scores.counts()[0].anomalous, -1);
        assert!(
            frames.hop(90, vec![], [label(0, None, 0)]).is_empty(),
            "nothing is left"
        );
    }

    #[test]
    fn a_label_waits_for_its_frame() {
        let mut frames = LabelledFrames::new(10, 100);
        assert!(frames.hop(0, vec![], [label(4, true, 30)]).is_empty());
        let judged = frames.hop(30, vec![(4, Finding::Passed(1))], []);
        assert_eq!((judged[&30].tally.frames, judged[&30].tally.anomalous_passed), (1, 1));
        frames.hop(40, vec![], [label(5, true, 50), label(5, None, 50)]);
        let judged = frames.hop(50, vec![(5, Finding::Passed(1))], []);
        assert_eq!((judged[&50].tally.frames, judged[&50].tally.anomalous_passed), (1, 0));
    }

    #[test]
    fn a_frame_past_the_horizon_is_frozen_and_its_label_counted() {
        let mut frames = LabelledFrames::new(10, 100);
        frames.hop(0, vec![(0, Finding::Passed(9))], []);
        assert_eq!(
            frames.hop(100, vec![], [label(0, true, 0)])[&0].tally.anomalous_passed,
            1
        );
        let late = frames.hop(110, vec![], [label(0, false, 0)]);
        assert_eq!((late.len(), late[&110].tally.labels_too_late), (1, 1));
        assert!(frames.blocks.is_empty() && frames.ages.is_empty());
    }

    #[test]
    fn a_label_without_a_frame_is_given_up_after_the_horizon() {
        let mut frames = LabelledFrames::new(10, 100);
        frames.hop(0, vec![], [label(7, true, u64::MAX)]);
        frames.hop(50, vec![], [label(7, true, u64::MAX)]);
        assert!(frames.hop(100, vec![], []).is_empty(), "the second one still waits");
        assert_eq!(frames.next_deadline_us(), Some(150));
        assert_eq!(frames.hop(150, vec![], [])[&150].tally.labels_unmatched, 1);
        assert!(frames.waiting.is_empty() && frames.deadlines.is_empty());
    }

    #[test]
    fn a_frame_without_a_verdict_has_no_confusion() {
        let mut frames = LabelledFrames::new(10, 100);
        frames.hop(0, vec![(0, Finding::Dropped), (1, Finding::Unreadable)], []);
        assert!(
            frames
                .hop(10, vec![], [label(0, true, 0), label(1, false, 0)])
                .is_empty()
        );
    }
}
