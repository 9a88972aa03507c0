//! Pictures as PNG bytes.

use image::ExtendedColorType;
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use intakt_operators::imaging::Image;

/// The PNG file of `image`, 8-bit RGB, compressed fast rather than small; the same image gives the same bytes.
///
/// # Errors
/// An image without pixels is refused: PNG has no such file.
pub fn encode_png(image: &Image) -> Result<Vec<u8>, String> {
    let (width, height) = (image.width_px, image.height_px);
    if width == 0 || height == 0 {
        return Err(format!("cannot encode a PNG of {width}x{height} pixels"));
    }
    let mut bytes = Vec::with_capacity(image.rgb.len());
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(&image.rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| format!("cannot encode a PNG of {width}x{height} pixels: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_holds_the_same_pixels() {
        let rgb: Vec<u8> = (0..5 * 3 * 3).map(|i| (i * 5) as u8).collect();
        let image = Image::new(5, 3, rgb);
        let bytes = encode_png(&image).unwrap();
        let back = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(back.dimensions(), (5, 3));
        assert_eq!(back.as_raw()[..], image.rgb[..]);
        assert_eq!(bytes, encode_png(&image).unwrap());
    }

    #[test]
    fn png_without_pixels_is_refused() {
        let error = encode_png(&Image::new(0, 4, Vec::new())).unwrap_err();
        assert!(error.contains("0x4"), "{error}");
    }
}
