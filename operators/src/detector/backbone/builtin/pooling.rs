//! How a hop's output is brought to the grid of the taps.

use crate::FeatureMap;

/// What a cell of the grid says about the positions in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Root of the mean square: how much texture there is, wherever its threads lie.
    Energy,
    /// The largest value.
    Maximum,
    /// The mean.
    Mean,
}

/// Pools squares of `factor × factor` positions, cut off at the right and lower edges: `(⌈height / factor⌉,
/// ⌈width / factor⌉, dims)`.
pub(super) fn pool_squares(map: &FeatureMap, factor: usize, pooling: Pooling) -> FeatureMap {
    match pooling {
        Pooling::Energy => squares(
            map,
            factor,
            0.0,
            |sum, value| sum + value * value,
            |sum, share| (sum * share).sqrt(),
        ),
        Pooling::Maximum => squares(map, factor, f32::NEG_INFINITY, f32::max, |maximum, _| maximum),
        Pooling::Mean => squares(map, factor, 0.0, |sum, value| sum + value, |sum, share| sum * share),
    }
}

/// Folds every square from `empty` with `add`, and ends it with `end(folded, 1 / positions)`.
fn squares(
    map: &FeatureMap,
    factor: usize,
    empty: f32,
    add: impl Fn(f32, f32) -> f32,
    end: impl Fn(f32, f32) -> f32,
) -> FeatureMap {
    let (height, width) = (map.height.div_ceil(factor), map.width.div_ceil(factor));
    let mut data = vec![empty; height * width * map.dims];
    for (y, row) in map.data.chunks_exact(map.width * map.dims).enumerate() {
        let out_row = &mut data[y / factor * width * map.dims..][..width * map.dims];
        // The last square of a row is shorter where the edge cuts it off, and its chunk with it.
        let squares = row.chunks(factor * map.dims).zip(out_row.chunks_exact_mut(map.dims));
        for (square, out) in squares {
            for vector in square.chunks_exact(map.dims) {
                out.iter_mut()
                    .zip(vector)
                    .for_each(|(out, &value)| *out = add(*out, value));
            }
        }
    }
    for (at, out) in data.chunks_exact_mut(map.dims).enumerate() {
        let rows = factor.min(map.height - at / width * factor);
        let columns = factor.min(map.width - at % width * factor);
        let share = 1.0 / (rows * columns) as f32;
        out.iter_mut().for_each(|value| *value = end(*value, share));
    }
    FeatureMap::new(height, width, map.dims, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_cut_off_at_the_edges() {
        let map = FeatureMap::new(2, 3, 1, vec![1.0, -2.0, 3.0, 4.0, -5.0, 6.0]);
        let pooled = |pooling| pool_squares(&map, 2, pooling).data;
        assert_eq!(pooled(Pooling::Maximum), [4.0, 6.0]);
        assert_eq!(pooled(Pooling::Mean), [-0.5, 4.5]);
        assert_eq!(pooled(Pooling::Energy), [11.5_f32.sqrt(), 22.5_f32.sqrt()]);
        assert_eq!(pool_squares(&map, 1, Pooling::Maximum), map);
    }

    #[test]
    fn dimensions_are_pooled_by_themselves() {
        let map = FeatureMap::new(1, 2, 2, vec![1.0, 10.0, 3.0, 20.0]);
        assert_eq!(pool_squares(&map, 2, Pooling::Mean).data, [2.0, 15.0]);
        assert_eq!(pool_squares(&map, 2, Pooling::Maximum).data, [3.0, 20.0]);
    }
}
