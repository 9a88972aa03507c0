//! Claims about calibration.

use super::*;

/// xorshift64*, uniform in 0…1.
fn uniform(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
}

fn normal(scores: &[f32]) -> Vec<FrameStatistics> {
    scores.iter().map(|&score| frame(score, Truth::Normal)).collect()
}

fn frame(score: f32, truth: Truth) -> FrameStatistics {
    FrameStatistics {
        image_score: score,
        map_max: score,
        map_median: score / 2.0,
        truth,
    }
}

const RATE: CalibrationMethod = CalibrationMethod::Conformal {
    false_reject_rate: 0.01,
};

#[test]
fn the_threshold_is_calibrated_to_one_half_and_the_order_of_scores_is_kept() {
    let scales = [
        (1.0, 3.0),
        (0.0, 1e-7),
        (2.0, 2.0),
        (5.0, 1.0),
        (-3.0, 0.0),
        (0.0, f32::MAX),
    ];
    for (normal_level, threshold) in scales {
        let scale = ScoreScale {
            normal_level,
            threshold,
        };
        assert_eq!(scale.calibrated(threshold), 0.5, "{scale:?}");
        let mut scores: Vec<f32> = (-2000..2000).map(|i| i as f32 * 0.01).collect();
        scores.extend([
            f32::MIN,
            threshold.next_down(),
            threshold,
            threshold.next_up(),
            f32::MAX,
        ]);
        scores.sort_by(f32::total_cmp);
        let calibrated: Vec<f64> = scores.iter().map(|&score| scale.calibrated(score)).collect();
        assert!(calibrated.is_sorted(), "{scale:?}");
        assert!(calibrated.iter().all(|c| (0.0..=1.0).contains(c)), "{scale:?}");
        for (&score, &calibrated) in scores.iter().zip(&calibrated) {
            assert!(
                if score > threshold {
                    calibrated >= 0.5
                } else {
                    calibrated <= 0.5
                },
                "{scale:?} {score}"
            );
            let told_apart = f64::from(score - threshold).abs() > 1e-9 * scale.span();
            assert!(!told_apart || calibrated != 0.5, "{scale:?} {score}");
        }
    }
    let scale = ScoreScale {
        normal_level: 1.0,
        threshold: 3.0,
    };
    assert_eq!((scale.calibrated(1.0), scale.calibrated(0.0)), (0.0, 0.0));
    assert!((scale.calibrated(5.0) - 2.0 / 3.0).abs() < 1e-12);
    assert!((scale.score_at(2.0 / 3.0) - 5.0).abs() < 1e-6 && scale.score_at(0.5) == 3.0);
    assert!(scale.score_at(1.0).is_finite());
}

#[test]
fn highest_passing_separates_exactly_what_exceeds() {
    let mut state = 3;
    for round in 0..2000 {
        let threshold = ((uniform(&mut state) - 0.2) * 10_f64.powi(round % 12 - 7)) as f32;
        let scale = ScoreScale {
            normal_level: 0.0,
            threshold,
        };
        let highest = scale.highest_passing();
        assert!(
            !scale.exceeds(highest) && scale.exceeds(highest.next_up()),
            "{threshold}: {highest}"
        );
        assert!(highest >= threshold);
    }
}

#[test]
fn conformal_threshold_is_the_ranked_score_and_states_its_guarantee() {
    let scores: Vec<f32> = (1..=199).map(|i| i as f32).collect();
    let calibration = calibrate(&normal(&scores), RATE, ImageScore::Max).unwrap();
    assert_eq!(calibration.image.threshold, 198.0, "rank ceil(200 * 0.99)");
    assert_eq!(calibration.guaranteed_false_reject_rate, Some(0.01));
    assert!(
        calibration.statement.contains("at most 1 %"),
        "{}",
        calibration.statement
    );
    let few = calibrate(&normal(&scores[..38]), RATE, ImageScore::Max).unwrap();
    assert_eq!(few.image.threshold, 38.0);
    assert_eq!(few.guaranteed_false_reject_rate, Some(1.0 / 39.0));
    assert!(few.statement.contains("at least 99 held-out"), "{}", few.statement);
    let enough = calibrate(&normal(&scores[..99]), RATE, ImageScore::Max).unwrap();
    assert_eq!(
        enough.guaranteed_false_reject_rate,
        Some(0.01),
        "99 frames are enough for 1 %"
    );
}

#[test]
fn conformal_guarantee_holds_for_new_frames() {
    // The expected share of new frames above the threshold, over many draws of 59 held-out ones, at 5 %: 3 / 60.
    let (mut state, mut rejected, draws) = (11, 0.0, 4000);
    for _ in 0..draws {
        let scores: Vec<f32> = (0..59).map(|_| uniform(&mut state) as f32).collect();
        let method = CalibrationMethod::Conformal {
            false_reject_rate: 0.05,
        };
        let calibration = calibrate(&normal(&scores), method, ImageScore::Max).unwrap();
        rejected += 1.0 - f64::from(calibration.image.threshold);
    }
    let rate = rejected / f64::from(draws);
    assert!((rate - 0.05).abs() < 0.002, "{rate}");
}

#[test]
fn normal_frames_are_never_all_rejected() {
    let mut state = 5;
    let mut cases = vec![
        vec![0.0],
        vec![7.5; 3],
        vec![0.0; 200],
        vec![-1.0, -1.0, 4.0],
        vec![1e-30; 60],
    ];
    cases.extend((1..150).map(|n| (0..n).map(|_| uniform(&mut state) as f32 * 1e-3).collect()));
    for scores in cases {
        for rate in [1e-9, 0.01, 0.07, 0.5] {
            for method in [
                CalibrationMethod::Conformal {
                    false_reject_rate: rate,
                },
                CalibrationMethod::PeaksOverThreshold {
                    false_reject_rate: rate,
                },
            ] {
                let Ok(calibration) = calibrate(&normal(&scores), method, ImageScore::Max) else {
                    assert!(
                        matches!(method, CalibrationMethod::PeaksOverThreshold { .. }),
                        "{method:?} {scores:?}"
                    );
                    continue;
                };
                let rejected = scores.iter().filter(|&&score| calibration.image.exceeds(score)).count();
                assert!(
                    rejected as f64 <= (scores.len() as f64 + 1.0) * rate.max(0.2),
                    "{method:?} {scores:?}"
                );
                assert!(rejected < scores.len(), "{method:?} {scores:?}");
                if scores.iter().all(|&score| score == scores[0]) {
                    assert_eq!(rejected, 0, "{method:?} {scores:?}");
                }
            }
        }
    }
}

#[test]
fn maximum_scoring_uses_one_threshold_for_image_and_pixels() {
    let mut frames = normal(&(0..80).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>());
    frames.push(frame(2.0, Truth::Anomalous("scratch".into())));
    let rate = 0.05;
    for method in [
        CalibrationMethod::Conformal {
            false_reject_rate: rate,
        },
        CalibrationMethod::PeaksOverThreshold {
            false_reject_rate: rate,
        },
        CalibrationMethod::F1Max,
        CalibrationMethod::Fixed {
            image_threshold: 0.7,
            pixel_threshold: Some(9.0),
        },
    ] {
        let calibration = calibrate(&frames, method, ImageScore::Max).unwrap();
        assert_eq!(calibration.image.threshold, calibration.pixel.threshold, "{method:?}");
    }
}

#[test]
fn other_image_scores_get_a_pixel_threshold_from_the_maxima() {
    let mut frames = normal(&(1..=99).map(|i| i as f32).collect::<Vec<_>>());
    frames.iter_mut().for_each(|frame| frame.map_max *= 10.0);
    let calibration = calibrate(&frames, RATE, ImageScore::Reweighted).unwrap();
    assert_eq!(
        (calibration.image.threshold, calibration.pixel.threshold),
        (99.0, 990.0)
    );
    assert_eq!(
        (calibration.image.normal_level, calibration.pixel.normal_level),
        (1.0, 25.0)
    );
    let fixed = |pixel_threshold| CalibrationMethod::Fixed {
        image_threshold: 50.0,
        pixel_threshold,
    };
    let pixel = |method| {
        calibrate(&frames, method, ImageScore::TopMean(3))
            .unwrap()
            .pixel
            .threshold
    };
    assert_eq!((pixel(fixed(Some(700.0))), pixel(fixed(None))), (700.0, 990.0));
}

#[test]
fn what_cannot_be_calibrated_is_an_error_with_a_hint() {
    let error = |frames: &[FrameStatistics], method| calibrate(frames, method, ImageScore::Max).unwrap_err();
    assert!(error(&[], RATE).contains("hint: hold out some normal images"));
    let anomalous = [frame(1.0, Truth::Anomalous("hole".into()))];
    assert!(error(&anomalous, RATE).contains("none of the 1 held-out frames is normal"));
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(error(&normal(&[1.0, bad]), RATE).contains("held-out frame 1"));
    }
    for false_reject_rate in [0.0, -0.1, 1.0, f64::NAN] {
        let method = CalibrationMethod::Conformal { false_reject_rate };
        assert!(error(&normal(&[1.0]), method).contains("hint: it is a share"));
    }
    assert!(error(&normal(&[1.0, 2.0]), CalibrationMethod::F1Max).contains("all 2 held-out frames are normal"));
    let tail = CalibrationMethod::PeaksOverThreshold {
        false_reject_rate: 0.001,
    };
    assert!(error(&normal(&[1.0; 49]), tail).contains("hint: use the conformal quantile"));
    let fixed = |image_threshold| CalibrationMethod::Fixed {
        image_threshold,
        pixel_threshold: None,
    };
    assert!(error(&normal(&[2.0, 3.0]), fixed(1.0)).contains("rejects all 2"));
    assert!(error(&normal(&[2.0, 3.0]), fixed(f32::NAN)).contains("not finite"));
}

#[test]
fn a_calibration_survives_json_bit_for_bit() {
    let mut state = 17;
    for _ in 0..200 {
        let scores: Vec<f32> = (0..60).map(|_| (uniform(&mut state) * 3.0) as f32).collect();
        let mut calibration = calibrate(&normal(&scores), RATE, ImageScore::Max).unwrap();
        calibration.method = CalibrationMethod::Fixed {
            image_threshold: scores[0],
            pixel_threshold: Some(scores[1]),
        };
        let json = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration);
    }
}

#[test]
fn a_calibration_that_is_not_finite_is_not_valid() {
    let mut calibration = calibrate(&normal(&[1.0, 2.0]), RATE, ImageScore::Max).unwrap();
    assert_eq!(calibration.validate(), Ok(()));
    calibration.pixel.threshold = f32::INFINITY;
    assert!(calibration.validate().unwrap_err().contains("not all finite"));
}
