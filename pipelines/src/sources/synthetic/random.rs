//! Random numbers that are the same on every machine: integer generators and basic `f32` operations only, no libm.

/// The odd constant of SplitMix64: 2^64 divided by the golden ratio.
const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An independent seed for each path of numbers below `seed`.
pub(super) fn derive(seed: u64, path: &[u64]) -> u64 {
    path.iter().fold(mix(seed.wrapping_add(GOLDEN_GAMMA)), |state, &step| {
        mix(state ^ mix(step.wrapping_add(GOLDEN_GAMMA)))
    })
}

/// A point of 0..1 that, for n = 0, 1, 2 …, fills the interval evenly from the first few on (the additive recurrence with
/// the golden ratio).
pub(super) fn evenly(n: u64) -> f32 {
    top_bits_as_unit(n.wrapping_mul(GOLDEN_GAMMA))
}

fn top_bits_as_unit(bits: u64) -> f32 {
    // 24 bits fill the significand of an f32 exactly, so the conversion never rounds.
    (bits >> 40) as f32 / (1 << 24) as f32
}

/// SplitMix64.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// Uniform in 0..1.
    pub(super) fn unit(&mut self) -> f32 {
        top_bits_as_unit(self.next_u64())
    }

    /// Uniform in `low..high`.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `-limit..limit`.
    pub(super) fn around_zero(&mut self, limit: f32) -> f32 {
        self.between(-limit, limit)
    }

    /// Uniform in `0..count`; the bias of the modulo is far below anything visible.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.next_u64() % count as u64) as usize
    }

    /// A direction: (cosine, sine) of a uniform angle.
    pub(super) fn direction(&mut self) -> [f32; 2] {
        let turns = self.unit();
        [sin_turns(turns + 0.25), sin_turns(turns)]
    }
}

/// sin(2π `turns`) to within 0.002: a parabola, corrected once. The standard library's `sin` differs between platforms.
pub(super) fn sin_turns(turns: f32) -> f32 {
    let t = turns - turns.floor() - 0.5;
    let parabola = -(8.0 * t - 16.0 * t * t.abs());
    parabola + 0.225 * (parabola * parabola.abs() - parabola)
}

/// 0 up to `from`, 1 from `to` on, a smooth cubic between; `from` may lie above `to`.
pub(super) fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Smooth noise over the frame: random values at the corners of a grid, interpolated.
pub(super) struct Lattice {
    cells_per_px: f32,
    columns: usize,
    values: Vec<f32>,
}

impl Lattice {
    /// Noise in -1..1 over `0..extent_px` both ways that changes over about `cell_px` pixels.
    pub(super) fn new(rng: &mut Rng, extent_px: f32, cell_px: f32) -> Self {
        let columns = (extent_px / cell_px) as usize + 3;
        Self {
            cells_per_px: 1.0 / cell_px,
            columns,
            values: (0..columns * columns).map(|_| rng.around_zero(1.0)).collect(),
        }
    }

    /// The noise at a point; points outside of the extent take the value at its edge.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let limit = (self.columns - 2) as f32;
        let (x, y) = (
            (x * self.cells_per_px).clamp(0.0, limit),
            (y * self.cells_per_px).clamp(0.0, limit),
        );
        // A position on the last line belongs to the cell before it.
        let (column, row) = ((x as usize).min(self.columns - 2), (y as usize).min(self.columns - 2));
        let (tx, ty) = (x - column as f32, y - row as f32);
        let (tx, ty) = (tx * tx * (3.0 - 2.0 * tx), ty * ty * (3.0 - 2.0 * ty));
        let corner = row * self.columns + column;
        let top = self.values[corner] + (self.values[corner + 1] - self.values[corner]) * tx;
        let below = corner + self.columns;
        let bottom = self.values[below] + (self.values[below + 1] - self.values[below]) * tx;
        top + (bottom - top) * ty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_gives_the_published_numbers() {
        // The first outputs of SplitMix64 for seed 1234567, as printed by the reference C program.
        let mut rng = Rng::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn sine_agrees_with_the_library() {
        for step in -200..200 {
            let turns = step as f32 / 57.0;
            let exact = (f64::from(turns) * std::f64::consts::TAU).sin() as f32;
            assert!((sin_turns(turns) - exact).abs() < 2e-3, "{turns}");
        }
    }

    #[test]
    fn lattice_is_bounded_and_continuous() {
        let lattice = Lattice::new(&mut Rng::new(3), 64.0, 9.0);
        let mut previous = lattice.at(-5.0, 10.0);
        for step in 0..1_500 {
            let value = lattice.at(step as f32 * 0.05 - 5.0, 10.0);
            assert!(value.abs() <= 1.0 && (value - previous).abs() < 0.05);
            previous = value;
        }
    }

    #[test]
    fn derived_seeds_differ() {
        let mut seeds: Vec<u64> = (0..3).flat_map(|a| (0..3).map(move |b| derive(7, &[a, b]))).collect();
        seeds.push(derive(7, &[0]));
        seeds.push(derive(8, &[0, 0]));
        let count = seeds.len();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), count);
    }
}
