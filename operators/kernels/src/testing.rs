//! Numbers for tests, every vector unit in turn, and how often a test allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::cholesky::packed_len;
pub(crate) use crate::random::{splitmix64, values};

/// How many random cases a property is tried on: few where every instruction is interpreted.
pub(crate) const CASES: u64 = if cfg!(miri) { 4 } else { 200 };

/// Throws that are the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// 0 to `below` − 1.
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        (splitmix64(&mut self.0) % below as u64) as usize
    }

    /// 1 to `most`.
    pub(crate) fn size(&mut self, most: usize) -> usize {
        1 + self.roll(most)
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())]
    }

    /// Whole numbers of −64 to 64, every other one 0 or at an end: sums of 4,096 of their products are exact in whatever order.
    pub(crate) fn whole(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| match self.roll(8) {
                0 => 64.0,
                1 => -64.0,
                2 => 0.0,
                3 => -0.0,
                _ => self.roll(129) as f32 - 64.0,
            })
            .collect()
    }
}

/// What `work` gives, which has to be the same on every vector unit that this machine has.
#[track_caller]
pub(crate) fn on_every_unit<T: PartialEq + std::fmt::Debug>(work: impl Fn() -> T) -> T {
    let found = work();
    #[cfg(target_arch = "x86_64")]
    for level in [crate::simd::Level::Plain, crate::simd::Level::Avx2] {
        let _lowered = crate::simd::lowered::to(level);
        assert_eq!(work(), found, "{level:?}");
    }
    found
}

/// Panics unless both hold the same number of values, none further apart than `tolerance` (relative above 1).
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "lengths");
    for (at, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= tolerance * e.abs().max(1.0),
            "at {at}: {f}, expected {e}"
        );
    }
}

/// `B Bᵀ + I / 10` of random `B`, packed.
pub(crate) fn positive_definite(dims: usize, seed: u64) -> Vec<f64> {
    let b = values(dims * dims, seed);
    let mut packed = Vec::new();
    for i in 0..dims {
        for j in 0..=i {
            let product: f64 = (0..dims)
                .map(|k| f64::from(b[i * dims + k]) * f64::from(b[j * dims + k]))
                .sum();
            packed.push(product + if i == j { 0.1 } else { 0.0 });
        }
    }
    packed
}

/// Element `(i, j)` of a packed triangle.
pub(crate) fn at(packed: &[f64], i: usize, j: usize) -> f64 {
    if j <= i { packed[packed_len(i) + j] } else { 0.0 }
}

/// The system's allocator, which counts how often each thread asks it for memory.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

impl Counting {
    fn count(&self) {
        // A thread that ends has no count any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    }
}

// SAFETY: all is done by the system's allocator; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: the caller's promise, here and below.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// How often the calling thread has allocated.
pub(crate) fn allocations() -> usize {
    ALLOCATIONS.get()
}
