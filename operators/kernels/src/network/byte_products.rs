//! Products of byte vectors with a block of others, as a tile of a convolution has them.

use super::element::{Element, Unit};
use super::tile::{BLOCK, PIXELS_MAX, Sums, Tile};
#[cfg(target_arch = "x86_64")]
use super::tile::{Group, GroupSums, POSITIONS};

/// Values that are multiplied and added up at once.
pub(crate) const BYTE_GROUP: usize = <u8 as Element>::GROUP;

/// Dimensions of vectors are multiples of this.
pub(crate) const BYTE_DIMS: usize = BYTE_GROUP * super::tile::GROUPS_AT_ONCE;

/// What multiplies byte vectors: exact, on every machine.
pub(crate) struct ByteProducts {
    unit: Unit,
    sums: Sums<i32>,
    #[cfg(target_arch = "x86_64")]
    groups: Option<(super::amx::Tiles, GroupSums<i32>)>,
}

impl ByteProducts {
    pub(crate) fn new(unit: Unit) -> Self {
        Self {
            unit,
            sums: Sums::default(),
            #[cfg(target_arch = "x86_64")]
            groups: unit
                .in_groups::<u8>()
                .then(|| (super::amx::Tiles::new(), GroupSums::default())),
        }
    }

    /// Gives `found` for each of `vectors` (`n × dims`) its number and its dot products with [`BLOCK`] others, `block` being
    /// `(dims / BYTE_GROUP, BLOCK, BYTE_GROUP)`.
    ///
    /// Panics unless `dims` is a multiple of [`BYTE_DIMS`] and the slices hold exactly so much.
    pub(crate) fn each(
        &mut self,
        dims: usize,
        vectors: &[u8],
        block: &[i8],
        mut found: impl FnMut(usize, &[i32; BLOCK]),
    ) {
        assert!(
            dims.is_multiple_of(BYTE_DIMS) && vectors.len().is_multiple_of(dims),
            "whole vectors"
        );
        assert!(block.len() == dims * BLOCK, "a whole block");
        let (n_vectors, groups) = (vectors.len() / dims, dims / BYTE_GROUP);
        let mut first = 0;
        #[cfg(target_arch = "x86_64")]
        if let Some((tiles, sums)) = &mut self.groups {
            while first + 2 * POSITIONS <= n_vectors {
                let group = Group::<u8> {
                    inputs: [0, POSITIONS].map(|half| &vectors[(first + half) * dims..]),
                    row_step: 0,
                    pixel_step: dims,
                    rows: 1,
                    groups,
                    weights: block,
                };
                u8::group_sums(tiles, &group, sums);
                for (vector, products) in (first..).zip(sums.0.as_flattened()) {
                    found(vector, products);
                }
                first += 2 * POSITIONS;
            }
        }
        while first < n_vectors {
            let n = PIXELS_MAX.min(n_vectors - first);
            let tile = Tile::<u8> {
                input: &vectors[first * dims..],
                row_step: 0,
                pixel_step: dims,
                rows: 1,
                groups,
                weights: block,
            };
            u8::sums(self.unit, &tile, &mut self.sums.0[..n]);
            for (vector, products) in (first..).zip(&self.sums.0[..n]) {
                found(vector, products);
            }
            first += n;
        }
    }
}
