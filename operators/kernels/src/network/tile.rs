//! The unit of work of a convolution: a few neighbouring positions and one block of output channels.
//!
//! In `(height, width, channels)` layout the values under one row of a window lie side by side, so a convolution is, for every
//! position, a few runs of input against as many runs of weights. A tile keeps the sums of up to [`PIXELS_MAX`] positions and
//! [`BLOCK`] channels in registers: 24 of AVX-512's 32, beside four of weights and one of input. Each weight is then used six
//! times per load, each input value 64 times.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::element::{Element, Unit};
use super::memory::Buffer;

/// Output channels of a tile: four 512-bit registers of 32-bit sums.
pub(crate) const BLOCK: usize = 64;

/// Positions of a tile.
pub(crate) const PIXELS_MAX: usize = 6;

/// Calls the version of a function that is compiled for so many positions.
#[cfg(target_arch = "x86_64")]
macro_rules! by_pixels {
    ($pixels:expr, $tile:ident($($arg:expr),*)) => {
        match $pixels {
            1 => $tile::<1>($($arg),*),
            2 => $tile::<2>($($arg),*),
            3 => $tile::<3>($($arg),*),
            4 => $tile::<4>($($arg),*),
            5 => $tile::<5>($($arg),*),
            _ => $tile::<6>($($arg),*),
        }
    };
}

/// Sums by position and channel of the block.
#[repr(align(64))]
pub(crate) struct Sums<S>(pub(crate) [[S; BLOCK]; PIXELS_MAX]);

impl<S: Copy + Default> Default for Sums<S> {
    fn default() -> Self {
        Self([[S::default(); BLOCK]; PIXELS_MAX])
    }
}

/// What a tile multiplies.
pub(super) struct Tile<'a, E: Element> {
    /// From the first value under the first position's window on.
    pub(super) input: &'a [E],
    /// Values from one row of the input to the next.
    pub(super) row_step: usize,
    /// Values from one position to the next.
    pub(super) pixel_step: usize,
    /// Rows of the window.
    pub(super) rows: usize,
    /// Groups of [`Element::GROUP`] values in one row of the window.
    pub(super) groups: usize,
    /// `(rows, groups, BLOCK, GROUP)`.
    pub(super) weights: &'a [E::Weight],
}

/// What a tile of a depthwise convolution multiplies: every channel of the block its own weights.
pub(super) struct DepthwiseTile<'a, E: Element> {
    /// From the block's first channel under the first position's window on.
    pub(super) input: &'a [E],
    /// Values from one row of the input to the next.
    pub(super) row_step: usize,
    /// Values from one position to the next.
    pub(super) pixel_step: usize,
    /// Values from one column of the window to the next.
    pub(super) column_step: usize,
    /// Rows and columns of the window.
    pub(super) kernel: usize,
    /// `(rows, columns, BLOCK)`.
    pub(super) weights: &'a [E::Weight],
}

impl<E: Element> DepthwiseTile<'_, E> {
    /// The block's inputs and weights under every pixel of the window at a position, row by row.
    #[inline(always)]
    pub(super) fn under(&self, pixel: usize) -> impl Iterator<Item = (&[E; BLOCK], &[E::Weight; BLOCK])> {
        let columns = (0..self.kernel).flat_map(|row| (0..self.kernel).map(move |column| (row, column)));
        columns
            .zip(self.weights.as_chunks().0)
            .map(move |((row, column), weights)| {
                let at = row * self.row_step + column * self.column_step + pixel * self.pixel_step;
                let input = self.input[at..].first_chunk();
                (
                    input.expect("a block lies inside the map or the values behind it"),
                    weights,
                )
            })
    }
}

impl<E: Element> Tile<'_, E> {
    /// Panics unless all that `pixels` positions read is there.
    pub(super) fn check(&self, pixels: usize) {
        assert!((1..=PIXELS_MAX).contains(&pixels), "{pixels} positions");
        assert!(self.rows > 0, "a window without rows");
        let read = (self.rows - 1) * self.row_step + (pixels - 1) * self.pixel_step + self.groups * E::GROUP;
        assert!(read <= self.input.len(), "the window lies inside the input");
        assert!(
            self.rows * self.groups * E::GROUP * BLOCK <= self.weights.len(),
            "weights of the window"
        );
    }
}

/// Groups of a tile whose weights and inputs fit into the first-level cache, beside the sums.
const PEAK_GROUPS: usize = 32;

/// How long the peak is looked for.
const PEAK_SEARCH: Duration = Duration::from_millis(100);

/// Operations a second, two per product, of the fastest of many runs of a tile that stays in the first-level cache.
pub(super) fn peak_operations<E: Element>(unit: Unit) -> f64 {
    const RUNS: usize = 64;
    let mut input = Buffer::<E>::zeros((PIXELS_MAX + PEAK_GROUPS) * E::GROUP);
    let mut weights = Buffer::<E::Weight>::zeros(PEAK_GROUPS * E::GROUP * BLOCK);
    let tile = Tile {
        input: input.as_mut_slice(),
        row_step: 0,
        pixel_step: E::GROUP,
        rows: 1,
        groups: PEAK_GROUPS,
        weights: weights.as_mut_slice(),
    };
    let (started, mut sums, mut least) = (Instant::now(), Sums::default(), Duration::MAX);
    while started.elapsed() < PEAK_SEARCH {
        let began = Instant::now();
        for _ in 0..RUNS {
            E::sums(unit, black_box(&tile), PIXELS_MAX, &mut sums);
        }
        black_box(&sums);
        least = least.min(began.elapsed());
    }
    let products = RUNS * PIXELS_MAX * BLOCK * PEAK_GROUPS * E::GROUP;
    2.0 * products as f64 / least.as_secs_f64()
}
