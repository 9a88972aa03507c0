//! Every kind of image file gets the same verdict for the same picture.

use image::{DynamicImage, ImageBuffer, ImageFormat, LumaA, Rgb, RgbaImage};
use serde_json::Value;
use tempfile::tempdir;

use crate::support::{SHARED, intakt};

/// The verdicts on `pictures`, each written under its name.
fn verdicts(pictures: &[(&str, DynamicImage)]) -> Vec<Value> {
    let dir = tempdir().unwrap();
    // Names are numbered: frames are judged in order of their names.
    for (n, (name, picture)) in pictures.iter().enumerate() {
        let format = ImageFormat::from_path(name).unwrap();
        picture
            .save_with_format(dir.path().join(format!("{n}-{name}")), format)
            .unwrap();
    }
    let verdicts = intakt(&[&"inspect", &SHARED.detector, &dir.path()])
        .expect(1)
        .verdicts();
    assert_eq!(verdicts.len(), pictures.len());
    verdicts
}

/// What a verdict says about the picture, and not about its file.
fn judged(verdict: &Value) -> [&Value; 4] {
    ["decision", "image_score", "calibrated_score", "regions"].map(|key| &verdict[key])
}

#[test]
fn colour_files_agree_with_the_png_of_the_same_picture() {
    let picture = image::open(&SHARED.blotted).unwrap();
    let rgb = picture.to_rgb8();
    let wide = |value: u8| u16::from(value) * 257;
    let sixteen: ImageBuffer<Rgb<u16>, Vec<u16>> =
        ImageBuffer::from_fn(rgb.width(), rgb.height(), |x, y| Rgb(rgb.get_pixel(x, y).0.map(wide)));
    let half_clear = RgbaImage::from_fn(rgb.width(), rgb.height(), |x, y| {
        let [red, green, blue] = rgb.get_pixel(x, y).0;
        image::Rgba([red, green, blue, (x % 256) as u8])
    });
    let verdicts = verdicts(&[
        ("rgb.png", picture.clone()),
        ("rgba.png", half_clear.into()),
        ("16-bit.png", sixteen.clone().into()),
        ("rgb.bmp", picture.clone()),
        ("rgb.tif", picture),
        ("16-bit.tiff", sixteen.into()),
    ]);
    for verdict in &verdicts {
        assert_eq!(judged(verdict), judged(&verdicts[0]), "{}", verdict["origin"]);
    }
}

#[test]
fn grey_files_agree_with_the_png_of_the_same_picture() {
    let grey = image::open(&SHARED.blotted).unwrap().to_luma8();
    let rgb = DynamicImage::from(grey.clone()).to_rgb8();
    let sixteen: ImageBuffer<image::Luma<u16>, Vec<u16>> = ImageBuffer::from_fn(grey.width(), grey.height(), |x, y| {
        image::Luma([u16::from(grey.get_pixel(x, y)[0]) * 257])
    });
    let with_alpha: ImageBuffer<LumaA<u8>, Vec<u8>> = ImageBuffer::from_fn(grey.width(), grey.height(), |x, y| {
        LumaA([grey.get_pixel(x, y)[0], (y % 256) as u8])
    });
    let verdicts = verdicts(&[
        ("rgb.png", rgb.into()),
        ("grey.png", grey.clone().into()),
        ("grey-alpha.png", with_alpha.into()),
        ("16-bit.png", sixteen.into()),
        ("grey.bmp", grey.clone().into()),
        ("grey.tif", grey.into()),
    ]);
    for verdict in &verdicts {
        assert_eq!(judged(verdict), judged(&verdicts[0]), "{}", verdict["origin"]);
    }
}

#[test]
fn a_jpeg_agrees_within_its_losses() {
    let picture = image::open(&SHARED.blotted).unwrap();
    let verdicts = verdicts(&[
        ("rgb.png", picture.clone()),
        ("rgb.jpg", picture.clone()),
        ("rgb.JPEG", picture),
    ]);
    let score = |verdict: &Value| verdict["image_score"].as_f64().unwrap();
    for verdict in &verdicts {
        assert_eq!(verdict["decision"], "reject");
        let ratio = score(verdict) / score(&verdicts[0]);
        assert!((0.9..1.1).contains(&ratio), "{}: {ratio}", verdict["origin"]);
    }
}

#[test]
fn content_tells_the_format_and_not_the_extension() {
    let dir = tempdir().unwrap();
    let misnamed = dir.path().join("really-a-png.jpg");
    std::fs::copy(&SHARED.blotted, &misnamed).unwrap();
    let of = |path| {
        intakt(&[&"inspect", &SHARED.detector, path])
            .expect(1)
            .verdicts()
            .remove(0)
    };
    assert_eq!(judged(&of(&misnamed)), judged(&of(&SHARED.blotted)));
}
