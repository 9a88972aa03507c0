use super::*;
use crate::detector::Tiling;

fn whole(size_px: u32, crop_px: Option<u32>) -> InputRecipe {
    InputRecipe {
        size_px,
        crop_px,
        tiling: None,
        exclude_dark_margin: false,
        sixteen_bit_max: 65535,
    }
}

fn tiled(size_px: u32, tile_px: u32, overlap_px: u32) -> InputRecipe {
    InputRecipe {
        tiling: Some(Tiling { tile_px, overlap_px }),
        ..whole(size_px, None)
    }
}

/// SplitMix64 (Steele et al. 2014): numbers for random cases.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(bound)) as u32
    }
}

#[test]
fn tiles_cover_every_pixel_and_overlap_enough() {
    let mut random = Random(1);
    for _ in 0..300 {
        let tile = 16 + random.below(80);
        let overlap = random.below(tile.min(tile / 2 + 8));
        let (width, height) = (tile + random.below(400), tile + random.below(300));
        let case = format!("{width}x{height}, tile {tile}, overlap {overlap}");
        let Ok(layout) = FrameLayout::new(&tiled(256, tile, overlap), width, height) else {
            // Only the limit may refuse: the strides are what makes so many tiles.
            let n = |len: u32| u64::from((len - tile).div_ceil(tile - overlap) + 1);
            assert!(n(width) * n(height) > TILES_MAX, "{case}");
            continue;
        };
        let mut covered = Mask::filled(height as usize, width as usize, false);
        for rect in &layout.tiles {
            assert!(
                rect.x + rect.width <= width && rect.y + rect.height <= height,
                "{case}: {rect:?}"
            );
            for y in rect.y..rect.y + rect.height {
                let row = (y * width + rect.x) as usize;
                covered.bits[row..row + rect.width as usize].fill(true);
            }
        }
        assert!(covered.bits.iter().all(|&bit| bit), "{case}");
        for pair in layout.tiles.windows(2) {
            if pair[0].y == pair[1].y {
                assert!(
                    pair[0].x + tile >= pair[1].x + overlap && pair[0].x < pair[1].x,
                    "{case}: {pair:?}"
                );
            } else {
                assert!(
                    pair[0].y + tile >= pair[1].y + overlap && pair[0].y < pair[1].y,
                    "{case}: {pair:?}"
                );
            }
        }
        let mut sorted = layout.tiles.clone();
        sorted.sort_by_key(|rect| (rect.y, rect.x));
        assert_eq!(sorted, layout.tiles, "{case}");
    }
}

#[test]
fn aitex_strip_takes_sixteen_tiles_without_overlap() {
    let layout = FrameLayout::new(&tiled(256, 256, 0), 4096, 256).unwrap();
    let starts: Vec<u32> = layout.tiles.iter().map(|tile| tile.x).collect();
    assert_eq!(starts, (0..16).map(|tile| tile * 256).collect::<Vec<_>>());
    assert_eq!((layout.map_width, layout.map_height), (4096, 256));
}

#[test]
fn frame_of_one_tile_has_one_tile() {
    let layout = FrameLayout::new(&tiled(256, 64, 63), 64, 64).unwrap();
    assert_eq!(layout.tiles.len(), 1);
}

#[test]
fn frame_smaller_than_a_tile_is_refused_with_the_values() {
    let refusal = FrameLayout::new(&tiled(256, 256, 0), 4096, 200).unwrap_err();
    assert_eq!(
        refusal,
        "a frame of 4096x200 is smaller than a tile of 256x256; lower the tile size to at most 200"
    );
}

#[test]
fn too_many_tiles_are_refused_before_they_are_listed() {
    let refusal = FrameLayout::new(&tiled(256, 16, 15), u32::MAX, u32::MAX).unwrap_err();
    assert!(refusal.contains("at most 4096"), "{refusal}");
}

#[test]
fn centre_crop_rounds_like_torchvision() {
    // int(round((size - crop) / 2.0)) in Python.
    for (size, crop, offset) in [
        (256, 224, 16),
        (257, 224, 16),
        (259, 224, 18),
        (255, 224, 16),
        (256, 256, 0),
    ] {
        assert_eq!(centre_crop_offset(size, crop), offset, "{size} {crop}");
    }
}

/// A frame with a dot per 8 pixels in both directions, and where the dots are.
fn dotted(width: u32, height: u32) -> (Image, Mask) {
    let bits: Vec<bool> = (0..width * height)
        .map(|at| (at % width) / 8 == 5 && (at / width) / 8 == 3)
        .collect();
    let rgb: Vec<u8> = bits.iter().flat_map(|&bit| [if bit { 255 } else { 0 }; 3]).collect();
    let mask = Mask::new(height as usize, width as usize, bits);
    (Image::new(width, height, rgb), mask)
}

#[test]
fn mask_and_picture_stay_on_each_other() {
    let input = whole(64, Some(48));
    let layout = FrameLayout::new(&input, 128, 96).unwrap();
    let (image, mask) = dotted(128, 96);
    let seen = layout.tile_image(&image, 0, &input);
    let mapped = layout.mask_to_map(&mask);
    assert_eq!((seen.width_px, seen.height_px), (48, 48));
    assert_eq!((mapped.width, mapped.height), (48, 48));
    assert!(mapped.bits.contains(&true));
    for (at, &bit) in mapped.bits.iter().enumerate() {
        // Antialiasing spreads the dot by a pixel, so only its inside and its far outside are certain.
        assert!(!bit || seen.rgb[at * 3] > 100, "map pixel {at}");
        assert!(bit || seen.rgb[at * 3] < 155, "map pixel {at}");
    }
}

#[test]
fn map_geometry_leads_back_to_the_frame() {
    let layout = FrameLayout::new(&whole(64, Some(48)), 128, 96).unwrap();
    assert_eq!(layout.frame_px_per_map_px, [2.0, 1.5]);
    assert_eq!(layout.map_origin_in_frame_px, [16.0, 12.0]);
    let map = RectPx {
        x: 12,
        y: 9,
        width: 4,
        height: 3,
    };
    // x: 16 + 24 … 16 + 32; y: 12 + 13.5 … 12 + 18, outwards to whole pixels.
    assert_eq!(
        layout.map_rect_to_frame(map),
        RectPx {
            x: 40,
            y: 25,
            width: 8,
            height: 5
        }
    );
    assert_eq!(
        layout
            .map_rect_to_frame(RectPx {
                x: 0,
                y: 0,
                width: 48,
                height: 48
            })
            .width,
        96
    );
    // Map pixel 0 covers frame pixels 16 and 17 (12 and half of 13): centre 16.5 (12.25).
    assert_eq!(layout.map_point_to_frame([0.0, 0.0]), [16.5, 12.25]);
    assert_eq!(layout.area_to_frame(10), 30);
    assert_eq!(layout.area_to_frame(0), 0);
}

#[test]
fn a_patch_lies_in_the_frame_where_its_cell_of_the_tile_does() {
    let rect = |x, y, width, height| RectPx { x, y, width, height };
    // 1024 × 512 pixels seen at 256, of which the middle 224 in a grid of 28 × 28: 8 map pixels a patch.
    let layout = FrameLayout::new(&whole(256, Some(224)), 1024, 512).unwrap();
    assert_eq!(layout.patch_rect_to_frame(0, [28, 28], 0), rect(64, 32, 32, 16));
    assert_eq!(layout.patch_rect_to_frame(0, [28, 28], 29), rect(96, 48, 32, 16));
    assert_eq!(layout.patch_rect_to_frame(0, [28, 28], 783), rect(928, 464, 32, 16));
    // Tiles of 100 in a grid of 8 × 8: 12.5 pixels a patch, of which all are taken that it touches.
    let layout = FrameLayout::new(&tiled(64, 100, 0), 200, 100).unwrap();
    assert_eq!(layout.patch_rect_to_frame(1, [8, 8], 9), rect(112, 12, 13, 13));
    assert_eq!(layout.patch_rect_to_frame(1, [1, 1], 0), rect(100, 0, 100, 100));
    // A frame smaller than the map: no patch is empty.
    let layout = FrameLayout::new(&whole(256, None), 20, 30).unwrap();
    for patch_idx in 0..32 * 32 {
        let rect = layout.patch_rect_to_frame(0, [32, 32], patch_idx);
        assert!(rect.width > 0 && rect.height > 0 && rect.x + rect.width <= 20 && rect.y + rect.height <= 30);
    }
}

#[test]
fn enlarged_map_pixel_is_at_least_one_frame_pixel() {
    let layout = FrameLayout::new(&whole(256, None), 100, 100).unwrap();
    assert_eq!(layout.area_to_frame(1), 1);
    for x in 0..256 {
        let rect = layout.map_rect_to_frame(RectPx {
            x,
            y: 255,
            width: 1,
            height: 1,
        });
        assert!(
            (1..=2).contains(&rect.width) && rect.x + rect.width <= 100 && rect.y + rect.height == 100,
            "{rect:?}"
        );
    }
}

#[test]
fn rect_does_not_grow_by_rounding() {
    // 900 / 448 has no exact double: its multiples must not spill into the next pixel.
    let layout = FrameLayout::new(&whole(448, None), 900, 700).unwrap();
    let all = layout.map_rect_to_frame(RectPx {
        x: 0,
        y: 0,
        width: 448,
        height: 448,
    });
    assert_eq!(
        all,
        RectPx {
            x: 0,
            y: 0,
            width: 900,
            height: 700
        }
    );
    let half = layout.map_rect_to_frame(RectPx {
        x: 224,
        y: 224,
        width: 224,
        height: 224,
    });
    assert_eq!(
        half,
        RectPx {
            x: 450,
            y: 350,
            width: 450,
            height: 350
        }
    );
}

#[test]
fn tiles_are_seen_enlarged_and_masks_stay_as_they_are() {
    let input = tiled(64, 32, 8);
    let layout = FrameLayout::new(&input, 80, 40).unwrap();
    let (image, mask) = dotted(80, 40);
    assert_eq!(layout.mask_to_map(&mask), mask);
    for (tile_idx, rect) in layout.tiles.iter().enumerate() {
        let seen = layout.tile_image(&image, tile_idx, &input);
        assert_eq!(seen, resize(&crop(&image, *rect), 64, 64));
    }
    assert_eq!(layout.map_point_to_frame([3.0, 7.0]), [3.0, 7.0]);
}

#[test]
fn impossible_recipes_are_refused_by_the_field() {
    for (input, word) in [
        (whole(31, None), "size"),
        (whole(4097, None), "size"),
        (whole(256, Some(257)), "crop"),
        (whole(256, Some(0)), "crop"),
        (tiled(256, 15, 0), "tile size"),
        (tiled(256, u32::MAX, 0), "tile size"),
        (tiled(256, 64, 64), "overlap"),
        (
            InputRecipe {
                crop_px: Some(224),
                ..tiled(256, 64, 0)
            },
            "crop",
        ),
        (
            InputRecipe {
                sixteen_bit_max: 0,
                ..whole(256, None)
            },
            "16-bit",
        ),
    ] {
        let refusal = check_input(&input).unwrap_err();
        assert!(refusal.contains(word), "{refusal}");
        assert_eq!(FrameLayout::new(&input, 512, 512).unwrap_err(), refusal);
    }
    assert_eq!(check_input(&whole(32, Some(32))), Ok(()));
    assert!(FrameLayout::new(&whole(256, None), 0, 5).is_err());
}
