//! From bytes to the pixels a backbone sees: decoding, resizing, tiling, margins.

mod decode;
mod image;
mod jpeg;
mod layout;
mod margin;
mod png;
mod resize;
pub use decode::{DecodeError, FRAME_PIXELS_MAX, decode, decode_mask, jpeg_size, real_range, sixteen_bit_range};
pub use image::Image;
pub use layout::{FrameLayout, TILES_MAX, check_input};
pub use margin::product_rect;
pub use resize::{crop, resize, resize_mask_nearest};
