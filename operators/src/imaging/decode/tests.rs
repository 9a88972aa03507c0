//! The images in `images/` are written by `tests/parity/pillow_resize.py --images`: one 24×16 picture in every dress.

use image::{ExtendedColorType, ImageEncoder};

use super::*;

macro_rules! images {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("images/", $name)))),+]
    };
}

/// Name and bytes of a file.
type File = (&'static str, &'static [u8]);

/// Files that hold the picture without loss.
const LOSSLESS: &[File] = images![
    "rgb.png",
    "rgb.bmp",
    "raw.tif",
    "tiff_lzw.tif",
    "tiff_adobe_deflate.tif",
    "packbits.tif",
];

/// All other files that can be read.
const OTHERS: &[File] = images![
    "baseline.jpg",
    "progressive.jpg",
    "turned.jpg",
    "cmyk.jpg",
    "palette.png",
    "one_bit.png",
    "grey_alpha.png",
    "twelve_bit.png",
    "palette.bmp",
    "turned.tif",
    "one_bit.tif",
    "twelve_bit.tif",
];

fn file(name: &str) -> &'static [u8] {
    let mut files = LOSSLESS.iter().chain(OTHERS);
    files.find(|(file, _)| *file == name).expect("a file of the list").1
}

/// The picture itself: `formula_image(24, 16)` of the script.
fn picture() -> Vec<u8> {
    let mut rgb = Vec::new();
    for (y, x, channel) in (0..16_u32).flat_map(|y| (0..24).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
        let noise = (x * 73 + y * 151 + channel * 199).wrapping_mul(2_654_435_761) >> 26;
        rgb.push(((x * (channel + 1) * 192 / 24 / 2 + y * 96 / 16) % 192 + noise) as u8);
    }
    rgb
}

fn png(width: u32, height: u32, color: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(samples, width, height, color)
        .unwrap();
    bytes
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b))).sum::<f64>() / a.len() as f64
}

#[test]
fn lossless_files_hold_the_same_picture() {
    for (name, bytes) in LOSSLESS {
        let image = decode(bytes, 65535).unwrap();
        assert_eq!((image.width_px, image.height_px), (24, 16), "{name}");
        assert_eq!(*image.rgb, *picture(), "{name}");
    }
}

#[test]
fn jpegs_match_pillow() {
    // Every 23rd sample as Pillow decodes them; the inverse DCT may round differently.
    const PILLOW: [u8; 51] = [
        37, 129, 171, 120, 101, 173, 149, 84, 125, 105, 97, 135, 130, 100, 144, 134, 109, 163, 147, 54, 160, 159, 71,
        117, 111, 182, 128, 113, 135, 150, 120, 159, 149, 160, 140, 96, 170, 144, 107, 119, 149, 110, 145, 109, 136,
        135, 110, 148, 172, 104, 96,
    ];
    for name in ["baseline.jpg", "progressive.jpg"] {
        let image = decode(file(name), 65535).unwrap();
        for (ours, pillow) in image.rgb.iter().step_by(23).zip(PILLOW) {
            assert!(ours.abs_diff(pillow) <= 3, "{name}: {ours} {pillow}");
        }
    }
}

#[test]
fn cmyk_becomes_rgb() {
    let image = decode(file("cmyk.jpg"), 65535).unwrap();
    // Pillow's means of the channels.
    for (channel, pillow) in [122.5, 126.66, 122.92].into_iter().enumerate() {
        let values: Vec<f64> = image.rgb[channel..].iter().step_by(3).map(|&v| f64::from(v)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean - pillow).abs() < 2.0, "channel {channel}: {mean} {pillow}");
    }
}

#[test]
fn orientation_is_ignored_in_jpeg_and_applied_in_tiff() {
    let jpeg = decode(file("turned.jpg"), 65535).unwrap();
    assert_eq!((jpeg.width_px, jpeg.height_px), (24, 16));
    let tiff = decode(file("turned.tif"), 65535).unwrap();
    assert_eq!((tiff.width_px, tiff.height_px), (16, 24));
    // Turned clockwise: the first row shows the first column from below.
    let upright = picture();
    assert_eq!(tiff.rgb[..3], upright[15 * 24 * 3..][..3]);
}

#[test]
fn grey_is_spread_and_alpha_is_dropped() {
    for (color, n_channels, n_colours) in [
        (ExtendedColorType::L8, 1, 1),
        (ExtendedColorType::La8, 2, 1),
        (ExtendedColorType::Rgb8, 3, 3),
        (ExtendedColorType::Rgba8, 4, 3),
    ] {
        let samples: Vec<u8> = (0..5 * 4 * n_channels).map(|at| (at * 37 % 256) as u8).collect();
        let image = decode(&png(5, 4, color, &samples), 65535).unwrap();
        for (pixel, from) in image.rgb.chunks(3).zip(samples.chunks(n_channels)) {
            for channel in 0..3 {
                assert_eq!(pixel[channel], from[channel % n_colours], "{color:?}");
            }
        }
    }
}

#[test]
fn sixteen_bit_is_scaled_by_its_range() {
    let values: Vec<u16> = vec![0, 8, 9, 2048, 4095, 5000];
    let samples: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
    let bytes = png(6, 1, ExtendedColorType::L16, &samples);
    for max in [1, 255, 4095, 65535] {
        let image = decode(&bytes, max).unwrap();
        for (pixel, &value) in image.rgb.chunks(3).zip(&values) {
            let expected = (f64::from(value.min(max)) * 255.0 / f64::from(max)).round() as u8;
            assert_eq!(pixel, [expected; 3], "{value} of {max}");
        }
    }
    assert_eq!(decode(&bytes, 0).unwrap(), decode(&bytes, 1).unwrap());
}

#[test]
fn twelve_bit_camera_uses_the_whole_range() {
    let red: Vec<u8> = picture().chunks(3).map(|pixel| pixel[0]).collect();
    for name in ["twelve_bit.png", "twelve_bit.tif"] {
        let max = sixteen_bit_range(file(name)).unwrap().unwrap();
        assert_eq!(max, u16::from(*red.iter().max().unwrap()) * 16, "{name}");
        let image = decode(file(name), real_range(max)).unwrap();
        // The file holds 16 times the value, and 4095 becomes 255.
        let expected: Vec<u8> = red
            .iter()
            .map(|&v| (f64::from(v) * 16.0 * 255.0 / 4095.0).round() as u8)
            .collect();
        let ours: Vec<u8> = image.rgb.iter().step_by(3).copied().collect();
        assert_eq!(ours, expected, "{name}");
    }
}

#[test]
fn range_ignores_alpha_and_eight_bit_files() {
    let samples: Vec<u8> = [300_u16, 65535, 700, 65535]
        .iter()
        .flat_map(|v| v.to_ne_bytes())
        .collect();
    assert_eq!(
        sixteen_bit_range(&png(2, 1, ExtendedColorType::La16, &samples)),
        Ok(Some(700))
    );
    assert_eq!(sixteen_bit_range(file("rgb.png")), Ok(None));
    for (value, range) in [
        (0, 255),
        (255, 255),
        (256, 1023),
        (4095, 4095),
        (4096, 16383),
        (16384, 65535),
        (65535, 65535),
    ] {
        assert_eq!(real_range(value), range);
    }
}

#[test]
fn one_bit_and_palette_files_are_expanded() {
    let grey = |pixel: &[u8]| 0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2]);
    for name in ["one_bit.png", "one_bit.tif"] {
        let image = decode(file(name), 65535).unwrap();
        for (pixel, from) in image.rgb.chunks(3).zip(picture().chunks(3)) {
            // Pillow rounds luma; only pixels that are clear of the cut at 100 are certain.
            if (grey(from) - 100.5).abs() > 1.0 {
                assert_eq!(pixel, [if grey(from) > 100.5 { 255 } else { 0 }; 3], "{name}");
            }
        }
        let mask = decode_mask(file(name)).unwrap();
        let bits: Vec<bool> = image.rgb.chunks(3).map(|pixel| pixel[0] > 0).collect();
        assert_eq!(mask.bits, bits, "{name}");
    }
    for name in ["palette.png", "palette.bmp"] {
        let image = decode(file(name), 65535).unwrap();
        assert!(mean_difference(&image.rgb, &picture()) < 20.0, "{name}");
    }
}

#[test]
fn mask_counts_any_colour_but_not_alpha() {
    let samples = [0, 0, 0, 255, 0, 0, 1, 255, 0, 255, 0, 0, 0, 0, 0, 0];
    let mask = decode_mask(&png(4, 1, ExtendedColorType::Rgba8, &samples)).unwrap();
    assert_eq!(mask.bits, [false, true, true, false]);
    let samples: Vec<u8> = [0_u16, 1, 256].iter().flat_map(|value| value.to_ne_bytes()).collect();
    let mask = decode_mask(&png(3, 1, ExtendedColorType::L16, &samples)).unwrap();
    assert_eq!(mask.bits, [false, true, true]);
}

/// What is cut is an error, or what is missing was no part of the picture (checksums, ends of chunks).
#[test]
fn no_prefix_is_a_different_picture() {
    for (name, bytes) in LOSSLESS.iter().chain(OTHERS) {
        let full = decode(bytes, 4095).unwrap();
        let mut n_truncated = 0;
        for len in 0..bytes.len() {
            match decode(&bytes[..len], 4095) {
                Ok(image) => assert_eq!(image, full, "the first {len} bytes of {name}"),
                Err(error) => n_truncated += usize::from(matches!(error, DecodeError::Truncated { .. })),
            }
        }
        println!("{name}: {n_truncated} of {} prefixes are called truncated", bytes.len());
        assert!(
            n_truncated * 2 > bytes.len(),
            "{name}: {n_truncated} of {}",
            bytes.len()
        );
    }
}

#[test]
fn run_length_bitmap_is_read_and_its_prefixes_refused() {
    // Header, palette of two greys, then rows of 12 equal pixels: (12, index), end of line; end of bitmap.
    let mut bytes = b"BM".to_vec();
    bytes.extend([0_u32, 0, 62].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([40_i32, 12, 8].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([1_u16, 8].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([1_u32, 0, 0, 0, 2, 0].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([50, 50, 50, 0, 200, 200, 200, 0]);
    (0..8).for_each(|row| bytes.extend([12, row % 2, 0, 0]));
    bytes.extend([0, 1]);
    let full = decode(&bytes, 255).unwrap();
    assert_eq!((full.width_px, full.height_px), (12, 8));
    // Rows are stored from the bottom.
    assert_eq!((full.rgb[0], full.rgb[12 * 3]), (200, 50));
    for len in 0..bytes.len() {
        if let Ok(image) = decode(&bytes[..len], 255) {
            assert_eq!(image, full, "the first {len} bytes");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let mut state = 1_u64;
    let mut random = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let rounds = std::env::var("INTAKT_FLIPS").map_or(40, |rounds| rounds.parse().unwrap());
    for (name, bytes) in LOSSLESS.iter().chain(OTHERS) {
        let mut n_read = 0;
        for _ in 0..rounds {
            let mut damaged = bytes.to_vec();
            for _ in 0..1 + random(4) {
                // Headers are where the lengths are.
                let reach = if random(2) == 0 {
                    bytes.len()
                } else {
                    bytes.len().min(80)
                };
                damaged[random(reach)] = random(256) as u8;
            }
            if let Ok(image) = decode(&damaged, 4095) {
                assert!(u64::from(image.width_px) * u64::from(image.height_px) <= FRAME_PIXELS_MAX);
                n_read += 1;
            }
            let _ = decode_mask(&damaged);
            let _ = sixteen_bit_range(&damaged);
        }
        println!("{name}: {n_read} of {rounds} still decode");
    }
}

#[test]
fn jpeg_with_thumbnail_padding_and_restarts_has_its_end() {
    // SOI, an APP1 that holds a whole thumbnail, SOS with data: stuffing, restart, fill bytes; EOI, padding.
    let head = [
        0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9, 0xff, 0xda, 0, 2, 1, 2, 0xff, 0, 3, 0xff, 0xd0, 4, 0xff,
        0xff,
    ];
    assert!(!jpeg::has_end(&head));
    assert!(jpeg::has_end(&[&head[..], &[0xd9]].concat()));
    assert!(jpeg::has_end(&[&head[..], &[0xd9, 0, 0, 0]].concat()));
    let padded = [file("baseline.jpg"), &[0; 100]].concat();
    assert_eq!(decode(&padded, 255), decode(file("baseline.jpg"), 255));
}

/// A PNG whose header announces `width` × `height`.
fn png_announcing(width: u32, height: u32) -> Vec<u8> {
    announcing(png(1, 1, ExtendedColorType::L8, &[7]), width, height)
}

/// Another size in the header of a PNG, with its checksum.
fn announcing(mut bytes: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = u32::MAX;
    for &byte in &bytes[12..29] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

#[test]
fn huge_pictures_are_refused_by_their_header() {
    let mut bmp = file("rgb.bmp").to_vec();
    bmp[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
    let mut jpeg = file("baseline.jpg").to_vec();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    for (name, bytes) in [("png", png_announcing(60_000, 60_000)), ("bmp", bmp), ("jpeg", jpeg)] {
        let refusal = decode(&bytes, 255).unwrap_err();
        assert_eq!(
            refusal,
            DecodeError::TooLarge {
                width: 60_000,
                height: 60_000
            },
            "{name}"
        );
        assert!(
            refusal
                .to_string()
                .contains("60000x60000 is 3600000000 pixels, but at most 67108864"),
            "{refusal}"
        );
    }
    assert!(matches!(
        decode(&png_announcing(8192, 8193), 255),
        Err(DecodeError::TooLarge { .. })
    ));
    // Allowed by its header, but the data for it are missing.
    assert!(!matches!(
        decode(&png_announcing(2000, 2000), 255),
        Ok(_) | Err(DecodeError::TooLarge { .. })
    ));
    assert!(matches!(
        decode(&png_announcing(0, 5), 255),
        Err(DecodeError::Damaged { .. })
    ));
}

#[test]
fn huge_tiff_is_refused_by_its_header() {
    let mut bytes = file("raw.tif").to_vec();
    let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    // Width, length and rows per strip (so that the one strip still makes sense), as LONG.
    for entry in bytes[directory + 2..].chunks_exact_mut(12).take(10) {
        if [256, 257, 278].contains(&u16::from_le_bytes([entry[0], entry[1]])) {
            entry[2..].copy_from_slice(&[4, 0, 1, 0, 0, 0, 0x60, 0xea, 0, 0]);
        }
    }
    assert_eq!(
        decode(&bytes, 255),
        Err(DecodeError::TooLarge {
            width: 60_000,
            height: 60_000
        })
    );
}

#[test]
fn refusals_say_what_was_found() {
    for (bytes, expected) in [
        (
            &b""[..],
            "not an image: the file is empty, but PNG, JPEG, BMP or TIFF was expected",
        ),
        (
            b"<html>",
            "not an image: the file begins with the bytes [3c, 68, 74, 6d], but PNG, JPEG, BMP or TIFF was expected",
        ),
        (
            b"GIF89a..",
            "not an image: the bytes begin like image/gif, but PNG, JPEG, BMP or TIFF was expected",
        ),
        (
            &file("rgb.png")[..200],
            "truncated PNG: the file ends after 200 bytes, before the picture does",
        ),
        (
            &file("baseline.jpg")[..800],
            "truncated JPEG: the file ends after 800 bytes, before the picture does",
        ),
    ] {
        assert_eq!(decode(bytes, 255).unwrap_err().to_string(), expected);
    }
    let float = decode(include_bytes!("images/float.tif"), 255).unwrap_err();
    assert!(matches!(float, DecodeError::Unsupported { .. }), "{float}");
    assert!(
        float.to_string().contains("pixels of 32 bits, float or palette"),
        "{float}"
    );
    let mut damaged = file("rgb.png").to_vec();
    damaged[100] ^= 0x10;
    let damaged = decode(&damaged, 255).unwrap_err();
    assert!(matches!(damaged, DecodeError::Damaged { .. }), "{damaged}");
}

/// A PNG is read in two ways, of which one gives up where anything is wrong.
#[test]
fn a_damaged_or_cut_png_is_what_it_is_to_the_decoder_of_all_files() {
    let whole = file("rgb.png");
    let is_the_same = |bytes: &[u8]| assert_eq!(decode(bytes, 65535), decode_any(bytes, 65535));
    for end in 0..whole.len() {
        is_the_same(&whole[..end]);
    }
    let mut n_readable = 0;
    for at in 0..whole.len() {
        for change in [1, 0x40, 0xff] {
            let mut damaged = whole.to_vec();
            damaged[at] ^= change;
            is_the_same(&damaged);
            n_readable += usize::from(decode(&damaged, 65535).is_ok());
        }
    }
    assert!(
        (1..whole.len()).contains(&n_readable),
        "{n_readable} of them are images"
    );
    // More rows than data, and more data than rows.
    for (rows, is_image) in [(15, true), (16, true), (17, false)] {
        let bytes = announcing(png(24, 16, ExtendedColorType::Rgb8, &picture()), 24, rows);
        is_the_same(&bytes);
        assert_eq!(decode(&bytes, 65535).is_ok(), is_image, "{rows} rows");
    }
}
