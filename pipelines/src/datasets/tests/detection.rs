use std::path::Path;

use super::support::{Tree, assert_says, complaint};
use crate::datasets::{Dataset, Layout, detect};

#[test]
fn every_layout_is_known_by_its_folders() {
    for (image, layout) in [
        ("train/good/0.png", Layout::Mvtec),
        ("NODefect_images/a/0001_000_00.png", Layout::Aitex),
        ("Defect_images/0001_002_00.png", Layout::Aitex),
        ("normal/0.png", Layout::Folder),
        ("anomalous/0.png", Layout::Folder),
        ("0.JPG.png", Layout::Folder),
    ] {
        assert_eq!(detect(Tree::of(&[image]).root()).unwrap(), layout, "{image}");
    }
    let test_only = Tree::new().folder("test").folder("ground_truth");
    assert_eq!(detect(test_only.root()).unwrap(), Layout::Mvtec);
    let manifest = Tree::new().file("list.CSV", "");
    assert_eq!(detect(&manifest.path("list.CSV")).unwrap(), Layout::Csv);
}

#[test]
fn an_unknown_layout_says_what_was_looked_for_and_found() {
    let tree = Tree::of(&["bottle/train/good/0.png", "cable/train/good/0.png"]).file("readme.txt", "");
    let message = complaint(tree.open());
    assert_says(
        &message,
        &[
            "`train/good/`",
            "`NODefect_images/`",
            "`normal/`",
            "images directly in it",
            "`*.csv`",
        ],
    );
    assert_says(
        &message,
        &[
            "found `bottle/`, `cable/`, `readme.txt`",
            "`--layout mvtec|aitex|folder|csv`",
        ],
    );
    assert_says(&complaint(detect(Tree::new().root())), &["found nothing"]);
    let many = (0..9).fold(Tree::new(), |tree, i| tree.folder(&format!("{i}")));
    assert_says(&complaint(detect(many.root())), &["`5/` and 3 more"]);
}

#[test]
fn a_manifest_in_the_directory_is_pointed_at() {
    let tree = Tree::new().file("list.csv", "path,split,label\n");
    assert_says(&complaint(tree.open()), &["give the manifest itself", "list.csv"]);
}

#[test]
fn signs_of_two_layouts_have_to_be_decided() {
    let tree = Tree::of(&["train/good/0.png", "normal/0.png"]);
    assert_says(
        &complaint(tree.open()),
        &["like `mvtec` and like `folder`", "`--layout mvtec`"],
    );
    assert_eq!(tree.open_as(Layout::Folder, None).unwrap().items.len(), 1);
}

#[test]
fn what_is_not_there_is_said() {
    let message = complaint(Dataset::open(Path::new("no/such/place"), None, None));
    assert_says(&message, &["cannot read \"no/such/place\"", "No such file"]);
    for layout in Layout::ALL {
        let message = complaint(Dataset::open(Path::new("no/such/place"), Some(layout), None));
        assert_says(&message, &["cannot read \"no/such/place\"", "No such file"]);
    }
    let file = Tree::of(&["a.png"]);
    assert_says(
        &complaint(detect(&file.path("a.png"))),
        &["cannot tell the layout", "a.png", "found a file"],
    );
}

#[test]
fn layouts_have_words() {
    for layout in Layout::ALL {
        assert_eq!(layout.to_string().parse::<Layout>().unwrap(), layout);
    }
    assert_says(
        &complaint("MVTec".parse::<Layout>()),
        &["`MVTec`", "mvtec|aitex|folder|csv"],
    );
}
