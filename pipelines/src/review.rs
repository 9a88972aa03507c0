//! The frames that people should look at, and their pictures.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use intakt_operators::dataflow::{FoundFrame, JudgedFrame};
use intakt_operators::detector::Detector;
use intakt_operators::{Frame, Mask, Verdict};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sinks::Sink;
use crate::sinks::small::{Seen, encode_jpeg, small_pictures};
use crate::sources::CameraStream;
use crate::{Detectors, Inspection, PipelineError, RunOptions, inspect};

/// Frames of one kind that are kept to be looked at: two rows of a printed page.
pub const NOTABLE_MAX: usize = 6;

/// Longer side of their pictures, pixels: enough for a quarter of the width of a printed page; those of strips, such as webs of
/// fabric, for all of it.
const SIDE_PX: u32 = 320;
const STRIP_SIDE_PX: u32 = 960;

/// Quality of their JPEGs, of 100: some 20 kB each.
const QUALITY: u8 = 82;

/// How many times as wide as high a frame is that counts as a strip.
const STRIP_RATIO: u32 = 2;

/// Why somebody should look at a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notable {
    /// A good part was rejected.
    FalseReject,
    /// A bad part passed.
    Escape,
    /// It was rejected, nobody said whether rightly, and scores highest.
    StrongReject,
    /// It is a bad part, and was just rejected.
    CloseReject,
    /// It passed, is no known escape, and scores highest.
    ClosePass,
}

impl Notable {
    /// Whether frames with high scores come first.
    fn is_highest_first(self) -> bool {
        match self {
            Self::FalseReject | Self::StrongReject | Self::ClosePass => true,
            Self::Escape | Self::CloseReject => false,
        }
    }
}

/// The first [`NOTABLE_MAX`] frames of a kind, whatever the order in which they come.
#[derive(Clone, Debug)]
pub struct Notables<T> {
    kind: Notable,
    kept: Vec<(Place, T)>,
}

/// Where a frame stands among those of its kind: by its score, and of equal ones by camera and sequence.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    score: f64,
    camera: Arc<str>,
    seq: u64,
}

impl Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_name = || (&self.camera, self.seq).cmp(&(&other.camera, other.seq));
        self.score.total_cmp(&other.score).then_with(by_name)
    }
}

impl<T> Notables<T> {
    /// None yet.
    pub fn of(kind: Notable) -> Self {
        Self { kind, kept: Vec::new() }
    }

    /// Why somebody should look at them.
    pub fn kind(&self) -> Notable {
        self.kind
    }

    /// Takes a frame with what `make` makes of it, unless enough come before it.
    pub fn offer<E>(
        &mut self,
        calibrated_score: f64,
        camera: &Arc<str>,
        seq: u64,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<(), E> {
        let score = match self.kind.is_highest_first() {
            true => -calibrated_score,
            false => calibrated_score,
        };
        let is_full = self.kept.len() == NOTABLE_MAX;
        if is_full && self.kept.last().is_some_and(|(last, _)| score > last.score) {
            return Ok(());
        }
        let place = Place {
            score,
            camera: camera.clone(),
            seq,
        };
        let at = self.kept.partition_point(|(before, _)| before.cmp(&place).is_lt());
        if at < NOTABLE_MAX {
            self.kept.insert(at, (place, make()?));
            self.kept.truncate(NOTABLE_MAX);
        }
        Ok(())
    }

    /// The frames, the first first.
    pub fn into_frames(self) -> Vec<T> {
        self.kept.into_iter().map(|(_, frame)| frame).collect()
    }
}

/// A frame, small, without and with its heatmap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewPicture {
    /// Columns of either picture.
    pub width_px: u32,
    /// Rows of either picture.
    pub height_px: u32,
    /// The frame as a JPEG file, with an outline of the defect where somebody drew it.
    #[serde(serialize_with = "as_base64", deserialize_with = "from_base64")]
    pub frame_jpeg: Vec<u8>,
    /// The same with its heatmap.
    #[serde(serialize_with = "as_base64", deserialize_with = "from_base64")]
    pub heatmap_jpeg: Vec<u8>,
}

impl ReviewPicture {
    /// Whether it is a strip, whose two pictures lie on top of each other.
    pub fn is_strip(&self) -> bool {
        self.width_px / self.height_px.max(1) >= STRIP_RATIO
    }

    /// Draws a frame that was looked at; `truth` is where its defects are, on the grid of the map.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn of(found: &FoundFrame, verdict: &Verdict, truth: Option<&Mask>) -> Result<Self, String> {
        let seen = Seen {
            image: &found.scored.frame.image,
            scores: &found.scored.scores,
            detector: &found.detector,
            verdict,
        };
        let image = seen.image;
        let side_px = match image.width_px / image.height_px.max(1) >= STRIP_RATIO {
            true => STRIP_SIDE_PX,
            false => SIDE_PX,
        };
        let [frame, heatmap] = small_pictures(&seen, truth, side_px);
        Ok(Self {
            width_px: frame.width_px,
            height_px: frame.height_px,
            frame_jpeg: encode_jpeg(&frame, QUALITY)?,
            heatmap_jpeg: encode_jpeg(&heatmap, QUALITY)?,
        })
    }
}

fn as_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// A frame that was looked at a second time.
#[derive(Clone, Debug)]
pub struct SecondLook {
    /// What was decided this time.
    pub verdict: Arc<Verdict>,
    /// Its picture; none where it could not be read.
    pub picture: Option<ReviewPicture>,
}

/// Looks at a frame again, for its picture.
///
/// # Errors
/// The picture cannot be made.
pub fn look_again(detector: Arc<Detector>, frame: Frame, options: &RunOptions) -> Result<SecondLook, PipelineError> {
    let pictures = Arc::new(Pictures::default());
    let stream = CameraStream {
        camera: frame.camera.clone(),
        frames: Box::new(std::iter::once(frame)),
    };
    let detectors = Arc::new(Detectors::common(detector));
    inspect(
        Inspection::new(vec![stream.into()], detectors, vec![pictures.clone()]),
        options,
    )?;
    let look = pictures.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    look.ok_or_else(|| PipelineError::Stopped("a frame has no verdict".to_owned()))
}

/// Draws a frame.
#[derive(Default)]
struct Pictures(Mutex<Option<SecondLook>>);

impl Sink for Pictures {
    fn draws(&self) -> bool {
        true
    }

    fn draw(&self, judged: &JudgedFrame) -> Result<(), String> {
        let draw = |found| ReviewPicture::of(found, &judged.verdict, None);
        let look = SecondLook {
            verdict: judged.verdict.clone(),
            picture: judged.evidence.as_ref().map(draw).transpose()?,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn kept(kind: Notable, scores: &[(f64, u64)]) -> Vec<u64> {
        let camera: Arc<str> = "left".into();
        let mut notables = Notables::of(kind);
        for &(score, seq) in scores {
            notables
                .offer(score, &camera, seq, || Ok::<_, Infallible>(seq))
                .unwrap();
        }
        notables.into_frames()
    }

    #[test]
    fn the_same_frames_are_kept_in_whatever_order_they_come() {
        let mut scores: Vec<(f64, u64)> = (0..40).map(|seq| ((seq * 7 % 10) as f64 / 10.0, seq)).collect();
        let forwards = kept(Notable::FalseReject, &scores);
        assert_eq!(forwards, [7, 17, 27, 37, 4, 14], "0.9 four times, then 0.8");
        assert_eq!(kept(Notable::Escape, &scores), [0, 10, 20, 30, 3, 13], "0.0, then 0.1");
        scores.reverse();
        assert_eq!(kept(Notable::FalseReject, &scores), forwards);
    }

    #[test]
    fn no_picture_is_made_of_what_is_not_kept() {
        let camera: Arc<str> = "left".into();
        let (mut notables, mut made) = (Notables::of(Notable::Escape), 0);
        for seq in 0..100 {
            let make = || {
                made += 1;
                Ok::<_, Infallible>(())
            };
            notables.offer(seq as f64, &camera, seq, make).unwrap();
        }
        assert_eq!(made, NOTABLE_MAX);
    }

    #[test]
    fn pictures_are_text_in_json() {
        let picture = ReviewPicture {
            width_px: 3,
            height_px: 2,
            frame_jpeg: vec![0xff, 0xd8, 0],
            heatmap_jpeg: vec![],
        };
        let json = serde_json::to_string(&picture).unwrap();
        assert_eq!(
            json,
            r#"{"width_px":3,"height_px":2,"frame_jpeg":"/9gA","heatmap_jpeg":""}"#
        );
        assert_eq!(serde_json::from_str::<ReviewPicture>(&json).unwrap(), picture);
    }
}
