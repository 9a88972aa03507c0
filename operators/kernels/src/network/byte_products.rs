//! Products of byte vectors with a block of others, as a tile of a convolution has them.

use super::element::{Element, Unit};
use super::tile::{BLOCK, PIXELS_MAX, Sums, Tile};

/// Values that are multiplied and added up at once.
pub(crate) const BYTE_GROUP: usize = <u8 as Element>::GROUP;

/// The dot products of up to [`PIXELS_MAX`] `vectors` (`n × dims`) with [`BLOCK`] others, `block` being
/// `(dims / BYTE_GROUP, BLOCK, BYTE_GROUP)`. Exact, on every machine.
///
/// Panics unless `dims` is made of whole groups and the slices hold exactly so much.
pub(crate) fn byte_products(unit: Unit, dims: usize, vectors: &[u8], block: &[i8], sums: &mut Sums<i32>) {
    let pixels = vectors.len() / dims;
    assert!(
        (1..=PIXELS_MAX).contains(&pixels) && vectors.len() == pixels * dims,
        "whole vectors"
    );
    assert!(
        dims.is_multiple_of(BYTE_GROUP) && block.len() == dims * BLOCK,
        "a whole block"
    );
    let tile = Tile {
        input: vectors,
        row_step: 0,
        pixel_step: dims,
        rows: 1,
        groups: dims / BYTE_GROUP,
        weights: block,
    };
    u8::sums(unit, &tile, pixels, sums);
}
