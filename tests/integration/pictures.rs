//! Small datasets of the simulated line, with defects that nobody can miss.

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use intakt_pipelines::sources::synthetic::{SyntheticCamera, SyntheticLine};

/// Normal frame `n` of the fabric camera, 256 × 256.
pub(crate) fn normal(n: u64) -> RgbImage {
    let image = SyntheticLine::new(7).normal(SyntheticCamera::Fabric, n).image;
    RgbImage::from_raw(image.width_px, image.height_px, image.rgb.to_vec()).unwrap()
}

/// Frame `n` with a blot: a black rectangle `[x, y, width, height]` with a white core.
pub(crate) fn blotted(n: u64, rect: [u32; 4]) -> RgbImage {
    let mut image = normal(n);
    blot(&mut image, rect);
    image
}

/// Paints a blot.
pub(crate) fn blot(image: &mut RgbImage, [x, y, width, height]: [u32; 4]) {
    for row in y..y + height {
        for column in x..x + width {
            let in_core = (column - x) * 3 / width == 1 && (row - y) * 3 / height == 1;
            image.put_pixel(column, row, Rgb(if in_core { [255; 3] } else { [0; 3] }));
        }
    }
}

/// The mask of a rectangle in a frame.
pub(crate) fn mask(width: u32, height: u32, rect: [u32; 4]) -> GrayImage {
    let [x, y, rect_width, rect_height] = rect;
    let inside = |column: u32, row: u32| (x..x + rect_width).contains(&column) && (y..y + rect_height).contains(&row);
    GrayImage::from_fn(width, height, |column, row| {
        Luma([if inside(column, row) { 255 } else { 0 }])
    })
}

/// Where the blot of test image `n` is.
pub(crate) fn blot_px(n: u32) -> [u32; 4] {
    [30 + n * 53 % 150, 40 + n * 71 % 140, 48, 40]
}

/// Writes a dataset in MVTec's layout: `train/good`, `test/good`, and `test/blot` with its masks.
pub(crate) fn mvtec_dataset(root: &Path, n_train: u64, n_good: u64, n_blot: u32) {
    let folder = |name: &str| {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    let train = folder("train/good");
    (0..n_train).for_each(|n| normal(n).save(train.join(format!("{n:03}.png"))).unwrap());
    let good = folder("test/good");
    (0..n_good).for_each(|n| normal(100 + n).save(good.join(format!("{n:03}.png"))).unwrap());
    let (blots, masks) = (folder("test/blot"), folder("ground_truth/blot"));
    for n in 0..n_blot {
        blotted(120 + u64::from(n), blot_px(n))
            .save(blots.join(format!("{n:03}.png")))
            .unwrap();
        mask(256, 256, blot_px(n))
            .save(masks.join(format!("{n:03}_mask.png")))
            .unwrap();
    }
}

/// A strip of `n` frames side by side.
pub(crate) fn strip(first: u64, n: u32) -> RgbImage {
    let mut strip = RgbImage::new(256 * n, 256);
    for i in 0..n {
        image::imageops::replace(&mut strip, &normal(first + u64::from(i)), i64::from(256 * i), 0);
    }
    strip
}
