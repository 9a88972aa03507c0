//! Brushed stainless steel: fine horizontal grain, a soft highlight, and what handling does to it.

use super::canvas::{Blob, Canvas, Colour, Damage, SIDE, scale};
use super::random::{Lattice, Rng, smoothstep};

const STEEL: Colour = [0.585, 0.60, 0.62];
/// Rows of grain, a few more than the frame shows because the grain may run obliquely.
const GRAIN_ROWS: usize = SIDE + 8;
/// Length of the streaks and their weight: brushing leaves long soft bands and short sharp hairlines.
const STREAKS: [(f32, f32); 4] = [(400.0, 0.035), (110.0, 0.035), (34.0, 0.03), (9.0, 0.018)];

/// One piece of sheet metal under the camera.
pub(super) struct Metal {
    grain: Vec<f32>,
    slope: f32,
    highlight_px: f32,
    cloud: Lattice,
}

impl Metal {
    /// Every frame shows another piece, brushed by the same belt.
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            grain: grain(rng),
            slope: rng.around_zero(0.009),
            highlight_px: rng.between(96.0, 150.0),
            cloud: Lattice::new(rng, SIDE as f32, 83.0),
        }
    }

    pub(super) fn paint(&self) -> Canvas {
        Canvas::paint(|x, y| self.colour(x, y))
    }

    fn colour(&self, x: usize, y: usize) -> Colour {
        let (px, py) = (x as f32, y as f32);
        let row = py + 4.0 + self.slope * (px - SIDE as f32 / 2.0);
        let upper = row as usize;
        let t = row - upper as f32;
        let (a, b) = (self.grain[upper * SIDE + x], self.grain[(upper + 1) * SIDE + x]);
        // Horizontal brushing spreads the lamp's reflection into a vertical band, in which the grain glitters.
        let off = (px - self.highlight_px) / 190.0;
        let band = smoothstep(1.0, 0.0, off.abs());
        let level = 0.86 + 0.17 * band + 0.018 * self.cloud.at(px, py) + (a + (b - a) * t) * (0.8 + 0.5 * band);
        scale(STEEL, level)
    }

    /// Damages the sheet at a random place; the answer is the defect's class.
    pub(super) fn damage(&self, clean: &Canvas, damage: &mut Damage, rng: &mut Rng) -> &'static str {
        match rng.below(3) {
            0 => {
                scratch(damage, rng);
                "scratch"
            }
            1 => {
                dent(clean, damage, rng);
                "dent"
            }
            _ => {
                stain(damage, rng);
                "stain"
            }
        }
    }
}

fn grain(rng: &mut Rng) -> Vec<f32> {
    let mut grain = Vec::with_capacity(GRAIN_ROWS * SIDE);
    for _ in 0..GRAIN_ROWS {
        let start = grain.len();
        grain.resize(start + SIDE, 0.0_f32);
        for (length_px, weight) in STREAKS {
            add_streaks(&mut grain[start..], length_px, weight, rng);
        }
        // The odd deeper hairline.
        if rng.unit() < 0.3 {
            let from = rng.below(SIDE);
            let to = (from + 20 + rng.below(120)).min(SIDE);
            let depth = rng.around_zero(0.045);
            grain[start..][from..to].iter_mut().for_each(|g| *g += depth);
        }
    }
    grain
}

/// Adds noise along one row: random values `length_px` apart, joined by straight lines, from a random phase.
fn add_streaks(row: &mut [f32], length_px: f32, weight: f32, rng: &mut Rng) {
    let mut next = || rng.around_zero(weight);
    let (mut left, mut right) = (next(), next());
    let step = 1.0 / length_px;
    let mut t = (left / weight + 1.0) * 0.5;
    for value in row {
        *value += left + (right - left) * t;
        t += step;
        if t >= 1.0 {
            t -= 1.0;
            (left, right) = (right, next());
        }
    }
}

/// A groove across the grain: bright where its edge catches the lamp, dark beside it.
fn scratch(damage: &mut Damage, rng: &mut Rng) {
    let inside = 30.0;
    let start: [f32; 2] = std::array::from_fn(|_| rng.between(inside, SIDE as f32 - inside));
    let mut heading = rng.direction();
    // Along the grain it would pass for a hairline; at least 20° across, it does not.
    if heading[1].abs() < 0.34 {
        heading = [
            0.8 * heading[0].signum(),
            0.6 * if heading[1] < 0.0 { -1.0 } else { 1.0 },
        ];
    }
    let length_px = rng.between(26.0, 130.0);
    let bow = rng.around_zero(0.14);
    let half_width_px = rng.between(0.6, 1.4);
    let contrast = rng.between(0.14, 0.42);
    let wear = Lattice::new(rng, length_px + 1.0, 11.0);
    for (x, y) in Damage::around(start, length_px + 4.0) {
        let (dx, dy) = (x as f32 - start[0], y as f32 - start[1]);
        let along = (dx * heading[0] + dy * heading[1]) / length_px;
        if !(0.0..=1.0).contains(&along) {
            continue;
        }
        let off = dy * heading[0] - dx * heading[1] - bow * length_px * along * (1.0 - along) * 2.0;
        let ends = smoothstep(0.0, 0.08, along) * smoothstep(1.0, 0.85, along);
        let depth = contrast * (0.8 + 0.3 * wear.at(along * length_px, 0.0));
        let under = damage.get(x, y);
        let crest = ends * smoothstep(half_width_px + 0.8, half_width_px - 0.4, off.abs());
        damage.cover(x, y, under.map(|c| c + depth), crest);
        let shade = ends * smoothstep(1.3, 0.3, (off - half_width_px - 1.2).abs());
        damage.cover(x, y, scale(under, 1.0 - depth * 0.8), shade);
    }
}

/// A knock: the surface bends down and up again, so the reflection is pulled aside, darker on one flank, brighter on the
/// other.
fn dent(clean: &Canvas, damage: &mut Damage, rng: &mut Rng) {
    let inside = 34.0;
    let centre: [f32; 2] = std::array::from_fn(|_| rng.between(inside, SIDE as f32 - inside));
    let radius_px = rng.between(9.0, 27.0);
    let depth = rng.between(0.16, 0.42) + 0.08 * (1.0 - radius_px / 27.0);
    let aspect = rng.between(1.0, 1.35);
    let blob = Blob::new(rng, centre, radius_px, aspect, 0.08);
    for (x, y) in blob.pixels(1.0) {
        let (px, py) = (x as f32, y as f32);
        let r = blob.distance(px, py);
        if r >= 1.0 {
            continue;
        }
        // The bump (1 - r²)² has the slope 4r(1 - r²), which is largest at r = 0.58, where it is 1.54.
        let slope = 4.0 * r * (1.0 - r * r) / 1.54;
        let (dx, dy) = (px - centre[0], py - centre[1]);
        let norm = (dx * dx + dy * dy).sqrt().max(1e-3);
        let towards_lamp = slope * (0.35 * dx + 0.94 * dy) / norm;
        let pull = 4.0 * slope / norm;
        let reflected = clean.near(px + dx * pull, py + dy * pull);
        let floor = 1.0 - 0.25 * depth * (1.0 - r * r);
        damage.cover(
            x,
            y,
            scale(reflected, floor + depth * towards_lamp),
            smoothstep(1.0, 0.9, r),
        );
    }
}

/// Dried coolant or heat: a dull tint with a darker edge.
fn stain(damage: &mut Damage, rng: &mut Rng) {
    const TINTS: [Colour; 3] = [[0.80, 0.70, 0.52], [0.62, 0.69, 0.82], [0.72, 0.71, 0.69]];
    let inside = 30.0;
    let centre: [f32; 2] = std::array::from_fn(|_| rng.between(inside, SIDE as f32 - inside));
    let radius_px = rng.between(8.0, 30.0);
    let strength = rng.between(0.4, 0.85) + 0.15 * (1.0 - radius_px / 30.0);
    let tint = TINTS[rng.below(TINTS.len())];
    let aspect = rng.between(1.0, 1.8);
    let blob = Blob::new(rng, centre, radius_px, aspect, 0.3);
    let edge = rng.between(0.72, 0.94);
    let mottle = Lattice::new(rng, SIDE as f32, 7.0);
    for (x, y) in blob.pixels(1.1) {
        let (px, py) = (x as f32, y as f32);
        let d = blob.distance(px, py);
        let under = damage.get(x, y);
        let rim = smoothstep(0.7, 0.9, d) * smoothstep(1.05, 0.95, d);
        let dull = 0.97 + 0.05 * mottle.at(px, py) - 0.18 * rim;
        let tinted: Colour = std::array::from_fn(|c| under[c] * tint[c] * dull);
        damage.cover(x, y, tinted, strength * smoothstep(1.06, edge, d));
    }
}
