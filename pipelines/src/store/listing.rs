//! Outcomes as a person looks through them: page by page, the newest first, or those nearest to the threshold.

use std::collections::{BTreeMap, BinaryHeap};

use intakt_operators::Truth;
use rusqlite::{OptionalExtension, Statement, named_params};

use super::error::{StoreError, Trouble};
use super::outcome_reader::OutcomeReader;
use super::query::{DecisionKind, OutcomeFilter};
use super::reader::truth;
use super::records::TimedOutcome;
use super::sql_value::{bits, score_in};
use super::store::Store;

/// Outcomes that one page of the newest looks at: a tenth of a second. A filter that few pass gets a page with less in it, and
/// goes on behind.
const NEWEST_LOOKED_AT_MAX: u64 = 200_000;

/// Outcomes, the newest of those that are meant, among which the uncertain ones are looked for: a second.
const UNCERTAIN_LOOKED_AT_MAX: u64 = 1_000_000;

/// The calibrated score at which a frame is rejected.
const THRESHOLD: f64 = 0.5;

/// Which outcomes are listed. The limit and the frame of the filter do not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// By camera, time and decision.
    pub filter: OutcomeFilter,
    /// With at least this calibrated score.
    pub min_score: Option<f64>,
    /// With at most this calibrated score.
    pub max_score: Option<f64>,
    /// Only those that somebody labelled, or only the others.
    pub labelled: Option<bool>,
}

/// Where a page ends: the next one begins behind it. Outcomes that are committed meanwhile do not move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Before this outcome, of the newest.
    Newest {
        /// Its number.
        before: i64,
    },
    /// Among those that were there when the first page was read.
    Uncertain {
        /// The last of these.
        up_to: i64,
        /// The bits of how far from the threshold the last one of the page is.
        distance: u64,
        /// Its number.
        id: i64,
    },
}

/// In which order outcomes are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    Newest,
    /// Those first whose score is nearest to the threshold, of two the older.
    Uncertain,
}

/// An outcome, and what somebody said of its frame.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedOutcome {
    /// What became of the frame.
    pub timed: TimedOutcome,
    /// What it truly is, as was said last.
    pub truth: Option<Truth>,
}

/// A page of outcomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// In the order that was asked for.
    pub outcomes: Vec<ListedOutcome>,
    /// Where the next page begins; none: there is nothing more.
    pub next: Option<Position>,
}

/// How far an outcome is from the threshold, and its number.
type Nearness = (u64, i64);

impl Store {
    /// The next `limit` outcomes of a listing, behind `from` if that is not its beginning. Each outcome that was there when the
    /// first page was read is on exactly one page.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list(
        &self,
        listing: &Listing,
        order: Order,
        from: Option<Position>,
        limit: usize,
    ) -> Result<Listed, StoreError> {
        let list = || match (order, from) {
            (Order::Newest, _) => self.list_newest(listing, from, limit),
            (Order::Uncertain, _) => self.list_uncertain(listing, from, limit),
        };
        list().map_err(self.error("read"))
    }

    /// The first outcomes behind the one with number `behind` that pass a filter, with their numbers, in the order of these: some
    /// hundred, or none where there is nothing yet. The limit and the frame of the filter do not count.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list_behind(&self, filter: &OutcomeFilter, behind: i64) -> Result<Vec<(i64, ListedOutcome)>, StoreError> {
        let list = || {
            let Some(selection) = self.selection(filter)? else {
                return Ok(Vec::new());
            };
            self.with_truths(selection.page(&OutcomeReader::new(self), behind)?)
        };
        list().map_err(self.error("read"))
    }

    /// The number of the newest outcome; 0 where there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn newest(&self) -> Result<i64, StoreError> {
        self.newest_id().map_err(self.error("read"))
    }

    /// What was said last of a frame.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn truth(&self, camera: &str, seq: u64) -> Result<Option<Truth>, StoreError> {
        let read = || truth_of(&mut self.connection.prepare(TRUTH)?, camera, bits(seq));
        read().map_err(self.error("read"))
    }

    fn list_newest(&self, listing: &Listing, from: Option<Position>, limit: usize) -> Result<Listed, Trouble> {
        let end = match from {
            Some(Position::Newest { before }) => before,
            _ => i64::MAX,
        };
        let mut found = Vec::new();
        let mut next = None;
        self.look(listing, end, NEWEST_LOOKED_AT_MAX, &mut |id, _, is_last| {
            found.extend(id.matching());
            let is_full = found.len() == limit;
            if is_full || is_last {
                next = Some(Position::Newest { before: id.number });
            }
            is_full
        })?;
        Ok(Listed {
            outcomes: self.listed(&found)?,
            next,
        })
    }

    fn list_uncertain(&self, listing: &Listing, from: Option<Position>, limit: usize) -> Result<Listed, Trouble> {
        let (up_to, behind) = match from {
            Some(Position::Uncertain { up_to, distance, id }) => (up_to, Some((distance, id))),
            _ => (self.newest_id()?, None),
        };
        // The nearest so far, the furthest of them on top; one more than fits says whether there is another page.
        let mut nearest: BinaryHeap<Nearness> = BinaryHeap::new();
        let end = up_to.saturating_add(1);
        self.look(listing, end, UNCERTAIN_LOOKED_AT_MAX, &mut |id, score, _| {
            let distance = (score - THRESHOLD).abs();
            if let (Some(number), true) = (id.matching(), distance.is_finite()) {
                let nearness = (distance.to_bits(), number);
                let is_nearer = nearest.len() <= limit || nearest.peek().is_some_and(|furthest| nearness < *furthest);
                if behind.is_none_or(|behind| nearness > behind) && is_nearer {
                    nearest.push(nearness);
                    if nearest.len() > limit + 1 {
                        nearest.pop();
                    }
                }
            }
            false
        })?;
        let mut nearest = nearest.into_sorted_vec();
        let has_more = nearest.len() > limit;
        nearest.truncate(limit);
        let next = nearest.last().filter(|_| has_more);
        let next = next.map(|&(distance, id)| Position::Uncertain { up_to, distance, id });
        let found: Vec<i64> = nearest.into_iter().map(|(_, id)| id).collect();
        Ok(Listed {
            outcomes: self.listed(&found)?,
            next,
        })
    }

    /// Looks at up to `most` outcomes of a listing before `end`, the newest first, until `see` has seen enough. It is told each
    /// one's number, whether it matches what no index knows, its score, and whether it is the last of so many.
    fn look(
        &self,
        listing: &Listing,
        end: i64,
        most: u64,
        see: &mut dyn FnMut(Candidate, f64, bool) -> bool,
    ) -> Result<(), Trouble> {
        let Some((first, end, camera)) = self.window(&listing.filter, end)? else {
            return Ok(());
        };
        let mut statement = self
            .connection
            .prepare(&sql(camera.is_some(), listing.filter.decision))?;
        let mut labels = self.connection.prepare(TRUTH)?;
        let names = self.names_of_cameras()?;
        let mut rows = match camera {
            Some(camera) => statement.query(named_params! {":first": first, ":end": end, ":camera": camera})?,
            None => statement.query(named_params! {":first": first, ":end": end})?,
        };
        let mut looked_at = 0;
        while let Some(row) = rows.next()? {
            looked_at += 1;
            let score = score_in(row, 1)?;
            let in_range =
                listing.min_score.is_none_or(|min| score >= min) && listing.max_score.is_none_or(|max| score <= max);
            let matches = in_range
                && match listing.labelled {
                    None => true,
                    Some(wanted) => {
                        let camera = names.get(&row.get(2)?).map_or("", String::as_str);
                        truth_of(&mut labels, camera, row.get(3)?)?.is_some() == wanted
                    }
                };
            let candidate = Candidate {
                number: row.get(0)?,
                matches,
            };
            if see(candidate, score, looked_at == most) || looked_at == most {
                break;
            }
        }
        Ok(())
    }

    /// The numbers between which a filter looks, and that of its camera; none where there is nothing.
    fn window(&self, filter: &OutcomeFilter, end: i64) -> Result<Option<(i64, i64, Option<i64>)>, Trouble> {
        let camera = match &filter.camera {
            None => None,
            Some(name) => match self.number(name)? {
                None => return Ok(None),
                known => known,
            },
        };
        let first = filter.since_us.map_or(Ok(1), |since_us| self.first_id_from(since_us))?;
        let until = filter
            .until_us
            .map_or(Ok(i64::MAX), |until_us| self.first_id_from(until_us))?;
        Ok(Some((first, end.min(until), camera)))
    }

    /// These outcomes, in this order.
    pub(super) fn listed(&self, ids: &[i64]) -> Result<Vec<ListedOutcome>, Trouble> {
        let found = self.with_truths(OutcomeReader::new(self).numbered(ids)?)?;
        Ok(found.into_iter().map(|(_, listed)| listed).collect())
    }

    fn with_truths(&self, found: Vec<(i64, TimedOutcome)>) -> Result<Vec<(i64, ListedOutcome)>, Trouble> {
        let mut labels = self.connection.prepare(TRUTH)?;
        let found = found.into_iter().map(|(id, timed)| {
            let truth = truth_of(&mut labels, timed.outcome.camera(), bits(timed.outcome.seq()))?;
            Ok((id, ListedOutcome { timed, truth }))
        });
        found.collect()
    }

    pub(super) fn newest_id(&self) -> Result<i64, Trouble> {
        let sql = "SELECT coalesce(max(id), 0) FROM outcomes";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// The names of cameras by their numbers.
    pub(super) fn names_of_cameras(&self) -> Result<BTreeMap<i64, String>, Trouble> {
        let sql = "SELECT names.id, name FROM cameras JOIN names ON names.id = camera";
        let mut statement = self.connection.prepare(sql)?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }
}

/// An outcome that is looked at.
struct Candidate {
    number: i64,
    matches: bool,
}

impl Candidate {
    fn matching(&self) -> Option<i64> {
        self.matches.then_some(self.number)
    }
}

/// What was said last about a frame.
const TRUTH: &str = "SELECT anomalous, class FROM labels WHERE camera = ? AND seq = ?
    ORDER BY time_us DESC, ordinal DESC LIMIT 1";

fn truth_of(labels: &mut Statement<'_>, camera: &str, seq: i64) -> Result<Option<Truth>, Trouble> {
    let found = labels.query_row((camera, seq), |row| Ok((row.get(0)?, row.get(1)?)));
    found
        .optional()?
        .map_or(Ok(None), |(anomalous, class)| truth(anomalous, class))
}

/// The statement that looks. The index is named for the same reason as in a query.
fn sql(by_camera: bool, decision: Option<DecisionKind>) -> String {
    let (index, conditions) = super::query::conditions(by_camera, decision);
    format!(
        "SELECT id, calibrated_score, camera, seq FROM outcomes {index}
         WHERE id >= :first AND id < :end {conditions} ORDER BY id DESC"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn no_listing_sorts_or_reads_what_it_does_not_want() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("run.sqlite"), "run", StoreOptions::default()).unwrap();
        for by_camera in [false, true] {
            for decision in [None, Some(DecisionKind::Pass), Some(DecisionKind::Reject)] {
                let plan = store.plan(&sql(by_camera, decision));
                assert!(plan.starts_with("SEARCH") && !plan.contains("TEMP B-TREE"), "{plan}");
            }
        }
        assert!(store.plan(TRUTH).contains("labels_frame"), "{}", store.plan(TRUTH));
    }
}
