//! `intakt show`: what is in a detector file.

use crate::support::{SHARED, intakt};

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
