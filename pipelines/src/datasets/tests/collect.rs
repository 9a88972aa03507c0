use std::path::PathBuf;

use super::support::{Tree, assert_says, complaint};
use crate::datasets::{CameraFiles, collect_images};

fn collect(tree: &Tree, paths: &[&str]) -> Vec<CameraFiles> {
    let paths: Vec<PathBuf> = paths.iter().map(|path| tree.path(path)).collect();
    collect_images(&paths).unwrap().cameras
}

fn complaint_of(tree: &Tree, paths: &[&str]) -> String {
    let paths: Vec<PathBuf> = paths.iter().map(|path| tree.path(path)).collect();
    complaint(collect_images(&paths))
}

fn files(tree: &Tree, camera: &CameraFiles) -> Vec<String> {
    let relative = |path: &PathBuf| path.strip_prefix(tree.root()).unwrap().to_str().unwrap().to_owned();
    camera.files.iter().map(|file| relative(&file.path)).collect()
}

#[test]
fn a_directory_is_a_camera_with_everything_below_it() {
    let tree = Tree::of(&[
        "left/b.png",
        "left/a/2.png",
        "left/a/10.png",
        "left/a.b/1.png",
        "right/1.png",
    ])
    .file("left/log.txt", "")
    .file("left/.cache/1.png", "");
    let cameras = collect(&tree, &["right", "left"]);
    assert_eq!(
        cameras.iter().map(|camera| &camera.camera).collect::<Vec<_>>(),
        ["left", "right"]
    );
    // Bytewise: `.` comes before `/`, and `1` before `2`.
    assert_eq!(
        files(&tree, &cameras[0]),
        ["left/a.b/1.png", "left/a/10.png", "left/a/2.png", "left/b.png"]
    );
    assert_eq!(cameras[0].files[0].captured_at_us, None);
}

#[test]
fn files_of_a_directory_are_one_camera_whatever_their_order() {
    let tree = Tree::of(&["left/1.png", "left/2.png"]).file("left/3.raw", "");
    let cameras = collect(&tree, &["left/3.raw", "left/2.png", "left/1.png"]);
    assert_eq!(cameras.len(), 1);
    assert_eq!(cameras[0].camera, "left");
    assert_eq!(files(&tree, &cameras[0]), ["left/1.png", "left/2.png", "left/3.raw"]);
}

#[test]
fn two_directories_of_one_name_stay_two_cameras() {
    let tree = Tree::of(&["monday/left/1.png", "tuesday/left/1.png", "right/1.png"]);
    let cameras = collect(&tree, &["tuesday/left", "monday/left/1.png", "right"]);
    let names: Vec<&str> = cameras.iter().map(|camera| camera.camera.as_str()).collect();
    assert_eq!(names.len(), 3);
    assert!(
        names[0].starts_with("left (") && names[0].ends_with("monday/left)"),
        "{names:?}"
    );
    assert!(
        names[1].starts_with("left (") && names[1].ends_with("tuesday/left)"),
        "{names:?}"
    );
    assert_eq!(names[2], "right");
}

#[test]
fn a_manifest_has_cameras_and_times() {
    let tree = Tree::of(&["a.png", "b.png", "c.png", "d.png"]).file(
        "list.csv",
        "path,camera,captured_at,split\nd.png,top,5,\nc.png,top,5,\nb.png,top,3,\na.png,,1970-01-01T00:00:01Z,\n",
    );
    let cameras = collect(&tree, &["list.csv"]);
    let top = cameras.iter().find(|camera| camera.camera == "top").unwrap();
    assert_eq!(files(&tree, top), ["b.png", "c.png", "d.png"]);
    assert_eq!(
        top.files.iter().map(|file| file.captured_at_us).collect::<Vec<_>>(),
        [Some(3), Some(5), Some(5)]
    );
    let own_name = tree.root().file_name().unwrap().to_str().unwrap();
    let other = cameras.iter().find(|camera| camera.camera == own_name).unwrap();
    assert_eq!(other.files[0].captured_at_us, Some(1_000_000));
}

#[test]
fn times_on_some_rows_of_a_camera_are_refused() {
    let tree = Tree::of(&["a.png", "b.png"]).file("list.csv", "path,captured_at\na.png,\nb.png,7\n");
    let message = complaint_of(&tree, &["list.csv"]);
    assert_says(
        &message,
        &[
            "line 2, column `captured_at`",
            "no time here, but line 3",
            "on every row",
        ],
    );
    let tree = tree.file("list.csv", "path,camera,captured_at\na.png,left,\nb.png,right,7\n");
    assert_eq!(collect(&tree, &["list.csv"]).len(), 2);
}

#[test]
fn what_is_missing_or_empty_is_refused() {
    let tree = Tree::new()
        .file("texts/a.txt", "")
        .file("list.csv", "path\n")
        .image("a.png", 4, 3);
    assert_says(
        &complaint_of(&tree, &["a.png", "no.png"]),
        &["cannot read", "no.png", "No such file"],
    );
    assert_says(
        &complaint_of(&tree, &["a.png", "texts"]),
        &["no images in", "texts", "hint: give images"],
    );
    assert_says(&complaint_of(&tree, &["list.csv"]), &["no images in", "list.csv"]);
    assert_says(&complaint(collect_images(&[])), &["no images in nothing"]);
    let tree = tree.file("list.csv", "path\ngone.png\n");
    assert_says(
        &complaint_of(&tree, &["list.csv"]),
        &["line 2, column `path`", "gone.png"],
    );
}

#[test]
fn a_file_that_is_given_twice_is_refused() {
    let tree = Tree::of(&["left/1.png", "left/2.png"]).file("list.csv", "path\nleft/1.png\n");
    for paths in [
        ["left", "left/2.png"],
        ["left/2.png", "left/../left/2.png"],
        ["list.csv", "left"],
    ] {
        assert_says(
            &complaint_of(&tree, &paths),
            &["is the same file as", "hint: list every image once"],
        );
    }
}

#[test]
fn images_of_another_kind_are_told() {
    let tree = Tree::of(&["left/1.png", "left/deep/5.png"]);
    for other in ["left/2.webp", "left/deep/3.WEBP", "left/4.txt"] {
        std::fs::write(tree.path(other), "").unwrap();
    }
    let found = collect_images(&[tree.path("left")]).unwrap();
    assert_eq!((found.cameras[0].files.len(), found.foreign), (2, 2));
    assert_says(&found.note().unwrap(), &["2 image files are left out", "png, jpg"]);
    assert_eq!(collect_images(&[tree.path("left/1.png")]).unwrap().note(), None);
}

#[cfg(unix)]
#[test]
fn links_neither_hang_nor_count_twice() {
    use std::os::unix::fs::symlink;
    let tree = Tree::of(&["left/a/1.png", "left/b/2.png"]);
    symlink(tree.path("left"), tree.path("left/a/loop")).unwrap();
    symlink(tree.path("left/b"), tree.path("left/a/other")).unwrap();
    symlink(tree.path("left/a/1.png"), tree.path("left/latest.png")).unwrap();
    let cameras = collect(&tree, &["left"]);
    assert_eq!(
        files(&tree, &cameras[0]),
        ["left/a/1.png", "left/a/other/2.png", "left/latest.png"]
    );
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_opened() {
    let tree = Tree::of(&["left/1.png"]);
    let pipe = tree.path("left/pipe.png");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(files(&tree, &collect(&tree, &["left"])[0]), ["left/1.png"]);
    assert_says(
        &complaint_of(&tree, &["left/pipe.png"]),
        &["neither a file nor a directory"],
    );
}
