//! From the bytes of an image file to pixels.

use std::io::{Cursor, ErrorKind};

use image::error::{ImageError, UnsupportedErrorKind};
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use thiserror::Error;

use super::png::decode_png;
use super::{Image, jpeg};
use crate::Mask;

/// Pixels of the largest frame that is decoded: 8192 × 8192, larger than the sensor of any area camera on a line. Its RGB
/// copy takes 192 MiB; without a limit a file of a few hundred bytes could ask for gigabytes.
pub const FRAME_PIXELS_MAX: u64 = 64 << 20;

/// Bytes a decoder may allocate for one file: 16-bit RGBA at [`FRAME_PIXELS_MAX`], and half as much again for its own
/// buffers.
const DECODE_BYTES_MAX: u64 = FRAME_PIXELS_MAX * 8 * 3 / 2;

/// The ranges that 16-bit files of 8, 10, 12, 14 and 16-bit cameras use.
const SENSOR_RANGES: [u16; 5] = [255, 1023, 4095, 16383, 65535];

/// Why no pixels could be made of a file's bytes. The texts end up in `Unreadable` verdicts, so they name no file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes do not begin like an image.
    #[error("not an image: {found}, but PNG, JPEG, BMP or TIFF was expected")]
    NotAnImage {
        /// What the bytes begin with.
        found: String,
    },
    /// The bytes end before the picture does.
    #[error("truncated {format}: the file ends after {bytes} bytes, before the picture does")]
    Truncated {
        /// Name of the file format.
        format: &'static str,
        /// Length of the file.
        bytes: usize,
    },
    /// The bytes contradict the file format or their own checksum.
    #[error("damaged {format}: {detail}")]
    Damaged {
        /// Name of the file format.
        format: &'static str,
        /// What the decoder found.
        detail: String,
    },
    /// The header announces more pixels than are decoded; nothing was allocated for them.
    #[error(
        "image too large: {width}x{height} is {} pixels, but at most {FRAME_PIXELS_MAX} are decoded; cut or bin it at the camera",
        u64::from(*width) * u64::from(*height)
    )]
    TooLarge {
        /// Columns announced.
        width: u32,
        /// Rows announced.
        height: u32,
    },
    /// An image, but of a kind that is not read.
    #[error("unsupported {format}: {detail}; save it as 8 or 16-bit grey or RGB")]
    Unsupported {
        /// Name of the file format.
        format: &'static str,
        /// What is not read.
        detail: String,
    },
}

/// Decodes PNG, JPEG, BMP or TIFF (its first page); grey becomes RGB with three equal channels.
///
/// - *16 bit* is scaled by its real range: `round(min(v, sixteen_bit_max) · 255 / sixteen_bit_max)`, so that a 12-bit
///   camera's 4095 becomes 255. A `sixteen_bit_max` of 0 is taken as 1.
/// - *Alpha* is dropped, not blended: cameras have none, and files that carry one (some of AITEX) have it opaque
///   throughout; blending would invent a background that was never in front of the lens.
/// - *Orientation*: the EXIF tag of a JPEG or PNG is ignored, the orientation tag of a TIFF is applied. That is what
///   Pillow's `Image.open` does, and with it the references (anomalib, PatchCore); a detector and its reference see the
///   same picture.
/// - CMYK is converted to RGB; palettes and bit depths below 8 are expanded; float samples are refused.
///
/// # Errors
/// See [`DecodeError`]. A picture that is only partly there is an error, never a half-grey image.
pub fn decode(bytes: &[u8], sixteen_bit_max: u16) -> Result<Image, DecodeError> {
    match decode_png(bytes) {
        Some(image) => Ok(image),
        None => decode_any(bytes, sixteen_bit_max),
    }
}

fn decode_any(bytes: &[u8], sixteen_bit_max: u16) -> Result<Image, DecodeError> {
    let (format, decoder) = open(bytes)?;
    if decoder.color_type() == ColorType::Rgb8 && !is_turned(format) {
        let (width, height) = decoder.dimensions();
        let mut rgb = vec![0; 3 * width as usize * height as usize];
        let read = decoder.read_image(&mut rgb);
        read.map_err(|error| decode_error(error, format, bytes))?;
        return Ok(Image::new(width, height, rgb));
    }
    let picture = read(bytes, format, decoder)?;
    let rgb = match picture.samples {
        Samples::Eight(rgb) if picture.channels == 3 => rgb,
        Samples::Eight(values) => interleave_rgb(&values, picture.channels, |value| value),
        Samples::Sixteen(values) => {
            interleave_rgb(&values, picture.channels, |value| scale_to_byte(value, sixteen_bit_max))
        }
    };
    Ok(Image::new(picture.width, picture.height, rgb))
}

/// Decodes a ground-truth mask: a pixel is true where any colour channel is above 0 (MVTec and AITEX write 0 and 255).
/// Alpha does not count.
///
/// # Errors
/// As [`decode`].
pub fn decode_mask(bytes: &[u8]) -> Result<Mask, DecodeError> {
    let (format, decoder) = open(bytes)?;
    let picture = read(bytes, format, decoder)?;
    let bits = match &picture.samples {
        Samples::Eight(values) => colours(values, picture.channels)
            .map(|px| px.iter().any(|&v| v > 0))
            .collect(),
        Samples::Sixteen(values) => colours(values, picture.channels)
            .map(|px| px.iter().any(|&v| v > 0))
            .collect(),
    };
    Ok(Mask::new(picture.height as usize, picture.width as usize, bits))
}

/// The highest value of the colour channels of a 16-bit image, or `None` for an 8-bit one (whose pixels are not decoded,
/// so that looking at a whole training set is cheap).
///
/// # Errors
/// As [`decode`].
pub fn sixteen_bit_range(bytes: &[u8]) -> Result<Option<u16>, DecodeError> {
    let (format, decoder) = open(bytes)?;
    if !matches!(
        decoder.color_type(),
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16
    ) {
        return Ok(None);
    }
    let picture = read(bytes, format, decoder)?;
    Ok(match &picture.samples {
        Samples::Eight(_) => None,
        Samples::Sixteen(values) => colours(values, picture.channels).flatten().copied().max(),
    })
}

/// Columns and rows of a JPEG that reaches its end, from its header; none of anything else.
pub fn jpeg_size(bytes: &[u8]) -> Option<[u32; 2]> {
    let (format, decoder) = open(bytes).ok()?;
    let (width, height) = decoder.dimensions();
    (format == ImageFormat::Jpeg).then_some([width, height])
}

/// The smallest range of a sensor (8, 10, 12, 14 or 16 bits) that holds `max_value`: what `sixteen_bit_max` should be for
/// frames whose highest value that is.
pub fn real_range(max_value: u16) -> u16 {
    SENSOR_RANGES
        .into_iter()
        .find(|&range| max_value <= range)
        .unwrap_or(u16::MAX)
}

/// A decoded picture: `height * width * channels` samples, 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha) channels.
struct Picture {
    width: u32,
    height: u32,
    channels: usize,
    samples: Samples,
}

enum Samples {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

/// Whether a file is turned by its tag: Pillow does so with TIFFs when it loads them, with JPEGs and PNGs only when asked to.
fn is_turned(format: ImageFormat) -> bool {
    format == ImageFormat::Tiff
}

fn read(bytes: &[u8], format: ImageFormat, mut decoder: impl ImageDecoder) -> Result<Picture, DecodeError> {
    let failed = |error| decode_error(error, format, bytes);
    let orientation = match is_turned(format) {
        true => Some(decoder.orientation().map_err(failed)?),
        false => None,
    };
    let mut pixels = DynamicImage::from_decoder(decoder).map_err(failed)?;
    if let Some(orientation) = orientation {
        pixels.apply_orientation(orientation);
    }
    let (width, height) = (pixels.width(), pixels.height());
    let channels = usize::from(pixels.color().channel_count());
    let samples = match pixels {
        DynamicImage::ImageLuma8(grey) => Samples::Eight(grey.into_raw()),
        DynamicImage::ImageLumaA8(grey) => Samples::Eight(grey.into_raw()),
        DynamicImage::ImageRgb8(rgb) => Samples::Eight(rgb.into_raw()),
        DynamicImage::ImageRgba8(rgb) => Samples::Eight(rgb.into_raw()),
        DynamicImage::ImageLuma16(grey) => Samples::Sixteen(grey.into_raw()),
        DynamicImage::ImageLumaA16(grey) => Samples::Sixteen(grey.into_raw()),
        DynamicImage::ImageRgb16(rgb) => Samples::Sixteen(rgb.into_raw()),
        DynamicImage::ImageRgba16(rgb) => Samples::Sixteen(rgb.into_raw()),
        other => return Err(unsupported_samples(format, other.color())),
    };
    Ok(Picture {
        width,
        height,
        channels,
        samples,
    })
}

/// Reads the header and checks everything that can be checked before pixels are allocated.
fn open(bytes: &[u8]) -> Result<(ImageFormat, impl ImageDecoder + '_), DecodeError> {
    let format = guess_format(bytes)?;
    // The decoder fills what is missing of a JPEG with grey, so its end is looked for first.
    if format == ImageFormat::Jpeg && !jpeg::has_end(bytes) {
        return Err(truncated(format, bytes));
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let decoder = reader
        .into_decoder()
        .map_err(|error| decode_error(error, format, bytes))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > FRAME_PIXELS_MAX {
        return Err(DecodeError::TooLarge { width, height });
    }
    if width == 0 || height == 0 {
        return Err(DecodeError::Damaged {
            format: name(format),
            detail: format!("the header says {width}x{height} pixels"),
        });
    }
    match decoder.color_type() {
        color @ (ColorType::Rgb32F | ColorType::Rgba32F) => Err(unsupported_samples(format, color)),
        _ => Ok((format, decoder)),
    }
}

fn guess_format(bytes: &[u8]) -> Result<ImageFormat, DecodeError> {
    let found = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp | ImageFormat::Tiff)) => {
            return Ok(format);
        }
        Ok(other) => format!("the bytes begin like {}", other.to_mime_type()),
        Err(_) if bytes.is_empty() => "the file is empty".to_string(),
        Err(_) => format!("the file begins with the bytes {:02x?}", &bytes[..bytes.len().min(4)]),
    };
    Err(DecodeError::NotAnImage { found })
}

fn decode_error(error: ImageError, format: ImageFormat, bytes: &[u8]) -> DecodeError {
    let detail = |error: &dyn std::error::Error| error.source().map_or(error.to_string(), |cause| cause.to_string());
    match error {
        ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => truncated(format, bytes),
        ImageError::Unsupported(error) => DecodeError::Unsupported {
            format: name(format),
            detail: match error.kind() {
                UnsupportedErrorKind::Color(ExtendedColorType::Unknown(bits)) => {
                    format!("pixels of {bits} bits, float or palette")
                }
                UnsupportedErrorKind::Color(color) => format!("pixels of type {color:?}"),
                UnsupportedErrorKind::GenericFeature(feature) => feature,
                _ => error.to_string(),
            },
        },
        ImageError::Limits(_) => DecodeError::Damaged {
            format: name(format),
            detail: format!("decoding it would take more than {DECODE_BYTES_MAX} bytes of memory"),
        },
        ImageError::Decoding(error) => DecodeError::Damaged {
            format: name(format),
            detail: detail(&error),
        },
        other => DecodeError::Damaged {
            format: name(format),
            detail: detail(&other),
        },
    }
}

fn truncated(format: ImageFormat, bytes: &[u8]) -> DecodeError {
    DecodeError::Truncated {
        format: name(format),
        bytes: bytes.len(),
    }
}

fn unsupported_samples(format: ImageFormat, color: ColorType) -> DecodeError {
    DecodeError::Unsupported {
        format: name(format),
        detail: format!("samples of type {color:?}"),
    }
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => "image",
    }
}

/// `round(min(value, max) · 255 / max)` in integers, halves up.
fn scale_to_byte(value: u16, max: u16) -> u8 {
    let max = u32::from(max.max(1));
    let value = u32::from(value).min(max);
    // At most 255, because value ≤ max.
    ((2 * 255 * value + max) / (2 * max)) as u8
}

/// The colour channels of every pixel, without alpha.
fn colours<T>(samples: &[T], channels: usize) -> impl Iterator<Item = &[T]> {
    let n_colours = if channels < 3 { 1 } else { 3 };
    samples.chunks_exact(channels).map(move |pixel| &pixel[..n_colours])
}

fn interleave_rgb<T: Copy>(samples: &[T], channels: usize, to_byte: impl Fn(T) -> u8) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(samples.len() / channels * 3);
    for pixel in colours(samples, channels) {
        match *pixel {
            [red, green, blue] => rgb.extend([to_byte(red), to_byte(green), to_byte(blue)]),
            _ => rgb.extend([to_byte(pixel[0]); 3]),
        }
    }
    rgb
}

#[cfg(test)]
mod tests;
