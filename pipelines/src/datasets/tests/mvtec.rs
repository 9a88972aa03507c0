use std::path::Path;

use intakt_operators::Truth;

use super::support::{Tree, assert_says, complaint, names};
use crate::datasets::{Dataset, Layout, Need, Split};

fn bottle() -> Tree {
    Tree::of(&[
        "train/good/001.png",
        "train/good/000.PNG",
        "validation/good/000.png",
        "test/good/000.png",
        "test/broken/000.png",
        "test/broken/001.png",
        "ground_truth/broken/000_mask.png",
        "ground_truth/broken/001_mask.png",
    ])
}

#[test]
fn every_folder_has_its_split_and_truth() {
    let tree = bottle();
    let dataset = tree.open().unwrap();
    assert_eq!(dataset.layout, Layout::Mvtec);
    assert_eq!(
        names(&dataset, Split::Train),
        ["train/good/000.PNG", "train/good/001.png"]
    );
    assert_eq!(names(&dataset, Split::Calibrate), ["validation/good/000.png"]);
    assert_eq!(
        names(&dataset, Split::Test),
        ["test/broken/000.png", "test/broken/001.png", "test/good/000.png"]
    );
    for item in &dataset.items {
        let broken = item.name.starts_with("test/broken/");
        let truth = if broken {
            Truth::Anomalous("broken".to_owned())
        } else {
            Truth::Normal
        };
        assert_eq!(item.truth, truth, "{}", item.name);
        assert_eq!(item.masks.len(), usize::from(broken), "{}", item.name);
        assert_eq!(item.path, tree.path(&item.name));
        assert_eq!(Path::new(&item.camera), Path::new(tree.root().file_name().unwrap()));
    }
    assert_eq!(dataset.items[1].masks, [tree.path("ground_truth/broken/001_mask.png")]);
    dataset.check(Need::Fit).unwrap();
    dataset.check(Need::Evaluate).unwrap();
}

#[test]
fn what_is_no_image_is_counted_and_passed_over() {
    let tree = bottle()
        .file("train/good/notes.txt", "")
        .file("train/good/.hidden.png", "")
        .file("train/good/noextension", "")
        .folder("train/good/thumbnails.png")
        .image("ground_truth/broken/007_mask.png", 4, 3);
    let dataset = tree.open().unwrap();
    assert_eq!(dataset.ignored, 5);
    assert_eq!(dataset.items.len(), bottle().open().unwrap().items.len());
}

#[test]
fn every_image_extension_counts_in_any_case() {
    let names: Vec<String> = ["png", "jpg", "JPEG", "Bmp", "tif", "TIFF"]
        .iter()
        .map(|e| format!("train/good/{e}.{e}"))
        .collect();
    let tree = names.iter().fold(Tree::new(), |tree, name| tree.file(name, ""));
    assert_eq!(tree.open().unwrap().count(Split::Train), 6);
}

#[test]
fn a_defect_without_any_mask_is_evaluated_without() {
    let tree = bottle()
        .image("test/scratch/000.png", 4, 3)
        .folder("ground_truth/empty")
        .image("test/empty/0.png", 4, 3);
    let dataset = tree.open().unwrap();
    let without: Vec<_> = dataset
        .items
        .iter()
        .filter(|item| item.truth.is_anomalous() && item.masks.is_empty())
        .collect();
    assert_eq!(
        without.iter().map(|item| &item.name).collect::<Vec<_>>(),
        ["test/empty/0.png", "test/scratch/000.png"]
    );
}

#[test]
fn one_missing_mask_among_others_is_named() {
    let message = bottle().image("test/broken/002.png", 4, 3).complaint(Need::Evaluate);
    assert_says(
        &message,
        &[
            "no mask for",
            "test/broken/002.png",
            "`002_mask`",
            "ground_truth/broken",
            "hint: ",
        ],
    );
}

#[test]
fn defects_in_train_are_refused() {
    let message = bottle().image("train/broken/000.png", 4, 3).complaint(Need::Fit);
    assert_says(
        &message,
        &["train/broken", "only `good`", "hint: move its images to `test/`"],
    );
}

#[test]
fn an_empty_split_says_where_it_looked() {
    let tree = Tree::of(&["train/good/0.png"]).file("train/good/a.txt", "");
    tree.open().unwrap().check(Need::Fit).unwrap();
    let message = tree.complaint(Need::Evaluate);
    assert_says(
        &message,
        &[
            "cannot evaluate on",
            "no test images",
            "`test/<defect>/`",
            "1 train, 0 calibrate, 0 test and 1 other",
        ],
    );
    let tree = Tree::of(&["test/good/0.png"]).folder("train/good");
    assert_says(
        &tree.complaint(Need::Fit),
        &[
            "cannot fit on",
            "no train images",
            "`mvtec`",
            "`train/good/`",
            "0 train",
        ],
    );
}

#[test]
fn a_folder_of_another_kind_is_not_mvtec() {
    let tree = Tree::of(&["normal/0.png"]).file("about.txt", "");
    let message = complaint(tree.open_as(Layout::Mvtec, None));
    assert_says(
        &message,
        &[
            "as `mvtec`",
            "`train/good/`",
            "found `about.txt`, `normal/`",
            "hint: without `--layout`",
        ],
    );
}

#[test]
fn more_entries_than_the_limit_are_refused() {
    let tree = bottle();
    let n_entries = 100;
    assert!(Dataset::open_within(tree.root(), None, None, n_entries).is_ok());
    let message = complaint(Dataset::open_within(tree.root(), None, None, 5));
    assert_says(&message, &["more than 5 entries", "hint: check the path"]);
}
