//! An image in memory.

use std::sync::Arc;

/// An 8-bit RGB image, rows interleaved: `(height, width, 3)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Columns.
    pub width_px: u32,
    /// Rows.
    pub height_px: u32,
    /// `height * width * 3` bytes, as they were made: megabytes, of which no copy is made to share them.
    pub rgb: Arc<Vec<u8>>,
}

impl Image {
    /// An image over `rgb`. Panics unless it holds exactly `height * width * 3` bytes (a bug of ours).
    pub fn new(width_px: u32, height_px: u32, rgb: Vec<u8>) -> Self {
        assert_eq!(
            rgb.len(),
            width_px as usize * height_px as usize * 3,
            "image {width_px}x{height_px}"
        );
        Self {
            width_px,
            height_px,
            rgb: Arc::new(rgb),
        }
    }
}
