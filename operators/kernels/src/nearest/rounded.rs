//! Whole vectors rounded to a byte a dimension: a comparison reads a quarter of what the vector itself is, and bounds its distance
//! from below by nearly as much as it is.
//!
//! A vector is seen from the mean and rounded on a scale of its own; so is a query, to 12 bits. The distance of the two follows
//! from sums of integers, and how far either was moved by rounding is known: the true distance is less than theirs by both at most.

use crate::distance::{gamma, underflow};
use crate::system_memory::keep_in_large_pages;

/// Largest values of a rounded vector and of a rounded query; the smallest are their negatives.
const ROW_MAX: f32 = 127.0;
const QUERY_MAX: f32 = 2047.0;

/// Dimensions whose products are added up in 32 bits.
const PRODUCTS_TOGETHER: usize = 4_096;
const _: () = assert!(ROW_MAX as usize * QUERY_MAX as usize * PRODUCTS_TOGETHER < i32::MAX as usize);

/// Dimensions whose squares are.
const SQUARES_TOGETHER: usize = 256;
const _: () = assert!(QUERY_MAX as usize * QUERY_MAX as usize * SQUARES_TOGETHER < i32::MAX as usize);

/// Values that are looked at together: one 512-bit vector of `f32`. Vectors are filled up with zeros to whole numbers of them.
const LANES: usize = 16;
type Chunk<V> = [V; LANES];

/// Added to a small number it leaves no place behind the point: 1.5 · 2²³.
const HALF_WAY: f32 = 12_582_912.0;
const HALF_WAY_BITS: i32 = HALF_WAY.to_bits() as i32;

/// Vectors of a bank (of `i8`) or queries (of `i16`), rounded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rounded<V> {
    /// `(rows, padded dims)`.
    values: Vec<Chunk<V>>,
    /// By row.
    roundings: Vec<Rounding>,
}

/// How a vector was rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rounding {
    /// What a value of 1 stands for.
    scale: f64,
    /// Squared length of the rounded vector.
    squared_length: f64,
    /// How far it may be from the true one, at most.
    error: f64,
}

impl Rounded<i8> {
    /// Vectors of a bank, whose lengths are below 1e15.
    pub(super) fn bank<'a>(mean: &[f32], vectors: impl ExactSizeIterator<Item = &'a [f32]>) -> Self {
        let bank = Self::new(mean, vectors, round_row);
        keep_in_large_pages(&bank.values);
        bank
    }

    /// What the distance of a row to a query is at least.
    pub(super) fn distance_min(&self, row: usize, queries: &Rounded<i16>, query: usize) -> f64 {
        let (a, b) = (&self.roundings[row], &queries.roundings[query]);
        let product = product(queries.row(query), self.row(row)) as f64 * a.scale * b.scale;
        // A few roundings in `f64` of what is at most twice the squared lengths.
        let squared = (a.squared_length + b.squared_length) * (1.0 - 1e-14) - 2.0 * product;
        // What is no number is 0 too.
        (squared.max(0.0).sqrt() * (1.0 - 1e-14) - a.error - b.error).max(0.0)
    }
}

impl Rounded<i16> {
    /// Queries (`n × dims`), whose lengths are below 1e15.
    pub(super) fn queries(mean: &[f32], vectors: &[f32]) -> Self {
        Self::new(mean, vectors.chunks_exact(mean.len()), round_query)
    }
}

impl<V: Copy + Default> Rounded<V> {
    fn new<'a>(
        mean: &[f32],
        vectors: impl ExactSizeIterator<Item = &'a [f32]>,
        round: impl Fn(&[Chunk<f32>], &mut [Chunk<V>]) -> Rounding,
    ) -> Self {
        let chunks = mean.len().div_ceil(LANES);
        let mut values = vec![[V::default(); LANES]; vectors.len() * chunks];
        let mut centred = vec![[0.0; LANES]; chunks];
        let rows = vectors.zip(values.chunks_exact_mut(chunks));
        let roundings = rows.map(|(vector, values)| {
            let differences = vector.iter().zip(mean).map(|(value, mean)| value - mean);
            let places = centred.as_flattened_mut().iter_mut();
            places
                .zip(differences)
                .for_each(|(place, difference)| *place = difference);
            round(&centred, values)
        });
        let roundings = roundings.collect();
        Self { values, roundings }
    }

    fn row(&self, row: usize) -> &[Chunk<V>] {
        let chunks = self.values.len() / self.roundings.len();
        &self.values[row * chunks..][..chunks]
    }
}

multiversion! {
    fn round_row(centred: &[Chunk<f32>], values: &mut [Chunk<i8>]) -> Rounding {
        round(centred, ROW_MAX, values, |value| value as i8)
    }
}

multiversion! {
    fn round_query(centred: &[Chunk<f32>], values: &mut [Chunk<i16>]) -> Rounding {
        round(centred, QUERY_MAX, values, |value| value as i16)
    }
}

/// Rounds a vector, seen from the mean, to whole numbers up to `value_max`.
#[inline(always)]
fn round<V>(centred: &[Chunk<f32>], value_max: f32, values: &mut [Chunk<V>], narrowed: impl Fn(i32) -> V) -> Rounding
where
    V: Copy + Into<i32>,
{
    let mut largest = [0.0f32; LANES];
    for chunk in centred {
        for (largest, value) in largest.iter_mut().zip(chunk) {
            *largest = if value.abs() > *largest { value.abs() } else { *largest };
        }
    }
    let largest = largest.into_iter().fold(0.0, f32::max);
    let scale = largest / value_max;
    let per_scale = 1.0 / scale;
    for (chunk, values) in centred.iter().zip(&mut *values) {
        let mut whole = [0; LANES];
        for (whole, value) in whole.iter_mut().zip(chunk) {
            // The sum's last bits are the nearest whole number, ties to even.
            *whole = ((value * per_scale).max(-value_max).min(value_max) + HALF_WAY).to_bits() as i32 - HALF_WAY_BITS;
        }
        for (value, whole) in values.iter_mut().zip(whole) {
            *value = narrowed(whole);
        }
    }
    let mut moved = [0.0f32; LANES];
    for (chunk, values) in centred.iter().zip(&*values) {
        for lane in 0..LANES {
            let by = chunk[lane] - values[lane].into() as f32 * scale;
            moved[lane] += by * by;
        }
    }
    let moved: f64 = moved.into_iter().map(f64::from).sum();
    let moved_max = moved * (1.0 + 2.0 * gamma(centred.len() + 4)) + underflow(centred.len() * LANES);
    let length_max = f64::from(largest) * ((centred.len() * LANES) as f64).sqrt();
    let squares = values.as_flattened().chunks(SQUARES_TOGETHER).map(|values| {
        let squares = values.iter().map(|value| (*value).into() * (*value).into());
        i64::from(squares.sum::<i32>())
    });
    let scale = f64::from(scale);
    Rounding {
        scale,
        squared_length: squares.sum::<i64>() as f64 * scale * scale,
        // Centring, the product and the difference each err by a rounding of what is at most twice the vector's own value.
        error: moved_max.sqrt() + gamma(8) * length_max,
    }
}

multiversion! {
    fn product(query: &[Chunk<i16>], row: &[Chunk<i8>]) -> i64 {
        let (query, row) = (query.as_flattened(), row.as_flattened());
        let parts = query.chunks(PRODUCTS_TOGETHER).zip(row.chunks(PRODUCTS_TOGETHER));
        let sums = parts.map(|(query, row)| {
            let products = query.iter().zip(row).map(|(a, b)| i32::from(*a) * i32::from(*b));
            i64::from(products.sum::<i32>())
        });
        sums.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values;

    fn distance(a: &[f32], b: &[f32]) -> f64 {
        let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        squares.sum::<f64>().sqrt()
    }

    #[test]
    fn distances_are_bounded_and_nearly_known() {
        for (dims, scale, seed) in [
            (256, 1.0f32, 1),
            (300, 1e9, 2),
            (1_536, 1e-3, 3),
            (5_000, 1.0, 4),
            (384, 1e-25, 5),
        ] {
            let scaled = |seed| values(20 * dims, seed).iter().map(|v| v * scale).collect::<Vec<f32>>();
            let (mean, vectors) = (&scaled(seed)[..dims], scaled(seed + 10));
            let mut queries = scaled(seed + 20);
            // One of the bank, one beside it, the mean itself, and one of which a value stands out.
            queries[..2 * dims].copy_from_slice(&vectors[..2 * dims]);
            queries[dims] += 1e-3 * scale;
            queries[2 * dims..3 * dims].copy_from_slice(mean);
            queries[3 * dims] = 1e4 * scale;
            let bank = Rounded::bank(mean, vectors.chunks_exact(dims));
            let rounded = Rounded::queries(mean, &queries);
            for (row, vector) in vectors.chunks_exact(dims).enumerate() {
                for (query, values) in queries.chunks_exact(dims).enumerate() {
                    let (bound, distance) = (bank.distance_min(row, &rounded, query), distance(vector, values));
                    assert!(bound <= distance, "{dims} dims: {bound} > {distance}");
                    let is_near = bound >= 0.9 * distance - 0.02 * f64::from(scale) * (dims as f64).sqrt();
                    assert!(
                        is_near || scale < 1e-20,
                        "{dims} dims: {bound} tells little of {distance}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_has_no_scale_is_bounded_too() {
        let mean = vec![3.0; 256];
        let bank = Rounded::bank(&mean, mean.chunks_exact(256));
        let queries = Rounded::queries(&mean, &mean);
        assert_eq!(bank.distance_min(0, &queries, 0), 0.0);
    }
}
