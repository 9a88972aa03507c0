//! Mahalanobis distances by packed inverse Cholesky factors (see [`packed_len`]).

mod steps;

use std::ops::Range;

use self::steps::{LANES, Step, add_products};
use crate::cholesky::{packed_len, row_of};
use crate::distance::dot_inline;
use crate::gemm::matmul_transposed;
use crate::network::share;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::system_memory::keep_in_large_pages;

/// Rows whitened by one matrix product: their results stay in the cache until they are squared.
const ROWS_PER_PRODUCT: usize = 256;

/// Positions for which it is worth waking a thread; Miri takes a thousand times as long for each.
const POSITIONS_PER_PART_MIN: usize = if cfg!(miri) { 16 } else { 256 };

/// Rows of a factor that are multiplied together: one 256-bit vector. Wider tiles would waste more of the memory traffic on
/// the zeros above the diagonal, and traffic is what scoring costs.
const TILE_ROWS: usize = 8;

/// One Gaussian for every position.
///
/// Factors are kept in tiles of 8 rows, column by column, so that 8 rows are summed side by side without ever adding across
/// a vector; the columns of a tile end at its diagonal. Reading them is what scoring takes its time for, so they are integers of
/// 16 or 8 bits, every row on a scale of its own: rounding moves a value by at most 1/32,767 or 1/127 of the largest of its row. Scales are
/// powers of two, so that a factor that was rounded once stays what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionGaussians {
    dims: usize,
    /// `positions × dims`.
    means: Vec<f32>,
    tiles: Tiles,
    /// What a step of a row is worth: `positions × dims`, these rounded up to whole tiles.
    scales: Vec<f32>,
}

/// `positions × tiled_len(dims)` steps.
#[derive(Clone, Debug, PartialEq)]
enum Tiles {
    Words(Vec<i16>),
    Bytes(Vec<i8>),
}

impl PositionGaussians {
    /// Gaussians with these means (`positions × dims`) and packed inverse Cholesky factors of the covariances (`positions ×
    /// packed_len(dims)`), which are kept in 16 bits, or in 8 where those hold all there is.
    ///
    /// Panics unless the lengths agree and `dims` is at least 1.
    pub fn new(dims: usize, means: Vec<f32>, factors: &[f32]) -> Self {
        let (words, mut scales) = rounded::<i16>(dims, &means, factors);
        let tiles = if words.iter().all(|steps| steps % (1 << 8) == 0) {
            scales.iter_mut().for_each(|scale| *scale *= 256.0);
            let bytes: Vec<i8> = words.iter().map(|steps| (steps >> 8) as i8).collect();
            keep_in_large_pages(&bytes);
            Tiles::Bytes(bytes)
        } else {
            keep_in_large_pages(&words);
            Tiles::Words(words)
        };
        Self {
            dims,
            means,
            tiles,
            scales,
        }
    }

    /// [`PositionGaussians::new`], but factors are kept in 8 bits, which is half the memory. On those of real images a distance moves by some
    /// thousandths, less than vectors of an 8-bit network do.
    ///
    /// Panics as that does.
    pub fn in_bytes(dims: usize, means: Vec<f32>, factors: &[f32]) -> Self {
        let (tiles, scales) = rounded::<i8>(dims, &means, factors);
        keep_in_large_pages(&tiles);
        Self {
            dims,
            means,
            tiles: Tiles::Bytes(tiles),
            scales,
        }
    }

    /// Dimensions of a vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// The means, `positions × dims`.
    pub fn means(&self) -> &[f32] {
        &self.means
    }

    /// The packed inverse Cholesky factors, `positions × packed_len(dims)`, as they were rounded.
    pub fn packed_factors(&self) -> Vec<f32> {
        match &self.tiles {
            Tiles::Words(tiles) => packed(self.dims, tiles, &self.scales),
            Tiles::Bytes(tiles) => packed(self.dims, tiles, &self.scales),
        }
    }

    /// Mahalanobis distances of one vector per position (`positions × dims`) from each of a batch of images, each vector to its own
    /// position's Gaussian: `‖W (x − mean)‖` with the inverse Cholesky factor `W` of the covariance. The distances of an image do not
    /// depend on the others; but factors are read from memory once for all of them, which is what it takes its time for. On a thread of
    /// a [`Crew`](crate::network::Crew) idle ones help.
    ///
    /// Panics unless every image has a vector for every position.
    pub fn whitened_norms(&self, images: &[&[f32]]) -> Vec<Vec<f32>> {
        let are_whole = images.iter().all(|vectors| vectors.len() == self.means.len());
        assert!(are_whole, "a vector of {} dims for every position", self.dims);
        match &self.tiles {
            Tiles::Words(tiles) => self.whitened_by(tiles, images),
            Tiles::Bytes(tiles) => self.whitened_by(tiles, images),
        }
    }

    fn whitened_by<S: Step>(&self, tiles: &[S], images: &[&[f32]]) -> Vec<Vec<f32>> {
        let positions = self.means.len() / self.dims;
        let mut norms = vec![vec![0.0; positions]; images.len()];
        let all = norms.as_mut_slice();
        share(
            move |threads| {
                let of_part = positions.div_ceil(threads).max(POSITIONS_PER_PART_MIN);
                let mut norms: Vec<_> = all.iter_mut().map(|norms| norms.chunks_mut(of_part)).collect();
                let firsts = (0..positions).step_by(of_part);
                firsts
                    .map(|first| {
                        let range = first..positions.min(first + of_part);
                        let norms = norms.iter_mut().filter_map(Iterator::next).collect();
                        (self.positions(tiles, range, images), norms)
                    })
                    .collect()
            },
            |(positions, norms): (Positions<'_, S>, Vec<&mut [f32]>)| whiten(&positions, norms),
        );
        norms
    }

    fn positions<'a, S>(&'a self, tiles: &'a [S], range: Range<usize>, images: &[&'a [f32]]) -> Positions<'a, S> {
        let of = |len: usize| range.start * len..range.end * len;
        Positions {
            dims: self.dims,
            tiles: &tiles[of(tiled_len(self.dims))],
            scales: &self.scales[of(self.dims.next_multiple_of(TILE_ROWS))],
            means: &self.means[of(self.dims)],
            images: images.iter().map(|vectors| &vectors[of(self.dims)]).collect(),
        }
    }
}

/// Factors in tiles, and what a step of each row is worth.
fn rounded<S: Step>(dims: usize, means: &[f32], factors: &[f32]) -> (Vec<S>, Vec<f32>) {
    assert!(
        dims > 0 && means.len().is_multiple_of(dims),
        "{} values of {dims} dims",
        means.len()
    );
    let positions = means.len() / dims;
    assert_eq!(
        factors.len(),
        positions * packed_len(dims),
        "{positions} factors of {dims} dims"
    );
    let mut tiles = Vec::with_capacity(positions * tiled_len(dims));
    let mut scales = Vec::with_capacity(positions * dims.next_multiple_of(TILE_ROWS));
    for factor in factors.chunks_exact(packed_len(dims)) {
        let first_scale = scales.len();
        scales.extend((0..dims).map(|row| step(row_of(factor, row), S::MAX)));
        scales.resize(scales.len().next_multiple_of(TILE_ROWS), 0.0);
        let scales = &scales[first_scale..];
        for first in (0..dims).step_by(TILE_ROWS) {
            for column in 0..dims.min(first + TILE_ROWS) {
                let rows = first..first + TILE_ROWS;
                tiles.extend(rows.map(|row| match row < dims && column <= row {
                    true => S::nearest(factor[packed_len(row) + column] / scales[row]),
                    false => S::nearest(0.0),
                }));
            }
        }
    }
    (tiles, scales)
}

/// The reverse of [`rounded`].
fn packed<S: Step>(dims: usize, tiles: &[S], scales: &[f32]) -> Vec<f32> {
    let scales = scales.chunks_exact(dims.next_multiple_of(TILE_ROWS));
    let mut factors = Vec::with_capacity(scales.len() * packed_len(dims));
    for (tiles, scales) in tiles.chunks_exact(tiled_len(dims)).zip(scales) {
        let mut rest = tiles;
        for first in (0..dims).step_by(TILE_ROWS) {
            let (tile, below) = rest.split_at(TILE_ROWS * dims.min(first + TILE_ROWS));
            for row in first..dims.min(first + TILE_ROWS) {
                let steps = (0..=row).map(|column| tile[column * TILE_ROWS + row - first]);
                factors.extend(steps.map(|steps| steps.into() * scales[row]));
            }
            rest = below;
        }
    }
    factors
}

/// The power of two on which the largest of these values is between half of `steps_max` and all of it; not a number where one of
/// them is none, so that it is noticed.
fn step(row: &[f32], steps_max: f32) -> f32 {
    const MANTISSA: u32 = 1 << 23;
    let largest = row
        .iter()
        .fold(0.0f32, |largest, value| match value.is_nan() || largest.is_nan() {
            true => f32::NAN,
            false => largest.max(value.abs()),
        });
    if !largest.is_finite() {
        return f32::NAN;
    }
    // The next power of two, but no denormal.
    let bits = (largest / (steps_max + 0.5)).to_bits();
    f32::from_bits(bits.next_multiple_of(MANTISSA).max(MANTISSA))
}

/// Values in the tiles of a factor.
const fn tiled_len(dims: usize) -> usize {
    let whole = dims / TILE_ROWS;
    // Tile t has 8 (t + 1) columns; the last, where rows are missing, has all.
    let rest = if dims.is_multiple_of(TILE_ROWS) { 0 } else { dims };
    TILE_ROWS * (TILE_ROWS * packed_len(whole) + rest)
}

/// Gaussians, and the vectors of a batch of images there.
struct Positions<'a, S> {
    dims: usize,
    tiles: &'a [S],
    scales: &'a [f32],
    means: &'a [f32],
    images: Vec<&'a [f32]>,
}

/// [`PositionGaussians::whitened_norms`] of some positions.
fn whiten<S: Step>(positions: &Positions<'_, S>, norms: Vec<&mut [f32]>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2")]
        fn avx512<S: Step>(positions: &Positions<'_, S>, norms: Vec<&mut [f32]>) {
            positions.whiten(norms, |tile, values, sums| {
                // SAFETY: this function asks for more than that one does.
                unsafe { S::add_products_avx512(tile, values, sums) }
            });
        }

        #[target_feature(enable = "avx2")]
        fn avx2<S: Step>(positions: &Positions<'_, S>, norms: Vec<&mut [f32]>) {
            positions.whiten(norms, |tile, values, sums| {
                // SAFETY: this function asks for as much as that one does.
                unsafe { S::add_products_avx2(tile, values, sums) }
            });
        }

        match level() {
            // SAFETY: `level` is `Avx512` only where every feature that `avx512` enables was detected.
            Level::Avx512 => return unsafe { avx512(positions, norms) },
            // SAFETY: `level` is `Avx2` only where that feature was detected.
            Level::Avx2 => return unsafe { avx2(positions, norms) },
            Level::Plain => {}
        }
    }
    positions.whiten(norms, add_products);
}

impl<S: Step> Positions<'_, S> {
    #[inline(always)]
    fn whiten(
        &self,
        mut norms: Vec<&mut [f32]>,
        add_products: impl Fn(&[[S; LANES]], &[[f32; LANES]], &mut [f32; LANES]),
    ) {
        let dims = self.dims;
        // Every value 8 times, as a column of a tile needs it.
        let mut centred = vec![[0.0; TILE_ROWS]; dims];
        let scales = self.scales.chunks_exact(dims.next_multiple_of(TILE_ROWS));
        let factors = self.tiles.chunks_exact(tiled_len(dims)).zip(scales);
        for (position, ((tiles, scales), mean)) in factors.zip(self.means.chunks_exact(dims)).enumerate() {
            for (vectors, norms) in self.images.iter().zip(&mut norms) {
                let vector = &vectors[position * dims..][..dims];
                for (centred, (value, mean)) in centred.iter_mut().zip(vector.iter().zip(mean)) {
                    *centred = [value - mean; TILE_ROWS];
                }
                let mut squares = [0.0f32; TILE_ROWS];
                let mut rest = tiles;
                for (at, scales) in scales.as_chunks::<TILE_ROWS>().0.iter().enumerate() {
                    let columns = dims.min((at + 1) * TILE_ROWS);
                    let (tile, below) = rest.split_at(TILE_ROWS * columns);
                    let sums = tile_product(tile, centred[..columns].as_flattened(), &add_products);
                    for l in 0..TILE_ROWS {
                        let whitened = sums[l] * scales[l];
                        squares[l] += whitened * whitened;
                    }
                    rest = below;
                }
                let [a, b, c, d, e, f, g, h] = squares;
                norms[position] = (((a + e) + (c + g)) + ((b + f) + (d + h))).sqrt();
            }
        }
    }
}

/// The products of a tile's rows with a vector, every value of which stands there 8 times. Every fourth column is summed apart, so
/// that an addition need not wait for the one before; nothing is fused, so the bits are the same on every CPU.
#[inline(always)]
fn tile_product<S: Step>(
    tile: &[S],
    vector: &[f32],
    add_products: impl Fn(&[[S; LANES]], &[[f32; LANES]], &mut [f32; LANES]),
) -> [f32; TILE_ROWS] {
    let mut sums = [0.0f32; LANES];
    let (whole, rest) = tile.as_chunks();
    let (values, rest_values) = vector.as_chunks();
    add_products(whole, values, &mut sums);
    for ((sum, steps), value) in sums.iter_mut().zip(rest).zip(rest_values) {
        *sum += (*steps).into() * value;
    }
    let mut of_row = [0.0; TILE_ROWS];
    for (l, of_row) in of_row.iter_mut().enumerate() {
        let [a, b, c, d] = [0, 1, 2, 3].map(|column| sums[column * TILE_ROWS + l]);
        *of_row = (a + c) + (b + d);
    }
    of_row
}

/// One Gaussian for all vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedGaussian {
    mean: Vec<f32>,
    /// The inverse Cholesky factor with its zeros, `dims × dims`: what a matrix product takes.
    factor: Vec<f32>,
}

impl SharedGaussian {
    /// A Gaussian with this mean and packed inverse Cholesky factor of the covariance.
    ///
    /// Panics unless there is at least one dimension and `factor` holds [`packed_len`] values.
    pub fn new(mean: Vec<f32>, factor: &[f32]) -> Self {
        let dims = mean.len();
        assert!(dims > 0, "no dimensions");
        assert_eq!(factor.len(), packed_len(dims), "packed factor of {dims} dims");
        let mut full = vec![0.0; dims * dims];
        for (i, row) in full.chunks_exact_mut(dims).enumerate() {
            row[..=i].copy_from_slice(row_of(factor, i));
        }
        Self { mean, factor: full }
    }

    /// The mean.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The packed inverse Cholesky factor.
    pub fn packed_factor(&self) -> Vec<f32> {
        let dims = self.mean.len();
        self.factor
            .chunks_exact(dims)
            .enumerate()
            .flat_map(|(i, row)| row[..=i].iter().copied())
            .collect()
    }

    /// Mahalanobis distance of every vector of `n × dims`; that of [`PositionGaussians::whitened_norms`] up to rounding.
    ///
    /// Panics unless `vectors` are whole.
    pub fn whitened_norms(&self, vectors: &[f32]) -> Vec<f32> {
        let dims = self.mean.len();
        assert!(
            vectors.len().is_multiple_of(dims),
            "{} values of {dims} dims",
            vectors.len()
        );
        let mut norms = Vec::with_capacity(vectors.len() / dims);
        let mut centred = Vec::with_capacity(ROWS_PER_PRODUCT * dims);
        let mut whitened = vec![0.0; ROWS_PER_PRODUCT * dims];
        for block in vectors.chunks(ROWS_PER_PRODUCT * dims) {
            centred.clear();
            for vector in block.chunks_exact(dims) {
                centred.extend(vector.iter().zip(&self.mean).map(|(value, mean)| value - mean));
            }
            let whitened = &mut whitened[..block.len()];
            matmul_transposed(block.len() / dims, dims, dims, &centred, &self.factor, whitened);
            push_norms(dims, whitened, &mut norms);
        }
        norms
    }
}

multiversion! {
    fn push_norms(dims: usize, vectors: &[f32], norms: &mut Vec<f32>) {
        norms.extend(vectors.chunks_exact(dims).map(|vector| dot_inline(vector, vector).sqrt()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cholesky::{cholesky, inverse_lower};
    use crate::network::Crew;
    use crate::testing::{CASES, Dice, assert_close, on_every_unit, positive_definite, values};

    #[test]
    fn steps_are_powers_of_two_that_hold_the_largest() {
        for (row, expected) in [
            (&[0.0, 0.0][..], f32::MIN_POSITIVE),
            (&[1.0], 1.0 / 16_384.0),
            (&[32_767.4, -1.0], 1.0),
            (&[-32_768.0], 2.0),
        ] {
            assert_eq!(step(row, i16::MAX.into()), expected, "{row:?}");
        }
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(step(&[1.0, bad, 2.0], i16::MAX.into()).is_nan());
            for gaussians in [PositionGaussians::new, PositionGaussians::in_bytes] {
                let norms = gaussians(1, vec![0.0], &[bad]).whitened_norms(&[&[1.0]]);
                assert!(!norms[0][0].is_finite(), "it is noticed");
            }
        }
    }

    #[test]
    fn what_was_rounded_stays_also_where_the_largest_is_negative() {
        for largest in [-127.5, -32_767.5, 127.5, -1.0] {
            let factors = [3.0, largest, 1.0];
            for gaussians in [PositionGaussians::new, PositionGaussians::in_bytes] {
                let once = gaussians(2, vec![0.0; 2], &factors);
                assert_eq!(gaussians(2, vec![0.0; 2], &once.packed_factors()), once, "{largest}");
                assert_eq!(
                    PositionGaussians::new(2, vec![0.0; 2], &once.packed_factors()),
                    once,
                    "{largest}"
                );
            }
        }
    }

    #[test]
    fn images_of_a_batch_have_the_bits_that_they_have_alone() {
        let (dims, n_images) = if cfg!(miri) { (2, 2) } else { (13, 5) };
        let positions = 2 * POSITIONS_PER_PART_MIN + 3;
        let factor: Vec<f32> = values(positions * packed_len(dims), 1);
        let means = values(positions * dims, 2);
        let images: Vec<Vec<f32>> = (3..3 + n_images).map(|seed| values(positions * dims, seed)).collect();
        let images: Vec<&[f32]> = images.iter().map(Vec::as_slice).collect();
        for gaussians in [PositionGaussians::new, PositionGaussians::in_bytes] {
            let gaussians = gaussians(dims, means.clone(), &factor);
            let alone = images.iter().flat_map(|image| gaussians.whitened_norms(&[image]));
            let alone: Vec<Vec<f32>> = alone.collect();
            let crew = Crew::new(2);
            let _at_work = crew.begin();
            assert_eq!(gaussians.whitened_norms(&images), alone);
            assert_ne!(alone[0], alone[1]);
            assert!(gaussians.whitened_norms(&[]).is_empty());
        }
    }

    #[test]
    fn in_bytes_distances_move_little_and_stay_so() {
        let (dims, n) = if cfg!(miri) { (13, 2) } else { (100, 8) };
        let inverse = inverse_lower(dims, &cholesky(dims, &positive_definite(dims, 2)).unwrap());
        let factors: Vec<f32> = inverse.iter().map(|value| *value as f32).collect::<Vec<_>>().repeat(n);
        let (means, vectors) = (values(n * dims, 3), values(n * dims, 4));
        let words = PositionGaussians::new(dims, means.clone(), &factors);
        let bytes = PositionGaussians::in_bytes(dims, means.clone(), &factors);
        assert!(matches!(
            (&words.tiles, &bytes.tiles),
            (Tiles::Words(_), Tiles::Bytes(_))
        ));
        for (word, byte) in words.whitened_norms(&[&vectors])[0]
            .iter()
            .zip(&bytes.whitened_norms(&[&vectors])[0])
        {
            assert!((byte / word - 1.0).abs() < 0.02, "{word} and {byte}");
        }
        let kept = bytes.packed_factors();
        assert_eq!(
            PositionGaussians::new(dims, means, &kept),
            bytes,
            "what fits into 8 bits stays there"
        );
    }

    #[test]
    fn both_norms_match_naive() {
        // 100 and 550 are what PaDiM draws of ResNet-18's and WideResNet-50's dimensions.
        let large: &[(usize, usize)] = if cfg!(miri) {
            &[]
        } else {
            &[(37, 300), (100, 4), (550, 2)]
        };
        let small = [(1, 3), (5, 2), (8, 2), (16, 4), (17, 3)].into_iter();
        let random = (0..CASES / 8).map(|seed| {
            let mut dice = Dice(seed);
            (dice.size(if cfg!(miri) { 20 } else { 130 }), dice.size(40))
        });
        for (dims, n) in small.chain(large.iter().copied()).chain(random) {
            // Every position has its own.
            let packed = packed_len(dims);
            let factors = values(n * packed, 2);
            let (means, vectors) = (values(n * dims, 3), values(n * dims, 4));
            let naive = |means: &[f32], factors: &[f32]| -> Vec<f32> {
                let of_position = |position: usize| {
                    let [mean, vector] = [means, &vectors].map(|all| &all[position * dims..][..dims]);
                    let factor = &factors[position * packed..][..packed];
                    let whitened = (0..dims).map(|i| {
                        let products = row_of(factor, i).iter().zip(vector.iter().zip(mean));
                        let sum = products.map(|(factor, (v, m))| f64::from(*factor) * f64::from(v - m));
                        sum.sum::<f64>()
                    });
                    whitened.map(|v| v * v).sum::<f64>().sqrt() as f32
                };
                (0..n).map(of_position).collect()
            };
            for (levels, gaussians) in [
                (
                    32_767.0,
                    PositionGaussians::new as fn(usize, Vec<f32>, &[f32]) -> PositionGaussians,
                ),
                (127.0, PositionGaussians::in_bytes),
            ] {
                let own = gaussians(dims, means.clone(), &factors);
                let kept = own.packed_factors();
                let norms = &on_every_unit(|| own.whitened_norms(&[&vectors]))[0];
                assert_close(norms, &naive(&means, &kept), 1e-5);
                assert_eq!(
                    PositionGaussians::new(dims, means.clone(), &kept),
                    own,
                    "what was rounded once stays"
                );
                for (factor, kept) in factors.chunks_exact(packed).zip(kept.chunks_exact(packed)) {
                    for (row, kept) in (0..dims).map(|row| (row_of(factor, row), row_of(kept, row))) {
                        let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                        let moved = row.iter().zip(kept).map(|(value, kept)| (value - kept).abs());
                        assert!(moved.fold(0.0, f32::max) <= largest / levels * 1.001);
                    }
                }
            }
            let (mean, factor) = (&means[..dims], &factors[..packed]);
            let shared = SharedGaussian::new(mean.to_vec(), factor);
            let expected = naive(&mean.repeat(n), &factor.repeat(n));
            assert_close(&on_every_unit(|| shared.whitened_norms(&vectors)), &expected, 1e-5);
            assert_eq!(shared.packed_factor(), factor);
        }
    }
}
