//! Small pictures of a frame: as it is, and with its heatmap.

use std::sync::Arc;
use std::thread;

use intakt_operators::dataflow::FoundFrame;
use intakt_operators::detector::Detector;
use intakt_operators::imaging::{FrameLayout, Image, resize};
use intakt_operators::postprocess::FrameScores;
use intakt_operators::{Mask, RectPx, Region, Verdict};
use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor, rgb_to_ycbcr};

use super::canvas::{Canvas, Rgb};
use super::heatmap;
use super::heatmaps::calibrated_map;

/// The two sides of the line around a defect: one of them shows on any product.
const INSIDE: Rgb = [255, 255, 255];
const OUTSIDE: Rgb = [0, 0, 0];

/// A frame that was looked at.
pub(crate) struct Seen<'a> {
    pub(crate) image: &'a Image,
    pub(crate) scores: &'a FrameScores,
    pub(crate) detector: &'a Detector,
    pub(crate) verdict: &'a Verdict,
}

/// What is taken of a frame to draw it later, so that the frame itself can go.
pub(super) struct Taken {
    image: Arc<Image>,
    scores: Arc<FrameScores>,
    detector: Arc<Detector>,
    pub(super) verdict: Arc<Verdict>,
}

impl Taken {
    pub(super) fn of(found: &FoundFrame, verdict: &Arc<Verdict>) -> Self {
        Self {
            image: found.scored.frame.image.clone(),
            scores: found.scored.scores.clone(),
            detector: found.detector.clone(),
            verdict: verdict.clone(),
        }
    }

    /// Bytes of its pixels.
    pub(super) fn bytes(&self) -> usize {
        self.image.rgb.len()
    }

    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            image: &self.image,
            scores: &self.scores,
            detector: &self.detector,
            verdict: &self.verdict,
        }
    }
}

/// The frame, at most `side_px` wide and high, with the outline of where its defects truly are, on the grid of the map; and the frame
/// with its heatmap and its regions.
pub(crate) fn small_pictures(seen: &Seen<'_>, truth: Option<&Mask>, side_px: u32) -> [Image; 2] {
    let small = Small::of(seen, side_px);
    let heatmap = small.heatmap(seen);
    let frame = match truth {
        Some(truth) => outlined(&small.image, truth, &small.layout),
        None => small.image,
    };
    [frame, heatmap]
}

/// The second of [`small_pictures`] alone.
pub(super) fn small_heatmap(seen: &Seen<'_>, side_px: u32) -> Image {
    Small::of(seen, side_px).heatmap(seen)
}

/// An image, at most `side_px` wide and high.
pub(crate) fn small_image(image: &Image, side_px: u32) -> Image {
    let [width_px, height_px] = small_size([image.width_px, image.height_px], side_px);
    resize(image, width_px, height_px)
}

/// The JPEG file of an image: the same bytes on every machine, in colours as sharp as its brightness.
pub(crate) fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, String> {
    encode_blocks(image, quality, || ())
}

/// The same, by a thread that [stands back](intakt_kernels::stand_back): a thousandth of a second is too long for whoever waits.
pub(super) fn encode_jpeg_standing_back(image: &Image, quality: u8) -> Result<Vec<u8>, String> {
    encode_blocks(image, quality, thread::yield_now)
}

/// Encodes an image, a row of blocks after the other, and does something before each.
fn encode_blocks(image: &Image, quality: u8, before_each: impl Fn()) -> Result<Vec<u8>, String> {
    let side = |px: u32| u16::try_from(px).map_err(|_| format!("{px} pixels are too many for a JPEG file"));
    let rows = Rows {
        rgb: &image.rgb,
        width_px: side(image.width_px)?,
        height_px: side(image.height_px)?,
        before_blocks: before_each,
    };
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, quality);
    // With half as many, lines around regions break up.
    encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
    encoder.encode_image(rows).map_err(|error| error.to_string())?;
    Ok(jpeg)
}

/// Rows of pixels that are encoded, eight to a row of blocks.
struct Rows<'a, F> {
    rgb: &'a [u8],
    width_px: u16,
    height_px: u16,
    before_blocks: F,
}

impl<F: Fn()> ImageBuffer for Rows<'_, F> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width_px
    }

    fn height(&self) -> u16 {
        self.height_px
    }

    fn fill_buffers(&self, y: u16, [luma, blue, red, _]: &mut [Vec<u8>; 4]) {
        if y.is_multiple_of(8) {
            (self.before_blocks)();
        }
        let bytes = 3 * usize::from(self.width_px);
        for pixel in self.rgb[usize::from(y) * bytes..][..bytes].chunks_exact(3) {
            let (y, cb, cr) = rgb_to_ycbcr(pixel[0], pixel[1], pixel[2]);
            luma.push(y);
            blue.push(cb);
            red.push(cr);
        }
    }
}

/// A frame made small, and where the map lies in it.
struct Small {
    image: Image,
    layout: FrameLayout,
    scale: [f64; 2],
}

impl Small {
    fn of(seen: &Seen<'_>, side_px: u32) -> Self {
        let Seen { image, scores, .. } = seen;
        let small = small_image(image, side_px);
        let [width_px, height_px] = [small.width_px, small.height_px];
        let scale = [
            f64::from(width_px) / f64::from(image.width_px),
            f64::from(height_px) / f64::from(image.height_px),
        ];
        let layout = FrameLayout {
            frame_width_px: width_px,
            frame_height_px: height_px,
            frame_px_per_map_px: [0, 1].map(|axis| scores.layout.frame_px_per_map_px[axis] * scale[axis]),
            map_origin_in_frame_px: [0, 1].map(|axis| scores.layout.map_origin_in_frame_px[axis] * scale[axis]),
            ..scores.layout.clone()
        };
        Self {
            image: small,
            layout,
            scale,
        }
    }

    /// With the heatmap and the regions of the frame.
    fn heatmap(&self, seen: &Seen<'_>) -> Image {
        let regions = seen.verdict.regions.iter().map(|region| scaled(region, self.scale));
        let mut suppressed = seen.verdict.suppressed.clone();
        suppressed
            .iter_mut()
            .for_each(|suppressed| suppressed.region = scaled(&suppressed.region, self.scale));
        heatmap(
            &self.image,
            &calibrated_map(seen.scores, seen.detector),
            &self.layout,
            &regions.collect::<Vec<_>>(),
            &suppressed,
        )
    }
}

/// At most `side_px` on the longer side, in the frame's shape.
pub(crate) fn small_size([width_px, height_px]: [u32; 2], side_px: u32) -> [u32; 2] {
    let longest = width_px.max(height_px);
    let side = |px: u32| match longest > side_px {
        true => ((u64::from(px) * u64::from(side_px) / u64::from(longest)) as u32).max(1),
        false => px,
    };
    [side(width_px), side(height_px)]
}

fn scaled(region: &Region, [x, y]: [f64; 2]) -> Region {
    let RectPx {
        x: left,
        y: top,
        width,
        height,
    } = region.bbox_px;
    let side = |px: u32, scale: f64| ((f64::from(px) * scale).round() as u32).max(1);
    Region {
        bbox_px: RectPx {
            x: (f64::from(left) * x) as u32,
            y: (f64::from(top) * y) as u32,
            width: side(width, x),
            height: side(height, y),
        },
        centroid_px: [region.centroid_px[0] * x, region.centroid_px[1] * y],
        ..region.clone()
    }
}

/// A line around what `mask` marks, white within and black without.
fn outlined(image: &Image, mask: &Mask, layout: &FrameLayout) -> Image {
    let mut canvas = Canvas::of(image);
    let (width, height) = (canvas.width as i64, canvas.height as i64);
    let on_map = |px: i64, axis: usize| {
        let from_origin = px as f64 + 0.5 - layout.map_origin_in_frame_px[axis];
        (from_origin / layout.frame_px_per_map_px[axis]).floor()
    };
    let is_marked = |x: i64, y: i64| {
        let (column, row) = (on_map(x, 0), on_map(y, 1));
        let is_on_map = (0.0..mask.width as f64).contains(&column) && (0.0..mask.height as f64).contains(&row);
        is_on_map && mask.bits[row as usize * mask.width + column as usize]
    };
    for y in 0..height {
        for x in 0..width {
            let here = is_marked(x, y);
            let neighbours = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
            if neighbours.into_iter().any(|(x, y)| is_marked(x, y) != here) {
                canvas.set(x, y, if here { INSIDE } else { OUTSIDE });
            }
        }
    }
    canvas.into_image()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_small_and_keep_their_shape() {
        for (from, to) in [
            ([900, 900], [400, 400]),
            ([4_000, 1_000], [400, 100]),
            ([10, 4_000], [1, 400]),
            ([399, 20], [399, 20]),
        ] {
            assert_eq!(small_size(from, 400), to);
        }
    }

    #[test]
    fn a_defect_is_outlined_where_it_lies_in_the_frame() {
        let image = Image::new(8, 4, vec![100; 8 * 4 * 3]);
        // Two frame pixels a map pixel, and the map begins at column 2.
        let layout = FrameLayout {
            frame_width_px: 8,
            frame_height_px: 4,
            map_width: 3,
            map_height: 2,
            frame_px_per_map_px: [2.0, 2.0],
            map_origin_in_frame_px: [2.0, 0.0],
            tiles: Vec::new(),
        };
        let mask = Mask::new(2, 3, vec![false, true, false, false, false, false]);
        let drawn = outlined(&image, &mask, &layout);
        let row = |y: usize| -> Vec<u8> { (0..8).map(|x| drawn.rgb[(y * 8 + x) * 3]).collect() };
        assert_eq!(row(0), [100, 100, 100, 0, 255, 255, 0, 100]);
        assert_eq!(row(2), [100, 100, 100, 100, 0, 0, 100, 100]);
    }
}
