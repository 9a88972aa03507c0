//! What follows the sums of a tile: scale, bias, what is added, `max(·, 0)`, and the way back into memory.

use super::element::{Element, Unit};
use super::tile::BLOCK;

/// What is added to a tile.
#[derive(Clone, Copy)]
pub(super) enum Added<'a, E> {
    /// Nothing.
    Nothing,
    /// Activations, each times the scale; from the first position's first channel of the block on.
    Map { values: &'a [E], scale: f32 },
    /// Sums of another convolution, from the first position's first channel of the block on; neighbouring positions are so many
    /// values apart.
    Wide { values: &'a [f32], channels: usize },
}

/// How the sums of a tile become what is kept of it. All slices begin at the first position's first channel of the block, and
/// neighbouring positions are `channels` values apart.
pub(super) struct Finish<'a, E: Element> {
    /// Per channel of the block.
    pub(super) scales: &'a [f32; BLOCK],
    /// Per channel of the block.
    pub(super) bias: &'a [f32; BLOCK],
    /// Channels of the map.
    pub(super) channels: usize,
    /// Channels of this block that exist.
    pub(super) in_block: usize,
    pub(super) added: Added<'a, E>,
    pub(super) relu: bool,
    /// Where activations go, and by what they are multiplied before they are rounded.
    pub(super) map: Option<(&'a mut [E], f32)>,
    /// Where the values go in `f32`.
    pub(super) wide: Option<&'a mut [f32]>,
}

impl<E: Element> Finish<'_, E> {
    /// Writes as many positions as there are sums of.
    pub(super) fn write(mut self, unit: Unit, sums: &[[E::Sum; BLOCK]]) {
        self.check(sums.len());
        #[cfg(target_arch = "x86_64")]
        if unit.has_avx512() && self.in_block == BLOCK {
            return E::finish_avx512(&mut self, sums);
        }
        let _ = unit;
        E::finish(&mut self, sums);
    }

    /// Panics unless all that `pixels` positions touch is there.
    fn check(&self, pixels: usize) {
        let touched_of = |channels: usize| (pixels - 1) * channels + self.in_block;
        let touched = touched_of(self.channels);
        let has_added = match self.added {
            Added::Nothing => true,
            Added::Map { values, .. } => touched <= values.len(),
            Added::Wide { values, channels } => touched_of(channels) <= values.len(),
        };
        let of_map = self.map.as_ref().map_or(touched, |(map, _)| map.len());
        let of_wide = self.wide.as_ref().map_or(touched, |wide| wide.len());
        assert!(self.in_block <= BLOCK, "channels of a block");
        assert!(
            has_added && touched <= of_map && touched <= of_wide,
            "the tile lies inside the map"
        );
    }

    #[inline(always)]
    pub(super) fn portable(&mut self, sums: &[[E::Sum; BLOCK]]) {
        for (pixel, sums) in sums.iter().enumerate() {
            let at = pixel * self.channels..pixel * self.channels + self.in_block;
            let mut values = [0.0; BLOCK];
            for (channel, (value, &sum)) in values[..self.in_block].iter_mut().zip(sums).enumerate() {
                *value = E::scaled(sum, self.scales[channel]) + self.bias[channel];
            }
            let values = &mut values[..self.in_block];
            match self.added {
                Added::Nothing => {}
                Added::Map { values: added, scale } => {
                    values
                        .iter_mut()
                        .zip(&added[at.clone()])
                        .for_each(|(value, added)| *value += added.value(scale));
                }
                Added::Wide {
                    values: added,
                    channels,
                } => {
                    values
                        .iter_mut()
                        .zip(&added[pixel * channels..])
                        .for_each(|(value, added)| *value += added);
                }
            }
            if self.relu {
                // As `vmaxps` has it: not-a-number stays what it is, and is noticed.
                values
                    .iter_mut()
                    .for_each(|value| *value = if 0.0 > *value { 0.0 } else { *value });
            }
            if let Some((map, inverse)) = &mut self.map {
                map[at.clone()]
                    .iter_mut()
                    .zip(&*values)
                    .for_each(|(out, value)| *out = E::narrowed(*value, *inverse));
            }
            if let Some(wide) = &mut self.wide {
                wide[at].copy_from_slice(values);
            }
        }
    }
}
