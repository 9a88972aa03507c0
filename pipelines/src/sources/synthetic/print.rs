//! What is printed on the labels: a band with a name, a logo, lines of text and a barcode.

use font8x8::{BASIC_FONTS, UnicodeFonts};

/// Size of the label in frame pixels.
pub(super) const LABEL_PX: [f32; 2] = [188.0, 150.0];
/// Print positions per frame pixel.
const DOTS_PER_PX: f32 = 2.0;
const WIDTH_DOTS: usize = 376;
const HEIGHT_DOTS: usize = 300;

/// Coverage with the two inks, 0..1.
#[derive(Clone, Copy)]
pub(super) struct Ink {
    pub(super) black: f32,
    pub(super) accent: f32,
}

/// A line of text or a barcode on the label, in frame pixels from the label's corner.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

impl Line {
    pub(super) fn contains(&self, u: f32, v: f32) -> bool {
        (self.left..self.right).contains(&u) && (self.top..self.bottom).contains(&v)
    }
}

/// The artwork: one for all labels.
pub(super) struct Artwork {
    black: Vec<f32>,
    accent: Vec<f32>,
    pub(super) lines: Vec<Line>,
}

impl Artwork {
    pub(super) fn new() -> Self {
        let mut art = Self {
            black: vec![0.0; WIDTH_DOTS * HEIGHT_DOTS],
            accent: vec![0.0; WIDTH_DOTS * HEIGHT_DOTS],
            lines: Vec::new(),
        };
        art.band();
        art.logo([328.0, 114.0], 34.0);
        art.text("BRG 6204-2Z", [14, 70], 3);
        art.text("LOT 2417-A", [14, 106], 2);
        art.text("EXP 2029-03", [14, 132], 2);
        art.text("QTY 25   NET 2.6 KG", [14, 158], 2);
        art.barcode("4006381333931", [14, 184], [348, 78]);
        art.text("4 006381 333931", [68, 270], 2);
        art
    }

    /// The ink at a position in frame pixels from the label's corner; none outside of the label.
    pub(super) fn at(&self, u: f32, v: f32) -> Ink {
        let (x, y) = (u * DOTS_PER_PX - 0.5, v * DOTS_PER_PX - 0.5);
        let last = [(WIDTH_DOTS - 2) as f32, (HEIGHT_DOTS - 2) as f32];
        if !(0.0..=last[0]).contains(&x) || !(0.0..=last[1]).contains(&y) {
            let accent = if v < 28.0 { 1.0 } else { 0.0 };
            return Ink { black: 0.0, accent };
        }
        let (column, row) = (x as usize, y as usize);
        let (tx, ty) = (x - column as f32, y - row as f32);
        let corner = row * WIDTH_DOTS + column;
        let sample = |dots: &[f32]| {
            let top = dots[corner] + (dots[corner + 1] - dots[corner]) * tx;
            let below = corner + WIDTH_DOTS;
            let bottom = dots[below] + (dots[below + 1] - dots[below]) * tx;
            top + (bottom - top) * ty
        };
        Ink {
            black: sample(&self.black),
            accent: sample(&self.accent),
        }
    }

    /// A coloured band along the top from which the name is spared.
    fn band(&mut self) {
        self.accent[..56 * WIDTH_DOTS].fill(1.0);
        let accent = &mut self.accent;
        glyph_dots("INTAKT", [14, 8], 5, |idx| accent[idx] = 0.0);
    }

    /// A disc with a tick in it.
    fn logo(&mut self, centre: [f32; 2], radius: f32) {
        for (idx, dot) in self.accent.iter_mut().enumerate() {
            let (x, y) = ((idx % WIDTH_DOTS) as f32, (idx / WIDTH_DOTS) as f32);
            let (dx, dy) = ((x - centre[0]) / radius, (y - centre[1]) / radius);
            let r = (dx * dx + dy * dy).sqrt();
            // The tick's two arms meet at (-0.1, 0.4).
            let arm = if dx < -0.1 { 0.5 + dx } else { 0.33 - 0.7 * dx };
            let tick = (-0.5..0.55).contains(&dx) && (dy - arm).abs() < 0.16;
            let ring = (0.78..0.88).contains(&r);
            if r < 1.0 && !tick && !ring {
                *dot = 1.0;
            }
        }
    }

    fn text(&mut self, text: &str, at: [usize; 2], dot_size: usize) {
        let black = &mut self.black;
        glyph_dots(text, at, dot_size, |idx| black[idx] = 1.0);
        self.line(at, [text.len() * 8 * dot_size, 8 * dot_size]);
    }

    /// Bars whose widths follow from the digits (two bars and two spaces a digit, seven modules, as in EAN).
    fn barcode(&mut self, digits: &str, at: [usize; 2], size: [usize; 2]) {
        const WIDTHS: [[usize; 4]; 10] = [
            [3, 2, 1, 1],
            [2, 2, 2, 1],
            [2, 1, 2, 2],
            [1, 4, 1, 1],
            [1, 1, 3, 2],
            [1, 2, 3, 1],
            [1, 1, 1, 4],
            [1, 3, 1, 2],
            [1, 2, 1, 3],
            [3, 1, 1, 2],
        ];
        let modules = 7 * digits.len();
        let dots_per_module = size[0] as f32 / modules as f32;
        let mut module = 0;
        for digit in digits.bytes().map(|b| usize::from(b - b'0')) {
            for (element, width) in WIDTHS[digit].into_iter().enumerate() {
                let from = at[0] + (module as f32 * dots_per_module) as usize;
                module += width;
                let to = at[0] + (module as f32 * dots_per_module) as usize;
                if element % 2 == 1 {
                    for y in at[1]..at[1] + size[1] {
                        self.black[y * WIDTH_DOTS + from..y * WIDTH_DOTS + to].fill(1.0);
                    }
                }
            }
        }
        self.line(at, size);
    }

    fn line(&mut self, at: [usize; 2], size: [usize; 2]) {
        let px = |dots: usize| dots as f32 / DOTS_PER_PX;
        self.lines.push(Line {
            left: px(at[0]) - 1.0,
            top: px(at[1]) - 1.0,
            right: px(at[0] + size[0]) + 1.0,
            bottom: px(at[1] + size[1]) + 1.0,
        });
    }
}

/// Calls `dot` with the index of every dot of `text`, whose glyphs are 8×8 squares of `dot_size` dots.
fn glyph_dots(text: &str, at: [usize; 2], dot_size: usize, mut dot: impl FnMut(usize)) {
    for (position, letter) in text.chars().enumerate() {
        let glyph = BASIC_FONTS.get(letter).unwrap_or_default();
        let lit = |column: i32, row: i32| -> f32 {
            let inside = (0..8).contains(&column) && (0..8).contains(&row);
            if inside && glyph[row as usize] >> column & 1 == 1 {
                1.0
            } else {
                0.0
            }
        };
        for y in 0..8 * dot_size {
            for x in 0..8 * dot_size {
                if rounded(&lit, [x, y].map(|d| (d as f32 + 0.5) / dot_size as f32)) {
                    dot((at[1] + y) * WIDTH_DOTS + at[0] + position * 8 * dot_size + x);
                }
            }
        }
    }
}

/// Whether a point of the 8×8 square is inked when its dots are joined and their corners rounded: bilinear interpolation
/// between the dots, cut just below one half, at which dots that touch at a corner stay joined.
fn rounded(lit: &impl Fn(i32, i32) -> f32, [x, y]: [f32; 2]) -> bool {
    // Shifted by one so that the conversion rounds down.
    let (column, row) = ((x + 0.5) as i32 - 1, (y + 0.5) as i32 - 1);
    let (tx, ty) = (x - 0.5 - column as f32, y - 0.5 - row as f32);
    let line = |row| lit(column, row) * (1.0 - tx) + lit(column + 1, row) * tx;
    line(row) * (1.0 - ty) + line(row + 1) * ty > 0.45
}
