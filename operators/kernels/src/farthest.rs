//! The step of greedy k-center: every row moves to a new centre if that is nearer.

use crate::distance::{DIMS_MAX, squared_distance_inline};

/// Part of a squared distance between two centres up to which a row's own squared distance spares a comparison. Within half
/// the distance between the centres the other one cannot be nearer (triangle inequality), and half squared is a quarter;
/// the thousandth covers the rounding of up to 65,536 dims (2.5e-4) twice, so no row is spared that a comparison moves.
const SPARED_SHARE: f32 = 0.25 * 0.999;

/// Squared distances below this lose digits to underflow; nothing is spared on their account.
const SPARED_MIN: f32 = 1e-30;

/// Rows of which it is decided together whether sparing pays: skipping half of them at random was measured to cost 1.4 times
/// as much as comparing all (the memory is read in vain, and every other branch is mispredicted), skipping nine of ten a
/// third. So rows are skipped where three of four can be.
const GLANCE_ROWS: usize = 64;

/// The largest squared distance that a row may have from the centre it belongs to and yet be surely no nearer to another
/// one, given the squared distance of the two centres.
///
/// A row no further from its own centre than this keeps it: comparing would not change a bit.
pub fn spared_distance(squared_distance_of_centres: f32) -> f32 {
    let spared = squared_distance_of_centres * SPARED_SHARE;
    if spared.is_finite() && spared >= SPARED_MIN {
        spared
    } else {
        0.0
    }
}

multiversion! {
    /// Compares `rows` (`n × centre.len()`) with a new `centre`. Where it is nearer than the row's own, the row's squared
    /// distance and its centre become the new one's. `spared` holds, for every earlier centre, what [`spared_distance`]
    /// says of it and the new one. A row whose squared distance is negative is passed over.
    ///
    /// Panics unless the lengths agree, there are 1 … 65,536 dims, and every row belongs to an earlier centre or its
    /// squared distance is infinite.
    pub fn approach(centre: &[f32], rows: &[f32], spared: &[f32], centres: &mut [u32], squared_distances: &mut [f32]) {
        assert!((1..=DIMS_MAX).contains(&centre.len()), "{} dims", centre.len());
        assert_eq!(rows.len(), squared_distances.len() * centre.len(), "rows of {} dims", centre.len());
        assert_eq!(centres.len(), squared_distances.len(), "a centre for every row");
        let dims = centre.len();
        let state = squared_distances.chunks_mut(GLANCE_ROWS).zip(centres.chunks_mut(GLANCE_ROWS));
        for (rows, (distances, centres)) in rows.chunks(GLANCE_ROWS * dims).zip(state) {
            let is_spared = |distance: f32, own_centre: u32| {
                distance < 0.0 || (distance < f32::INFINITY && distance <= spared[own_centre as usize])
            };
            let n_spared = distances.iter().zip(&*centres).filter(|(d, c)| is_spared(**d, **c)).count();
            let skips = n_spared * 4 >= distances.len() * 3;
            for (row, (distance, own_centre)) in rows.chunks_exact(dims).zip(distances.iter_mut().zip(centres)) {
                if skips && is_spared(*distance, *own_centre) {
                    continue;
                }
                let candidate = squared_distance_inline(row, centre);
                if candidate < *distance {
                    *distance = candidate;
                    *own_centre = spared.len() as u32;
                }
            }
        }
    }
}

multiversion! {
    /// The largest of `values`; negative infinity if there is none.
    pub fn largest(values: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let (whole, rest) = values.as_chunks::<16>();
        for values in whole {
            for l in 0..16 {
                lanes[l] = if values[l] > lanes[l] { values[l] } else { lanes[l] };
            }
        }
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, value| max.max(*value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::squared_distance;
    use crate::testing::{CASES, Dice, on_every_unit, values};

    /// Rows in clumps of very different width, so that many are spared and many are not.
    fn clumps(n: usize, dims: usize) -> Vec<f32> {
        let (offsets, spread) = (values(8 * dims, 1), values(n * dims, 2));
        (0..n * dims)
            .map(|at| {
                let clump = at / dims % 8;
                offsets[clump * dims + at % dims] * 10.0 + spread[at] * 0.1f32.powi(clump as i32)
            })
            .collect()
    }

    /// Every `step`th row becomes a centre; how many distances were not computed, of how many.
    fn spared(n: usize, dims: usize, step: usize) -> (usize, usize) {
        let rows = clumps(n, dims);
        let (mut own, mut distances) = (vec![0; n], vec![f32::INFINITY; n]);
        let mut naive = vec![f32::INFINITY; n];
        let mut n_spared = 0;
        let chosen: Vec<&[f32]> = rows.chunks_exact(dims).step_by(step).collect();
        for (step, centre) in chosen.iter().enumerate() {
            let spared: Vec<f32> = chosen[..step]
                .iter()
                .map(|c| spared_distance(squared_distance(c, centre)))
                .collect();
            n_spared += (0..n)
                .filter(|r| step > 0 && distances[*r] <= spared[own[*r] as usize])
                .count();
            (own, distances) = on_every_unit(|| {
                let (mut own, mut distances) = (own.clone(), distances.clone());
                approach(centre, &rows, &spared, &mut own, &mut distances);
                (own, distances)
            });
            for (row, distance) in rows.chunks_exact(dims).zip(&mut naive) {
                *distance = distance.min(squared_distance(row, centre));
            }
            assert_eq!(distances, naive, "{n} rows of {dims}, step {step}");
        }
        (n_spared, n * chosen.len())
    }

    #[test]
    fn sparing_changes_no_distance() {
        let (n_spared, of) = spared(400, 6, 13);
        assert!(n_spared > of / 4, "only {n_spared} spared: the test shows nothing");
        for seed in 0..CASES / 4 {
            let mut dice = Dice(seed);
            spared(dice.size(200), dice.size(40), dice.size(20));
        }
    }

    #[test]
    fn rows_out_of_play_stay_out() {
        let (mut own, mut distances) = (vec![0, 0], vec![-1.0, f32::INFINITY]);
        approach(&[1.0], &[1.0, 3.0], &[], &mut own, &mut distances);
        assert_eq!((distances, own), (vec![-1.0, 4.0], vec![0, 0]));
    }

    #[test]
    fn largest_matches_naive() {
        for n in 0..=100 {
            let values = values(n, 4);
            assert_eq!(
                largest(&values),
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            );
        }
    }
}
