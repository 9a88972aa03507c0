//! The contour of a region.

use intakt_operators::RectPx;

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
    let above: Vec<bool> = (0..window.width * window.height)
        .map(|idx| {
            let (x, y) = (window.left + idx % window.width, window.top + idx / window.width);
            heat.at(x, y).is_some_and(|score| score > THRESHOLD)
        })
        .collect();
    let region = largest_component(&above, &window)?;
    let mut grown = region.clone();
    for step in 0..thickness_px {
        // Growing by turns along the edges and over the corners approximates a disc.
        grown = grow(&grown, &window, step % 2 == 1);
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

/// The positions around one, within the window.
fn neighbours(idx: usize, window: &Window, diagonal: bool) -> impl Iterator<Item = usize> {
    let (x, y) = (idx % window.width, idx / window.width);
    let (width, height) = (window.width, window.height);
    let rows = y.saturating_sub(1)..(y + 2).min(height);
    rows.flat_map(move |ny| {
        let columns = x.saturating_sub(1)..(x + 2).min(width);
        columns
            .filter(move |&nx| diagonal || nx == x || ny == y)
            .map(move |nx| ny * width + nx)
    })
}

/// The largest 8-connected set of flags; of equal ones the one that comes first, row by row.
fn largest_component(flags: &[bool], window: &Window) -> Option<Vec<bool>> {
    let mut unseen = flags.to_vec();
    let mut largest: Vec<usize> = Vec::new();
    for start in 0..flags.len() {
        if !unseen[start] {
            continue;
        }
        unseen[start] = false;
        let mut members = vec![start];
        let mut next = 0;
        while let Some(&member) = members.get(next) {
            next += 1;
            for neighbour in neighbours(member, window, true) {
                if std::mem::take(&mut unseen[neighbour]) {
                    members.push(neighbour);
                }
            }
        }
        if members.len() > largest.len() {
            largest = members;
        }
    }
    if largest.is_empty() {
        return None;
    }
    let mut component = vec![false; flags.len()];
    largest.into_iter().for_each(|member| component[member] = true);
    Some(component)
}

fn grow(flags: &[bool], window: &Window, diagonal: bool) -> Vec<bool> {
    let mut grown = flags.to_vec();
    for idx in (0..flags.len()).filter(|&idx| flags[idx]) {
        neighbours(idx, window, diagonal).for_each(|neighbour| grown[neighbour] = true);
    }
    grown
}
