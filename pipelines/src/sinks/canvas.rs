//! A picture to draw on; what falls outside of it is clipped.

use intakt_operators::imaging::Image;

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

/// An image that can be drawn on.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// A copy of `image`.
    pub(super) fn of(image: &Image) -> Self {
        Self {
            width: image.width_px as usize,
            height: image.height_px as usize,
            rgb: image.rgb.to_vec(),
        }
    }

    /// A picture in one colour.
    pub(super) fn filled(width: usize, height: usize, colour: Rgb) -> Self {
        Self {
            width,
            height,
            rgb: colour.repeat(width * height),
        }
    }

    pub(super) fn into_image(self) -> Image {
        // Both came from `u32`s or from bounded sizes.
        Image::new(self.width as u32, self.height as u32, self.rgb)
    }

    /// Mixes `colour` into a pixel; `alpha_256` of 256 replaces it.
    pub(super) fn mix(&mut self, x: usize, y: usize, colour: Rgb, alpha_256: u32) {
        let start = (y * self.width + x) * 3;
        for (under, over) in self.rgb[start..start + 3].iter_mut().zip(colour) {
            let mixed = u32::from(*under) * (256 - alpha_256) + u32::from(over) * alpha_256;
            *under = ((mixed + 128) >> 8) as u8;
        }
    }

    /// Sets a pixel, unless it lies outside of the picture.
    pub(super) fn set(&mut self, x: i64, y: i64, colour: Rgb) {
        self.mix_clipped(x, y, colour, 256);
    }

    /// Mixes into a pixel, unless it lies outside of the picture.
    pub(super) fn mix_clipped(&mut self, x: i64, y: i64, colour: Rgb, alpha_256: u32) {
        if (0..self.width as i64).contains(&x) && (0..self.height as i64).contains(&y) {
            self.mix(x as usize, y as usize, colour, alpha_256);
        }
    }

    /// Mixes `colour` into the rectangle `x..x + width`, `y..y + height`, as far as it lies in the picture.
    pub(super) fn fill_rect(&mut self, at: [i64; 2], size: [i64; 2], colour: Rgb, alpha_256: u32) {
        let clip = |from: i64, extent: i64, limit: usize| {
            let limit = limit as i64;
            from.clamp(0, limit)..from.saturating_add(extent).clamp(0, limit)
        };
        for y in clip(at[1], size[1], self.height) {
            for x in clip(at[0], size[0], self.width) {
                self.mix(x as usize, y as usize, colour, alpha_256);
            }
        }
    }

    /// Copies `image` to a place.
    pub(super) fn paste(&mut self, image: &Image, at: [i64; 2]) {
        for (idx, pixel) in image.rgb.chunks_exact(3).enumerate() {
            let (x, y) = (idx % image.width_px as usize, idx / image.width_px as usize);
            self.set(at[0] + x as i64, at[1] + y as i64, [pixel[0], pixel[1], pixel[2]]);
        }
    }
}
