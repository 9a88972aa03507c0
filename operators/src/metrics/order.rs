//! Scores as integers that sort like them.

/// A `u32` that orders as `score` does: equal scores, `-0.0` and `0.0` among them, have equal keys, and not-a-number
/// has the lowest, [`NAN_KEY`].
pub(super) fn key(score: f32) -> u32 {
    if score.is_nan() {
        return NAN_KEY;
    }
    // Adding zero turns -0.0 into 0.0 and changes nothing else.
    let bits = (score + 0.0).to_bits();
    // Negative floats order backwards by their bits, and below the positive ones.
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The key of not-a-number. Minus infinity has 0x007f_ffff, so no number reaches down to it.
pub(super) const NAN_KEY: u32 = 0;

/// The score that has this key.
pub(super) fn score(key: u32) -> f32 {
    match key {
        NAN_KEY => f32::NAN,
        key if key >> 31 == 1 => f32::from_bits(key & !(1 << 31)),
        key => f32::from_bits(!key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_scores_do() {
        let ascending = [
            f32::NEG_INFINITY,
            f32::MIN,
            -1.5,
            -1.0,
            -f32::MIN_POSITIVE,
            -f32::from_bits(1),
            0.0,
            f32::from_bits(1),
            f32::MIN_POSITIVE,
            1.0,
            1.0f32.next_up(),
            f32::MAX,
            f32::INFINITY,
        ];
        for pair in ascending.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{} < {}", pair[0], pair[1]);
        }
        for value in ascending {
            assert_eq!(score(key(value)), value);
            assert!(key(value) > NAN_KEY);
        }
        assert_eq!(key(-0.0), key(0.0));
        assert_eq!((key(f32::NAN), key(-f32::NAN)), (NAN_KEY, NAN_KEY));
        assert!(score(NAN_KEY).is_nan());
    }
}
