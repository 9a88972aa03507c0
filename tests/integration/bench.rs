//! `intakt bench`: how fast a detector is on this machine.

use tempfile::tempdir;

use crate::support::{SHARED, fit_small, intakt};
use crate::weights::RESNET18;

#[test]
fn bench_says_how_long_a_frame_takes_and_how_many_there_are_in_a_second() {
    let images = SHARED.dataset.join("test");
    let said = intakt(&[&"bench", &SHARED.detector, &images, &"--frames", &"12", &"--layers"])
        .expect(0)
        .stdout;
    for fragment in [
        "one frame at a time, 12 frames",
        "embed",
        "score",
        "frames a second",
        "backbone builtin has no layers to tell apart",
    ] {
        assert!(said.contains(fragment), "`{fragment}` is not in: {said}");
    }
}

#[test]
fn every_step_of_a_network_is_told_with_its_share_of_what_the_machine_can_do() {
    let dir = tempdir().unwrap();
    let detector = dir.path().join("resnet.intakt");
    let fit = [
        "--detector",
        "padim",
        "--backbone",
        "resnet18",
        "--precision",
        "int8",
        "--weights",
    ];
    let mut typed: Vec<&dyn AsRef<std::ffi::OsStr>> = fit.iter().map(|word| word as _).collect();
    typed.push(&*RESNET18);
    fit_small(&SHARED.dataset, &detector, &typed).expect(0);
    let said = intakt(&[
        &"bench",
        &detector,
        &SHARED.normal,
        &"--frames",
        &"4",
        &"--pool",
        &"2",
        &"--layers",
    ])
    .expect(0)
    .stdout;
    let steps: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("conv ") && line.ends_with('%'))
        .collect();
    // A stem and twelve convolutions of blocks; in f32 two of shortcuts beside them, which are otherwise computed where they are added.
    assert!(
        [2 * 13, 2 * 15].contains(&steps.len()),
        "by one thread and by two: {said}"
    );
    let share = |line: &str| {
        line.trim_end_matches(" %")
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert!(steps.iter().all(|line| (0.0..=130.0).contains(&share(line))), "{said}");
    assert!(said.contains("all of it") && said.contains("peak: "), "{said}");
    if let Some((_, memory)) = said.split_once("memory: ") {
        let mut megabytes = memory.split(" MB with ").map(|text| text.rsplit(' ').next().unwrap());
        let mut next = || megabytes.next().unwrap().parse::<u32>().unwrap();
        let (loaded, with_a_frame) = (next(), next());
        assert!((10..120).contains(&loaded), "{said}");
        assert!((loaded..loaded + 60).contains(&with_a_frame), "{said}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let dir = tempdir().unwrap();
    let torn = dir.path().join("torn.png");
    std::fs::write(&torn, "torn").unwrap();
    intakt(&[&"bench", &SHARED.detector, &torn, &"--frames", &"2"])
        .expect_error(&["cannot measure with 1 of 1 frames unreadable", "hint: `intakt inspect`"]);
    intakt(&[&"bench", &SHARED.detector, &dir.path().join("gone")]).expect_error(&["gone"]);
}
