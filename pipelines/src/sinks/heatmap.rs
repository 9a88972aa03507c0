//! The picture of what is wrong: the frame, the heatmap blended in, the regions outlined.

mod outline;
mod upsample;

use intakt_operators::imaging::{FrameLayout, Image};
use intakt_operators::{AnomalyMap, RectPx, Region, SuppressedRegion};

use super::canvas::{Canvas, Rgb};
use super::colormap::score_colour;
use super::text::{GLYPH_PX, draw_text, text_width_px};
use upsample::Upsampled;

/// Outlines drawn per frame, strongest first: beyond that a picture shows nothing but outlines.
pub(crate) const OUTLINES_MAX: usize = 64;
/// Captions drawn per frame, strongest first: more would cover what they name.
pub(crate) const CAPTIONS_MAX: usize = 6;

const OUTLINE: Rgb = [255, 0, 90];
/// Light and dark dashes by turns: either shows on any product, and neither is a colour of the scale.
const SUPPRESSED: [Rgb; 2] = [[215, 215, 215], [70, 70, 70]];
const INK: Rgb = [255, 255, 255];
const CAPTION_GROUND: Rgb = [30, 10, 20];

/// The frame with its anomaly map blended in and its regions outlined.
///
/// - `frame`: the image as captured, any size.
/// - `map`: calibrated scores, 0…1 with the threshold at 0.5, on the grid of `layout`; bilinearly interpolated between
///   the centres of its pixels. Scores up to [`TRANSPARENT_UP_TO`](super::colormap::TRANSPARENT_UP_TO) leave the frame's
///   bytes as they are, and so do frame pixels outside of the map.
/// - `layout`: where the map lies in the frame; only its origin and scale are used.
/// - `regions`: what counted, strongest first. The outline follows the part of the map above 0.5 in the region's box, or
///   the box itself where no score is above 0.5. Each carries its peak score.
/// - `suppressed`: what did not count, as boxes dashed in greys.
///
/// Lines and letters grow with the shorter side of the frame. Nothing is drawn outside of the frame.
pub fn heatmap(
    frame: &Image,
    map: &AnomalyMap,
    layout: &FrameLayout,
    regions: &[Region],
    suppressed: &[SuppressedRegion],
) -> Image {
    let mut canvas = Canvas::of(frame);
    if canvas.width == 0 || canvas.height == 0 {
        return canvas.into_image();
    }
    let heat = Upsampled::new(map, layout, canvas.width, canvas.height);
    blend_heat(&mut canvas, &heat);
    let stroke = Stroke::for_frame(&canvas);
    for artefact in suppressed.iter().take(OUTLINES_MAX) {
        dashed_box(&mut canvas, artefact.region.bbox_px, stroke.thickness_px);
    }
    for region in regions.iter().take(OUTLINES_MAX) {
        let slack_px = layout.frame_px_per_map_px.map(|s| s.clamp(0.0, 1e6).ceil() as u32 + 1);
        let contour = outline::contour(&heat, region.bbox_px, slack_px, stroke.thickness_px);
        match contour {
            Some(pixels) => pixels.into_iter().for_each(|[x, y]| canvas.mix(x, y, OUTLINE, 256)),
            None => solid_box(&mut canvas, region.bbox_px, stroke.thickness_px),
        }
    }
    // Captions last, so that no outline runs through them.
    for region in regions.iter().take(CAPTIONS_MAX) {
        caption(&mut canvas, region, &stroke);
    }
    canvas.into_image()
}

/// Widths that suit the size of the frame.
struct Stroke {
    thickness_px: usize,
    text_scale: usize,
}

impl Stroke {
    /// One pixel for a frame of 256, two from 512 on; letters are 3 % of the shorter side.
    fn for_frame(canvas: &Canvas) -> Self {
        let short = canvas.width.min(canvas.height);
        Self {
            thickness_px: (short / 256).max(1),
            text_scale: ((short + 128) / 256).max(1),
        }
    }
}

fn blend_heat(canvas: &mut Canvas, heat: &Upsampled) {
    for y in 0..canvas.height {
        heat.for_each(y, 0..heat.width(), |x, score| {
            let (colour, alpha_256) = score_colour(score);
            if alpha_256 > 0 {
                canvas.mix(x, y, colour, alpha_256);
            }
        });
    }
}

/// Calls `draw` for every pixel of a frame of `thickness_px` around the rectangle, with its distance along the edge.
fn along_box(rect: RectPx, thickness_px: usize, mut draw: impl FnMut(i64, i64, i64), limits: [i64; 2]) {
    let t = thickness_px as i64;
    let (left, top) = (i64::from(rect.x) - t, i64::from(rect.y) - t);
    let right = i64::from(rect.x) + i64::from(rect.width);
    let bottom = i64::from(rect.y) + i64::from(rect.height);
    // What lies outside of the frame is not walked: a region is data, and may claim any size.
    for x in left.max(0)..(right + t).min(limits[0]) {
        for d in 0..t {
            draw(x, top + d, x - left);
            draw(x, bottom + d, x - left);
        }
    }
    for y in top.max(0)..(bottom + t).min(limits[1]) {
        for d in 0..t {
            draw(left + d, y, y - top);
            draw(right + d, y, y - top);
        }
    }
}

fn solid_box(canvas: &mut Canvas, rect: RectPx, thickness_px: usize) {
    let limits = [canvas.width as i64, canvas.height as i64];
    along_box(rect, thickness_px, |x, y, _| canvas.set(x, y, OUTLINE), limits);
}

fn dashed_box(canvas: &mut Canvas, rect: RectPx, thickness_px: usize) {
    let limits = [canvas.width as i64, canvas.height as i64];
    let dash = 3 * thickness_px as i64 + 1;
    along_box(
        rect,
        thickness_px,
        |x, y, along| {
            let is_dark = (along / dash) % 2 == 1;
            canvas.set(x, y, SUPPRESSED[usize::from(is_dark)]);
        },
        limits,
    );
}

/// The region's peak on a dark ground: above its box, or below it where there is no room above.
fn caption(canvas: &mut Canvas, region: &Region, stroke: &Stroke) {
    let text = format!("{:.2}", region.peak);
    let scale = stroke.text_scale;
    let pad = scale as i64;
    let width = text_width_px(&text, scale) as i64 + 2 * pad;
    let height = (GLYPH_PX * scale) as i64 + 2 * pad;
    let (frame_width, frame_height) = (canvas.width as i64, canvas.height as i64);
    if width > frame_width || height > frame_height {
        return;
    }
    let gap = stroke.thickness_px as i64 + 1;
    let rect = region.bbox_px;
    let above = i64::from(rect.y) - gap - height;
    let below = i64::from(rect.y) + i64::from(rect.height) + gap;
    let top = if above >= 0 {
        above
    } else {
        below.min(frame_height - height)
    };
    let left = i64::from(rect.x).min(frame_width - width);
    canvas.fill_rect([left, top], [width, height], CAPTION_GROUND, 200);
    draw_text(canvas, &text, [left + pad, top + pad], scale, INK);
}

#[cfg(test)]
mod tests;
