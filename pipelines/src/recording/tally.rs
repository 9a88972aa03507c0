//! What a stretch of a recording holds, per camera.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RecordedEvent;

/// What a recording holds of one camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedCamera {
    /// Frames, unreadable ones included.
    pub frames: u64,
    /// Frames that were dropped before the dataflow.
    pub dropped: u64,
    /// Labels, threshold changes, detector swaps and ends.
    pub others: u64,
    /// Frames that the recorder could not take.
    pub missing: u64,
    /// One more than the highest number of a frame, dropped ones included.
    #[serde(default)]
    pub next_seq: u64,
    /// Lowest and highest logical time, microseconds.
    pub times_us: Option<(u64, u64)>,
}

impl RecordedCamera {
    fn add(&mut self, other: RecordedCamera) {
        // Saturating, because a damaged file may claim any number.
        self.frames = self.frames.saturating_add(other.frames);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.others = self.others.saturating_add(other.others);
        self.missing = self.missing.saturating_add(other.missing);
        self.next_seq = self.next_seq.max(other.next_seq);
        self.times_us = match (self.times_us, other.times_us) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (known, None) | (None, known) => known,
        };
    }
}

/// What a stretch of a recording holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) events: u64,
    pub(super) cameras: BTreeMap<Arc<str>, RecordedCamera>,
}

impl Tally {
    pub(super) fn count(&mut self, event: &RecordedEvent) {
        let mut one = RecordedCamera {
            times_us: event.time_us().map(|time_us| (time_us, time_us)),
            ..RecordedCamera::default()
        };
        match event {
            RecordedEvent::Frame { frame, .. } => {
                one.frames = 1;
                one.next_seq = frame.seq.saturating_add(1);
            }
            RecordedEvent::Dropped { dropped, .. } => {
                one.dropped = 1;
                one.next_seq = dropped.seq.saturating_add(1);
            }
            RecordedEvent::Missing {
                frames,
                first_time_us,
                last_time_us,
                ..
            } => {
                one.missing = *frames;
                one.times_us = Some((*first_time_us, *last_time_us));
            }
            _ => one.others = 1,
        }
        self.events += 1;
        self.cameras.entry(event.camera().clone()).or_default().add(one);
    }

    pub(super) fn add(&mut self, other: &Tally) {
        self.events = self.events.saturating_add(other.events);
        for (camera, counts) in &other.cameras {
            self.cameras.entry(camera.clone()).or_default().add(*counts);
        }
    }

    /// As the entries of a metadata record.
    pub(super) fn to_metadata(&self) -> BTreeMap<String, String> {
        let camera = |(camera, counts): (&Arc<str>, &RecordedCamera)| {
            let counts = serde_json::to_string(counts).expect("numbers always make JSON");
            (format!("camera {camera}"), counts)
        };
        let events = ("events".to_owned(), self.events.to_string());
        self.cameras.iter().map(camera).chain([events]).collect()
    }

    /// Back from the entries of a metadata record; `None` if they do not say it.
    pub(super) fn from_metadata(entries: &BTreeMap<String, String>) -> Option<Self> {
        let events = entries.get("events")?.parse().ok()?;
        let camera = |(key, counts): (&String, &String)| {
            let camera = key.strip_prefix("camera ")?;
            Some(serde_json::from_str(counts).ok().map(|counts| (camera.into(), counts)))
        };
        let cameras = entries.iter().filter_map(camera).collect::<Option<_>>()?;
        Some(Self { events, cameras })
    }
}
