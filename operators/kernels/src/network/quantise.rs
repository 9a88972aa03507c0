//! Weights and activations in 8 bits.
//!
//! A weight is `q · scale` with `q` in −127 … 127 and one `scale` per output channel; an activation, which is never negative, is
//! `q · scale` with `q` in 0 … 255 and one `scale` per map (symmetric quantisation, Krishnamoorthi 2018, arXiv 1806.08342,
//! sections 2 and 3). Sums of products are exact in 32 bits. They are scaled back in `f32`, in this order:
//!
//! ```text
//! y = f32(sum) · scale + bias                 two roundings
//! y = y + f32(added) · scale of added         two more, where something is added
//! y = 0 if y < 0                              where asked for
//! q = min(round_half_even(y · (1 / scale of the map)), 255)
//! ```
//!
//! All of these are IEEE operations that are never fused, so every CPU gives the same bytes.

/// Largest magnitude of a quantised weight: −128 is left out, so that negating a weight is exact.
const WEIGHT_MAX: f32 = 127.0;

/// Largest quantised activation.
pub(super) const ACTIVATION_MAX: f32 = 255.0;

/// Products that can be added up: each is at most 255 · 127, and their sum has to fit 31 bits.
pub(super) const PRODUCTS_MAX: usize = (i32::MAX / (255 * 127)) as usize;

/// Weights in 8 bits.
pub(super) struct QuantisedWeights {
    /// As the weights were.
    pub(super) values: Vec<i8>,
    /// Per output channel.
    pub(super) scales: Vec<f32>,
}

impl QuantisedWeights {
    /// What they are worth.
    pub(super) fn weight(&self) -> Vec<f64> {
        let per_channel = self.values.len() / self.scales.len();
        let values = self.values.iter().enumerate();
        let weight = values.map(|(at, q)| f64::from(*q) * f64::from(self.scales[at / per_channel]));
        weight.collect()
    }
}

/// The nearest weights of 8 bits, each output channel by itself.
///
/// Panics unless `weight` holds as many values for each of `out_channels`.
pub(super) fn quantise_weights(weight: &[f32], out_channels: usize) -> QuantisedWeights {
    let per_channel = weight.len() / out_channels;
    assert_eq!(weight.len(), per_channel * out_channels, "weights");
    let mut values = Vec::with_capacity(weight.len());
    let mut scales = Vec::with_capacity(out_channels);
    for kernel in weight.chunks_exact(per_channel) {
        let largest = kernel.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        // A channel of zeros, or of values too small to be divided by, counts as zero.
        let scale = if largest >= f32::MIN_POSITIVE * WEIGHT_MAX {
            largest / WEIGHT_MAX
        } else {
            1.0
        };
        values.extend(
            kernel
                .iter()
                .map(|value| (value / scale).round_ties_even().clamp(-WEIGHT_MAX, WEIGHT_MAX) as i8),
        );
        scales.push(scale);
    }
    QuantisedWeights { values, scales }
}

/// The scale of activations up to `largest`; none fits a map of zeros, and any does.
pub(super) fn activation_scale(largest: f32) -> f32 {
    if largest >= f32::MIN_POSITIVE * ACTIVATION_MAX {
        largest / ACTIVATION_MAX
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values;

    #[test]
    fn a_weight_is_never_further_away_than_half_a_step() {
        let mut weight = values(5 * 9, 1);
        weight[9..18].fill(0.0);
        weight[18] = 1e30;
        weight[27..36].iter_mut().for_each(|value| *value *= 1e-42);
        let quantised = quantise_weights(&weight, 5);
        for (at, (&value, &q)) in weight.iter().zip(&quantised.values).enumerate() {
            let scale = quantised.scales[at / 9];
            assert!(
                (f32::from(q) * scale - value).abs() <= 0.5 * scale * 1.000_001,
                "{value} became {q} of {scale}"
            );
        }
        assert_eq!(quantised.values[9..18], [0; 9]);
        assert_eq!(quantised.values[18], 127);
    }

    #[test]
    fn sums_of_the_largest_products_fit() {
        assert!(PRODUCTS_MAX as i64 * 255 * 127 <= i64::from(i32::MAX));
        assert!(activation_scale(0.0) == 1.0 && activation_scale(510.0) == 2.0);
    }
}
