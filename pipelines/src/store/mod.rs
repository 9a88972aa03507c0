//! The run store: what became of every frame of a run, exactly once, in one SQLite file.
//!
//! A run commits hop by hop: everything that a hop of event time brought, together with the frontier up to which the store
//! is complete and the position at which each camera goes on, in one transaction that is on the disk when
//! [`Store::commit`] returns. Whatever ends the process, the store holds whole hops and says where they end; a resumed run
//! continues there. Each opening for writing begins a new *generation*, and a process of an older one can no longer commit.
//!
//! Readers open the same file while the run writes (write-ahead log). They read in pages, so that neither their memory nor
//! the log grows with the length of the run.

mod compare;
mod counted;
mod error;
mod export;
mod given;
mod hop_buffer;
mod listing;
mod metrics;
mod outcome_reader;
mod pages;
mod parquet_export;
mod query;
mod reader;
mod records;
mod resume;
mod schema;
mod sink;
mod sql_value;
#[expect(clippy::module_inception, reason = "the module is named for the noun in it")]
mod store;
mod summary;
mod windows;
mod writer;

pub use compare::{Compared, ComparedCamera, DecisionChange, Flip, FlipFilter, Flips};
pub use counted::{BAR_US, BARS, Bar, Counted, CountedCamera, LabelledScores, LastOutcome, ScoresNow};
pub use error::{StoreError, Trouble};
pub use export::{ExportFormat, export};
pub use hop_buffer::HopBuffer;
pub use listing::{Listed, ListedOutcome, Listing, Order, Position};
pub use metrics::{Figures, scope_name, tally_figures};
pub use pages::Pages;
pub use query::{DecisionKind, OutcomeFilter};
pub use reader::ResumePoint;
pub use records::{Alert, Change, ChangeKind, Commit, Metric, MetricRevision, TimedLabel, TimedOutcome};
pub use resume::{Past, Resumed};
pub use sink::StoreSink;
pub use store::{Store, StoreOptions};
pub use summary::{
    CameraSummary, DetectorUse, LabelSummary, NotableVerdicts, RunSummary, SCORE_STEPS, ScoreSteps, Stretches,
    SuppressedRegions,
};
pub use windows::{RevisedFigure, WindowFigures, WindowFilter, WindowKind, WindowPosition};

#[cfg(test)]
mod tests;
