use std::path::PathBuf;

use intakt_operators::Truth;

use super::support::{assert_says, complaint};
use crate::datasets::{Dataset, Layout, Need, Split, collect_images};

/// The real images: `INTAKT_DATA`, or `../shared/data` beside the repository.
fn data(relative: &str) -> PathBuf {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let data = std::env::var_os("INTAKT_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from);
    workspace.join(data).join(relative)
}

fn counts(dataset: &Dataset) -> [usize; 4] {
    let masks = dataset.items.iter().map(|item| item.masks.len()).sum();
    let count = |split| dataset.count(split);
    [count(Split::Train), count(Split::Calibrate), count(Split::Test), masks]
}

#[test]
#[ignore = "needs the real images: INTAKT_DATA"]
fn mvtec_categories_have_their_published_counts() {
    for (category, expected) in [
        ("bottle", [209, 0, 83, 63]),
        ("hazelnut_reduced", [50, 0, 10, 8]),
        ("transistor_reduced", [50, 0, 10, 8]),
    ] {
        let dataset = Dataset::open(&data("mvtec").join(category), None, None).unwrap();
        assert_eq!(dataset.layout, Layout::Mvtec);
        assert_eq!((counts(&dataset), dataset.ignored), (expected, 0), "{category}");
        dataset.check(Need::Fit).unwrap();
        dataset.check(Need::Evaluate).unwrap();
    }
}

#[test]
#[ignore = "needs the real images: INTAKT_DATA"]
fn aitex_fabrics_have_all_their_strips_and_masks() {
    for (code, folder, normal, anomalous) in [("00", "2311694-2040n7u", 20, 7), ("02", "2306894-210033u", 20, 38)] {
        let dataset = Dataset::open(&data("aitex"), None, Some(code)).unwrap();
        assert_eq!(
            dataset,
            Dataset::open(&data("aitex"), Some(Layout::Aitex), Some(folder)).unwrap()
        );
        let [train, _, test, masks] = counts(&dataset);
        let normal_tests = dataset
            .split(Split::Test)
            .filter(|item| item.truth == Truth::Normal)
            .count();
        println!("fabric {code}: {train} train, {normal_tests} normal and {anomalous} anomalous test");
        assert_eq!(
            (train + normal_tests, test - normal_tests, masks),
            (normal, anomalous, anomalous)
        );
        assert!(normal_tests > 0);
        let masked = dataset.items.iter().filter(|item| item.truth.is_anomalous());
        assert!(masked.clone().all(|item| item.masks.len() == 1));
        dataset.check(Need::Fit).unwrap();
        dataset.check(Need::Evaluate).unwrap();
    }
    let message = complaint(Dataset::open(&data("aitex"), None, None));
    assert_says(&message, &["`00` (2311694-2040n7u), `02` (2306894-210033u)"]);
}

#[test]
#[ignore = "needs the real images: INTAKT_DATA"]
fn a_real_test_folder_is_one_camera() {
    let cameras = collect_images(&[data("mvtec/bottle/test")]).unwrap().cameras;
    assert_eq!(
        (cameras.len(), cameras[0].camera.as_str(), cameras[0].files.len()),
        (1, "test", 83)
    );
}
