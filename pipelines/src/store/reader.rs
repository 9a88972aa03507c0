//! Reads what was stored: what a resumed run needs, and the small tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use intakt_operators::dataflow::{Alert as AlertEvent, AlertState};
use intakt_operators::{Label, Outcome, Truth, Verdict};
use rusqlite::{OptionalExtension, Params, Row};
use serde::{Deserialize, Serialize};

use super::error::{StoreError, Trouble};
use super::metrics::scope_of_name;
use super::outcome_reader::{OUTCOME_COLUMNS, OutcomeReader};
use super::pages::{PAGE_ROWS, Pages};
use super::records::{Alert, Change, ChangeKind, MetricRevision, TimedLabel};
use super::schema::TAKEN_BACK;
use super::sql_value::{bits_in, from_key, score_in};
use super::store::Store;

/// Where a camera goes on after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumePoint {
    /// The first frame without an outcome in the store. A source that can be read again goes on here.
    pub next_seq: u64,
    /// Frames from `next_seq` on that have an outcome nevertheless: they overtook an earlier one. They must not be judged
    /// again. There are at most as many as come within the lateness of the camera.
    pub already_stored: BTreeSet<u64>,
}

/// More frames than a camera delivers between two commits.
const ROUND_SEQS: u64 = 10_000;

impl ResumePoint {
    /// Where a live camera numbers on, whose frames in between are gone: behind everything stored.
    pub fn next_unused_seq(&self) -> u64 {
        self.already_stored.last().map_or(self.next_seq, |last| last + 1)
    }

    /// The point of a camera that cannot be read again. Unless the run `was_ended`, its end may have taken frames with it whose
    /// numbers somebody knows, from an answer or a recording: then it is the next round number, so that none is given twice. As
    /// each start notes where it begins ([`Store::begin`]), that is beyond a start of which nothing else was kept.
    pub fn of_live(&self, was_ended: bool) -> Self {
        let unused = self.next_unused_seq();
        let next_seq = match was_ended {
            true => unused,
            false => (unused + 1).next_multiple_of(ROUND_SEQS),
        };
        Self {
            next_seq,
            already_stored: BTreeSet::new(),
        }
    }
}

impl Store {
    /// The name of the run.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn run_name(&self) -> Result<String, StoreError> {
        let name = self.connection.query_row("SELECT run FROM meta", [], |row| row.get(0));
        name.map_err(|error| self.error("read")(error.into()))
    }

    /// Where `camera` goes on; at frame 0 if the store does not know it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn resume_point(&self, camera: &str) -> Result<ResumePoint, StoreError> {
        self.try_resume_point(camera).map_err(self.error("read"))
    }

    fn try_resume_point(&self, camera: &str) -> Result<ResumePoint, Trouble> {
        let Some(number) = self.number(camera)? else {
            return Ok(ResumePoint::default());
        };
        let sql = "SELECT next_seq FROM cameras WHERE camera = ?";
        let next_seq: i64 = self
            .connection
            .query_row(sql, [number], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        let sql = "SELECT seq FROM outcomes WHERE camera = ? AND seq >= ?";
        let mut statement = self.connection.prepare(sql)?;
        let stored = statement.query_map((number, next_seq), |row| row.get(0))?;
        Ok(ResumePoint {
            next_seq: from_key(next_seq)?,
            already_stored: stored.map(|seq| from_key(seq?)).collect::<Result<_, Trouble>>()?,
        })
    }

    /// Tells of every frame of a camera that has a verdict, in order, where it came from and when it was captured, microseconds, until
    /// `tell` wants to hear no more. Nothing of it is held.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn origins(&self, camera: &str, tell: &mut dyn FnMut(&str, u64) -> bool) -> Result<(), StoreError> {
        let sql = "SELECT origin, captured_at_us FROM outcomes INDEXED BY outcomes_camera
            WHERE camera = ? AND origin IS NOT NULL ORDER BY id";
        let mut read = || -> Result<(), Trouble> {
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([self.number(camera)?])?;
            while let Some(row) = rows.next()? {
                let captured_at_us = bits_in(row, 1)?;
                if !tell(
                    row.get_ref(0)?
                        .as_str()
                        .map_err(|error| Trouble::Damaged(error.to_string()))?,
                    captured_at_us,
                ) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(self.error("read"))
    }

    /// The alerts that are open, as they were told when they opened.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open_alerts(&self) -> Result<Vec<AlertEvent>, StoreError> {
        let open = |alert: &Alert| alert.closed_at_us.is_none() && !alert.retracted;
        let told = |alert: Alert| AlertEvent {
            scope: scope_of_name(&alert.scope),
            rule: alert.rule,
            opened_at_us: alert.opened_at_us,
            at_us: alert.opened_at_us,
            state: AlertState::Opened,
            value: None,
        };
        Ok(self.alerts(usize::MAX)?.into_iter().filter(open).map(told).collect())
    }

    /// When a frame entered the dataflow, microseconds, and whether it passed or was rejected, if its outcome is in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn judged_at_us(&self, camera: &str, seq: u64) -> Result<Option<(u64, bool)>, StoreError> {
        let read = || -> Result<Option<(u64, bool)>, Trouble> {
            let (Some(number), Ok(seq)) = (self.number(camera)?, i64::try_from(seq)) else {
                return Ok(None);
            };
            let sql = "SELECT time_us, decision IN ('pass', 'reject') FROM outcomes WHERE camera = ? AND seq = ?";
            let found = self
                .connection
                .query_row(sql, (number, seq), |row| Ok((row.get(0)?, row.get(1)?)));
            found
                .optional()?
                .map(|(time, judged)| Ok((from_key(time)?, judged)))
                .transpose()
        };
        read().map_err(self.error("read"))
    }

    /// When a frame was captured, microseconds, if its outcome is in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn captured_at_us(&self, camera: &str, seq: u64) -> Result<Option<u64>, StoreError> {
        let read = || -> Result<Option<u64>, Trouble> {
            let (Some(number), Ok(seq)) = (self.number(camera)?, i64::try_from(seq)) else {
                return Ok(None);
            };
            let sql = "SELECT captured_at_us FROM outcomes WHERE camera = ? AND seq = ?";
            let found = self
                .connection
                .query_row(sql, (number, seq), |row| row.get::<_, i64>(0));
            Ok(found.optional()?.map(|bits| bits as u64))
        };
        read().map_err(self.error("read"))
    }

    /// How many frames have an outcome.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn n_outcomes(&self) -> Result<u64, StoreError> {
        // They are numbered without gaps, and counting would read them all.
        let sql = "SELECT coalesce(max(id), 0) FROM outcomes";
        let read = || from_key(self.connection.query_row(sql, [], |row| row.get(0))?);
        read().map_err(self.error("read"))
    }

    /// The cameras that have a position.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cameras(&self) -> Result<Vec<Arc<str>>, StoreError> {
        let sql = "SELECT name FROM cameras JOIN names ON names.id = camera ORDER BY name";
        self.rows(sql, [], |row| Ok(row.get::<_, String>(0)?.into()))
    }

    /// The last `frames` verdicts of a camera whose images could be read, in order, with their regions and suppressed regions:
    /// what a memory of static artefacts is rebuilt from.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn recent_regions(&self, camera: &str, frames: usize) -> Result<Vec<Arc<Verdict>>, StoreError> {
        let sql = format!(
            "SELECT {OUTCOME_COLUMNS} FROM outcomes INDEXED BY outcomes_camera
             WHERE camera = ? AND decision IN ('pass', 'reject') ORDER BY id DESC LIMIT ?"
        );
        let read = || -> Result<Vec<Arc<Verdict>>, Trouble> {
            let Some(number) = self.number(camera)? else {
                return Ok(Vec::new());
            };
            let limit = i64::try_from(frames).unwrap_or(i64::MAX);
            let mut verdicts = Vec::new();
            for (_, timed) in OutcomeReader::new(self).page(&sql, (number, limit))? {
                if let Outcome::Judged(verdict) = timed.outcome {
                    verdicts.push(verdict);
                }
            }
            verdicts.reverse();
            Ok(verdicts)
        };
        read().map_err(self.error("read"))
    }

    /// Where the last `frames` frames of a camera came from that were looked at, with their numbers, the last first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn last_origins(&self, camera: &str, frames: u32) -> Result<Vec<(u64, String)>, StoreError> {
        let Some(number) = self.number(camera).map_err(self.error("read"))? else {
            return Ok(Vec::new());
        };
        let sql = "SELECT seq, origin FROM outcomes INDEXED BY outcomes_frame
            WHERE camera = ? AND origin IS NOT NULL ORDER BY seq DESC LIMIT ?";
        self.rows(sql, (number, frames), |row| Ok((from_key(row.get(0)?)?, row.get(1)?)))
    }

    /// All labels in the order in which they arrived, with the capture time of their frames where these have an outcome: whoever
    /// labelled a frame that was just judged did not know it.
    pub fn labels(&self) -> Pages<'_, TimedLabel> {
        let sql = "SELECT labels.id, labels.time_us, labels.camera, labels.seq, anomalous, class,
                coalesce(outcomes.captured_at_us, labels.captured_at_us), ordinal
            FROM labels LEFT JOIN names ON names.name = labels.camera
            LEFT JOIN outcomes ON outcomes.camera = names.id AND outcomes.seq = labels.seq
            WHERE labels.id > ? ORDER BY labels.id LIMIT ?";
        Pages::new(move |after| self.page(sql, (after, PAGE_ROWS), label))
    }

    /// The same as they were said: a run that goes on is told again what it was told.
    pub(super) fn labels_as_said(&self) -> Pages<'_, TimedLabel> {
        let sql = "SELECT id, time_us, camera, seq, anomalous, class, captured_at_us, ordinal FROM labels
            WHERE id > ? ORDER BY id LIMIT ?";
        Pages::new(move |after| self.page(sql, (after, PAGE_ROWS), label))
    }

    /// All revisions of metrics in the order in which they were published.
    pub fn metrics(&self) -> Pages<'_, MetricRevision> {
        let sql = "SELECT metrics.id, at_us, window_us, scope.name, metric.name, revision, before, after
            FROM metrics JOIN names AS scope ON scope.id = scope JOIN names AS metric ON metric.id = metrics.name
            WHERE metrics.id > ? ORDER BY metrics.id LIMIT ?";
        Pages::new(move |after| self.page(sql, (after, PAGE_ROWS), metric))
    }

    /// All changes of thresholds and detectors in the order in which they took effect.
    pub fn changes(&self) -> Pages<'_, Change> {
        let sql = "SELECT id, time_us, camera, threshold, detector, lot FROM changes WHERE id > ? ORDER BY id LIMIT ?";
        Pages::new(move |after| self.page(sql, (after, PAGE_ROWS), change))
    }

    /// The alerts as they stand, in the order in which they opened, at most the `limit` last ones.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn alerts(&self, limit: usize) -> Result<Vec<Alert>, StoreError> {
        let sql = "SELECT rule, scope, opened_at_us, closed_at_us, retracted FROM alerts
            ORDER BY opened_at_us DESC, rule DESC, scope DESC LIMIT ?";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut alerts = self.rows(sql, [limit], alert)?;
        alerts.reverse();
        Ok(alerts)
    }

    /// The number of a name; also of one that another process has added meanwhile.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Trouble> {
        let sql = "SELECT id FROM names WHERE name = ?";
        Ok(self.connection.query_row(sql, [name], |row| row.get(0)).optional()?)
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, Trouble>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = || -> Result<Vec<T>, Trouble> {
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query(params)?;
            let mut read_rows = Vec::new();
            while let Some(row) = rows.next()? {
                read_rows.push(read(row)?);
            }
            Ok(read_rows)
        };
        rows().map_err(self.error("read"))
    }

    fn page<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, Trouble>,
    ) -> Result<Vec<(i64, T)>, StoreError> {
        self.rows(sql, params, |row| Ok((row.get(0)?, read(row)?)))
    }
}

/// What a label says.
pub(super) fn truth(anomalous: i64, class: Option<String>) -> Result<Option<Truth>, Trouble> {
    match (anomalous, class) {
        (0, None) => Ok(Some(Truth::Normal)),
        (1, Some(class)) => Ok(Some(Truth::Anomalous(class))),
        (TAKEN_BACK, None) => Ok(None),
        (anomalous, class) => Err(Trouble::Damaged(format!(
            "a label has anomalous = {anomalous} and class {class:?}"
        ))),
    }
}

fn label(row: &Row<'_>) -> Result<TimedLabel, Trouble> {
    let truth = truth(row.get(4)?, row.get(5)?)?;
    Ok(TimedLabel {
        time_us: from_key(row.get(1)?)?,
        ordinal: from_key(row.get(7)?)?,
        label: Label {
            camera: row.get::<_, String>(2)?.into(),
            seq: bits_in(row, 3)?,
            truth,
            captured_at_us: bits_in(row, 6)?,
        },
    })
}

fn metric(row: &Row<'_>) -> Result<MetricRevision, Trouble> {
    Ok(MetricRevision {
        at_us: from_key(row.get(1)?)?,
        window_us: bits_in(row, 2)?,
        scope: row.get::<_, String>(3)?.into(),
        name: row.get::<_, String>(4)?.into(),
        revision: from_key(row.get(5)?)?,
        before: row.get(6)?,
        after: row.get(7)?,
    })
}

fn change(row: &Row<'_>) -> Result<Change, Trouble> {
    Ok(Change {
        time_us: from_key(row.get(1)?)?,
        camera: row.get::<_, Option<String>>(2)?.map(Arc::from),
        kind: match (row.get::<_, Option<String>>(4)?, row.get::<_, Option<String>>(5)?) {
            (Some(detector), _) => ChangeKind::Detector(detector.into()),
            (None, Some(lot)) => ChangeKind::Lot(lot.into()),
            (None, None) => ChangeKind::Threshold(score_in(row, 3)?),
        },
    })
}

fn alert(row: &Row<'_>) -> Result<Alert, Trouble> {
    Ok(Alert {
        rule: row.get::<_, String>(0)?.into(),
        scope: row.get::<_, String>(1)?.into(),
        opened_at_us: from_key(row.get(2)?)?,
        closed_at_us: row.get::<_, Option<i64>>(3)?.map(|bits| bits as u64),
        retracted: row.get(4)?,
    })
}
