//! Resizing and cropping, as the reference implementations do.

use fast_image_resize::images::{Image as Buffer, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::Image;
use crate::{Mask, RectPx};

/// Resizes bilinearly with antialiasing: where it shrinks, the triangle filter is widened by the factor, so that every
/// source pixel counts. It is Pillow's `Image.resize(size, Resampling.BILINEAR)`, which torchvision's `Resize` calls on PIL
/// images and which the references (PatchCore, PaDiM, anomalib) use; channel values differ from Pillow's by at most 1,
/// because the filter weights are rounded to 16 instead of 22 bits. The arithmetic is in integers, so every CPU gives the same
/// bytes.
///
/// Panics if `width_px` or `height_px` is 0 (a bug of ours).
pub fn resize(image: &Image, width_px: u32, height_px: u32) -> Image {
    assert!(width_px > 0 && height_px > 0, "resize to {width_px}x{height_px}");
    if (image.width_px, image.height_px) == (width_px, height_px) {
        return image.clone();
    }
    let source = ImageRef::new(image.width_px, image.height_px, &image.rgb, PixelType::U8x3)
        .expect("an image holds height * width * 3 bytes");
    let mut resized = Buffer::new(width_px, height_px, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize(&source, &mut resized, &options)
        .expect("both images have the pixel type U8x3");
    Image::new(width_px, height_px, resized.into_vec())
}

/// The pixels inside `rect`. Panics unless it lies within the image (a bug of ours).
pub fn crop(image: &Image, rect: RectPx) -> Image {
    assert!(
        rect.x
            .checked_add(rect.width)
            .is_some_and(|right| right <= image.width_px)
            && rect
                .y
                .checked_add(rect.height)
                .is_some_and(|bottom| bottom <= image.height_px),
        "{rect:?} within an image of {}x{}",
        image.width_px,
        image.height_px
    );
    let stride = image.width_px as usize * 3;
    let (left, width) = (rect.x as usize * 3, rect.width as usize * 3);
    let mut rgb = Vec::with_capacity(width * rect.height as usize);
    for row in rect.y as usize..(rect.y + rect.height) as usize {
        rgb.extend_from_slice(&image.rgb[row * stride + left..][..width]);
    }
    Image::new(rect.width, rect.height, rgb)
}

/// Resizes to the nearest bit, bit for bit as Pillow's `Image.resize(size, Resampling.NEAREST)`.
///
/// Panics if the mask or the new size is empty (a bug of ours).
pub fn resize_mask_nearest(mask: &Mask, width: usize, height: usize) -> Mask {
    assert!(
        mask.width > 0 && mask.height > 0 && width > 0 && height > 0,
        "mask {}x{} to {height}x{width}",
        mask.height,
        mask.width
    );
    let columns = nearest_sources(mask.width, width);
    let mut bits = Vec::with_capacity(width * height);
    for y in nearest_sources(mask.height, height) {
        let row = &mask.bits[y * mask.width..][..mask.width];
        bits.extend(columns.iter().map(|&x| row[x]));
    }
    Mask::new(height, width, bits)
}

/// The source position of each target position: the one its centre falls into. The sum is accumulated, not multiplied out,
/// because Pillow does so (`ImagingScaleAffine`) and its rounding decides where a centre falls onto a border.
fn nearest_sources(source_len: usize, target_len: usize) -> Vec<usize> {
    let step = source_len as f64 / target_len as f64;
    let mut centre = step * 0.5;
    (0..target_len)
        .map(|_| {
            let source = (centre as usize).min(source_len - 1);
            centre += step;
            source
        })
        .collect()
}

#[cfg(test)]
mod tests;
