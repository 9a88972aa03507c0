//! Colours of calibrated scores: the same score has the same colour in every picture.

/// Scores up to here are not drawn: the texture of a normal part scores up to about this, and a normal image shall not be
/// coloured.
pub(crate) const TRANSPARENT_UP_TO: f32 = 0.35;
/// The calibrated score that rejects.
pub(crate) const THRESHOLD: f32 = 0.5;

/// Anchors of the scale: (calibrated score, colour, opacity). Hues as in Turbo (Mikhailov, "Turbo, an improved rainbow
/// colormap for visualization", 2019), placed so that what is below the threshold stays blue and thin, and yellow to red
/// mean rejected.
const ANCHORS: [(f32, [f32; 3], f32); 7] = [
    (TRANSPARENT_UP_TO, [70.0, 107.0, 227.0], 0.0),
    (0.43, [40.0, 170.0, 235.0], 0.16),
    (THRESHOLD, [60.0, 225.0, 170.0], 0.30),
    (0.58, [190.0, 240.0, 50.0], 0.42),
    (0.70, [253.0, 190.0, 45.0], 0.52),
    (0.84, [240.0, 90.0, 20.0], 0.60),
    (1.0, [190.0, 15.0, 5.0], 0.66),
];

/// The colour of a calibrated score, and how much of the picture it hides, 0…1. Transparent for scores up to
/// [`TRANSPARENT_UP_TO`] and for not-a-number; scores above 1 look like 1.
pub(crate) fn score_colour(calibrated_score: f32) -> ([u8; 3], f32) {
    if calibrated_score.is_nan() || calibrated_score <= TRANSPARENT_UP_TO {
        return (ANCHORS[0].1.map(|c| c as u8), 0.0);
    }
    let score = calibrated_score.min(1.0);
    for pair in ANCHORS.windows(2) {
        let ((from, low, low_alpha), (to, high, high_alpha)) = (pair[0], pair[1]);
        if score <= to {
            let t = (score - from) / (to - from);
            let colour = std::array::from_fn(|c| (low[c] + (high[c] - low[c]) * t + 0.5) as u8);
            return (colour, low_alpha + (high_alpha - low_alpha) * t);
        }
    }
    unreachable!("the last anchor is at 1, and the score is at most 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opacity_grows_with_the_score_and_starts_at_the_normal_range() {
        let alphas: Vec<f32> = (0..=100).map(|s| score_colour(s as f32 / 100.0).1).collect();
        assert!(alphas.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(alphas[35], 0.0);
        assert!(alphas[36] > 0.0 && alphas[100] > 0.6 && alphas[100] < 1.0);
        assert_eq!(score_colour(f32::NAN).1, 0.0);
        assert_eq!(score_colour(f32::NEG_INFINITY).1, 0.0);
        assert_eq!(score_colour(f32::INFINITY), score_colour(1.0));
    }

    #[test]
    fn red_dominates_only_above_the_threshold() {
        for step in 36..=100 {
            let score = step as f32 / 100.0;
            let ([red, green, blue], _) = score_colour(score);
            if score <= THRESHOLD {
                assert!(red < green && red < blue, "{score}");
            }
            if score >= 0.7 {
                assert!(red > green && green > blue, "{score}");
            }
        }
    }

    #[test]
    fn neighbouring_scores_look_alike() {
        for step in 350..1_000 {
            let (a, b) = (
                score_colour(step as f32 / 1e3).0,
                score_colour((step + 1) as f32 / 1e3).0,
            );
            assert!(a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 4), "{step}");
        }
    }
}
