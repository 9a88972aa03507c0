//! Random but repeatable runs, and a dump to compare stores by.

use std::path::Path;
use std::sync::Arc;

use intakt_operators::{
    Decision, DropReason, DroppedFrame, Label, Outcome, RectPx, Region, SuppressedRegion, SuppressionReason, Truth,
    Verdict, fixed_point,
};
use rusqlite::types::ValueRef;

use crate::store::{Commit, DecisionKind, HopBuffer, Metric, OutcomeFilter, Store, StoreOptions, TimedOutcome};

pub(super) const HOP_US: u64 = 1_000_000;
pub(super) const CAMERAS: [&str; 3] = ["line 2/top", "käfer", "a"];

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A score as the judge makes them: from tiny and negative (-0.0) to any bits.
    fn score(&mut self) -> f64 {
        fixed_point(match self.below(4) {
            0 => -(self.below(3) as f32) * 1e-8,
            1 => self.below(1_000_000) as f32 / 1e6,
            2 => self.below(9) as f32,
            _ => f32::from_bits(self.next() as u32),
        })
    }

    fn text(&mut self) -> &'static str {
        let texts = [
            "",
            "a.png",
            "Fäden/ö\u{1F9F5} 1.png",
            "\"quoted\", comma\nnew line",
            "零件\t7",
            "nul\0inside",
        ];
        texts[self.below(texts.len() as u64) as usize]
    }

    fn region(&mut self) -> Region {
        Region {
            bbox_px: RectPx {
                x: self.next() as u32,
                y: self.below(100) as u32,
                width: self.below(100) as u32,
                height: self.next() as u32,
            },
            area_px: if self.below(4) == 0 {
                self.next()
            } else {
                self.below(1_000)
            },
            peak: self.score(),
            mean: self.score(),
            centroid_px: [self.score(), self.below(10_000) as f64 / 3.0],
        }
    }

    fn suppressed(&mut self) -> SuppressedRegion {
        let reasons = [
            SuppressionReason::OutsideRoi,
            SuppressionReason::Border,
            SuppressionReason::DarkMargin,
            SuppressionReason::BelowMinArea,
            SuppressionReason::BelowMinPeak,
            SuppressionReason::StaticArtefact,
        ];
        SuppressedRegion {
            region: self.region(),
            reason: reasons[self.below(6) as usize],
        }
    }

    pub(super) fn verdict(&mut self, camera: &str, seq: u64, captured_at_us: u64) -> Verdict {
        let decision = match self.below(10) {
            0..6 => Decision::Pass,
            6..9 => Decision::Reject,
            _ => Decision::Unreadable {
                reason: self.text().to_owned(),
            },
        };
        let n_regions = self.below(4);
        let n_suppressed = self.below(3);
        Verdict {
            camera: camera.into(),
            seq,
            captured_at_us,
            origin: self.text().into(),
            detector: ["0123456789ab", "fedcba987654"][self.below(2) as usize].into(),
            decision,
            image_score: self.score(),
            threshold: self.score(),
            calibrated_score: self.score(),
            regions: (0..n_regions).map(|_| self.region()).collect(),
            suppressed: (0..n_suppressed).map(|_| self.suppressed()).collect(),
        }
    }

    fn outcome(&mut self, camera: &str, seq: u64, captured_at_us: u64) -> Outcome {
        match self.below(8) {
            0 => Outcome::Dropped(DroppedFrame {
                camera: camera.into(),
                seq,
                captured_at_us,
                reason: [DropReason::DropOldest, DropReason::DropNewest][self.below(2) as usize],
            }),
            _ => Outcome::Judged(Arc::new(self.verdict(camera, seq, captured_at_us))),
        }
    }
}

/// Microseconds between two frames of a camera, and how far a frame may overtake others.
const INTERVAL_US: u64 = 90_000;
const JITTER_US: u64 = 400_000;

/// What frame `seq` of a camera becomes: always the same.
pub(super) fn frame(camera: usize, seq: u64) -> TimedOutcome {
    let mut random = Random(seq * 31 + camera as u64);
    let time_us = seq * INTERVAL_US + random.below(JITTER_US);
    TimedOutcome {
        time_us,
        outcome: random.outcome(CAMERAS[camera], seq, time_us),
    }
}

fn label(seq: u64) -> Label {
    let truth = match seq % 15 {
        5 => None,
        rest if rest % 3 == 0 => Some(Truth::Normal),
        _ => Some(Truth::Anomalous("löchrig".to_owned())),
    };
    Label {
        camera: CAMERAS[0].into(),
        seq: seq / 2,
        truth,
        captured_at_us: frame(0, seq / 2).time_us,
    }
}

fn metric(seq: u64) -> Metric {
    Metric {
        at_us: seq / 20 * HOP_US,
        window_us: 60 * HOP_US,
        scope: CAMERAS[(seq % 3) as usize].into(),
        name: format!("rate_{seq}").into(),
        value: Some(-0.0),
    }
}

/// Feeds frames `..frames` of all cameras to a store from where it is, in order of sequence, and commits every hop.
pub(super) fn run(store: &mut Store, frames: u64, mut committed: impl FnMut()) {
    let begin_us = store.committed_frontier_us();
    let mut buffer = HopBuffer::new(HOP_US, begin_us);
    let points = CAMERAS.map(|camera| store.resume_point(camera).unwrap());
    for (camera, point) in CAMERAS.iter().zip(&points) {
        buffer.resume_camera((*camera).into(), point.clone());
    }
    let first = points
        .iter()
        .map(|point| point.next_seq)
        .min()
        .unwrap()
        .min(begin_us / INTERVAL_US);
    for seq in first..frames {
        for (camera, point) in points.iter().enumerate() {
            if seq >= point.next_seq && !point.already_stored.contains(&seq) {
                let TimedOutcome { time_us, outcome } = frame(camera, seq);
                buffer.outcome(time_us, outcome);
            }
        }
        let now_us = seq * INTERVAL_US;
        if now_us >= begin_us && seq % 5 == 0 {
            buffer.label(now_us, seq, label(seq));
            buffer.metric(now_us, metric(seq));
        }
        // No later frame is earlier than this.
        if let Some(commit) = buffer.passed((seq + 1) * INTERVAL_US) {
            store.commit(&commit).unwrap();
            committed();
        }
    }
    let end_us = frames * INTERVAL_US + JITTER_US + HOP_US;
    if let Some(commit) = buffer.passed(end_us) {
        store.commit(&commit).unwrap();
        committed();
    }
}

pub(super) fn create(path: &Path) -> Store {
    Store::create(path, "test", StoreOptions::default()).unwrap()
}

/// All that is in a store.
pub(super) fn all(store: &Store) -> Vec<TimedOutcome> {
    store.query(&OutcomeFilter::default()).map(Result::unwrap).collect()
}

pub(super) fn kind(outcome: &Outcome) -> DecisionKind {
    match outcome {
        Outcome::Dropped(_) => DecisionKind::Dropped,
        Outcome::Judged(verdict) => match verdict.decision {
            Decision::Pass => DecisionKind::Pass,
            Decision::Reject => DecisionKind::Reject,
            Decision::Unreadable { .. } => DecisionKind::Unreadable,
        },
    }
}

/// A commit of the first `frames` frames of camera 0, up to `frontier_us`.
pub(super) fn small_commit(frames: std::ops::Range<u64>, frontier_us: u64) -> Commit {
    let mut random = Random(frames.start);
    let begin_us = frontier_us - HOP_US;
    let outcomes = frames.clone().map(|seq| TimedOutcome {
        time_us: begin_us + seq % HOP_US,
        outcome: Outcome::Judged(Arc::new(random.verdict(CAMERAS[0], seq, begin_us))),
    });
    Commit {
        frontier_us,
        outcomes: outcomes.collect(),
        next_seq: [(CAMERAS[0].into(), frames.end)].into(),
        ..Commit::default()
    }
}

/// Every row of every table in the order of its primary key, but for the generation, which counts the restarts.
pub(super) fn dump(path: &Path) -> String {
    let store = Store::open_read_only(path, StoreOptions::default()).unwrap();
    let tables = [
        "SELECT schema_version, run FROM meta",
        "SELECT frontier_us FROM progress",
        "SELECT * FROM names ORDER BY id",
        "SELECT * FROM cameras ORDER BY camera",
        "SELECT * FROM outcomes ORDER BY id",
        "SELECT * FROM regions ORDER BY outcome, ordinal",
        "SELECT * FROM labels ORDER BY id",
        "SELECT * FROM metrics ORDER BY id",
        "SELECT * FROM alerts ORDER BY opened_at_us, rule, scope",
        "SELECT * FROM changes ORDER BY id",
    ];
    let mut dump = String::new();
    for sql in tables {
        dump += &format!("{sql}\n");
        let mut statement = store.connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                dump += &match row.get_ref(column).unwrap() {
                    ValueRef::Text(text) => format!("{:?} ", String::from_utf8_lossy(text)),
                    // Debug tells -0.0 from 0.0.
                    other => format!("{other:?} "),
                };
            }
            dump.push('\n');
        }
    }
    dump
}
