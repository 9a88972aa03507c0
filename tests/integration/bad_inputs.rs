//! Files that are not what they should be: a clear sentence, exit code 2 (or a verdict), and nothing lost.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::pictures::{mask, mvtec_dataset, normal};
use crate::support::{Args, SHARED, decision, intakt};
use crate::weights::{Tensors, random_resnet18, write_safetensors};

/// The 13 fields of a PNG header that announces `width` × `height` RGB pixels, and nothing after it.
fn forged_png(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&header);
    png.extend(crc32(&header).to_be_bytes());
    // The decoder looks for the first chunk of data before it says how large the picture is.
    png.extend(b"\0\0\0\0IDAT");
    png.extend(crc32(b"IDAT").to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn frames_that_are_no_image_get_a_verdict_with_the_reason() {
    let dir = tempdir().unwrap();
    let png = fs::read(&SHARED.normal).unwrap();
    let mut jpeg = Vec::new();
    normal(3)
        .write_to(&mut std::io::Cursor::new(&mut jpeg), image::ImageFormat::Jpeg)
        .unwrap();
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("0-truncated.png", png[..png.len() / 2].to_vec(), "truncated PNG"),
        ("1-truncated.jpg", jpeg[..jpeg.len() / 2].to_vec(), "truncated JPEG"),
        (
            "2-text.png",
            b"hello".to_vec(),
            "not an image: the file begins with the bytes",
        ),
        ("3-empty.png", Vec::new(), "not an image: the file is empty"),
        (
            "4-gif.png",
            b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(),
            "the bytes begin like image/gif",
        ),
        (
            "5-huge.png",
            forged_png(100_000, 100_000),
            "image too large: 100000x100000",
        ),
        ("6-flipped.png", flipped(&png), "damaged PNG"),
        ("7-good.png", png, ""),
    ];
    for (name, bytes, _) in &cases {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let ran = intakt(&[&"inspect", &SHARED.detector, &dir.path()]).expect(1);
    let verdicts = ran.verdicts();
    assert_eq!(verdicts.len(), cases.len());
    for ((name, _, reason), verdict) in cases.iter().zip(&verdicts) {
        assert!(verdict["origin"].as_str().unwrap().ends_with(name), "{verdict}");
        if reason.is_empty() {
            assert_eq!(decision(verdict), "pass", "{name}");
        } else {
            assert_eq!(decision(verdict), "unreadable", "{name}");
            assert!(
                verdict["reason"].as_str().unwrap().contains(reason),
                "{name}: {verdict}"
            );
        }
    }
    assert!(
        ran.stderr.contains("captured 8 = judged 1 + unreadable 7 + dropped 0"),
        "{}",
        ran.stderr
    );
}

/// A byte in the middle of the pixels, changed.
fn flipped(png: &[u8]) -> Vec<u8> {
    let mut png = png.to_vec();
    let middle = png.len() / 2;
    png[middle] ^= 0x10;
    png
}

/// Fits on `dataset` with `more` arguments, which must fail so and leave an older detector as it was.
#[track_caller]
fn fit_refused(dataset: &Path, more: &Args<'_>, fragments: &[&str]) {
    let dir = tempdir().unwrap();
    let output = dir.path().join("old.intakt");
    fs::write(&output, "an older detector").unwrap();
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"fit", &dataset, &"-o", &output];
    args.extend(more);
    intakt(&args).expect_error(fragments);
    assert_eq!(fs::read_to_string(&output).unwrap(), "an older detector");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn datasets_that_do_not_serve_are_refused() {
    let dir = tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir_all(empty.join("train/good")).unwrap();
    fit_refused(&empty, &[], &["no train images"]);
    fit_refused(&dir.path().join("nowhere"), &[], &["cannot read", "nowhere"]);
    fs::create_dir(dir.path().join("odd")).unwrap();
    fs::write(dir.path().join("odd/notes.txt"), "x").unwrap();
    fit_refused(&dir.path().join("odd"), &[], &["cannot tell the layout"]);
    fit_refused(&SHARED.dataset, &[&"--layout", &"aitex"], &["as `aitex`"]);
    fit_refused(&SHARED.dataset, &[&"--fabric", &"02"], &["only `aitex` has fabrics"]);
}

#[test]
fn masks_that_do_not_fit_are_refused_before_any_work() {
    let dir = tempdir().unwrap();
    mvtec_dataset(dir.path(), 0, 1, 2);
    let drawn = dir.path().join("ground_truth/blot/001_mask.png");
    let json = dir.path().join("figures.json");
    let evaluated = || intakt(&[&"evaluate", &SHARED.detector, &dir.path(), &"--json", &json]);
    mask(128, 256, [0, 0, 9, 9]).save(&drawn).unwrap();
    evaluated().expect_error(&["001_mask.png", "128 x 256 px", "256 x 256 px"]);
    fs::write(&drawn, "no mask").unwrap();
    evaluated().expect_error(&["cannot read mask", "001_mask.png"]);
    fs::remove_file(&drawn).unwrap();
    evaluated().expect_error(&["no mask for", "001.png"]);
    assert!(!json.exists());
}

#[test]
fn manifests_with_mistakes_name_line_and_column() {
    let dir = tempdir().unwrap();
    (0..4).for_each(|n| normal(n).save(dir.path().join(format!("{n}.png"))).unwrap());
    let list = dir.path().join("list.csv");
    for (rows, fragments) in [
        (
            "path,split,lable\n0.png,train,normal\n",
            ["line 1", "no column is called `lable`"],
        ),
        ("path,label\n0.png,normal\n", ["line 1", "column `split` is missing"]),
        (
            "path,split,label\n0.png,train,normal\n0.png,train,normal\n",
            ["line 3", "listed on line 2 already"],
        ),
        (
            "path,split,label\n0.png,train,normal\n9.png,train,normal\n",
            ["line 3, column `path`", "cannot find"],
        ),
        (
            "path,split,label\n0.png,trian,normal\n",
            ["line 2, column `split`", "`trian` is no split"],
        ),
        (
            "path,split,label\n0.png,train,good\n",
            ["line 2, column `label`", "write normal"],
        ),
        (
            "path,split,label\n0.png,train,scratch\n",
            ["line 2, column `label`", "a train image must be `normal`"],
        ),
        (
            "path,split,label\n0.png,train\n",
            ["line 2", "2 cells, but the header has 3"],
        ),
        (
            "path,split,label,captured_at\n0.png,train,normal,noon\n",
            ["line 2, column `captured_at`", "`noon` is no time"],
        ),
        (
            "path,split,label,captured_at\n0.png,train,normal,1777876200000000000\n",
            ["line 2, column `captured_at`", "write microseconds since 1970"],
        ),
    ] {
        fs::write(&list, rows).unwrap();
        fit_refused(&list, &[], &fragments);
    }
    fs::write(&list, "path,split,label\n").unwrap();
    fit_refused(&list, &[], &["no train images"]);
}

#[test]
fn files_that_are_no_detector_say_what_they_are_instead() {
    let dir = tempdir().unwrap();
    let bytes = fs::read(&SHARED.detector).unwrap();
    let newer = replaced(&bytes, br#""format_version":"1""#, br#""format_version":"9""#);
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let weights = dir.path().join("weights.safetensors");
    write_safetensors(&weights, &Tensors::from([("w".to_owned(), (vec![1], vec![0.5]))]));
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("empty", Vec::new(), "the file is cut off"),
        ("truncated", bytes[..bytes.len() - 100].to_vec(), "the file is cut off"),
        ("header-only", bytes[..200].to_vec(), "the file is cut off"),
        (
            "foreign",
            fs::read(&SHARED.normal).unwrap(),
            "it is not a detector of Intakt",
        ),
        (
            "weights",
            fs::read(&weights).unwrap(),
            "it is a safetensors file of something else",
        ),
        ("newer", newer, "it has format 9, written by intakt"),
        ("damaged", damaged, "the file is damaged"),
    ];
    let lines = dir.path().join("lines");
    fs::write(&lines, "older verdicts").unwrap();
    for (name, bytes, reason) in cases {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        intakt(&[&"inspect", &path, &SHARED.normal, &"--jsonl", &lines]).expect_error(&[
            "cannot load detector",
            name,
            reason,
        ]);
        intakt(&[&"evaluate", &path, &SHARED.dataset]).expect_error(&["cannot load detector", reason]);
        intakt(&[&"show", &path]).expect_error(&["cannot load detector", reason]);
    }
    intakt(&[&"inspect", &dir.path().join("nowhere"), &SHARED.normal]).expect_error(&["cannot read", "nowhere"]);
    intakt(&[&"show", &dir.path()]).expect_error(&["cannot load detector", "it is a directory"]);
    assert_eq!(fs::read_to_string(&lines).unwrap(), "older verdicts");
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("the header says its version");
    let mut bytes = bytes.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn weights_that_do_not_fit_name_the_key_and_both_shapes() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let refused = |fragments: &[&str]| {
        fit_refused(
            &SHARED.dataset,
            &[&"--size", &"64", &"--backbone", &"resnet18", &"--weights", &path],
            fragments,
        );
    };
    let mut tensors = random_resnet18();
    let (_, values) = tensors.remove("layer2.0.conv1.weight").unwrap();
    write_safetensors(&path, &tensors);
    refused(&["`layer2.0.conv1.weight` is missing", "[128, 64, 3, 3]"]);
    tensors.insert("layer2.0.conv1.weight".to_owned(), (vec![64, 128, 3, 3], values));
    write_safetensors(&path, &tensors);
    refused(&[
        "`layer2.0.conv1.weight` has the wrong shape",
        "[128, 64, 3, 3]",
        "[64, 128, 3, 3]",
    ]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    refused(&["cannot load weights", "the weights file is truncated"]);
    fs::write(&path, b"").unwrap();
    refused(&["cannot load weights", "empty"]);
    fs::write(&path, b"PK\x03\x04archive/data.pkl").unwrap();
    refused(&["PyTorch pickle"]);
    fs::remove_file(&path).unwrap();
    refused(&["cannot load weights", "weights.safetensors"]);
}

#[test]
fn regions_of_interest_that_show_nothing_are_refused() {
    let dir = tempdir().unwrap();
    let (black, text) = (dir.path().join("black.png"), dir.path().join("text.png"));
    mask(64, 64, [0; 4]).save(&black).unwrap();
    fs::write(&text, "white").unwrap();
    for (roi, reason) in [(&black, "black all over"), (&text, "not an image")] {
        intakt(&[&"inspect", &SHARED.detector, &SHARED.normal, &"--roi", roi])
            .expect_error(&["cannot load region of interest", reason]);
        fit_refused(
            &SHARED.dataset,
            &[&"--roi", roi],
            &["cannot load region of interest", reason],
        );
    }
}

#[test]
fn places_that_cannot_be_written_are_refused_before_the_work() {
    let dir = tempdir().unwrap();
    let nowhere = dir.path().join("missing/out.intakt");
    intakt(&[&"fit", &SHARED.dataset, &"-o", &nowhere]).expect_error(&["cannot write", "its directory does not exist"]);
    intakt(&[&"fit", &SHARED.dataset, &"-o", &dir.path()]).expect_error(&["cannot write", "it is a directory"]);
    let inspect = |flag: &str, target: &Path| intakt(&[&"inspect", &SHARED.detector, &SHARED.normal, &flag, &target]);
    inspect("--jsonl", &dir.path().join("missing/lines")).expect_error(&["cannot write", "missing/lines"]);
    inspect("--rates", dir.path()).expect_error(&["cannot write"]);
    inspect("--heatmaps", &SHARED.normal).expect_error(&["cannot write", "normal.png"]);
    assert!(
        image::open(&SHARED.normal).is_ok(),
        "the file in the way is still there"
    );
}

#[test]
fn capture_times_beyond_all_calendars_are_refused() {
    let dir = tempdir().unwrap();
    normal(0).save(dir.path().join("0.png")).unwrap();
    let list = dir.path().join("list.csv");
    let inspected = |time: u64| {
        fs::write(&list, format!("path,captured_at\n0.png,{time}\n")).unwrap();
        intakt(&[&"inspect", &SHARED.detector, &list])
    };
    inspected(253_402_300_799_999_999).expect(0);
    inspected(253_402_300_800_000_000).expect_error(&["line 2, column `captured_at`", "is no time"]);
    inspected(u64::MAX).expect_error(&["line 2, column `captured_at`", "is no time"]);
}

#[test]
fn nothing_to_inspect_is_an_error() {
    let dir = tempdir().unwrap();
    intakt(&[&"inspect", &SHARED.detector, &dir.path()]).expect_error(&["no images in"]);
    intakt(&[&"inspect", &SHARED.detector, &SHARED.normal, &SHARED.normal]).expect_error(&["same file"]);
    intakt(&[&"inspect", &SHARED.detector, &"/dev/null"]).expect_error(&["neither a file nor a directory"]);
}
