//! Memory that several threads work on at once, each on its own rows.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;

/// Bytes of a cache line, and of the widest register.
const ALIGNMENT: usize = 64;

/// A fixed number of values, the first of which begins a cache line.
pub(super) struct Buffer<T> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its values, as a boxed slice does, and what is shared of it says itself who may touch what.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: values are only reached through `slice`, which reads, and `rows_mut`, whose caller answers for it.
unsafe impl<T: Send + Sync> Sync for Buffer<T> {}

/// Numbers that are zero where all their bytes are.
pub(super) trait Zeroed: Copy {}
impl Zeroed for u8 {}
impl Zeroed for i8 {}
impl Zeroed for f32 {}

impl<T: Zeroed> Buffer<T> {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout has at least one byte.
        let first = unsafe { alloc_zeroed(layout) }.cast::<T>();
        let first = NonNull::new(first).unwrap_or_else(|| handle_alloc_error(layout));
        Self { first, len }
    }

    /// `len` values, whatever they are: of others, all zeros, where there are not so many.
    pub(super) fn at_least(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Self::zeros(len);
        }
        &mut self.as_mut_slice()[..len]
    }

    /// The values.
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: `len` values were allocated and set to zero, which all of `Zeroed` can be; they are borrowed as `self` is.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T> Buffer<T> {
    fn layout(len: usize) -> Layout {
        let layout = Layout::array::<T>(len.max(1)).and_then(|layout| layout.align_to(ALIGNMENT));
        layout.expect("fewer bytes than there are addresses")
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The values.
    ///
    /// # Safety
    /// Nobody writes to them meanwhile.
    pub(super) unsafe fn slice(&self) -> &[T] {
        // SAFETY: `len` values were allocated and set, and the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }

    /// Some of the values, to be written.
    ///
    /// Panics unless they are there.
    ///
    /// # Safety
    /// Nobody else reads or writes them meanwhile.
    #[expect(clippy::mut_from_ref, reason = "threads write to different rows of one buffer")]
    pub(super) unsafe fn rows_mut(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "rows inside the buffer"
        );
        // SAFETY: the range lies inside what was allocated and set, and the caller keeps others away.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr().add(range.start), range.len()) }
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and numbers have nothing to drop.
        unsafe { dealloc(self.first.as_ptr().cast(), Self::layout(self.len)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zero_aligned_and_shared_by_rows() {
        let mut buffer = Buffer::<f32>::zeros(20);
        assert_eq!(buffer.as_mut_slice(), [0.0; 20]);
        assert_eq!(buffer.as_mut_slice().as_ptr() as usize % ALIGNMENT, 0);
        let shared = &buffer;
        std::thread::scope(|scope| {
            for half in 0..2 {
                // SAFETY: the halves do not overlap.
                scope.spawn(move || unsafe { shared.rows_mut(10 * half..10 * (half + 1)) }.fill(half as f32));
            }
        });
        assert!(buffer.as_mut_slice()[..10].iter().all(|value| *value == 0.0));
        assert!(buffer.as_mut_slice()[10..].iter().all(|value| *value == 1.0));
        assert_eq!(Buffer::<u8>::zeros(0).len(), 0);
    }
}
