//! Uncompressed pictures from brightness and colour differences.

/// How brightness and colour differences become red, green and blue; factors in steps of 2⁻¹⁶.
pub(super) struct Colours {
    black: i32,
    luma: i32,
    v_to_red: i32,
    u_to_green: i32,
    v_to_green: i32,
    u_to_blue: i32,
}

impl Colours {
    /// By ITU-T H.273: matrix 1 is BT.709, all others are taken for BT.601, as players do where none is stated.
    pub(super) fn new(full_range: bool, matrix: u8) -> Self {
        // Weights of red and blue in the brightness.
        let (red, blue) = if matrix == 1 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let green = 1.0 - red - blue;
        let (black, luma, chroma) = if full_range {
            (0, 1.0, 1.0)
        } else {
            (16, 255.0 / 219.0, 255.0 / 224.0)
        };
        let fixed = |factor: f64| (factor * 65536.0).round() as i32;
        Self {
            black,
            luma: fixed(luma),
            v_to_red: fixed(2.0 * (1.0 - red) * chroma),
            u_to_green: fixed(-2.0 * (1.0 - blue) * blue / green * chroma),
            v_to_green: fixed(-2.0 * (1.0 - red) * red / green * chroma),
            u_to_blue: fixed(2.0 * (1.0 - blue) * chroma),
        }
    }

    /// Blue, green and red.
    pub(super) fn bgr(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let light = (i32::from(y) - self.black) * self.luma + 32768;
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let level = |sum: i32| (sum >> 16).clamp(0, 255) as u8;
        [
            level(light + u * self.u_to_blue),
            level(light + u * self.u_to_green + v * self.v_to_green),
            level(light + v * self.v_to_red),
        ]
    }
}

/// The headers of a 24-bit BMP whose rows go from the top to the bottom, and room for its pixels. They may take 2 GiB at
/// most: callers know a smaller limit.
pub(super) fn bmp_header(width: u32, height: u32, pixel_bytes: usize) -> Vec<u8> {
    const HEADER_BYTES: u32 = 54;
    let pixel_bytes_u32 = pixel_bytes as u32;
    let mut bmp = Vec::with_capacity(HEADER_BYTES as usize + pixel_bytes);
    bmp.extend_from_slice(b"BM");
    for field in [HEADER_BYTES + pixel_bytes_u32, 0, HEADER_BYTES, 40, width] {
        bmp.extend_from_slice(&field.to_le_bytes());
    }
    bmp.extend_from_slice(&(-height.cast_signed()).to_le_bytes());
    bmp.extend_from_slice(&[1, 0, 24, 0]);
    for field in [0, pixel_bytes_u32, 0, 0, 0, 0] {
        bmp.extend_from_slice(&field.to_le_bytes());
    }
    bmp
}
