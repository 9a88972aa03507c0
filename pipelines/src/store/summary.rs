//! A run in figures: one pass over its outcomes, one over its labels. Memory does not grow with the length of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use intakt_operators::metrics::{ScoreCount, ScoreHistogram, Tally, score_bucket};
use intakt_operators::{Outcome, SuppressionReason, Truth, Verdict};
use rusqlite::{OptionalExtension, Row, Statement, params};

use super::error::{StoreError, Trouble};
use super::outcome_reader::OutcomeReader;
use super::reader::truth;
use super::sql_value::{from_key, from_word, score_in};
use super::store::Store;
use crate::review::{Notable, Notables};

/// Stretches of time that a run is cut into, at most: as many bars as can be told apart on a page.
const STRETCHES_MAX: u64 = 60;

/// Lengths of a stretch, seconds; longer ones are whole weeks.
const STRETCH_SECONDS: [u64; 20] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, WEEK,
];
const WEEK: u64 = 604_800;

/// Steps of a histogram of calibrated scores: 0.5, where the threshold is, lies between two of them.
pub const SCORE_STEPS: usize = 64;

/// Reasons that are told apart, why frames were unreadable or dropped; each may name a byte of a file.
const REASONS_MAX: usize = 20;

/// Rows that are read under one lock: some milliseconds' worth.
const ROWS_AT_ONCE: u64 = 50_000;

/// A run in figures.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Its name.
    pub run: String,
    /// Version of the program that began it.
    pub intakt_version: String,
    /// Whether it came to its end.
    pub has_ended: bool,
    /// Frames that have an outcome, as the store numbers them.
    pub numbered: u64,
    /// The times that it is cut into.
    pub stretches: Stretches,
    /// By name.
    pub cameras: BTreeMap<Arc<str>, CameraSummary>,
    /// By id: which detectors looked.
    pub detectors: BTreeMap<Arc<str>, DetectorUse>,
    /// Why frames could not be judged, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// Regions that did not count.
    pub suppressed: BTreeMap<SuppressionReason, SuppressedRegions>,
    /// Regions of all frames, counted or not, as the frames say and as there are.
    pub regions: [u64; 2],
    /// What people said.
    pub labels: LabelSummary,
    /// Frames to look at, by kind.
    pub notable: Vec<NotableVerdicts>,
}

/// Frames that people should look at for one reason.
#[derive(Clone, Debug)]
pub struct NotableVerdicts {
    /// The reason.
    pub kind: Notable,
    /// Their verdicts, the first first.
    pub verdicts: Vec<Arc<Verdict>>,
}

/// A run's time, cut into stretches of one length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretches {
    /// Time of the first frame, microseconds in the dataflow.
    pub first_us: u64,
    /// Time of the last one.
    pub last_us: u64,
    /// Length of a stretch; they begin at its multiples.
    pub length_us: u64,
}

impl Stretches {
    /// Stretches from the first frame to the last.
    fn of(first_us: u64, last_us: u64) -> Self {
        let fits = |seconds: u64| last_us / (seconds * 1_000_000) - first_us / (seconds * 1_000_000) < STRETCHES_MAX;
        let known = STRETCH_SECONDS.into_iter().find(|seconds| fits(*seconds));
        let seconds = known.unwrap_or_else(|| {
            let weeks = (last_us - first_us)
                .div_ceil(WEEK * 1_000_000)
                .div_ceil(STRETCHES_MAX - 1);
            weeks * WEEK
        });
        Self {
            first_us,
            last_us,
            length_us: seconds * 1_000_000,
        }
    }

    /// When the first stretch begins, microseconds.
    pub fn start_us(&self) -> u64 {
        self.first_us / self.length_us * self.length_us
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.at(self.last_us) + 1
    }

    /// Whether there are none: never, a run without frames has an empty one.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn at(&self, time_us: u64) -> usize {
        (time_us / self.length_us).saturating_sub(self.first_us / self.length_us) as usize
    }
}

/// One camera of a run.
#[derive(Clone, Debug)]
pub struct CameraSummary {
    /// What became of its frames, by stretch of time.
    pub stretches: Vec<Tally>,
    /// How its calibrated scores are spread.
    pub scores: ScoreSteps,
}

impl CameraSummary {
    /// What became of all its frames.
    pub fn tally(&self) -> Tally {
        let mut all = Tally::default();
        self.stretches.iter().for_each(|tally| all.add(tally));
        all
    }
}

/// Judged frames by calibrated score, in [`SCORE_STEPS`] equal steps from 0 to 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreSteps {
    /// All of them.
    pub judged: Vec<u64>,
    /// Those that are labelled normal.
    pub normal: Vec<u64>,
    /// Those that are labelled anomalous.
    pub anomalous: Vec<u64>,
}

impl Default for ScoreSteps {
    fn default() -> Self {
        let none = vec![0; SCORE_STEPS];
        Self {
            judged: none.clone(),
            normal: none.clone(),
            anomalous: none,
        }
    }
}

impl ScoreSteps {
    /// Counts a judged frame; its truth, where it is known, says whether it is anomalous.
    pub fn count(&mut self, calibrated_score: f64, anomalous: Option<bool>) {
        let step = score_step(calibrated_score);
        self.judged[step] += 1;
        self.label(step, anomalous);
    }

    fn label(&mut self, step: usize, anomalous: Option<bool>) {
        match anomalous {
            Some(true) => self.anomalous[step] += 1,
            Some(false) => self.normal[step] += 1,
            None => {}
        }
    }

    /// The same without what people said.
    #[must_use]
    pub fn unlabelled(&self) -> Self {
        Self {
            judged: self.judged.clone(),
            ..Self::default()
        }
    }

    /// Adds those of another camera.
    pub fn add(&mut self, other: &Self) {
        for (mine, others) in [
            (&mut self.judged, &other.judged),
            (&mut self.normal, &other.normal),
            (&mut self.anomalous, &other.anomalous),
        ] {
            mine.iter_mut().zip(others).for_each(|(mine, other)| *mine += other);
        }
    }
}

fn score_step(calibrated_score: f64) -> usize {
    usize::from(score_bucket(calibrated_score)) * SCORE_STEPS / usize::from(intakt_operators::metrics::SCORE_BUCKETS)
}

/// Where a detector looked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectorUse {
    /// Frames that it judged.
    pub frames: u64,
    /// Time of the first and the last of them, microseconds in the dataflow.
    pub times_us: [u64; 2],
    /// The cameras.
    pub cameras: BTreeSet<Arc<str>>,
    /// Its threshold on the image score, as the last of these frames has it.
    pub threshold: f64,
    /// The detector that its cameras were given, of which this one is: itself, or that one with another threshold.
    pub given: Arc<str>,
}

/// Regions that one rule suppressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SuppressedRegions {
    /// How many.
    pub regions: u64,
    /// In how many frames.
    pub frames: u64,
}

/// What people said about frames.
#[derive(Clone, Debug, Default)]
pub struct LabelSummary {
    /// Everything that was said, corrections included.
    pub said: u64,
    /// Frames that something was said about.
    pub frames: u64,
    /// Those of them that have no outcome.
    pub unknown: u64,
    /// Those of them that were unreadable or dropped.
    pub unjudged: u64,
    /// Labelled frames by calibrated score.
    pub scores: ScoreHistogram,
    /// By class of the defect: how many were rejected, and how many passed.
    pub classes: BTreeMap<String, [u64; 2]>,
}

impl Store {
    /// The whole run in figures. What a run that goes on adds meanwhile is not in them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn summary(&self) -> Result<RunSummary, StoreError> {
        self.try_summary().map_err(self.error("read"))
    }

    fn try_summary(&self) -> Result<RunSummary, Trouble> {
        let newest = "SELECT coalesce(max(id), 0) FROM outcomes";
        let numbered = from_key(self.connection.query_row(newest, [], |row| row.get(0))?)?;
        let mut counting = Counting::new(self, numbered)?;
        counting.outcomes()?;
        counting.labels()?;
        let (suppressed, n_regions) = self.suppressed_regions(numbered)?;
        let meta = "SELECT run, intakt_version, ended FROM meta, progress";
        let (run, intakt_version, has_ended) = self
            .connection
            .query_row(meta, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let notable = self.notable(counting.kinds())?;
        let given = self.given()?;
        let mut detectors = by_name(&counting.names, counting.detectors);
        for (id, used) in &mut detectors {
            let of_camera = used.cameras.first().and_then(|camera| given.get(camera));
            used.given = of_camera.map_or_else(|| id.clone(), |given| given.detector(id, used.times_us[0]));
        }
        Ok(RunSummary {
            run,
            intakt_version,
            has_ended,
            numbered,
            stretches: counting.stretches,
            cameras: by_name(&counting.names, counting.cameras),
            detectors,
            reasons: counting.reasons,
            suppressed,
            regions: [counting.n_regions, n_regions],
            labels: counting.labels,
            notable,
        })
    }

    /// The verdicts with these ids.
    fn notable(&self, kinds: Vec<Notables<i64>>) -> Result<Vec<NotableVerdicts>, Trouble> {
        let reader = OutcomeReader::new(self);
        let mut notable = Vec::new();
        for notables in kinds {
            let kind = notables.kind();
            let frames = reader.numbered(&notables.into_frames())?.into_iter();
            let verdicts = frames.filter_map(|(_, timed)| match timed.outcome {
                Outcome::Judged(verdict) => Some(verdict),
                Outcome::Dropped(_) => None,
            });
            notable.push(NotableVerdicts {
                kind,
                verdicts: verdicts.collect(),
            });
        }
        Ok(notable)
    }

    /// What was suppressed of the first `numbered` frames, and the number of all their regions. The rows of a frame lie together.
    fn suppressed_regions(
        &self,
        numbered: u64,
    ) -> Result<(BTreeMap<SuppressionReason, SuppressedRegions>, u64), Trouble> {
        let sql = "SELECT outcome, suppressed_because FROM regions WHERE outcome <= ? ORDER BY outcome, ordinal";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([numbered as i64])?;
        let mut words: BTreeMap<String, (SuppressedRegions, i64)> = BTreeMap::new();
        let mut n_regions = 0;
        while let Some(row) = rows.next()? {
            n_regions += 1;
            let outcome: i64 = row.get(0)?;
            let Some(word) = row.get_ref(1)?.as_str_or_null().map_err(damaged)? else {
                continue;
            };
            if !words.contains_key(word) {
                words.insert(word.to_owned(), (SuppressedRegions::default(), 0));
            }
            let Some((counted, last)) = words.get_mut(word) else {
                continue;
            };
            counted.regions += 1;
            counted.frames += u64::from(*last != outcome);
            *last = outcome;
        }
        let known = words
            .into_iter()
            .map(|(word, (counted, _))| Ok((from_word(word)?, counted)));
        Ok((known.collect::<Result<_, Trouble>>()?, n_regions))
    }
}

fn damaged(error: impl std::fmt::Display) -> Trouble {
    Trouble::Damaged(error.to_string())
}

fn by_name<T>(names: &BTreeMap<i64, Arc<str>>, numbered: BTreeMap<i64, T>) -> BTreeMap<Arc<str>, T> {
    let named = numbered
        .into_iter()
        .filter_map(|(number, value)| Some((names.get(&number)?.clone(), value)));
    named.collect()
}

/// A summary that is being made.
struct Counting<'s> {
    store: &'s Store,
    numbered: u64,
    names: BTreeMap<i64, Arc<str>>,
    stretches: Stretches,
    cameras: BTreeMap<i64, CameraSummary>,
    detectors: BTreeMap<i64, DetectorUse>,
    reasons: BTreeMap<String, u64>,
    n_regions: u64,
    labels: LabelSummary,
    /// Ids of outcomes.
    strong: Notables<i64>,
    close: Notables<i64>,
    false_rejects: Notables<i64>,
    escapes: Notables<i64>,
}

impl<'s> Counting<'s> {
    fn new(store: &'s Store, numbered: u64) -> Result<Self, Trouble> {
        let mut statement = store.connection.prepare("SELECT id, name FROM names")?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?.into())))?;
        let names = names.collect::<Result<_, _>>()?;
        let time_of = |id: u64| -> Result<u64, Trouble> {
            let sql = "SELECT time_us FROM outcomes WHERE id = ?";
            let found = store.connection.query_row(sql, [id as i64], |row| row.get(0));
            found.optional()?.map_or(Ok(0), from_key)
        };
        Ok(Self {
            store,
            numbered,
            names,
            stretches: Stretches::of(time_of(1)?, time_of(numbered)?),
            cameras: BTreeMap::new(),
            detectors: BTreeMap::new(),
            reasons: BTreeMap::new(),
            n_regions: 0,
            labels: LabelSummary::default(),
            strong: Notables::of(Notable::StrongReject),
            close: Notables::of(Notable::ClosePass),
            false_rejects: Notables::of(Notable::FalseReject),
            escapes: Notables::of(Notable::Escape),
        })
    }

    fn outcomes(&mut self) -> Result<(), Trouble> {
        let sql = "SELECT id, time_us, camera, seq, decision, detector, calibrated_score, threshold, regions, reason
            FROM outcomes WHERE id > ? AND id <= ? ORDER BY id";
        let mut statement = self.store.connection.prepare(sql)?;
        let mut after = 0;
        while after < self.numbered {
            let until = (after + ROWS_AT_ONCE).min(self.numbered);
            let mut rows = statement.query([after as i64, until as i64])?;
            while let Some(row) = rows.next()? {
                self.outcome(row)?;
            }
            after = until;
        }
        Ok(())
    }

    fn outcome(&mut self, row: &Row<'_>) -> Result<(), Trouble> {
        let (id, time_us, camera) = (row.get(0)?, from_key(row.get(1)?)?, row.get(2)?);
        let decision = row.get_ref(4)?.as_str().map_err(damaged)?;
        let stretches = self.stretches;
        let of_camera = self.cameras.entry(camera).or_insert_with(|| CameraSummary {
            stretches: vec![Tally::default(); stretches.len()],
            scores: ScoreSteps::default(),
        });
        let Some(tally) = of_camera.stretches.get_mut(stretches.at(time_us)) else {
            return Err(Trouble::Damaged(format!("outcome {id} is not in the order of time")));
        };
        tally.frames += 1;
        self.n_regions += row.get::<_, i64>(8)? as u64;
        match decision {
            "pass" | "reject" => {
                let (score, seq) = (score_in(row, 6)?, from_key(row.get(3)?)?);
                tally.rejects += i64::from(decision == "reject");
                of_camera.scores.count(score, None);
                let Some(name) = self.names.get(&camera) else {
                    return Err(Trouble::Damaged(format!("outcome {id} is of no camera")));
                };
                let notables = match decision {
                    "reject" => &mut self.strong,
                    _ => &mut self.close,
                };
                notables.offer(score, name, seq, || Ok::<_, Trouble>(id))?;
                let looked = self.detectors.entry(row.get(5)?).or_insert_with(|| DetectorUse {
                    times_us: [time_us, time_us],
                    ..DetectorUse::default()
                });
                looked.frames += 1;
                looked.times_us[1] = time_us;
                looked.threshold = score_in(row, 7)?;
                if !looked.cameras.contains(name) {
                    looked.cameras.insert(name.clone());
                }
            }
            "unreadable" => {
                tally.unreadable += 1;
                self.reason("unreadable", row.get(9)?);
            }
            _ => {
                tally.dropped += 1;
                let word: Option<String> = row.get(9)?;
                self.reason("dropped", word.map(|word| word.replace('_', " ")));
            }
        }
        Ok(())
    }

    fn reason(&mut self, what: &str, reason: Option<String>) {
        let mut key = format!("{what}: {}", reason.unwrap_or_default());
        if self.reasons.len() >= REASONS_MAX && !self.reasons.contains_key(&key) {
            key = format!("{what}: other reasons");
        }
        *self.reasons.entry(key).or_default() += 1;
    }

    /// The last that was said of each frame counts.
    fn labels(&mut self) -> Result<(), Trouble> {
        let sql = "SELECT camera, seq, anomalous, class FROM labels ORDER BY camera, seq, time_us, ordinal";
        let mut statement = self.store.connection.prepare(sql)?;
        let sql =
            "SELECT id, time_us, decision, calibrated_score FROM outcomes WHERE camera = ? AND seq = ? AND id <= ?";
        let mut outcome = self.store.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut last: Option<Said> = None;
        while let Some(row) = rows.next()? {
            self.labels.said += 1;
            let said = Said {
                camera: row.get::<_, String>(0)?.into(),
                seq: row.get(1)?,
                truth: truth(row.get(2)?, row.get(3)?)?,
            };
            let before = last.replace(said);
            if let (Some(before), Some(said)) = (before, &last)
                && (&before.camera, before.seq) != (&said.camera, said.seq)
            {
                self.label(before, &mut outcome)?;
            }
        }
        last.map_or(Ok(()), |last| self.label(last, &mut outcome))
    }

    fn label(&mut self, said: Said, outcome: &mut Statement<'_>) -> Result<(), Trouble> {
        let Some(truth) = said.truth else { return Ok(()) };
        self.labels.frames += 1;
        let number = self.names.iter().find(|(_, name)| **name == said.camera);
        let Some(number) = number.map(|(number, _)| *number) else {
            self.labels.unknown += 1;
            return Ok(());
        };
        let mut rows = outcome.query(params![number, said.seq, self.numbered as i64])?;
        let Some(row) = rows.next()? else {
            self.labels.unknown += 1;
            return Ok(());
        };
        let (id, time_us) = (row.get(0)?, from_key(row.get(1)?)?);
        let is_rejected = match row.get_ref(2)?.as_str().map_err(damaged)? {
            "pass" => false,
            "reject" => true,
            _ => {
                self.labels.unjudged += 1;
                return Ok(());
            }
        };
        let (score, is_anomalous) = (score_in(row, 3)?, truth.is_anomalous());
        if let Some(camera) = self.cameras.get_mut(&number) {
            let tally = &mut camera.stretches[self.stretches.at(time_us)];
            tally.count_labelled(is_rejected, is_anomalous, 1);
            camera.scores.label(score_step(score), Some(is_anomalous));
        }
        self.labels.scores.add(&ScoreHistogram::from_iter([ScoreCount {
            bucket: score_bucket(score),
            judged: 1,
            normal: i32::from(!is_anomalous),
            anomalous: i32::from(is_anomalous),
        }]));
        let notables = match (is_rejected, is_anomalous) {
            (true, false) => Some(&mut self.false_rejects),
            (false, true) => Some(&mut self.escapes),
            _ => None,
        };
        if let Truth::Anomalous(class) = truth {
            self.labels.classes.entry(class).or_default()[usize::from(!is_rejected)] += 1;
        }
        notables.map_or(Ok(()), |notables| {
            notables.offer(score, &said.camera, said.seq as u64, || Ok(id))
        })
    }

    /// Where people said what frames are, those on which they and the detector differ come first.
    fn kinds(&self) -> Vec<Notables<i64>> {
        let [differ, others] = [[&self.false_rejects, &self.escapes], [&self.strong, &self.close]];
        let is_labelled = !self.labels.scores.counts().is_empty();
        let kinds = differ.into_iter().filter(|_| is_labelled).chain(others);
        kinds.cloned().collect()
    }
}

/// The last that was said of a frame; no truth if what was said before was taken back.
struct Said {
    camera: Arc<str>,
    seq: i64,
    truth: Option<Truth>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_into_few_stretches_however_long_it_is() {
        for length_us in [0, 1, 59_000_000, 60_000_000, 86_400_000_000, 40 * 365 * 86_400_000_000] {
            for first_us in [0, 999_999, 1_767_592_800_000_000] {
                let stretches = Stretches::of(first_us, first_us + length_us);
                let n = stretches.len();
                assert!(
                    (1..=STRETCHES_MAX as usize + 1).contains(&n),
                    "{length_us} us are {n} stretches"
                );
                assert!(stretches.start_us() <= first_us);
                assert_eq!(stretches.at(first_us), 0);
            }
        }
        assert_eq!(Stretches::of(0, 59_999_999).length_us, 1_000_000);
        assert_eq!(Stretches::of(0, 8 * 3_600_000_000).length_us, 600_000_000);
    }

    #[test]
    fn the_threshold_lies_between_two_steps_of_scores() {
        assert_eq!(score_step(0.5), SCORE_STEPS / 2 - 1);
        assert_eq!(score_step(0.500_001), SCORE_STEPS / 2);
        assert_eq!((score_step(0.0), score_step(1.0)), (0, SCORE_STEPS - 1));
    }
}
