//! The kinds of arithmetic: `u8` times `i8` into `i32`, and `f32`; `bf16` is in [`bfloat16`](super::bfloat16).

use super::finish::Finish;
use super::memory::Zeroed;
use super::quantise::ACTIVATION_MAX;
use super::tile::{BLOCK, DepthwiseTile, PIXELS_MAX, PoolRow, Tile};
#[cfg(target_arch = "x86_64")]
use super::tile::{Group, GroupSums};

/// What activations are made of.
pub(super) trait Element: Zeroed + Default + PartialOrd + Send + Sync + 'static {
    /// What weights are made of.
    type Weight: Zeroed + Send + Sync + 'static;
    /// What products are added up in.
    type Sum: Copy + Default + Send + Sync + 'static;

    /// Activations of neighbouring channels that are multiplied at once: weights of so many lie side by side.
    const GROUP: usize;

    /// Whether AMX multiplies positions in groups, some of them in vain beyond the end of a row.
    const IN_GROUPS: bool;

    /// A sum of products in `f32`.
    fn scaled(sum: Self::Sum, scale: f32) -> f32;

    /// An activation in `f32`.
    fn value(self, scale: f32) -> f32;

    /// The activation of a value that is not negative; `inverse` is 1 over its scale.
    fn narrowed(value: f32, inverse: f32) -> Self;

    /// One row of the maximum under a window.
    fn max_row(row: &PoolRow<'_, Self>, out: &mut [Self]);

    /// One row of the mean under a window: the sum times 1 over the number of pixels, in `f32`.
    fn mean_row(row: &PoolRow<'_, Self>, out: &mut [Self]);

    /// Adds up the products of neighbouring positions, as many as there is room for, with the weights of one block of output
    /// channels.
    fn sums(unit: Unit, tile: &Tile<'_, Self>, sums: &mut [[Self::Sum; BLOCK]]);

    /// The same, each channel with its own input only.
    fn depthwise_sums(tile: &DepthwiseTile<'_, Self>, sums: &mut [[Self::Sum; BLOCK]]);

    /// The sums of a group, of what is multiplied [so](Element::IN_GROUPS).
    #[cfg(target_arch = "x86_64")]
    fn group_sums(tiles: &super::amx::Tiles, group: &Group<'_, Self>, sums: &mut GroupSums<Self::Sum>);

    /// [`Finish::portable`], by the vectors that the machine has.
    fn finish(finish: &mut Finish<'_, Self>, sums: &[[Self::Sum; BLOCK]]);

    /// [`Finish::write`] of a whole block with AVX-512, which the caller has detected.
    #[cfg(target_arch = "x86_64")]
    fn finish_avx512(finish: &mut Finish<'_, Self>, sums: &[[Self::Sum; BLOCK]]);
}

/// What this machine multiplies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// AMX for 8 and 16 bits, and AVX-512 with VNNI for the rest.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-VNNI for 8 bits, and AVX2 with FMA for the rest.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every machine has.
    Portable,
}

impl Unit {
    /// All that this machine has, the best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut units = Vec::new();
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if avx512 && super::amx::is_there() {
                units.push(Self::Amx);
            }
            if avx512 {
                units.push(Self::Avx512);
            }
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avxvnni") {
                units.push(Self::AvxVnni);
            }
            if avx2 {
                units.push(Self::Avx2);
            }
        }
        units.push(Self::Portable);
        units
    }

    /// The best that this machine has.
    pub(crate) fn best() -> Self {
        Self::available()[0]
    }

    /// Whether it multiplies positions of `E` in groups.
    pub(super) fn in_groups<E: Element>(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return E::IN_GROUPS && self == Self::Amx;
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Whether it has AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn has_avx512(self) -> bool {
        matches!(self, Self::Amx | Self::Avx512)
    }
}

/// From here on floats are the integers.
const INTEGERS: f32 = (1 << 23) as f32;

impl Element for u8 {
    type Weight = i8;
    type Sum = i32;
    const GROUP: usize = 4;
    const IN_GROUPS: bool = true;

    fn scaled(sum: i32, scale: f32) -> f32 {
        sum as f32 * scale
    }

    fn value(self, scale: f32) -> f32 {
        f32::from(self) * scale
    }

    #[inline(always)]
    fn narrowed(value: f32, inverse: f32) -> Self {
        // What is above 255 becomes 255. Between 2²³ and 2²⁴ floats are the integers, so the addition rounds ties to even, and takes
        // fewer instructions than rounding does.
        ((value * inverse).min(ACTIVATION_MAX) + INTEGERS).to_bits() as u8
    }

    fn max_row(row: &PoolRow<'_, u8>, out: &mut [u8]) {
        max_row_u8(row, out);
    }

    fn mean_row(row: &PoolRow<'_, u8>, out: &mut [u8]) {
        mean_row_u8(row, out);
    }

    fn depthwise_sums(tile: &DepthwiseTile<'_, Self>, sums: &mut [[i32; BLOCK]]) {
        depthwise_u8(tile, sums);
    }

    fn sums(unit: Unit, tile: &Tile<'_, Self>, sums: &mut [[i32; BLOCK]]) {
        match unit {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx | Unit::Avx512 => super::avx512::sums_u8(tile, sums),
            #[cfg(target_arch = "x86_64")]
            Unit::AvxVnni => super::avx_vnni::sums_u8(tile, sums),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2 => super::avx2::sums_u8(tile, sums),
            Unit::Portable => portable_u8(tile, sums),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn group_sums(tiles: &super::amx::Tiles, group: &Group<'_, Self>, sums: &mut GroupSums<i32>) {
        tiles.sums_u8(group, sums);
    }

    fn finish(finish: &mut Finish<'_, Self>, sums: &[[i32; BLOCK]]) {
        finish_u8(finish, sums);
    }

    #[cfg(target_arch = "x86_64")]
    fn finish_avx512(finish: &mut Finish<'_, Self>, sums: &[[i32; BLOCK]]) {
        super::avx512::finish_u8(finish, sums);
    }
}

impl Element for f32 {
    type Weight = f32;
    type Sum = f32;
    const GROUP: usize = 1;
    const IN_GROUPS: bool = false;

    fn scaled(sum: f32, _: f32) -> f32 {
        sum
    }

    fn value(self, _: f32) -> f32 {
        self
    }

    fn narrowed(value: f32, _: f32) -> Self {
        value
    }

    fn max_row(row: &PoolRow<'_, f32>, out: &mut [f32]) {
        max_row_f32(row, out);
    }

    fn mean_row(row: &PoolRow<'_, f32>, out: &mut [f32]) {
        mean_row_f32(row, out);
    }

    fn depthwise_sums(tile: &DepthwiseTile<'_, Self>, sums: &mut [[f32; BLOCK]]) {
        depthwise_f32(tile, sums);
    }

    fn sums(unit: Unit, tile: &Tile<'_, Self>, sums: &mut [[f32; BLOCK]]) {
        match unit {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx | Unit::Avx512 => super::avx512::sums_f32(tile, sums),
            #[cfg(target_arch = "x86_64")]
            Unit::AvxVnni | Unit::Avx2 => super::avx2::sums_f32(tile, sums),
            Unit::Portable => portable_f32(tile, sums),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn group_sums(_: &super::amx::Tiles, _: &Group<'_, Self>, _: &mut GroupSums<f32>) {
        unreachable!("32 bits are not multiplied in groups");
    }

    fn finish(finish: &mut Finish<'_, Self>, sums: &[[f32; BLOCK]]) {
        finish_f32(finish, sums);
    }

    #[cfg(target_arch = "x86_64")]
    fn finish_avx512(finish: &mut Finish<'_, Self>, sums: &[[f32; BLOCK]]) {
        super::avx512::finish_f32(finish, sums);
    }
}

multiversion! {
    fn finish_u8(finish: &mut Finish<'_, u8>, sums: &[[i32; BLOCK]]) {
        finish.portable(sums);
    }
}

multiversion! {
    fn finish_f32(finish: &mut Finish<'_, f32>, sums: &[[f32; BLOCK]]) {
        finish.portable(sums);
    }
}

multiversion! {
    fn max_row_u8(row: &PoolRow<'_, u8>, out: &mut [u8]) {
        for (at, out) in row.blocks(out) {
            let mut largest = [0; BLOCK];
            for pixel in row.under(at) {
                for lane in 0..BLOCK {
                    largest[lane] = largest[lane].max(pixel[lane]);
                }
            }
            out.copy_from_slice(&largest[..out.len()]);
        }
    }
}

multiversion! {
    fn max_row_f32(row: &PoolRow<'_, f32>, out: &mut [f32]) {
        for (at, out) in row.blocks(out) {
            let mut largest = [0.0; BLOCK];
            for pixel in row.under(at) {
                for lane in 0..BLOCK {
                    largest[lane] = if pixel[lane] > largest[lane] { pixel[lane] } else { largest[lane] };
                }
            }
            out.copy_from_slice(&largest[..out.len()]);
        }
    }
}

multiversion! {
    fn mean_row_u8(row: &PoolRow<'_, u8>, out: &mut [u8]) {
        let inverse = 1.0 / (row.kernel * row.kernel) as f32;
        for (at, out) in row.blocks(out) {
            // At most 256 bytes are added up.
            let mut sums = [0u16; BLOCK];
            for pixel in row.under(at) {
                for lane in 0..BLOCK {
                    sums[lane] += u16::from(pixel[lane]);
                }
            }
            let mut means = [0; BLOCK];
            for lane in 0..BLOCK {
                means[lane] = (f32::from(sums[lane]) * inverse + INTEGERS).to_bits() as u8;
            }
            out.copy_from_slice(&means[..out.len()]);
        }
    }
}

multiversion! {
    fn mean_row_f32(row: &PoolRow<'_, f32>, out: &mut [f32]) {
        let inverse = 1.0 / (row.kernel * row.kernel) as f32;
        for (at, out) in row.blocks(out) {
            let mut sums = [0.0; BLOCK];
            for pixel in row.under(at) {
                for lane in 0..BLOCK {
                    sums[lane] += pixel[lane];
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = sum * inverse;
            }
        }
    }
}

multiversion! {
    fn depthwise_u8(tile: &DepthwiseTile<'_, u8>, sums: &mut [[i32; BLOCK]]) {
        for (pixel, sums) in sums.iter_mut().enumerate() {
            let mut acc = [0; BLOCK];
            for (input, weights) in tile.under(pixel) {
                for at in 0..BLOCK {
                    acc[at] += i32::from(input[at]) * i32::from(weights[at]);
                }
            }
            *sums = acc;
        }
    }
}

multiversion! {
    // Products are rounded before they are added: without a fused instruction a depthwise convolution is as fast.
    fn depthwise_f32(tile: &DepthwiseTile<'_, f32>, sums: &mut [[f32; BLOCK]]) {
        for (pixel, sums) in sums.iter_mut().enumerate() {
            let mut acc = [0.0; BLOCK];
            for (input, weights) in tile.under(pixel) {
                for at in 0..BLOCK {
                    acc[at] += input[at] * weights[at];
                }
            }
            *sums = acc;
        }
    }
}

multiversion! {
    fn portable_u8(tile: &Tile<'_, u8>, sums: &mut [[i32; BLOCK]]) {
        tile.check(sums.len());
        for (pixel, sums) in sums.iter_mut().enumerate() {
            sums.fill(0);
            for row in 0..tile.rows {
                let run = &tile.input[row * tile.row_step + pixel * tile.pixel_step..][..tile.groups * 4];
                let weights = &tile.weights[row * tile.groups * 4 * BLOCK..][..tile.groups * 4 * BLOCK];
                for (x, weights) in run.chunks_exact(4).zip(weights.chunks_exact(4 * BLOCK)) {
                    let x: [i32; 4] = std::array::from_fn(|at| i32::from(x[at]));
                    for (sum, w) in sums.iter_mut().zip(weights.chunks_exact(4)) {
                        *sum += x[0] * i32::from(w[0])
                            + x[1] * i32::from(w[1])
                            + x[2] * i32::from(w[2])
                            + x[3] * i32::from(w[3]);
                    }
                }
            }
        }
    }
}

fn portable_f32(tile: &Tile<'_, f32>, sums: &mut [[f32; BLOCK]]) {
    tile.check(sums.len());
    for (pixel, sums) in sums.iter_mut().enumerate() {
        sums.fill(0.0);
        for row in 0..tile.rows {
            let run = &tile.input[row * tile.row_step + pixel * tile.pixel_step..][..tile.groups];
            let weights = &tile.weights[row * tile.groups * BLOCK..][..tile.groups * BLOCK];
            for (x, weights) in run.iter().zip(weights.chunks_exact(BLOCK)) {
                for (sum, w) in sums.iter_mut().zip(weights) {
                    // Fused, as the vector units do it: the bits are the same.
                    *sum = x.mul_add(*w, *sum);
                }
            }
        }
    }
}

const _: () = assert!(
    PIXELS_MAX == 6,
    "the vector kernels have a case for each number of pixels"
);
