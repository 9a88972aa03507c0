//! Numbers for tests, and how often they allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::cholesky::packed_len;
pub(crate) use crate::random::{splitmix64, values};

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

/// How often the calling thread allocates while it does `work`.
pub(crate) fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}
