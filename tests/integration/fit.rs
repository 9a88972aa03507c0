//! `intakt fit`: every kind of detector, tiles, layouts of the input, and how the threshold is chosen.

use std::fs;

use tempfile::tempdir;

use crate::pictures::{blot, mask, mvtec_dataset, normal, strip};
use crate::support::{Args, BLOT_PX, SHARED, decision, fit_small, intakt, overlaps};
use crate::weights::RESNET18;

/// Fits a detector as asked and holds a normal and a blotted frame before it.
fn finds_the_blot(kind: &str, localises: bool, more: &Args<'_>) {
    let dir = tempdir().unwrap();
    let detector = dir.path().join("detector.intakt");
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--detector", &kind];
    args.extend(more);
    let fitted = fit_small(&SHARED.dataset, &detector, &args);
    assert!(fitted.stderr.contains("wrote "), "{}", fitted.stderr);
    let ran = intakt(&[&"inspect", &detector, &SHARED.normal, &SHARED.blotted]).expect(1);
    let verdicts = ran.verdicts();
    assert_eq!(
        verdicts.iter().map(decision).collect::<Vec<_>>(),
        ["pass", "reject"],
        "{kind}"
    );
    let regions = verdicts[1]["regions"].as_array().unwrap();
    assert!(!regions.is_empty(), "{kind}: a reject shows where");
    if localises {
        assert!(overlaps(&regions[0], BLOT_PX), "{kind}: {}", regions[0]);
    }
}

#[test]
fn patchcore_finds_an_obvious_defect() {
    finds_the_blot("patchcore", true, &[]);
}

#[test]
fn padim_finds_an_obvious_defect() {
    finds_the_blot("padim", true, &[]);
}

#[test]
fn gaussian_finds_an_obvious_defect() {
    finds_the_blot("gaussian", true, &[]);
}

#[test]
fn global_knn_finds_an_obvious_defect() {
    finds_the_blot("global-knn", false, &[]);
}

#[test]
fn resnet18_is_built_from_a_weights_file() {
    finds_the_blot(
        "patchcore",
        true,
        &[&"--backbone", &"resnet18", &"--weights", &*RESNET18],
    );
}

#[test]
fn networks_compute_in_the_precision_that_is_asked_for() {
    let dir = tempdir().unwrap();
    for precision in ["int8", "bf16", "f32"] {
        let detector = dir.path().join(format!("{precision}.intakt"));
        let resnet18 = [
            &"--backbone" as &dyn AsRef<std::ffi::OsStr>,
            &"resnet18",
            &"--weights",
            &*RESNET18,
        ];
        let mut more = resnet18.to_vec();
        more.extend([&"--precision" as &dyn AsRef<std::ffi::OsStr>, &precision]);
        fit_small(&SHARED.dataset, &detector, &more);
        let shown = intakt(&[&"show", &detector]).expect(0).stdout;
        assert!(shown.contains(&format!(", {precision}, weights ")), "{shown}");
        assert!(shown.contains(", on this machine by "), "{shown}");
        // What is read again decides as what was fitted did when it was calibrated: a normal image is normal, and twice the same.
        let verdicts = || {
            intakt(&[&"inspect", &detector, &SHARED.normal, &SHARED.blotted])
                .expect(1)
                .stdout
        };
        let once = verdicts();
        assert_eq!(
            once.matches("\"decision\":\"reject\"").count(),
            1,
            "{precision}: {once}"
        );
        assert_eq!(once, verdicts());
    }
}

/// Whether the CPU multiplies 8-bit integers faster than anything else.
fn has_fast_int8() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = is_x86_feature_detected!("avx512vnni")
        || is_x86_feature_detected!("avxvnni")
        || !is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let found = false;
    found
}

#[test]
fn the_precision_is_int8_where_the_cpu_is_fast_at_it_and_no_image_is_taken_out_again() {
    let dir = tempdir().unwrap();
    let detector = dir.path().join("resnet.intakt");
    let of = |more: &[&dyn AsRef<std::ffi::OsStr>]| {
        let mut typed: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--detector", &"padim", &"--backbone", &"resnet18"];
        typed.extend([&"--weights" as &dyn AsRef<std::ffi::OsStr>, &*RESNET18]);
        typed.extend(more);
        fit_small(&SHARED.dataset, &detector, &typed).expect(0);
        intakt(&[&"show", &detector]).expect(0).stdout
    };
    let fastest = if has_fast_int8() {
        ", int8, weights "
    } else {
        ", f32, weights "
    };
    for more in [&[][..], &[&"--precision" as &dyn AsRef<std::ffi::OsStr>, &"auto"]] {
        let shown = of(more);
        assert!(shown.contains(fastest), "{shown}");
    }
    let shown = of(&[&"--keep-sums"]);
    assert!(shown.contains(", f32, weights "), "{shown}");
}

#[test]
fn layers_and_image_scores_are_as_asked() {
    let dir = tempdir().unwrap();
    let detector = dir.path().join("detector.intakt");
    fit_small(
        &SHARED.dataset,
        &detector,
        &[&"--layers", &"hop2,hop3", &"--image-score", &"top:20", &"--crop", &"56"],
    );
    let shown = intakt(&[&"show", &detector]).expect(0).stdout;
    for fragment in [
        "hop2 + hop3",
        "mean of the 20 highest pixels",
        "resized to 64 px, middle 56 px",
    ] {
        assert!(shown.contains(fragment), "`{fragment}` is not in: {shown}");
    }
}

#[test]
fn tiles_find_a_defect_in_a_wide_frame_at_its_place() {
    let dir = tempdir().unwrap();
    let train = dir.path().join("train");
    fs::create_dir(&train).unwrap();
    (0..10).for_each(|n| strip(4 * n, 3).save(train.join(format!("{n}.png"))).unwrap());
    let mut defective = strip(60, 3);
    let place = [600, 100, 48, 48];
    blot(&mut defective, place);
    let frame = dir.path().join("frame.png");
    defective.save(&frame).unwrap();
    let detector = dir.path().join("tiles.intakt");
    for (enlarge, seen) in [("1", "seen at 128 px"), ("2", "seen at 256 px")] {
        let tiling: [&dyn AsRef<std::ffi::OsStr>; 6] = [&"--tile", &"128", &"--overlap", &"32", &"--enlarge", &enlarge];
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"fit", &train, &"-o", &detector];
        args.extend(tiling);
        intakt(&args).expect(0);
        let shown = intakt(&[&"show", &detector]).expect(0).stdout;
        assert!(
            shown.contains("tiles of 128 px, 32 px shared") && shown.contains(seen),
            "{shown}"
        );
        let verdicts = intakt(&[&"inspect", &detector, &frame]).expect(1).verdicts();
        assert!(
            overlaps(&verdicts[0]["regions"][0], place),
            "enlarge {enlarge}: {}",
            verdicts[0]
        );
    }
}

/// What `fit` said, and the threshold of a detector that was calibrated so.
fn calibrated(method: &str) -> (String, f64) {
    let dir = tempdir().unwrap();
    let detector = dir.path().join("detector.intakt");
    let fitted = fit_small(&SHARED.dataset, &detector, &[&"--calibrate", &method]);
    let verdicts = intakt(&[&"inspect", &detector, &SHARED.normal]).verdicts();
    (fitted.stderr, verdicts[0]["threshold"].as_f64().unwrap())
}

#[test]
fn conformal_and_fixed_thresholds_are_as_asked() {
    let (statement, conformal) = calibrated("conformal");
    assert!(
        statement.contains("conformal quantile") && conformal > 0.0,
        "{statement}"
    );
    let (_, fixed) = calibrated("fixed:1000.25");
    assert_eq!(fixed, 1000.25);
    let dir = tempdir().unwrap();
    let detector = dir.path().join("detector.intakt");
    let args: &Args<'_> = &[
        &"fit",
        &SHARED.dataset,
        &"-o",
        &detector,
        &"--size",
        &"64",
        &"--calibrate",
        &"fixed:0.25",
    ];
    intakt(args).expect_error(&["cannot", "0.25"]);
}

#[test]
fn peaks_over_threshold_extrapolates_from_fifty_frames() {
    let dir = tempdir().unwrap();
    let detector = dir.path().join("detector.intakt");
    mvtec_dataset(dir.path(), 12, 0, 0);
    let args: &Args<'_> = &[
        &"fit",
        &dir.path(),
        &"-o",
        &detector,
        &"--size",
        &"64",
        &"--calibrate",
        &"pot",
    ];
    intakt(args).expect_error(&["cannot calibrate by peaks over threshold", "50 are needed"]);
    let validation = dir.path().join("validation/good");
    fs::create_dir_all(&validation).unwrap();
    (0..52).for_each(|n| normal(20 + n).save(validation.join(format!("{n}.png"))).unwrap());
    let fitted = intakt(args).expect(0);
    assert!(fitted.stderr.contains("peaks over threshold"), "{}", fitted.stderr);
    let verdicts = intakt(&[&"inspect", &detector, &SHARED.normal, &SHARED.blotted])
        .expect(1)
        .verdicts();
    assert_eq!(verdicts.iter().map(decision).collect::<Vec<_>>(), ["pass", "reject"]);
}

#[test]
fn f1_max_takes_labelled_frames_and_separates_them() {
    let dir = tempdir().unwrap();
    let mut manifest = "path,split,label,mask\n".to_owned();
    for n in 0..30 {
        let (name, split) = (format!("{n}.png"), if n < 20 { "train" } else { "calibrate" });
        let (mut image, mut label, mut drawn) = (normal(n), "normal", String::new());
        if n >= 25 {
            (label, drawn) = ("blot", format!("{n}_mask.png"));
            blot(&mut image, BLOT_PX);
            mask(256, 256, BLOT_PX).save(dir.path().join(&drawn)).unwrap();
        }
        image.save(dir.path().join(&name)).unwrap();
        manifest += &format!("{name},{split},{label},{drawn}\n");
    }
    let listed = dir.path().join("list.csv");
    fs::write(&listed, manifest).unwrap();
    let detector = dir.path().join("detector.intakt");
    fit_small(&listed, &detector, &[&"--calibrate", &"f1-max"]);
    let verdicts = intakt(&[&"inspect", &detector, &SHARED.normal, &SHARED.blotted])
        .expect(1)
        .verdicts();
    assert_eq!(verdicts.iter().map(decision).collect::<Vec<_>>(), ["pass", "reject"]);
    intakt(&[
        &"fit",
        &SHARED.dataset,
        &"-o",
        &detector,
        &"--size",
        &"64",
        &"--calibrate",
        &"f1-max",
    ])
    .expect_error(&["cannot calibrate by F1"]);
}

#[test]
fn a_few_unreadable_images_are_listed_and_skipped() {
    let dir = tempdir().unwrap();
    (0..24).for_each(|n| normal(n).save(dir.path().join(format!("{n:02}.png"))).unwrap());
    fs::write(
        dir.path().join("torn.png"),
        &fs::read(dir.path().join("00.png")).unwrap()[..5000],
    )
    .unwrap();
    let detector = dir.path().join("detector.intakt");
    let ran = fit_small(dir.path(), &detector, &[]);
    assert!(
        ran.stderr.contains("skipped \"torn.png\": truncated PNG"),
        "{}",
        ran.stderr
    );
    fs::write(dir.path().join("empty.png"), b"").unwrap();
    fs::remove_file(&detector).unwrap();
    let args: &Args<'_> = &[&"fit", &dir.path(), &"-o", &detector, &"--size", &"64"];
    let ran = intakt(args).expect_error(&["2 of 26 images are unreadable, more than 5 %"]);
    assert!(
        ran.stderr.contains("skipped \"empty.png\": not an image"),
        "{}",
        ran.stderr
    );
    assert!(!detector.exists());
}
