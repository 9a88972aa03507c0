//! The store's promises: what was committed comes back as it was, exactly once, whatever happened.

mod compare;
mod export;
mod failures;
mod kill;
mod listing;
mod queries;
mod round_trip;
mod summary;
mod support;
