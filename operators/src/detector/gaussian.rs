//! One Gaussian for all positions: textures, where every place of the part looks alike.

use std::collections::BTreeMap;

use intakt_kernels::{
    GRAM_STEPS_PER_UNIT, SharedGaussian, add_outer_products, cholesky, inverse_lower, packed_len,
    subtract_outer_products,
};

use super::checks::{finite_f32, integers};
use super::{PatchScores, Tensor};
use crate::FeatureMap;

/// Most vectors that one Gaussian is fitted from: `n Σ x xᵀ` is then below n² 2⁴⁶ < 2¹²⁷ and exact in 128 bits. That is more
/// than a year of 512×512 positions at a frame a second.
pub const GAUSSIAN_ROWS_MAX: u64 = 1 << 40;

/// A fitted Gaussian; scores are Mahalanobis distances.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    shared: SharedGaussian,
}

impl Gaussian {
    /// Dimensions of the embeddings it scores.
    pub fn dims(&self) -> usize {
        self.shared.mean().len()
    }

    /// Mahalanobis distance of every patch; any grid.
    ///
    /// # Errors
    /// If the embedding has other dimensions.
    pub fn score(&self, embedding: &FeatureMap) -> Result<PatchScores, String> {
        super::checks::check_dims(embedding, self.dims())?;
        Ok(PatchScores {
            height: embedding.height,
            width: embedding.width,
            distances: self.shared.whitened_norms(&embedding.data),
            weights: None,
            nearest: None,
        })
    }

    /// `gaussian_mean` (dims) and `gaussian_factor` (packed lower triangle).
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let factor = self.shared.packed_factor();
        BTreeMap::from([
            (
                "gaussian_mean".to_owned(),
                Tensor::f32(&[self.dims()], self.shared.mean().to_vec()),
            ),
            ("gaussian_factor".to_owned(), Tensor::f32(&[factor.len()], factor)),
        ])
    }

    /// The reverse of [`Gaussian::tensors`].
    ///
    /// # Errors
    /// If a tensor is missing, or its shape or a value is impossible.
    pub fn from_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Self, String> {
        let ([dims], mean) = finite_f32(tensors, "gaussian_mean")?;
        let ([packed], factor) = finite_f32(tensors, "gaussian_factor")?;
        if packed != packed_len(dims) {
            let expected = packed_len(dims);
            return Err(format!(
                "`gaussian_factor` holds {packed} values, but {dims} dims make {expected}"
            ));
        }
        Ok(Self {
            shared: SharedGaussian::new(mean.to_vec(), factor),
        })
    }
}

/// Exact sums over all positions of all images: what a [`Gaussian`] is fitted from. The order of images does not matter, and
/// sums of several threads can be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaussianSums {
    dims: usize,
    rows: u64,
    sums: Vec<i128>,
    products: Vec<i128>,
}

impl GaussianSums {
    /// Sums of nothing. Panics if `dims` is 0.
    pub fn new(dims: usize) -> Self {
        assert!(dims > 0, "no dimensions");
        Self {
            dims,
            rows: 0,
            sums: vec![0; dims],
            products: vec![0; packed_len(dims)],
        }
    }

    /// Vectors summed: images times positions.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds every position of one image.
    ///
    /// # Errors
    /// If the embedding has other dimensions or a value that is not finite, or the sums are full
    /// ([`GAUSSIAN_ROWS_MAX`]); they are then as before.
    pub fn add(&mut self, embedding: &FeatureMap) -> Result<(), String> {
        super::checks::check_fit_input(embedding, self.dims)?;
        let rows = self.rows + embedding.positions() as u64;
        if rows > GAUSSIAN_ROWS_MAX {
            return Err(format!(
                "cannot fit on {rows} patches: at most {GAUSSIAN_ROWS_MAX} fit the sums"
            ));
        }
        self.rows = rows;
        add_outer_products(self.dims, &embedding.data, &mut self.sums, &mut self.products);
        Ok(())
    }

    /// Takes one image away that was added before: the sums are then as if it never had been.
    ///
    /// # Errors
    /// As [`GaussianSums::add`], or if the sums hold fewer patches than the image.
    pub fn subtract(&mut self, embedding: &FeatureMap) -> Result<(), String> {
        super::checks::check_fit_input(embedding, self.dims)?;
        let positions = embedding.positions() as u64;
        let rows = self.rows.checked_sub(positions);
        self.rows = rows.ok_or_else(|| format!("cannot take {positions} patches out of {}", self.rows))?;
        subtract_outer_products(self.dims, &embedding.data, &mut self.sums, &mut self.products);
        Ok(())
    }

    /// Adds what another thread has summed.
    ///
    /// # Errors
    /// If the dimensions differ or the sums would be over-full; they are then as before.
    pub fn merge(&mut self, other: &Self) -> Result<(), String> {
        let rows = self.rows.saturating_add(other.rows);
        if self.dims != other.dims || rows > GAUSSIAN_ROWS_MAX {
            return Err(format!(
                "cannot merge sums of {} and {} dims, {rows} patches",
                self.dims, other.dims
            ));
        }
        self.rows = rows;
        self.sums
            .iter_mut()
            .zip(&other.sums)
            .for_each(|(sum, other)| *sum += other);
        self.products
            .iter_mut()
            .zip(&other.products)
            .for_each(|(sum, other)| *sum += other);
        Ok(())
    }

    /// The Gaussian of the summed vectors: covariance over n − 1, `regularisation` added to its diagonal.
    ///
    /// # Errors
    /// If there are fewer than 2 vectors, or the covariance has no Cholesky factor.
    pub fn fit(&self, regularisation: f64) -> Result<Gaussian, String> {
        let (mean, factor) = whiten(i128::from(self.rows), &self.sums, &self.products, regularisation)?;
        Ok(Gaussian {
            shared: SharedGaussian::new(mean, &factor),
        })
    }

    /// `gaussian_rows` (1), and `gaussian_sums` (dims, 2) and `gaussian_products` (packed, 2) as pairs of the upper and the
    /// lower 64 bits.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let halves = |sums: &[i128]| {
            Tensor::i64(
                &[sums.len(), 2],
                sums.iter().flat_map(|sum| [(sum >> 64) as i64, *sum as i64]).collect(),
            )
        };
        BTreeMap::from([
            ("gaussian_rows".to_owned(), Tensor::i64(&[1], vec![self.rows as i64])),
            ("gaussian_sums".to_owned(), halves(&self.sums)),
            ("gaussian_products".to_owned(), halves(&self.products)),
        ])
    }

    /// The reverse of [`GaussianSums::tensors`].
    ///
    /// # Errors
    /// If a tensor is missing, or its shape or a value is impossible.
    pub fn from_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Self, String> {
        let ([_], rows) = integers(tensors, "gaussian_rows")?;
        let ([dims, sum_halves], sums) = integers(tensors, "gaussian_sums")?;
        let ([packed, product_halves], products) = integers(tensors, "gaussian_products")?;
        let rows = match rows {
            [rows] if (0..=GAUSSIAN_ROWS_MAX as i64).contains(rows) => *rows as u64,
            _ => return Err("`gaussian_rows` is not the number of patches".to_owned()),
        };
        if dims == 0 || packed != packed_len(dims) || [sum_halves, product_halves] != [2, 2] {
            return Err(format!(
                "`gaussian_sums` and `gaussian_products` disagree: {dims} dims, {packed} products"
            ));
        }
        let whole = |halves: &[i64]| -> Vec<i128> {
            halves
                .chunks_exact(2)
                .map(|half| (i128::from(half[0]) << 64) | i128::from(half[1] as u64))
                .collect()
        };
        let (sums, products) = (whole(sums), whole(products));
        let largest = i128::from(intakt_kernels::GRAM_STEPS_MAX);
        let fits = |values: &[i128], each: i128| {
            values
                .iter()
                .all(|v| v.unsigned_abs() <= (each * i128::from(rows)) as u128)
        };
        if !fits(&sums, largest) || !fits(&products, largest * largest) {
            return Err(format!(
                "the sums of the Gaussian are larger than {rows} patches can make them"
            ));
        }
        Ok(Self {
            dims,
            rows,
            sums,
            products,
        })
    }
}

/// Mean and packed inverse Cholesky factor of the covariance (over n − 1, as `numpy.cov`) with `regularisation` on its
/// diagonal, from exact sums. The covariance is exact up to one rounding to `f64`: there is no cancellation.
///
/// # Errors
/// If `n` is below 2, the regularisation is no such thing, or the covariance has no Cholesky factor.
pub(super) fn whiten<I: Copy + Into<i128>>(
    n: i128,
    sums: &[I],
    products: &[I],
    regularisation: f64,
) -> Result<(Vec<f32>, Vec<f32>), String> {
    if n < 2 {
        return Err(format!(
            "cannot fit a Gaussian on {n} vectors\n  hint: give at least 2 normal images"
        ));
    }
    if !(regularisation.is_finite() && regularisation >= 0.0) {
        return Err(format!(
            "cannot fit a Gaussian: the regularisation is {regularisation}, not a number of at least 0"
        ));
    }
    let (dims, steps_per_unit) = (sums.len(), f64::from(GRAM_STEPS_PER_UNIT));
    let mean = sums
        .iter()
        .map(|sum| ((*sum).into() as f64 / n as f64 / steps_per_unit) as f32)
        .collect();
    let scale = 1.0 / ((n * (n - 1)) as f64 * steps_per_unit * steps_per_unit);
    let mut covariance = Vec::with_capacity(products.len());
    let mut products = products.iter();
    for (i, sum) in sums.iter().enumerate() {
        for (other, product) in sums[..=i].iter().zip(products.by_ref()) {
            covariance.push((n * (*product).into() - (*sum).into() * (*other).into()) as f64 * scale);
        }
        covariance[packed_len(i) + i] += regularisation;
    }
    let factor = cholesky(dims, &covariance).map_err(|error| {
        format!("cannot fit a Gaussian: {error}\n  hint: give more normal images or a larger regularisation ({regularisation})")
    })?;
    Ok((
        mean,
        inverse_lower(dims, &factor).iter().map(|value| *value as f32).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::scorer_testing::{assert_close, feature_map};

    fn sums(seeds: impl IntoIterator<Item = u64>) -> GaussianSums {
        let mut sums = GaussianSums::new(3);
        seeds
            .into_iter()
            .for_each(|seed| sums.add(&feature_map(2, 2, 3, seed)).unwrap());
        sums
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn distances_match_numpy() {
        const DISTANCES: [f32; 4] = [2.333688, 2.2906, 1.262355, 0.512185];
        let scores = sums(20..26)
            .fit(0.01)
            .unwrap()
            .score(&feature_map(2, 2, 3, 40))
            .unwrap();
        // Features are rounded to 1/4096 before they are summed.
        assert_close(&scores.distances, &DISTANCES, 1e-3);
    }

    #[test]
    fn order_and_split_do_not_matter_and_removal_leaves_no_trace() {
        let all = sums([1, 2, 3, 4, 5]);
        assert_eq!(all.rows(), 20);
        assert_eq!(sums([4, 2, 5, 1, 3]), all);
        let mut merged = sums([5, 1]);
        merged.merge(&sums([3, 2, 4])).unwrap();
        assert_eq!(merged, all);
        merged.subtract(&feature_map(2, 2, 3, 3)).unwrap();
        assert_eq!(merged, sums([1, 2, 4, 5]));
        assert!(merged.merge(&GaussianSums::new(4)).is_err());
        assert!(GaussianSums::new(3).subtract(&feature_map(2, 2, 3, 3)).is_err());
    }

    #[test]
    fn sums_and_gaussian_survive_their_tensors() {
        let sums = sums(0..6);
        assert_eq!(GaussianSums::from_tensors(&sums.tensors()), Ok(sums.clone()));
        let gaussian = sums.fit(0.01).unwrap();
        assert_eq!(Gaussian::from_tensors(&gaussian.tensors()), Ok(gaussian));
    }

    #[test]
    fn impossible_sums_are_refused() {
        let good = sums(0..2).tensors();
        let with = |name: &str, tensor: Tensor| {
            let mut tensors = good.clone();
            tensors.insert(name.to_owned(), tensor);
            GaussianSums::from_tensors(&tensors)
        };
        assert!(
            with("gaussian_rows", Tensor::i64(&[1], vec![-1]))
                .unwrap_err()
                .contains("number of patches")
        );
        assert!(with("gaussian_rows", Tensor::i64(&[2], vec![8, 8])).is_err());
        assert!(
            with("gaussian_sums", Tensor::i64(&[3, 2], vec![1; 6]))
                .unwrap_err()
                .contains("larger than 8 patches")
        );
        assert!(
            with("gaussian_products", Tensor::i64(&[5, 2], vec![0; 10]))
                .unwrap_err()
                .contains("disagree")
        );
    }

    #[test]
    fn too_few_or_degenerate_vectors_are_refused() {
        assert!(GaussianSums::new(3).fit(0.01).unwrap_err().contains("on 0 vectors"));
        let mut alike = GaussianSums::new(1);
        alike.add(&FeatureMap::new(1, 3, 1, vec![2.0; 3])).unwrap();
        assert!(alike.fit(0.0).unwrap_err().contains("larger regularisation"));
        assert!(alike.fit(f64::NAN).unwrap_err().contains("regularisation is NaN"));
        let gaussian = alike.fit(0.01).unwrap();
        assert_close(
            &gaussian.score(&FeatureMap::new(1, 1, 1, vec![3.0])).unwrap().distances,
            &[10.0],
            1e-5,
        );
    }
}
