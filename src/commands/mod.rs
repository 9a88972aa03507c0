//! One verb a file: from what was typed to what is done.

pub mod demo;
pub mod evaluate;
pub mod fit;
pub mod inspect;
pub mod show;

mod settings;
