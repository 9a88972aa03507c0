//! Many small pictures on one sheet, with captions: what was rejected, and whether rightly.

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Rgb as ImageRgb};
use intakt_operators::imaging::Image;

use super::canvas::{Canvas, Rgb};
use super::text::{GLYPH_PX, draw_text, fitted, text_width_px};

/// Cells on one sheet: more are not looked at, and memory stays bounded. The title says how many were left out.
pub(crate) const CELLS_MAX: usize = 60;
/// Smallest and largest side of a cell's picture, pixels.
pub(crate) const CELL_SIDE_PX: std::ops::RangeInclusive<u32> = 48..=512;
/// Most columns.
pub(crate) const COLUMNS_MAX: usize = 12;

const GROUND: Rgb = [24, 26, 29];
const CELL_GROUND: Rgb = [38, 41, 46];
const INK: Rgb = [236, 238, 240];
const GAP_PX: usize = 10;

/// How a verdict compares with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// The truth is not known.
    Unknown,
    /// The verdict is right.
    Right,
    /// A good part was rejected.
    FalseReject,
    /// A bad part passed.
    Escape,
}

impl Tone {
    /// The word under the picture; empty where there is nothing to say.
    pub fn word(self) -> &'static str {
        match self {
            Tone::Unknown => "",
            Tone::Right => "right",
            Tone::FalseReject => "false reject",
            Tone::Escape => "escape",
        }
    }

    /// Colours that differ in brightness too, for people who do not see red and green apart.
    fn colour(self) -> Rgb {
        match self {
            Tone::Unknown => [130, 136, 144],
            Tone::Right => [96, 205, 140],
            Tone::FalseReject => [255, 196, 60],
            Tone::Escape => [255, 92, 92],
        }
    }
}

/// One picture on the sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The picture, any size; it is scaled to fit, and keeps its proportions.
    pub image: Image,
    /// One line under it, such as `fabric #42 0.81 hole`; cut where it is too long.
    pub caption: String,
    /// Whether the verdict was right: a coloured bar, and a word in the second line.
    pub tone: Tone,
}

/// Lays `cells` out row by row under a title, at most [`CELLS_MAX`] of them.
///
/// `columns` is held to 1..=[`COLUMNS_MAX`] (and to the number of cells), `cell_px`, the side of a cell's picture, to
/// [`CELL_SIDE_PX`]. Without cells the sheet is its title.
pub fn contact_sheet(title: &str, cells: &[Cell], columns: usize, cell_px: u32) -> Image {
    let shown = &cells[..cells.len().min(CELLS_MAX)];
    let sheet = Sheet::new(shown, columns, cell_px, title);
    let mut canvas = Canvas::filled(sheet.width_px(), sheet.height_px(), GROUND);
    let title = match cells.len() - shown.len() {
        0 => title.to_owned(),
        _ => format!("{title} (the first {} of {})", shown.len(), cells.len()),
    };
    let room = sheet.width_px() - 2 * GAP_PX;
    let title_scale = if text_width_px(&title, 2) <= room { 2 } else { 1 };
    let title_top = GAP_PX + (2 - title_scale) * GLYPH_PX / 2;
    let title = fitted(&title, title_scale, room);
    draw_text(&mut canvas, &title, [GAP_PX as i64, title_top as i64], title_scale, INK);
    for (idx, cell) in shown.iter().enumerate() {
        sheet.draw(&mut canvas, cell, sheet.corner(idx));
    }
    canvas.into_image()
}

/// The measures of a sheet, pixels.
struct Sheet {
    columns: usize,
    rows: usize,
    side: usize,
    text_scale: usize,
    title_width: usize,
}

impl Sheet {
    fn new(cells: &[Cell], columns: usize, cell_px: u32, title: &str) -> Self {
        let columns = columns.clamp(1, COLUMNS_MAX).min(cells.len().max(1));
        let side = cell_px.clamp(*CELL_SIDE_PX.start(), *CELL_SIDE_PX.end()) as usize;
        let longest = cells.iter().map(|cell| cell.caption.chars().count()).max().unwrap_or(0);
        Self {
            columns,
            rows: cells.len().div_ceil(columns),
            side,
            // One size for the whole sheet: large if every caption fits.
            text_scale: if longest * GLYPH_PX * 2 <= side { 2 } else { 1 },
            // A narrow sheet is widened for its title, within reason.
            title_width: text_width_px(title, 1).min(640),
        }
    }

    fn line_height(&self) -> usize {
        GLYPH_PX * self.text_scale + 4
    }

    /// Picture, bar and two lines of text.
    fn cell_height(&self) -> usize {
        self.side + 4 + 4 + 2 * self.line_height()
    }

    fn width_px(&self) -> usize {
        (self.columns * (self.side + GAP_PX)).max(self.title_width + GAP_PX) + GAP_PX
    }

    fn header_height(&self) -> usize {
        2 * GLYPH_PX + 2 * GAP_PX
    }

    fn height_px(&self) -> usize {
        self.header_height() + self.rows * (self.cell_height() + GAP_PX)
    }

    fn corner(&self, idx: usize) -> [i64; 2] {
        let (column, row) = (idx % self.columns, idx / self.columns);
        [
            (GAP_PX + column * (self.side + GAP_PX)) as i64,
            (self.header_height() + row * (self.cell_height() + GAP_PX)) as i64,
        ]
    }

    fn draw(&self, canvas: &mut Canvas, cell: &Cell, [left, top]: [i64; 2]) {
        let side = self.side as i64;
        canvas.fill_rect([left, top], [side, side], CELL_GROUND, 256);
        if let Some(picture) = fit_into(&cell.image, self.side as u32) {
            let margin = |extent: u32| (side - i64::from(extent)) / 2;
            let at = [left + margin(picture.width_px), top + margin(picture.height_px)];
            canvas.paste(&picture, at);
        }
        canvas.fill_rect([left, top + side], [side, 4], cell.tone.colour(), 256);
        let first = top + side + 8;
        let caption = fitted(&cell.caption, self.text_scale, self.side);
        draw_text(canvas, &caption, [left, first], self.text_scale, INK);
        let second = first + self.line_height() as i64;
        let word = fitted(cell.tone.word(), self.text_scale, self.side);
        draw_text(canvas, &word, [left, second], self.text_scale, cell.tone.colour());
    }
}

/// The image scaled to touch the sides of a square from within; nothing if it has no pixels.
fn fit_into(image: &Image, side: u32) -> Option<Image> {
    let (width, height) = (image.width_px, image.height_px);
    if width == 0 || height == 0 {
        return None;
    }
    let long = u64::from(width.max(height));
    let scaled = |extent: u32| (u64::from(extent) * u64::from(side)).div_ceil(long).max(1) as u32;
    let (to_width, to_height) = (scaled(width), scaled(height));
    if (to_width, to_height) == (width, height) {
        return Some(image.clone());
    }
    let buffer = ImageBuffer::<ImageRgb<u8>, &[u8]>::from_raw(width, height, &image.rgb)?;
    // A triangle filter as wide as the step between pixels: it averages when shrinking and interpolates when enlarging.
    let resized = resize(&buffer, to_width, to_height, FilterType::Triangle);
    Some(Image::new(to_width, to_height, resized.into_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(width: u32, height: u32, colour: Rgb) -> Image {
        Image::new(width, height, colour.repeat(width as usize * height as usize))
    }

    fn cell(image: Image, tone: Tone) -> Cell {
        Cell {
            image,
            caption: "fabric #42 0.81 hole".to_owned(),
            tone,
        }
    }

    fn count(image: &Image, colour: Rgb) -> usize {
        image.rgb.chunks_exact(3).filter(|p| p == &colour).count()
    }

    #[test]
    fn cells_lie_in_a_grid_and_keep_their_size() {
        let blue = [1, 2, 250];
        let cells = vec![cell(flat(100, 100, blue), Tone::Right); 5];
        let sheet = contact_sheet("rejected", &cells, 3, 100);
        assert_eq!(count(&sheet, blue), 5 * 100 * 100);
        assert_eq!(sheet.width_px, 3 * 110 + 10);
        let right = count(&sheet, Tone::Right.colour());
        assert!(right > 5 * 4 * 100, "bars and words: {right}");
    }

    #[test]
    fn wide_and_small_images_are_fitted() {
        let red = [250, 2, 1];
        let sheet = contact_sheet("", &[cell(flat(4096, 256, red), Tone::Escape)], 1, 128);
        assert_eq!(count(&sheet, red), 128 * 8);
        let sheet = contact_sheet("", &[cell(flat(3, 6, red), Tone::Escape)], 1, 128);
        assert_eq!(count(&sheet, red), 64 * 128);
        let sheet = contact_sheet("", &[cell(flat(0, 6, red), Tone::Escape)], 1, 128);
        assert_eq!(count(&sheet, red), 0);
    }

    #[test]
    fn long_lists_are_cut_and_the_title_says_so() {
        let cells = vec![cell(flat(8, 8, [9; 3]), Tone::Unknown); CELLS_MAX + 30];
        let cut = contact_sheet("rejected", &cells, 10, 48);
        let whole = contact_sheet("rejected", &cells[..CELLS_MAX], 10, 48);
        assert_eq!((cut.width_px, cut.height_px), (whole.width_px, whole.height_px));
        assert!(count(&cut, INK) > count(&whole, INK), "the longer title");
    }

    #[test]
    fn measures_are_held_to_their_bounds() {
        let cells = vec![cell(flat(8, 8, [9; 3]), Tone::Unknown); 2];
        let none = contact_sheet("nothing was rejected", &[], 4, 256);
        assert!(none.height_px < 60 && none.width_px >= 160);
        assert_eq!(contact_sheet("", &cells, 0, 48).width_px, 68);
        assert_eq!(contact_sheet("", &cells, 1, u32::MAX).width_px, 512 + 20);
        assert_eq!(contact_sheet("", &cells, usize::MAX, 0).width_px, 2 * 58 + 10);
        let title = "x".repeat(100_000);
        assert!(contact_sheet(&title, &cells, 2, 48).width_px < 700);
    }

    #[test]
    fn same_cells_same_bytes_and_tones_differ() {
        let sheet = |tone| contact_sheet("t", &[cell(flat(30, 20, [7, 80, 9]), tone)], 1, 64);
        assert_eq!(sheet(Tone::Escape), sheet(Tone::Escape));
        assert_ne!(sheet(Tone::Escape), sheet(Tone::FalseReject));
    }
}
