//! The greedy k-center coreset of PatchCore (Roth et al. 2022, section 3.2, algorithm 1): in every step the patch that is
//! furthest from all picks so far is picked. Rows are split over shards; whatever the split, the picks are the same.

use intakt_kernels::{approach, largest, matmul_transposed, spared_distance, squared_distance};
use serde::{Deserialize, Serialize};

use super::checks::{DIMS_MAX, check_fit_input};
use super::random::SplitMix64;
use crate::FeatureMap;

/// A seeded random projection, which keeps distances nearly (Johnson and Lindenstrauss 1984; entries ±1 as in Achlioptas
/// 2003, "Database-friendly random projections").
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    dims: usize,
    projected_dims: usize,
    /// `projected_dims × dims`, entries ±1/√projected_dims; none where there is nothing to shorten.
    matrix: Option<Vec<f32>>,
}

impl Projection {
    /// A projection from `dims` to `projected_dims`, or the identity where that is not fewer. The same arguments give the
    /// same projection in every version: signs are the lowest bits of SplitMix64 started at `seed`, row by row.
    ///
    /// # Errors
    /// If one of the dimensions is 0 or above 65,536.
    pub fn new(dims: usize, projected_dims: usize, seed: u64) -> Result<Self, String> {
        if !(1..=DIMS_MAX).contains(&dims) || !(1..=DIMS_MAX).contains(&projected_dims) {
            return Err(format!(
                "cannot project from {dims} to {projected_dims} dims\n  hint: project to 128"
            ));
        }
        if dims <= projected_dims {
            return Ok(Self {
                dims,
                projected_dims: dims,
                matrix: None,
            });
        }
        let mut random = SplitMix64::new(seed);
        let entry = 1.0 / (projected_dims as f32).sqrt();
        let sign = |_| if random.next_u64() & 1 == 0 { entry } else { -entry };
        let matrix = Some((0..dims * projected_dims).map(sign).collect());
        Ok(Self {
            dims,
            projected_dims,
            matrix,
        })
    }

    /// Dimensions of a projected patch.
    pub fn projected_dims(&self) -> usize {
        self.projected_dims
    }

    /// Projects every patch: `positions × projected_dims`.
    ///
    /// # Errors
    /// If the embedding has other dimensions or holds a value that is not finite.
    pub fn project(&self, embedding: &FeatureMap) -> Result<Vec<f32>, String> {
        check_fit_input(embedding, self.dims)?;
        let Some(matrix) = &self.matrix else {
            return Ok(embedding.data.clone());
        };
        let mut projected = vec![0.0; embedding.positions() * self.projected_dims];
        matmul_transposed(
            embedding.positions(),
            self.dims,
            self.projected_dims,
            &embedding.data,
            matrix,
            &mut projected,
        );
        Ok(projected)
    }
}

/// The row that is picked first, of `n_rows`. Panics if there is none.
pub fn first_pick(n_rows: u64, seed: u64) -> u64 {
    // Another stream than that of the projection, which starts at the seed itself.
    SplitMix64::new(!seed).below(n_rows)
}

/// The row of a shard that is furthest from all picks so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Farthest {
    /// Squared distance to its nearest pick.
    pub squared_distance: f32,
    /// Its number over all shards.
    pub row_id: u64,
    /// The row, projected: the next centre, if no other shard has one that is further.
    pub vector: Vec<f32>,
}

impl Farthest {
    /// Whether this row is picked rather than the other: it is further, or as far with a lower number.
    pub fn beats(&self, other: &Self) -> bool {
        self.squared_distance > other.squared_distance
            || (self.squared_distance == other.squared_distance && self.row_id < other.row_id)
    }
}

/// Some of the rows, with their distances to the picks.
#[derive(Clone, Debug)]
pub struct CoresetShard {
    projected_dims: usize,
    row_ids: Vec<u64>,
    rows: Vec<f32>,
    /// Squared distance of every row to its nearest pick: infinite before the first, negative for the picks themselves.
    squared_distances: Vec<f32>,
    /// The nearest pick of every row.
    centre_of: Vec<u32>,
    /// All picks, of this shard or not.
    centres: Vec<f32>,
}

impl CoresetShard {
    /// A shard without rows. Panics unless there are 1 … 65,536 dims.
    pub fn new(projected_dims: usize) -> Self {
        assert!((1..=DIMS_MAX).contains(&projected_dims), "{projected_dims} dims");
        Self {
            projected_dims,
            row_ids: Vec::new(),
            rows: Vec::new(),
            squared_distances: Vec::new(),
            centre_of: Vec::new(),
            centres: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.row_ids.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.row_ids.is_empty()
    }

    /// Adds a row, in any order; `row_id` must differ from that of every other row of every shard.
    ///
    /// Panics unless `projected` has as many values as the shard has dims, and no step was made yet.
    pub fn push(&mut self, row_id: u64, projected: &[f32]) {
        assert_eq!(projected.len(), self.projected_dims, "dims of row {row_id}");
        assert!(self.centres.is_empty(), "row {row_id} comes after the first pick");
        self.row_ids.push(row_id);
        self.rows.extend_from_slice(projected);
        self.squared_distances.push(f32::INFINITY);
        self.centre_of.push(0);
    }

    /// The row with this number, if it is in this shard: for the first pick, which no step has found.
    pub fn row(&self, row_id: u64) -> Option<&[f32]> {
        let at = self.row_ids.iter().position(|id| *id == row_id)?;
        Some(&self.rows[at * self.projected_dims..][..self.projected_dims])
    }

    /// Takes the pick of this step, which may be a row of any shard, and says which row of this one is now furthest from
    /// all picks; none if all its rows are picked.
    ///
    /// Panics unless `centre` has as many values as the shard has dims.
    pub fn step(&mut self, picked_row_id: u64, centre: &[f32]) -> Option<Farthest> {
        assert_eq!(centre.len(), self.projected_dims, "dims of a centre");
        let centres = self.centres.chunks_exact(self.projected_dims);
        let spared: Vec<f32> = centres
            .map(|other| spared_distance(squared_distance(other, centre)))
            .collect();
        if let Some(at) = self.row_ids.iter().position(|id| *id == picked_row_id) {
            self.squared_distances[at] = -1.0;
        }
        approach(
            centre,
            &self.rows,
            &spared,
            &mut self.centre_of,
            &mut self.squared_distances,
        );
        self.centres.extend_from_slice(centre);
        self.farthest()
    }

    fn farthest(&self) -> Option<Farthest> {
        let furthest = largest(&self.squared_distances);
        if furthest < 0.0 {
            return None;
        }
        let as_far = (0..self.len()).filter(|row| self.squared_distances[*row] == furthest);
        let row = as_far.min_by_key(|row| self.row_ids[*row])?;
        Some(Farthest {
            squared_distance: furthest,
            row_id: self.row_ids[row],
            vector: self.rows[row * self.projected_dims..][..self.projected_dims].to_vec(),
        })
    }
}

/// The picks among `rows` (`n × dims`), in order, `k` of them or all: the first is `first`, and every other is the furthest
/// from those before it. What shards that exchange their furthest rows pick, on one.
///
/// Panics unless the rows are whole, there are 1 … 65,536 dims, and `first` is one of the rows.
pub fn greedy_coreset(rows: &[f32], dims: usize, k: usize, first: u64) -> Vec<u64> {
    assert!(
        dims > 0 && rows.len().is_multiple_of(dims),
        "{} values of {dims} dims",
        rows.len()
    );
    assert!(
        first < (rows.len() / dims) as u64,
        "row {first} of {}",
        rows.len() / dims
    );
    let mut shard = CoresetShard::new(dims);
    for (row_id, row) in rows.chunks_exact(dims).enumerate() {
        shard.push(row_id as u64, row);
    }
    let mut picks = Vec::new();
    let mut next = Some((first, rows[first as usize * dims..][..dims].to_vec()));
    while let Some((row_id, vector)) = next.take_if(|_| picks.len() < k) {
        picks.push(row_id);
        next = shard
            .step(row_id, &vector)
            .map(|farthest| (farthest.row_id, farthest.vector));
    }
    picks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::scorer_testing::{feature_map, values};

    /// Algorithm 1, all distances anew in every step.
    fn naive(rows: &[f32], dims: usize, k: usize, first: u64) -> Vec<u64> {
        let row = |id: u64| &rows[id as usize * dims..][..dims];
        let mut picks = vec![first];
        while picks.len() < k.min(rows.len() / dims) {
            let mut best: Option<(f32, u64)> = None;
            for id in (0..(rows.len() / dims) as u64).filter(|id| !picks.contains(id)) {
                let distance = picks
                    .iter()
                    .map(|pick| squared_distance(row(id), row(*pick)))
                    .fold(f32::INFINITY, f32::min);
                if best.is_none_or(|(furthest, _)| distance > furthest) {
                    best = Some((distance, id));
                }
            }
            picks.extend(best.map(|(_, id)| id));
        }
        picks
    }

    /// Picks of several shards that exchange their furthest rows; rows are dealt out at random and in any order.
    fn sharded(rows: &[f32], dims: usize, k: usize, first: u64, n_shards: usize, seed: u64) -> Vec<u64> {
        let mut random = SplitMix64::new(seed);
        let mut shards = vec![CoresetShard::new(dims); n_shards];
        let mut order: Vec<u64> = (0..(rows.len() / dims) as u64).collect();
        order.sort_by_cached_key(|_| random.next_u64());
        for id in order {
            shards[random.below(n_shards as u64) as usize].push(id, &rows[id as usize * dims..][..dims]);
        }
        let mut picks = vec![first];
        let mut centre = shards.iter().find_map(|shard| shard.row(first)).unwrap().to_vec();
        while picks.len() < k {
            let farthest = shards
                .iter_mut()
                .filter_map(|shard| shard.step(picks[picks.len() - 1], &centre));
            let Some(best) = farthest.reduce(|a, b| if b.beats(&a) { b } else { a }) else {
                break;
            };
            picks.push(best.row_id);
            centre = best.vector;
        }
        picks
    }

    #[test]
    fn greedy_coreset_matches_naive_for_any_sharding() {
        for (n, dims, k, seed) in [
            (60, 3, 25, 1),
            (200, 17, 40, 2),
            (90, 1, 30, 3),
            (5, 2, 9, 4),
            (1, 4, 3, 5),
        ] {
            let mut rows = values(n * dims, seed);
            // Clumps, duplicates and equal distances.
            rows.iter_mut().enumerate().for_each(|(at, v)| {
                *v = if at / dims % 3 == 0 {
                    (*v * 4.0).round()
                } else {
                    *v * 0.1
                }
            });
            let first = first_pick(n as u64, seed);
            let expected = naive(&rows, dims, k, first);
            assert_eq!(greedy_coreset(&rows, dims, k, first), expected);
            for n_shards in 1..=3 {
                for dealt in 0..4 {
                    assert_eq!(
                        sharded(&rows, dims, k, first, n_shards, dealt),
                        expected,
                        "{n_shards} shards"
                    );
                }
            }
        }
    }

    #[test]
    fn no_row_is_picked_twice_even_if_all_are_alike() {
        assert_eq!(greedy_coreset(&[1.0; 12], 2, 10, 4), [4, 0, 1, 2, 3, 5]);
        assert!(greedy_coreset(&[1.0; 12], 2, 0, 4).is_empty());
    }

    #[test]
    fn projection_keeps_distances_nearly() {
        let embedding = feature_map(4, 5, 600, 1);
        let projection = Projection::new(600, 128, 7).unwrap();
        let projected = projection.project(&embedding).unwrap();
        assert_eq!(projected.len(), 20 * 128);
        for other in 1..20 {
            let before = squared_distance(&embedding.data[..600], &embedding.data[other * 600..][..600]);
            let after = squared_distance(&projected[..128], &projected[other * 128..][..128]);
            assert!((after / before - 1.0).abs() < 0.5, "{before} became {after}");
        }
    }

    #[test]
    fn projection_is_seeded_and_the_identity_where_it_cannot_shorten() {
        assert_eq!(Projection::new(40, 8, 1), Projection::new(40, 8, 1));
        assert_ne!(Projection::new(40, 8, 1), Projection::new(40, 8, 2));
        let embedding = feature_map(2, 2, 8, 1);
        let identity = Projection::new(8, 128, 1).unwrap();
        assert_eq!(
            (identity.projected_dims(), identity.project(&embedding)),
            (8, Ok(embedding.data.clone()))
        );
        assert!(identity.project(&feature_map(2, 2, 9, 1)).is_err());
        assert!(Projection::new(0, 128, 1).is_err() && Projection::new(8, 0, 1).is_err());
    }
}
