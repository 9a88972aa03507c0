//! The ways to choose a threshold from scores.

use super::CalibrationMethod;

/// Fewest normal frames a tail is fitted to: the ten highest of fifty are its top fifth, and more would be its body.
pub const TAIL_FRAMES_MIN: usize = 50;

/// Fewest excesses a tail is fitted to: probability-weighted moments of fewer scatter by more than their own size.
const EXCESSES_MIN: usize = 10;

/// A threshold and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) threshold: f32,
    pub(super) n_frames: usize,
    pub(super) guaranteed_false_reject_rate: Option<f64>,
    pub(super) statement: String,
}

/// Chooses a threshold over `(score, anomalous)`; all scores are finite and at least one is normal.
pub(super) fn choose(scores: &[(f32, bool)], method: CalibrationMethod) -> Result<Chosen, String> {
    let mut normal: Vec<f32> = scores
        .iter()
        .filter(|(_, anomalous)| !anomalous)
        .map(|&(score, _)| score)
        .collect();
    normal.sort_by(f32::total_cmp);
    match method {
        CalibrationMethod::Conformal { false_reject_rate } => conformal(&normal, checked_rate(false_reject_rate)?),
        CalibrationMethod::PeaksOverThreshold { false_reject_rate } => {
            peaks_over_threshold(&normal, checked_rate(false_reject_rate)?)
        }
        CalibrationMethod::F1Max => f1_max(scores, &normal),
        CalibrationMethod::Fixed { image_threshold, .. } => fixed(&normal, image_threshold, scores.len()),
    }
}

fn checked_rate(rate: f64) -> Result<f64, String> {
    if rate > 0.0 && rate <= 0.5 {
        return Ok(rate);
    }
    Err(format!(
        "cannot calibrate: false-reject rate {rate} is not above 0 and at most 0.5\n  hint: it is a share: 0.01 rejects \
         one normal part in a hundred"
    ))
}

/// With `k = ⌈(n + 1)(1 − α)⌉`, the k-th lowest normal score is exceeded by a new exchangeable one with a probability of at
/// most `1 − k / (n + 1) ≤ α`. Where `k` is `n + 1` the highest score is taken, which guarantees `1 / (n + 1)` only.
fn conformal(normal: &[f32], rate: f64) -> Result<Chosen, String> {
    let n = normal.len();
    // The tolerance absorbs the rounding of products such as 100 · 0.07.
    let above = ((n as f64 + 1.0) * rate + 1e-9).floor() as usize;
    let rank = n + 1 - above.max(1);
    let guaranteed = above.max(1) as f64 / (n as f64 + 1.0);
    let threshold = normal[rank - 1];
    let mut statement = format!(
        "threshold {threshold:.4} is rank {rank} of {n} held-out normal scores (conformal quantile): at most {} of normal \
         frames like these are rejected",
        percent(guaranteed)
    );
    if above == 0 {
        let needed = (1.0 / rate - 1e-9).ceil() as u64 - 1;
        statement += &format!(
            "; {} was asked for, which takes at least {needed} held-out normal frames",
            percent(rate)
        );
    }
    Ok(Chosen {
        threshold,
        n_frames: n,
        guaranteed_false_reject_rate: Some(guaranteed),
        statement,
    })
}

/// Siffer et al. 2017, eq. 1: `z = t + σ/γ · ((q n / N_t)^−γ − 1)` with a generalised Pareto tail above `t`.
///
/// `t` leaves a tenth of the frames above it, and never fewer than [`EXCESSES_MIN`]. The threshold is not below `t`, where
/// nothing was fitted; and where fewer than one of the frames seen may exceed (`q n < 1`), not below the highest of them.
fn peaks_over_threshold(normal: &[f32], rate: f64) -> Result<Chosen, String> {
    let n = normal.len();
    if n < TAIL_FRAMES_MIN {
        return Err(format!(
            "cannot calibrate by peaks over threshold: {n} held-out normal frames do not show a tail, {TAIL_FRAMES_MIN} are \
             needed\n  hint: use the conformal quantile, or hold out more frames"
        ));
    }
    let n_excesses = (n / 10).max(EXCESSES_MIN);
    let tail_share = n_excesses as f64 / n as f64;
    if rate >= tail_share {
        return Err(format!(
            "cannot calibrate by peaks over threshold: a false-reject rate of {rate} is not in the tail, which begins at \
             {tail_share:.3}\n  hint: use the conformal quantile, {n} frames are enough for that rate"
        ));
    }
    let tail_start = f64::from(normal[n - n_excesses - 1]);
    let excesses: Vec<f64> = normal[n - n_excesses..]
        .iter()
        .map(|&score| f64::from(score) - tail_start)
        .collect();
    let tail = ParetoTail::fit(&excesses);
    let highest = f64::from(normal[n - 1]);
    let lowest_sound = if rate * (n as f64) < 1.0 { highest } else { tail_start };
    let threshold = ((tail_start + tail.quantile(rate / tail_share)).max(lowest_sound)) as f32;
    Ok(Chosen {
        threshold,
        n_frames: n,
        guaranteed_false_reject_rate: None,
        statement: format!(
            "threshold {threshold:.4} extrapolates the tail of {n} held-out normal scores to a false-reject rate of {} \
             (peaks over threshold: {n_excesses} excesses over {tail_start:.4}, shape {:.2}); an estimate, not a guarantee",
            percent(rate),
            tail.shape
        ),
    })
}

/// A generalised Pareto distribution of excesses.
struct ParetoTail {
    /// γ: negative for a tail that ends, 0 for an exponential one, positive for a heavy one.
    shape: f64,
    /// σ.
    scale: f64,
}

impl ParetoTail {
    /// Probability-weighted moments (Hosking & Wallis 1987, eqs. 4 and 8, with p = (i − 0.35) / n); `excesses` ascending.
    fn fit(excesses: &[f64]) -> Self {
        let n = excesses.len() as f64;
        let mean = excesses.iter().sum::<f64>() / n;
        let weighted = excesses
            .iter()
            .enumerate()
            .map(|(idx, excess)| excess * (1.0 - (idx as f64 + 0.65) / n))
            .sum::<f64>()
            / n;
        // Moments of fewer than hundreds of excesses scatter: beyond ±0.5 the shape is noise, or has no variance.
        let shape = match mean / (mean - 2.0 * weighted) {
            ratio if ratio.is_finite() => (2.0 - ratio).clamp(-0.5, 0.5),
            _ => 0.0,
        };
        // The scale that keeps the mean, σ / (1 − γ): the same as the moments' own where the shape was not clamped.
        Self {
            shape,
            scale: mean * (1.0 - shape),
        }
    }

    /// The excess that is exceeded with probability `p`.
    fn quantile(&self, p: f64) -> f64 {
        if self.shape.abs() < 1e-9 {
            return -self.scale * p.ln();
        }
        self.scale / self.shape * (p.powf(-self.shape) - 1.0)
    }
}

/// The cut with the highest F1 = 2 TP / (2 TP + FP + FN); of equal ones the highest, which rejects least. The threshold lies
/// midway between the scores on its two sides, and never below the lowest normal score, so that not everything is rejected.
fn f1_max(scores: &[(f32, bool)], normal: &[f32]) -> Result<Chosen, String> {
    let n_anomalous = scores.len() - normal.len();
    if n_anomalous == 0 {
        return Err(format!(
            "cannot calibrate by F1: all {} held-out frames are normal\n  hint: label some anomalous frames, or use the \
             conformal quantile, which needs none",
            scores.len()
        ));
    }
    let mut descending = scores.to_vec();
    descending.sort_by(|left, right| right.0.total_cmp(&left.0));
    let (mut caught, mut rejected) = (0, 0);
    let mut best = (descending[0].0, 0.0);
    for pair in descending.windows(2) {
        rejected += 1;
        caught += usize::from(pair[0].1);
        if pair[1].0 < pair[0].0 && pair[1].0 >= normal[0] {
            let f1 = 2.0 * caught as f64 / (rejected + n_anomalous) as f64;
            if f1 > best.1 {
                best = (midway(pair[1].0, pair[0].0), f1);
            }
        }
    }
    let (threshold, f1) = best;
    Ok(Chosen {
        threshold,
        n_frames: scores.len(),
        guaranteed_false_reject_rate: None,
        statement: format!(
            "threshold {threshold:.4} has the highest F1, {f1:.3}, over {} normal and {n_anomalous} anomalous frames",
            normal.len()
        ),
    })
}

/// A number that is at least `low` and below `high`.
fn midway(low: f32, high: f32) -> f32 {
    let middle = low + (high - low) / 2.0;
    if middle < high { middle } else { low }
}

fn fixed(normal: &[f32], threshold: f32, n_frames: usize) -> Result<Chosen, String> {
    if !threshold.is_finite() {
        return Err(format!("cannot calibrate: fixed threshold {threshold} is not finite"));
    }
    let rejected = normal.iter().filter(|&&score| score > threshold).count();
    if rejected == normal.len() {
        return Err(format!(
            "cannot calibrate: fixed threshold {threshold} rejects all {rejected} held-out normal frames, whose scores are \
             {} to {}\n  hint: give a threshold in the detector's own unit, or none to have it chosen",
            normal[0],
            normal[normal.len() - 1]
        ));
    }
    Ok(Chosen {
        threshold,
        n_frames,
        guaranteed_false_reject_rate: None,
        statement: format!(
            "threshold {threshold:.4} was given; {rejected} of {} held-out normal frames exceed it",
            normal.len()
        ),
    })
}

fn percent(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
#[path = "thresholds_tests.rs"]
mod tests;
