//! An event as a JSON line: everything exactly, but for the image's bytes, which are in the message before it.

use std::sync::Arc;

use intakt_operators::{DroppedFrame, Frame, Label};
use serde::{Deserialize, Serialize};

use super::RecordedEvent;

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum EventLine {
    Frame {
        camera: Arc<str>,
        seq: u64,
        captured_at_us: u64,
        origin: Arc<str>,
        /// Why there is no image.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unreadable: Option<Arc<str>>,
        time_us: u64,
        low_us: u64,
    },
    Dropped {
        dropped: DroppedFrame,
        time_us: u64,
        low_us: u64,
    },
    Label {
        label: Label,
        time_us: u64,
    },
    Threshold {
        camera: Arc<str>,
        /// For people: JSON has no infinity, and not every reader of it keeps the last digit.
        #[serde(default, skip_deserializing)]
        threshold: f64,
        threshold_bits: u64,
        time_us: u64,
    },
    Detector {
        camera: Arc<str>,
        detector: Arc<str>,
        path: Arc<str>,
        time_us: u64,
    },
    Lot {
        camera: Arc<str>,
        lot: Arc<str>,
        time_us: u64,
    },
    Ended {
        camera: Arc<str>,
    },
    Missing {
        camera: Arc<str>,
        frames: u64,
        others: u64,
        first_time_us: u64,
        last_time_us: u64,
    },
}

impl EventLine {
    pub(super) fn of(event: &RecordedEvent) -> Self {
        match event.clone() {
            RecordedEvent::Frame { frame, time_us, low_us } => Self::Frame {
                camera: frame.camera,
                seq: frame.seq,
                captured_at_us: frame.captured_at_us,
                origin: frame.origin,
                unreadable: frame.bytes.err(),
                time_us,
                low_us,
            },
            RecordedEvent::Dropped {
                dropped,
                time_us,
                low_us,
            } => Self::Dropped {
                dropped,
                time_us,
                low_us,
            },
            RecordedEvent::Label { label, time_us } => Self::Label { label, time_us },
            RecordedEvent::Threshold {
                camera,
                threshold,
                time_us,
            } => Self::Threshold {
                camera,
                threshold,
                threshold_bits: threshold.to_bits(),
                time_us,
            },
            RecordedEvent::Detector {
                camera,
                detector,
                path,
                time_us,
            } => Self::Detector {
                camera,
                detector,
                path,
                time_us,
            },
            RecordedEvent::Lot { camera, lot, time_us } => Self::Lot { camera, lot, time_us },
            RecordedEvent::Ended { camera } => Self::Ended { camera },
            RecordedEvent::Missing {
                camera,
                frames,
                others,
                first_time_us,
                last_time_us,
            } => Self::Missing {
                camera,
                frames,
                others,
                first_time_us,
                last_time_us,
            },
        }
    }

    /// The camera and sequence number of the frame whose image message must come before this line.
    pub(super) fn image_of(&self) -> Option<(&Arc<str>, u64)> {
        match self {
            Self::Frame {
                camera,
                seq,
                unreadable: None,
                ..
            } => Some((camera, *seq)),
            _ => None,
        }
    }

    /// The event; `image` are the bytes that [`EventLine::image_of`] asks for.
    pub(super) fn event(self, image: Arc<[u8]>) -> RecordedEvent {
        match self {
            Self::Frame {
                camera,
                seq,
                captured_at_us,
                origin,
                unreadable,
                time_us,
                low_us,
            } => {
                let bytes = unreadable.map_or(Ok(image), Err);
                let frame = Frame {
                    camera,
                    seq,
                    captured_at_us,
                    origin,
                    bytes,
                    recorded: None,
                };
                RecordedEvent::Frame { frame, time_us, low_us }
            }
            Self::Dropped {
                dropped,
                time_us,
                low_us,
            } => RecordedEvent::Dropped {
                dropped,
                time_us,
                low_us,
            },
            Self::Label { label, time_us } => RecordedEvent::Label { label, time_us },
            Self::Threshold {
                camera,
                threshold_bits,
                time_us,
                ..
            } => {
                let threshold = f64::from_bits(threshold_bits);
                RecordedEvent::Threshold {
                    camera,
                    threshold,
                    time_us,
                }
            }
            Self::Detector {
                camera,
                detector,
                path,
                time_us,
            } => RecordedEvent::Detector {
                camera,
                detector,
                path,
                time_us,
            },
            Self::Lot { camera, lot, time_us } => RecordedEvent::Lot { camera, lot, time_us },
            Self::Ended { camera } => RecordedEvent::Ended { camera },
            Self::Missing {
                camera,
                frames,
                others,
                first_time_us,
                last_time_us,
            } => RecordedEvent::Missing {
                camera,
                frames,
                others,
                first_time_us,
                last_time_us,
            },
        }
    }
}
