//! Which pixels of the anomaly map are inspected, and why the others are not.

use crate::detector::{RoiMask, SuppressionRules};
use crate::imaging::{FRAME_PIXELS_MAX, FrameLayout};
use crate::{Mask, RectPx, SuppressionReason};

/// For every pixel of the map either that it is inspected or the first rule that excludes it: the region of interest, then
/// the border, then the dark margin.
#[derive(Clone, Debug, PartialEq)]
pub struct InspectedArea {
    /// True where the map is inspected.
    pub mask: Mask,
    excluded: Vec<Option<SuppressionReason>>,
}

impl InspectedArea {
    /// The area for a frame with the product at `product_px` (frame pixels). A map pixel belongs where its centre lies.
    pub fn new(layout: &FrameLayout, product_px: RectPx, rules: &SuppressionRules) -> Self {
        let x_centres = centres(
            layout.map_width,
            layout.map_origin_in_frame_px[0],
            layout.frame_px_per_map_px[0],
        );
        let y_centres = centres(
            layout.map_height,
            layout.map_origin_in_frame_px[1],
            layout.frame_px_per_map_px[1],
        );
        let border = rules.border_px;
        let columns = axis(
            &x_centres,
            layout.frame_width_px,
            border,
            (product_px.x, product_px.width),
        );
        let rows = axis(
            &y_centres,
            layout.frame_height_px,
            border,
            (product_px.y, product_px.height),
        );
        let mut excluded = Vec::with_capacity(layout.map_width * layout.map_height);
        for row in &rows {
            match row {
                None => excluded.extend_from_slice(&columns),
                // The border comes before the margin, and so does the smaller variant.
                Some(row) => excluded.extend(
                    columns
                        .iter()
                        .map(|column| column.map_or(Some(*row), |column| Some(column.min(*row)))),
                ),
            }
        }
        if let Some(roi) = &rules.roi {
            let frame = (layout.frame_width_px, layout.frame_height_px);
            exclude_outside(&mut excluded, roi, frame, &x_centres, &y_centres);
        }
        let bits = excluded.iter().map(Option::is_none).collect();
        Self {
            mask: Mask::new(layout.map_height, layout.map_width, bits),
            excluded,
        }
    }

    /// The pixels that `reason` excludes.
    pub fn excluded_by(&self, reason: SuppressionReason) -> Mask {
        let bits = self.excluded.iter().map(|found| *found == Some(reason)).collect();
        Mask::new(self.mask.height, self.mask.width, bits)
    }

    /// Why the pixel at `map_idx` (row-major) is not inspected; none where it is.
    pub fn reason_at(&self, map_idx: usize) -> Option<SuppressionReason> {
        self.excluded[map_idx]
    }
}

/// Centres of map pixels along one axis, in frame pixels.
fn centres(n_pixels: usize, origin_px: f64, frame_px_per_map_px: f64) -> Vec<f64> {
    (0..n_pixels)
        .map(|idx| origin_px + (idx as f64 + 0.5) * frame_px_per_map_px)
        .collect()
}

fn axis(centres: &[f64], frame_px: u32, border_px: u32, product: (u32, u32)) -> Vec<Option<SuppressionReason>> {
    let (first, last) = (f64::from(border_px), f64::from(frame_px) - f64::from(border_px));
    let (start, end) = (f64::from(product.0), f64::from(product.0) + f64::from(product.1));
    let reason = |&centre: &f64| match centre {
        centre if centre < first || centre >= last => Some(SuppressionReason::Border),
        centre if centre < start || centre >= end => Some(SuppressionReason::DarkMargin),
        _ => None,
    };
    centres.iter().map(reason).collect()
}

fn exclude_outside(
    excluded: &mut [Option<SuppressionReason>],
    roi: &RoiMask,
    frame: (u32, u32),
    x_centres: &[f64],
    y_centres: &[f64],
) {
    let columns: Vec<u64> = x_centres.iter().map(|&x| nearest(x, frame.0, roi.width_px)).collect();
    let ends = roi.run_ends();
    for (row, &y) in excluded.chunks_exact_mut(columns.len().max(1)).zip(y_centres) {
        let start = nearest(y, frame.1, roi.height_px) * u64::from(roi.width_px);
        // Columns ascend, so the run only ever moves on.
        let mut run = ends.partition_point(|&end| end <= start);
        for (reason, column) in row.iter_mut().zip(&columns) {
            while ends.get(run).is_some_and(|&end| end <= start + column) {
                run += 1;
            }
            if run % 2 == 0 || run >= ends.len() {
                *reason = Some(SuppressionReason::OutsideRoi);
            }
        }
    }
}

/// The mask's row or column that lies over frame position `centre`.
fn nearest(centre: f64, frame_px: u32, mask_px: u32) -> u64 {
    let position = centre * f64::from(mask_px) / f64::from(frame_px.max(1));
    (position.max(0.0) as u64).min(u64::from(mask_px.saturating_sub(1)))
}

impl RoiMask {
    /// Encodes a mask whose set pixels are inspected. Panics where an edge exceeds `u32` (a bug of ours: images are smaller).
    pub fn from_mask(mask: &Mask) -> Self {
        let edge = |pixels| u32::try_from(pixels).expect("images are bounded before they are decoded");
        let mut runs = Vec::new();
        let (mut inspected, mut length) = (false, 0);
        for &bit in &mask.bits {
            if bit != inspected {
                runs.push(length);
                (inspected, length) = (bit, 0);
            }
            length += 1;
        }
        runs.push(length);
        Self {
            width_px: edge(mask.width),
            height_px: edge(mask.height),
            runs,
        }
    }

    /// The mask scaled to `width` × `height` (nearest).
    ///
    /// # Errors
    /// As [`RoiMask::validate`], and where more than [`FRAME_PIXELS_MAX`] pixels are asked for.
    pub fn to_mask(&self, width: u32, height: u32) -> Result<Mask, String> {
        self.validate()?;
        if u64::from(width) * u64::from(height) > FRAME_PIXELS_MAX {
            return Err(format!(
                "region of interest of {width}x{height} is above {FRAME_PIXELS_MAX} pixels"
            ));
        }
        let columns = centres(width as usize, 0.0, 1.0);
        let rows = centres(height as usize, 0.0, 1.0);
        let mut excluded = vec![None; columns.len() * rows.len()];
        exclude_outside(&mut excluded, self, (width, height), &columns, &rows);
        let bits = excluded.iter().map(Option::is_none).collect();
        Ok(Mask::new(height as usize, width as usize, bits))
    }

    /// Whether the runs fill the mask exactly. Nothing is allocated.
    ///
    /// # Errors
    /// A sentence with both numbers where they do not, or where the mask is empty or above [`FRAME_PIXELS_MAX`] pixels.
    pub fn validate(&self) -> Result<(), String> {
        let (width, height) = (self.width_px, self.height_px);
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > FRAME_PIXELS_MAX {
            return Err(format!(
                "region of interest is {width}x{height}, it must hold 1 to {FRAME_PIXELS_MAX} pixels"
            ));
        }
        let filled = self
            .runs
            .iter()
            .fold(0_u64, |sum, &run| sum.saturating_add(u64::from(run)));
        if filled != pixels {
            return Err(format!(
                "region of interest of {width}x{height} has runs over {filled} pixels instead of {pixels}"
            ));
        }
        Ok(())
    }

    fn run_ends(&self) -> Vec<u64> {
        let ends = self.runs.iter().scan(0_u64, |end, &run| {
            *end = end.saturating_add(u64::from(run));
            Some(*end)
        });
        ends.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(map: (usize, usize), frame: (u32, u32), scale: f64, origin: f64) -> FrameLayout {
        FrameLayout {
            frame_width_px: frame.0,
            frame_height_px: frame.1,
            map_width: map.0,
            map_height: map.1,
            frame_px_per_map_px: [scale; 2],
            map_origin_in_frame_px: [origin; 2],
            tiles: vec![],
        }
    }

    fn whole(frame: (u32, u32)) -> RectPx {
        RectPx {
            x: 0,
            y: 0,
            width: frame.0,
            height: frame.1,
        }
    }

    fn drawn(area: &InspectedArea) -> Vec<String> {
        let letter = |idx: usize| match area.reason_at(idx) {
            None => '.',
            Some(SuppressionReason::OutsideRoi) => 'o',
            Some(SuppressionReason::Border) => 'b',
            _ => 'm',
        };
        let pixels: Vec<char> = (0..area.mask.bits.len()).map(letter).collect();
        pixels.chunks(area.mask.width).map(|row| row.iter().collect()).collect()
    }

    #[test]
    fn roi_comes_before_border_before_dark_margin() {
        let mut roi = Mask::filled(4, 6, true);
        roi.bits[..6].fill(false);
        let rules = SuppressionRules {
            roi: Some(RoiMask::from_mask(&roi)),
            border_px: 1,
            ..SuppressionRules::default()
        };
        let product = RectPx {
            x: 2,
            y: 0,
            width: 3,
            height: 4,
        };
        let area = InspectedArea::new(&layout((6, 4), (6, 4), 1.0, 0.0), product, &rules);
        assert_eq!(drawn(&area), ["oooooo", "bm...b", "bm...b", "bbbbbb"]);
        assert_eq!(area.mask.bits.iter().filter(|&&bit| bit).count(), 6);
        let border = area.excluded_by(SuppressionReason::Border);
        assert_eq!(border.bits.iter().filter(|&&bit| bit).count(), 10);
    }

    #[test]
    fn everything_is_inspected_without_rules() {
        let area = InspectedArea::new(
            &layout((7, 5), (70, 50), 10.0, 0.0),
            whole((70, 50)),
            &SuppressionRules::default(),
        );
        assert!(area.mask.bits.iter().all(|&bit| bit));
    }

    #[test]
    fn border_and_roi_are_measured_in_the_frame_under_scale_and_crop() {
        // The map shows frame pixels 20 to 100 of 120, two frame pixels per map pixel.
        let layout = layout((40, 40), (120, 120), 2.0, 20.0);
        let mut roi = Mask::filled(12, 12, true);
        roi.bits.iter_mut().step_by(12).take(12).for_each(|bit| *bit = false);
        (0..12).for_each(|row| roi.bits[row * 12 + 2] = false);
        let rules = SuppressionRules {
            roi: Some(RoiMask::from_mask(&roi)),
            border_px: 30,
            ..SuppressionRules::default()
        };
        let area = InspectedArea::new(&layout, whole((120, 120)), &rules);
        // ROI columns 20..30 of the frame are ignored: map columns 0..5; the border ends at the same place.
        let middle = &drawn(&area)[20];
        assert_eq!(middle, &format!("{}{}{}", "o".repeat(5), ".".repeat(30), "b".repeat(5)));
        assert_eq!(drawn(&area)[0], format!("{}{}", "o".repeat(5), "b".repeat(35)));
    }

    #[test]
    fn a_mask_survives_run_lengths() {
        let mut state = 5_u64;
        for _ in 0..300 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as usize
            };
            let (height, width, density) = (1 + next() % 9, 1 + next() % 9, next() % 5);
            let mask = Mask::new(
                height,
                width,
                (0..height * width).map(|_| next() % 4 < density).collect(),
            );
            let roi = RoiMask::from_mask(&mask);
            assert_eq!(roi.to_mask(width as u32, height as u32).unwrap(), mask);
            let doubled = roi.to_mask(2 * width as u32, 2 * height as u32).unwrap();
            let expected =
                (0..4 * height * width).map(|idx| mask.bits[idx / (2 * width) / 2 * width + idx % (2 * width) / 2]);
            assert_eq!(doubled.bits, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn runs_that_do_not_fill_the_mask_are_refused() {
        let roi = |width_px, height_px, runs: &[u32]| RoiMask {
            width_px,
            height_px,
            runs: runs.to_vec(),
        };
        assert_eq!(roi(3, 2, &[0, 6]).validate(), Ok(()));
        for (roi, sentence) in [
            (roi(3, 2, &[1, 4]), "runs over 5 pixels instead of 6"),
            (roi(3, 2, &[]), "runs over 0 pixels"),
            (roi(3, 2, &[u32::MAX; 9]), "instead of 6"),
            (roi(0, 2, &[0]), "must hold 1 to"),
            (roi(u32::MAX, u32::MAX, &[1]), "must hold 1 to"),
        ] {
            assert!(roi.validate().unwrap_err().contains(sentence), "{roi:?}");
            assert!(roi.to_mask(2, 2).is_err());
            // Where nobody asked, what the runs do not reach is ignored rather than inspected.
            let rules = SuppressionRules {
                roi: Some(roi),
                ..SuppressionRules::default()
            };
            InspectedArea::new(&layout((4, 4), (4, 4), 1.0, 0.0), whole((4, 4)), &rules);
        }
        assert!(
            roi(3, 2, &[0, 6])
                .to_mask(u32::MAX, u32::MAX)
                .unwrap_err()
                .contains("is above")
        );
    }
}
