//! Where verdicts and pictures go.

mod canvas;
pub mod colormap;
pub mod contact_sheet;
pub mod heatmap;
pub mod picture_file;
pub mod text;

pub use crate::png::encode_png;
