//! Random histories of a line, ways to send them through a dataflow, and somebody who recomputes everything from scratch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Input, Inspect, Probe};
use timely::dataflow::{InputHandle, StreamVec};

use super::{AlternativeThreshold, ArrivedLabel, HOP_US, LotStarted, RatePlan, Shifts};
use crate::metrics::{ScoreReference, Tally};
use crate::{Decision, DropReason, DroppedFrame, Label, Outcome, Truth, Verdict};

pub(super) const CAMERAS: [&str; 3] = ["left", "right", "top"];
pub(super) const MINUTE_US: u64 = 60_000_000;
pub(super) const END_US: u64 = 9 * MINUTE_US;

pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0) % sides
    }
}

/// What comes in, each with its time in the dataflow.
#[derive(Clone, Default)]
pub(super) struct History {
    pub(super) outcomes: Vec<(u64, Outcome)>,
    pub(super) labels: Vec<(u64, ArrivedLabel)>,
    pub(super) lots: Vec<(u64, LotStarted)>,
    pub(super) thresholds: Vec<(u64, AlternativeThreshold)>,
}

fn outcome(camera: &Arc<str>, seq: u64, captured_at_us: u64, dice: &mut Dice) -> Outcome {
    let kind = dice.roll(12);
    if kind == 0 {
        return Outcome::Dropped(DroppedFrame {
            camera: camera.clone(),
            seq,
            captured_at_us,
            reason: DropReason::DropOldest,
        });
    }
    let score = dice.roll(25) as f64 / 25.0;
    let decision = match kind {
        1 => Decision::Unreadable { reason: "torn".into() },
        _ if score > 0.5 => Decision::Reject,
        _ => Decision::Pass,
    };
    Outcome::Judged(Arc::new(Verdict {
        camera: camera.clone(),
        seq,
        captured_at_us,
        origin: "".into(),
        detector: "".into(),
        decision,
        image_score: 0.0,
        threshold: 0.0,
        calibrated_score: score,
        regions: vec![],
        suppressed: vec![],
    }))
}

/// Frames that come late, are dropped or torn; labels before the frame, after it, after the horizon, twice, corrected or for
/// no frame; times that tie.
pub(super) fn history(seed: u64) -> History {
    let mut dice = Dice(seed << 32);
    let mut history = History::default();
    let mut seqs = [0; 3];
    let mut time_us = 0;
    while time_us < END_US {
        time_us += dice.roll(12) * 100_000;
        // Nobody sees anything for a while: whole windows run empty.
        time_us += if dice.roll(400) == 0 { 70_000_000 } else { 0 };
        let index = dice.roll(3) as usize;
        let camera: Arc<str> = CAMERAS[index].into();
        let captured_at_us = time_us.saturating_sub(dice.roll(3) * 700_000);
        let seq = seqs[index];
        seqs[index] += 1;
        history
            .outcomes
            .push((time_us, outcome(&camera, seq, captured_at_us, &mut dice)));
        for _ in 0..dice.roll(4).saturating_sub(1) {
            let at_us = (time_us + dice.roll(2_600) * 100_000).saturating_sub(30_000_000);
            let lost = dice.roll(20) == 0;
            let label = Label {
                camera: camera.clone(),
                seq: if lost { seq + 100_000 } else { seq },
                truth: match dice.roll(8) {
                    0..3 => Some(Truth::Anomalous("dent".into())),
                    3..7 => Some(Truth::Normal),
                    _ => None,
                },
                captured_at_us,
            };
            let ordinal = history.labels.len() as u64 ^ 5;
            history.labels.push((at_us, ArrivedLabel { ordinal, label }));
        }
        if dice.roll(40) == 0 {
            let threshold = (dice.roll(5) > 0).then_some(dice.roll(50) as f64 / 50.0);
            let name: Arc<str> = ["strict", "lax"][dice.roll(2) as usize].into();
            let asked = |ordinal, threshold| AlternativeThreshold {
                camera: camera.clone(),
                ordinal,
                name: name.clone(),
                threshold,
            };
            let ordinal = history.thresholds.len() as u64;
            history.thresholds.push((time_us, asked(ordinal, threshold)));
            if ordinal.is_multiple_of(3) {
                // A lower one at the same time, or nobody asks any more.
                let later = ordinal.is_multiple_of(2).then_some(0.1);
                history.thresholds.push((time_us, asked(ordinal + 1, later)));
            }
        }
        if dice.roll(30) == 0 {
            let lot: Arc<str> = format!("lot {}", dice.roll(9)).into();
            let ordinal = history.lots.len() as u64;
            let started = |ordinal, lot| LotStarted {
                camera: camera.clone(),
                ordinal,
                lot,
            };
            history.lots.push((time_us, started(ordinal, lot)));
            if ordinal.is_multiple_of(3) {
                // It was a mistake.
                history.lots.push((time_us, started(ordinal + 1, "another".into())));
            }
        }
    }
    history.outcomes.retain(|(time_us, _)| *time_us < END_US);
    history.labels.retain(|(time_us, _)| *time_us < END_US);
    history.thresholds.retain(|(time_us, _)| *time_us < END_US);
    history.lots.retain(|(time_us, _)| *time_us < END_US);
    history
}

pub(super) fn plan(horizon_us: u64) -> Arc<RatePlan> {
    let reference = ScoreReference::new(&(0..200).map(|i| f64::from(i) / 400.0).collect::<Vec<_>>()).unwrap();
    Arc::new(RatePlan {
        cameras: Default::default(),
        windows_us: vec![3_000_000, MINUTE_US, 2 * MINUTE_US],
        shifts: Some(Shifts {
            starts_minute: vec![1, 4],
            utc_offset_minutes: -2,
        }),
        horizon_us,
        lines: [("left".into(), "one".into()), ("top".into(), "one".into())].into(),
        references: [("left".into(), reference)].into(),
    })
}

/// The streams of a history, as a worker sees them.
pub(super) struct Inputs<'scope> {
    pub(super) outcomes: StreamVec<'scope, u64, Outcome>,
    pub(super) labels: StreamVec<'scope, u64, ArrivedLabel>,
    pub(super) lots: StreamVec<'scope, u64, LotStarted>,
    pub(super) thresholds: StreamVec<'scope, u64, AlternativeThreshold>,
}

#[derive(Clone)]
enum Event {
    Outcome(Outcome),
    Label(ArrivedLabel),
    Lot(LotStarted),
    Threshold(AlternativeThreshold),
}

/// The events a worker sends, in an order of its own where times tie; none for those that others send.
fn events(history: &History, worker: usize, workers: usize) -> Vec<(u64, Option<Event>)> {
    let outcomes = history
        .outcomes
        .iter()
        .map(|(at, it)| (*at, Event::Outcome(it.clone())));
    let labels = history.labels.iter().map(|(at, it)| (*at, Event::Label(it.clone())));
    let lots = history.lots.iter().map(|(at, it)| (*at, Event::Lot(it.clone())));
    let thresholds = history
        .thresholds
        .iter()
        .map(|(at, it)| (*at, Event::Threshold(it.clone())));
    let all = outcomes.chain(labels).chain(lots).chain(thresholds).enumerate();
    let mut all: Vec<(u64, u64, Event)> = all
        .map(|(index, (at, event))| (at, mix(index as u64 + workers as u64), event))
        .collect();
    all.sort_by_key(|(at, shuffle, _)| (*at, *shuffle));
    let mine = |shuffle: u64| shuffle as usize % workers == worker;
    all.into_iter()
        .map(|(at, shuffle, event)| (at, mine(shuffle).then_some(event)))
        .collect()
}

/// Sends a history through a dataflow; what comes out before [`END_US`], in order.
pub(super) fn run<O: Clone + Send + 'static>(
    history: &History,
    workers: usize,
    build: impl for<'scope> Fn(Inputs<'scope>) -> StreamVec<'scope, u64, O> + Send + Sync + 'static,
) -> Vec<(u64, O)> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (history, all) = (history.clone(), seen.clone());
    // Workers talk as those of different processes do, so that everything they exchange is written and read again.
    let mut config = timely::Config::process(workers);
    config.communication = timely::CommunicationConfig::ProcessBinary(workers);
    timely::execute(config, move |worker| {
        let mut outcomes: InputHandle<u64, CapacityContainerBuilder<Vec<Outcome>>> = InputHandle::new();
        let mut labels: InputHandle<u64, CapacityContainerBuilder<Vec<ArrivedLabel>>> = InputHandle::new();
        let mut lots: InputHandle<u64, CapacityContainerBuilder<Vec<LotStarted>>> = InputHandle::new();
        let mut thresholds: InputHandle<u64, CapacityContainerBuilder<Vec<AlternativeThreshold>>> = InputHandle::new();
        let all = all.clone();
        let probe = worker.dataflow::<u64, _, _>(|scope| {
            let inputs = Inputs {
                outcomes: scope.input_from(&mut outcomes),
                labels: scope.input_from(&mut labels),
                lots: scope.input_from(&mut lots),
                thresholds: scope.input_from(&mut thresholds),
            };
            let out = build(inputs).inspect_core(move |event| {
                if let Ok((stamp, out)) = event {
                    let time = *stamp.least().unwrap();
                    all.lock().unwrap().extend(out.iter().map(|out| (time, out.clone())));
                }
            });
            out.probe().0
        });
        for (number, (at, event)) in events(&history, worker.index(), worker.peers()).into_iter().enumerate() {
            outcomes.advance_to(at);
            labels.advance_to(at);
            lots.advance_to(at);
            thresholds.advance_to(at);
            match event {
                None => {}
                Some(Event::Outcome(it)) => outcomes.send(it),
                Some(Event::Label(it)) => labels.send(it),
                Some(Event::Lot(it)) => lots.send(it),
                Some(Event::Threshold(it)) => thresholds.send(it),
            }
            if number % 7 == 0 {
                worker.step();
            }
        }
        outcomes.advance_to(END_US);
        labels.advance_to(END_US);
        lots.advance_to(END_US);
        thresholds.advance_to(END_US);
        worker.step_or_park_while(None, || probe.less_than(&END_US));
    })
    .unwrap();
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    // Whether the last hop is published is up to how the input ends.
    seen.retain(|(time, _)| *time < END_US);
    assert!(seen.is_sorted_by_key(|(time, _)| *time), "in order of time");
    seen
}

/// One frame, and what its label is worth at a time.
pub(super) struct Frame {
    pub(super) hop_us: u64,
    pub(super) outcome: Outcome,
}

pub(super) fn hop(time_us: u64) -> u64 {
    time_us / HOP_US * HOP_US
}

/// The history as somebody would tell it who knows everything that came before a time, and recomputes it all.
pub(super) struct Naive<'a> {
    pub(super) history: &'a History,
    pub(super) horizon_us: u64,
}

impl Naive<'_> {
    pub(super) fn frames(&self, before_us: u64) -> Vec<Frame> {
        let outcomes = self.history.outcomes.iter().filter(|(at, _)| hop(*at) < before_us);
        outcomes
            .map(|(at, outcome)| Frame {
                hop_us: hop(*at),
                outcome: outcome.clone(),
            })
            .collect()
    }

    fn labels_of(&self, camera: &str, seq: u64, before_us: u64) -> Vec<&(u64, ArrivedLabel)> {
        let labels = self.history.labels.iter().filter(|(at, _)| hop(*at) < before_us);
        let mut of: Vec<_> = labels
            .filter(|(_, it)| *it.label.camera == *camera && it.label.seq == seq)
            .collect();
        of.sort_by_key(|(at, it)| (*at, it.ordinal));
        of
    }

    /// The newest label that was neither given up before the frame came nor came after it was frozen.
    fn truth(&self, frame: &Frame, before_us: u64) -> Option<bool> {
        let labels = self.labels_of(frame.outcome.camera(), frame.outcome.seq(), before_us);
        let holds = |at: u64| {
            let said = hop(at);
            if said < frame.hop_us {
                said + self.horizon_us >= frame.hop_us
            } else {
                said < frame.hop_us + HOP_US + self.horizon_us
            }
        };
        labels
            .iter()
            .rev()
            .find(|(at, _)| holds(*at))
            .and_then(|(_, it)| it.label.truth.as_ref().map(Truth::is_anomalous))
    }

    /// Per camera and hop.
    pub(super) fn tallies(&self, before_us: u64) -> BTreeMap<(Arc<str>, u64), Tally> {
        let mut tallies: BTreeMap<(Arc<str>, u64), Tally> = BTreeMap::new();
        for frame in self.frames(before_us) {
            let tally = tallies
                .entry((frame.outcome.camera().clone(), frame.hop_us))
                .or_default();
            tally.frames += 1;
            let Outcome::Judged(verdict) = &frame.outcome else {
                tally.dropped += 1;
                continue;
            };
            let rejected = match verdict.decision {
                Decision::Unreadable { .. } => {
                    tally.unreadable += 1;
                    continue;
                }
                Decision::Pass => false,
                Decision::Reject => true,
            };
            tally.rejects += i64::from(rejected);
            match (self.truth(&frame, before_us), rejected) {
                (None, _) => {}
                (Some(true), true) => tally.anomalous_rejected += 1,
                (Some(true), false) => tally.anomalous_passed += 1,
                (Some(false), true) => tally.normal_rejected += 1,
                (Some(false), false) => tally.normal_passed += 1,
            }
        }
        for (at, it) in self.history.labels.iter().filter(|(at, _)| hop(*at) < before_us) {
            self.count_homeless(hop(*at), *at, it, before_us, &mut tallies);
        }
        tallies
    }

    /// Labels that are too late, or whose frame never comes.
    fn count_homeless(
        &self,
        said: u64,
        at: u64,
        it: &ArrivedLabel,
        before_us: u64,
        tallies: &mut BTreeMap<(Arc<str>, u64), Tally>,
    ) {
        let frames = self.history.outcomes.iter();
        let frame = frames.filter(|(_, outcome)| outcome.camera() == &it.label.camera && outcome.seq() == it.label.seq);
        let frame = frame.map(|(at, _)| hop(*at)).next();
        if frame.is_some_and(|frame| frame <= said && said < frame + HOP_US + self.horizon_us) {
            return;
        }
        let camera = it.label.camera.clone();
        let is_late = |it: &ArrivedLabel, said| hop(it.label.captured_at_us) + HOP_US + self.horizon_us <= said;
        if is_late(it, said) {
            tallies.entry((camera, said)).or_default().labels_too_late += 1;
            return;
        }
        let until = said + self.horizon_us;
        let came = frame.is_some_and(|frame| frame > said && frame <= until);
        let replaced = self
            .labels_of(&camera, it.label.seq, u64::MAX)
            .iter()
            .any(|(other_at, other)| {
                (*other_at, other.ordinal) > (at, it.ordinal)
                    && hop(*other_at) <= until
                    && !is_late(other, hop(*other_at))
            });
        if until < before_us && !came && !replaced {
            tallies.entry((camera, until)).or_default().labels_unmatched += 1;
        }
    }

    /// Per camera and hop: score, and truth if known.
    pub(super) fn scores(&self, before_us: u64) -> Vec<(Arc<str>, u64, f64, Option<bool>)> {
        let mut scores = Vec::new();
        for frame in self.frames(before_us) {
            if let Outcome::Judged(verdict) = &frame.outcome
                && !matches!(verdict.decision, Decision::Unreadable { .. })
            {
                let truth = self.truth(&frame, before_us);
                scores.push((verdict.camera.clone(), frame.hop_us, verdict.calibrated_score, truth));
            }
        }
        scores
    }

    /// Lots that have ended before a time: camera, name, start, end.
    pub(super) fn lots(&self, before_us: u64) -> Vec<(Arc<str>, Arc<str>, u64, u64)> {
        let mut lots = Vec::new();
        for camera in CAMERAS {
            let mut started: Vec<(u64, &LotStarted)> = self
                .history
                .lots
                .iter()
                .filter(|(at, lot)| *lot.camera == *camera && hop(*at) < before_us)
                .map(|(at, lot)| (*at, lot))
                .collect();
            started.sort();
            let starts: BTreeMap<u64, &LotStarted> = started.into_iter().map(|(at, lot)| (hop(at), lot)).collect();
            let mut current: Option<(Arc<str>, u64)> = None;
            for (at, lot) in starts {
                if current.as_ref().is_none_or(|(name, _)| *name != lot.lot)
                    && let Some((name, start)) = current.replace((lot.lot.clone(), at))
                {
                    lots.push((camera.into(), name, start, at));
                }
            }
        }
        lots
    }
}
