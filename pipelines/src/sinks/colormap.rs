//! Colours of calibrated scores: the same score has the same colour in every picture.

use std::sync::LazyLock;

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

/// Steps of the scale from 0 to 1: so many that nobody sees one.
const STEPS: usize = 4096;

/// The colour and the opacity, of 256, at the lower end of each step. A frame has a million pixels.
static COLOURS: LazyLock<Vec<([u8; 3], u32)>> =
    LazyLock::new(|| (0..=STEPS).map(|step| colour_at(step as f32 / STEPS as f32)).collect());

/// The colour of a calibrated score, and how much of the picture it hides, of 256. Transparent for scores up to
/// [`TRANSPARENT_UP_TO`] and for not-a-number; scores above 1 look like 1.
pub(crate) fn score_colour(calibrated_score: f32) -> ([u8; 3], u32) {
    // What is no number becomes 0.
    COLOURS[((calibrated_score * STEPS as f32) as usize).min(STEPS)]
}

fn colour_at(score: f32) -> ([u8; 3], u32) {
    let score = score.max(TRANSPARENT_UP_TO);
    let around = ANCHORS.iter().zip(&ANCHORS[1..]).find(|(_, (to, ..))| score <= *to);
    let ((from, low, low_alpha), (to, high, high_alpha)) = around.expect("the scale ends at the last anchor");
    let t = (score - from) / (to - from);
    let colour = std::array::from_fn(|c| (low[c] + (high[c] - low[c]) * t + 0.5) as u8);
    (colour, ((low_alpha + (high_alpha - low_alpha) * t) * 256.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opacity_grows_with_the_score_and_starts_at_the_normal_range() {
        let alphas: Vec<u32> = (0..=100).map(|s| score_colour(s as f32 / 100.0).1).collect();
        assert!(alphas.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(alphas[35], 0);
        assert!(alphas[36] > 0 && alphas[100] > 153 && alphas[100] < 256);
        assert_eq!(score_colour(f32::NAN).1, 0);
        assert_eq!(score_colour(f32::NEG_INFINITY).1, 0);
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
