//! Hands what enters the dataflow to a recorder.

use std::sync::Arc;

use intakt_operators::DroppedFrame;
use intakt_operators::Stamp;
use intakt_operators::dataflow::{Admitted, Cameras};
use timely::dataflow::operators::Inspect;

use crate::recording::{RecordedEvent, Recorder};

/// Records cameras.
pub(crate) trait Record {
    /// Passes everything on, and offers it to `recorder`, which never waits for the disk.
    fn record(self, recorder: &Arc<Recorder>) -> Self;
}

impl Record for Cameras<'_> {
    fn record(self, recorder: &Arc<Recorder>) -> Self {
        let (frames, drops) = (recorder.clone(), recorder.clone());
        Self {
            frames: self.frames.inspect(move |admitted: &Admitted| {
                let Stamp { time_us, low_us } = admitted.stamp;
                frames.record(RecordedEvent::Frame {
                    frame: admitted.frame.clone(),
                    time_us,
                    low_us,
                });
            }),
            dropped: self.dropped.inspect(move |(dropped, stamp): &(DroppedFrame, Stamp)| {
                drops.record(RecordedEvent::Dropped {
                    dropped: dropped.clone(),
                    time_us: stamp.time_us,
                    low_us: stamp.low_us,
                });
            }),
        }
    }
}
