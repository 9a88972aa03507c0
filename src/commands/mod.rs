//! One verb a file: from what was typed to what is done.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod demo;
pub(crate) mod evaluate;
pub(crate) mod fit;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod label;
pub(crate) mod query;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod top;

mod flips;
mod gate;
mod kept;
mod lines;
mod planned;
mod recording;
mod run_directory;
mod same_files;
mod settings;
mod watching;

pub(crate) use kept::Elsewhere;
