//! Exact nearest neighbours in a bank of vectors.

mod basis;
mod codes;
mod rounded;

use self::codes::{CodeDistances, Codes, Limit, QueryCodes};
use crate::distance::{DIMS_MAX, gamma, relative_error, squared_distance_inline, underflow};
use crate::gemm::matmul_transposed;
use crate::network::{BLOCK, Unit, share};
use crate::squared_distance;
use crate::system_memory::keep_in_large_pages;

/// Queries and bank vectors per matrix product. The products of a tile (256 KiB) stay in the second-level cache until they
/// are read.
const QUERIES_PER_TILE: usize = 256;
const ROWS_PER_TILE: usize = 256;

/// Queries whose codes' distances to all rows are held at once: 2 MiB for a bank of 16,384, which the second-level cache nearly holds.
const QUERIES_PER_LOOK: usize = 32;

/// Queries for which it is worth waking a thread.
const QUERIES_PER_PART_MIN: usize = 32;

/// Of so many rows one may be looked at with all of its dimensions per query; where more are, codes tell little of these vectors, and products with
/// all rows cost less.
const ROWS_PER_LOOK: usize = 16;

/// Products that are looked at together before any of them is looked at alone.
const GLANCE: usize = 16;

/// Beyond this squared norm an estimate could overflow where the distance itself does not; everything is then computed.
const SQUARED_NORM_MAX: f64 = 1e37;

/// Vectors to be found, `rows × dims`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Bank {
    dims: usize,
    vectors: Vec<f32>,
    squared_norms: Vec<f32>,
    norm_max: f64,
    /// Where they are worth their while.
    codes: Option<Codes>,
}

/// A vector of a bank, seen from a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Row of the bank.
    pub index: u32,
    /// Squared Euclidean distance as defined by [`squared_distance`](crate::squared_distance); infinite where that is not
    /// a number.
    pub squared_distance: f32,
}

impl Bank {
    /// A bank of `vectors.len() / dims` vectors.
    ///
    /// Panics unless there is at least one, they are whole, and `dims` is at most 65,536.
    pub fn new(dims: usize, vectors: Vec<f32>) -> Self {
        assert!((1..=DIMS_MAX).contains(&dims), "{dims} dims");
        assert!(
            !vectors.is_empty() && vectors.len().is_multiple_of(dims),
            "{} values of {dims} dims",
            vectors.len()
        );
        assert!(
            vectors.len() / dims < u32::MAX as usize,
            "{} vectors",
            vectors.len() / dims
        );
        let squared_norms: Vec<f64> = vectors.chunks_exact(dims).map(squared_norm).collect();
        // `f64::max` passes over what is not a number, so that has to be said.
        let largest = squared_norms
            .iter()
            .fold(0.0, |max: f64, norm| if norm.is_nan() { *norm } else { max.max(*norm) });
        keep_in_large_pages(&vectors);
        Self {
            dims,
            norm_max: largest.sqrt(),
            codes: Codes::new(dims, &vectors),
            squared_norms: squared_norms.iter().map(|norm| *norm as f32).collect(),
            vectors,
        }
    }

    /// Dimensions of a vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Number of vectors, at least 1.
    pub fn rows(&self) -> usize {
        self.squared_norms.len()
    }

    /// All vectors, `rows × dims`.
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// One vector.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.vectors[index * self.dims..][..self.dims]
    }

    /// The nearest vector to each of `queries` (`n × dims`); of several at the same distance the first.
    ///
    /// The answer is that of comparing all pairs, bit for bit: bounds from short codes, or distances estimated by matrix products
    /// within a proven bound of their error, only decide for which pairs the distance is computed.
    ///
    /// Panics unless `queries` are whole.
    pub fn nearest(&self, queries: &[f32]) -> Vec<Neighbour> {
        self.k_nearest(queries, 1)
    }

    /// The `k` nearest vectors (all, where there are fewer) to each of `queries` (`n × dims`), one query after the other,
    /// nearest first; of several at the same distance the first in the bank comes first. On a thread of a
    /// [`Crew`](crate::network::Crew) idle ones help.
    ///
    /// Panics unless `queries` are whole and `k` is at least 1.
    pub fn k_nearest(&self, queries: &[f32], k: usize) -> Vec<Neighbour> {
        assert!(
            queries.len().is_multiple_of(self.dims),
            "{} values of {} dims",
            queries.len(),
            self.dims
        );
        assert!(k > 0, "no neighbours asked for");
        let k = k.min(self.rows());
        let nobody = Neighbour {
            index: u32::MAX,
            squared_distance: f32::INFINITY,
        };
        let n_queries = queries.len() / self.dims;
        let mut found = vec![nobody; n_queries * k];
        let all = found.as_mut_slice();
        share(
            move |threads| {
                let of_part = n_queries.div_ceil(threads).max(QUERIES_PER_PART_MIN);
                let queries = queries.chunks(of_part * self.dims);
                queries.zip(all.chunks_mut(of_part * k)).collect()
            },
            |(queries, found)| self.search(queries, k, found),
        );
        found
    }

    /// Finds the nearest to some queries.
    fn search(&self, queries: &[f32], k: usize, found: &mut [Neighbour]) {
        let codes = self.codes.as_ref();
        let done = codes.map_or(0, |codes| self.search_codes(Unit::best(), codes, queries, k, found));
        let (queries, found) = (&queries[done * self.dims..], &mut found[done * k..]);
        let n_queries = queries.len() / self.dims;
        let mut products = vec![0.0; QUERIES_PER_TILE.min(n_queries) * ROWS_PER_TILE.min(self.rows())];
        let tiles = queries
            .chunks(QUERIES_PER_TILE * self.dims)
            .zip(found.chunks_mut(QUERIES_PER_TILE * k));
        for (queries, found) in tiles {
            let n_queries = queries.len() / self.dims;
            let bounds: Vec<Bound> = queries
                .chunks_exact(self.dims)
                .map(|query| Bound::new(self, query))
                .collect();
            for first in (0..self.rows()).step_by(ROWS_PER_TILE) {
                let rows = ROWS_PER_TILE.min(self.rows() - first);
                let products = &mut products[..n_queries * rows];
                let vectors = &self.vectors[first * self.dims..][..rows * self.dims];
                matmul_transposed(n_queries, self.dims, rows, queries, vectors, products);
                search_tile(self, first, rows, queries, &bounds, products, k, found);
            }
        }
    }

    /// Finds the nearest to the first queries by their codes; to how many of them: all, those that were done when it turned out
    /// that codes tell little, or none where a query has no code.
    fn search_codes(&self, unit: Unit, codes: &Codes, queries: &[f32], k: usize, found: &mut [Neighbour]) -> usize {
        let Some(coded) = codes.encode(queries) else {
            return 0;
        };
        let n_queries = queries.len() / self.dims;
        let mut distances = CodeDistances::default();
        let mut looked_at = 0;
        for first in (0..n_queries).step_by(QUERIES_PER_LOOK) {
            let range = first..n_queries.min(first + QUERIES_PER_LOOK);
            codes.distances(unit, &coded, range.clone(), &mut distances);
            let of_queries = distances.all.chunks_exact(self.rows());
            let of_queries = of_queries.zip(distances.least.chunks_exact(codes.blocks()));
            for (query, (all, least)) in range.clone().zip(of_queries) {
                let mut search = Search {
                    bank: self,
                    codes,
                    coded: &coded,
                    query,
                    vector: &queries[query * self.dims..][..self.dims],
                    best: &mut found[query * k..][..k],
                    limit: Limit::NONE,
                    looked_at: 0,
                };
                search.blocks(all, least);
                looked_at += search.looked_at;
            }
            if looked_at > range.end * (self.rows() / ROWS_PER_LOOK).max(k) {
                return range.end;
            }
        }
        n_queries
    }

    /// The squared distance beyond which a vector's computed distance is certainly larger than `squared_distance`.
    fn reach(&self, squared_distance: f32) -> f64 {
        (f64::from(squared_distance) + 2.0 * underflow(self.dims)) / (1.0 - relative_error(self.dims))
    }
}

/// The search for the nearest to one query, in the order of their codes' distances: the nearer those are that are found, the less
/// is left to be compared.
struct Search<'a> {
    bank: &'a Bank,
    codes: &'a Codes,
    coded: &'a QueryCodes,
    query: usize,
    vector: &'a [f32],
    best: &'a mut [Neighbour],
    limit: Limit,
    /// Vectors of which all dimensions were looked at.
    looked_at: usize,
}

impl Search<'_> {
    /// Searches all blocks, given the distances of `all` rows, and the `least` of every block.
    fn blocks(&mut self, all: &[i32], least: &[i32]) {
        let nearest = (0..least.len()).min_by_key(|block| least[*block]).unwrap_or(0);
        self.block(all, nearest);
        let others = (0..least.len()).filter(|block| *block != nearest && self.limit.holds(least[*block]));
        let mut others: Vec<(i32, usize)> = others.map(|block| (least[block], block)).collect();
        others.sort_unstable();
        for (distance, block) in others {
            if !self.limit.holds(distance) {
                break;
            }
            self.block(all, block);
        }
    }

    fn block(&mut self, all: &[i32], block: usize) {
        let mut near = [(0, 0); BLOCK];
        let mut n_near = 0;
        for place in self.codes.places_of(block) {
            near[n_near] = (all[place], place);
            n_near += usize::from(self.limit.holds(all[place]));
        }
        near[..n_near].sort_unstable();
        for &(distance, place) in &near[..n_near] {
            if !self.limit.holds(distance) {
                break;
            }
            self.looked_at += 1;
            let distance_min = self.codes.distance_min(self.coded, self.query, place);
            if self.limit.holds_least(distance_min) {
                self.compare(self.codes.row_at(place));
            }
        }
    }

    /// Compares a vector as a whole.
    fn compare(&mut self, row: usize) {
        let candidate = Neighbour {
            index: row as u32,
            squared_distance: squared_distance(self.vector, self.bank.row(row)),
        };
        if insert(self.best, candidate) {
            let furthest = self.best[self.best.len() - 1].squared_distance;
            self.limit = self.codes.limit(self.coded, self.query, self.bank.reach(furthest));
        }
    }
}

multiversion! {
    fn squared_norm(vector: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 8];
        for values in vector.chunks(8) {
            for (lane, value) in lanes.iter_mut().zip(values) {
                *lane += f64::from(*value) * f64::from(*value);
            }
        }
        lanes.iter().sum()
    }
}

/// How far an estimated distance from one query can be from the computed one.
///
/// Estimated is `e = |b|² − 2 q·b`, so that the squared distance is `|q|² + e`. Its error is at most that of the dot product
/// (γ of `dims` roundings, whatever their order, times `|q| |b|`), of the rounded norm and of the subtraction.
struct Bound {
    squared_norm: f64,
    slack: f64,
    relative: f64,
    underflow: f64,
}

impl Bound {
    fn new(bank: &Bank, query: &[f32]) -> Self {
        let squared_norm = squared_norm(query);
        let largest = bank.norm_max;
        let cross = 2.0 * squared_norm.sqrt() * largest;
        let overflows = squared_norm > SQUARED_NORM_MAX || largest * largest > SQUARED_NORM_MAX;
        // A dot product adds `dims` products; 8 roundings more cover how blocks of it are put together. Two roundings of
        // values of at most `largest² + cross` are left, and the `f64` sums behind the norms.
        let slack = gamma(bank.dims + 8) * cross
            + gamma(3) * (largest * largest + cross)
            + 1e-10 * squared_norm
            + 2.0 * underflow(bank.dims);
        Self {
            squared_norm,
            slack: if overflows || slack.is_nan() {
                f64::INFINITY
            } else {
                slack
            },
            relative: relative_error(bank.dims),
            underflow: underflow(bank.dims),
        }
    }

    /// The estimate above which a vector is certainly further away than `squared_distance`.
    fn limit(&self, squared_distance: f32) -> f32 {
        let true_distance = (f64::from(squared_distance) + self.underflow) / (1.0 - self.relative);
        let limit = true_distance - self.squared_norm + self.slack;
        if limit.is_nan() {
            f32::INFINITY
        } else {
            (limit as f32).next_up()
        }
    }
}

multiversion! {
    /// Looks through the products of some queries with the bank's vectors from `first_row` on.
    #[expect(clippy::too_many_arguments, reason = "one tile of a product")]
    fn search_tile(
        bank: &Bank,
        first_row: usize,
        rows: usize,
        queries: &[f32],
        bounds: &[Bound],
        products: &[f32],
        k: usize,
        found: &mut [Neighbour],
    ) {
        let norms = &bank.squared_norms[first_row..][..rows];
        for (q, query) in queries.chunks_exact(bank.dims).enumerate() {
            let products = &products[q * rows..][..rows];
            let best = &mut found[q * k..][..k];
            let mut limit = bounds[q].limit(best[k - 1].squared_distance);
            for start in (0..rows).step_by(GLANCE) {
                let end = rows.min(start + GLANCE);
                if all_above(&norms[start..end], &products[start..end], limit) {
                    continue;
                }
                for row in start..end {
                    if norms[row] - 2.0 * products[row] > limit {
                        continue;
                    }
                    let index = first_row + row;
                    let candidate = Neighbour {
                        index: index as u32,
                        squared_distance: squared_distance_inline(query, bank.row(index)),
                    };
                    if insert(best, candidate) {
                        limit = bounds[q].limit(best[k - 1].squared_distance);
                    }
                }
            }
        }
    }
}

/// Whether every estimate is above the limit; one that is not a number is not.
#[inline(always)]
fn all_above(norms: &[f32], products: &[f32], limit: f32) -> bool {
    norms
        .iter()
        .zip(products)
        .fold(true, |above, (norm, product)| above & (norm - 2.0 * product > limit))
}

/// Puts `candidate` where it belongs among the best, nearest first; says whether it belongs there.
#[inline(always)]
fn insert(best: &mut [Neighbour], mut candidate: Neighbour) -> bool {
    if candidate.squared_distance.is_nan() {
        candidate.squared_distance = f32::INFINITY;
    }
    let before = |a: &Neighbour, b: &Neighbour| (a.squared_distance, a.index) < (b.squared_distance, b.index);
    let Some(last) = best.last() else { return false };
    if !before(&candidate, last) {
        return false;
    }
    let at = best.partition_point(|other| before(other, &candidate));
    best[at..].rotate_right(1);
    best[at] = candidate;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::squared_distance;
    use crate::network::Crew;
    use crate::testing::{CASES, Dice, on_every_unit, values};

    /// All pairs, sorted.
    fn brute_force(bank: &Bank, queries: &[f32], k: usize) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for query in queries.chunks_exact(bank.dims()) {
            let mut all: Vec<(f32, u32)> = (0..bank.rows())
                .map(|row| {
                    let distance = squared_distance(query, bank.row(row));
                    (if distance.is_nan() { f32::INFINITY } else { distance }, row as u32)
                })
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            found.extend(all.iter().take(k).map(|(distance, row)| (*row, distance.to_bits())));
        }
        found
    }

    #[track_caller]
    fn check(bank: &Bank, queries: &[f32], k: usize) {
        let of = |n: &Neighbour| (n.index, n.squared_distance.to_bits());
        let found: Vec<(u32, u32)> = on_every_unit(|| bank.k_nearest(queries, k).iter().map(of).collect());
        assert_eq!(
            found,
            brute_force(bank, queries, k),
            "{} dims, {} rows, k {k}",
            bank.dims(),
            bank.rows()
        );
    }

    #[test]
    fn neighbours_are_those_of_brute_force() {
        for (dims, rows, n_queries) in [(1, 1, 3), (3, 700, 300), (17, 257, 40), (64, 1000, 270), (100, 33, 5)] {
            let bank = Bank::new(dims, values(rows * dims, 1));
            for k in [1, 2, 9, 40] {
                check(&bank, &values(n_queries * dims, 2), k);
            }
        }
    }

    /// Ties are frequent: few different values, and rows that come more than once.
    #[test]
    fn any_bank_is_searched_as_by_brute_force() {
        for seed in 0..CASES {
            let mut dice = Dice(seed);
            let (dims, rows, n_queries) = (dice.size(40), dice.size(300), dice.size(30));
            let mut vectors = match dice.roll(3) {
                0 => (0..rows * dims).map(|_| dice.roll(3) as f32).collect(),
                1 => dice.whole(rows * dims),
                _ => values(rows * dims, seed),
            };
            for _ in 0..rows / 4 {
                let (from, to) = (dice.roll(rows) * dims, dice.roll(rows) * dims);
                vectors.copy_within(from..from + dims, to);
            }
            let mut queries = values(n_queries * dims, seed + 1);
            queries[..dims].copy_from_slice(&vectors[..dims]);
            let bank = Bank::new(dims, vectors);
            check(&bank, &queries, dice.size(12));
        }
    }

    /// Idle threads take queries, and change nothing.
    #[test]
    #[cfg_attr(miri, ignore = "codes are of many dimensions and rows, and hold no `unsafe`")]
    fn idle_threads_that_help_find_the_same() {
        for (dims, rows, n_queries) in [(40, 900, 700), (256, 700, 300)] {
            let bank = Bank::new(dims, patches(rows, dims, 5));
            let queries = patches(n_queries, dims, 9);
            let alone = [1, 9].map(|k| bank.k_nearest(&queries, k));
            let crew = Crew::new(3);
            let _at_work = crew.begin();
            for _ in 0..5 {
                assert_eq!([1, 9].map(|k| bank.k_nearest(&queries, k)), alone);
            }
        }
    }

    /// The same of banks that have codes.
    #[test]
    #[cfg_attr(miri, ignore = "codes are of many dimensions and rows, and hold no `unsafe`")]
    fn any_bank_with_codes_is_searched_as_by_brute_force() {
        for seed in 0..CASES / 10 {
            let mut dice = Dice(seed);
            let (dims, rows, n_queries) = (256 + dice.roll(150), 512 + dice.roll(300), dice.size(20));
            let mut vectors = patches(rows, dims, seed);
            for _ in 0..dice.roll(100) {
                let (from, to) = (dice.roll(rows) * dims, dice.roll(rows) * dims);
                vectors.copy_within(from..from + dims, to);
            }
            let scale = dice.of(&[1.0, 1e-6, 1e6]);
            vectors.iter_mut().for_each(|value| *value *= scale);
            let mut queries: Vec<f32> = patches(n_queries, dims, seed + 50).iter().map(|v| v * scale).collect();
            queries[..dims].copy_from_slice(&vectors[..dims]);
            let bank = Bank::new(dims, vectors);
            assert!(bank.codes.is_some());
            check(&bank, &queries, dice.of(&[1, 2, 9]));
        }
    }

    /// Far from the origin the estimates lose most of their digits: distances of 1e-3 beside norms of 1e3.
    #[test]
    fn neighbours_are_exact_where_estimates_are_not() {
        let far = |seed| {
            values(500 * 8, seed)
                .iter()
                .map(|v| 400.0 + v * 1e-3)
                .collect::<Vec<f32>>()
        };
        let bank = Bank::new(8, far(1));
        let queries = far(2);
        let found = bank.nearest(&queries);
        let estimated = queries.chunks_exact(8).zip(&found).filter(|(query, found)| {
            let estimate = |row: usize| {
                let product: f32 = bank.row(row).iter().zip(*query).map(|(b, q)| b * q).sum();
                bank.squared_norms[row] - 2.0 * product
            };
            let best = (0..500).min_by(|a, b| estimate(*a).total_cmp(&estimate(*b)));
            best == Some(found.index as usize)
        });
        assert!(
            estimated.count() < 250,
            "the estimates alone would do: the test shows nothing"
        );
        check(&bank, &queries, 1);
        check(&bank, &queries, 5);
    }

    /// Vectors as networks give them: a few directions in which they vary, noise in all, and not about the origin.
    fn patches(rows: usize, dims: usize, seed: u64) -> Vec<f32> {
        const DIRECTIONS: usize = 20;
        let directions = values(DIRECTIONS * dims, 77);
        let (weights, noise) = (values(rows * DIRECTIONS, seed), values(rows * dims, seed + 1));
        let mut vectors: Vec<f32> = noise.iter().map(|noise| 0.3 * noise + 2.0).collect();
        for (row, weights) in vectors.chunks_exact_mut(dims).zip(weights.chunks_exact(DIRECTIONS)) {
            for (direction, weight) in directions.chunks_exact(dims).zip(weights) {
                row.iter_mut()
                    .zip(direction)
                    .for_each(|(value, along)| *value += weight * along);
            }
        }
        vectors
    }

    #[test]
    fn codes_find_what_brute_force_finds_on_every_unit() {
        for (dims, rows, n_queries) in [(256, 512, 7), (300, 1_000, 61), (384, 577, 20)] {
            let bank = Bank::new(dims, patches(rows, dims, 5));
            let codes = bank.codes.as_ref().expect("a bank of that size has codes");
            let mut queries = patches(n_queries, dims, 9);
            // One that is in the bank, one far off, and the mean itself.
            queries[..dims].copy_from_slice(bank.row(rows - 1));
            queries[dims..2 * dims].fill(1e4);
            queries[2 * dims..3 * dims].fill(2.0);
            for k in [1, 2, 9, rows + 1] {
                check(&bank, &queries, k);
                for unit in Unit::available() {
                    let k = k.min(rows);
                    let nobody = Neighbour {
                        index: u32::MAX,
                        squared_distance: f32::INFINITY,
                    };
                    let mut found = vec![nobody; n_queries * k];
                    let done = bank.search_codes(unit, codes, &queries, k, &mut found);
                    assert!(done > 0);
                    assert_eq!(found[..done * k], bank.k_nearest(&queries, k)[..done * k], "{unit:?}");
                }
            }
        }
    }

    #[test]
    fn where_codes_tell_little_products_with_all_rows_go_on() {
        let (dims, rows, n_queries) = (256, 1_024, 50);
        let bank = Bank::new(dims, values(rows * dims, 5));
        let codes = bank.codes.as_ref().expect("a bank of that size has codes");
        let queries = values(n_queries * dims, 9);
        let mut found = bank.k_nearest(&queries, 1);
        let done = bank.search_codes(Unit::best(), codes, &queries, 1, &mut found);
        assert!(done < n_queries, "directions of noise are all the same");
        check(&bank, &queries, 1);
        check(&bank, &queries, 9);
    }

    /// Without that the codes would be right and for nothing.
    #[test]
    fn codes_leave_few_rows_to_be_compared() {
        let (dims, rows, n_queries) = (512, 2_048, 64);
        let bank = Bank::new(dims, patches(rows, dims, 5));
        let codes = bank.codes.as_ref().expect("a bank of that size has codes");
        let queries = patches(n_queries, dims, 9);
        let coded = codes.encode(&queries).expect("finite queries");
        let mut left = 0;
        for (query, nearest) in bank.nearest(&queries).iter().enumerate() {
            let limit = codes.limit(&coded, query, bank.reach(nearest.squared_distance));
            let mut distances = CodeDistances::default();
            codes.distances(Unit::best(), &coded, query..query + 1, &mut distances);
            left += distances.all.iter().filter(|distance| limit.holds(**distance)).count();
        }
        assert!(left < n_queries * rows / 10, "{left} of {} pairs", n_queries * rows);
    }

    #[test]
    fn ties_go_to_the_first_row() {
        let vectors: Vec<f32> = values(4 * 6, 1).repeat(120);
        let bank = Bank::new(6, vectors.clone());
        check(&bank, &vectors[..24 * 2], 1);
        check(&bank, &vectors[..24], 7);
        assert_eq!(
            bank.nearest(&vectors[12..18])[0],
            Neighbour {
                index: 2,
                squared_distance: 0.0
            }
        );
    }

    #[test]
    fn ties_go_to_the_first_row_by_codes_too() {
        let vectors = patches(256, 256, 5).repeat(4);
        let bank = Bank::new(256, vectors.clone());
        assert!(bank.codes.is_some());
        let queries = [&vectors[..40 * 256], &patches(24, 256, 9)].concat();
        for k in [1, 9] {
            check(&bank, &queries, k);
        }
        let same = bank.nearest(&vectors[17 * 256..18 * 256])[0];
        assert_eq!((same.index, same.squared_distance), (17, 0.0));
    }

    #[test]
    fn huge_tiny_and_broken_values_match_brute_force() {
        for scale in [1e19f32, 1.5e19, 1e-20, 1e-23, 1e-30, 3e38] {
            let scaled = |seed| values(60 * 5, seed).iter().map(|v| v * scale).collect::<Vec<f32>>();
            check(&Bank::new(5, scaled(1)), &scaled(2), 1);
            check(&Bank::new(5, scaled(1)), &scaled(2), 3);
        }
        let mut queries = values(50, 3);
        queries[7] = f32::NAN;
        queries[21] = f32::INFINITY;
        check(&Bank::new(5, values(200, 4)), &queries, 2);
        let broken = queries;
        for scale in [1e15f32, 1e19, 3e38, 1e-20, 1e-30, 0.0] {
            let scaled = |rows: usize, seed| values(rows * 256, seed).iter().map(|v| v * scale).collect::<Vec<f32>>();
            check(&Bank::new(256, scaled(520, 1)), &scaled(4, 2), 2);
        }
        let mut queries = values(3 * 256, 6);
        queries[256] = f32::NAN;
        queries[512] = f32::INFINITY;
        check(&Bank::new(256, values(520 * 256, 4)), &queries, 2);
        let mut vectors = values(200, 5);
        vectors[11] = f32::NAN;
        vectors[33] = f32::NEG_INFINITY;
        check(&Bank::new(5, vectors), &broken, 2);
    }

    #[test]
    fn no_query_has_no_neighbour() {
        assert!(Bank::new(2, vec![0.0; 4]).nearest(&[]).is_empty());
    }
}
