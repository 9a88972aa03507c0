//! The simulated line as a source of frames.

use std::sync::Arc;

use intakt_operators::Frame;

use super::{SyntheticCamera, SyntheticLine};
use crate::png::encode_png;
use crate::sources::{Next, Source, StopFlag};

/// The inspected frames of one camera of the simulated line, rendered when they are taken. They wait while the dataflow is
/// busy, and are the same whenever they are rendered again.
pub struct Synthetic {
    camera: Arc<str>,
    line: Arc<SyntheticLine>,
    scene: SyntheticCamera,
    seq: u64,
    frames: u64,
}

impl Synthetic {
    /// `frames` frames of what `scene` sees of `line`, under the name `camera`.
    pub fn new(camera: Arc<str>, line: Arc<SyntheticLine>, scene: SyntheticCamera, frames: u64) -> Self {
        Self {
            camera,
            line,
            scene,
            seq: 0,
            frames,
        }
    }

    fn frame(&self, seq: u64) -> Frame {
        let rendered = self.line.render(self.scene, seq);
        let bytes = encode_png(&rendered.image);
        Frame {
            camera: self.camera.clone(),
            seq,
            captured_at_us: rendered.captured_at_us,
            origin: "".into(),
            bytes: bytes.map(Into::into).map_err(Into::into),
            recorded: None,
        }
    }
}

impl Source for Synthetic {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    fn is_live(&self) -> bool {
        false
    }

    fn resume_at(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        if self.seq >= self.frames || stop.is_stopped() {
            return Next::Ended;
        }
        let frame = self.frame(self.seq);
        self.seq += 1;
        Next::Frame(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use intakt_operators::imaging::decode;

    use super::*;
    use crate::sources::Paced;
    use crate::sources::compliance::{Subject, Taken, frame};

    fn source(seed: u64) -> Synthetic {
        let line = Arc::new(SyntheticLine::new(seed));
        Synthetic::new("gate".into(), line, SyntheticCamera::Metal, 4)
    }

    #[test]
    fn the_simulated_line_complies() {
        let line = RefCell::new(Arc::new(SyntheticLine::new(3)));
        let fresh = || -> Box<dyn Source> {
            let source = source(3);
            line.replace(source.line.clone());
            Box::new(source)
        };
        Subject {
            fresh: &fresh,
            frames: 4,
            ends: true,
            replayable: true,
            broken: &[],
            taken: Taken::Counted(&|| line.borrow().frames_taken()),
            ahead_max: 1,
        }
        .complies();
    }

    #[test]
    fn frames_are_the_lines_under_another_name() {
        let (mut source, stop) = (source(3), StopFlag::default());
        source.resume_at(1);
        let frame = frame(&mut source, &stop);
        let rendered = SyntheticLine::new(3).render(SyntheticCamera::Metal, 1);
        assert_eq!((&*frame.camera, frame.seq), ("gate", 1));
        assert_eq!(rendered.label().captured_at_us, frame.captured_at_us);
        let decoded = decode(&frame.bytes.expect("encodes"), u16::MAX).expect("a PNG");
        assert_eq!(decoded, rendered.image);
    }

    #[test]
    fn paced_frames_are_live_and_the_same() {
        let (mut paced, stop) = (Paced::new(Box::new(source(3))), StopFlag::default());
        assert!(!source(3).is_live() && paced.is_live());
        assert!(paced.has_own_clock(), "it can be read again");
        paced.resume_at(3);
        assert_eq!(frame(&mut paced, &stop).bytes, source(3).frame(3).bytes);
        assert!(matches!(paced.next(&stop), Next::Ended));
    }
}
