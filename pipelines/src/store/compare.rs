//! Two runs of the same frames: what both judged, and which decisions differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::types::ToSqlOutput;
use rusqlite::{Row, Statement};

use super::error::{StoreError, Trouble};
use super::listing::ListedOutcome;
use super::query::DecisionKind;
use super::store::Store;

/// Outcomes that are read at once: the lock of a reader is held for a few hundredths of a second.
const ROWS_AT_ONCE: i64 = 50_000;

/// Outcomes that one page of flips looks at: some tenths of a second. A page with fewer flips than were asked for goes on behind.
const LOOKED_AT_MAX: i64 = 100_000;

/// What is read of an outcome of the run.
const COLUMNS: &str = "id, camera, seq, decision, image_score, threshold, captured_at_us, origin";

/// The same frame in the other run, if it was judged there: one of the same number that was captured at the same time or came from the
/// same place, or two runs that have nothing to do with each other would seem to disagree.
const OTHER: &str = "SELECT id, decision, image_score IS ?3 AND threshold IS ?4 FROM outcomes
    WHERE camera = ?1 AND seq = ?2 AND decision <> 'dropped' AND (captured_at_us = ?5 OR origin <> '' AND origin = ?6)";

/// Two runs, compared frame by frame. It grows with cameras, not with frames, and goes on where it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// Up to this outcome of the run.
    up_to: i64,
    /// The other run's newest outcome then.
    other_up_to: i64,
    /// By the number of their name in the run.
    cameras: BTreeMap<i64, ComparedCamera>,
    /// Names of the run's cameras by their number.
    names: BTreeMap<i64, Arc<str>>,
    /// Frames that the other run judged, by camera.
    other_judged: BTreeMap<Arc<str>, u64>,
}

/// A decision here, and there.
pub type DecisionChange = (DecisionKind, DecisionKind);

/// The frames of a camera in two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComparedCamera {
    /// Frames that were judged in both: of the same number, and captured at the same time or from the same place.
    pub both: u64,
    /// Those whose decision, image score and threshold are the same to the last bit.
    pub identical: u64,
    /// Those whose decisions differ.
    pub flips: BTreeMap<DecisionChange, u64>,
    /// Frames that only this run judged.
    pub only_here: u64,
    /// Frames that only the other run judged.
    pub only_there: u64,
}

/// Which flips are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlipFilter {
    /// Of this camera.
    pub camera: Option<String>,
    /// From this decision to that.
    pub change: Option<DecisionChange>,
}

/// A frame whose decisions differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    /// What became of it in this run, and what somebody said of it.
    pub here: ListedOutcome,
    /// The same of the other run.
    pub there: ListedOutcome,
}

/// A page of flips.
#[derive(Clone, Debug, PartialEq)]
pub struct Flips {
    /// The newest first.
    pub flips: Vec<Flip>,
    /// The next page holds what is before this outcome; none: there is nothing more.
    pub next: Option<i64>,
}

impl Compared {
    /// What was compared, by camera; those too that only the other run has.
    pub fn cameras(&self) -> BTreeMap<Arc<str>, ComparedCamera> {
        let name = |number| self.names.get(number).cloned();
        let known = self
            .cameras
            .iter()
            .filter_map(|(number, camera)| Some((name(number)?, camera.clone())));
        let mut cameras: BTreeMap<Arc<str>, ComparedCamera> = known.collect();
        for (name, judged) in &self.other_judged {
            let camera = cameras.entry(name.clone()).or_default();
            camera.only_there = judged.saturating_sub(camera.both);
        }
        cameras
    }
}

impl Store {
    /// Compares on with `other` what was committed since `compared`; from the beginning if the other run has gone on.
    ///
    /// # Errors
    /// One of the stores cannot be read.
    pub fn compare_on(&self, other: &Store, compared: &mut Compared) -> Result<(), StoreError> {
        let other_up_to = other.newest_id().map_err(other.error("read"))?;
        if other_up_to != compared.other_up_to {
            *compared = Compared {
                other_up_to,
                other_judged: other.judged().map_err(other.error("read"))?,
                ..Compared::default()
            };
        }
        self.try_compare_on(other, compared).map_err(self.error("compare"))
    }

    fn try_compare_on(&self, other: &Store, compared: &mut Compared) -> Result<(), Trouble> {
        let sql = format!("SELECT {COLUMNS} FROM outcomes NOT INDEXED WHERE id > ? ORDER BY id LIMIT ?");
        let mut outcomes = self.connection.prepare(&sql)?;
        let mut others = Others::new(self, other)?;
        let names = self.names_of_cameras()?.into_iter();
        compared.names = names.map(|(number, name)| (number, name.into())).collect();
        loop {
            let mut rows = outcomes.query([compared.up_to, ROWS_AT_ONCE])?;
            let mut read = 0;
            while let Some(row) = rows.next()? {
                let before = kind(row.get(3)?)?;
                if before != DecisionKind::Dropped {
                    let after = others.of(row)?;
                    compared.cameras.entry(row.get(1)?).or_default().count(before, after);
                }
                compared.up_to = row.get(0)?;
                read += 1;
            }
            if read < ROWS_AT_ONCE {
                return Ok(());
            }
        }
    }

    /// The next `limit` frames whose decision is another one in `other`, the newest first, among those before `end`.
    ///
    /// # Errors
    /// One of the stores cannot be read.
    pub fn flips(&self, other: &Store, filter: &FlipFilter, end: i64, limit: usize) -> Result<Flips, StoreError> {
        self.try_flips(other, filter, end, limit).map_err(self.error("compare"))
    }

    fn try_flips(&self, other: &Store, filter: &FlipFilter, end: i64, limit: usize) -> Result<Flips, Trouble> {
        let nothing = Flips {
            flips: vec![],
            next: None,
        };
        let camera = match &filter.camera {
            Some(name) => match self.number(name)? {
                None => return Ok(nothing),
                known => known,
            },
            None => None,
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM outcomes NOT INDEXED
            WHERE id < ?1 AND id >= ?1 - ?2 AND (?3 IS NULL OR camera = ?3) ORDER BY id DESC"
        );
        let end = end.min(self.newest_id()? + 1);
        let mut outcomes = self.connection.prepare(&sql)?;
        let mut others = Others::new(self, other)?;
        let mut rows = outcomes.query((end, LOOKED_AT_MAX, camera))?;
        let (mut here, mut there) = (Vec::new(), Vec::new());
        let mut next = (end > LOOKED_AT_MAX + 1).then_some(end - LOOKED_AT_MAX);
        while let Some(row) = rows.next()? {
            let Some(found) = others.of(row)? else { continue };
            let change = (kind(row.get(3)?)?, found.decision);
            if is_flip(change) && filter.change.is_none_or(|wanted| wanted == change) {
                let id: i64 = row.get(0)?;
                here.push(id);
                there.push(found.id);
                if here.len() == limit {
                    next = (id > 1).then_some(id);
                    break;
                }
            }
        }
        let flips = self.listed(&here)?.into_iter().zip(other.listed(&there)?);
        Ok(Flips {
            flips: flips.map(|(here, there)| Flip { here, there }).collect(),
            next,
        })
    }

    /// Frames that were judged, by camera.
    fn judged(&self) -> Result<BTreeMap<Arc<str>, u64>, Trouble> {
        let sql = "SELECT name, count(*) FROM outcomes JOIN names ON names.id = camera WHERE decision <> 'dropped' GROUP BY camera";
        let mut statement = self.connection.prepare(sql)?;
        let counts = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?.into(), row.get::<_, i64>(1)? as u64))
        })?;
        Ok(counts.collect::<Result<_, _>>()?)
    }
}

impl ComparedCamera {
    fn count(&mut self, before: DecisionKind, after: Option<Other>) {
        let Some(Other { decision, is_same, .. }) = after else {
            self.only_here += 1;
            return;
        };
        self.both += 1;
        if is_flip((before, decision)) {
            *self.flips.entry((before, decision)).or_default() += 1;
        } else if is_same {
            self.identical += 1;
        }
    }
}

/// Finds the frames of a run in the other run.
struct Others<'s> {
    statement: Statement<'s>,
    /// The numbers of the run's cameras there.
    numbers: BTreeMap<i64, i64>,
}

/// A frame in the other run.
struct Other {
    id: i64,
    decision: DecisionKind,
    /// Whether its image score and threshold are the same to the last bit.
    is_same: bool,
}

impl<'s> Others<'s> {
    fn new(here: &Store, there: &'s Store) -> Result<Self, Trouble> {
        let mut numbers = BTreeMap::new();
        for (number, name) in here.names_of_cameras()? {
            if let Some(there) = there.number(&name)? {
                numbers.insert(number, there);
            }
        }
        Ok(Self {
            statement: there.connection.prepare(OTHER)?,
            numbers,
        })
    }

    /// The frame of a row of [`COLUMNS`], if the other run judged it.
    fn of(&mut self, row: &Row<'_>) -> Result<Option<Other>, Trouble> {
        let Some(camera) = self.numbers.get(&row.get(1)?) else {
            return Ok(None);
        };
        let borrowed = |column| row.get_ref(column).map(ToSqlOutput::Borrowed);
        let seq: i64 = row.get(2)?;
        let key = (camera, seq, borrowed(4)?, borrowed(5)?, borrowed(6)?, borrowed(7)?);
        let mut rows = self.statement.query(key)?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Other {
            id: row.get(0)?,
            decision: kind(row.get(1)?)?,
            is_same: row.get(2)?,
        }))
    }
}

/// Whether a frame that the other run judged was judged here too, and differently.
fn is_flip((before, after): DecisionChange) -> bool {
    before != after && before != DecisionKind::Dropped
}

fn kind(word: String) -> Result<DecisionKind, Trouble> {
    DecisionKind::of(&word).ok_or_else(|| Trouble::Damaged(format!("there is no decision \"{word}\"")))
}
