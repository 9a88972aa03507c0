//! The contour of a region.

use intakt_operators::postprocess::components::components;
use intakt_operators::{Mask, RectPx};

use super::upsample::Upsampled;
use crate::sinks::colormap::THRESHOLD;

/// A window of the frame in which a region lies, and a flag per pixel.
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// The pixels just around the region, `thickness_px` wide, as (x, y) within the frame: around it, not on it, so that the
/// outline does not hide what it shows. The region is the largest 8-connected part above the threshold in its box, which
/// is widened by `slack_px` because the box was rounded to pixels of the map. `None` if nothing there is above it.
pub(super) fn contour(
    heat: &Upsampled,
    bbox: RectPx,
    slack_px: [u32; 2],
    thickness_px: usize,
) -> Option<Vec<[usize; 2]>> {
    let window = window(heat, bbox, slack_px.map(|s| s as usize + thickness_px))?;
    let mut above = vec![false; window.width * window.height];
    for (y, row) in above.chunks_exact_mut(window.width).enumerate() {
        let columns = window.left..window.left + window.width;
        heat.for_each(window.top + y, columns, |x, score| {
            row[x - window.left] = score > THRESHOLD;
        });
    }
    let region = largest_component(&Mask::new(window.height, window.width, above))?;
    let mut grown = region.clone();
    for step in 0..thickness_px {
        // Growing by turns along the edges and over the corners approximates a disc.
        grown = grow(&grown, window.width, step % 2 == 1);
    }
    let ring = (0..grown.len()).filter(|&idx| grown[idx] && !region[idx]);
    Some(
        ring.map(|idx| [window.left + idx % window.width, window.top + idx / window.width])
            .collect(),
    )
}

fn window(heat: &Upsampled, bbox: RectPx, slack: [usize; 2]) -> Option<Window> {
    let span = |from: u32, extent: u32, slack: usize, limit: usize| {
        let start = (from as usize).saturating_sub(slack).min(limit);
        let end = (from as usize + extent as usize).saturating_add(slack).min(limit);
        (start, end - start)
    };
    let (left, width) = span(bbox.x, bbox.width, slack[0], heat.width());
    let (top, height) = span(bbox.y, bbox.height, slack[1], heat.height());
    (width > 0 && height > 0).then_some(Window {
        left,
        top,
        width,
        height,
    })
}

/// The largest 8-connected set of pixels; of equal ones the one that comes first, row by row.
fn largest_component(mask: &Mask) -> Option<Vec<bool>> {
    let found = components(mask);
    let areas_px = found.areas_px();
    let largest_px = areas_px.iter().max()?;
    let label = areas_px.iter().position(|area_px| area_px == largest_px)? as u32 + 1;
    let mut component = vec![false; mask.bits.len()];
    for run in found.runs.iter().filter(|run| run.label == label) {
        component[run.pixels.clone()].fill(true);
    }
    Some(component)
}

/// Adds the pixels that touch a flagged one at an edge, or at a corner, too.
fn grow(flags: &[bool], width: usize, diagonal: bool) -> Vec<bool> {
    let len = flags.len();
    let mut wide = flags.to_vec();
    for (wide, row) in wide.chunks_exact_mut(width).zip(flags.chunks_exact(width)) {
        add(&mut wide[1..], &row[..width - 1]);
        add(&mut wide[..width - 1], &row[1..]);
    }
    let mut grown = wide.clone();
    let beside = if diagonal { &wide } else { flags };
    add(&mut grown[width..], &beside[..len - width]);
    add(&mut grown[..len - width], &beside[width..]);
    grown
}

fn add(flags: &mut [bool], others: &[bool]) {
    flags.iter_mut().zip(others).for_each(|(flag, other)| *flag |= other);
}
