//! From bytes to the pixels a backbone sees: decoding, resizing, tiling, margins.

mod image;
mod layout;
pub use image::Image;
pub use layout::FrameLayout;
