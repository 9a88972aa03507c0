//! Nothing depends on how the work was spread over the machine.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;

use crate::support::{Args, SHARED, files, fit_small, intakt};
use crate::weights::RESNET18;

/// Workers and pool threads.
const MACHINES: [(&str, &str); 4] = [("1", "1"), ("1", "2"), ("2", "1"), ("3", "2")];

/// Fits one detector per machine, asserts that they are one, and returns it.
fn one_detector(dir: &Path, more: &Args<'_>) -> PathBuf {
    let fitted = MACHINES.map(|(workers, pool)| {
        let path = dir.join(format!("{workers}-{pool}.intakt"));
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"-w", &workers, &"--pool", &pool];
        args.extend(more);
        fit_small(&SHARED.dataset, &path, &args);
        path
    });
    let bytes = fitted.each_ref().map(|path| fs::read(path).unwrap());
    assert!(
        bytes.iter().all(|other| *other == bytes[0]),
        "the detector depends on workers or threads"
    );
    fitted[0].clone()
}

/// Asserts that verdicts, rates and pictures are the same bytes on every machine.
fn one_inspection(dir: &Path, detector: &Path) {
    let inspected = MACHINES.map(|(workers, pool)| {
        let out = dir.join(format!("out-{workers}-{pool}"));
        fs::create_dir(&out).unwrap();
        let (verdicts, rates, pictures) = (out.join("verdicts"), out.join("rates"), out.join("pictures"));
        let (good, blots) = (SHARED.dataset.join("test/good"), SHARED.dataset.join("test/blot"));
        intakt(&[
            &"inspect",
            &detector,
            &good,
            &blots,
            &"--jsonl",
            &verdicts,
            &"--rates",
            &rates,
            &"--heatmaps",
            &pictures,
            &"--all",
            &"-w",
            &workers,
            &"--pool",
            &pool,
        ])
        .expect(1);
        (
            fs::read_to_string(verdicts).unwrap(),
            fs::read_to_string(rates).unwrap(),
            files(&pictures),
        )
    });
    let (verdicts, rates, pictures) = &inspected[0];
    assert_eq!((verdicts.lines().count(), pictures.len()), (8, 8));
    assert!(!rates.is_empty());
    for (machine, (other_verdicts, other_rates, other_pictures)) in MACHINES.iter().zip(&inspected) {
        assert_eq!(verdicts, other_verdicts, "{machine:?}");
        assert_eq!(rates, other_rates, "{machine:?}");
        assert!(pictures == other_pictures, "{machine:?}: pictures differ");
    }
}

fn neither_detector_nor_verdicts_depend_on_the_machine(more: &Args<'_>) {
    let dir = tempdir().unwrap();
    let detector = one_detector(dir.path(), more);
    one_inspection(dir.path(), &detector);
}

#[test]
fn patchcore_does_not_depend_on_workers_and_threads() {
    neither_detector_nor_verdicts_depend_on_the_machine(&[&"--detector", &"patchcore"]);
}

#[test]
fn padim_does_not_depend_on_workers_and_threads() {
    neither_detector_nor_verdicts_depend_on_the_machine(&[&"--detector", &"padim"]);
}

#[test]
fn gaussian_does_not_depend_on_workers_and_threads() {
    neither_detector_nor_verdicts_depend_on_the_machine(&[&"--detector", &"gaussian"]);
}

#[test]
fn global_knn_does_not_depend_on_workers_and_threads() {
    neither_detector_nor_verdicts_depend_on_the_machine(&[&"--detector", &"global-knn"]);
}

#[test]
fn kept_sums_do_not_depend_on_workers_and_threads() {
    let dir = tempdir().unwrap();
    one_detector(
        dir.path(),
        &[
            &"--detector",
            &"padim",
            &"--keep-sums",
            &"--backbone",
            &"resnet18",
            &"--weights",
            &*RESNET18,
            &"--layers",
            &"layer2,layer3",
        ],
    );
}

#[test]
fn static_artefacts_do_not_depend_on_workers_and_threads() {
    let dir = tempdir().unwrap();
    let frames = dir.path().join("frames");
    fs::create_dir(&frames).unwrap();
    for n in 0..16 {
        fs::copy(&SHARED.blotted, frames.join(format!("{n:02}.png"))).unwrap();
    }
    let verdicts = MACHINES.map(|(workers, pool)| {
        let ran = intakt(&[
            &"inspect",
            &SHARED.detector,
            &frames,
            &"--static-artefacts",
            &"true",
            &"-w",
            &workers,
            &"--pool",
            &pool,
        ]);
        ran.expect(1).stdout
    });
    assert!(verdicts[0].contains("static_artefact"));
    assert!(verdicts[0] == verdicts[1] && verdicts[0] == verdicts[2]);
}
