//! What waits between the dataflow and the disk: bounded in bytes, and exact about what did not fit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::RecordedEvent;
use super::tally::Tally;

/// What an event costs beside its bytes: the enum, its share of the queue, its counters.
const EVENT_OVERHEAD_BYTES: u64 = 512;

/// What labels, changes and drops may take beyond the buffer's limit: without their frames a replay still tells which frames are
/// missing, but without a threshold change it would judge the rest wrongly.
const RESERVE_BYTES: u64 = 1 << 20;

/// Events that were offered to the recorder and are not in the recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Frames.
    pub frames: u64,
    /// Drops, labels, changes and ends.
    pub others: u64,
}

/// The recorder's buffer.
#[derive(Default)]
pub(super) struct Queue {
    limit_bytes: u64,
    events: VecDeque<RecordedEvent>,
    /// Of the queued events, and of the one that is being written.
    held_bytes: u64,
    gaps: BTreeMap<Arc<str>, Gap>,
    unwritten: BTreeMap<Arc<str>, Unwritten>,
    is_closed: bool,
}

/// What did not fit since the last event of a camera that did.
struct Gap {
    lost: Unwritten,
    first_time_us: u64,
    last_time_us: u64,
}

impl Queue {
    /// A queue that holds frames of `limit_bytes`.
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            ..Self::default()
        }
    }

    /// Takes `event`, or counts it as unwritten. Whether it was taken.
    pub(super) fn offer(&mut self, event: RecordedEvent) -> bool {
        let (is_frame, bytes) = (matches!(event, RecordedEvent::Frame { .. }), size_bytes(&event));
        let limit_bytes = self.limit_bytes + if is_frame { 0 } else { RESERVE_BYTES };
        if self.is_closed || self.held_bytes.saturating_add(bytes) > limit_bytes {
            self.refuse(&event);
            return false;
        }
        if let Some(gap) = self.gaps.remove(event.camera()) {
            let missing = gap.into_event(event.camera().clone());
            self.push(missing);
        }
        self.push(event);
        true
    }

    /// The next event. Its bytes count until they are released.
    pub(super) fn take(&mut self) -> Option<RecordedEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        // A gap at the end of the queue is told now: nothing says that its camera goes on.
        let (camera, gap) = self.gaps.pop_first()?;
        let missing = gap.into_event(camera);
        self.held_bytes += size_bytes(&missing);
        Some(missing)
    }

    /// Gives the room of an event that was taken back.
    pub(super) fn release(&mut self, event: &RecordedEvent) {
        self.held_bytes -= size_bytes(event);
    }

    /// From now on every event is counted as unwritten.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Closes the queue and counts as unwritten what it holds and what is in `uncommitted`.
    pub(super) fn abandon(&mut self, uncommitted: &Tally) {
        self.close();
        self.gaps.clear();
        for (camera, counts) in &uncommitted.cameras {
            let unwritten = self.unwritten.entry(camera.clone()).or_default();
            unwritten.frames += counts.frames;
            unwritten.others += counts.dropped + counts.others;
        }
        for event in std::mem::take(&mut self.events) {
            // What a gap stands for was counted when it did not fit.
            if !matches!(event, RecordedEvent::Missing { .. }) {
                self.refuse(&event);
            }
        }
        self.held_bytes = 0;
    }

    pub(super) fn unwritten(&self) -> &BTreeMap<Arc<str>, Unwritten> {
        &self.unwritten
    }

    fn push(&mut self, event: RecordedEvent) {
        self.held_bytes += size_bytes(&event);
        self.events.push_back(event);
    }

    fn refuse(&mut self, event: &RecordedEvent) {
        let one = match event {
            RecordedEvent::Frame { .. } => Unwritten { frames: 1, others: 0 },
            RecordedEvent::Missing { frames, others, .. } => Unwritten {
                frames: *frames,
                others: *others,
            },
            _ => Unwritten { frames: 0, others: 1 },
        };
        self.unwritten.entry(event.camera().clone()).or_default().add(one);
        if !self.is_closed {
            let gap = self.gaps.entry(event.camera().clone()).or_insert(Gap {
                lost: Unwritten::default(),
                first_time_us: u64::MAX,
                last_time_us: 0,
            });
            gap.lost.add(one);
            if let Some(time_us) = event.time_us() {
                gap.first_time_us = gap.first_time_us.min(time_us);
                gap.last_time_us = gap.last_time_us.max(time_us);
            }
        }
    }
}

impl Unwritten {
    fn add(&mut self, other: Unwritten) {
        self.frames += other.frames;
        self.others += other.others;
    }
}

impl Gap {
    fn into_event(self, camera: Arc<str>) -> RecordedEvent {
        RecordedEvent::Missing {
            camera,
            frames: self.lost.frames,
            others: self.lost.others,
            // The end of a stream has no time; where it alone is missing the two are one.
            first_time_us: self.first_time_us.min(self.last_time_us),
            last_time_us: self.last_time_us,
        }
    }
}

fn size_bytes(event: &RecordedEvent) -> u64 {
    let text = |text: &str| text.len() as u64;
    let own = match event {
        RecordedEvent::Frame { frame, .. } => {
            text(&frame.origin)
                + frame
                    .bytes
                    .as_ref()
                    .map_or_else(|reason| text(reason), |bytes| bytes.len() as u64)
        }
        RecordedEvent::Detector { path, .. } => text(path),
        RecordedEvent::Lot { lot, .. } => text(lot),
        RecordedEvent::Label { label, .. } => match &label.truth {
            Some(intakt_operators::Truth::Anomalous(class)) => text(class),
            Some(intakt_operators::Truth::Normal) | None => 0,
        },
        _ => 0,
    };
    EVENT_OVERHEAD_BYTES + text(event.camera()) + own
}
