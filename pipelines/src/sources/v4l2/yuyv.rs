//! YUYV pictures: two pixels in four bytes, each its own brightness, both the same colour.

use intakt_operators::imaging::FRAME_PIXELS_MAX;

use crate::sources::bmp::{Colours, bmp_header};

/// How a camera lays out its YUYV pictures. The sizes are checked: whatever the bytes are, they can be converted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Yuyv {
    width_px: u32,
    height_px: u32,
    stride_bytes: usize,
}

impl Yuyv {
    /// Pictures of that size, a row every `stride_bytes`; 0 where a driver states none, for rows without gaps.
    ///
    /// # Errors
    /// A sentence, where that is no picture, or one that is too large to be decoded.
    pub(super) fn new(width_px: u32, height_px: u32, stride_bytes: u32) -> Result<Self, String> {
        let pixels = u64::from(width_px) * u64::from(height_px);
        if pixels == 0 || pixels > FRAME_PIXELS_MAX || !width_px.is_multiple_of(2) {
            return Err(format!(
                "YUYV pictures of {width_px}x{height_px} pixels; the width has to be even, and at most {FRAME_PIXELS_MAX} \
                 pixels are decoded"
            ));
        }
        // At most FRAME_PIXELS_MAX wide, which is far below 2³¹.
        let row_bytes = 2 * width_px;
        let stride_bytes = if stride_bytes == 0 { row_bytes } else { stride_bytes };
        if stride_bytes < row_bytes {
            return Err(format!(
                "the driver states {stride_bytes} bytes for a row of {width_px} YUYV pixels, which takes {row_bytes}"
            ));
        }
        Ok(Self {
            width_px,
            height_px,
            stride_bytes: stride_bytes as usize,
        })
    }

    /// The picture as an uncompressed 24-bit BMP, by BT.601 in limited range, as cameras send it.
    ///
    /// # Errors
    /// A sentence, where bytes are missing; nothing is allocated then.
    pub(super) fn to_bmp(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (row_bytes, height) = (2 * self.width_px as usize, self.height_px as usize);
        // The last row needs no gap behind it.
        let wanted = self.stride_bytes.checked_mul(height - 1);
        let wanted = wanted.and_then(|bytes| bytes.checked_add(row_bytes));
        if wanted.is_none_or(|wanted| bytes.len() < wanted) {
            return Err(format!(
                "{} bytes are no YUYV picture of {}x{} pixels",
                bytes.len(),
                self.width_px,
                self.height_px
            ));
        }
        let colours = Colours::new(false, 0);
        let bmp_row_bytes = (3 * self.width_px as usize).next_multiple_of(4);
        let mut bmp = bmp_header(self.width_px, self.height_px, bmp_row_bytes * height);
        for row in bytes.chunks(self.stride_bytes).take(height) {
            let begin = bmp.len();
            for pair in row[..row_bytes].chunks_exact(4) {
                bmp.extend_from_slice(&colours.bgr(pair[0], pair[1], pair[3]));
                bmp.extend_from_slice(&colours.bgr(pair[2], pair[1], pair[3]));
            }
            bmp.resize(begin + bmp_row_bytes, 0);
        }
        Ok(bmp)
    }
}

#[cfg(test)]
mod tests {
    use intakt_operators::imaging::decode;

    use super::*;

    /// BT.601 in limited range by its definition, in floating point: red, green, blue.
    fn by_definition(y: u8, u: u8, v: u8) -> [f64; 3] {
        let light = (f64::from(y) - 16.0) / 219.0;
        let [blue, red] = [u, v].map(|difference| (f64::from(difference) - 128.0) / 224.0);
        [
            light + 1.402 * red,
            light - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587,
            light + 1.772 * blue,
        ]
        .map(|level| (255.0 * level).clamp(0.0, 255.0))
    }

    #[test]
    fn every_pixel_is_that_of_bt_601() {
        let steps = || (0..=255u8).step_by(15);
        let pairs: Vec<[u8; 4]> = steps()
            .flat_map(|y| steps().map(move |u| [y, u, 255 - y, u.wrapping_mul(7)]))
            .collect();
        let (width_px, height_px) = (2 * steps().count() as u32, steps().count() as u32);
        let layout = Yuyv::new(width_px, height_px, 0).expect("a picture");
        let bmp = layout.to_bmp(pairs.as_flattened()).expect("whole");
        let image = decode(&bmp, u16::MAX).expect("a BMP");
        assert_eq!((image.width_px, image.height_px), (width_px, height_px));
        let expected = pairs
            .iter()
            .flat_map(|[y0, u, y1, v]| [by_definition(*y0, *u, *v), by_definition(*y1, *u, *v)]);
        for (found, expected) in image.rgb.chunks_exact(3).zip(expected) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1.0, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn black_grey_and_white_are_those_of_limited_range() {
        let layout = Yuyv::new(2, 2, 0).expect("a picture");
        let bmp = layout.to_bmp(&[16, 128, 235, 128, 126, 128, 255, 128]).expect("whole");
        let image = decode(&bmp, u16::MAX).expect("a BMP");
        assert_eq!(image.rgb[..], [[0; 3], [255; 3], [128; 3], [255; 3]].concat());
    }

    #[test]
    fn gaps_between_rows_are_left_out_and_may_be_missing_at_the_end() {
        let dense = Yuyv::new(2, 2, 0).expect("a picture");
        let gappy = Yuyv::new(2, 2, 7).expect("a picture");
        let expected = dense.to_bmp(&[50, 60, 70, 80, 90, 100, 110, 120]);
        let bytes = [50, 60, 70, 80, 1, 2, 3, 90, 100, 110, 120];
        assert_eq!(gappy.to_bmp(&bytes), expected);
        assert_eq!(gappy.to_bmp(&[&bytes[..], &[1; 9]].concat()), expected);
    }

    #[test]
    fn hostile_sizes_and_strides_are_refused() {
        for (width_px, height_px, stride_bytes) in [
            (0, 4, 0),
            (4, 0, 0),
            (3, 4, 0),
            (u32::MAX - 1, u32::MAX, 0),
            (u32::MAX - 1, 1, 0),
            (4, 4, 7),
        ] {
            assert!(
                Yuyv::new(width_px, height_px, stride_bytes).is_err(),
                "{width_px}x{height_px}"
            );
        }
        let layout = Yuyv::new(2, 32 << 20, u32::MAX).expect("a size that is decoded");
        assert!(layout.to_bmp(&[0; 64]).is_err());
        let layout = Yuyv::new(4, 2, 0).expect("a picture");
        assert!(layout.to_bmp(&[0; 15]).is_err() && layout.to_bmp(&[]).is_err());
        assert!(layout.to_bmp(&[0; 16]).is_ok());
    }
}
