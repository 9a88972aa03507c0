//! The sums that a [`Padim`](super::Padim) is fitted from: exact, of fixed size, and split by position over threads.

use std::collections::BTreeMap;
use std::ops::Range;

use intakt_kernels::{GRAM_ADDITIONS_MAX, GRAM_STEPS_MAX, GramSums, packed_len};

use super::Tensor;
use super::checks::{check_fit_input, integers};
use super::gaussian::whiten;
use super::padim::{FittedBlock, check_grid, check_sizes};
use crate::FeatureMap;

/// The sums of a range of positions. Blocks share nothing, so every thread can own one, and all see every image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionBlock {
    grid: (usize, usize),
    positions: Range<usize>,
    sums: GramSums,
}

impl PositionBlock {
    /// The positions it sums, counted row by row.
    pub fn positions(&self) -> Range<usize> {
        self.positions.clone()
    }

    /// Adds its positions of one image.
    ///
    /// # Errors
    /// If the embedding has another grid, other dimensions or a value that is not finite, or the sums hold 131,072 images;
    /// they are then as before.
    pub fn add(&mut self, embedding: &FeatureMap) -> Result<(), String> {
        let vectors = self.vectors(embedding)?;
        self.sums
            .add(vectors)
            .map_err(|error| format!("cannot add an image: {error}"))
    }

    /// Takes its positions of one image away that was added before: the sums are then as if it never had been.
    ///
    /// # Errors
    /// As [`PositionBlock::add`], or if no image was added.
    pub fn subtract(&mut self, embedding: &FeatureMap) -> Result<(), String> {
        let vectors = self.vectors(embedding)?;
        self.sums
            .subtract(vectors)
            .map_err(|error| format!("cannot take an image out: {error}"))
    }

    /// Its part of an embedding that fits it.
    fn vectors<'a>(&self, embedding: &'a FeatureMap) -> Result<&'a [f32], String> {
        check_grid(embedding, self.grid)?;
        check_fit_input(embedding, self.sums.dims)?;
        Ok(&embedding.data[self.positions.start * self.sums.dims..self.positions.end * self.sums.dims])
    }

    /// The Gaussians of its positions: covariances over n − 1 images, `regularisation` added to the diagonals.
    ///
    /// # Errors
    /// If there are fewer than 2 images, or a covariance has no Cholesky factor.
    pub fn fit(&self, regularisation: f64) -> Result<FittedBlock, String> {
        let dims = self.sums.dims;
        let mut fitted = FittedBlock {
            first_position: self.positions.start,
            dims,
            means: Vec::with_capacity(self.sums.sums.len()),
            factors: Vec::with_capacity(self.sums.products.len()),
        };
        let products = self.sums.products.chunks_exact(packed_len(dims));
        for (sums, products) in self.sums.sums.chunks_exact(dims).zip(products) {
            let (mean, factor) = whiten(i128::from(self.sums.n), sums, products, regularisation)?;
            fitted.means.extend(mean);
            fitted.factors.extend(factor);
        }
        Ok(fitted)
    }
}

/// Exact sums at every position: what a [`Padim`](super::Padim) is fitted from. Their size does not depend on the number of images, and the
/// order of images does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PadimSums {
    height: usize,
    width: usize,
    dims: usize,
    blocks: Vec<PositionBlock>,
}

impl PadimSums {
    /// Rows and columns of positions.
    pub fn grid(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// Sums of nothing, in `n_blocks` blocks of about the same number of positions (fewer where there are fewer positions).
    /// What is fitted does not depend on the number of blocks.
    ///
    /// Panics if the grid, `dims` or `n_blocks` is 0.
    pub fn new(height: usize, width: usize, dims: usize, n_blocks: usize) -> Self {
        let ranges = ranges(height * width, n_blocks);
        assert!(dims > 0 && !ranges.is_empty(), "sums of {height}x{width}x{dims}");
        let block = |positions: Range<usize>| PositionBlock {
            grid: (height, width),
            sums: GramSums::new(positions.len(), dims),
            positions,
        };
        Self {
            height,
            width,
            dims,
            blocks: ranges.into_iter().map(block).collect(),
        }
    }

    /// Images summed.
    pub fn n_images(&self) -> u32 {
        self.blocks[0].sums.n
    }

    /// The blocks, in order of position: every image has to be added to each of them.
    pub fn blocks(&self) -> &[PositionBlock] {
        &self.blocks
    }

    /// The blocks, to be added to by several threads.
    pub fn blocks_mut(&mut self) -> &mut [PositionBlock] {
        &mut self.blocks
    }

    /// Takes the blocks apart, for threads that keep theirs.
    pub fn into_blocks(self) -> Vec<PositionBlock> {
        self.blocks
    }

    /// Puts blocks together that were taken apart by [`PadimSums::into_blocks`].
    ///
    /// # Errors
    /// If they do not cover a grid in order, or have not seen the same number of images.
    pub fn from_blocks(blocks: Vec<PositionBlock>) -> Result<Self, String> {
        let first = blocks.first().ok_or("there are no blocks of sums")?;
        let ((height, width), dims, n) = (first.grid, first.sums.dims, first.sums.n);
        let mut next = 0;
        for block in &blocks {
            let same = block.grid == (height, width) && block.sums.dims == dims && block.sums.n == n;
            if !same || block.positions.start != next {
                return Err(format!(
                    "the blocks of sums do not cover {height}x{width} positions of {n} images in order"
                ));
            }
            next = block.positions.end;
        }
        if next != height * width {
            return Err(format!("the blocks of sums cover {next} of {height}x{width} positions"));
        }
        Ok(Self {
            height,
            width,
            dims,
            blocks,
        })
    }

    /// Adds one image to every block.
    ///
    /// # Errors
    /// As [`PositionBlock::add`]; the sums are then as before.
    pub fn add(&mut self, embedding: &FeatureMap) -> Result<(), String> {
        // All blocks refuse the same images, so either none is changed or all are.
        self.blocks.iter_mut().try_for_each(|block| block.add(embedding))
    }

    /// Takes one image out of every block.
    ///
    /// # Errors
    /// As [`PositionBlock::subtract`]; the sums are then as before.
    pub fn subtract(&mut self, embedding: &FeatureMap) -> Result<(), String> {
        self.blocks.iter_mut().try_for_each(|block| block.subtract(embedding))
    }

    /// Fits all blocks behind a network in f32.
    #[cfg(test)]
    pub(super) fn fit(&self, regularisation: f64) -> Result<super::Padim, String> {
        let fitted: Result<Vec<FittedBlock>, String> =
            self.blocks.iter().map(|block| block.fit(regularisation)).collect();
        super::Padim::from_blocks(self.height, self.width, super::Precision::F32, fitted?)
    }

    /// `padim_images` (1), `padim_sums` (height, width, dims) and `padim_products` (height, width, packed), whatever the
    /// blocks.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let (height, width, dims) = (self.height, self.width, self.dims);
        let joined =
            |part: fn(&GramSums) -> &[i64]| self.blocks.iter().flat_map(|b| part(&b.sums).iter().copied()).collect();
        let products = joined(|sums| &sums.products);
        BTreeMap::from([
            (
                "padim_images".to_owned(),
                Tensor::i64(&[1], vec![i64::from(self.n_images())]),
            ),
            (
                "padim_sums".to_owned(),
                Tensor::i64(&[height, width, dims], joined(|sums| &sums.sums)),
            ),
            (
                "padim_products".to_owned(),
                Tensor::i64(&[height, width, packed_len(dims)], products),
            ),
        ])
    }

    /// The reverse of [`PadimSums::tensors`], in `n_blocks` blocks.
    ///
    /// # Errors
    /// If a tensor is missing, or its shape or a value is impossible.
    pub fn from_tensors(tensors: &BTreeMap<String, Tensor>, n_blocks: usize) -> Result<Self, String> {
        let ([_], images) = integers(tensors, "padim_images")?;
        let ([height, width, dims], sums) = integers(tensors, "padim_sums")?;
        let ([product_height, product_width, packed], products) = integers(tensors, "padim_products")?;
        check_sizes(
            "padim_products",
            [height, width, dims],
            [product_height, product_width, packed],
        )?;
        let n = match images {
            [n] if (0..=i64::from(GRAM_ADDITIONS_MAX)).contains(n) => *n as u32,
            _ => return Err("`padim_images` is not the number of images".to_owned()),
        };
        let largest = i64::from(GRAM_STEPS_MAX);
        let fits = |values: &[i64], each: i64| values.iter().all(|v| v.unsigned_abs() <= (each * i64::from(n)) as u64);
        if !fits(sums, largest) || !fits(products, largest * largest) {
            return Err(format!(
                "the sums at the positions are larger than {n} images can make them"
            ));
        }
        let mut all = Self::new(height, width, dims, n_blocks.max(1));
        for block in &mut all.blocks {
            let Range { start, end } = block.positions;
            block.sums.n = n;
            block.sums.sums.copy_from_slice(&sums[start * dims..end * dims]);
            block
                .sums
                .products
                .copy_from_slice(&products[start * packed..end * packed]);
        }
        Ok(all)
    }
}

/// `0..count` in `parts` ranges whose lengths differ by at most 1; none is empty.
fn ranges(count: usize, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.min(count);
    (0..parts)
        .map(|part| part * count / parts..(part + 1) * count / parts)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::scorer_testing::{assert_close, feature_map};
    use crate::detector::{Padim, Precision};

    fn sums(n_blocks: usize, seeds: impl IntoIterator<Item = u64>) -> PadimSums {
        let mut sums = PadimSums::new(2, 2, 3, n_blocks);
        seeds
            .into_iter()
            .for_each(|seed| sums.add(&feature_map(2, 2, 3, seed)).unwrap());
        sums
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn distances_match_numpy() {
        const DISTANCES: [f32; 4] = [1.931283, 3.836934, 1.429369, 1.595381];
        let scores = sums(2, 20..26)
            .fit(0.01)
            .unwrap()
            .score(&[&feature_map(2, 2, 3, 40)])
            .unwrap()
            .remove(0);
        // Features are rounded to 1/4096 before they are summed.
        assert_close(&scores.distances, &DISTANCES, 2e-3);
        assert_eq!((scores.height, scores.width, scores.weights), (2, 2, None));
    }

    #[test]
    fn an_image_taken_out_leaves_no_trace() {
        let mut with = sums(3, [1, 2, 3, 4, 5]);
        with.subtract(&feature_map(2, 2, 3, 2)).unwrap();
        let never = sums(3, [5, 4, 3, 1]);
        assert_eq!(with, never);
        assert_eq!(with.fit(0.01), never.fit(0.01));
        assert_eq!((with.n_images(), with.tensors()), (4, never.tensors()));
    }

    #[test]
    fn blocks_change_nothing() {
        let one = sums(1, 0..4);
        for n_blocks in [2, 3, 4, 9] {
            let many = sums(n_blocks, 0..4);
            assert_eq!(many.blocks().len(), n_blocks.min(4));
            assert_eq!(many.tensors(), one.tensors());
            assert_eq!(many.fit(0.01), one.fit(0.01));
            let blocks = many.clone().into_blocks();
            assert!(blocks.iter().all(|block| !block.positions().is_empty()));
            assert_eq!(PadimSums::from_blocks(blocks), Ok(many));
        }
    }

    #[test]
    fn blocks_that_do_not_fit_together_are_refused() {
        let mut blocks = sums(2, 0..3).into_blocks();
        assert!(
            PadimSums::from_blocks(blocks[..1].to_vec())
                .unwrap_err()
                .contains("2 of 2x2")
        );
        blocks[1].add(&feature_map(2, 2, 3, 9)).unwrap();
        assert!(PadimSums::from_blocks(blocks.clone()).is_err());
        let fitted: Vec<FittedBlock> = blocks.iter().rev().map(|block| block.fit(0.01).unwrap()).collect();
        let in_f32 = |fitted| Padim::from_blocks(2, 2, Precision::F32, fitted);
        assert!(in_f32(fitted).unwrap_err().contains("in order"));
        assert!(in_f32(vec![]).is_err() && PadimSums::from_blocks(vec![]).is_err());
    }

    #[test]
    fn sums_and_gaussians_survive_their_tensors() {
        let sums = sums(2, 0..5);
        assert_eq!(PadimSums::from_tensors(&sums.tensors(), 2), Ok(sums.clone()));
        let fitted: Vec<FittedBlock> = sums.blocks().iter().map(|block| block.fit(0.01).unwrap()).collect();
        let of = |precision| Padim::from_blocks(2, 2, precision, fitted.clone()).unwrap();
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let padim = of(precision);
            assert_eq!(Padim::from_tensors(&padim.tensors()), Ok(padim));
        }
        assert_ne!(of(Precision::F32), of(Precision::Int8), "other bits");
        assert_eq!(of(Precision::F32), sums.fit(0.01).unwrap());
    }

    #[test]
    fn impossible_sums_are_refused() {
        let good = sums(1, 0..3).tensors();
        let with = |name: &str, tensor: Tensor| {
            let mut tensors = good.clone();
            tensors.insert(name.to_owned(), tensor);
            PadimSums::from_tensors(&tensors, 1)
        };
        assert!(
            with("padim_images", Tensor::i64(&[1], vec![1 << 18]))
                .unwrap_err()
                .contains("number of images")
        );
        assert!(
            with("padim_sums", Tensor::i64(&[2, 2, 3], vec![i64::MIN; 12]))
                .unwrap_err()
                .contains("larger than 3")
        );
        assert!(
            with("padim_products", Tensor::i64(&[2, 2, 3], vec![0; 12]))
                .unwrap_err()
                .contains("[2, 2, 6]")
        );
        assert!(
            with("padim_sums", Tensor::f32(&[2, 2, 3], vec![0.0; 12]))
                .unwrap_err()
                .contains("holds floats")
        );
    }

    #[test]
    fn images_that_do_not_fit_are_refused_and_change_nothing() {
        let mut sums = sums(2, 0..2);
        let before = sums.clone();
        assert!(
            sums.add(&feature_map(2, 2, 4, 1))
                .unwrap_err()
                .contains("3-dim embeddings")
        );
        assert!(
            sums.add(&feature_map(1, 4, 3, 1))
                .unwrap_err()
                .contains("2x2 positions")
        );
        assert!(
            sums.add(&FeatureMap::new(2, 2, 3, vec![f32::NAN; 12]))
                .unwrap_err()
                .contains("NaN at patch 0")
        );
        assert_eq!(sums, before);
        let padim = sums.fit(0.01).unwrap();
        assert!(
            padim
                .score(&[&feature_map(4, 1, 3, 1)])
                .unwrap_err()
                .contains("the embedding has 4x1")
        );
        assert!(PadimSums::new(2, 2, 3, 1).fit(0.01).unwrap_err().contains("at least 2"));
        assert!(PadimSums::new(2, 2, 3, 1).subtract(&feature_map(2, 2, 3, 1)).is_err());
    }
}
