//! Rows to outcomes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::iter::once;
use std::sync::Arc;

use intakt_operators::{Decision, DroppedFrame, Outcome, RectPx, Region, SuppressedRegion, Verdict};
use rusqlite::{Params, Row, Rows, Statement};

use super::error::Trouble;
use super::records::TimedOutcome;
use super::sql_value::{bits_in, from_key, from_word, score_in};
use super::store::Store;

/// Columns of an outcome, in the order that [`OutcomeReader::outcome`] expects.
pub(super) const OUTCOME_COLUMNS: &str = "id, time_us, camera, seq, captured_at_us, decision, reason, origin, detector, \
     image_score, threshold, calibrated_score, regions";

/// Reads outcomes with their regions; remembers the names it has met.
pub(super) struct OutcomeReader<'s> {
    store: &'s Store,
    names: RefCell<BTreeMap<i64, Arc<str>>>,
}

impl<'s> OutcomeReader<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self {
            store,
            names: RefCell::default(),
        }
    }

    /// The outcomes that `sql` selects ([`OUTCOME_COLUMNS`]), with their ids.
    pub(super) fn page(&self, sql: &str, params: impl Params) -> Result<Vec<(i64, TimedOutcome)>, Trouble> {
        self.read(sql, once(params))
    }

    /// The outcomes with these ids, in this order.
    pub(super) fn numbered(&self, ids: &[i64]) -> Result<Vec<(i64, TimedOutcome)>, Trouble> {
        let sql = format!("SELECT {OUTCOME_COLUMNS} FROM outcomes WHERE id = ?");
        self.read(&sql, ids.iter().map(|id| [id]))
    }

    fn read<P: Params>(
        &self,
        sql: &str,
        params: impl IntoIterator<Item = P>,
    ) -> Result<Vec<(i64, TimedOutcome)>, Trouble> {
        // One transaction, or the regions could be of a later state than the outcomes.
        let transaction = self.store.connection.unchecked_transaction()?;
        let mut outcomes = Vec::new();
        {
            let mut statement = transaction.prepare(sql)?;
            let sql = "SELECT suppressed_because, x, y, width, height, area_px, peak, mean, centroid_x, centroid_y
                FROM regions WHERE outcome = ? ORDER BY ordinal";
            let mut regions = transaction.prepare(sql)?;
            for params in params {
                let mut rows = statement.query(params)?;
                while let Some(row) = rows.next()? {
                    outcomes.push((row.get(0)?, self.outcome(row, &mut regions)?));
                }
            }
        }
        transaction.commit()?;
        Ok(outcomes)
    }

    fn outcome(&self, row: &Row<'_>, regions: &mut Statement<'_>) -> Result<TimedOutcome, Trouble> {
        let camera = self.name(row.get(2)?)?;
        let seq = from_key(row.get(3)?)?;
        let captured_at_us = bits_in(row, 4)?;
        let decision: String = row.get(5)?;
        let reason = || row.get::<_, String>(6);
        let decision = match decision.as_str() {
            "pass" => Decision::Pass,
            "reject" => Decision::Reject,
            "unreadable" => Decision::Unreadable { reason: reason()? },
            _ => {
                let outcome = Outcome::Dropped(DroppedFrame {
                    camera,
                    seq,
                    captured_at_us,
                    reason: from_word(reason()?)?,
                });
                return timed(row, outcome);
            }
        };
        let mut verdict = Verdict {
            camera,
            seq,
            captured_at_us,
            origin: row.get::<_, String>(7)?.into(),
            detector: self.name(row.get(8)?)?,
            decision,
            image_score: score_in(row, 9)?,
            threshold: score_in(row, 10)?,
            calibrated_score: score_in(row, 11)?,
            regions: Vec::new(),
            suppressed: Vec::new(),
        };
        let n_regions: i64 = row.get(12)?;
        if n_regions > 0 {
            read_regions(regions.query([row.get::<_, i64>(0)?])?, &mut verdict)?;
        }
        let n_read = (verdict.regions.len() + verdict.suppressed.len()) as i64;
        if n_read != n_regions {
            return Err(Trouble::Damaged(format!(
                "frame {seq} of camera \"{}\" has {n_read} regions of {n_regions}",
                verdict.camera
            )));
        }
        timed(row, Outcome::Judged(Arc::new(verdict)))
    }

    fn name(&self, number: i64) -> Result<Arc<str>, Trouble> {
        if let Some(name) = self.names.borrow().get(&number) {
            return Ok(name.clone());
        }
        let sql = "SELECT name FROM names WHERE id = ?";
        let name: String = self.store.connection.query_row(sql, [number], |row| row.get(0))?;
        let name: Arc<str> = name.into();
        self.names.borrow_mut().insert(number, name.clone());
        Ok(name)
    }
}

fn timed(row: &Row<'_>, outcome: Outcome) -> Result<TimedOutcome, Trouble> {
    Ok(TimedOutcome {
        time_us: from_key(row.get(1)?)?,
        outcome,
    })
}

fn read_regions(mut rows: Rows<'_>, verdict: &mut Verdict) -> Result<(), Trouble> {
    while let Some(row) = rows.next()? {
        let region = Region {
            bbox_px: RectPx {
                x: row.get(1)?,
                y: row.get(2)?,
                width: row.get(3)?,
                height: row.get(4)?,
            },
            area_px: bits_in(row, 5)?,
            peak: score_in(row, 6)?,
            mean: score_in(row, 7)?,
            centroid_px: [score_in(row, 8)?, score_in(row, 9)?],
        };
        match row.get::<_, Option<String>>(0)? {
            None => verdict.regions.push(region),
            Some(reason) => verdict.suppressed.push(SuppressedRegion {
                region,
                reason: from_word(reason)?,
            }),
        }
    }
    Ok(())
}
