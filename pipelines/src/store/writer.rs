//! Commits hops.

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::{Decision, Outcome, Region, Truth, Verdict};
use rusqlite::{Connection, OptionalExtension, Statement, TransactionBehavior, params};

use super::error::{StoreError, Trouble};
use super::reader::ResumePoint;
use super::records::{Change, ChangeKind, Commit, TimedOutcome};
use super::schema::TAKEN_BACK;
use super::sql_value::{bits, key, word};
use super::store::Store;

impl Store {
    /// Stores `batch` as a whole; when it returns `Ok`, the batch is on the disk. After an error nothing of it is in the store,
    /// and the same batch may be tried again.
    ///
    /// Panics (a bug of ours) if the frontier goes back, or an outcome or a change does not lie between the committed frontier
    /// and the batch's. Labels, metrics and alerts may be about any time.
    ///
    /// # Errors
    /// The disk is full, another process writes, or the run was resumed by another process. A second outcome for a frame, or a
    /// revision of a metric for the second time, is refused.
    pub fn commit(&mut self, batch: &Commit) -> Result<(), StoreError> {
        self.check_times(batch);
        let committed = self.try_commit(batch);
        let names = committed.map_err(self.error("commit to"))?;
        self.names = names;
        self.frontier_us = batch.frontier_us;
        Ok(())
    }

    /// Notes where each camera begins, before it gives a number to any frame.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn begin(&mut self, cameras: &BTreeMap<Arc<str>, ResumePoint>) -> Result<(), StoreError> {
        let begin = |(camera, point): (&Arc<str>, &ResumePoint)| (camera.clone(), point.next_seq);
        self.commit(&Commit {
            frontier_us: self.frontier_us,
            next_seq: cameras.iter().map(begin).collect(),
            ..Commit::default()
        })
    }

    fn check_times(&self, batch: &Commit) {
        let hop = self.frontier_us..batch.frontier_us;
        assert!(hop.start <= hop.end, "the frontier goes back: {hop:?}");
        let outcomes = batch.outcomes.iter().map(|outcome| outcome.time_us);
        for time_us in outcomes.chain(batch.changes.iter().map(|change| change.time_us)) {
            assert!(hop.contains(&time_us), "time {time_us} does not belong into {hop:?}");
        }
    }

    /// The names as they are after the commit.
    fn try_commit(&mut self, batch: &Commit) -> Result<BTreeMap<Arc<str>, i64>, Trouble> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        advance(&transaction, batch.frontier_us, self.generation)?;
        // A copy (tens of names): after a rollback the numbers of new names are free again.
        let names = write(&transaction, batch, self.names.clone())?;
        transaction.commit()?;
        Ok(names)
    }
}

/// Writes everything but the frontier; the names as they are afterwards.
fn write(
    connection: &Connection,
    batch: &Commit,
    known: BTreeMap<Arc<str>, i64>,
) -> Result<BTreeMap<Arc<str>, i64>, Trouble> {
    let mut names = Names {
        insert: connection.prepare("INSERT INTO names (name) VALUES (?)")?,
        known,
    };
    write_outcomes(connection, batch, &mut names)?;
    write_cameras(connection, batch, &mut names)?;
    write_labels(connection, batch)?;
    write_metrics(connection, batch, &mut names)?;
    write_alerts(connection, batch)?;
    write_changes(connection, &batch.changes)?;
    Ok(names.known)
}

/// Moves the frontier, unless a later generation has taken over.
fn advance(connection: &Connection, frontier_us: u64, own: i64) -> Result<(), Trouble> {
    let found = connection.query_row("SELECT generation FROM progress", [], |row| row.get(0))?;
    if found != own {
        return Err(Trouble::Superseded { found, own });
    }
    let frontier = key("the frontier", frontier_us)?;
    connection.execute("UPDATE progress SET frontier_us = ?", [frontier])?;
    Ok(())
}

/// Numbers names; new ones get the next number.
struct Names<'c> {
    known: BTreeMap<Arc<str>, i64>,
    insert: Statement<'c>,
}

impl Names<'_> {
    fn number(&mut self, name: &Arc<str>) -> Result<i64, Trouble> {
        if let Some(number) = self.known.get(name) {
            return Ok(*number);
        }
        let number = self.insert.insert([name])?;
        self.known.insert(name.clone(), number);
        Ok(number)
    }
}

fn write_outcomes(connection: &Connection, batch: &Commit, names: &mut Names<'_>) -> Result<(), Trouble> {
    let mut ordered: Vec<&TimedOutcome> = batch.outcomes.iter().collect();
    ordered.sort_by_key(|timed| (timed.time_us, timed.outcome.camera(), timed.outcome.seq()));
    let mut outcomes = Outcomes {
        insert: connection.prepare("INSERT INTO outcomes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?,
        insert_region: connection.prepare("INSERT INTO regions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?,
    };
    for timed in ordered {
        let time = key("the time of a frame", timed.time_us)?;
        match &timed.outcome {
            Outcome::Judged(verdict) => outcomes.judged(time, verdict, names)?,
            Outcome::Dropped(dropped) => {
                let values = params![
                    time,
                    names.number(&dropped.camera)?,
                    key("the position of a frame", dropped.seq)?,
                    bits(dropped.captured_at_us),
                    "dropped",
                    word(&dropped.reason),
                    None::<&str>,
                    None::<i64>,
                    None::<f64>,
                    None::<f64>,
                    None::<f64>,
                    0
                ];
                outcomes.insert.insert(values)?;
            }
        }
    }
    Ok(())
}

struct Outcomes<'c> {
    insert: Statement<'c>,
    insert_region: Statement<'c>,
}

impl Outcomes<'_> {
    fn judged(&mut self, time: i64, verdict: &Verdict, names: &mut Names<'_>) -> Result<(), Trouble> {
        let (decision, reason) = match &verdict.decision {
            Decision::Pass => ("pass", None),
            Decision::Reject => ("reject", None),
            Decision::Unreadable { reason } => ("unreadable", Some(reason)),
        };
        let values = params![
            time,
            names.number(&verdict.camera)?,
            key("the position of a frame", verdict.seq)?,
            bits(verdict.captured_at_us),
            decision,
            reason,
            verdict.origin,
            names.number(&verdict.detector)?,
            verdict.image_score,
            verdict.threshold,
            verdict.calibrated_score,
            (verdict.regions.len() + verdict.suppressed.len()) as i64,
        ];
        let outcome = self.insert.insert(values)?;
        let counted = verdict.regions.iter().map(|region| (region, None));
        let suppressed = verdict.suppressed.iter();
        let suppressed = suppressed.map(|suppressed| (&suppressed.region, Some(word(&suppressed.reason))));
        for (ordinal, (region, because)) in counted.chain(suppressed).enumerate() {
            self.region(outcome, ordinal, region, because)?;
        }
        Ok(())
    }

    fn region(
        &mut self,
        outcome: i64,
        ordinal: usize,
        region: &Region,
        because: Option<String>,
    ) -> Result<(), Trouble> {
        self.insert_region.execute(params![
            outcome,
            ordinal as i64,
            because,
            region.bbox_px.x,
            region.bbox_px.y,
            region.bbox_px.width,
            region.bbox_px.height,
            bits(region.area_px),
            region.peak,
            region.mean,
            region.centroid_px[0],
            region.centroid_px[1],
        ])?;
        Ok(())
    }
}

fn write_cameras(connection: &Connection, batch: &Commit, names: &mut Names<'_>) -> Result<(), Trouble> {
    let mut insert = connection.prepare("INSERT OR REPLACE INTO cameras VALUES (?, ?)")?;
    for (camera, next_seq) in &batch.next_seq {
        insert.execute((names.number(camera)?, key("the position of a camera", *next_seq)?))?;
    }
    Ok(())
}

fn write_labels(connection: &Connection, batch: &Commit) -> Result<(), Trouble> {
    let mut insert = connection.prepare("INSERT INTO labels VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)")?;
    for timed in &batch.labels {
        let label = &timed.label;
        let (anomalous, class) = match &label.truth {
            Some(Truth::Normal) => (0, None),
            Some(Truth::Anomalous(class)) => (1, Some(class)),
            None => (TAKEN_BACK, None),
        };
        insert.execute(params![
            key("the time of a label", timed.time_us)?,
            key("the ordinal of a label", timed.ordinal)?,
            label.camera,
            bits(label.seq),
            anomalous,
            class,
            bits(label.captured_at_us),
        ])?;
    }
    Ok(())
}

fn write_metrics(connection: &Connection, batch: &Commit, names: &mut Names<'_>) -> Result<(), Trouble> {
    let mut ordered: Vec<_> = batch.metrics.iter().collect();
    // Stable: of two about one window the later holds.
    ordered.sort_by_key(|metric| (metric.at_us, metric.window_us, &metric.scope, &metric.name));
    let sql = "SELECT revision, after FROM metrics WHERE at_us = ? AND window_us = ? AND scope = ? AND name = ?
        ORDER BY revision DESC LIMIT 1";
    let mut newest = connection.prepare(sql)?;
    let mut insert = connection.prepare("INSERT INTO metrics VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)")?;
    for metric in ordered {
        let (at_us, window_us) = (key("the time of a metric", metric.at_us)?, bits(metric.window_us));
        let (scope, name) = (names.number(&metric.scope)?, names.number(&metric.name)?);
        let stored: Option<(i64, Option<f64>)> = newest
            .query_row(params![at_us, window_us, scope, name], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let (revision, before) = match stored {
            Some((revision, before)) => (revision + 1, before),
            None => (0, None),
        };
        if before == metric.value {
            // Nothing new: a run that goes on publishes again what it had published, and nothing is said of what is undefined.
            continue;
        }
        insert.execute(params![at_us, window_us, scope, name, revision, before, metric.value])?;
    }
    Ok(())
}

fn write_alerts(connection: &Connection, batch: &Commit) -> Result<(), Trouble> {
    let mut insert = connection.prepare("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?)")?;
    for alert in &batch.alerts {
        insert.execute(params![
            alert.rule,
            alert.scope,
            key("the time of an alert", alert.opened_at_us)?,
            alert.closed_at_us.map(bits),
            alert.retracted,
        ])?;
    }
    Ok(())
}

fn write_changes(connection: &Connection, changes: &[Change]) -> Result<(), Trouble> {
    let mut insert = connection.prepare("INSERT INTO changes VALUES (NULL, ?, ?, ?, ?, ?)")?;
    for change in changes {
        let (threshold, detector, lot) = match &change.kind {
            ChangeKind::Threshold(threshold) => (Some(threshold), None, None),
            ChangeKind::Detector(detector) => (None, Some(detector), None),
            ChangeKind::Lot(lot) => (None, None, Some(lot)),
        };
        insert.execute(params![
            key("the time of a change", change.time_us)?,
            change.camera,
            threshold,
            detector,
            lot
        ])?;
    }
    Ok(())
}
