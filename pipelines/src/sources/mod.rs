//! Where frames come from.

pub mod synthetic;
