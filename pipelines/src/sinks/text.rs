//! Text in pictures: the public-domain 8×8 font.

use font8x8::{BASIC_FONTS, BLOCK_FONTS, BOX_FONTS, GREEK_FONTS, LATIN_FONTS, MISC_FONTS, UnicodeFonts};

use super::canvas::{Canvas, Rgb};

/// Rows and columns of a letter at scale 1, pixels.
pub(crate) const GLYPH_PX: usize = 8;

/// The rows of a letter from the top; the lowest bit is the leftmost dot. A letter that the font lacks is shown as `?`.
pub(crate) fn glyph(letter: char) -> [u8; GLYPH_PX] {
    BASIC_FONTS
        .get(letter)
        .or_else(|| LATIN_FONTS.get(letter))
        .or_else(|| GREEK_FONTS.get(letter))
        .or_else(|| BOX_FONTS.get(letter))
        .or_else(|| BLOCK_FONTS.get(letter))
        .or_else(|| MISC_FONTS.get(letter))
        .or_else(|| BASIC_FONTS.get('?'))
        .unwrap_or_default()
}

/// Width of `text` in pixels at `scale`.
pub(crate) fn text_width_px(text: &str, scale: usize) -> usize {
    text.chars().count() * GLYPH_PX * scale
}

/// `text` cut to `width_px` pixels at `scale`; what was cut ends in `..`.
pub(crate) fn fitted(text: &str, scale: usize, width_px: usize) -> String {
    let room = width_px / (GLYPH_PX * scale.max(1));
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(2)).collect();
    format!("{kept}..").chars().take(room).collect()
}

/// Draws `text` with its top-left corner at a point; every dot of the font is `scale` pixels wide. Diagonals are smoothed
/// at scale 2 and above.
pub(super) fn draw_text(canvas: &mut Canvas, text: &str, at: [i64; 2], scale: usize, colour: Rgb) {
    let advance = (GLYPH_PX * scale) as i64;
    for (position, letter) in text.chars().enumerate() {
        let left = at[0] + position as i64 * advance;
        if left >= canvas.width as i64 {
            break;
        }
        draw_glyph(canvas, glyph(letter), [left, at[1]], scale, colour);
    }
}

fn draw_glyph(canvas: &mut Canvas, rows: [u8; GLYPH_PX], at: [i64; 2], scale: usize, colour: Rgb) {
    let lit = |x: i64, y: i64| (0..8).contains(&x) && (0..8).contains(&y) && rows[y as usize] >> x & 1 == 1;
    for y in 0..GLYPH_PX * scale {
        for x in 0..GLYPH_PX * scale {
            let (column, row) = ((x / scale) as i64, (y / scale) as i64);
            if lit(column, row) || (scale > 1 && fills_corner(&lit, [x, y], scale)) {
                canvas.set(at[0] + x as i64, at[1] + y as i64, colour);
            }
        }
    }
}

/// Whether a pixel of an unlit dot lies in the corner between two lit neighbours that touch diagonally: filling half of
/// it, as a triangle, turns stairs into slopes.
fn fills_corner(lit: &impl Fn(i64, i64) -> bool, pixel: [usize; 2], scale: usize) -> bool {
    let [column, row] = pixel.map(|p| (p / scale) as i64);
    let [u, v] = pixel.map(|p| p % scale);
    let (dx, depth_x) = if 2 * u < scale { (-1, u) } else { (1, scale - 1 - u) };
    let (dy, depth_y) = if 2 * v < scale { (-1, v) } else { (1, scale - 1 - v) };
    let between = lit(column + dx, row) && lit(column, row + dy) && !lit(column + dx, row + dy);
    between && 2 * (depth_x + depth_y) < scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lit_pixels(text: &str, scale: usize, size: usize) -> usize {
        let mut canvas = Canvas::filled(size, size, [0; 3]);
        draw_text(&mut canvas, text, [0, 0], scale, [255; 3]);
        canvas.into_image().rgb.iter().filter(|b| **b == 255).count() / 3
    }

    #[test]
    fn letters_have_the_dots_of_the_font() {
        let dots: u32 = glyph('A').iter().map(|row| row.count_ones()).sum();
        assert_eq!(lit_pixels("A", 1, 16), dots as usize);
        assert!(lit_pixels("A", 3, 32) >= 9 * dots as usize);
        assert_eq!(lit_pixels(" ", 2, 32), 0);
    }

    #[test]
    fn unknown_letters_are_question_marks_and_umlauts_are_not() {
        assert_eq!(glyph('漢'), glyph('?'));
        assert_ne!(glyph('ä'), glyph('?'));
        assert_ne!(glyph('µ'), glyph('?'));
    }

    #[test]
    fn text_outside_of_the_picture_is_clipped() {
        let mut canvas = Canvas::filled(6, 6, [0; 3]);
        draw_text(&mut canvas, "WWW", [-12, -3], 2, [9; 3]);
        draw_text(&mut canvas, "WWW", [100, 100], 2, [9; 3]);
        assert_eq!(canvas.into_image().rgb.len(), 108);
    }

    #[test]
    fn long_text_is_cut_to_its_room() {
        assert_eq!(fitted("fabric #42", 1, 80), "fabric #42");
        assert_eq!(fitted("fabric #42", 1, 79), "fabric ..");
        assert_eq!(fitted("fabric", 1, 10), ".");
        assert_eq!(fitted("fabric", 2, 0), "");
    }
}
