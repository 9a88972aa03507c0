//! From feature maps to one embedding per patch.

use std::borrow::Cow;

use intakt_kernels::{average_pool_3x3, resize_bilinear, upsample_nearest_into};

use super::random::SplitMix64;
use super::{EmbeddingRecipe, Upsampling};
use crate::{FeatureMap, FeatureMapView};

/// Puts the feature maps of one image together: every position is averaged with its neighbourhood, deeper maps are brought
/// to the grid of the first, and the vectors of all maps, in their order, are joined at every position. Only `kept_dims` of
/// the joined vector are computed.
///
/// # Errors
/// If there is no map, a map is empty, the neighbourhood is neither 1 nor 3, or `kept_dims` are not ascending or not there.
pub fn embed(maps: &[FeatureMapView<'_>], recipe: &EmbeddingRecipe) -> Result<FeatureMap, String> {
    let first = maps.first().ok_or("cannot embed: the backbone gave no feature map")?;
    if let Some(map) = maps.iter().find(|map| map.data.is_empty()) {
        return Err(format!(
            "cannot embed: a feature map is empty ({}x{}x{})",
            map.height, map.width, map.dims
        ));
    }
    if ![1, 3].contains(&recipe.neighbourhood) {
        return Err(format!(
            "cannot embed: the neighbourhood is {}, and only 1 and 3 are known",
            recipe.neighbourhood
        ));
    }
    let total = maps.iter().map(|map| map.dims).sum();
    let kept_dims = recipe.kept_dims.as_deref();
    let dims = match kept_dims {
        Some(kept) => check_kept(kept, total)?,
        None => total,
    };

    let mut joined = vec![0.0; first.positions() * dims];
    let (mut offset, mut map_start) = (0, 0);
    for map in maps {
        let kept_here = kept_dims.map(|kept| {
            let from = kept.partition_point(|dim| *dim < map_start);
            let to = kept.partition_point(|dim| *dim < map_start + map.dims);
            kept[from..to].iter().map(|dim| dim - map_start).collect::<Vec<usize>>()
        });
        map_start += map.dims;
        let map_dims = kept_here.as_ref().map_or(map.dims, Vec::len);
        if map_dims == 0 {
            continue;
        }
        let mut shape = [map.height, map.width, map_dims];
        let mut values = prepare(map, kept_here.as_deref(), recipe.neighbourhood);
        if recipe.upsampling == Upsampling::Bilinear && shape[..2] != [first.height, first.width] {
            values = resize_bilinear(map.height, map.width, map_dims, &values, first.height, first.width).into();
            shape = [first.height, first.width, map_dims];
        }
        upsample_nearest_into(shape, &values, [first.height, first.width, dims], offset, &mut joined);
        offset += map_dims;
    }
    Ok(FeatureMap::new(first.height, first.width, dims, joined))
}

/// The share of one map in the embedding, on its own grid: only the dims that are kept, averaged with their neighbourhood.
fn prepare<'a>(map: &FeatureMapView<'a>, kept: Option<&[usize]>, neighbourhood: usize) -> Cow<'a, [f32]> {
    // The kept dims are taken first: all that follows treats every dim by itself, and costs as much as there are dims.
    let (values, dims) = match kept {
        None => (Cow::from(map.data), map.dims),
        Some(kept) => {
            let mut values = Vec::with_capacity(map.positions() * kept.len());
            for vector in map.data.chunks_exact(map.dims) {
                values.extend(kept.iter().map(|dim| vector[*dim]));
            }
            (values.into(), kept.len())
        }
    };
    match neighbourhood {
        3 => average_pool_3x3(map.height, map.width, dims, &values).into(),
        _ => values,
    }
}

fn check_kept(kept: &[usize], total: usize) -> Result<usize, String> {
    if kept.is_empty() || !kept.is_sorted_by(|a, b| a < b) {
        return Err("cannot embed: the kept dims of the recipe are not ascending, or there are none".to_owned());
    }
    match kept.last() {
        Some(last) if *last >= total => Err(format!(
            "cannot embed: the recipe keeps dim {last} but the backbone yields {total} (0 to {})",
            total - 1
        )),
        _ => Ok(kept.len()),
    }
}

/// `kept` of the dims `0..total`, drawn at random and in ascending order; all of them if there are no more. PaDiM's random
/// selection (Defard et al. 2020, section 3.1).
///
/// The same arguments give the same dims in every version: a Fisher-Yates shuffle of `0..total` from the front, its first
/// `kept` elements sorted; the partner of element `i` is `i + below(total − i)`, drawn from SplitMix64 started at `seed`.
pub fn random_dims(total: usize, kept: usize, seed: u64) -> Vec<usize> {
    let mut random = SplitMix64::new(seed);
    let mut dims: Vec<usize> = (0..total).collect();
    let kept = kept.min(total);
    for i in 0..kept {
        dims.swap(i, i + random.below((total - i) as u64) as usize);
    }
    dims.truncate(kept);
    dims.sort_unstable();
    dims
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::scorer_testing::{assert_close, feature_map};

    fn recipe(neighbourhood: usize, upsampling: Upsampling, kept_dims: Option<Vec<usize>>) -> EmbeddingRecipe {
        EmbeddingRecipe {
            neighbourhood,
            upsampling,
            kept_dims,
        }
    }

    #[test]
    fn maps_are_joined_in_their_order() {
        let shallow = FeatureMap::new(2, 2, 1, vec![1.0, 2.0, 3.0, 4.0]);
        let deep = FeatureMap::new(1, 1, 2, vec![8.0, 9.0]);
        let joined = embed(&[shallow.view(), deep.view()], &recipe(1, Upsampling::Nearest, None)).unwrap();
        let expected = vec![1.0, 8.0, 9.0, 2.0, 8.0, 9.0, 3.0, 8.0, 9.0, 4.0, 8.0, 9.0];
        assert_eq!(joined, FeatureMap::new(2, 2, 3, expected));
    }

    #[test]
    fn keeping_dims_first_or_last_is_the_same() {
        let maps = [
            feature_map(8, 6, 5, 1),
            feature_map(4, 3, 7, 2),
            feature_map(2, 2, 3, 3),
        ];
        let maps = maps.each_ref().map(FeatureMap::view);
        for upsampling in [Upsampling::Nearest, Upsampling::Bilinear] {
            let all = embed(&maps, &recipe(3, upsampling, None)).unwrap();
            assert_eq!((all.height, all.width, all.dims), (8, 6, 15));
            for kept in [vec![0], vec![3, 4, 5, 11], vec![2, 12, 14], (0..15).collect()] {
                let some = embed(&maps, &recipe(3, upsampling, Some(kept.clone()))).unwrap();
                let picked: Vec<f32> = all
                    .data
                    .chunks_exact(15)
                    .flat_map(|vector| kept.iter().map(|dim| vector[*dim]))
                    .collect();
                assert_eq!(some, FeatureMap::new(8, 6, kept.len(), picked));
            }
        }
    }

    /// Printed by `tests/parity/scorers.py`.
    #[test]
    fn embedding_matches_torch() {
        let maps = [feature_map(4, 4, 2, 1), feature_map(2, 2, 3, 2)];
        let maps = maps.each_ref().map(FeatureMap::view);
        const BILINEAR: [f32; 10] = [
            0.004314939,
            0.2585824,
            0.1801285,
            0.03095715,
            -0.08213361,
            0.07360143,
            -0.084066,
            0.1801285,
            0.03095715,
            -0.08213361,
        ];
        let bilinear = embed(&maps, &recipe(3, Upsampling::Bilinear, None)).unwrap();
        assert_close(&bilinear.data[5 * 5..7 * 5], &BILINEAR, 1e-5);
        const NEAREST: [f32; 10] = [
            -0.1917157,
            0.2108407,
            0.1823794,
            0.4982994,
            0.1912761,
            -0.09012425,
            0.0601579,
            0.5308383,
            -0.3768227,
            -0.3067555,
        ];
        let nearest = embed(&maps, &recipe(1, Upsampling::Nearest, None)).unwrap();
        assert_close(&nearest.data[5 * 5..7 * 5], &NEAREST, 1e-6);
    }

    #[test]
    fn bad_recipes_are_refused() {
        let map = feature_map(2, 2, 3, 1);
        let maps = [map.view()];
        let nearest = Upsampling::Nearest;
        assert!(
            embed(&[], &recipe(1, nearest, None))
                .unwrap_err()
                .contains("no feature map")
        );
        assert!(
            embed(&maps, &recipe(2, nearest, None))
                .unwrap_err()
                .contains("neighbourhood is 2")
        );
        assert!(
            embed(&maps, &recipe(1, nearest, Some(vec![1, 3])))
                .unwrap_err()
                .contains("keeps dim 3")
        );
        assert!(
            embed(&maps, &recipe(1, nearest, Some(vec![1, 1])))
                .unwrap_err()
                .contains("ascending")
        );
        assert!(
            embed(&maps, &recipe(1, nearest, Some(vec![])))
                .unwrap_err()
                .contains("there are none")
        );
        let empty = FeatureMap::new(0, 2, 3, vec![]);
        assert!(
            embed(&[empty.view()], &recipe(1, nearest, None))
                .unwrap_err()
                .contains("empty")
        );
    }

    #[test]
    fn random_dims_stay_the_same() {
        assert_eq!(random_dims(448, 8, 0), [13, 51, 82, 150, 193, 347, 395, 435]);
        let dims = random_dims(448, 100, 42);
        assert!(dims.len() == 100 && dims.is_sorted_by(|a, b| a < b) && dims[99] < 448);
        assert_ne!(dims, random_dims(448, 100, 43));
        assert_eq!(random_dims(3, 5, 1), [0, 1, 2]);
    }
}
