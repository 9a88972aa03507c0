//! Figures window by window, the newest first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use intakt_operators::dataflow::Scope;
use rusqlite::named_params;

use super::error::{StoreError, Trouble};
use super::metrics::window_of_name;
use super::sql_value::{bits, bits_in, from_key};
use super::store::Store;

/// Rows that one page looks at: a few tenths of a second. A filter that few pass gets a page with less in it.
const LOOKED_AT_MAX: u64 = 500_000;

/// Which windows are wanted; what is left at its default does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowFilter {
    /// Of this scope.
    pub scope: Option<Scope>,
    /// Of this kind.
    pub kind: Option<WindowKind>,
    /// That end after this time, microseconds.
    pub after_us: Option<u64>,
    /// That end at this time or before, microseconds.
    pub up_to_us: Option<u64>,
}

/// What kind of window it is. Any lot is as good as another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowKind {
    /// One of those that follow each other, microseconds.
    Length(u64),
    /// A shift.
    Shift,
    /// A lot, by name.
    Lot(Arc<str>),
}

/// The figures of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowFigures {
    /// What it is about.
    pub scope: Scope,
    /// What kind of window it is.
    pub kind: WindowKind,
    /// Where it begins, microseconds of event time.
    pub start_us: u64,
    /// Where it ends (exclusive), microseconds of event time.
    pub end_us: u64,
    /// By name.
    pub figures: BTreeMap<String, RevisedFigure>,
}

/// A figure, and what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RevisedFigure {
    /// How often it was corrected.
    pub revision: u64,
    /// As it was first published; none where it was undefined.
    pub first: Option<f64>,
    /// Before the newest correction.
    pub before: Option<f64>,
    /// The value.
    pub value: Option<f64>,
}

/// Where a page ends. Windows that end meanwhile do not move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPosition {
    /// End of its last window, microseconds.
    pub end_us: u64,
    /// Length of that, microseconds.
    pub length_us: u64,
    /// The number of its scope.
    pub scope: i64,
}

impl Store {
    /// The next `limit` windows behind `from`, and where the page after these begins.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn windows(
        &self,
        filter: &WindowFilter,
        from: Option<WindowPosition>,
        limit: usize,
    ) -> Result<(Vec<WindowFigures>, Option<WindowPosition>), StoreError> {
        self.try_windows(filter, from, limit).map_err(self.error("read"))
    }

    fn try_windows(
        &self,
        filter: &WindowFilter,
        from: Option<WindowPosition>,
        limit: usize,
    ) -> Result<(Vec<WindowFigures>, Option<WindowPosition>), Trouble> {
        let mut names = BTreeMap::new();
        let (positions, next) = self.positions(filter, from, limit, &mut names)?;
        let sql = "SELECT names.name, revision, before, after FROM metrics JOIN names ON names.id = metrics.name
            WHERE at_us = ? AND window_us = ? AND scope = ? ORDER BY revision";
        let mut statement = self.connection.prepare(sql)?;
        let mut windows = Vec::with_capacity(positions.len());
        for position in positions {
            let key = (bits(position.end_us), bits(position.length_us), position.scope);
            let mut figures: BTreeMap<String, RevisedFigure> = BTreeMap::new();
            let mut rows = statement.query(key)?;
            while let Some(row) = rows.next()? {
                let (revision, value) = (from_key(row.get(1)?)?, row.get(3)?);
                let figure = figures.entry(row.get(0)?).or_insert(RevisedFigure {
                    revision,
                    first: value,
                    before: None,
                    value,
                });
                (figure.revision, figure.before, figure.value) = (revision, row.get(2)?, value);
            }
            let (scope, kind) = window_of_name(&names[&position.scope], position.length_us);
            windows.push(WindowFigures {
                scope,
                kind,
                start_us: position.end_us.saturating_sub(position.length_us),
                end_us: position.end_us,
                figures,
            });
        }
        Ok((windows, next))
    }

    /// Which windows are on the page; `names` are those of the scopes that were met.
    fn positions(
        &self,
        filter: &WindowFilter,
        from: Option<WindowPosition>,
        limit: usize,
        names: &mut BTreeMap<i64, String>,
    ) -> Result<(Vec<WindowPosition>, Option<WindowPosition>), Trouble> {
        let begin = WindowPosition {
            end_us: filter.up_to_us.unwrap_or(u64::MAX).min(i64::MAX as u64),
            length_us: i64::MAX as u64,
            scope: i64::MAX,
        };
        let from = from.filter(|from| from.end_us <= begin.end_us).unwrap_or(begin);
        let mut statement = self.connection.prepare(POSITIONS)?;
        let mut spelt = self.connection.prepare("SELECT name FROM names WHERE id = ?")?;
        let mut rows = statement.query(named_params! {
            ":end": bits(from.end_us),
            ":length": bits(from.length_us),
            ":scope": from.scope,
            ":after": bits(filter.after_us.unwrap_or(0).min(i64::MAX as u64)),
        })?;
        let (mut found, mut looked_at, mut last) = (Vec::new(), 0, None);
        while let Some(row) = rows.next()? {
            looked_at += 1;
            let position = WindowPosition {
                end_us: from_key(row.get(0)?)?,
                length_us: bits_in(row, 1)?,
                scope: row.get(2)?,
            };
            let is_new = last != Some(position);
            if is_new && (found.len() == limit || looked_at > LOOKED_AT_MAX) {
                return Ok((found, last));
            }
            last = Some(position);
            if !is_new {
                continue;
            }
            let name = match names.entry(position.scope) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(spelt.query_row([position.scope], |row| row.get(0))?),
            };
            let (scope, kind) = window_of_name(name, position.length_us);
            let of_scope = filter.scope.as_ref().is_none_or(|wanted| *wanted == scope);
            if of_scope && filter.kind.as_ref().is_none_or(|wanted| wanted.is_met_by(&kind)) {
                found.push(position);
            }
        }
        Ok((found, None))
    }
}

/// A row per figure and revision, all of a window together, out of the index alone.
const POSITIONS: &str = "SELECT at_us, window_us, scope FROM metrics INDEXED BY metrics_key
    WHERE (at_us, window_us, scope) < (:end, :length, :scope) AND at_us > :after
    ORDER BY at_us DESC, window_us DESC, scope DESC";

impl WindowKind {
    /// A lot without a name stands for all of them.
    fn is_met_by(&self, kind: &Self) -> bool {
        self == kind || matches!((self, kind), (Self::Lot(any), Self::Lot(_)) if any.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn windows_come_out_of_the_index_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("run.sqlite"), "run", StoreOptions::default()).unwrap();
        let plan = store.plan(POSITIONS);
        assert!(
            plan.starts_with("SEARCH") && plan.contains("COVERING") && !plan.contains("TEMP B-TREE"),
            "{plan}"
        );
    }
}
