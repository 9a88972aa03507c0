//! Convolutions of 3×3 pixels with a quarter of the products: F(4×4, 3×3) of Lavin and Gray, "Fast Algorithms for Convolutional
//! Neural Networks", 2016, section 4.
//!
//! A tile of 4×4 outputs sees a patch of 6×6 inputs. Patches and weights are transformed into 36 values each, which are multiplied
//! value by value and added up over the channels: 36 products of matrices. What comes out is transformed back. In `f32` the
//! result differs from that of the direct sum in the last two or three bits. The transforms are additions and products that are
//! rounded one by one, so all CPUs give the same bytes.

use std::cell::RefCell;
use std::ops::Range;

use super::element::{Element, Unit};
use super::graph::{Conv, Window};
use super::memory::Buffer;
use super::plan::MapLayout;
use super::tile::{BLOCK, PIXELS_MAX, Tile};

/// Outputs along one side of a tile.
pub(super) const TILE: usize = 4;

/// Inputs along one side of the patch that a tile sees.
const PATCH: usize = TILE + 2;

/// Values of a transformed patch.
pub(super) const POINTS: usize = PATCH * PATCH;

/// Channels that are transformed at once.
const LANES: usize = 16;

/// Channels below which the transforms cost more than they save.
const CHANNELS_MIN: usize = 32;

/// Bytes of transformed weights beyond which they come from memory again and again, and the direct sum is as fast.
const WEIGHT_BYTES_MAX: usize = 3 << 20;

/// Bytes of the transformed patches of one batch: they stay in the second-level cache while the weights go by.
const BATCH_BYTES: usize = 448 * 1024;

/// Whether a convolution is faster this way.
pub(super) fn suits(conv: &Conv) -> bool {
    let Window { kernel, stride, .. } = conv.window;
    let (channels, out_channels) = (conv.in_channels, conv.bias.len());
    let weight_bytes = POINTS * channels * out_channels.next_multiple_of(BLOCK) * size_of::<f32>();
    (kernel, stride) == (3, 1)
        && !conv.depthwise
        && channels.min(out_channels) >= CHANNELS_MIN
        && weight_bytes <= WEIGHT_BYTES_MAX
}

/// The weights, transformed in `f64`: `(blocks, POINTS, in, BLOCK)`.
pub(super) fn transformed_weights(conv: &Conv) -> Buffer<f32> {
    let (channels, out_channels) = (conv.in_channels, conv.bias.len());
    let mut weights = Buffer::zeros(out_channels.div_ceil(BLOCK) * POINTS * channels * BLOCK);
    let packed = weights.as_mut_slice();
    for (at, kernel) in conv.weight.as_chunks::<9>().0.iter().enumerate() {
        let (out, channel) = (at / channels, at % channels);
        let g = |y: usize, x: usize| f64::from(kernel[3 * y + x]);
        let columns: [[f64; PATCH]; 3] = std::array::from_fn(|x| transformed_kernel([g(0, x), g(1, x), g(2, x)]));
        let rows = columns[0].iter().zip(&columns[1]).zip(&columns[2]);
        for (y, ((a, b), c)) in rows.enumerate() {
            let row = transformed_kernel([*a, *b, *c]);
            for (x, value) in row.into_iter().enumerate() {
                let place = ((out / BLOCK) * POINTS + y * PATCH + x) * channels + channel;
                packed[place * BLOCK + out % BLOCK] = value as f32;
            }
        }
    }
    weights
}

/// `G g` of the paper.
fn transformed_kernel([a, b, c]: [f64; 3]) -> [f64; PATCH] {
    let (even, odd) = ((a + c) / 6.0, b / 6.0);
    let (far_even, far_odd) = (a / 24.0 + c / 6.0, b / 12.0);
    [
        a / 4.0,
        -even - odd,
        -even + odd,
        far_even + far_odd,
        far_even - far_odd,
        c,
    ]
}

/// The tiles of some output rows, which begin and end with tiles.
pub(super) struct Tiles<'a> {
    pub(super) unit: Unit,
    pub(super) input: &'a [f32],
    pub(super) layout: MapLayout,
    /// Zeros that the convolution sees beyond each edge.
    pub(super) padding: usize,
    pub(super) channels: usize,
    /// `(POINTS, in, BLOCK)` of each block of output channels.
    pub(super) weights: &'a dyn Fn(usize) -> &'a [f32],
    pub(super) blocks: usize,
    /// Rows of tiles, and tiles in a row.
    pub(super) rows: Range<usize>,
    pub(super) columns: usize,
}

thread_local! {
    /// Transformed patches and products. It grows with the first image that a thread sees.
    static SCRATCH: RefCell<Buffer<f32>> = RefCell::new(Buffer::zeros(0));
}

impl Tiles<'_> {
    /// Computes all tiles: `write` gets the row and column of a tile, a block of output channels, and its outputs, row by row.
    pub(super) fn each(&self, mut write: impl FnMut([usize; 2], usize, &[[f32; BLOCK]; TILE * TILE])) {
        let tiles: usize = self.rows.len() * self.columns;
        let fits = BATCH_BYTES / (POINTS * self.channels * size_of::<f32>());
        let batch = (fits / PIXELS_MAX * PIXELS_MAX)
            .clamp(PIXELS_MAX, 8 * PIXELS_MAX)
            .min(tiles.max(1));
        let (patches, products) = (
            POINTS * point_step(batch, self.channels),
            POINTS * point_step(batch, BLOCK),
        );
        SCRATCH.with_borrow_mut(|scratch| {
            let scratch = scratch.at_least(patches + products + POINTS * self.channels);
            let (patches, rest) = scratch.split_at_mut(patches);
            let (products, edge) = rest.split_at_mut(products);
            let mut outputs = [[0.0; BLOCK]; TILE * TILE];
            for first in (0..tiles).step_by(batch) {
                let n_tiles = batch.min(tiles - first);
                let place = |tile: usize| {
                    let at = first + tile;
                    [self.rows.start + at / self.columns, at % self.columns]
                };
                for tile in 0..n_tiles {
                    let out = &mut patches[tile * self.channels..];
                    self.transform(place(tile), edge, out, point_step(n_tiles, self.channels));
                }
                for block in 0..self.blocks {
                    self.multiply(patches, n_tiles, block, products);
                    for tile in 0..n_tiles {
                        transform_outputs(&products[tile * BLOCK..], point_step(n_tiles, BLOCK), &mut outputs);
                        write(place(tile), block, &outputs);
                    }
                }
            }
        });
    }

    /// Transforms the patch of one tile; values of a point are `point_step` apart.
    fn transform(&self, [row, column]: [usize; 2], edge: &mut [f32], out: &mut [f32], point_step: usize) {
        let (map, channels) = (self.layout, self.channels);
        // In the map with its border.
        let top = row * TILE + map.padding - self.padding;
        let left = column * TILE + map.padding - self.padding;
        let height = (map.extent.height + 2 * map.padding).saturating_sub(top).min(PATCH);
        let width = (map.extent.width + 2 * map.padding).saturating_sub(left).min(PATCH);
        let start = top * map.row() + left * channels;
        if (height, width) == (PATCH, PATCH) {
            return transform_inputs(&self.input[start..], map.row(), channels, out, point_step);
        }
        // Outputs that nobody wants see zeros.
        let edge = &mut edge[..POINTS * channels];
        edge.fill(0.0);
        for y in 0..height {
            let from = &self.input[start + y * map.row()..][..width * channels];
            edge[y * PATCH * channels..][..width * channels].copy_from_slice(from);
        }
        transform_inputs(edge, PATCH * channels, channels, out, point_step);
    }

    /// For every point the product of `(tiles, in)` patches with `(in, BLOCK)` weights.
    fn multiply(&self, patches: &[f32], n_tiles: usize, block: usize, products: &mut [f32]) {
        let (weights, channels) = ((self.weights)(block), self.channels);
        for point in 0..POINTS {
            let mut tile = 0;
            let mut groups = n_tiles.div_ceil(PIXELS_MAX);
            while tile < n_tiles {
                let pixels = (n_tiles - tile).div_ceil(groups);
                groups -= 1;
                let of = Tile::<f32> {
                    input: &patches[point * point_step(n_tiles, channels) + tile * channels..],
                    row_step: 0,
                    pixel_step: channels,
                    rows: 1,
                    groups: channels,
                    weights: &weights[point * channels * BLOCK..],
                };
                let out = &mut products[point * point_step(n_tiles, BLOCK) + tile * BLOCK..][..pixels * BLOCK];
                f32::sums(self.unit, &of, out.as_chunks_mut().0);
                tile += pixels;
            }
        }
    }
}

/// Values from one point to the next of so many tiles: a cache line more than they are, or the points of a tile, which are read and
/// written together, would all lie in the same few lines of the cache.
fn point_step(tiles: usize, values: usize) -> usize {
    tiles * values + LANES
}

type Lanes = [f32; LANES];

#[inline(always)]
fn of(value: impl Fn(usize) -> f32) -> Lanes {
    let mut lanes = [0.0; LANES];
    for (at, lane) in lanes.iter_mut().enumerate() {
        *lane = value(at);
    }
    lanes
}

/// `Bᵀ d` of the paper.
#[inline(always)]
fn transformed_input(d: &[Lanes; PATCH]) -> [Lanes; PATCH] {
    let near_even = of(|at| d[4][at] - 4.0 * d[2][at]);
    let near_odd = of(|at| d[3][at] - 4.0 * d[1][at]);
    let far_even = of(|at| d[4][at] - d[2][at]);
    let far_odd = of(|at| 2.0 * (d[3][at] - d[1][at]));
    [
        of(|at| 4.0 * d[0][at] - 5.0 * d[2][at] + d[4][at]),
        of(|at| near_even[at] + near_odd[at]),
        of(|at| near_even[at] - near_odd[at]),
        of(|at| far_even[at] + far_odd[at]),
        of(|at| far_even[at] - far_odd[at]),
        of(|at| 4.0 * d[1][at] - 5.0 * d[3][at] + d[5][at]),
    ]
}

/// `Aᵀ m` of the paper.
#[inline(always)]
fn transformed_output(m: &[Lanes; PATCH]) -> [Lanes; TILE] {
    let near_even = of(|at| m[1][at] + m[2][at]);
    let near_odd = of(|at| m[1][at] - m[2][at]);
    let far_even = of(|at| m[3][at] + m[4][at]);
    let far_odd = of(|at| m[3][at] - m[4][at]);
    [
        of(|at| m[0][at] + near_even[at] + far_even[at]),
        of(|at| near_odd[at] + 2.0 * far_odd[at]),
        of(|at| near_even[at] + 4.0 * far_even[at]),
        of(|at| near_odd[at] + 8.0 * far_odd[at] + m[5][at]),
    ]
}

#[inline(always)]
fn load(values: &[f32]) -> Lanes {
    match values.first_chunk() {
        Some(lanes) => *lanes,
        None => of(|at| values.get(at).copied().unwrap_or(0.0)),
    }
}

multiversion! {
    /// `Bᵀ d B` of a patch of `(PATCH, PATCH, channels)`, rows `row_step` values apart.
    fn transform_inputs(input: &[f32], row_step: usize, channels: usize, out: &mut [f32], point_step: usize) {
        for first in (0..channels).step_by(LANES) {
            let n_lanes = LANES.min(channels - first);
            let mut columns = [[[0.0; LANES]; PATCH]; PATCH];
            for (x, column) in columns.iter_mut().enumerate() {
                let mut d = [[0.0; LANES]; PATCH];
                for (y, d) in d.iter_mut().enumerate() {
                    *d = load(&input[y * row_step + x * channels + first..][..n_lanes]);
                }
                *column = transformed_input(&d);
            }
            for y in 0..PATCH {
                let mut d = [[0.0; LANES]; PATCH];
                for (d, column) in d.iter_mut().zip(&columns) {
                    *d = column[y];
                }
                for (x, lanes) in transformed_input(&d).iter().enumerate() {
                    // Whole vectors, also where fewer channels are left: the next tile writes over what is too much.
                    *out[(y * PATCH + x) * point_step + first..].first_chunk_mut().expect("room behind the last") = *lanes;
                }
            }
        }
    }
}

multiversion! {
    /// `Aᵀ m A` of one tile and block; values of a point are `point_step` apart.
    fn transform_outputs(products: &[f32], point_step: usize, out: &mut [[f32; BLOCK]; TILE * TILE]) {
        for first in (0..BLOCK).step_by(LANES) {
            let mut columns = [[[0.0; LANES]; TILE]; PATCH];
            for (x, column) in columns.iter_mut().enumerate() {
                let mut m = [[0.0; LANES]; PATCH];
                for (y, m) in m.iter_mut().enumerate() {
                    *m = load(&products[(y * PATCH + x) * point_step + first..][..LANES]);
                }
                *column = transformed_output(&m);
            }
            for y in 0..TILE {
                let mut m = [[0.0; LANES]; PATCH];
                for (m, column) in m.iter_mut().zip(&columns) {
                    *m = column[y];
                }
                for (x, lanes) in transformed_output(&m).iter().enumerate() {
                    out[y * TILE + x][first..][..LANES].copy_from_slice(lanes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tile_is_the_direct_sum() {
        // Integers, so that both sums are exact.
        let d: [[f32; PATCH]; PATCH] =
            std::array::from_fn(|y| std::array::from_fn(|x| ((7 * y + 3 * x) % 11) as f32 - 5.0));
        let g: [[f64; 3]; 3] =
            std::array::from_fn(|y| std::array::from_fn(|x| 24.0 * (y as f64 - 2.0 * x as f64 + 1.0)));
        let columns: [[f64; PATCH]; 3] = std::array::from_fn(|x| transformed_kernel([g[0][x], g[1][x], g[2][x]]));
        let u: [[f64; PATCH]; PATCH] =
            std::array::from_fn(|y| transformed_kernel([columns[0][y], columns[1][y], columns[2][y]]));
        let input: Vec<f32> = d.as_flattened().iter().flat_map(|value| [*value; LANES]).collect();
        let mut v = vec![0.0; POINTS * LANES];
        transform_inputs(&input, PATCH * LANES, LANES, &mut v, LANES);
        let mut m = vec![0.0; POINTS * BLOCK];
        for point in 0..POINTS {
            m[point * BLOCK..][..BLOCK].fill(v[point * LANES] * u[point / PATCH][point % PATCH] as f32);
        }
        let mut out = [[0.0; BLOCK]; TILE * TILE];
        transform_outputs(&m, BLOCK, &mut out);
        for (at, out) in out.iter().enumerate() {
            let under = (0..3).flat_map(|y| (0..3).map(move |x| (y, x)));
            let direct: f64 = under
                .map(|(y, x)| g[y][x] * f64::from(d[at / TILE + y][at % TILE + x]))
                .sum();
            assert!(
                out.iter().all(|out| (f64::from(*out) - direct).abs() < 1e-3),
                "{at}: {} and {direct}",
                out[0]
            );
        }
    }
}
