//! Settings that make no sense: refused before any work, with what is possible.

use std::fs;

use tempfile::tempdir;

use crate::support::{Args, SHARED, intakt};

/// `fit` with these settings must end with exit code 2 and a sentence that holds `fragment`.
#[track_caller]
fn refused(settings: &Args<'_>, fragment: &str) {
    let dir = tempdir().unwrap();
    let output = dir.path().join("old.intakt");
    fs::write(&output, "an older detector").unwrap();
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"fit", &SHARED.dataset, &"-o", &output];
    args.extend(settings);
    intakt(&args).expect_error(&[fragment]);
    assert_eq!(fs::read_to_string(&output).unwrap(), "an older detector");
}

#[test]
fn sizes_and_tiles_that_are_impossible_are_refused() {
    refused(&[&"--size", &"0"], "the network's input is 0 pixels wide, but 32 to");
    refused(&[&"--size", &"99999999"], "the network's input is 99999999 pixels wide");
    refused(
        &[&"--size", &"64", &"--crop", &"65"],
        "the centre crop is 65 pixels wide",
    );
    refused(&[&"--size", &"64", &"--crop", &"0"], "the centre crop is 0 pixels wide");
    refused(&[&"--tile", &"0"], "a tile is 0 pixels wide");
    refused(&[&"--tile", &"9999"], "a tile is 9999 pixels wide");
    refused(
        &[&"--tile", &"64", &"--overlap", &"64"],
        "the overlap has to be smaller than the tile",
    );
    refused(
        &[&"--tile", &"64", &"--overlap", &"4000000000"],
        "the overlap has to be smaller than the tile",
    );
    refused(
        &[&"--tile", &"512", &"--detector", &"gaussian"],
        "smaller than a tile of 512x512",
    );
    refused(&[&"--tile", &"64", &"--enlarge", &"9"], "--enlarge");
    refused(&[&"--tile", &"64", &"--size", &"64"], "cannot be used with");
    refused(&[&"--overlap", &"8"], "--tile");
    refused(&[&"--border", &"128"], "nothing of the frame is inspected");
}

#[test]
fn shares_outside_their_range_are_refused() {
    for ratio in ["0", "-1", "1.5", "NaN"] {
        let ratio = format!("--coreset-ratio={ratio}");
        refused(
            &[&"--detector", &"patchcore", &ratio],
            "`--coreset-ratio` is above 0 and at most 1",
        );
    }
    for rate in ["0", "-0.1", "0.6", "NaN", "inf"] {
        let rate = format!("--false-reject-rate={rate}");
        refused(&[&rate], "`--false-reject-rate` is above 0 and at most 0.5");
    }
    refused(&[&"--min-peak", &"1.5"], "cannot use `--min-peak 1.5`");
    refused(&[&"--hysteresis=-1"], "cannot use `--hysteresis -1`");
    refused(&[&"--min-peak", &"NaN"], "cannot use `--min-peak NaN`");
}

#[test]
fn words_that_are_unknown_are_refused_with_the_known_ones() {
    refused(
        &[&"--calibrate", &"guess"],
        "it is `conformal`, `pot`, `f1-max` or `fixed:SCORE`",
    );
    refused(&[&"--calibrate", &"fixed:NaN"], "cannot read `--calibrate fixed:NaN`");
    refused(&[&"--image-score", &"top:"], "it is `max`, `top:N` or `reweighted`");
    refused(&[&"--image-score", &"top:0"], "N ≥ 1");
    refused(&[&"--image-score", &"reweighted"], "only patchcore");
    refused(
        &[&"--size", &"64", &"--layers", &"hop9"],
        "has no layer `hop9`: known are hop1",
    );
    refused(&[&"--size", &"64", &"--layers", &"hop2,hop1"], "from shallow to deep");
    refused(&[&"--detector", &"patchcroe"], "patchcore");
    refused(&[&"--backbone", &"vgg"], "resnet18");
}

#[test]
fn pretrained_networks_need_their_weights() {
    refused(&[&"--backbone", &"resnet18"], "--weights resnet18.safetensors");
    let weights = &*crate::weights::RESNET18;
    refused(&[&"--weights", weights], "--backbone resnet18");
    refused(&[&"--backbone", &"builtin", &"--weights", weights], "takes no weights");
    refused(
        &[
            &"--size",
            &"64",
            &"--backbone",
            &"resnet18",
            &"--weights",
            weights,
            &"--layers",
            &"layer9",
        ],
        "layer9",
    );
}

#[test]
fn precisions_are_refused_where_they_cannot_be() {
    refused(&[&"--precision", &"int4"], "bf16");
    refused(&[&"--precision", &"bf16"], "the built-in backbone in bf16");
    let weights = &*crate::weights::RESNET18;
    let padim: [&dyn AsRef<std::ffi::OsStr>; 7] = [
        &"--detector",
        &"padim",
        &"--keep-sums",
        &"--backbone",
        &"resnet18",
        &"--weights",
        weights,
    ];
    let mut int8 = padim.to_vec();
    int8.extend([&"--precision" as &dyn AsRef<std::ffi::OsStr>, &"int8"]);
    refused(&int8, "cannot keep sums in int8");
}

#[test]
fn machines_without_workers_are_refused() {
    refused(&[&"-w", &"0"], "0 is not in 1..=256");
    refused(&[&"--pool", &"0"], "0 is not in 1..=256");
}
