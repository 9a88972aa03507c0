//! An image in memory.

use std::iter::repeat_n;
use std::sync::Arc;

/// An 8-bit RGB image, rows interleaved: `(height, width, 3)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Columns.
    pub width_px: u32,
    /// Rows.
    pub height_px: u32,
    /// `height * width * 3` bytes.
    pub rgb: Arc<[u8]>,
}

impl Image {
    /// An image over `rgb`. Panics unless it holds exactly `height * width * 3` bytes (a bug of ours).
    pub fn new(width_px: u32, height_px: u32, rgb: impl Into<Arc<[u8]>>) -> Self {
        let rgb = rgb.into();
        assert_eq!(
            rgb.len(),
            width_px as usize * height_px as usize * 3,
            "image {width_px}x{height_px}"
        );
        Self {
            width_px,
            height_px,
            rgb,
        }
    }

    /// An image whose pixels, all zero, `fill` writes where they stay, so that no copy of them is made.
    ///
    /// # Errors
    /// Those of `fill`.
    pub(super) fn filled<E>(
        width_px: u32,
        height_px: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut rgb: Arc<[u8]> = repeat_n(0, 3 * width_px as usize * height_px as usize).collect();
        fill(Arc::get_mut(&mut rgb).expect("nobody else has it yet"))?;
        Ok(Self::new(width_px, height_px, rgb))
    }
}
