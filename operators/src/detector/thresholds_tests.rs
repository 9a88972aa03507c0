//! Claims about the ways to choose a threshold.

use super::*;

fn pareto(n: usize, shape: f64, state: &mut u64) -> Vec<f32> {
    let mut scores: Vec<f32> = (0..n)
        .map(|_| {
            *state ^= *state >> 12;
            *state ^= *state << 25;
            *state ^= *state >> 27;
            let p = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64;
            let tail = ParetoTail { shape, scale: 2.0 };
            (10.0 + tail.quantile(1.0 - p)) as f32
        })
        .collect();
    scores.sort_by(f32::total_cmp);
    scores
}

#[test]
fn tail_finds_the_quantiles_of_the_distribution_it_was_drawn_from() {
    for shape in [-0.25, 0.0, 0.25] {
        let rate = 1e-3;
        let truth = ParetoTail { shape, scale: 2.0 }.quantile(rate);
        let mut state = 9;
        let draws = 40;
        let mean = (0..draws)
            .map(|_| {
                let chosen = peaks_over_threshold(&pareto(2000, shape, &mut state), rate).unwrap();
                f64::from(chosen.threshold) - 10.0
            })
            .sum::<f64>()
            / f64::from(draws);
        assert!(
            (mean / truth - 1.0).abs() < 0.06,
            "shape {shape}: {mean} against {truth}"
        );
    }
}

#[test]
fn fitted_shape_and_scale_are_those_of_a_pareto_tail() {
    for shape in [-0.3, 0.0, 0.3] {
        let scores = pareto(200_000, shape, &mut 21);
        let excesses: Vec<f64> = scores.iter().map(|&score| f64::from(score) - 10.0).collect();
        let tail = ParetoTail::fit(&excesses);
        assert!(
            (tail.shape - shape).abs() < 0.02 && (tail.scale - 2.0).abs() < 0.04,
            "{} {}",
            tail.shape,
            tail.scale
        );
    }
}

#[test]
fn rare_rates_lie_above_everything_seen() {
    for shape in [-0.5, 0.0, 0.4] {
        let scores = pareto(80, shape, &mut 33);
        let at = |rate| peaks_over_threshold(&scores, rate).unwrap().threshold;
        assert!(
            at(1e-3) >= scores[79] && at(1e-6) >= at(1e-3) && at(1e-6).is_finite(),
            "{shape}"
        );
        assert!(at(0.1) <= at(0.02));
    }
    let error = peaks_over_threshold(&pareto(80, 0.0, &mut 1), 0.2).unwrap_err();
    assert!(error.contains("not in the tail"), "{error}");
}

#[test]
fn equal_excesses_give_the_score_itself() {
    let mut scores = vec![1.0_f32; 60];
    assert_eq!(peaks_over_threshold(&scores, 0.01).unwrap().threshold, 1.0);
    scores[50..].fill(4.0);
    let threshold = peaks_over_threshold(&scores, 0.01).unwrap().threshold;
    assert!(threshold.is_finite() && threshold >= 4.0, "{threshold}");
}

fn naive_best_f1(scores: &[(f32, bool)], floor: f32) -> f64 {
    let f1 = |threshold: f32| {
        let caught = scores.iter().filter(|s| s.1 && s.0 > threshold).count() as f64;
        let rejected = scores.iter().filter(|s| s.0 > threshold).count() as f64;
        let anomalous = scores.iter().filter(|s| s.1).count() as f64;
        2.0 * caught / (rejected + anomalous)
    };
    let thresholds = scores.iter().map(|s| s.0).filter(|&threshold| threshold >= floor);
    thresholds.map(f1).fold(0.0, f64::max)
}

#[test]
fn f1_threshold_is_the_best_cut_that_passes_a_normal_frame() {
    let mut state = 4_u64;
    for _ in 0..500 {
        let scores: Vec<(f32, bool)> = (0..12)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (((state >> 33) % 9) as f32, (state >> 45).is_multiple_of(3))
            })
            .collect();
        let n_anomalous = scores.iter().filter(|s| s.1).count();
        if n_anomalous == 0 || n_anomalous == scores.len() {
            continue;
        }
        let chosen = choose(&scores, CalibrationMethod::F1Max).unwrap();
        let normal = scores.iter().filter(|s| !s.1);
        let lowest = normal.clone().map(|s| s.0).fold(f32::INFINITY, f32::min);
        assert!(normal.clone().any(|s| s.0 <= chosen.threshold), "{scores:?}");
        let caught = scores.iter().filter(|s| s.1 && s.0 > chosen.threshold).count() as f64;
        let rejected = scores.iter().filter(|s| s.0 > chosen.threshold).count() as f64;
        let f1 = 2.0 * caught / (rejected + n_anomalous as f64);
        assert_eq!(f1, naive_best_f1(&scores, lowest), "{scores:?}");
    }
}

#[test]
fn f1_threshold_lies_midway_in_the_gap() {
    let scores = [(1.0, false), (2.0, false), (4.0, true), (5.0, true)];
    let chosen = choose(&scores, CalibrationMethod::F1Max).unwrap();
    assert_eq!(chosen.threshold, 3.0);
    assert!(
        chosen.statement.contains("F1, 1.000, over 2 normal and 2 anomalous"),
        "{}",
        chosen.statement
    );
    let touching = 1.0_f32.next_up();
    assert_eq!(midway(1.0, touching), 1.0);
}
