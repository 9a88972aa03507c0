//! Printed labels on cardboard, and what goes wrong in printing and handling.

use super::canvas::{Blob, Canvas, Colour, Damage, SIDE, blend, scale};
use super::print::{Artwork, Ink, LABEL_PX, Line};
use super::random::{Lattice, Rng, smoothstep};

const CARDBOARD: Colour = [0.60, 0.455, 0.31];
const PAPER: Colour = [0.885, 0.885, 0.87];
const BLACK_INK: Colour = [0.085, 0.085, 0.10];
const ACCENT_INK: Colour = [0.09, 0.30, 0.53];

/// One label, as applied.
pub(super) struct Label<'a> {
    artwork: &'a Artwork,
    centre: [f32; 2],
    tilt: f32,
    ink_density: f32,
    flute_phase: f32,
    fibre: Lattice,
    cloud: Lattice,
}

/// A line that was not printed as it should.
struct Misprint {
    line: Line,
    /// Share of the ink that arrived.
    ink: f32,
    /// A second, displaced impression, and its share of the ink.
    ghost: Option<([f32; 2], f32)>,
}

impl<'a> Label<'a> {
    /// The applicator places labels within 2 pixels and half a degree.
    pub(super) fn new(artwork: &'a Artwork, rng: &mut Rng) -> Self {
        let middle = SIDE as f32 / 2.0;
        Self {
            artwork,
            centre: std::array::from_fn(|_| middle + rng.around_zero(2.0)),
            tilt: rng.around_zero(0.0087),
            ink_density: rng.between(0.95, 1.0),
            flute_phase: rng.unit(),
            fibre: Lattice::new(rng, SIDE as f32, 2.3),
            cloud: Lattice::new(rng, SIDE as f32, 47.0),
        }
    }

    pub(super) fn paint(&self) -> Canvas {
        Canvas::paint(|x, y| self.colour(x, y, None))
    }

    /// Position on the label, in frame pixels from its corner.
    fn on_label(&self, x: f32, y: f32) -> [f32; 2] {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        // cos a = 1 - a²/2 is exact to 1e-9 for half a degree.
        let cosine = 1.0 - 0.5 * self.tilt * self.tilt;
        [
            cosine * dx + self.tilt * dy + LABEL_PX[0] / 2.0,
            cosine * dy - self.tilt * dx + LABEL_PX[1] / 2.0,
        ]
    }

    /// Position in the frame of a point of the label.
    fn in_frame(&self, u: f32, v: f32) -> [f32; 2] {
        let (du, dv) = (u - LABEL_PX[0] / 2.0, v - LABEL_PX[1] / 2.0);
        [
            self.centre[0] + du - self.tilt * dv,
            self.centre[1] + dv + self.tilt * du,
        ]
    }

    fn colour(&self, x: usize, y: usize, misprint: Option<&Misprint>) -> Colour {
        let (px, py) = (x as f32, y as f32);
        let [u, v] = self.on_label(px, py);
        let paper = coverage(u, v);
        if paper <= 0.0 {
            return self.cardboard(px, py, u, v);
        }
        let label = self.print(px, py, self.ink(u, v, misprint));
        if paper >= 1.0 {
            label
        } else {
            blend(self.cardboard(px, py, u, v), label, paper)
        }
    }

    fn print(&self, px: f32, py: f32, ink: Ink) -> Colour {
        let grain = 1.0 + 0.012 * self.fibre.at(px, py);
        let paper = scale(PAPER, grain);
        let accented = blend(paper, ACCENT_INK, ink.accent * self.ink_density);
        blend(accented, BLACK_INK, ink.black * self.ink_density)
    }

    fn ink(&self, u: f32, v: f32, misprint: Option<&Misprint>) -> Ink {
        let ink = self.artwork.at(u, v);
        let Some(misprint) = misprint else {
            return ink;
        };
        let own = if misprint.line.contains(u, v) {
            ink.black * misprint.ink
        } else {
            ink.black
        };
        let ghost = misprint.ghost.map_or(0.0, |([du, dv], share)| {
            let (u, v) = (u - du, v - dv);
            if misprint.line.contains(u, v) {
                self.artwork.at(u, v).black * share
            } else {
                0.0
            }
        });
        Ink {
            black: own.max(ghost),
            accent: ink.accent,
        }
    }

    /// Cardboard shows its flutes and fibres; the label throws a thin shadow to the lower right.
    fn cardboard(&self, px: f32, py: f32, u: f32, v: f32) -> Colour {
        let shadow = coverage(u - 1.6, v - 1.6) * 0.28;
        let fibre = 0.045 * self.fibre.at(px, py) + 0.03 * self.cloud.at(px, py);
        scale(CARDBOARD, (1.0 + fibre + self.flutes(px)) * (1.0 - shadow))
    }

    fn flutes(&self, px: f32) -> f32 {
        let turns = px / 11.3 + self.flute_phase;
        // Never negative, so that truncation is the floor.
        let t = turns - turns as u32 as f32 - 0.5;
        0.022 * (1.0 - 8.0 * t * t)
    }

    /// Damages the label at a random place; the answer is the defect's class.
    pub(super) fn damage(&self, damage: &mut Damage, rng: &mut Rng) -> &'static str {
        match rng.below(3) {
            0 => {
                self.misprint(damage, rng);
                "misprint"
            }
            1 => {
                self.smudge(damage, rng);
                "smudge"
            }
            _ => {
                self.tear(damage, rng);
                "tear"
            }
        }
    }

    /// A line that is missing, faded or printed twice. The whole line counts as the defect.
    fn misprint(&self, damage: &mut Damage, rng: &mut Rng) {
        let line = self.artwork.lines[rng.below(self.artwork.lines.len())];
        let (ink, ghost) = match rng.below(3) {
            0 => (0.0, None),
            1 => (rng.between(0.1, 0.5), None),
            _ => {
                let shift = [rng.between(2.5, 5.0), rng.around_zero(2.0)];
                (1.0, Some((shift, rng.between(0.45, 0.85))))
            }
        };
        let misprint = Misprint { line, ink, ghost };
        for y in 0..SIDE {
            for x in 0..SIDE {
                let [u, v] = self.on_label(x as f32, y as f32);
                let ghosted = ghost.is_some_and(|([du, dv], _)| line.contains(u - du, v - dv));
                if line.contains(u, v) || ghosted {
                    damage.cover(x, y, self.colour(x, y, Some(&misprint)), 1.0);
                }
            }
        }
    }

    /// Wet ink that was wiped along: the print drags a tail, and a grey veil stays on the paper.
    fn smudge(&self, damage: &mut Damage, rng: &mut Rng) {
        const STEPS: usize = 10;
        let line = self.artwork.lines[rng.below(self.artwork.lines.len())];
        // At the edge of a line, so that it spreads over blank paper: among bars nobody would see it.
        let edge = if rng.unit() < 0.5 { line.top } else { line.bottom };
        let centre = self.in_frame(rng.between(line.left + 12.0, line.right - 12.0), edge);
        let radius_px = rng.between(9.0, 19.0);
        let aspect = rng.between(1.2, 1.9);
        let blob = Blob::new(rng, centre, radius_px, aspect, 0.3);
        let [wx, wy] = rng.direction();
        let reach_px = rng.between(7.0, 16.0);
        let strength = rng.between(0.7, 0.95);
        let veil = rng.between(0.24, 0.42);
        let streaks = Lattice::new(rng, 2.0 * SIDE as f32, 3.0);
        for (x, y) in blob.pixels(1.1) {
            let (px, py) = (x as f32, y as f32);
            let [u, v] = self.on_label(px, py);
            let dragged = (1..=STEPS)
                .map(|step| {
                    let back = reach_px * step as f32 / STEPS as f32;
                    self.artwork.at(u - wx * back, v - wy * back).black
                })
                .sum::<f32>()
                / STEPS as f32;
            let across = SIDE as f32 + wx * (py - centre[1]) - wy * (px - centre[0]);
            let ink = (veil * (1.0 + 0.5 * streaks.at(across, SIDE as f32)) + 1.2 * dragged).min(1.0);
            let wiped = blend(damage.get(x, y), scale(BLACK_INK, 1.6), ink * strength);
            // Ink is wiped over the paper, not over the cardboard.
            let alpha = smoothstep(1.05, 0.7, blob.distance(px, py)) * coverage(u, v);
            damage.cover(x, y, wiped, alpha);
        }
    }

    /// A piece torn out of an edge or a corner: cardboard shows, bordered by white paper fibre.
    fn tear(&self, damage: &mut Damage, rng: &mut Rng) {
        let half = LABEL_PX.map(|side| side / 2.0);
        // A point on the outline, by stretching a random direction until it meets the edge.
        let [cosine, sine] = rng.direction();
        let stretch = (half[0] / cosine.abs().max(1e-3)).min(half[1] / sine.abs().max(1e-3));
        let mouth = self.in_frame(half[0] + cosine * stretch, half[1] + sine * stretch);
        let radius_px = rng.between(8.0, 21.0);
        let aspect = rng.between(1.0, 1.9);
        let blob = Blob::new(rng, mouth, radius_px, aspect, 0.42);
        let fibre_px = rng.between(1.5, 3.2);
        for (x, y) in blob.pixels(1.5) {
            let (px, py) = (x as f32, y as f32);
            let [u, v] = self.on_label(px, py);
            let paper = coverage(u, v);
            let d = blob.distance(px, py);
            let outside_px = (d - 1.0) * radius_px + 0.7 * self.fibre.at(px * 0.9, py * 0.9);
            let frayed = smoothstep(fibre_px + 0.5, fibre_px - 0.5, outside_px);
            let core = scale(PAPER, 1.06 + 0.05 * self.fibre.at(px, py));
            damage.cover(x, y, core, frayed * paper);
            // Under the label the cardboard is roughened by the glue, and the torn edge shades it.
            let bare = scale(CARDBOARD, 0.86 + 0.09 * self.fibre.at(px, py) + self.flutes(px));
            damage.cover(x, y, bare, smoothstep(0.5, -0.5, outside_px) * paper);
        }
    }
}

/// Share of a pixel that the label covers.
fn coverage(u: f32, v: f32) -> f32 {
    let inside = u.min(LABEL_PX[0] - u).min(v).min(LABEL_PX[1] - v);
    (inside + 0.5).clamp(0.0, 1.0)
}
