//! Large pages for what is read from end to end, or all over, for every frame.

/// Asks the system to keep these values in pages of 2 MiB where they fill such: reading 40 MB then misses the table of pages 20 times
/// instead of 10,000. What the system makes of it changes no value; where it knows nothing of it, or has no such page, all stays as it is.
pub(crate) fn keep_in_large_pages<T>(values: &[T]) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        const PAGE_BYTES: usize = 2 << 20;
        let first = values.as_ptr().addr().next_multiple_of(PAGE_BYTES);
        let end = (values.as_ptr().addr() + size_of_val(values)) / PAGE_BYTES * PAGE_BYTES;
        if first < end {
            // SAFETY: the range lies inside the values. The system moves what is there to other memory and shows it at the same
            // addresses, so that nobody who reads meanwhile sees anything else.
            unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_COLLAPSE) };
        }
    }
    let _ = values;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_what_they_are() {
        for len in [0, 1, 1_000, (5 << 20) + 3] {
            let values: Vec<u16> = (0..len).map(|at| at as u16).collect();
            keep_in_large_pages(&values);
            assert!(values.iter().enumerate().all(|(at, value)| *value == at as u16));
        }
    }
}
