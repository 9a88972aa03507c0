//! What people say about frames, in the order in which they said it.

mod correct;
mod idle;
mod journal;
mod table;

pub use correct::correct;
pub use idle::IdleLabels;
pub use journal::{GivenLabel, JournalLine, LabelJournal, parse_truth};
pub use table::read_labels;
