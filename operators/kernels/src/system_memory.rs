//! How the system is asked for memory.

/// Asks the allocator to keep what is freed, up to 128 MiB at the end of each of its heaps, instead of giving it back: what a frame takes is
/// freed with it and asked for again with the next, and the system would clear it page by page in between, all the more slowly the more threads
/// it does so for. Before any thread is begun; only glibc's allocator is asked, on 64 bits, and no value depends on it.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64", not(miri)))]
    {
        // The largest that glibc takes: what is larger comes from the system, and goes back to it.
        const MAPPED_BYTES_MIN: libc::c_int = 32 << 20;
        const KEPT_BYTES_MAX: libc::c_int = 128 << 20;
        // SAFETY: these change limits of the allocator, under its lock; a thread that reads one meanwhile keeps more or less of what it frees.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
        }
    }
}

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
