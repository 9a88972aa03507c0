//! Selects outcomes: by camera, event time and decision.

use std::sync::Arc;

use rusqlite::{OptionalExtension, named_params};

use super::error::Trouble;
use super::outcome_reader::{OUTCOME_COLUMNS, OutcomeReader};
use super::pages::{PAGE_ROWS, Pages};
use super::records::TimedOutcome;
use super::sql_value::from_key;
use super::store::Store;

/// What was decided about a frame, or that nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DecisionKind {
    /// It passed.
    Pass,
    /// It was rejected.
    Reject,
    /// No image could be made of it.
    Unreadable,
    /// It was dropped.
    Dropped,
}

impl DecisionKind {
    const ALL: [Self; 4] = [Self::Pass, Self::Reject, Self::Unreadable, Self::Dropped];

    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Reject => "reject",
            Self::Unreadable => "unreadable",
            Self::Dropped => "dropped",
        }
    }

    /// What a word in the store means.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Which outcomes are wanted; what is left at its default does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutcomeFilter {
    /// Of this camera.
    pub camera: Option<String>,
    /// From this time in the dataflow on, microseconds. It is the event time but for frames that came late.
    pub since_us: Option<u64>,
    /// Before this time in the dataflow, microseconds.
    pub until_us: Option<u64>,
    /// With this decision.
    pub decision: Option<DecisionKind>,
    /// Behind the outcome of this frame, by camera and sequence; nothing if it has none.
    pub behind: Option<(Arc<str>, u64)>,
    /// At most so many, the earliest.
    pub limit: Option<u64>,
}

impl Store {
    /// The outcomes that pass `filter`, in the order of time, camera and sequence.
    pub fn query(&self, filter: &OutcomeFilter) -> Pages<'_, TimedOutcome> {
        match self.selection(filter) {
            Ok(Some(selection)) => {
                let reader = OutcomeReader::new(self);
                let read = move |after: i64| selection.page(&reader, after).map_err(self.error("read"));
                Pages::new(read).limited(filter.limit)
            }
            Ok(None) => Pages::new(|_| Ok(Vec::new())),
            Err(trouble) => Pages::new(|_| Ok(Vec::new())).failed(self.error("read")(trouble)),
        }
    }

    /// Nothing, if a camera or a frame is not known.
    pub(super) fn selection(&self, filter: &OutcomeFilter) -> Result<Option<Selection>, Trouble> {
        let camera = match &filter.camera {
            None => None,
            Some(name) => match self.number(name)? {
                None => return Ok(None),
                known => known,
            },
        };
        let behind = match &filter.behind {
            None => 0,
            Some((camera, seq)) => match self.outcome_id(camera, *seq)? {
                None => return Ok(None),
                Some(id) => id,
            },
        };
        let first = filter.since_us.map_or(Ok(1), |since_us| self.first_id_from(since_us))?;
        let end = filter
            .until_us
            .map_or(Ok(i64::MAX), |until_us| self.first_id_from(until_us))?;
        Ok(Some(Selection {
            sql: sql(camera.is_some(), filter.decision),
            camera,
            before_first: behind.max(first - 1),
            end,
        }))
    }

    fn outcome_id(&self, camera: &str, seq: u64) -> Result<Option<i64>, Trouble> {
        let (Some(number), Ok(seq)) = (self.number(camera)?, i64::try_from(seq)) else {
            return Ok(None);
        };
        let sql = "SELECT id FROM outcomes WHERE camera = ? AND seq = ?";
        let found = self.connection.query_row(sql, (number, seq), |row| row.get(0));
        Ok(found.optional()?)
    }

    /// Id of the first outcome at `time_us` or later, by bisection: ids have no gaps and grow with time.
    pub(super) fn first_id_from(&self, time_us: u64) -> Result<i64, Trouble> {
        let newest = self
            .connection
            .query_row("SELECT coalesce(max(id), 0) FROM outcomes", [], |row| row.get(0))?;
        let mut statement = self.connection.prepare("SELECT time_us FROM outcomes WHERE id = ?")?;
        let (mut first, mut end): (i64, i64) = (1, newest);
        while first <= end {
            let middle = first + (end - first) / 2;
            if from_key(statement.query_row([middle], |row| row.get(0))?)? < time_us {
                first = middle + 1;
            } else {
                end = middle - 1;
            }
        }
        Ok(first)
    }
}

/// A filter, in the numbers of the store.
pub(super) struct Selection {
    sql: String,
    camera: Option<i64>,
    before_first: i64,
    end: i64,
}

impl Selection {
    pub(super) fn page(&self, reader: &OutcomeReader<'_>, after: i64) -> Result<Vec<(i64, TimedOutcome)>, Trouble> {
        let after = after.max(self.before_first);
        match self.camera {
            Some(camera) => reader.page(
                &self.sql,
                named_params! {":after": after, ":end": self.end, ":rows": PAGE_ROWS, ":camera": camera},
            ),
            None => reader.page(
                &self.sql,
                named_params! {":after": after, ":end": self.end, ":rows": PAGE_ROWS},
            ),
        }
    }
}

/// The statement for a page.
fn sql(by_camera: bool, decision: Option<DecisionKind>) -> String {
    let (index, conditions) = conditions(by_camera, decision);
    format!(
        "SELECT {OUTCOME_COLUMNS} FROM outcomes {index}
         WHERE id > :after AND id < :end {conditions} ORDER BY id LIMIT :rows"
    )
}

/// What camera and decision say in a statement: the index, and the conditions behind those about the id. The index is named,
/// because SQLite does not know that anything but a pass is rare.
pub(super) fn conditions(by_camera: bool, decision: Option<DecisionKind>) -> (&'static str, String) {
    let index = match (by_camera, decision) {
        (_, Some(DecisionKind::Reject | DecisionKind::Unreadable | DecisionKind::Dropped)) => {
            "INDEXED BY outcomes_decision"
        }
        (true, _) => "INDEXED BY outcomes_camera",
        (false, _) => "NOT INDEXED",
    };
    let camera = if by_camera { "AND camera = :camera" } else { "" };
    let decision = match decision {
        None => String::new(),
        Some(DecisionKind::Pass) => "AND decision = 'pass'".to_owned(),
        // The second condition tells SQLite that the partial index applies.
        Some(other) => format!("AND decision = '{}' AND decision <> 'pass'", other.word()),
    };
    (index, format!("{camera} {decision}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    impl Store {
        /// How SQLite goes about a statement.
        pub(in crate::store) fn plan(&self, sql: &str) -> String {
            let mut statement = self.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            // Without values for its parameters: the plan does not depend on them.
            let rows = statement.raw_query().mapped(|row| row.get(3));
            let plan: Vec<String> = rows.map(Result::unwrap).collect();
            plan.join("; ")
        }
    }

    #[test]
    fn no_query_sorts_or_reads_what_it_does_not_want() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("run.sqlite"), "run", StoreOptions::default()).unwrap();
        for by_camera in [false, true] {
            for decision in [
                None,
                Some(DecisionKind::Pass),
                Some(DecisionKind::Reject),
                Some(DecisionKind::Unreadable),
                Some(DecisionKind::Dropped),
            ] {
                let sql = sql(by_camera, decision);
                let plan = store.plan(&sql);
                assert!(
                    plan.starts_with("SEARCH") && !plan.contains("TEMP B-TREE"),
                    "{sql}: {plan}"
                );
            }
        }
    }
}
