//! Short codes of vectors: bytes in few dimensions, whose distances are never larger than the vectors' own.
//!
//! A vector `x` is seen from the mean `μ` of the bank in an orthonormal basis `B` of the subspace in which the bank varies most:
//! `(B(x − μ), ‖x − μ − BᵀB(x − μ)‖)`, the last coordinate being the length of what the basis leaves out. That map shortens
//! distances and never lengthens them, so what is far in the short vectors is far. A Hadamard transform, which keeps distances,
//! spreads what the first directions hold over all coordinates; then they are rounded to bytes on one scale: the
//! squared distance of two codes is an integer that every CPU computes exactly, and what rounding moved is known. What is near by
//! its code is compared by all of its dimensions, [rounded](super::rounded), and only then as it is.

use std::ops::Range;

use super::basis::principal_basis;
use super::rounded::Rounded;
use super::squared_norm;
use crate::distance::{gamma, underflow};
use crate::gemm::matmul_transposed;
use crate::network::{BLOCK, BYTE_DIMS, BYTE_GROUP, ByteProducts, Unit};
use crate::system_memory::keep_in_large_pages;

/// Coordinates of a code, the length of the rest included; a power of two.
const CODE_DIMS: usize = 128;
const _: () = assert!(CODE_DIMS.is_power_of_two() && CODE_DIMS.is_multiple_of(BYTE_DIMS));

/// Products that are added up in `f32`; sums of them are in `f64`.
const PRODUCTS_TOGETHER: usize = 128;

/// Groups of values that are multiplied at once.
const GROUPS: usize = CODE_DIMS / BYTE_GROUP;

/// Largest byte of a code; the smallest is its negative.
const BYTE_MAX: f64 = 127.0;

/// Queries are unsigned: this is added to their bytes.
const OFFSET: i32 = 128;

/// Vectors that are encoded together.
const ENCODED_TOGETHER: usize = 256;

/// Least rows and dimensions with which codes are worth their while.
const ROWS_MIN: usize = 512;
const DIMS_MIN: usize = 256;

/// Beyond this length nothing is encoded: squares of sums would overflow.
const LENGTH_MAX: f64 = 1e15;

/// A short vector, and how far it may be from the true one.
struct Short {
    coordinates: [f32; CODE_DIMS],
    error: f64,
}

/// How vectors are encoded.
#[derive(Clone, Debug, PartialEq)]
struct Encoder {
    mean: Vec<f32>,
    /// `CODE_DIMS − 1` directions, cut into parts of [`PRODUCTS_TOGETHER`] dimensions: `(directions, dims of the part)` each.
    basis: Vec<Vec<f32>>,
    /// How far the basis is from orthonormal: bound of the norm of `B Bᵀ − I`.
    skew: f64,
    /// Subtracted from the last coordinate.
    rest_mean: f32,
    /// A byte's worth.
    scale: f64,
}

/// The codes of a bank.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Codes {
    encoder: Encoder,
    /// `(blocks, GROUPS, BLOCK, BYTE_GROUP)`; rows that fill up the last block are zeros.
    packed: Vec<i8>,
    /// By row what does not depend on the query: the squared length of its code, and what the query's offset adds.
    constants: Vec<i32>,
    /// How far a code may be from the true short vector, at most.
    error_max: f64,
    /// All dimensions of the vectors.
    rounded: Rounded<i8>,
    /// By place the row of the bank.
    rows: Vec<u32>,
}

/// How far some queries are from all rows, by their codes.
#[derive(Default)]
pub(super) struct CodeDistances {
    /// `(queries, rows)`.
    pub(super) all: Vec<i32>,
    /// `(queries, blocks)`: the least of each block.
    pub(super) least: Vec<i32>,
}

/// How near a vector must be to count: by its code, and by what its distance is at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    code: i32,
    distance: f64,
}

impl Limit {
    /// Everything counts.
    pub(super) const NONE: Self = Self {
        code: i32::MAX,
        distance: f64::INFINITY,
    };

    /// Whether a vector may count whose code is at this [distance](Codes::distances).
    pub(super) fn holds(&self, distance: i32) -> bool {
        distance <= self.code
    }

    /// Whether a vector may count whose distance is at least this.
    pub(super) fn holds_least(&self, distance_min: f64) -> bool {
        distance_min <= self.distance
    }
}

/// The codes of some queries.
pub(super) struct QueryCodes {
    /// `(queries, CODE_DIMS)`.
    bytes: Vec<u8>,
    /// By query: squared length of its code.
    squared_lengths: Vec<i32>,
    /// By query: how far its code may be from the true short vector.
    errors: Vec<f64>,
    rounded: Rounded<i16>,
}

impl Codes {
    /// The codes of `vectors` (`rows × dims`); none where they are not worth their while, or values are too large for them.
    pub(super) fn new(dims: usize, vectors: &[f32]) -> Option<Self> {
        let rows = vectors.len() / dims;
        if rows < ROWS_MIN || dims < DIMS_MIN {
            return None;
        }
        let mean = mean(dims, vectors);
        if !mean.iter().all(|value| f64::from(*value).abs() < LENGTH_MAX) {
            return None;
        }
        let (basis, skew) = principal_basis(CODE_DIMS - 1, dims, &mean, vectors)?;
        let mut encoder = Encoder {
            basis: parts(dims).map(|part| cut(&basis, dims, part)).collect(),
            mean,
            skew,
            rest_mean: 0.0,
            scale: 1.0,
        };
        let mut all = Vec::with_capacity(rows);
        encoder.shorten(vectors, |short| all.push(short));
        let order = neighbours_together(&all);
        let vector = |row: u32| &vectors[row as usize * dims..][..dims];
        let rests = all.iter().map(|short| f64::from(short.coordinates[CODE_DIMS - 1]));
        encoder.rest_mean = (rests.sum::<f64>() / rows as f64) as f32;
        let mut largest = 0.0f64;
        for short in &mut all {
            encoder.spread(short);
            let coordinates = short.coordinates.iter().map(|value| f64::from(value.abs()));
            let length = coordinates.fold(0.0f64, |max, value| if value.is_nan() { value } else { max.max(value) });
            if !(length < LENGTH_MAX && short.error < LENGTH_MAX) {
                return None;
            }
            largest = largest.max(length);
        }
        if largest == 0.0 {
            return None;
        }
        encoder.scale = largest / BYTE_MAX;
        let mut codes = Self {
            packed: vec![0; rows.div_ceil(BLOCK) * BLOCK * CODE_DIMS],
            constants: Vec::with_capacity(rows),
            error_max: 0.0,
            rounded: Rounded::bank(&encoder.mean, order.iter().map(|row| vector(*row))),
            rows: order,
            encoder,
        };
        for place in 0..rows {
            codes.pack(place, &all[codes.rows[place] as usize]);
        }
        keep_in_large_pages(&codes.packed);
        Some(codes)
    }

    fn pack(&mut self, place: usize, short: &Short) {
        let (bytes, error) = self.encoder.round(short);
        let (block, lane) = (place / BLOCK, place % BLOCK);
        let mut constant = 0;
        for (at, byte) in bytes.into_iter().enumerate() {
            let (group, within) = (at / BYTE_GROUP, at % BYTE_GROUP);
            self.packed[((block * GROUPS + group) * BLOCK + lane) * BYTE_GROUP + within] = byte as i8;
            constant += byte * byte + 2 * OFFSET * byte;
        }
        self.constants.push(constant);
        self.error_max = self.error_max.max(error);
    }

    /// Blocks of rows.
    pub(super) fn blocks(&self) -> usize {
        self.rows.len().div_ceil(BLOCK)
    }

    /// The places of a block.
    pub(super) fn places_of(&self, block: usize) -> Range<usize> {
        block * BLOCK..self.rows.len().min((block + 1) * BLOCK)
    }

    /// The row of the bank that is at a place.
    pub(super) fn row_at(&self, place: usize) -> usize {
        self.rows[place] as usize
    }

    /// The codes of `queries`; none where a value is too large or no number.
    pub(super) fn encode(&self, queries: &[f32]) -> Option<QueryCodes> {
        let n_queries = queries.len() / self.encoder.mean.len();
        let mut codes = QueryCodes {
            bytes: Vec::with_capacity(n_queries * CODE_DIMS),
            squared_lengths: Vec::with_capacity(n_queries),
            errors: Vec::with_capacity(n_queries),
            rounded: Rounded::queries(&self.encoder.mean, queries),
        };
        self.encoder.shorten(queries, |mut short| {
            self.encoder.spread(&mut short);
            let (bytes, error) = self.encoder.round(&short);
            codes.squared_lengths.push(bytes.iter().map(|byte| byte * byte).sum());
            codes.bytes.extend(bytes.map(|byte| (byte + OFFSET) as u8));
            codes.errors.push(error);
        });
        codes.errors.iter().all(|error| *error < LENGTH_MAX).then_some(codes)
    }

    /// For some queries and all rows: the squared distances of their codes, less the query's own squared length.
    pub(super) fn distances(&self, unit: Unit, queries: &QueryCodes, range: Range<usize>, found: &mut CodeDistances) {
        let (rows, blocks, n_queries) = (self.rows.len(), self.blocks(), range.len());
        found.all.resize(n_queries * rows, 0);
        found.least.resize(n_queries * blocks, 0);
        let vectors = &queries.bytes[range.start * CODE_DIMS..range.end * CODE_DIMS];
        let mut products = ByteProducts::new(unit);
        for block in 0..blocks {
            let packed = &self.packed[block * BLOCK * CODE_DIMS..][..BLOCK * CODE_DIMS];
            let of_block = self.places_of(block);
            let constants = &self.constants[of_block.clone()];
            products.each(CODE_DIMS, vectors, packed, |query, products| {
                let distances = &mut found.all[query * rows..][..rows][of_block.clone()];
                found.least[query * blocks + block] = into_distances(products, constants, distances);
            });
        }
    }

    /// What the distance of the row at a place to the query is at least, by all of their dimensions.
    pub(super) fn distance_min(&self, queries: &QueryCodes, query: usize, place: usize) -> f64 {
        self.rounded.distance_min(place, &queries.rounded, query)
    }

    /// What holds for every vector within `squared_distance` of the query.
    pub(super) fn limit(&self, queries: &QueryCodes, query: usize, squared_distance: f64) -> Limit {
        let skew = self.encoder.skew;
        // dᵀ(BᵀB + (I − BᵀB)²)d for a difference d, whose eigenvalues are 1 and, in the subspace, at most this.
        let stretch = 1.0 + skew + skew * skew;
        let reach = (squared_distance * stretch).sqrt() * (1.0 + 1e-9);
        let bytes = (reach + queries.errors[query] + self.error_max) / self.encoder.scale;
        // Rounded up, so that nothing is lost; a float beyond the range of integers becomes the largest.
        let code = (bytes * bytes * (1.0 + 1e-9) + 1.0).min(f64::from(i32::MAX)) as i32;
        Limit {
            code: code.saturating_sub(queries.squared_lengths[query]),
            distance: reach,
        }
    }
}

impl Encoder {
    /// The short vectors of `vectors`, in their order.
    fn shorten(&self, vectors: &[f32], mut found: impl FnMut(Short)) {
        let dims = self.mean.len();
        let short_dims = CODE_DIMS - 1;
        let (mut centred, mut of_part) = (Vec::new(), Vec::new());
        let (mut products, mut sums, mut squares) = (Vec::new(), Vec::new(), Vec::new());
        for vectors in vectors.chunks(ENCODED_TOGETHER * dims) {
            let rows = vectors.len() / dims;
            products.resize(rows * short_dims, 0.0f32);
            sums.clear();
            sums.resize(rows * short_dims, 0.0f64);
            squares.clear();
            squares.resize(rows, 0.0f64);
            for (part, basis) in parts(dims).zip(&self.basis) {
                centred.clear();
                for row in vectors.chunks_exact(dims) {
                    let values = row[part.clone()].iter().zip(&self.mean[part.clone()]);
                    centred.extend(values.map(|(value, mean)| value - mean));
                }
                of_part.resize(rows * short_dims, 0.0f32);
                matmul_transposed(rows, part.len(), short_dims, &centred, basis, &mut of_part);
                for (sum, product) in sums.iter_mut().zip(&of_part) {
                    *sum += f64::from(*product);
                }
                for (sum, centred) in squares.iter_mut().zip(centred.chunks_exact(part.len())) {
                    *sum += squared_norm(centred);
                }
            }
            for (product, sum) in products.iter_mut().zip(&sums) {
                *product = *sum as f32;
            }
            for (squared_length, products) in squares.iter().zip(products.chunks_exact(short_dims)) {
                found(self.short(*squared_length, products));
            }
        }
    }

    fn short(&self, squared_length: f64, products: &[f32]) -> Short {
        let within = squared_norm(products);
        let length = squared_length.sqrt();
        // Sums of `PRODUCTS_TOGETHER` roundings, 8 more for how blocks are put together, 2 for centring and 1 for rounding the sum
        // of all; per coordinate, so that the vector of them errs by the root of their number as much.
        let dims = self.mean.len();
        let coordinate_error = gamma(PRODUCTS_TOGETHER + 11) * (1.0 + self.skew) * length + underflow(dims);
        let error = coordinate_error * (products.len() as f64).sqrt();
        let rest = (squared_length - within).max(0.0).sqrt();
        // What is taken for the squared length of the rest is off by what the basis lacks of being orthonormal, by the error of the
        // coordinates and by that of centring.
        let squared_error = self.skew * within + error * (2.0 * within.sqrt() + error) + gamma(8) * squared_length;
        let rest_error = match rest > 0.0 {
            true => (squared_error / rest).min(squared_error.sqrt()),
            false => squared_error.sqrt(),
        };
        let mut coordinates = [0.0; CODE_DIMS];
        coordinates[..products.len()].copy_from_slice(products);
        coordinates[products.len()] = rest as f32;
        Short {
            coordinates,
            error: error + rest_error + gamma(2) * (length + f64::from(self.rest_mean.abs())),
        }
    }

    /// Sees the last coordinate from the mean, as the others are, and spreads all.
    fn spread(&self, short: &mut Short) {
        short.coordinates[CODE_DIMS - 1] -= self.rest_mean;
        let length = squared_norm(&short.coordinates).sqrt();
        hadamard(&mut short.coordinates);
        // A rounding for each of its rounds, and three for the factor at the end.
        short.error += gamma(CODE_DIMS.ilog2() as usize + 3) * length + underflow(CODE_DIMS);
    }

    /// The bytes of a short vector, and how far they may be from the true one.
    fn round(&self, short: &Short) -> ([i32; CODE_DIMS], f64) {
        let mut moved = 0.0;
        let bytes = short.coordinates.map(|coordinate| {
            let coordinate = f64::from(coordinate);
            let byte = (coordinate / self.scale).round().clamp(-BYTE_MAX, BYTE_MAX);
            let by = coordinate - byte * self.scale;
            moved += by * by;
            byte as i32
        });
        (bytes, short.error + moved.sqrt() * (1.0 + 1e-9))
    }
}

multiversion! {
    /// The distances of a query to some rows from its products with them; the least of them.
    fn into_distances(products: &[i32; BLOCK], constants: &[i32], distances: &mut [i32]) -> i32 {
        let mut least = i32::MAX;
        for ((distance, product), constant) in distances.iter_mut().zip(products).zip(constants) {
            *distance = constant - 2 * product;
            least = least.min(*distance);
        }
        least
    }
}

/// The dimensions whose products are added up in `f32`.
fn parts(dims: usize) -> impl Iterator<Item = Range<usize>> {
    let firsts = (0..dims).step_by(PRODUCTS_TOGETHER);
    firsts.map(move |first| first..dims.min(first + PRODUCTS_TOGETHER))
}

/// Some dimensions of rows.
fn cut(rows: &[f32], dims: usize, part: Range<usize>) -> Vec<f32> {
    let rows = rows.chunks_exact(dims);
    rows.flat_map(|row| &row[part.clone()]).copied().collect()
}

multiversion! {
    /// The orthonormal Hadamard transform (Sylvester's), in place.
    fn hadamard(values: &mut [f32; CODE_DIMS]) {
        let mut apart = 1;
        while apart < CODE_DIMS {
            for pair in values.chunks_exact_mut(2 * apart) {
                let (low, high) = pair.split_at_mut(apart);
                for (low, high) in low.iter_mut().zip(high) {
                    (*low, *high) = (*low + *high, *low - *high);
                }
            }
            apart *= 2;
        }
        let factor = 1.0 / (CODE_DIMS as f32).sqrt();
        values.iter_mut().for_each(|value| *value *= factor);
    }
}

/// An order of the rows in which those of a block lie near each other, so that few blocks hold what is near to a query: halves, by the
/// coordinate that varies most, of halves.
fn neighbours_together(shorts: &[Short]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..shorts.len() as u32).collect();
    let mut parts: Vec<&mut [u32]> = vec![&mut order];
    while let Some(part) = parts.pop() {
        if part.len() <= BLOCK {
            continue;
        }
        let coordinate = widest(part.iter().map(|row| &shorts[*row as usize].coordinates));
        let middle = part.len().div_ceil(2 * BLOCK) * BLOCK;
        let of_row = |row: &u32| shorts[*row as usize].coordinates[coordinate];
        part.select_nth_unstable_by(middle, |a, b| of_row(a).total_cmp(&of_row(b)).then(a.cmp(b)));
        let (low, high) = part.split_at_mut(middle);
        // In the order of the bank, which depends on nothing but which rows they are.
        low.sort_unstable();
        high.sort_unstable();
        parts.extend([low, high]);
    }
    order
}

/// The coordinate that varies most.
fn widest<'a>(all: impl ExactSizeIterator<Item = &'a [f32; CODE_DIMS]>) -> usize {
    let count = all.len() as f64;
    let (mut sums, mut squares) = ([0.0f64; CODE_DIMS], [0.0f64; CODE_DIMS]);
    for coordinates in all {
        for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(coordinates) {
            let value = f64::from(*value);
            *sum += value;
            *square += value * value;
        }
    }
    let variance = |at: &usize| squares[*at] - sums[*at] * sums[*at] / count;
    let order = |a: &usize, b: &usize| variance(a).total_cmp(&variance(b)).then(b.cmp(a));
    (0..CODE_DIMS).max_by(order).unwrap_or(0)
}

/// The mean vector.
fn mean(dims: usize, vectors: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0f64; dims];
    for row in vectors.chunks_exact(dims) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let rows = (vectors.len() / dims) as f64;
    sums.into_iter().map(|sum| (sum / rows) as f32).collect()
}
