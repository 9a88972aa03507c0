//! What a recording consists of.

use std::sync::Arc;

use intakt_operators::{DroppedFrame, Frame, Label};

/// Something that reached the dataflow from outside and that its results depend on.
#[derive(Clone, Debug)]
pub enum RecordedEvent {
    /// A frame was let in.
    Frame {
        /// The frame as received.
        frame: Frame,
        /// The logical time it was given, microseconds.
        time_us: u64,
        /// The source's frontier at that moment: no later frame of this camera has a time below it, microseconds.
        low_us: u64,
    },
    /// A frame was dropped before it was let in.
    Dropped {
        /// Which, and why.
        dropped: DroppedFrame,
        /// The logical time it was given, microseconds.
        time_us: u64,
        /// The source's frontier at that moment, microseconds.
        low_us: u64,
    },
    /// Somebody said what a frame truly is.
    Label {
        /// What was said.
        label: Label,
        /// The logical time at which it was said, microseconds.
        time_us: u64,
    },
    /// A camera's threshold was changed.
    Threshold {
        /// Name of the camera.
        camera: Arc<str>,
        /// The image score above which its frames are rejected from now on.
        threshold: f64,
        /// The logical time from which it holds, microseconds.
        time_us: u64,
    },
    /// A camera's detector was changed.
    Detector {
        /// Name of the camera.
        camera: Arc<str>,
        /// First 12 digits of the new detector's SHA-256.
        detector: Arc<str>,
        /// Its file as the user gave it.
        path: Arc<str>,
        /// The logical time from which it holds, microseconds.
        time_us: u64,
    },
    /// A camera's next frames show parts of another lot.
    Lot {
        /// Name of the camera.
        camera: Arc<str>,
        /// Name of the lot.
        lot: Arc<str>,
        /// The logical time at which it was said, microseconds.
        time_us: u64,
    },
    /// A camera's stream ended. Where this is absent the recording was cut.
    Ended {
        /// Name of the camera.
        camera: Arc<str>,
    },
    /// Events of a camera are missing here, because the recorder's buffer was full.
    Missing {
        /// Name of the camera.
        camera: Arc<str>,
        /// Frames that are missing.
        frames: u64,
        /// Drops, labels, changes and ends that are missing.
        others: u64,
        /// The lowest logical time among them, microseconds.
        first_time_us: u64,
        /// The highest logical time among them, microseconds.
        last_time_us: u64,
    },
}

impl RecordedEvent {
    /// Name of the camera it is about.
    pub fn camera(&self) -> &Arc<str> {
        match self {
            Self::Frame { frame, .. } => &frame.camera,
            Self::Dropped { dropped, .. } => &dropped.camera,
            Self::Label { label, .. } => &label.camera,
            Self::Threshold { camera, .. }
            | Self::Detector { camera, .. }
            | Self::Lot { camera, .. }
            | Self::Ended { camera }
            | Self::Missing { camera, .. } => camera,
        }
    }

    /// Its logical time, microseconds; the end of a camera has none.
    pub fn time_us(&self) -> Option<u64> {
        match self {
            Self::Frame { time_us, .. }
            | Self::Dropped { time_us, .. }
            | Self::Label { time_us, .. }
            | Self::Threshold { time_us, .. }
            | Self::Detector { time_us, .. }
            | Self::Lot { time_us, .. } => Some(*time_us),
            Self::Missing { last_time_us, .. } => Some(*last_time_us),
            Self::Ended { .. } => None,
        }
    }

    /// When what it is about was captured, microseconds, where it is about a frame.
    pub(super) fn captured_at_us(&self) -> Option<u64> {
        match self {
            Self::Frame { frame, .. } => Some(frame.captured_at_us),
            Self::Dropped { dropped, .. } => Some(dropped.captured_at_us),
            Self::Label { label, .. } => Some(label.captured_at_us),
            _ => None,
        }
    }
}
