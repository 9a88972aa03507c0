//! Exact sums over sampled neighbourhoods: integers, so that neither the order of the images nor threads matter.

use crate::FeatureMap;

/// Steps per unit of the fixed point in which features enter the sums. Hop outputs have a mean variance of 1, and their
/// weakest kept dimensions deviate by some hundredths: still a hundred steps.
const STEPS_PER_UNIT: f32 = 4096.0;

/// Largest magnitude in the sums, in steps: 64 standard deviations of a hop's output; whatever lies beyond counts as that.
const STEPS_MAX: f32 = 262_144.0;

/// Most samples in one sum: `STEPS_MAX² · 2²⁶ = 2⁶²` still fits an `i64`.
const SAMPLES_MAX: i64 = 1 << 26;

/// Edge of the grid of cells of which each gives one neighbourhood: 256 samples of an image are a million of 4,000 images,
/// and 15,000 of 60, thirty times what the widest hop has dimensions.
const SAMPLE_CELLS: usize = 16;

/// What one pass over the training images sums: of one image as [`BuiltinFit::hop_moments`] returns it, or of many merged.
///
/// [`BuiltinFit::hop_moments`]: super::BuiltinFit::hop_moments
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopMoments {
    /// The pass it belongs to, from 0.
    pub(super) pass: usize,
    /// Neighbourhoods that the next hop will see, where another hop is to be fitted.
    pub(super) neighbourhoods: Option<Gram>,
    /// The previous hop's tap, where it has one.
    pub(super) tap: Option<Spread>,
}

impl HopMoments {
    /// Adds the sums of other images of the same pass. Panics if it is another pass (a bug of ours).
    ///
    /// # Errors
    /// More samples than the sums can hold: about 260,000 images for neighbourhoods, 65,000 of 256 × 256 for taps.
    pub fn merge(&mut self, other: &HopMoments) -> Result<(), String> {
        assert_eq!(self.pass, other.pass, "moments of different passes");
        match (&mut self.neighbourhoods, &other.neighbourhoods) {
            (Some(sum), Some(more)) => sum.merge(more)?,
            (None, None) => {}
            _ => panic!("moments of the same pass hold the same sums"),
        }
        match (&mut self.tap, &other.tap) {
            (Some(sum), Some(more)) => sum.merge(more),
            (None, None) => Ok(()),
            _ => panic!("moments of the same pass hold the same sums"),
        }
    }
}

/// Sums of vectors and of their outer products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gram {
    dims: usize,
    count: i64,
    sums: Vec<i64>,
    /// Upper triangle, row by row.
    products: Vec<i64>,
}

impl Gram {
    /// Sums over one neighbourhood per cell of `map`, reflected at the edges, each `(kernel, kernel, dims)`.
    pub(super) fn of_neighbourhoods(map: &FeatureMap, kernel: usize, seed: u64) -> Self {
        let dims = kernel * kernel * map.dims;
        let positions = sample_positions(map.height, map.width, seed);
        let count = positions.len();
        // One row per dimension, so that every sum of products runs over contiguous memory.
        let mut steps = vec![0_i32; dims * count];
        for (at, &position) in positions.iter().enumerate() {
            for (dim, value) in neighbourhood(map, kernel, position).enumerate() {
                steps[dim * count + at] = to_steps(value);
            }
        }
        let row = |dim: usize| &steps[dim * count..][..count];
        Self {
            dims,
            count: count as i64,
            sums: (0..dims).map(|i| row(i).iter().map(|&a| i64::from(a)).sum()).collect(),
            products: (0..dims)
                .flat_map(|i| (i..dims).map(move |j| dot(row(i), row(j))))
                .collect(),
        }
    }

    fn merge(&mut self, other: &Gram) -> Result<(), String> {
        assert_eq!(self.dims, other.dims, "moments of different hops");
        self.count = added_count(self.count, other.count)?;
        add(&mut self.sums, &other.sums);
        add(&mut self.products, &other.products);
        Ok(())
    }

    /// Mean, and covariance as a full `(dims, dims)` matrix.
    pub(super) fn mean_and_covariance(&self) -> (Vec<f64>, Vec<f64>) {
        let (count, steps) = (self.count as f64, f64::from(STEPS_PER_UNIT));
        let mean: Vec<f64> = self.sums.iter().map(|&sum| sum as f64 / count / steps).collect();
        let mut covariance = vec![0.0; self.dims * self.dims];
        let mut products = self.products.iter();
        for i in 0..self.dims {
            for j in i..self.dims {
                let product = *products.next().expect("the triangle has as many cells") as f64;
                let value = product / count / (steps * steps) - mean[i] * mean[j];
                covariance[i * self.dims + j] = value;
                covariance[j * self.dims + i] = value;
            }
        }
        (mean, covariance)
    }
}

/// Sums of values and of their squares, over all dimensions together less the square of each dimension's mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    count: i64,
    sums: Vec<i64>,
    squares: Vec<i64>,
}

impl Spread {
    /// Sums over every position of `map`.
    pub(super) fn of(map: &FeatureMap) -> Self {
        let (mut sums, mut squares) = (vec![0_i64; map.dims], vec![0_i64; map.dims]);
        for vector in map.data.chunks_exact(map.dims) {
            for (dim, &value) in vector.iter().enumerate() {
                let steps = i64::from(to_steps(value));
                sums[dim] += steps;
                squares[dim] += steps * steps;
            }
        }
        Self {
            count: map.positions() as i64,
            sums,
            squares,
        }
    }

    fn merge(&mut self, other: &Spread) -> Result<(), String> {
        self.count = added_count(self.count, other.count)?;
        add(&mut self.sums, &other.sums);
        add(&mut self.squares, &other.squares);
        Ok(())
    }

    /// Variance of a dimension, averaged over the dimensions.
    pub(super) fn mean_variance(&self) -> f64 {
        let (count, steps) = (self.count as f64, f64::from(STEPS_PER_UNIT));
        let variances = self.sums.iter().zip(&self.squares).map(|(&sum, &square)| {
            let mean = sum as f64 / count;
            (square as f64 / count - mean * mean) / (steps * steps)
        });
        variances.sum::<f64>() / self.sums.len() as f64
    }
}

fn to_steps(value: f32) -> i32 {
    // Not-a-number cannot come of finite weights and pixels; the cast would make it 0.
    (value * STEPS_PER_UNIT).round().clamp(-STEPS_MAX, STEPS_MAX) as i32
}

fn dot(a: &[i32], b: &[i32]) -> i64 {
    a.iter().zip(b).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum()
}

fn add(sums: &mut [i64], more: &[i64]) {
    assert_eq!(sums.len(), more.len(), "moments of different hops");
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

fn added_count(count: i64, more: i64) -> Result<i64, String> {
    let total = count + more;
    if total <= SAMPLES_MAX {
        return Ok(total);
    }
    Err(format!(
        "cannot fit the built-in backbone on so many images: {total} samples, its exact sums hold {SAMPLES_MAX}; fit it on fewer"
    ))
}

/// One position per cell of a grid over the map, somewhere in the cell: at the same place of every cell, the samples of a
/// woven texture could all meet the same thread.
fn sample_positions(height: usize, width: usize, seed: u64) -> Vec<(usize, usize)> {
    let (rows, columns) = (height.min(SAMPLE_CELLS), width.min(SAMPLE_CELLS));
    let inside = |cell: usize, cells: usize, extent: usize, hash: u64| {
        let (first, end) = (cell * extent / cells, (cell + 1) * extent / cells);
        first + (hash % (end - first) as u64) as usize
    };
    let mut positions = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let hash = splitmix(seed * 65_536 + (row * SAMPLE_CELLS + column) as u64);
            let (y, x) = (
                inside(row, rows, height, hash >> 32),
                inside(column, columns, width, hash & 0xffff_ffff),
            );
            positions.push((y, x));
        }
    }
    positions
}

/// The mixing function of SplitMix64 (Steele et al. 2014).
fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The vector of the `(kernel, kernel)` positions around `(y, x)`, mirrored at the edges as the convolution mirrors them.
fn neighbourhood(map: &FeatureMap, kernel: usize, (y, x): (usize, usize)) -> impl Iterator<Item = f32> {
    (0..kernel * kernel).flat_map(move |cell| {
        let row = reflect((y + cell / kernel) as isize - (kernel / 2) as isize, map.height);
        let column = reflect((x + cell % kernel) as isize - (kernel / 2) as isize, map.width);
        map.data[(row * map.width + column) * map.dims..][..map.dims]
            .iter()
            .copied()
    })
}

/// `index` mirrored at the first and last of `count` positions, which are not repeated.
fn reflect(index: isize, count: usize) -> usize {
    let last = count as isize - 1;
    if last == 0 {
        return 0;
    }
    let folded = index.rem_euclid(2 * last);
    folded.min(2 * last - folded) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_sums_refuse_more_samples() {
        let full = Spread {
            count: SAMPLES_MAX,
            sums: vec![0; 2],
            squares: vec![0; 2],
        };
        let one = Spread::of(&FeatureMap::new(1, 1, 2, vec![1.0, 2.0]));
        let error = full.clone().merge(&one).unwrap_err();
        assert!(
            error.contains("67108865 samples, its exact sums hold 67108864"),
            "{error}"
        );
        assert!(
            Spread {
                count: SAMPLES_MAX - 1,
                ..full
            }
            .merge(&one)
            .is_ok()
        );
    }

    #[test]
    fn outliers_cannot_overflow_the_sums() {
        let worst = Spread::of(&FeatureMap::new(1, 2, 1, vec![f32::MAX, f32::NEG_INFINITY]));
        let square = (STEPS_MAX as i64).pow(2);
        assert_eq!((worst.sums, worst.squares), (vec![0], vec![2 * square]));
        assert!(square.checked_mul(SAMPLES_MAX).is_some());
    }

    #[test]
    fn every_cell_gives_one_position_inside_it() {
        for (height, width) in [(1, 1), (16, 16), (17, 100), (256, 3)] {
            let positions = sample_positions(height, width, 2);
            assert_eq!(positions.len(), height.min(16) * width.min(16));
            assert!(positions.iter().all(|&(y, x)| y < height && x < width));
        }
        let columns: Vec<usize> = sample_positions(256, 256, 0).iter().map(|&(_, x)| x % 16).collect();
        let phases = (0..16).filter(|phase| columns.contains(phase)).count();
        assert_eq!(phases, 16, "a weave of 16 pixels is met at every phase");
    }
}
