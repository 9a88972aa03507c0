//! Numbers for tests; `tests/parity/scorers.py` makes the same.

use super::random::SplitMix64;
use crate::FeatureMap;

/// `count` values in −1 … 1.
pub(super) fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count)
        .map(|_| (random.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

/// A map of [`values`].
pub(super) fn feature_map(height: usize, width: usize, dims: usize, seed: u64) -> FeatureMap {
    FeatureMap::new(height, width, dims, values(height * width * dims, seed))
}

/// Panics unless both hold the same number of values, none further apart than `tolerance` (relative above 1).
#[track_caller]
pub(super) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "lengths");
    for (at, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= tolerance * e.abs().max(1.0),
            "at {at}: {f}, expected {e}"
        );
    }
}

/// A black JPEG.
pub(super) fn jpeg(width_px: u32, height_px: u32) -> Vec<u8> {
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new(&mut jpeg)
        .encode(
            &vec![0; (3 * width_px * height_px) as usize],
            width_px,
            height_px,
            image::ExtendedColorType::Rgb8,
        )
        .unwrap();
    jpeg
}
