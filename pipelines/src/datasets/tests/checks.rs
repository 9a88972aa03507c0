use std::fs;

use image::GrayImage;

use super::support::{Tree, assert_says};
use crate::datasets::Need;

fn with_mask(width: u32, height: u32) -> Tree {
    Tree::of(&["normal/0.png", "normal/1.png", "anomalous/0.png"]).image("masks/0.png", width, height)
}

#[test]
fn a_mask_of_another_size_is_refused() {
    with_mask(4, 3).open().unwrap().check(Need::Evaluate).unwrap();
    let message = with_mask(3, 4).complaint(Need::Evaluate);
    assert_says(
        &message,
        &["masks/0.png\" is 3 x 4 px", "anomalous/0.png\" is 4 x 3 px", "hint: "],
    );
}

#[test]
fn every_one_of_several_masks_is_checked() {
    let tree = with_mask(4, 3)
        .image("masks/0_mask.png", 4, 3)
        .image("masks/0_mask2.png", 5, 3);
    assert_says(&tree.complaint(Need::Evaluate), &["0_mask2.png\" is 5 x 3 px"]);
}

#[test]
fn an_unreadable_mask_is_refused_and_says_why() {
    let tree = with_mask(4, 3);
    let whole = fs::read(tree.path("masks/0.png")).unwrap();
    for (bytes, reason) in [
        (&b""[..], "not a png, jpg"),
        (b"no picture", "not a png, jpg"),
        (&whole[..20], ""),
    ] {
        fs::write(tree.path("masks/0.png"), bytes).unwrap();
        let message = tree.complaint(Need::Evaluate);
        assert_says(
            &message,
            &[
                "cannot read mask",
                "masks/0.png",
                "anomalous/0.png",
                reason,
                "hint: replace the mask",
            ],
        );
    }
}

#[test]
fn an_unreadable_image_is_left_to_its_verdict() {
    let tree = with_mask(9, 9)
        .file("anomalous/0.png", "no picture")
        .file("normal/0.png", "");
    let dataset = tree.open().unwrap();
    dataset.check(Need::Fit).unwrap();
    dataset.check(Need::Evaluate).unwrap();
}

#[test]
fn sizes_are_read_from_headers_of_every_format() {
    for extension in ["png", "jpg", "bmp", "tif"] {
        let tree = with_mask(4, 3);
        fs::remove_file(tree.path("anomalous/0.png")).unwrap();
        let tree = tree.image(&format!("anomalous/0.{extension}"), 4, 3);
        tree.open().unwrap().check(Need::Evaluate).unwrap();
        let tree = tree.image(&format!("anomalous/0.{extension}"), 5, 3);
        assert_says(&tree.complaint(Need::Evaluate), &["is 4 x 3 px", "is 5 x 3 px"]);
    }
}

#[test]
fn the_content_tells_the_format_not_the_extension() {
    let tree = with_mask(4, 3);
    GrayImage::new(4, 3).save(tree.path("masks/0.bmp")).unwrap();
    fs::rename(tree.path("masks/0.bmp"), tree.path("masks/0.png")).unwrap();
    tree.open().unwrap().check(Need::Evaluate).unwrap();
}

#[cfg(unix)]
#[test]
fn one_file_under_two_names_is_refused() {
    let tree = with_mask(4, 3);
    std::os::unix::fs::symlink(tree.path("normal/0.png"), tree.path("anomalous/1.png")).unwrap();
    fs::remove_dir_all(tree.path("masks")).unwrap();
    let message = tree.complaint(Need::Fit);
    assert_says(
        &message,
        &[
            "normal/0.png\" is the same file as",
            "anomalous/1.png",
            "hint: list every image once",
        ],
    );
}
