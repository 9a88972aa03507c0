use std::fs;

use intakt_operators::Truth;

use super::support::{Tree, assert_says, complaint, names};
use crate::datasets::{Layout, Need, Split};

/// Fabric 02 in folder `weave-a`, fabric 04 in `weave-b`, fabric 08 without normal images.
fn fabrics() -> Tree {
    let mut tree = Tree::of(&[
        "Defect_images/0010_006_02.png",
        "Defect_images/0044_019_04.png",
        "Defect_images/0045_020_04.png",
        "Defect_images/0100_025_08.png",
        "Mask_images/0010_006_02_mask.png",
        "Mask_images/0044_019_04_mask2.png",
        "Mask_images/0044_019_04_mask1.png",
    ]);
    for i in 0..30 {
        tree = tree.image(&format!("NODefect_images/weave-a/{i:04}_000_02.png"), 4, 3);
        tree = tree.image(&format!("NODefect_images/weave-b/{i:04}_000_04.png"), 4, 3);
    }
    tree
}

#[test]
fn a_fabric_is_chosen_by_code_or_by_folder() {
    let tree = fabrics();
    let by_code = tree.open_as(Layout::Aitex, Some("04")).unwrap();
    let by_folder = tree.open_as(Layout::Aitex, Some("weave-b")).unwrap();
    assert_eq!(by_code, by_folder);
    assert_eq!(by_code.fabric.as_deref(), Some("04"));
    assert_eq!(by_code.items.len(), 32);
    assert!(
        by_code
            .items
            .iter()
            .all(|item| item.name.ends_with("_04.png") && item.camera == "04")
    );
    by_code.check(Need::Fit).unwrap();
    by_code.check(Need::Evaluate).unwrap();
}

#[test]
fn defects_are_test_images_with_the_code_as_class() {
    let tree = fabrics().image("Defect_images/0046_000_04.png", 4, 3);
    let dataset = tree.open_as(Layout::Aitex, Some("04")).unwrap();
    let item = |name: &str| dataset.items.iter().find(|item| item.name == name).unwrap();
    let several = item("Defect_images/0044_019_04.png");
    assert_eq!(
        (several.split, &several.truth),
        (Split::Test, &Truth::Anomalous("019".to_owned()))
    );
    let masks = ["Mask_images/0044_019_04_mask1.png", "Mask_images/0044_019_04_mask2.png"];
    assert_eq!(several.masks, masks.map(|mask| tree.path(mask)));
    assert!(item("Defect_images/0045_020_04.png").masks.is_empty());
    assert_eq!(item("Defect_images/0046_000_04.png").truth, Truth::Normal);
}

#[test]
fn most_normals_are_train_and_every_image_has_one_split() {
    let dataset = fabrics().open_as(Layout::Aitex, Some("02")).unwrap();
    let train = dataset.count(Split::Train);
    assert!((15..=27).contains(&train), "{train} of 30");
    assert_eq!(train + dataset.count(Split::Test), 31);
    assert!(dataset.split(Split::Train).all(|item| item.truth == Truth::Normal));
}

#[test]
fn no_image_changes_sides_when_another_comes_or_goes() {
    let tree = fabrics();
    let before = tree.open_as(Layout::Aitex, Some("02")).unwrap();
    for i in (0..30).step_by(3) {
        fs::remove_file(tree.path(&format!("NODefect_images/weave-a/{i:04}_000_02.png"))).unwrap();
    }
    let tree = tree.image("NODefect_images/weave-a/0999_000_02.png", 4, 3);
    let after = tree.open_as(Layout::Aitex, Some("02")).unwrap();
    let mut n_compared = 0;
    for item in &after.items {
        let Some(earlier) = before.items.iter().find(|earlier| earlier.name == item.name) else {
            continue;
        };
        assert_eq!(earlier.split, item.split, "{}", item.name);
        n_compared += 1;
    }
    assert_eq!(n_compared, 21);
}

#[test]
fn two_normals_are_one_of_each_and_one_is_trained_on() {
    let tree = Tree::of(&["Defect_images/0001_002_00.png", "NODefect_images/a/0001_000_00.png"]);
    assert_eq!(
        names(&tree.open().unwrap(), Split::Train),
        ["NODefect_images/a/0001_000_00.png"]
    );
    for i in 2..40 {
        let two = Tree::of(&[
            "NODefect_images/a/0001_000_00.png",
            &format!("NODefect_images/a/{i:04}_000_00.png"),
        ]);
        let dataset = two.open().unwrap();
        assert_eq!(
            (dataset.count(Split::Train), dataset.count(Split::Test)),
            (1, 1),
            "with {i}"
        );
    }
}

#[test]
fn the_choice_among_several_fabrics_is_asked_for() {
    let message = fabrics().complaint(Need::Fit);
    let fabrics = "found `02` (weave-a), `04` (weave-b), `08` (no normal images)";
    assert_says(&message, &["cannot choose", fabrics, "`--fabric 02`"]);
}

#[test]
fn an_unknown_fabric_is_answered_with_those_that_are_there() {
    let message = complaint(fabrics().open_as(Layout::Aitex, Some("05")));
    assert_says(
        &message,
        &[
            "no fabric `05`",
            "`02` (weave-a), `04` (weave-b)",
            "hint: choose one of these",
        ],
    );
}

#[test]
fn a_folder_with_two_fabrics_has_to_be_chosen_by_code() {
    let tree = fabrics().image("NODefect_images/weave-a/0001_000_04.png", 4, 3);
    let message = complaint(tree.open_as(Layout::Aitex, Some("weave-a")));
    assert_says(&message, &["weave-a", "the fabrics `02`, `04`", "`--fabric 02`"]);
    assert_eq!(tree.open_as(Layout::Aitex, Some("04")).unwrap().items.len(), 33);
}

#[test]
fn a_fabric_without_normal_images_cannot_be_fitted() {
    let dataset = fabrics().open_as(Layout::Aitex, Some("08")).unwrap();
    dataset.check(Need::Evaluate).unwrap();
    let message = complaint(dataset.check(Need::Fit));
    assert_says(
        &message,
        &["no train images", "`NODefect_images/<fabric>/NNNN_DDD_08.*`", "1 test"],
    );
}

#[test]
fn foreign_names_are_passed_over_and_counted() {
    let tree = Tree::of(&[
        "NODefect_images/a/0001_000_00.png",
        "NODefect_images/a/cover.png",
        "Defect_images/1_2_3_4.png",
    ]);
    let dataset = tree.open().unwrap();
    assert_eq!((dataset.items.len(), dataset.ignored), (1, 2));
    let message = complaint(Tree::of(&["NODefect_images/a/cover.png"]).open());
    assert_says(&message, &["`NNNN_DDD_FF.png`"]);
    assert_says(
        &complaint(Tree::of(&["a/b.png"]).open_as(Layout::Aitex, None)),
        &["`NODefect_images/`", "found `a/`"],
    );
}

#[test]
fn only_aitex_has_fabrics() {
    let message = complaint(Tree::of(&["normal/0.png"]).open_as(Layout::Folder, Some("02")));
    assert_says(&message, &["the layout is `folder`", "hint: leave out `--fabric`"]);
}
