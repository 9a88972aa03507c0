//! Which detectors a camera was given. One with another threshold has an id of its own, and is the same detector nevertheless.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::Trouble;
use super::sql_value::from_key;
use super::store::Store;

/// The detectors that a camera was given, each with the time from which its frames were judged by it, microseconds, in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given(pub(super) Vec<(u64, Arc<str>)>);

impl Given {
    /// The one of which `detector` is, whose first frame came at `first_us`: itself, or the one before, with another threshold.
    pub(super) fn detector(&self, detector: &Arc<str>, first_us: u64) -> Arc<str> {
        let before = self.0.iter().rev().find(|(from_us, _)| *from_us <= first_us);
        match before {
            Some((_, given)) if !self.0.iter().any(|(_, given)| given == detector) => given.clone(),
            _ => detector.clone(),
        }
    }
}

impl Store {
    /// By camera.
    pub(super) fn given(&self) -> Result<BTreeMap<Arc<str>, Given>, Trouble> {
        let sql = "SELECT camera, time_us, detector FROM changes WHERE camera IS NOT NULL AND detector IS NOT NULL
            ORDER BY time_us, id";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut found: BTreeMap<Arc<str>, Given> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (camera, detector): (String, String) = (row.get(0)?, row.get(2)?);
            let given = found.entry(camera.into()).or_default();
            given.0.push((from_key(row.get(1)?)?, detector.into()));
        }
        Ok(found)
    }
}
