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

/// Positions of one row in half a [`Group`].
pub(super) const POSITIONS: usize = 16;

/// Twice [`POSITIONS`] neighbouring positions and one block of output channels: what [`Element::IN_GROUPS`] is about. The
/// halves may lie in different rows.
#[cfg(target_arch = "x86_64")]
pub(super) struct Group<'a, E: Element> {
    /// Per half from the first value under its first position's window on.
    pub(super) inputs: [&'a [E]; 2],
    /// Values from one row of the input to the next.
    pub(super) row_step: usize,
    /// Values from one position to the next.
    pub(super) pixel_step: usize,
    /// Rows of the window.
    pub(super) rows: usize,
    /// Groups of [`Element::GROUP`] values in one row of the window, a multiple of [`GROUPS_AT_ONCE`].
    pub(super) groups: usize,
    /// `(rows, groups, BLOCK, GROUP)`.
    pub(super) weights: &'a [E::Weight],
}

/// Groups of values that are multiplied at once where positions are taken in groups: 64 bytes.
pub(super) const GROUPS_AT_ONCE: usize = 16;

/// Sums by position and channel of the block, for both halves.
#[cfg(target_arch = "x86_64")]
#[repr(align(64))]
pub(super) struct GroupSums<S>(pub(super) [[[S; BLOCK]; POSITIONS]; 2]);

#[cfg(target_arch = "x86_64")]
impl<S: Copy + Default> Default for GroupSums<S> {
    fn default() -> Self {
        Self([[[S::default(); BLOCK]; POSITIONS]; 2])
    }
}

#[cfg(target_arch = "x86_64")]
impl<E: Element> Group<'_, E> {
    /// Panics unless all that it reads is there.
    pub(super) fn check(&self) {
        assert!(self.rows > 0 && self.groups > 0, "a window without values");
        assert!(self.groups.is_multiple_of(GROUPS_AT_ONCE), "{} groups", self.groups);
        let read = (self.rows - 1) * self.row_step + (POSITIONS - 1) * self.pixel_step + self.groups * E::GROUP;
        let is_inside = self.inputs.iter().all(|input| read <= input.len());
        assert!(is_inside, "the windows lie inside the input");
        assert!(
            self.rows * self.groups * E::GROUP * BLOCK <= self.weights.len(),
            "weights of the window"
        );
    }
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

/// What is pooled into one row of a map. Behind the map that is read lies a block of values, so its last channels are read in a
/// whole block too.
pub(super) struct PoolRow<'a, E: Element> {
    /// From the first value under the first position's window on.
    pub(super) input: &'a [E],
    /// Values from one row of the input to the next.
    pub(super) row_step: usize,
    /// Values from one position to the next.
    pub(super) pixel_step: usize,
    pub(super) channels: usize,
    /// Rows and columns of the window.
    pub(super) kernel: usize,
}

impl<E: Element> PoolRow<'_, E> {
    /// The row, position by position and block by block of its channels, with where the first value under the window is.
    #[inline(always)]
    pub(super) fn blocks<'out>(&self, out: &'out mut [E]) -> impl Iterator<Item = (usize, &'out mut [E])> {
        let positions = out.chunks_exact_mut(self.channels).enumerate();
        let pixel_step = self.pixel_step;
        positions.flat_map(move |(position, out)| {
            let blocks = out.chunks_mut(BLOCK).enumerate();
            blocks.map(move |(block, out)| (position * pixel_step + block * BLOCK, out))
        })
    }

    /// A block of channels of every pixel under the window, row by row.
    #[inline(always)]
    pub(super) fn under(&self, at: usize) -> impl Iterator<Item = &[E; BLOCK]> {
        let rows = (0..self.kernel).map(move |row| at + row * self.row_step);
        rows.flat_map(move |start| (0..self.kernel).map(move |column| start + column * self.channels))
            .map(|at| {
                self.input[at..]
                    .first_chunk()
                    .expect("a block lies inside the map or the values behind it")
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

/// The same for a group of positions, whose sums take longer to be written.
const PEAK_GROUPS_OF_GROUP: usize = 128;

/// How long the peak is looked for.
const PEAK_SEARCH: Duration = Duration::from_millis(100);

/// Operations a second, two per product, of the fastest of many runs of a tile that stays in the first-level cache.
pub(super) fn peak_operations<E: Element>(unit: Unit) -> f64 {
    let mut input = Buffer::<E>::zeros((POSITIONS + PEAK_GROUPS_OF_GROUP) * E::GROUP);
    let mut weights = Buffer::<E::Weight>::zeros(PEAK_GROUPS_OF_GROUP * E::GROUP * BLOCK);
    let (input, weights) = (&*input.as_mut_slice(), &*weights.as_mut_slice());
    #[cfg(target_arch = "x86_64")]
    if unit.in_groups::<E>() {
        let groups = PEAK_GROUPS_OF_GROUP;
        let group = Group::<E> {
            inputs: [input; 2],
            row_step: 0,
            pixel_step: E::GROUP,
            rows: 1,
            groups,
            weights,
        };
        let (tiles, mut sums) = (super::amx::Tiles::new(), GroupSums::default());
        return fastest(2 * POSITIONS * groups * E::GROUP, || {
            E::group_sums(&tiles, black_box(&group), &mut sums);
            black_box(&sums);
        });
    }
    let groups = PEAK_GROUPS;
    let tile = Tile::<E> {
        input,
        row_step: 0,
        pixel_step: E::GROUP,
        rows: 1,
        groups,
        weights,
    };
    let mut sums = Sums::default();
    fastest(PIXELS_MAX * groups * E::GROUP, || {
        E::sums(unit, black_box(&tile), &mut sums.0);
        black_box(&sums);
    })
}

/// Operations a second of the fastest of many runs of a tile with so many products per output channel.
fn fastest(products: usize, mut run: impl FnMut()) -> f64 {
    const RUNS: usize = 64;
    let (started, mut least) = (Instant::now(), Duration::MAX);
    while started.elapsed() < PEAK_SEARCH {
        let began = Instant::now();
        (0..RUNS).for_each(|_| run());
        least = least.min(began.elapsed());
    }
    2.0 * (RUNS * products * BLOCK) as f64 / least.as_secs_f64()
}
