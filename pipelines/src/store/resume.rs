//! What a run that goes on needs to know of its past.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::dataflow::{Alert, ArrivedLabel, KnownSilences, LotStarted, OpenSilence, Scope};
use intakt_operators::metrics::AlertRule;
use intakt_operators::postprocess::{REMEMBERED_FRAMES, StaticArtefacts, candidates};

use super::{Change, ChangeKind, OutcomeFilter, Store, StoreOptions, TimedLabel};
use crate::PipelineError;
use crate::figures::Pages;

/// Event time of a page of the past, microseconds: 5,000 outcomes of sixteen busy cameras.
const PAGE_US: u64 = 10_000_000;

/// Where a run goes on.
pub struct Resumed {
    /// Nothing enters before, microseconds: the committed frontier.
    pub from_us: u64,
    /// The outcomes that rates still count.
    pub past: Past,
    /// The labels that rates still know, in the order of time.
    pub labels: Vec<(u64, ArrivedLabel)>,
    /// The lots, in the order of time.
    pub lots: Vec<(u64, LotStarted)>,
    /// By camera: what it has seen at the same place.
    pub remembered: BTreeMap<Arc<str>, StaticArtefacts>,
    /// Who was silent.
    pub silences: KnownSilences,
}

/// The last outcomes of a run, page by page.
pub struct Past {
    path: PathBuf,
    next_us: u64,
    end_us: u64,
}

impl Resumed {
    /// What `store` knows of its last `horizon_us`. `had_ended` says whether nobody watched the cameras until now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn of(store: &Store, path: &Path, horizon_us: u64, had_ended: bool) -> Result<Self, PipelineError> {
        let from_us = store.committed_frontier_us();
        let mut remembered = BTreeMap::new();
        for camera in store.cameras()? {
            let mut artefacts = StaticArtefacts::new();
            for verdict in store.recent_regions(&camera, REMEMBERED_FRAMES)? {
                artefacts.observe(&candidates(&verdict.regions, &verdict.suppressed));
            }
            remembered.insert(camera, artefacts);
        }
        let since_us = from_us.saturating_sub(horizon_us);
        let first = store.query(&OutcomeFilter {
            since_us: Some(since_us),
            limit: Some(1),
            ..OutcomeFilter::default()
        });
        let first = first.last().transpose()?;
        Ok(Self {
            from_us,
            labels: labels(store, since_us)?,
            lots: lots(store)?,
            past: Past {
                path: path.to_owned(),
                next_us: first.map_or(from_us, |first| first.time_us),
                end_us: from_us,
            },
            remembered,
            silences: KnownSilences {
                from_us,
                open: open_silences(store)?,
                had_ended,
            },
        })
    }
}

fn open_silences(store: &Store) -> Result<Vec<OpenSilence>, PipelineError> {
    let silence = |alert: Alert| match (alert.rule.parse(), alert.scope) {
        (Ok(AlertRule::Silent { .. }), Scope::Camera(camera)) => Some(OpenSilence {
            rule: alert.rule,
            camera,
            opened_at_us: alert.opened_at_us,
        }),
        _ => None,
    };
    Ok(store.open_alerts()?.into_iter().filter_map(silence).collect())
}

fn labels(store: &Store, since_us: u64) -> Result<Vec<(u64, ArrivedLabel)>, PipelineError> {
    let mut labels = Vec::new();
    for timed in store.labels_as_said() {
        let TimedLabel {
            time_us,
            ordinal,
            label,
        } = timed?;
        if time_us >= since_us {
            labels.push((time_us, ArrivedLabel { ordinal, label }));
        }
    }
    labels.sort_by_key(|(time_us, arrived)| (*time_us, arrived.ordinal));
    Ok(labels)
}

fn lots(store: &Store) -> Result<Vec<(u64, LotStarted)>, PipelineError> {
    let mut lots = Vec::new();
    for change in store.changes() {
        if let Change {
            time_us,
            camera: Some(camera),
            kind: ChangeKind::Lot(lot),
        } = change?
        {
            // They are stored in the order in which they were said.
            let ordinal = lots.len() as u64;
            lots.push((time_us, LotStarted { camera, ordinal, lot }));
        }
    }
    lots.sort_by_key(|(time_us, _)| *time_us);
    Ok(lots)
}

impl Past {
    /// Pages of outcomes in the order of time; nothing when the past is over.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn pages(self) -> Result<Pages, PipelineError> {
        let store = Store::open_read_only(&self.path, StoreOptions::default())?;
        let Self {
            mut next_us, end_us, ..
        } = self;
        Ok(Box::new(move || {
            if next_us >= end_us {
                return None;
            }
            let filter = OutcomeFilter {
                since_us: Some(next_us),
                until_us: Some(end_us.min(next_us.saturating_add(PAGE_US))),
                ..OutcomeFilter::default()
            };
            next_us = next_us.saturating_add(PAGE_US);
            let page = store.query(&filter);
            Some(page.map(|timed| timed.map_err(|error| error.to_string())).collect())
        }))
    }
}
