//! What a scene is painted on, how damage is painted over it, and how a camera turns it into bytes.

use intakt_operators::Mask;
use intakt_operators::imaging::Image;

use super::FRAME_SIZE_PX;
use super::random::{Lattice, Rng, sin_turns, smoothstep};

/// Reflectance, red green blue, 0..1.
pub(super) type Colour = [f32; 3];

/// Rows and columns of a frame.
pub(super) const SIDE: usize = FRAME_SIZE_PX as usize;

/// Damage thinner than this is not painted: it would be marked in the mask, but nobody could see it.
const ALPHA_MIN: f32 = 0.1;

pub(super) fn blend(under: Colour, over: Colour, alpha: f32) -> Colour {
    std::array::from_fn(|c| under[c] + (over[c] - under[c]) * alpha)
}

pub(super) fn scale(colour: Colour, factor: f32) -> Colour {
    colour.map(|c| c * factor)
}

/// A scene without light, noise or blur.
#[derive(Clone)]
pub(super) struct Canvas {
    pixels: Vec<Colour>,
}

impl Canvas {
    /// Paints every pixel, row by row, from the function of its position.
    pub(super) fn paint(mut colour_at: impl FnMut(usize, usize) -> Colour) -> Self {
        let mut pixels = Vec::with_capacity(SIDE * SIDE);
        for y in 0..SIDE {
            pixels.extend((0..SIDE).map(|x| colour_at(x, y)));
        }
        Self { pixels }
    }

    /// The pixel, or the nearest one within the frame.
    pub(super) fn near(&self, x: f32, y: f32) -> Colour {
        let last = (SIDE - 1) as f32;
        // The clamp makes both conversions exact; not-a-number becomes 0.
        let (x, y) = (x.round().clamp(0.0, last) as usize, y.round().clamp(0.0, last) as usize);
        self.pixels[y * SIDE + x]
    }

    /// The softness of a lens: a 3×3 binomial-like kernel. Light leaks into the direct neighbours only.
    fn soften(&mut self) {
        const CENTRE: f32 = 0.64;
        const SIDES: f32 = 0.18;
        for row in self.pixels.chunks_exact_mut(SIDE) {
            let mut left = row[0];
            for x in 0..SIDE {
                let (here, right) = (row[x], row[(x + 1).min(SIDE - 1)]);
                row[x] = std::array::from_fn(|c| CENTRE * here[c] + SIDES * (left[c] + right[c]));
                left = here;
            }
        }
        let mut above: Vec<Colour> = self.pixels[..SIDE].to_vec();
        for y in 0..SIDE {
            let (upper, lower) = self.pixels.split_at_mut((y + 1) * SIDE);
            let row = &mut upper[y * SIDE..];
            for x in 0..SIDE {
                let here = row[x];
                let below = lower.get(x).copied().unwrap_or(here);
                row[x] = std::array::from_fn(|c| CENTRE * here[c] + SIDES * (above[x][c] + below[c]));
                above[x] = here;
            }
        }
    }
}

/// A canvas on which damage is painted, and where.
pub(super) struct Damage {
    canvas: Canvas,
    covered: Vec<bool>,
}

impl Damage {
    /// Undamaged so far.
    pub(super) fn over(clean: &Canvas) -> Self {
        Self {
            canvas: clean.clone(),
            covered: vec![false; SIDE * SIDE],
        }
    }

    /// What is there now.
    pub(super) fn get(&self, x: usize, y: usize) -> Colour {
        self.canvas.pixels[y * SIDE + x]
    }

    /// Covers the pixel with `colour` to the degree `alpha`; next to nothing is nothing.
    pub(super) fn cover(&mut self, x: usize, y: usize, colour: Colour, alpha: f32) {
        if alpha >= ALPHA_MIN {
            let pixel = &mut self.canvas.pixels[y * SIDE + x];
            *pixel = blend(*pixel, colour, alpha.min(1.0));
            self.covered[y * SIDE + x] = true;
        }
    }

    /// The pixels of the frame within `reach_px` of a point, row by row.
    pub(super) fn around(centre: [f32; 2], reach_px: f32) -> impl Iterator<Item = (usize, usize)> {
        let span = move |c: f32| {
            let from = (c - reach_px).clamp(0.0, SIDE as f32) as usize;
            let to = (c + reach_px + 1.0).clamp(0.0, SIDE as f32) as usize;
            from..to
        };
        span(centre[1]).flat_map(move |y| span(centre[0]).map(move |x| (x, y)))
    }

    /// The covered pixels and their direct neighbours: as far as the lens spreads the damage.
    fn mask(&self) -> Mask {
        let mut mask = Mask::filled(SIDE, SIDE, false);
        for (idx, _) in self.covered.iter().enumerate().filter(|(_, covered)| **covered) {
            let (x, y) = (idx % SIDE, idx / SIDE);
            for ny in y.saturating_sub(1)..(y + 2).min(SIDE) {
                mask.bits[ny * SIDE..][x.saturating_sub(1)..(x + 2).min(SIDE)].fill(true);
            }
        }
        mask
    }
}

/// A patch of ragged outline: stains, holes, smudges.
pub(super) struct Blob {
    pub(super) centre: [f32; 2],
    pub(super) radius_px: f32,
    /// Unit vector of the long axis.
    axis: [f32; 2],
    /// Length over width, at least 1.
    aspect: f32,
    raggedness: f32,
    ragged: Lattice,
}

impl Blob {
    /// A blob of about `radius_px`; `raggedness` is the share of the radius by which the outline wanders.
    pub(super) fn new(rng: &mut Rng, centre: [f32; 2], radius_px: f32, aspect: f32, raggedness: f32) -> Self {
        Self {
            centre,
            radius_px,
            axis: rng.direction(),
            aspect,
            raggedness,
            ragged: Lattice::new(rng, SIDE as f32, radius_px * 0.6 + 1.5),
        }
    }

    /// How far out a point lies: 0 at the centre, 1 on the outline.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let along = (dx * self.axis[0] + dy * self.axis[1]) / self.aspect;
        let across = dy * self.axis[0] - dx * self.axis[1];
        let r = (along * along + across * across).sqrt() / self.radius_px;
        r * (1.0 + self.raggedness * self.ragged.at(x, y))
    }

    /// The pixels the blob may cover, up to `margin` times its outline.
    pub(super) fn pixels(&self, margin: f32) -> impl Iterator<Item = (usize, usize)> + use<> {
        let reach = self.radius_px * self.aspect * margin / (1.0 - self.raggedness);
        Damage::around(self.centre, reach)
    }
}

/// The lamp over the line at one moment.
pub(super) struct Light {
    gain: Colour,
    gradient: [f32; 2],
}

impl Light {
    /// The lamp at `phase_turns` of its slow cycle (warming up, ageing, daylight), with a little flicker.
    pub(super) fn new(phase_turns: f32, rng: &mut Rng) -> Self {
        let level = 1.0 + 0.045 * sin_turns(phase_turns) + rng.around_zero(0.008);
        let warmth = 0.012 * sin_turns(phase_turns * 2.0 + 0.3);
        Self {
            gain: [level * (1.0 + warmth), level, level * (1.0 - warmth)],
            gradient: [
                0.05 * sin_turns(phase_turns + 0.1) + 0.03,
                0.03 * sin_turns(phase_turns + 0.6) - 0.04,
            ],
        }
    }

    /// Relative brightness at a position: the gradient of the lamp and the lens's fall-off to the corners.
    fn at(&self, x: usize, y: usize) -> f32 {
        let half = SIDE as f32 / 2.0;
        let (u, v) = (x as f32 / half - 1.0, y as f32 / half - 1.0);
        (1.0 + self.gradient[0] * u + self.gradient[1] * v) * (1.0 - 0.045 * (u * u + v * v))
    }
}

/// Takes the picture: lens, light, sensor noise. The frame with damage equals the frame without it, byte for byte, outside
/// of the mask.
pub(super) fn photograph(mut scene: Canvas, damage: Option<Damage>, light: &Light, noise_seed: u64) -> (Image, Mask) {
    scene.soften();
    let mask = match damage {
        None => Mask::filled(SIDE, SIDE, false),
        Some(mut damage) => {
            damage.canvas.soften();
            let mask = damage.mask();
            for (idx, _) in mask.bits.iter().enumerate().filter(|(_, covered)| **covered) {
                scene.pixels[idx] = damage.canvas.pixels[idx];
            }
            mask
        }
    };
    let mut noise = Rng::new(noise_seed);
    let mut rgb = Vec::with_capacity(SIDE * SIDE * 3);
    for (idx, pixel) in scene.pixels.iter().enumerate() {
        let lit = light.at(idx % SIDE, idx / SIDE);
        rgb.extend_from_slice(&expose(scale(*pixel, lit), light.gain, noise.next_u64()));
    }
    (Image::new(FRAME_SIZE_PX, FRAME_SIZE_PX, rgb), mask)
}

/// One pixel of the sensor: shot noise grows with the signal, and chroma is less noisy than brightness after demosaicing.
fn expose(signal: Colour, gain: Colour, random: u64) -> [u8; 3] {
    let bytes = random.to_le_bytes().map(f32::from);
    // Sums of uniform bytes, centred and scaled to about unit variance: the nearest thing to a normal distribution for
    // which no logarithm is needed.
    let brightness = (bytes[0] + bytes[1] + bytes[2] + bytes[3] - 510.0) / 147.8;
    let chroma = [
        (bytes[4] + bytes[5] - 255.0) / 104.5,
        0.0,
        (bytes[6] + bytes[7] - 255.0) / 104.5,
    ];
    std::array::from_fn(|c| {
        let level = signal[c] * gain[c];
        let noise = (brightness + 0.6 * chroma[c]) * (0.004 + 0.004 * level);
        // Highlights roll off instead of clipping hard.
        let level = if level > 0.9 {
            0.9 + 0.1 * smoothstep(0.9, 1.15, level) * 0.95
        } else {
            level
        };
        ((level + noise) * 255.0 + 0.5).clamp(0.0, 255.0) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lens_keeps_a_flat_scene_and_reaches_one_pixel() {
        let mut flat = Canvas::paint(|_, _| [0.5, 0.25, 0.75]);
        flat.soften();
        assert!(flat.pixels.iter().all(|p| (p[0] - 0.5).abs() < 1e-6));

        let mut dot = Canvas::paint(|x, y| [f32::from(u8::from((x, y) == (9, 9))); 3]);
        dot.soften();
        for (idx, pixel) in dot.pixels.iter().enumerate() {
            let near = (idx % SIDE).abs_diff(9) <= 1 && (idx / SIDE).abs_diff(9) <= 1;
            assert_eq!(pixel[0] > 0.0, near, "{idx}");
        }
    }

    #[test]
    fn faint_damage_is_not_marked() {
        let clean = Canvas::paint(|_, _| [0.5; 3]);
        let mut damage = Damage::over(&clean);
        damage.cover(4, 4, [0.0; 3], ALPHA_MIN / 2.0);
        assert!(damage.mask().bits.iter().all(|bit| !bit));
        damage.cover(0, 0, [0.0; 3], 1.0);
        assert_eq!(damage.mask().bits.iter().filter(|bit| **bit).count(), 4);
    }
}
