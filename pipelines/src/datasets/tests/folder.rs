use intakt_operators::Truth;

use super::support::{Tree, assert_says, complaint, names};
use crate::datasets::{Dataset, Layout, Need, Split};

#[test]
fn a_flat_directory_is_all_train() {
    let tree = Tree::of(&["b.png", "a.png", "B.png", "sub/c.png"]);
    let dataset = tree.open().unwrap();
    assert_eq!(names(&dataset, Split::Train), ["B.png", "a.png", "b.png"]);
    assert_eq!((dataset.items.len(), dataset.ignored), (3, 1));
    assert!(dataset.items.iter().all(|item| item.truth == Truth::Normal));
    dataset.check(Need::Fit).unwrap();
    let message = complaint(dataset.check(Need::Evaluate));
    assert_says(&message, &["no test images", "`anomalous/`", "3 train"]);
}

#[test]
fn normal_without_anomalous_is_all_train() {
    let tree = Tree::of(&[
        "normal/0.png",
        "normal/monday/1.png",
        "normal/tuesday/1.png",
        "stray.png",
    ]);
    let dataset = tree.open().unwrap();
    assert_eq!(
        names(&dataset, Split::Train),
        ["normal/0.png", "normal/monday/1.png", "normal/tuesday/1.png"]
    );
    assert_eq!(dataset.count(Split::Test), 0);
}

#[test]
fn beside_anomalous_no_train_image_is_a_test_image() {
    let tree = (0..40).fold(Tree::of(&["anomalous/a.png"]), |tree, i| {
        tree.image(&format!("normal/{i}.png"), 4, 3)
    });
    let dataset = tree.open().unwrap();
    let (train, test) = (names(&dataset, Split::Train), names(&dataset, Split::Test));
    assert!((20..=36).contains(&train.len()), "{} of 40", train.len());
    assert_eq!(train.len() + test.len(), 41);
    assert!(
        train
            .iter()
            .all(|name| name.starts_with("normal/") && !test.contains(name))
    );
    dataset.check(Need::Evaluate).unwrap();
}

#[test]
fn another_format_does_not_change_sides() {
    let with = |extension: &str| {
        let start = Tree::of(&["anomalous/a.png"]);
        let tree = (0..20).fold(start, |tree, i| {
            tree.image(&format!("normal/day/{i}.{extension}"), 4, 3)
        });
        let dataset = tree.open().unwrap();
        let train = names(&dataset, Split::Train)
            .into_iter()
            .map(|name| name.replace(extension, "*"));
        train.collect::<Vec<_>>()
    };
    assert!(!with("png").is_empty());
    assert_eq!(with("png"), with("bmp"));
}

#[test]
fn sub_folders_are_classes_and_masks_follow_them() {
    let tree = Tree::of(&[
        "normal/0.png",
        "anomalous/0.png",
        "anomalous/dent/0.png",
        "anomalous/dent/deep/0.jpg",
        "anomalous/rust/0.png",
        "masks/0_mask.png",
        "masks/dent/0.bmp",
        "masks/dent/deep/0_mask.png",
        "masks/unused/0.png",
    ]);
    let dataset = tree.open().unwrap();
    assert_eq!(dataset.ignored, 1);
    let of = |name: &str| dataset.items.iter().find(|item| item.name == name).unwrap();
    for (name, class, masks) in [
        ("anomalous/0.png", "anomalous", vec!["masks/0_mask.png"]),
        ("anomalous/dent/0.png", "dent", vec!["masks/dent/0.bmp"]),
        ("anomalous/dent/deep/0.jpg", "dent", vec!["masks/dent/deep/0_mask.png"]),
        ("anomalous/rust/0.png", "rust", vec![]),
    ] {
        assert_eq!(of(name).truth, Truth::Anomalous(class.to_owned()), "{name}");
        assert_eq!(
            of(name).masks,
            masks.into_iter().map(|mask| tree.path(mask)).collect::<Vec<_>>(),
            "{name}"
        );
    }
}

#[test]
fn a_missing_mask_is_named() {
    let tree = Tree::of(&[
        "normal/0.png",
        "anomalous/dent/0.png",
        "anomalous/dent/1.png",
        "masks/dent/0.png",
    ]);
    assert_says(
        &tree.complaint(Need::Evaluate),
        &["no mask for", "anomalous/dent/1.png", "masks/dent"],
    );
}

#[test]
fn masks_that_belong_to_no_image_are_refused() {
    let tree = Tree::of(&["normal/0.png", "anomalous/dent/0.png", "masks/0.png", "masks/1.png"]);
    assert_says(
        &tree.complaint(Need::Evaluate),
        &["no mask in", "masks/0.png", "hint: give a mask the sub-folder"],
    );
}

#[test]
fn an_empty_directory_cannot_be_fitted() {
    let dataset = Tree::new().open_as(Layout::Folder, None).unwrap();
    assert_says(
        &complaint(dataset.check(Need::Fit)),
        &["no train images", "`normal/`, or the directory itself"],
    );
    let file = Tree::new().file("a.png", "");
    let message = complaint(Dataset::open(&file.path("a.png"), Some(Layout::Folder), None));
    assert_says(
        &message,
        &["as `folder`", "a.png", "a directory of images", "found a file"],
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_a_parent_is_no_trap() {
    let tree = Tree::of(&["normal/a/0.png"]);
    std::os::unix::fs::symlink(tree.path("normal"), tree.path("normal/a/up")).unwrap();
    std::os::unix::fs::symlink("self.png", tree.path("normal/self.png")).unwrap();
    let dataset = tree.open().unwrap();
    // The link that leads nowhere stays in the list: its frame will be unreadable.
    assert_eq!(names(&dataset, Split::Train), ["normal/a/0.png", "normal/self.png"]);
    assert_eq!(dataset.ignored, 1);
    dataset.check(Need::Fit).unwrap();
}
