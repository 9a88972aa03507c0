//! What became of all frames of a run, counted by camera: decisions and scores.

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::detector::ScoreScale;
use intakt_operators::metrics::{SCORE_BUCKETS, score_bucket};
use rusqlite::Row;

use super::error::{StoreError, Trouble};
use super::given::Given;
use super::schema::TAKEN_BACK;
use super::sql_value::{bits_in, from_key, score_in};
use super::store::Store;

/// Outcomes that are read at once: the lock of a reader is held for a few hundredths of a second.
const ROWS_AT_ONCE: i64 = 50_000;

/// The outcomes of a run, counted. It grows with cameras, thresholds and detectors, not with frames, and goes on where it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// Up to this outcome.
    up_to: i64,
    /// By the number of their name.
    cameras: BTreeMap<i64, CountedCamera>,
    /// Numbers of the names of cameras.
    numbers: BTreeMap<Arc<str>, i64>,
}

impl Counted {
    /// The cameras that have a position in the store, by name, with what was counted of them.
    pub fn cameras(&self) -> impl Iterator<Item = (&Arc<str>, &CountedCamera)> {
        let counted = |(name, number): (_, &i64)| Some((name, self.cameras.get(number)?));
        self.numbers.iter().filter_map(counted)
    }

    /// What was counted of a camera.
    pub fn camera(&self, name: &str) -> Option<&CountedCamera> {
        self.cameras.get(self.numbers.get(name)?)
    }
}

/// The outcomes of a camera, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CountedCamera {
    /// Frames that passed.
    pub passed: u64,
    /// Frames that were rejected.
    pub rejected: u64,
    /// Frames of which no image could be made.
    pub unreadable: u64,
    /// Frames that were dropped.
    pub dropped: u64,
    /// Frames that passed or were rejected, by detector and the bits of its threshold.
    settings: BTreeMap<Setting, UnderSetting>,
    given: Given,
    /// The newest frame that was looked at.
    pub last: Option<LastOutcome>,
    /// The last minutes in which frames were captured.
    pub recent: Recent,
}

/// How long a bar of [`Recent`] is, microseconds, and how many there are: five minutes.
pub const BAR_US: u64 = 5_000_000;
/// See [`BAR_US`].
pub const BARS: usize = 60;

/// Frames of a few seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Frames that were captured, unreadable and dropped ones included.
    pub captured: u64,
    /// Frames that were rejected.
    pub rejected: u64,
}

/// The last minutes in which frames of a camera were captured, in bars of a few seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// By their beginning, in bars since 1970; those in which nothing was captured are left out.
    bars: BTreeMap<u64, Bar>,
}

impl Recent {
    /// The oldest first.
    pub fn bars(&self) -> Vec<Bar> {
        let newest = self.bars.last_key_value().map_or(0, |(newest, _)| *newest);
        let mut bars: Vec<Bar> = (0..BARS as u64)
            .map(|back| {
                newest
                    .checked_sub(back)
                    .and_then(|at| self.bars.get(&at))
                    .copied()
                    .unwrap_or_default()
            })
            .collect();
        bars.reverse();
        bars
    }

    fn count(&mut self, captured_at_us: u64, is_rejected: bool) {
        let bar = self.bars.entry(captured_at_us / BAR_US).or_default();
        bar.captured += 1;
        bar.rejected += u64::from(is_rejected);
        // Frames are not in order of their time, but nearly.
        while self.bars.len() > BARS {
            self.bars.pop_first();
        }
    }
}

/// The newest frame of a camera that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct LastOutcome {
    /// Its number.
    pub seq: u64,
    /// When it was captured, microseconds.
    pub captured_at_us: u64,
    /// "pass", "reject" or "unreadable".
    pub decision: String,
    /// Why it was unreadable.
    pub reason: Option<String>,
    /// Its calibrated score.
    pub calibrated_score: f64,
    /// The detector.
    pub detector: Arc<str>,
    /// The image score above which it would have been rejected.
    pub threshold: f64,
}

impl LastOutcome {
    fn setting(&self) -> Setting {
        (self.detector.clone(), self.threshold.to_bits())
    }
}

/// A detector, and the bits of its threshold.
type Setting = (Arc<str>, u64);

/// The frames that were judged under one setting.
#[derive(Clone, Debug, Default, PartialEq)]
struct UnderSetting {
    /// By the [bucket](score_bucket) of their calibrated score.
    scores: BTreeMap<u16, u64>,
    /// By the [bucket](image_bucket) of their image score, which no threshold squeezes together.
    image_scores: BTreeMap<u32, u64>,
    /// When its first frame entered the dataflow, microseconds.
    first_us: u64,
    /// The score farthest from the threshold of those from which the span between what is normal and the threshold can be told, as
    /// the distance of its calibrated score from 0.5, with that span.
    span: Option<(f64, f64)>,
}

/// Bits of a single-precision image score that are left out of its bucket: those that are left tell 2,048 scores from one power of two to
/// the next.
const IMAGE_BITS_LEFT_OUT: u32 = 12;

/// The bucket of an image score. They are not negative.
fn image_bucket(image_score: f64) -> u32 {
    (image_score.max(0.0) as f32).to_bits() >> IMAGE_BITS_LEFT_OUT
}

/// The image score at the middle of its bucket.
fn image_score_of(bucket: u32) -> f32 {
    let bits = (bucket << IMAGE_BITS_LEFT_OUT) + (1 << (IMAGE_BITS_LEFT_OUT - 1));
    f32::from_bits(bits)
}

/// Calibrated scores from here to as far below 1 tell the span: at 0 what is more normal than normal is cut off.
const SPAN_FROM: f64 = 0.01;

impl UnderSetting {
    fn count(&mut self, time_us: u64, score: f64, image_score: f64, threshold: f64) {
        if self.scores.is_empty() || time_us < self.first_us {
            self.first_us = time_us;
        }
        *self.scores.entry(score_bucket(score)).or_default() += 1;
        *self.image_scores.entry(image_bucket(image_score)).or_default() += 1;
        let distance = (score - 0.5).abs();
        if distance < 0.5 - SPAN_FROM && self.span.is_none_or(|(farthest, _)| distance > farthest) {
            // The other way round than `ScoreScale::calibrated`.
            let span = (image_score - threshold) / (score / (1.0 - score) - 1.0);
            if span.is_finite() && span > 0.0 {
                self.span = Some((distance, span));
            }
        }
    }
}

/// The scores of a camera's frames, as they would be under the detector and the threshold of the newest frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoresNow {
    /// Frames by the [bucket](score_bucket) of their calibrated score.
    pub scores: Vec<u64>,
    /// Frames that other detectors judged, and those of which no frame tells how they are scaled, which are not among them.
    pub of_other_detectors: u64,
}

/// Where scores go that were judged under other settings than the newest frame's.
struct Rescale<'a> {
    camera: &'a CountedCamera,
    detector: Arc<str>,
    threshold: f64,
    normal_level: Option<f64>,
}

/// How scores of a setting come to be under the newest one.
enum To {
    /// They are under it.
    Same,
    /// They are of the same detector, and this is its scale now.
    Scale(ScoreScale),
    /// They are of another detector, or no frame of this one tells how its scores are scaled.
    Nowhere,
}

impl Rescale<'_> {
    fn of(&self, setting: &Setting) -> To {
        match self.normal_level {
            _ if self.camera.given_detector(setting) != self.detector => To::Nowhere,
            _ if f64::from_bits(setting.1) == self.threshold => To::Same,
            Some(normal_level) => To::Scale(ScoreScale {
                normal_level: normal_level as f32,
                threshold: self.threshold as f32,
            }),
            None => To::Nowhere,
        }
    }
}

impl To {
    /// Where a frame goes, as all of its bucket do.
    fn bucket(&self, score: f64, image_score: f64) -> Option<u16> {
        match self {
            Self::Same => Some(score_bucket(score)),
            Self::Scale(scale) => Some(bucket_under(scale, image_bucket(image_score))),
            Self::Nowhere => None,
        }
    }
}

/// Where the frames of a bucket of image scores go: where its middle goes.
fn bucket_under(scale: &ScoreScale, image_bucket: u32) -> u16 {
    score_bucket(scale.calibrated(image_score_of(image_bucket)))
}

/// Labelled frames by the [bucket](score_bucket) of their calibrated score, as they would be under the detector and the threshold of
/// the camera's newest frame; those that other detectors judged are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledScores {
    /// Those that are normal.
    pub normal: Vec<u64>,
    /// Those that are anomalous.
    pub anomalous: Vec<u64>,
    /// Those that are left out.
    pub of_other_detectors: u64,
}

impl Default for LabelledScores {
    fn default() -> Self {
        Self {
            normal: no_scores(),
            anomalous: no_scores(),
            of_other_detectors: 0,
        }
    }
}

impl Store {
    /// Counts on what was committed since `counted`.
    ///
    /// # Errors
    /// The store cannot be read; what was counted before it failed stays counted.
    pub fn count_on(&self, counted: &mut Counted) -> Result<(), StoreError> {
        self.try_count_on(counted).map_err(self.error("read"))
    }

    fn try_count_on(&self, counted: &mut Counted) -> Result<(), Trouble> {
        let sql =
            "SELECT outcomes.id, camera, decision, calibrated_score, names.name, threshold, seq, captured_at_us, reason, image_score,
                time_us
            FROM outcomes NOT INDEXED LEFT JOIN names ON names.id = detector
            WHERE outcomes.id > ? ORDER BY outcomes.id LIMIT ?";
        let mut statement = self.connection.prepare(sql)?;
        loop {
            let mut rows = statement.query([counted.up_to, ROWS_AT_ONCE])?;
            let mut read = 0;
            while let Some(row) = rows.next()? {
                counted.cameras.entry(row.get(1)?).or_default().count(row)?;
                counted.up_to = row.get(0)?;
                read += 1;
            }
            if read < ROWS_AT_ONCE {
                break;
            }
        }
        let numbers = self.names_of_cameras()?.into_iter();
        counted.numbers = numbers.map(|(number, name)| (name.into(), number)).collect();
        let mut given = self.given()?;
        for (name, number) in &counted.numbers {
            if let Some(camera) = counted.cameras.get_mut(number) {
                camera.given = given.remove(name).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// The scores of the frames of a camera that somebody labelled, as was said last, among those that are `counted`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn labelled_scores(&self, camera: &str, counted: &Counted) -> Result<LabelledScores, StoreError> {
        let read = || -> Result<LabelledScores, Trouble> {
            let sql = format!(
                "SELECT calibrated_score, anomalous, names.name, threshold, image_score FROM (
                    SELECT seq, anomalous, row_number() OVER (PARTITION BY seq ORDER BY time_us DESC, ordinal DESC) AS nth
                    FROM labels WHERE camera = ?1
                ) AS said JOIN outcomes INDEXED BY outcomes_frame ON outcomes.camera = ?2 AND outcomes.seq = said.seq
                LEFT JOIN names ON names.id = detector
                WHERE nth = 1 AND anomalous <> {TAKEN_BACK} AND decision IN ('pass', 'reject') AND outcomes.id <= ?3"
            );
            let mut found = LabelledScores::default();
            let Some(rescale) = counted.camera(camera).and_then(CountedCamera::rescale) else {
                return Ok(found);
            };
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query((camera, self.number(camera)?, counted.up_to))?;
            while let Some(row) = rows.next()? {
                let side = match row.get(1)? {
                    true => &mut found.anomalous,
                    false => &mut found.normal,
                };
                let setting = (row.get::<_, String>(2)?.into(), score_in(row, 3)?.to_bits());
                match rescale.of(&setting).bucket(score_in(row, 0)?, score_in(row, 4)?) {
                    Some(bucket) => side[usize::from(bucket)] += 1,
                    None => found.of_other_detectors += 1,
                }
            }
            Ok(found)
        };
        read().map_err(self.error("read"))
    }
}

impl CountedCamera {
    /// Frames that passed or were rejected.
    pub fn judged(&self) -> u64 {
        self.passed + self.rejected
    }

    /// The scores of its frames, as they would be under the detector and the threshold of the newest one.
    pub fn scores_now(&self) -> ScoresNow {
        let (mut scores, mut of_other_detectors) = (no_scores(), 0);
        let rescale = self.rescale();
        for (setting, under) in &self.settings {
            match rescale.as_ref().map_or(To::Nowhere, |rescale| rescale.of(setting)) {
                To::Same => under
                    .scores
                    .iter()
                    .for_each(|(bucket, frames)| scores[usize::from(*bucket)] += frames),
                To::Scale(scale) => under
                    .image_scores
                    .iter()
                    .for_each(|(bucket, frames)| scores[usize::from(bucket_under(&scale, *bucket))] += frames),
                To::Nowhere => of_other_detectors += under.scores.values().sum::<u64>(),
            }
        }
        ScoresNow {
            scores,
            of_other_detectors,
        }
    }

    fn rescale(&self) -> Option<Rescale<'_>> {
        Some(Rescale {
            camera: self,
            detector: self.detector()?,
            threshold: self.last.as_ref()?.threshold,
            normal_level: self.normal_level(),
        })
    }

    /// The detector that the newest frame's is, whatever its threshold: the one that the camera was given.
    pub fn detector(&self) -> Option<Arc<str>> {
        self.last.as_ref().map(|last| self.given_detector(&last.setting()))
    }

    /// The one of which a setting's detector is, itself or with another threshold.
    fn given_detector(&self, setting: &Setting) -> Arc<str> {
        let first_us = self.settings.get(setting).map_or(u64::MAX, |under| under.first_us);
        self.given.detector(&setting.0, first_us)
    }

    /// The image score of something quite normal to the newest frame's detector, which is the same at every threshold; none where no
    /// frame tells it.
    pub fn normal_level(&self) -> Option<f64> {
        let now = self.given_detector(&self.last.as_ref()?.setting());
        let of_detector = self
            .settings
            .iter()
            .filter(|(setting, _)| self.given_detector(setting) == now);
        let told = of_detector.filter_map(|((_, threshold), under)| {
            let (distance, span) = under.span?;
            Some((distance, f64::from_bits(*threshold) - span))
        });
        told.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, level)| level)
    }

    fn count(&mut self, row: &Row<'_>) -> Result<(), Trouble> {
        let decision: String = row.get(2)?;
        let captured_at_us = bits_in(row, 7)?;
        self.recent.count(captured_at_us, decision == "reject");
        match decision.as_str() {
            "pass" => self.passed += 1,
            "reject" => self.rejected += 1,
            "unreadable" => self.unreadable += 1,
            _ => {
                self.dropped += 1;
                return Ok(());
            }
        }
        let (score, threshold) = (score_in(row, 3)?, score_in(row, 5)?);
        let detector: Arc<str> = row.get::<_, String>(4)?.into();
        if decision != "unreadable" {
            let setting = (detector.clone(), threshold.to_bits());
            let under = self.settings.entry(setting).or_default();
            under.count(from_key(row.get(10)?)?, score, score_in(row, 9)?, threshold);
        }
        let seq = from_key(row.get(6)?)?;
        if self.last.as_ref().is_none_or(|last| last.seq <= seq) {
            self.last = Some(LastOutcome {
                seq,
                captured_at_us,
                decision,
                reason: row.get(8)?,
                calibrated_score: score,
                detector,
                threshold,
            });
        }
        Ok(())
    }
}

fn no_scores() -> Vec<u64> {
    vec![0; usize::from(SCORE_BUCKETS)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_under_another_threshold_are_where_the_newest_one_puts_them() {
        let scale = |threshold: f32| ScoreScale {
            normal_level: 2.0,
            threshold,
        };
        let mut camera = CountedCamera {
            given: Given(vec![(0, "older".into()), (50, "newer".into())]),
            ..CountedCamera::default()
        };
        // With another threshold a detector has an id of its own.
        let mut add = |time_us: u64, detector: &str, threshold: f32, score: f32| {
            let (detector, under): (Arc<str>, _) = (detector.into(), f64::from(threshold));
            let calibrated = fixed_point_of(scale(threshold).calibrated(score));
            let of = camera.settings.entry((detector.clone(), under.to_bits())).or_default();
            of.count(time_us, calibrated, score.into(), under);
            camera.last = Some(LastOutcome {
                seq: 0,
                captured_at_us: 0,
                decision: String::new(),
                reason: None,
                calibrated_score: calibrated,
                detector,
                threshold: under,
            });
        };
        let scores: Vec<f32> = (0..400).map(|step| 0.1 * step as f32).collect();
        add(1, "older", 9.0, 5.0);
        add(2, "older-stricter", 8.0, 5.0);
        // Quite normal.
        add(60, "newer-12", 12.0, 1.0);
        // Also one that tells no two frames apart.
        for (detector, threshold) in [("newer", 10.0), ("newer-1e6", 1e6), ("newer-2", 2.0), ("newer-7", 7.0)] {
            scores.iter().for_each(|score| add(70, detector, threshold, *score));
        }
        let now = camera.scores_now();
        assert_eq!(now.of_other_detectors, 2);
        assert_eq!(camera.detector().as_deref(), Some("newer"));
        assert!((camera.normal_level().unwrap() - 2.0).abs() < 1e-3);
        let mut expected = vec![0.0_f64; usize::from(SCORE_BUCKETS)];
        for score in &scores {
            expected[usize::from(score_bucket(fixed_point_of(scale(7.0).calibrated(*score))))] += 4.0;
        }
        expected[0] += 1.0;
        // Each is within half a bucket's width of where it would be: at every threshold nearly as many pass.
        let (mut found, mut true_number) = (0.0, 0.0);
        for (bucket, (now, expected)) in now.scores.iter().zip(&expected).enumerate() {
            found += *now as f64;
            true_number += expected;
            assert!(
                f64::abs(found - true_number) <= 4.0,
                "{bucket}: {found} and {true_number}"
            );
        }
        assert_eq!((found, true_number), (1_601.0, 1_601.0));
    }

    /// As verdicts have it.
    fn fixed_point_of(score: f64) -> f64 {
        (score * 1e6).round() / 1e6
    }

    #[test]
    fn the_newest_bars_are_remembered_whatever_order_frames_come_in() {
        let mut recent = Recent::default();
        assert_eq!(recent.bars(), [Bar::default(); BARS]);
        for (bar, is_rejected) in [
            (1_000, true),
            (999, false),
            (1_000, false),
            (941, true),
            (1_003, true),
            (2, true),
        ] {
            recent.count(bar * BAR_US + 3, is_rejected);
        }
        let bar = |captured, rejected| Bar { captured, rejected };
        let bars = recent.bars();
        assert_eq!(
            bars[BARS - 5..],
            [bar(1, 0), bar(2, 1), bar(0, 0), bar(0, 0), bar(1, 1)]
        );
        assert_eq!(
            bars[..BARS - 5],
            [Bar::default(); BARS - 5],
            "941 and 2 are too long ago"
        );
        for bar in 0..3 * BARS as u64 {
            recent.count(bar * BAR_US, false);
            assert!(recent.bars.len() <= BARS);
        }
    }
}
