//! `intakt show`: what is in a detector file.

use std::fs::File;
use std::process::Command;

use crate::support::{INTAKT, Ran, SHARED, intakt};

#[test]
fn show_says_what_the_detector_is_made_of() {
    let shown = intakt(&[&"show", &SHARED.detector]).expect(0).stdout;
    for fragment in [
        "builtin, hop1 + hop2 + hop3 + hop4",
        "resized to 64 px",
        "PaDiM, a Gaussian per position",
        "fitted on",
        "calibrated on",
        "image threshold",
        "pixel threshold",
        "not kept",
    ] {
        assert!(shown.contains(fragment), "`{fragment}` is not in: {shown}");
    }
    let verdicts = intakt(&[&"inspect", &SHARED.detector, &SHARED.normal]).verdicts();
    let id = verdicts[0]["detector"].as_str().unwrap();
    assert!(id.len() == 12 && shown.contains(id), "{id}: {shown}");
}

#[test]
fn results_that_cannot_be_printed_are_an_error() {
    for arguments in [
        vec!["show".as_ref(), SHARED.detector.as_os_str()],
        vec![
            "evaluate".as_ref(),
            SHARED.detector.as_os_str(),
            SHARED.dataset.as_os_str(),
        ],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(INTAKT).args(&arguments).stdout(full).output().unwrap();
        Ran::from(output).expect_error(&["cannot write \"standard output\"", "No space left on device"]);
    }
}
