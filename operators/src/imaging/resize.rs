//! Resizing and cropping, as the reference implementations do.

use fast_image_resize::images::{Image as Buffer, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use intakt_kernels::network::share;

use super::Image;
use crate::{Mask, RectPx};

/// Rows of a band, which is what a thread resizes at once.
const BAND_ROWS: usize = 64;

/// Resizes bilinearly with antialiasing: where it shrinks, the triangle filter is widened by the factor, so that every
/// source pixel counts. It is Pillow's `Image.resize(size, Resampling.BILINEAR)`, which torchvision's `Resize` calls on PIL
/// images and which the references (PatchCore, PaDiM, anomalib) use; channel values differ from Pillow's by at most 1,
/// because the filter weights are rounded to 16 instead of 22 bits. The arithmetic is in integers, so every CPU gives the same
/// bytes. On a thread of a pool idle ones help.
///
/// Panics if `width_px` or `height_px` is 0 (a bug of ours).
pub fn resize(image: &Image, width_px: u32, height_px: u32) -> Image {
    assert!(width_px > 0 && height_px > 0, "resize to {width_px}x{height_px}");
    if (image.width_px, image.height_px) == (width_px, height_px) {
        return image.clone();
    }
    let source = ImageRef::new(image.width_px, image.height_px, &image.rgb, PixelType::U8x3)
        .expect("an image holds height * width * 3 bytes");
    let row_bytes = 3 * width_px as usize;
    let mut rgb = vec![0; row_bytes * height_px as usize];
    // Which bands there are does not depend on the threads: where one begins is rounded, and its weights have as many bits as the largest of
    // them leaves room for. Where an image is enlarged the first shows often, and there is little to do.
    let band_rows = if height_px < image.height_px {
        BAND_ROWS
    } else {
        height_px as usize
    };
    let mut bands = rgb.chunks_mut(band_rows * row_bytes).enumerate();
    share(
        |threads| {
            let of_part = bands.len().div_ceil(threads);
            let parts = (0..threads).map(|_| bands.by_ref().take(of_part).collect::<Vec<_>>());
            parts.filter(|bands| !bands.is_empty()).collect()
        },
        |bands| {
            let mut resizer = Resizer::new();
            for (band, rgb) in bands {
                resize_band(
                    &mut resizer,
                    &source,
                    height_px,
                    (band_rows * band) as u32,
                    width_px,
                    rgb,
                );
            }
        },
    );
    Image::new(width_px, height_px, rgb)
}

/// The rows of a resized image from `first` on, as many as `rgb` has room for.
fn resize_band(
    resizer: &mut Resizer,
    source: &ImageRef<'_>,
    height_px: u32,
    first: u32,
    width_px: u32,
    rgb: &mut [u8],
) {
    let rows = rgb.len() as u32 / (3 * width_px);
    // Where the upper edge of a row lies in the source.
    let edge = |row: u32| f64::from(source.height()) * f64::from(row) / f64::from(height_px);
    let (top, bottom) = (edge(first), edge(first + rows));
    let mut band = Buffer::from_slice_u8(width_px, rows, rgb, PixelType::U8x3).expect("a band has whole rows");
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        // Rows beyond it count as well, as far as the filter reaches.
        .crop(0.0, top, f64::from(source.width()), bottom - top);
    resizer
        .resize(source, &mut band, &options)
        .expect("both images have the pixel type U8x3, and the band lies within the source");
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
