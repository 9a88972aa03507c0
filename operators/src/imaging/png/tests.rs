use std::io::Write;

use intakt_kernels::network::Crew;
use png::{Encoder, Filter};

use super::*;

const FILTERS: [Filter; 6] = [
    Filter::NoFilter,
    Filter::Sub,
    Filter::Up,
    Filter::Avg,
    Filter::Paeth,
    Filter::Adaptive,
];

/// Samples that are neither flat nor noise.
fn samples(width: u32, height: u32, channels: u32) -> Vec<u8> {
    let of_row =
        |y| (0..width * channels).map(move |x| (x % 997 * (x % 997) / 50 + y * 3 + (x * 73 + y * 151) % 17) as u8);
    (0..height).flat_map(of_row).collect()
}

/// The file of [`samples`], in chunks of so many bytes of data at most.
fn encoded(width: u32, height: u32, color: ColorType, filter: Filter, chunk_bytes: usize) -> Vec<u8> {
    let samples = samples(width, height, color.samples() as u32);
    file_of(&samples, [width, height], color, filter, chunk_bytes)
}

fn file_of(samples: &[u8], [width, height]: [u32; 2], color: ColorType, filter: Filter, chunk_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_filter(filter);
    let mut writer = encoder.write_header().unwrap();
    let mut stream = writer.stream_writer_with_size(chunk_bytes).unwrap();
    stream.write_all(samples).unwrap();
    stream.finish().unwrap();
    writer.finish().unwrap();
    bytes
}

#[test]
fn all_filters_are_taken_back_on_one_thread_and_on_two() {
    let crew = Crew::new(2);
    for is_helped in [false, true] {
        let _at_work = is_helped.then(|| crew.begin());
        for filter in FILTERS {
            for (width, height) in [(1, 1), (1, 9), (7, 1), (24, 16), (500, 700), (90_000, 3)] {
                for (color, chunk_bytes) in [
                    (ColorType::Rgb, 1 << 20),
                    (ColorType::Rgb, 700),
                    (ColorType::Grayscale, 9_000),
                ] {
                    let image = decode_png(&encoded(width, height, color, filter, chunk_bytes)).expect("a plain PNG");
                    assert_eq!((image.width_px, image.height_px), (width, height));
                    let expected: Vec<u8> = match color {
                        ColorType::Rgb => samples(width, height, 3),
                        _ => samples(width, height, 1)
                            .into_iter()
                            .flat_map(|grey| [grey; 3])
                            .collect(),
                    };
                    assert!(*image.rgb == expected, "{filter:?}, {color:?} of {width}x{height}");
                }
            }
        }
    }
}

#[test]
fn other_kinds_are_left_to_others() {
    for color in [ColorType::Rgba, ColorType::GrayscaleAlpha] {
        assert_eq!(decode_png(&encoded(5, 4, color, Filter::Sub, 1_000)), None);
    }
    for bytes in [
        &include_bytes!("../decode/images/palette.png")[..],
        include_bytes!("../decode/images/one_bit.png"),
        include_bytes!("../decode/images/twelve_bit.png"),
        include_bytes!("../decode/images/baseline.jpg"),
        b"",
    ] {
        assert_eq!(decode_png(bytes), None);
    }
}

#[test]
fn an_image_of_one_colour_is_whole() {
    // So little data that its end is read with the last row.
    for (width, height) in [(1, 1), (64, 64), (3_000, 500)] {
        let samples = vec![200; 3 * width as usize * height as usize];
        for filter in [Filter::NoFilter, Filter::Up] {
            let bytes = file_of(&samples, [width, height], ColorType::Rgb, filter, 1 << 20);
            let image = decode_png(&bytes).expect("a plain PNG");
            assert!(*image.rgb == *samples, "{width}x{height}");
        }
    }
}

#[test]
fn rows_that_are_too_long_are_left_to_others() {
    let bytes = encoded(400_000, 1, ColorType::Rgb, Filter::Sub, 1 << 20);
    assert_eq!(decode_png(&bytes), None);
}

/// On two threads: whatever is wrong on one side ends both.
#[test]
fn what_is_read_of_a_damaged_file_is_what_others_read_of_it() {
    let crew = Crew::new(2);
    let _at_work = crew.begin();
    let whole = encoded(500, 700, ColorType::Rgb, Filter::Adaptive, 9_000);
    let mut n_read = 0;
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        for damaged in [
            whole[..at].to_vec(),
            [&whole[..at], &[whole[at] ^ 0x10], &whole[at + 1..]].concat(),
        ] {
            if let Some(image) = decode_png(&damaged) {
                let others = image::load_from_memory_with_format(&damaged, image::ImageFormat::Png).unwrap();
                assert!(*image.rgb == *others.into_rgb8().into_raw());
                n_read += 1;
            }
        }
    }
    assert!(n_read < 60, "{n_read} of 120 are read");
    assert!(decode_png(&whole).is_some());
}
