use std::path::{Path, PathBuf};

use super::*;
use crate::imaging::{decode, decode_mask};

/// A grey frame; `shade` gives the brightness of a pixel.
fn frame(width: u32, height: u32, shade: impl Fn(u32, u32) -> u8) -> Image {
    let rgb: Vec<u8> = (0..width * height)
        .flat_map(|at| [shade(at % width, at / width); 3])
        .collect();
    Image::new(width, height, rgb)
}

/// Between 0 and `bound`, without a visible pattern.
fn noise(x: u32, y: u32, bound: u32) -> u8 {
    (((x * 73 + y * 151 + 7).wrapping_mul(2_654_435_761) >> 16) % bound) as u8
}

fn weave(x: u32, y: u32) -> u8 {
    90 + noise(x, y, 60)
}

fn rect(x: u32, y: u32, width: u32, height: u32) -> RectPx {
    RectPx { x, y, width, height }
}

#[test]
fn product_without_margin_keeps_its_frame() {
    assert_eq!(product_rect(&frame(512, 128, weave)), rect(0, 0, 512, 128));
}

#[test]
fn dark_product_keeps_its_frame() {
    assert_eq!(
        product_rect(&frame(512, 128, |x, y| noise(x, y, 6))),
        rect(0, 0, 512, 128)
    );
    assert_eq!(product_rect(&frame(512, 128, |_, _| 0)), rect(0, 0, 512, 128));
}

#[test]
fn dark_and_saturated_margins_are_cut_with_a_small_inset() {
    for margin in [0, 255] {
        for width in [40, 100, 200] {
            let found = product_rect(&frame(512, 128, |x, y| if x < width { margin } else { weave(x, y) }));
            assert!(
                (width..=width + 3).contains(&found.x),
                "margin {margin}, {width}: {found:?}"
            );
            assert_eq!(found, rect(found.x, 0, 512 - found.x, 128), "margin {margin}, {width}");
        }
    }
}

#[test]
fn margins_are_found_on_every_side() {
    let inside = |x: u32, y: u32| (50..460).contains(&x) && (20..150).contains(&y);
    let found = product_rect(&frame(512, 160, |x, y| {
        if inside(x, y) { weave(x, y) } else { noise(x, y, 8) }
    }));
    assert!(
        (50..=53).contains(&found.x) && (20..=23).contains(&found.y),
        "{found:?}"
    );
    let (right, bottom) = (found.x + found.width, found.y + found.height);
    assert!(
        (457..=460).contains(&right) && (147..=150).contains(&bottom),
        "{found:?}"
    );
}

#[test]
fn table_as_bright_as_the_fabric_is_margin() {
    let found = product_rect(&frame(512, 128, |x, y| {
        if x < 90 { 116 + noise(x, y, 8) } else { weave(x, y) }
    }));
    assert!((90..=93).contains(&found.x), "{found:?}");
}

#[test]
fn dark_margin_of_a_smooth_product_is_cut() {
    // Structure tells nothing here: both are smooth.
    let found = product_rect(&frame(512, 128, |x, y| {
        if x < 90 {
            10 + noise(x, y, 4)
        } else {
            120 + noise(x, y, 4)
        }
    }));
    assert!((90..=93).contains(&found.x), "{found:?}");
}

#[test]
fn vignetting_is_not_margin() {
    let found = product_rect(&frame(512, 128, |x, y| {
        let shade = 0.3 + 0.7 * f64::from(x.min(511 - x)) / 256.0;
        (f64::from(weave(x, y)) * shade) as u8
    }));
    assert_eq!(found, rect(0, 0, 512, 128));
}

#[test]
fn smooth_stain_at_the_edge_is_not_margin() {
    let stain = |x: u32, y: u32| x < 60 && (10..70).contains(&y);
    let found = product_rect(&frame(512, 128, |x, y| if stain(x, y) { 20 } else { weave(x, y) }));
    assert_eq!(found, rect(0, 0, 512, 128));
}

#[test]
fn more_than_half_is_never_margin() {
    let found = product_rect(&frame(512, 128, |x, y| if x < 300 { 0 } else { weave(x, y) }));
    assert_eq!(found, rect(0, 0, 512, 128));
}

#[test]
fn tiny_frames_have_no_margin() {
    for (width, height) in [(1, 1), (2, 90), (90, 2), (63, 63), (64, 64)] {
        assert_eq!(product_rect(&frame(width, height, |_, _| 7)), rect(0, 0, width, height));
    }
}

fn real_data() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join(std::env::var("INTAKT_DATA").unwrap_or_else(|_| "../shared/data".to_string()))
}

fn pngs(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    paths.sort();
    paths
}

#[test]
#[ignore = "needs the real images: INTAKT_DATA"]
fn aitex_margins_are_found_and_no_defect_is_cut() {
    let aitex = real_data().join("aitex");
    let mut masks = pngs(&aitex.join("Mask_images"));
    assert_eq!(masks.len(), 45);
    for path in masks.drain(..) {
        let name = path.file_name().unwrap().to_str().unwrap().replace("_mask", "");
        let found =
            product_rect(&decode(&std::fs::read(aitex.join("Defect_images").join(&name)).unwrap(), 255).unwrap());
        println!("{name} {found:?}");
        assert_eq!((found.x + found.width, found.y, found.height), (4096, 0, 256), "{name}");
        // By eye: fabric 02 begins at 150…480, fabric 00 at 985…1250.
        let begins = if name.ends_with("_00.png") {
            985..=1260
        } else {
            150..=490
        };
        assert!(begins.contains(&found.x), "{name}: {found:?}");
        let mask = decode_mask(&std::fs::read(&path).unwrap()).unwrap();
        let n_cut = (0..mask.bits.len())
            .filter(|&at| mask.bits[at] && at % mask.width < found.x as usize)
            .count();
        assert_eq!(n_cut, 0, "{name}: masked pixels in the margin");
    }
    for fabric in ["2306894-210033u", "2311694-2040n7u"] {
        for path in pngs(&aitex.join("NODefect_images").join(fabric)) {
            let found = product_rect(&decode(&std::fs::read(&path).unwrap(), 255).unwrap());
            println!("{} {found:?}", path.display());
            assert_eq!(
                (found.x + found.width, found.y, found.height),
                (4096, 0, 256),
                "{}",
                path.display()
            );
            assert!((150..=1260).contains(&found.x), "{}: {found:?}", path.display());
        }
    }
}
