//! Exact sums of vectors and of their outer products: the state from which Gaussians are fitted.
//!
//! Values are rounded to steps of 2⁻¹² and limited to ±2048, and summed as integers. So a sum does not depend on the order of
//! its terms, and a vector that is subtracted again leaves no trace. The rounding adds 2⁻²⁴ / 12 = 5e-9 to a variance.

use std::fmt;

use crate::cholesky::packed_len;

/// Steps per unit.
pub const GRAM_STEPS_PER_UNIT: f32 = 4096.0;

/// Largest absolute value in steps: 2048 units less one step, so that [`GRAM_ADDITIONS_MAX`] products fit an `i64`.
pub const GRAM_STEPS_MAX: i32 = (1 << 23) - 1;

/// Vectors that one sum can hold: (2²³ − 1)² · 2¹⁷ < 2⁶³.
pub const GRAM_ADDITIONS_MAX: u32 = 1 << 17;

/// A sum that cannot take a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GramError {
    /// It holds [`GRAM_ADDITIONS_MAX`] vectors already.
    Full,
    /// It holds none, so none can be taken away.
    Empty,
}

impl fmt::Display for GramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GramError::Full => write!(f, "the sums hold {GRAM_ADDITIONS_MAX} vectors, and no more fit"),
            GramError::Empty => write!(f, "the sums hold no vector, so none can be taken away"),
        }
    }
}

impl std::error::Error for GramError {}

/// Sums of `n` vectors at each of several positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GramSums {
    /// Dimensions of a vector.
    pub dims: usize,
    /// Vectors summed at every position, at most [`GRAM_ADDITIONS_MAX`].
    pub n: u32,
    /// Sums of the vectors, `positions × dims`, in steps.
    pub sums: Vec<i64>,
    /// Sums of `x xᵀ`, `positions × packed_len(dims)` (lower triangles, see [`packed_len`]), in squared steps.
    pub products: Vec<i64>,
}

impl GramSums {
    /// Sums of no vectors.
    pub fn new(positions: usize, dims: usize) -> Self {
        Self {
            dims,
            n: 0,
            sums: vec![0; positions * dims],
            products: vec![0; positions * packed_len(dims)],
        }
    }

    /// Adds one vector at every position (`positions × dims`). What is not a number counts as 0.
    ///
    /// # Errors
    /// If the sums are full; they are then as before.
    ///
    /// Panics unless `vectors` holds a vector for every position.
    pub fn add(&mut self, vectors: &[f32]) -> Result<(), GramError> {
        if self.n >= GRAM_ADDITIONS_MAX {
            return Err(GramError::Full);
        }
        self.n += 1;
        self.accumulate::<1>(vectors);
        Ok(())
    }

    /// Takes away one vector at every position that was added before. The sums are then as if it never had been.
    ///
    /// # Errors
    /// If nothing was added; the sums are then as before.
    ///
    /// Panics unless `vectors` holds a vector for every position.
    pub fn subtract(&mut self, vectors: &[f32]) -> Result<(), GramError> {
        self.n = self.n.checked_sub(1).ok_or(GramError::Empty)?;
        self.accumulate::<-1>(vectors);
        Ok(())
    }

    fn accumulate<const SIGN: i32>(&mut self, vectors: &[f32]) {
        assert_eq!(vectors.len(), self.sums.len(), "{} dims at every position", self.dims);
        if self.dims == 0 {
            return;
        }
        let mut steps = vec![0; self.dims];
        let sums = self.sums.chunks_exact_mut(self.dims);
        let products = self.products.chunks_exact_mut(packed_len(self.dims));
        for ((vector, sums), products) in vectors.chunks_exact(self.dims).zip(sums).zip(products) {
            accumulate_one(SIGN, vector, &mut steps, sums, products);
        }
    }
}

/// Adds every one of `vectors` (`n × dims`) to one sum of vectors and one of packed outer products: the same numbers as
/// [`GramSums`], wide enough for any number of vectors.
///
/// Panics unless `vectors` are whole, `sums` holds `dims` and `products` [`packed_len`] values.
pub fn add_outer_products(dims: usize, vectors: &[f32], sums: &mut [i128], products: &mut [i128]) {
    accumulate_wide(1, dims, vectors, sums, products);
}

/// The reverse of [`add_outer_products`].
pub fn subtract_outer_products(dims: usize, vectors: &[f32], sums: &mut [i128], products: &mut [i128]) {
    accumulate_wide(-1, dims, vectors, sums, products);
}

fn accumulate_wide(sign: i32, dims: usize, vectors: &[f32], sums: &mut [i128], products: &mut [i128]) {
    assert!(
        dims > 0 && vectors.len().is_multiple_of(dims),
        "{} values of {dims} dims",
        vectors.len()
    );
    assert_eq!(
        [sums.len(), products.len()],
        [dims, packed_len(dims)],
        "sums of {dims} dims"
    );
    let mut steps = vec![0; dims];
    let (mut narrow_sums, mut narrow_products) = (vec![0i64; dims], vec![0i64; packed_len(dims)]);
    // As many vectors as surely fit are summed in 64 bits, then carried over.
    for block in vectors.chunks(dims * GRAM_ADDITIONS_MAX as usize) {
        narrow_sums.fill(0);
        narrow_products.fill(0);
        for vector in block.chunks_exact(dims) {
            accumulate_one(sign, vector, &mut steps, &mut narrow_sums, &mut narrow_products);
        }
        sums.iter_mut()
            .zip(&narrow_sums)
            .for_each(|(wide, narrow)| *wide += i128::from(*narrow));
        products
            .iter_mut()
            .zip(&narrow_products)
            .for_each(|(wide, narrow)| *wide += i128::from(*narrow));
    }
}

multiversion! {
    /// Adds (`sign` 1) or subtracts (−1) one vector; `steps` is scratch.
    fn accumulate_one(sign: i32, vector: &[f32], steps: &mut [i32], sums: &mut [i64], products: &mut [i64]) {
        let limit = GRAM_STEPS_MAX as f32;
        for (step, value) in steps.iter_mut().zip(vector) {
            *step = (value * GRAM_STEPS_PER_UNIT).round_ties_even().clamp(-limit, limit) as i32;
        }
        for (sum, step) in sums.iter_mut().zip(&*steps) {
            *sum += i64::from(sign * step);
        }
        let mut rest = products;
        for (i, step) in steps.iter().enumerate() {
            let (row, below) = rest.split_at_mut(i + 1);
            let factor = i64::from(sign * step);
            for (sum, other) in row.iter_mut().zip(&*steps) {
                *sum += factor * i64::from(*other);
            }
            rest = below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CASES, Dice, on_every_unit, values};

    fn scaled(count: usize, seed: u64) -> Vec<f32> {
        values(count, seed).iter().map(|v| v * 30.0).collect()
    }

    fn naive(positions: usize, dims: usize, images: &[Vec<f32>]) -> (Vec<i128>, Vec<i128>) {
        let (mut sums, mut products) = (Vec::new(), Vec::new());
        let steps = |v: f32| (f64::from(v) * 4096.0).round_ties_even().clamp(-8388607.0, 8388607.0) as i128;
        for p in 0..positions {
            for i in 0..dims {
                sums.push(images.iter().map(|x| steps(x[p * dims + i])).sum());
                for j in 0..=i {
                    products.push(
                        images
                            .iter()
                            .map(|x| steps(x[p * dims + i]) * steps(x[p * dims + j]))
                            .sum(),
                    );
                }
            }
        }
        (sums, products)
    }

    #[test]
    fn sums_match_naive() {
        let random = (0..CASES / 4).map(|seed| {
            let mut dice = Dice(seed);
            (dice.size(5), dice.size(40))
        });
        for (positions, dims) in [(1, 1), (3, 7), (2, 33)].into_iter().chain(random) {
            let images: Vec<Vec<f32>> = (0..5).map(|i| scaled(positions * dims, i)).collect();
            let sums = on_every_unit(|| {
                let mut sums = GramSums::new(positions, dims);
                images.iter().for_each(|image| sums.add(image).unwrap());
                sums
            });
            let (expected_sums, expected_products) = naive(positions, dims, &images);
            assert!(sums.sums.iter().zip(&expected_sums).all(|(a, b)| i128::from(*a) == *b));
            assert!(
                sums.products
                    .iter()
                    .zip(&expected_products)
                    .all(|(a, b)| i128::from(*a) == *b)
            );
        }
    }

    #[test]
    fn what_is_subtracted_leaves_no_trace() {
        let images: Vec<Vec<f32>> = (0..6).map(|i| scaled(4 * 9, i)).collect();
        let mut without = GramSums::new(4, 9);
        images[1..].iter().rev().for_each(|image| without.add(image).unwrap());
        let mut with = GramSums::new(4, 9);
        images.iter().for_each(|image| with.add(image).unwrap());
        assert_ne!(with, without);
        with.subtract(&images[0]).unwrap();
        assert_eq!(with, without);
    }

    #[test]
    fn extreme_values_fit_to_the_last_addition() {
        let mut sums = GramSums::new(1, 2);
        for _ in 0..GRAM_ADDITIONS_MAX {
            sums.add(&[f32::INFINITY, -1e30]).unwrap();
        }
        let largest = (i64::from(GRAM_STEPS_MAX)).pow(2) * i64::from(GRAM_ADDITIONS_MAX);
        assert_eq!(sums.products, [largest, -largest, largest]);
        let before = sums.clone();
        assert_eq!(sums.add(&[0.0, 0.0]), Err(GramError::Full));
        assert_eq!(sums, before);
        assert_eq!(GramSums::new(1, 1).subtract(&[0.0]), Err(GramError::Empty));
    }

    #[test]
    fn not_a_number_counts_as_zero() {
        let mut sums = GramSums::new(1, 1);
        sums.add(&[f32::NAN]).unwrap();
        assert_eq!((sums.n, sums.sums[0], sums.products[0]), (1, 0, 0));
    }

    #[test]
    fn wide_sums_match_naive_and_come_back_to_zero() {
        let dims = 5;
        let vectors = scaled(dims * 40, 7);
        let rows: Vec<Vec<f32>> = vectors.chunks_exact(dims).map(<[f32]>::to_vec).collect();
        let (mut sums, mut products) = (vec![0; dims], vec![0; packed_len(dims)]);
        add_outer_products(dims, &vectors, &mut sums, &mut products);
        assert_eq!((sums.clone(), products.clone()), naive(1, dims, &rows));
        subtract_outer_products(dims, &vectors, &mut sums, &mut products);
        assert!(sums.iter().chain(&products).all(|sum| *sum == 0));
    }
}
