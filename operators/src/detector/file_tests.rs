//! Claims about detector files, on small detectors over a stand-in backbone.

use super::*;
use crate::detector::backbone::{Layer, hash};
use crate::detector::tensor_file::HEADER_BYTES_MAX;
use crate::detector::*;
use crate::imaging::Image;
use crate::{FeatureMap, FeatureMapView, RectPx};

/// A network of two layers with two dimensions each, at every second pixel.
struct Toy {
    layers: Vec<Layer>,
    weight: Tensor,
}

impl Toy {
    fn new(weight: Tensor) -> Self {
        let layer = |name: &str, stride_px| Layer {
            name: name.into(),
            dims: 2,
            stride_px,
        };
        Self {
            layers: vec![layer("shallow", 8), layer("deep", 16)],
            weight,
        }
    }
}

impl Backbone for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    fn precision(&self) -> crate::detector::Precision {
        crate::detector::Precision::F32
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn with_feature_maps(&self, _: &Image, _: &mut dyn FnMut(&[FeatureMapView<'_>])) -> Result<(), String> {
        Err("a stand-in sees nothing".into())
    }

    fn tensors(&self) -> BTreeMap<String, Tensor> {
        BTreeMap::from([("weight".into(), self.weight.clone())])
    }
}

fn rebuild_toy(recipe: &BackboneRecipe, tensors: &BTreeMap<String, Tensor>) -> Result<Arc<dyn Backbone>, String> {
    match (recipe.name.as_str(), tensors.get("weight")) {
        ("toy", Some(weight)) => Ok(Arc::new(Toy::new(weight.clone()))),
        (name, _) => Err(format!("unknown backbone `{name}`")),
    }
}

fn load(bytes: &[u8]) -> Result<Detector, DetectorFileError> {
    Detector::rebuild(bytes, &rebuild_toy)
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + 11) % 101) as f32 * 0.0173).collect()
}

fn scorers() -> Vec<(ScorerRecipe, Scorer)> {
    let (mut padim, mut gaussian) = (PadimSums::new(4, 4, 4, 2), GaussianSums::new(4));
    for seed in 0..6 {
        let map = FeatureMap::new(4, 4, 4, values(100 + seed)[36 + seed..].to_vec());
        padim.add(&map).unwrap();
        gaussian.add(&map).unwrap();
    }
    let (regularisation, seed) = (0.01, 7);
    let patchcore = ScorerRecipe::Patchcore {
        coreset_ratio: 0.013,
        n_neighbors: 9,
        projection_dims: 128,
        seed,
    };
    vec![
        (
            patchcore,
            Scorer::Patchcore(Patchcore::new(4, values(4 * 30), 9).unwrap()),
        ),
        (
            ScorerRecipe::Padim { regularisation, seed },
            Scorer::Padim(padim.fit(regularisation).unwrap()),
        ),
        (
            ScorerRecipe::Gaussian { regularisation, seed },
            Scorer::Gaussian(gaussian.fit(regularisation).unwrap()),
        ),
        (
            ScorerRecipe::GlobalKnn { n_neighbors: 2 },
            Scorer::GlobalKnn(GlobalKnn::new(4, values(4 * 5), 2).unwrap()),
        ),
    ]
}

fn all_parts() -> Vec<DetectorParts> {
    scorers()
        .into_iter()
        .map(|(recipe, scorer)| parts_with(recipe, scorer))
        .collect()
}

fn parts() -> DetectorParts {
    all_parts().pop().unwrap()
}

fn parts_with(scorer_recipe: ScorerRecipe, scorer: Scorer) -> DetectorParts {
    let backbone: Arc<dyn Backbone> = Arc::new(Toy::new(Tensor::f32(&[3, 5], values(15))));
    let scores: Vec<f32> = values(40);
    let frames = scores.iter().map(|&score| FrameStatistics {
        image_score: score,
        map_max: score * 1.3,
        map_median: score / 3.0,
        truth: crate::Truth::Normal,
    });
    let method = CalibrationMethod::Conformal {
        false_reject_rate: 0.01,
    };
    let entry = |name: &str, role| ManifestEntry {
        name: name.into(),
        sha256: "00ff".repeat(16),
        role,
        sixteen_bit_max: (role == ImageRole::Train).then_some(4095),
    };
    DetectorParts {
        recipe: Recipe {
            backbone: BackboneRecipe {
                name: "toy".into(),
                layers: vec!["shallow".into(), "deep".into()],
                precision: Default::default(),
                hash: hash(backbone.as_ref()),
            },
            input: InputRecipe {
                size_px: 32,
                crop_px: None,
                tiling: None,
                exclude_dark_margin: true,
                sixteen_bit_max: 4095,
            },
            embedding: EmbeddingRecipe {
                neighbourhood: 3,
                upsampling: Upsampling::Bilinear,
                kept_dims: None,
            },
            scorer: scorer_recipe,
            image_score: ImageScore::TopMean(5),
            blur_sigma_px: 4.0,
            suppression: SuppressionRules {
                min_peak: Some(0.61),
                roi: Some(RoiMask {
                    width_px: 4,
                    height_px: 2,
                    runs: vec![1, 7],
                }),
                ..SuppressionRules::default()
            },
        },
        calibration: calibrate(&frames.collect::<Vec<_>>(), method, ImageScore::TopMean(5)).unwrap(),
        manifest: vec![
            entry("good/b \"quoted\" ü.png", ImageRole::Calibrate),
            entry("good/a.png", ImageRole::Train),
        ],
        provenance: None,
        sums: Some(BTreeMap::from([(
            "images".to_string(),
            Tensor::i64(&[2], vec![i64::MIN, 209]),
        )])),
        backbone,
        scorer: Arc::new(scorer),
        intakt_version: "0.1.0".into(),
    }
}

#[test]
fn a_detector_survives_its_file_bit_for_bit() {
    for mut parts in all_parts() {
        for sums in [parts.sums.clone(), Some(BTreeMap::new()), None] {
            parts.sums = sums;
            let detector = Detector::new(parts).unwrap();
            let bytes = detector.to_bytes();
            let again = load(&bytes).unwrap();
            assert_eq!(again.to_bytes(), bytes);
            assert_eq!(again.id(), detector.id());
            assert_eq!(
                (again.recipe(), again.calibration()),
                (detector.recipe(), detector.calibration())
            );
            assert_eq!((again.manifest(), again.sums()), (detector.manifest(), detector.sums()));
            assert_eq!(again.scorer().tensors(), detector.scorer().tensors());
            parts = detector.into_parts();
        }
    }
}

/// Of the bank of five rows that `parts` has.
fn placed(name: &str, n_rows: usize) -> DetectorParts {
    let image = TrainingImage {
        name: name.into(),
        width_px: 64,
        height_px: 48,
        jpeg: super::super::scorer_testing::jpeg(32, 24),
    };
    let place = |row: u32| RowPlace {
        image: 0,
        rect_px: RectPx {
            x: 8 * row,
            y: 0,
            width: 8,
            height: 8,
        },
    };
    let rows = (0..n_rows as u32).map(place).collect();
    let mut placed = parts();
    placed.provenance = Some(Arc::new(Provenance::new(vec![image], rows).unwrap()));
    placed
}

#[test]
fn where_the_rows_come_from_survives_the_file_and_another_threshold() {
    let detector = Detector::new(placed("good/a.png", 5)).unwrap();
    let bytes = detector.to_bytes();
    let again = load(&bytes).unwrap();
    assert_eq!(again.to_bytes(), bytes);
    let (image, rect_px) = again.provenance().unwrap().of(3).unwrap();
    assert_eq!((image.name.as_str(), rect_px.x), ("good/a.png", 24));
    assert_eq!(again.provenance(), detector.provenance());
    let stricter = again.with_image_threshold(0.1).unwrap();
    assert_eq!(stricter.provenance(), detector.provenance());
    assert_ne!(stricter.id(), detector.id());
}

#[test]
fn only_what_older_programs_cannot_read_has_a_newer_format() {
    let version = |parts| contents(&parts).metadata["format_version"].clone();
    assert_eq!(
        (version(parts()), version(placed("good/a.png", 5))),
        ("1".into(), "3".into())
    );
    assert!(Detector::new(parts()).unwrap().provenance().is_none());
    let pretended = forged(placed("good/a.png", 5), |contents| {
        contents.metadata.insert("format_version".into(), "1".into());
    });
    assert!(matches!(pretended.unwrap_err(), DetectorFileError::Damaged(_)));
}

#[test]
fn rows_that_come_from_nowhere_are_refused() {
    for (name, n_rows, sentence) in [
        (
            "good/a.png",
            4,
            "where 4 rows of its memory bank come from, and the bank holds 5",
        ),
        ("good/c.png", 5, "was not fitted on \"good/c.png\""),
        ("good/b \"quoted\" ü.png", 5, "was not fitted on"),
    ] {
        let error = Detector::new(placed(name, n_rows)).unwrap_err();
        assert!(error.contains(sentence), "{error}");
    }
    let mut without_bank = all_parts().swap_remove(1);
    without_bank.provenance = placed("good/a.png", 5).provenance;
    assert!(Detector::new(without_bank).unwrap_err().contains("the bank holds 0"));
    let bytes = Detector::new(placed("good/a.png", 5)).unwrap().to_bytes();
    for length in 0..bytes.len() {
        assert!(load(&bytes[..length]).is_err(), "{length}");
    }
    for name in ["provenance.rows", "provenance.pictures"] {
        for tensor in [
            None,
            Some(Tensor::u8(vec![0; 9])),
            Some(Tensor::i64(&[5, 1], vec![i64::MAX; 5])),
        ] {
            let loaded = forged(placed("good/a.png", 5), |contents| {
                contents.tensors.remove(name);
                contents
                    .tensors
                    .extend(tensor.clone().map(|tensor| (name.to_owned(), tensor)));
            });
            assert!(loaded.is_err(), "{name}: {tensor:?}");
        }
    }
    let undescribed = forged(placed("good/a.png", 5), |contents| {
        drop(contents.metadata.remove("provenance"))
    });
    assert!(matches!(undescribed.unwrap_err(), DetectorFileError::Damaged(_)));
}

#[test]
fn the_id_is_the_beginning_of_the_files_sha256() {
    let detector = Detector::new(parts()).unwrap();
    let hash = super::super::tensor_file::hexadecimal(&Sha256::digest(detector.to_bytes()));
    assert_eq!((detector.id().as_ref(), detector.id().len()), (&hash[..12], 12));
}

#[test]
fn the_order_of_the_manifest_leaves_no_trace_but_its_content_does() {
    let bytes = Detector::new(parts()).unwrap().to_bytes();
    let mut reversed = parts();
    reversed.manifest.reverse();
    assert_eq!(Detector::new(reversed).unwrap().to_bytes(), bytes);
    let mut without = parts();
    without.manifest.pop();
    let without = Detector::new(without).unwrap();
    assert_ne!(without.to_bytes(), bytes);
    assert_ne!(without.manifest_hash(), Detector::new(parts()).unwrap().manifest_hash());
}

#[test]
fn the_file_is_safetensors_with_readable_metadata() {
    let bytes = Detector::new(parts()).unwrap().to_bytes();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(
        (metadata["format"].as_str(), metadata["format_version"].as_str()),
        (FORMAT, "1")
    );
    assert!(metadata["calibration"].contains("held-out normal scores"));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort();
    assert_eq!(names, ["backbone.weight", "scorer.memory_bank", "sums.images"]);
    assert_eq!(file.tensor("scorer.memory_bank").unwrap().shape(), [5, 4]);
}

#[test]
fn every_truncation_is_called_one() {
    for parts in all_parts() {
        let bytes = Detector::new(parts).unwrap().to_bytes();
        for length in 0..bytes.len() {
            let error = load(&bytes[..length]).unwrap_err();
            assert!(
                matches!(error, DetectorFileError::Truncated(_)),
                "{length} of {}: {error:?}",
                bytes.len()
            );
        }
        assert!(
            load(&[&bytes[..], b"\0"].concat())
                .unwrap_err()
                .to_string()
                .contains("1 bytes follow")
        );
    }
}

#[test]
fn every_flipped_byte_is_noticed() {
    let mut state = 12_u64;
    for parts in all_parts() {
        let bytes = Detector::new(parts).unwrap().to_bytes();
        for position in 0..bytes.len() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut flipped = bytes.clone();
            flipped[position] ^= (state >> 56) as u8 | 1;
            let error = load(&flipped).expect_err(&format!("byte {position}"));
            let named = error.to_string();
            assert!(
                named.contains("damaged")
                    || named.contains("cut off")
                    || named.contains("not a detector")
                    || named.contains("format"),
                "byte {position}: {named}"
            );
        }
    }
}

#[test]
fn foreign_files_are_called_foreign() {
    let other = Contents {
        tensors: BTreeMap::from([("layer1.weight".into(), Tensor::f32(&[1], vec![1.0]))]),
        ..Contents::default()
    };
    let files = [
        b"\x89PNG\r\n\x1a\n and so on".to_vec(),
        b"PK\x03\x04 a pickle in a zip file".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        file(&other),
    ];
    for bytes in &files {
        let error = load(bytes).unwrap_err();
        assert!(matches!(error, DetectorFileError::Foreign(_)), "{error:?}");
    }
    assert!(load(&files[4]).unwrap_err().to_string().contains("`--weights`"));
}

fn file(contents: &Contents) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(contents, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
    bytes
}

/// The detector's content, changed by somebody who knows to state the right hash.
fn forged(detector: DetectorParts, change: impl FnOnce(&mut Contents)) -> Result<Detector, DetectorFileError> {
    let mut contents = contents(&detector);
    contents.metadata.remove("content_sha256");
    change(&mut contents);
    let hash = content_hash(&contents);
    contents.metadata.insert("content_sha256".into(), hash);
    load(&file(&contents))
}

#[test]
fn newer_formats_are_refused_with_the_version_that_wrote_them() {
    let set = |version: &str| {
        forged(parts(), |contents| {
            contents.metadata.insert("format_version".into(), version.into());
            contents.metadata.insert("intakt_version".into(), "3.2.1".into());
        })
    };
    let error = set("4").unwrap_err().to_string();
    assert!(
        error.contains("format 4, written by intakt 3.2.1") && error.contains("up to 3"),
        "{error}"
    );
    for version in ["0", "-1", "one", ""] {
        assert!(
            matches!(set(version).unwrap_err(), DetectorFileError::Damaged(_)),
            "{version}"
        );
    }
    // A newer file may hold what this version cannot check.
    let unknown = forged(parts(), |contents| {
        contents.metadata.insert("format_version".into(), "9".into());
        contents.metadata.insert("recipe".into(), "{}".into());
    });
    assert!(matches!(
        unknown.unwrap_err(),
        DetectorFileError::Newer { found: 9, .. }
    ));
}

#[test]
fn unknown_or_missing_descriptions_are_refused_by_name() {
    for key in ["recipe", "calibration", "manifest", "keeps_sums", "intakt_version"] {
        let error = forged(parts(), |contents| drop(contents.metadata.remove(key))).unwrap_err();
        assert!(error.to_string().contains(&format!("`{key}` is missing")), "{error}");
    }
    let error = forged(parts(), |contents| {
        let recipe = contents.metadata["recipe"].replacen('{', "{\"colour\":1,", 1);
        contents.metadata.insert("recipe".into(), recipe);
    });
    assert!(error.unwrap_err().to_string().contains("unknown field `colour`"));
    let extra = forged(parts(), |contents| {
        drop(contents.metadata.insert("note".into(), "hello".into()))
    });
    assert!(matches!(extra.unwrap_err(), DetectorFileError::Damaged(_)));
}

#[test]
fn tensors_that_do_not_fit_are_errors_whatever_they_are() {
    for parts_of in 0..scorers().len() {
        let fresh = || all_parts().swap_remove(parts_of);
        for name in contents(&fresh()).tensors.into_keys() {
            let changes: [fn(&mut Tensor); 6] = [
                |tensor| *tensor = Tensor::f32(&[0, usize::MAX], vec![]),
                |tensor| *tensor = Tensor::i64(&[1, 1], vec![i64::MAX]),
                |tensor| *tensor = Tensor::f32(&[], vec![f32::NAN]),
                |tensor| tensor.shape.push(1),
                |tensor| tensor.shape.reverse(),
                |tensor| tensor.shape = vec![tensor.shape.iter().product()],
            ];
            for (idx, change) in changes.into_iter().enumerate() {
                // Errors or, where the change means nothing (a list reversed), a detector: never a panic.
                let loaded = forged(fresh(), |contents| change(contents.tensors.get_mut(&name).unwrap()));
                assert!(
                    loaded.is_err() || idx > 3 || name.starts_with("sums."),
                    "{name}, change {idx}"
                );
            }
            let loaded = forged(fresh(), |contents| drop(contents.tensors.remove(&name)));
            assert!(loaded.is_err() || name.starts_with("sums."), "without {name}");
        }
        let extra = |name: &'static str| {
            move |contents: &mut Contents| {
                contents.tensors.insert(name.into(), Tensor::f32(&[1], vec![0.0]));
            }
        };
        assert!(forged(fresh(), extra("smuggled")).is_err());
        assert!(forged(fresh(), extra("backbone.more")).is_err());
    }
}

#[test]
fn a_memory_bank_of_another_backbone_is_named_with_both_sizes() {
    let mut mixed = parts();
    mixed.scorer = Arc::new(Scorer::GlobalKnn(GlobalKnn::new(3, values(12), 2).unwrap()));
    let error = Detector::new(mixed).unwrap_err();
    assert!(
        error.contains("holds 3-dim embeddings but backbone `toy` yields 4\n  hint: "),
        "{error}"
    );
    let mut kept = parts();
    kept.recipe.embedding.kept_dims = Some(vec![0, 2, 3]);
    assert!(Detector::new(kept).unwrap_err().contains("yields 3"));
    for dims in [vec![], vec![1, 0], vec![2, 2], vec![0, 4]] {
        let mut kept = parts();
        kept.recipe.embedding.kept_dims = Some(dims);
        assert!(Detector::new(kept).unwrap_err().contains("not ascending within the 4"));
    }
}

#[test]
fn other_weights_than_those_of_the_fit_are_refused() {
    let mut mixed = parts();
    mixed.backbone = Arc::new(Toy::new(Tensor::f32(&[3, 5], values(16)[1..].to_vec())));
    assert!(
        Detector::new(mixed)
            .unwrap_err()
            .contains("but the recipe was fitted with")
    );
    let mut renamed = parts();
    renamed.recipe.backbone.layers.pop();
    assert!(
        Detector::new(renamed)
            .unwrap_err()
            .contains("asks for backbone `toy` at layers [\"shallow\"]")
    );
    let error = forged(parts(), |contents| {
        contents
            .tensors
            .insert("backbone.weight".into(), Tensor::f32(&[3, 5], vec![0.5; 15]));
    });
    assert!(matches!(error.unwrap_err(), DetectorFileError::Inconsistent(_)));
}

#[test]
fn gaussians_for_another_grid_are_refused() {
    let mut padim = all_parts().swap_remove(1);
    padim.recipe.input.size_px = 64;
    let error = Detector::new(padim).unwrap_err();
    assert!(
        error.contains("4x4 positions but `shallow` of backbone `toy` yields 8x8 at 64 pixels"),
        "{error}"
    );
}

#[test]
fn recipes_that_cannot_be_carried_out_are_refused() {
    type Change = fn(&mut Recipe);
    let changes: [(Change, &str); 7] = [
        (|recipe| recipe.input.size_px = 0, "input is 0 pixels wide"),
        (|recipe| recipe.blur_sigma_px = f32::NAN, "smoothed over NaN"),
        (|recipe| recipe.blur_sigma_px = 1e9, "smoothed over"),
        (|recipe| recipe.image_score = ImageScore::TopMean(0), "0 highest pixels"),
        (|recipe| recipe.suppression.min_peak = Some(1.5), "minimum peak"),
        (|recipe| recipe.suppression.hysteresis_low = Some(-0.5), "hysteresis"),
        (
            |recipe| recipe.suppression.roi.as_mut().unwrap().runs.push(9),
            "runs over 17 pixels instead of 8",
        ),
    ];
    for (change, sentence) in changes {
        let mut parts = parts();
        change(&mut parts.recipe);
        let error = Detector::new(parts).unwrap_err();
        assert!(error.contains(sentence), "{error}");
    }
    let mut parts = parts();
    parts.calibration.image.threshold = f32::NAN;
    assert!(Detector::new(parts).unwrap_err().contains("not all finite"));
}

#[test]
fn a_manifest_too_long_for_a_header_is_refused() {
    let mut long = parts();
    long.manifest[0].name = "x".repeat(HEADER_BYTES_MAX);
    assert!(Detector::new(long).unwrap_err().contains("its manifest is too long"));
}
