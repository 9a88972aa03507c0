//! Parity with Pillow 13.0.0; the numbers are printed by `tests/parity/pillow_resize.py`.

use intakt_kernels::network::Crew;

use super::*;

/// Source size, target size, sum of all channel values, and every (len / 47)th of them.
type Case = ((u32, u32), (u32, u32), i64, &'static [u8]);

#[rustfmt::skip]
const BILINEAR: &[Case] = &[
    ((900, 900), (256, 256), 24917033, &[30, 119, 98, 70, 188, 108, 106, 68, 213, 53, 142, 122, 90, 210, 131, 127, 89, 45, 73, 164, 146, 111, 40, 155, 147, 111, 70, 93, 186, 170, 131, 63, 179, 167, 133, 93, 113, 208, 195, 152, 85, 201, 187, 156, 117, 132, 37, 219]),
    ((448, 448), (256, 256), 24911533, &[15, 112, 96, 72, 193, 106, 115, 66, 204, 57, 138, 124, 92, 218, 134, 125, 100, 45, 77, 167, 154, 107, 41, 161, 146, 118, 70, 87, 182, 168, 130, 55, 186, 164, 131, 89, 109, 205, 193, 156, 93, 198, 194, 153, 115, 136, 44, 215]),
    ((1024, 317), (224, 224), 19070789, &[23, 174, 185, 71, 52, 89, 97, 111, 81, 134, 177, 170, 75, 47, 71, 101, 108, 61, 142, 176, 156, 78, 38, 55, 113, 104, 149, 150, 169, 146, 180, 39, 37, 126, 100, 133, 152, 163, 125, 190, 37, 214, 130, 98, 119, 162, 157, 207]),
    ((37, 53), (19, 23), 164641, &[25, 76, 120, 80, 125, 75, 120, 80, 122, 73, 120, 75, 120, 73, 122, 74, 116, 69, 116, 71, 120, 166, 118, 161, 110, 154, 111, 160, 113, 159, 113, 156, 105, 157, 111, 157, 108, 153, 108, 158, 201, 151, 197, 153, 198, 148, 192, 155, 198]),
    ((31, 17), (64, 45), 1073338, &[0, 116, 102, 97, 103, 86, 107, 104, 112, 98, 117, 95, 112, 95, 101, 95, 90, 84, 79, 74, 69, 64, 171, 178, 173, 167, 163, 157, 152, 145, 140, 135, 130, 124, 129, 114, 125, 108, 119, 114, 148, 119, 140, 192, 190, 203, 184, 201]),
    ((640, 360), (256, 320), 31137838, &[10, 61, 154, 89, 106, 47, 128, 40, 147, 69, 68, 223, 131, 210, 109, 66, 134, 210, 122, 174, 89, 180, 115, 182, 109, 125, 90, 161, 71, 159, 118, 104, 63, 149, 28, 152, 120, 168, 33, 161, 197, 143, 197, 125, 221, 161, 172, 104]),
    ((1, 1), (8, 5), 5000, &[0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63, 0, 62, 63]),
    ((45, 33), (1, 1), 383, &[124, 133, 126]),
    ((1, 40), (7, 9), 14931, &[36, 45, 44, 36, 45, 44, 53, 53, 52, 53, 53, 58, 59, 59, 58, 59, 68, 68, 69, 68, 68, 75, 74, 73, 75, 74, 73, 85, 84, 83, 85, 84, 95, 90, 90, 95, 90, 111, 119, 112, 111, 119, 127, 126, 125, 127, 126, 125]),
    ((4096, 3), (32, 32), 368907, &[33, 100, 100, 36, 42, 106, 38, 50, 113, 45, 63, 125, 55, 78, 137, 63, 93, 149, 72, 108, 161, 82, 124, 173, 91, 139, 185, 99, 153, 196, 108, 167, 144, 118, 91, 86, 126, 105, 62, 135, 117, 50, 139, 126, 56, 142, 136, 62]),
];

/// Source length, target length, FNV-1a of the source index of every target position.
const NEAREST: &[(usize, usize, u64)] = &[
    (900, 256, 0x99120c5aca81a005),
    (448, 256, 0x361cfc7a38c21ba5),
    (10, 3, 0xd0995d18671e79f9),
    (30, 9, 0x4dabb1f42408abdf),
    (7, 20, 0xa59e8e14903f8531),
    (17, 17, 0x1ada35471726c09f),
    (1, 5, 0xe4bc4fd9252be94f),
    (5, 1, 0xaf63bf4c8601bb45),
    (4096, 448, 0x80ab637b3d2f5aa9),
    (333, 224, 0x380734ba0c91cae1),
];

/// The same bytes as `formula_image` of the script.
fn formula_image(width: u32, height: u32) -> Image {
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let noise = (x * 73 + y * 151 + channel * 199).wrapping_mul(2_654_435_761) >> 26;
                let ramp = (x * (channel + 1) * 192 / width / 2 + y * 96 / height) % 192;
                rgb.push((ramp + noise) as u8);
            }
        }
    }
    Image::new(width, height, rgb)
}

#[test]
fn bilinear_matches_pillow_to_one_level() {
    let (mut n_compared, mut n_equal) = (0, 0);
    for &((source_width, source_height), (width, height), sum, samples) in BILINEAR {
        let resized = resize(&formula_image(source_width, source_height), width, height);
        let step = (resized.rgb.len() / 47).max(1);
        let ours: Vec<u8> = resized.rgb.iter().step_by(step).copied().collect();
        assert_eq!(ours.len(), samples.len());
        for (&ours, &pillow) in ours.iter().zip(samples) {
            assert!(
                ours.abs_diff(pillow) <= 1,
                "{source_width}x{source_height} to {width}x{height}: {ours} {pillow}"
            );
            n_compared += 1;
            n_equal += usize::from(ours == pillow);
        }
        let our_sum: i64 = resized.rgb.iter().map(|&value| i64::from(value)).sum();
        let drift = (our_sum - sum) as f64 / resized.rgb.len() as f64;
        // The weights have 16 bits; from 128 pixels into one they are so small that the last bit shows.
        let drift_max = if source_width / width > 8 { 0.25 } else { 0.03 };
        assert!(
            drift.abs() < drift_max,
            "{source_width}x{source_height} to {width}x{height}: mean difference {drift}"
        );
    }
    assert!(n_equal * 20 >= n_compared * 17, "{n_equal} of {n_compared} equal");
}

/// What the library makes of the whole at once.
fn in_one_band(image: &Image, width: u32, height: u32) -> Vec<u8> {
    let source = ImageRef::new(image.width_px, image.height_px, &image.rgb, PixelType::U8x3).unwrap();
    let mut whole = Buffer::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut whole, &options).unwrap();
    whole.into_vec()
}

#[test]
fn bands_make_what_the_whole_does_whoever_helps() {
    let sizes = [(900, 900), (256, 256), (317, 1024), (64, 63), (200, 331), (5, 700)];
    let pairs = sizes.iter().flat_map(|from| sizes.map(|to| (*from, to)));
    for ((source_width, source_height), (width, height)) in pairs {
        let image = formula_image(source_width, source_height);
        let whole = in_one_band(&image, width, height);
        for threads in [1, 2, 3] {
            let crew = Crew::new(threads);
            let _at_work = crew.begin();
            let resized = resize(&image, width, height);
            assert!(
                *resized.rgb == whole,
                "{source_width}x{source_height} to {width}x{height} by {threads}"
            );
        }
    }
}

#[test]
fn where_bands_have_weights_of_more_bits_single_values_differ_by_a_level() {
    let image = formula_image(64, 2_160);
    let whole = in_one_band(&image, 64, 256);
    let resized = resize(&image, 64, 256);
    let differences: Vec<u8> = resized.rgb.iter().zip(&whole).map(|(a, b)| a.abs_diff(*b)).collect();
    assert_eq!(differences.iter().max(), Some(&1), "the bands have other weights");
    assert!(differences.iter().filter(|difference| **difference > 0).count() < whole.len() / 500);
    let crew = Crew::new(2);
    let _at_work = crew.begin();
    assert_eq!(resize(&image, 64, 256), resized, "whoever helps");
}

#[test]
fn nearest_matches_pillow_exactly() {
    for &(source, target, hash) in NEAREST {
        let ours = nearest_sources(source, target)
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &index| {
                (hash ^ index as u64).wrapping_mul(0x0100_0000_01b3)
            });
        assert_eq!(ours, hash, "{source} to {target}");
    }
}

#[test]
fn nearest_keeps_rows_and_columns_apart() {
    let bits = (0..12 * 8).map(|at| (at % 12) / 3 == 1 && at / 12 < 4).collect();
    let halved = resize_mask_nearest(&Mask::new(8, 12, bits), 4, 2);
    assert_eq!(halved.bits, [false, true, false, false, false, false, false, false]);
}

#[test]
fn same_size_is_the_same_picture() {
    let image = formula_image(17, 9);
    assert_eq!(resize(&image, 17, 9), image);
}

#[test]
fn crop_takes_the_pixels_of_the_rectangle() {
    let image = formula_image(20, 10);
    let rect = RectPx {
        x: 3,
        y: 2,
        width: 5,
        height: 4,
    };
    let cropped = crop(&image, rect);
    for y in 0..4 {
        for x in 0..5 {
            let at = (y * 5 + x) * 3;
            let from = ((y + 2) * 20 + x + 3) * 3;
            assert_eq!(cropped.rgb[at..at + 3], image.rgb[from..from + 3]);
        }
    }
}

#[test]
#[should_panic(expected = "within an image of 20x10")]
fn crop_outside_is_a_bug() {
    let rect = RectPx {
        x: u32::MAX,
        y: 0,
        width: 5,
        height: 4,
    };
    let _ = crop(&formula_image(20, 10), rect);
}
