//! Biases, which at the border of an image may differ from those inside.

use std::ops::Range;

use super::graph::{Conv, Window};
use super::tile::BLOCK;

/// The bias of every position: positions that see the same part of their window share one.
pub(super) struct Bias {
    /// `(row classes, column classes, blocks, BLOCK)`.
    values: Vec<f32>,
    blocks: usize,
    /// Class of every output row.
    rows: Vec<usize>,
    /// Runs of output columns of one class.
    columns: Vec<Range<usize>>,
}

impl Bias {
    /// The same everywhere.
    pub(super) fn uniform(bias: &[f32], height: usize, width: usize) -> Self {
        let blocks = bias.len().div_ceil(BLOCK);
        let mut values = bias.to_vec();
        values.resize(blocks * BLOCK, 0.0);
        Self {
            values,
            blocks,
            rows: vec![0; height],
            columns: std::iter::once(0..width).collect(),
        }
    }

    /// The bias of a convolution over raw pixels that stands for one over normalised pixels: what the mean of the images takes
    /// away is taken away from here, for the pixels under the window that exist. Beyond the edge a normalised image is zero, and
    /// a raw one too, so there is nothing to take away.
    ///
    /// `weight` are the weights that are multiplied with raw pixels, `(out, in, kernel, kernel)`; the image has `size` rows and
    /// columns, the output `extent`.
    pub(super) fn of_raw_pixels(
        conv: &Conv,
        weight: &[f64],
        mean: [f32; 3],
        size: [usize; 2],
        extent: [usize; 2],
    ) -> Self {
        let kernel = conv.window.kernel;
        let [(rows, seen_rows), (columns, seen_columns)] =
            [0, 1].map(|axis| classes(conv.window, size[axis], extent[axis]));
        let blocks = conv.bias.len().div_ceil(BLOCK);
        let mut values = Vec::with_capacity(seen_rows.len() * seen_columns.len() * blocks * BLOCK);
        for ys in &seen_rows {
            for xs in &seen_columns {
                for (out, bias) in conv.bias.iter().enumerate() {
                    let taken = |channel: usize| {
                        let weight = &weight[(out * 3 + channel) * kernel * kernel..][..kernel * kernel];
                        let seen = ys.clone().flat_map(|y| xs.clone().map(move |x| weight[y * kernel + x]));
                        seen.sum::<f64>() * 255.0 * f64::from(mean[channel])
                    };
                    values.push((f64::from(*bias) - (0..3).map(taken).sum::<f64>()) as f32);
                }
                values.resize(values.len().next_multiple_of(BLOCK), 0.0);
            }
        }
        Self {
            values,
            blocks,
            rows,
            columns: runs(&columns),
        }
    }

    /// Runs of output columns that share a bias.
    pub(super) fn columns(&self) -> &[Range<usize>] {
        &self.columns
    }

    /// The bias of one block of channels in an output row and a run of columns.
    pub(super) fn of(&self, row: usize, run: usize, block: usize) -> &[f32; BLOCK] {
        // Every class of columns is one run.
        let at = ((self.rows[row] * self.columns.len() + run) * self.blocks + block) * BLOCK;
        self.values[at..].first_chunk().expect("a whole block")
    }
}

/// Per position along an axis of `size` pixels the class of what its window sees, and per class that part of the window. Classes
/// are numbered in the order of positions.
fn classes(window: Window, size: usize, positions: usize) -> (Vec<usize>, Vec<Range<usize>>) {
    let mut seen: Vec<Range<usize>> = Vec::new();
    let of = |position: usize| {
        let start = position * window.stride;
        let first = window.padding.saturating_sub(start);
        let end = (size + window.padding).saturating_sub(start).min(window.kernel);
        first..end.max(first)
    };
    let mut classes = Vec::with_capacity(positions);
    for position in 0..positions {
        if seen.last() != Some(&of(position)) {
            seen.push(of(position));
        }
        classes.push(seen.len() - 1);
    }
    (classes, seen)
}

/// Runs of equal classes.
fn runs(classes: &[usize]) -> Vec<Range<usize>> {
    let starts = (0..classes.len()).filter(|&at| at == 0 || classes[at] != classes[at - 1]);
    let starts: Vec<usize> = starts.chain([classes.len()]).collect();
    starts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_told_apart_by_what_they_see() {
        let (rows, seen) = classes(Window::centred(7, 2), 256, 128);
        assert_eq!(seen, [3..7, 1..7, 0..7, 0..5]);
        assert_eq!((rows[0], rows[1], rows[2], rows[126], rows[127]), (0, 1, 2, 2, 3));
        assert_eq!(runs(&rows), [0..1, 1..2, 2..127, 127..128]);
        let (_, seen) = classes(Window::centred(7, 2), 2, 1);
        assert_eq!((seen.len(), seen[0].clone()), (1, 3..5));
    }
}
