//! `fit --keep-sums` and `fit --without`: an image can be taken out again, exactly.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;

use crate::pictures::normal;
use crate::support::{Args, detector_metadata, intakt};
use crate::weights::RESNET18;

/// Images of the dataset: so many that five or more are held out, and the choice among the others stays the same.
const IMAGES: u64 = 40;

fn images(directory: &Path) {
    fs::create_dir(directory).unwrap();
    (0..IMAGES).for_each(|n| normal(n).save(directory.join(format!("{n:02}.png"))).unwrap());
}

fn fit(dataset: &Path, output: &Path, more: &Args<'_>) {
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![
        &"fit",
        &dataset,
        &"-o",
        &output,
        &"--size",
        &"64",
        &"--detector",
        &"padim",
        &"--keep-sums",
    ];
    args.extend([
        &"--backbone" as &dyn AsRef<std::ffi::OsStr>,
        &"resnet18",
        &"--weights",
        &*RESNET18,
    ]);
    args.extend([&"--layers" as &dyn AsRef<std::ffi::OsStr>, &"layer2,layer3"]);
    args.extend(more);
    intakt(&args).expect(0);
}

/// Names of the images in a detector that have this role.
fn names(detector: &Path, role: &str) -> Vec<String> {
    let manifest = detector_metadata(detector, "manifest");
    let of_role = manifest
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["role"] == role);
    of_role
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_image_is_taken_out_of_16_bits_as_exactly() {
    let dir = tempdir().unwrap();
    let [all, never, without] = ["all", "never", "without"].map(|name| dir.path().join(format!("{name}.intakt")));
    let (dataset, fewer) = (dir.path().join("all"), dir.path().join("fewer"));
    images(&dataset);
    images(&fewer);
    fit(&dataset, &all, &[&"--precision", &"bf16"]);
    let gone = &names(&all, "train")[0];
    fs::remove_file(fewer.join(gone)).unwrap();
    fit(&fewer, &never, &[&"--precision", &"bf16"]);
    intakt(&[&"fit", &dataset, &"-o", &without, &"--without", gone, &"--from", &all]).expect(0);
    assert!(fs::read(&without).unwrap() == fs::read(&never).unwrap(), "{gone}");
}

#[test]
fn taking_an_image_out_equals_never_having_seen_it() {
    let dir = tempdir().unwrap();
    let (dataset, all) = (dir.path().join("all"), dir.path().join("all.intakt"));
    images(&dataset);
    fit(&dataset, &all, &[]);
    let (train, held_out) = (names(&all, "train"), names(&all, "calibrate"));
    assert!(
        held_out.len() >= 5,
        "else another image would be held out: {held_out:?}"
    );
    // One named within the dataset, one by its path.
    for (gone, typed) in [
        (&train[train.len() / 2], PathBuf::from(&train[train.len() / 2])),
        (&held_out[0], dataset.join(&held_out[0])),
    ] {
        let (without, never) = (dir.path().join("without.intakt"), dir.path().join("never.intakt"));
        intakt(&[&"fit", &dataset, &"-o", &without, &"--without", &typed, &"--from", &all]).expect(0);
        let fewer = dir.path().join(format!("without_{gone}"));
        images(&fewer);
        fs::remove_file(fewer.join(gone)).unwrap();
        fit(&fewer, &never, &[]);
        assert!(fs::read(&without).unwrap() == fs::read(&never).unwrap(), "{gone}");
        assert!(fs::read(&without).unwrap() != fs::read(&all).unwrap(), "{gone}");
    }
    refuses_what_it_cannot_take_out(dir.path(), &dataset, &all, &train[0]);
}

fn refuses_what_it_cannot_take_out(dir: &Path, dataset: &Path, all: &Path, changed: &str) {
    let output = dir.join("refused.intakt");
    let without = |name: &str| intakt(&[&"fit", &dataset, &"-o", &output, &"--without", &name, &"--from", &all]);
    without("nobody.png").expect_error(&["cannot take \"nobody.png\" out", "the dataset has no such image"]);
    normal(IMAGES + 1).save(dataset.join("later.png")).unwrap();
    without("later.png").expect_error(&["was not fitted on it: it came later"]);
    fs::remove_file(dataset.join("later.png")).unwrap();
    normal(IMAGES).save(dataset.join(changed)).unwrap();
    without("01.png").expect_error(&[changed, "no longer what the detector was fitted on"]);
    assert!(!output.exists());
}

#[test]
fn sums_are_kept_only_where_they_serve() {
    let dir = tempdir().unwrap();
    let (dataset, output) = (dir.path().join("all"), dir.path().join("out.intakt"));
    images(&dataset);
    let refused = |more: &Args<'_>, fragments: &[&str]| {
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"fit", &dataset, &"-o", &output, &"--keep-sums"];
        args.extend(more);
        intakt(&args).expect_error(fragments);
    };
    refused(&[&"--detector", &"padim"], &["cannot keep sums", "built-in backbone"]);
    refused(&[&"--detector", &"gaussian"], &["cannot keep sums", "only padim"]);
    intakt(&[&"fit", &dataset, &"-o", &output, &"--without", &"00.png"]).expect(2);
    let detector = &crate::support::SHARED.detector;
    intakt(&[
        &"fit",
        &dataset,
        &"-o",
        &output,
        &"--without",
        &"00.png",
        &"--from",
        detector,
    ])
    .expect_error(&["the detector keeps no sums", "--keep-sums"]);
}
