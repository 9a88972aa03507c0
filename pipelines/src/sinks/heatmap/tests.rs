use super::*;
use crate::png::encode_png;
use intakt_operators::SuppressionReason;

fn frame(width: u32, height: u32) -> Image {
    let rgb: Vec<u8> = (0..width as usize * height as usize * 3)
        .map(|i| (i * 7 % 90 + 60) as u8)
        .collect();
    Image::new(width, height, rgb)
}

fn layout(origin: [f64; 2], scale: [f64; 2]) -> FrameLayout {
    FrameLayout {
        frame_width_px: 0,
        frame_height_px: 0,
        map_width: 0,
        map_height: 0,
        frame_px_per_map_px: scale,
        map_origin_in_frame_px: origin,
        tiles: Vec::new(),
    }
}

fn region(x: u32, y: u32, width: u32, height: u32) -> Region {
    Region {
        bbox_px: RectPx { x, y, width, height },
        area_px: u64::from(width) * u64::from(height),
        peak: 0.91,
        mean: 0.7,
        centroid_px: [0.0; 2],
    }
}

/// A map of zeros with a square of `score`.
fn square(side: usize, from: usize, to: usize, score: f32) -> AnomalyMap {
    let inside = |i: usize| (from..to).contains(&(i % side)) && (from..to).contains(&(i / side));
    AnomalyMap::new(
        side,
        side,
        (0..side * side).map(|i| if inside(i) { score } else { 0.0 }).collect(),
    )
}

fn pixel(image: &Image, x: u32, y: u32) -> [u8; 3] {
    let start = (y * image.width_px + x) as usize * 3;
    image.rgb[start..start + 3].try_into().unwrap()
}

fn changed(a: &Image, b: &Image) -> Vec<(u32, u32)> {
    (0..a.height_px)
        .flat_map(|y| (0..a.width_px).map(move |x| (x, y)))
        .filter(|&(x, y)| pixel(a, x, y) != pixel(b, x, y))
        .collect()
}

#[test]
fn normal_map_leaves_the_frame_untouched() {
    for (width, height) in [(1, 1), (7, 3), (256, 256), (4096, 256)] {
        let frame = frame(width, height);
        let scale = [f64::from(width) / 16.0, f64::from(height) / 16.0];
        for score in [0.0, 0.35, -4.0, f32::NAN] {
            let map = AnomalyMap::new(16, 16, vec![score; 256]);
            assert_eq!(
                heatmap(&frame, &map, &layout([0.0; 2], scale), &[], &[]),
                frame,
                "{width}x{height} {score}"
            );
        }
    }
}

#[test]
fn peak_colours_its_own_place_only() {
    let frame = frame(256, 256);
    let picture = heatmap(&frame, &square(64, 16, 24, 1.0), &layout([0.0; 2], [4.0; 2]), &[], &[]);
    let changed = changed(&frame, &picture);
    assert!(changed.contains(&(80, 80)));
    let [red, green, blue] = pixel(&picture, 80, 80);
    assert!(red > 130 && red > green && red > blue);
    // Interpolation reaches one map pixel, 4 frame pixels, beyond 64..96.
    assert!(
        changed
            .iter()
            .all(|&(x, y)| (60..100).contains(&x) && (60..100).contains(&y))
    );
}

#[test]
fn cropped_map_lies_where_the_layout_says() {
    let frame = frame(100, 60);
    let map = AnomalyMap::new(10, 10, vec![0.9; 100]);
    let picture = heatmap(&frame, &map, &layout([20.0, 10.0], [6.0, 4.0]), &[], &[]);
    let changed = changed(&frame, &picture);
    assert_eq!(changed.len(), 60 * 40);
    assert!(
        changed
            .iter()
            .all(|&(x, y)| (20..80).contains(&x) && (10..50).contains(&y))
    );
}

#[test]
fn outline_runs_around_the_contour_and_not_over_it() {
    let frame = frame(256, 256);
    let map = square(256, 100, 120, 1.0);
    let lay = layout([0.0; 2], [1.0; 2]);
    let plain = heatmap(&frame, &map, &lay, &[], &[]);
    let outlined = heatmap(&frame, &map, &lay, &[region(100, 100, 20, 20)], &[]);
    for at in 100..120 {
        for (x, y) in [(99, at), (120, at), (at, 99), (at, 120)] {
            assert_eq!(pixel(&outlined, x, y), OUTLINE, "{x} {y}");
        }
    }
    for y in 100..120 {
        for x in 100..120 {
            assert_eq!(pixel(&outlined, x, y), pixel(&plain, x, y));
        }
    }
}

#[test]
fn outline_follows_the_region_and_not_a_speck_in_its_box() {
    let frame = frame(64, 64);
    let mut map = square(64, 20, 40, 0.8);
    map.scores[20 * 64 + 42] = 0.9;
    let picture = heatmap(
        &frame,
        &map,
        &layout([0.0; 2], [1.0; 2]),
        &[region(20, 20, 23, 20)],
        &[],
    );
    assert_eq!(pixel(&picture, 40, 30), OUTLINE);
    assert_ne!(pixel(&picture, 43, 20), OUTLINE);
}

#[test]
fn region_without_a_score_above_the_threshold_gets_its_box() {
    let frame = frame(64, 64);
    let map = AnomalyMap::new(64, 64, vec![0.0; 64 * 64]);
    let picture = heatmap(&frame, &map, &layout([0.0; 2], [1.0; 2]), &[region(20, 30, 10, 8)], &[]);
    for (x, y) in [(19, 29), (30, 29), (19, 38), (30, 38), (25, 29), (19, 33)] {
        assert_eq!(pixel(&picture, x, y), OUTLINE, "{x} {y}");
    }
    assert_eq!(pixel(&picture, 25, 33), pixel(&frame, 25, 33));
}

#[test]
fn suppressed_region_is_dashed_in_greys() {
    let frame = frame(64, 64);
    let map = AnomalyMap::new(1, 1, vec![0.0]);
    let suppressed = SuppressedRegion {
        region: region(10, 10, 30, 30),
        reason: SuppressionReason::Border,
    };
    let picture = heatmap(&frame, &map, &layout([0.0; 2], [64.0; 2]), &[], &[suppressed]);
    let changed = changed(&frame, &picture);
    assert_eq!(changed.len(), 4 * 31);
    let n_light = changed
        .iter()
        .filter(|&&(x, y)| pixel(&picture, x, y) == SUPPRESSED[0])
        .count();
    let n_dark = changed
        .iter()
        .filter(|&&(x, y)| pixel(&picture, x, y) == SUPPRESSED[1])
        .count();
    assert_eq!(n_light + n_dark, changed.len());
    assert!(n_light.abs_diff(n_dark) < 20, "{n_light} {n_dark}");
}

#[test]
fn caption_stays_in_the_frame_wherever_the_region_lies() {
    let frame = frame(256, 256);
    let map = AnomalyMap::new(1, 1, vec![0.0]);
    for (x, y) in [(0, 0), (250, 0), (0, 250), (250, 250), (120, 120)] {
        let picture = heatmap(&frame, &map, &layout([0.0; 2], [256.0; 2]), &[region(x, y, 6, 6)], &[]);
        // "0.91" is 4 letters; its white dots are all there.
        let dots: u32 = "0.91"
            .chars()
            .flat_map(super::super::text::glyph)
            .map(u8::count_ones)
            .sum();
        let white = picture.rgb.chunks_exact(3).filter(|p| p == &INK).count();
        assert_eq!(white, dots as usize, "{x} {y}");
    }
}

#[test]
fn impossible_regions_and_tiny_frames_are_drawn_as_far_as_they_go() {
    let wild = [
        region(u32::MAX, u32::MAX, u32::MAX, u32::MAX),
        region(0, 0, 0, 0),
        region(0, 0, u32::MAX, u32::MAX),
    ];
    let suppressed = wild.clone().map(|region| SuppressedRegion {
        region,
        reason: SuppressionReason::Border,
    });
    for (width, height) in [(0, 0), (1, 1), (5, 2), (300, 200)] {
        let frame = frame(width, height);
        let map = AnomalyMap::new(2, 2, vec![0.6; 4]);
        let picture = heatmap(&frame, &map, &layout([0.0; 2], [3.0; 2]), &wild, &suppressed);
        assert_eq!((picture.width_px, picture.height_px), (width, height));
    }
}

#[test]
fn lines_and_letters_grow_with_the_frame() {
    let strokes = [(64, 64), (256, 256), (4096, 256), (900, 900), (2048, 2048)].map(|(width, height)| {
        let stroke = Stroke::for_frame(&Canvas::filled(width, height, [0; 3]));
        (stroke.thickness_px, stroke.text_scale)
    });
    assert_eq!(strokes, [(1, 1), (1, 1), (1, 1), (3, 4), (8, 8)]);
}

#[test]
fn same_input_same_bytes() {
    let draw = || {
        let map = square(32, 10, 20, 0.77);
        let picture = heatmap(
            &frame(256, 256),
            &map,
            &layout([0.0; 2], [8.0; 2]),
            &[region(80, 80, 80, 80)],
            &[],
        );
        encode_png(&picture).unwrap()
    };
    assert_eq!(draw(), draw());
}
