//! The part of a frame that shows the product, without the margin at its edges.

use std::ops::Range;

use super::Image;
use crate::RectPx;

/// A margin ends where a profile has risen from the margin's own level by this share of the way to the product's. For fine
/// structure it is low, so that a selvedge, which is smoother than the fabric but part of it, stays product; for brightness
/// it is the middle of the edge.
const DETAIL_RISE: f64 = 0.2;
const LEVEL_RISE: f64 = 0.5;

/// An edge can only be margin where its profile is below this share of the product's: on the AITEX strips margins reach
/// 0.34, and the dimmest edge that is fabric has 0.45.
const EDGE_MAX: f64 = 0.4;

/// The profile just behind a margin is at least this multiple of the margin's mean; vignetting fades more gently.
const STEP_MIN: f64 = 1.5;

/// At most this share of a direction is margin. If more looks like it, it is the product that is smooth or dark.
const MARGIN_SHARE_MAX: f64 = 0.5;

/// Frames with fewer pixels in a direction have no margin in it: the profile would be too short to tell.
const LENGTH_MIN_PX: usize = 64;

/// Finds the rectangle that shows the product, without the margin at the left, right, top and bottom: table or backlight
/// beside a web, a dark frame around it. A margin is a run of whole columns (or rows) from the edge that
///
/// - has much less fine structure than the product (the mean difference of neighbouring pixels): a saturated or dark
///   background, or a table, however bright it is; or is much darker than the product;
/// - and ends in a step.
///
/// Both are relative to the frame's own median column, so a product that is dark or smooth throughout keeps its whole frame,
/// and a defect would have to flatten its column over most of the height to be taken for margin. Behind the margin a few
/// pixels (1/256 of the length, 2 to 16) are cut too, so that no ragged edge is left.
///
/// A product with a border that is itself blank (a label) loses that border: leave `exclude_dark_margin` off for it.
pub fn product_rect(image: &Image) -> RectPx {
    let (width, height) = (image.width_px as usize, image.height_px as usize);
    let columns = product_range(&column_profiles(image));
    let rows = product_range(&row_profiles(image, &columns));
    debug_assert!(columns.end <= width && rows.end <= height);
    RectPx {
        x: columns.start as u32,
        y: rows.start as u32,
        width: columns.len() as u32,
        height: rows.len() as u32,
    }
}

/// What a line (a column or a row) of pixels looks like; the sums of all lines have the same number of terms.
struct Profiles {
    /// Sum of absolute differences to the right and lower neighbours.
    detail: Vec<u64>,
    /// Sum of brightness.
    level: Vec<u64>,
}

impl Profiles {
    fn zero(len: usize) -> Self {
        Self {
            detail: vec![0; len],
            level: vec![0; len],
        }
    }
}

fn column_profiles(image: &Image) -> Profiles {
    let mut profiles = Profiles::zero(image.width_px as usize);
    for_each_pixel(image, 0..image.width_px as usize, |x, _, detail, level| {
        profiles.detail[x] += detail;
        profiles.level[x] += level;
    });
    // The last column has no neighbour to the right: it looks like the one before.
    copy_before_last(&mut profiles.detail);
    profiles
}

fn row_profiles(image: &Image, columns: &Range<usize>) -> Profiles {
    let mut profiles = Profiles::zero(image.height_px as usize);
    for_each_pixel(image, columns.clone(), |_, y, detail, level| {
        profiles.detail[y] += detail;
        profiles.level[y] += level;
    });
    copy_before_last(&mut profiles.detail);
    profiles
}

/// Calls `visit(x, y, detail, level)` for every pixel of the columns; brightness is the sum of the channels.
fn for_each_pixel(image: &Image, columns: Range<usize>, mut visit: impl FnMut(usize, usize, u64, u64)) {
    let (width, height) = (image.width_px as usize, image.height_px as usize);
    let brightness = |row: &[u8], x: usize| row[x * 3..x * 3 + 3].iter().map(|&v| i32::from(v)).sum::<i32>();
    let row_at = |y: usize| &image.rgb[y * width * 3..(y + 1) * width * 3];
    for y in 0..height {
        let row = row_at(y);
        let below = row_at((y + 1).min(height - 1));
        let mut here = brightness(row, columns.start);
        for x in columns.clone() {
            let right = brightness(row, (x + 1).min(width - 1));
            let detail = here.abs_diff(right) + here.abs_diff(brightness(below, x));
            visit(x, y, u64::from(detail), u64::from(here.unsigned_abs()));
            here = right;
        }
    }
}

fn copy_before_last(profile: &mut [u64]) {
    if let [.., before, last] = profile {
        *last = *before;
    }
}

/// The lines that are product.
fn product_range(profiles: &Profiles) -> Range<usize> {
    let len = profiles.detail.len();
    if len < LENGTH_MIN_PX {
        return 0..len;
    }
    let window = (len / 256).clamp(2, 16);
    let margin_at = |profile: &[u64], rise| {
        let smooth = moving_mean(profile, window);
        let reversed: Vec<f64> = smooth.iter().rev().copied().collect();
        let typical = median(&smooth);
        (
            margin_len(&smooth, typical, rise, window),
            margin_len(&reversed, typical, rise, window),
        )
    };
    let by_detail = margin_at(&profiles.detail, DETAIL_RISE);
    let by_level = margin_at(&profiles.level, LEVEL_RISE);
    let (start, end) = (by_detail.0.max(by_level.0), by_detail.1.max(by_level.1));
    if (start + end) as f64 > MARGIN_SHARE_MAX * len as f64 {
        return 0..len;
    }
    start..len - end
}

/// Length of the margin at the beginning of a smoothed profile, 0 where there is none.
fn margin_len(smooth: &[f64], typical: f64, rise: f64, window: usize) -> usize {
    let edge = smooth[0];
    if edge > EDGE_MAX * typical || typical <= 0.0 {
        return 0;
    }
    let limit = edge + rise * (typical - edge);
    let Some(run) = smooth.iter().position(|&value| value > limit) else {
        return 0;
    };
    // The first line above the limit looks `window` lines ahead, so the margin may reach to the end of that window.
    let end = (run + window).min(smooth.len() - 1);
    let margin_mean = smooth[..run].iter().sum::<f64>() / run as f64;
    let behind = &smooth[end..(end + window).min(smooth.len())];
    let behind_mean = behind.iter().sum::<f64>() / behind.len() as f64;
    if behind_mean >= STEP_MIN * margin_mean { end } else { 0 }
}

/// Means of `window` neighbours, `profile.len() - window + 1` of them.
fn moving_mean(profile: &[u64], window: usize) -> Vec<f64> {
    profile
        .windows(window)
        .map(|values| values.iter().sum::<u64>() as f64 / window as f64)
        .collect()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests;
