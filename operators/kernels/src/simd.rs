//! Compiles a function once more for the vector units the machine may have, and picks at run time.

/// Declares a function whose body is compiled for plain x86-64, AVX2 and AVX-512, and dispatched at run time.
///
/// The bodies are plain Rust: the compiler vectorises them, but never fuses or reorders floating-point operations, so all
/// versions give the same bits.
macro_rules! multiversion {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $visibility fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2")]
                fn avx512($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }

                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }

                match $crate::simd::level() {
                    // SAFETY: `level` is `Avx512` only where every feature that `avx512` enables was detected.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `level` is `Avx2` only where that feature was detected.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Level::Plain => {}
                }
            }
            body($($arg),*)
        }
    };
}

/// The best vector unit that [`multiversion`] has a version for.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What every x86-64 has.
    Plain,
    /// 256-bit vectors.
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

/// What this machine has, or less where a test wants to see what another one does.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(test)]
    return detected().min(lowered::limit());
    #[cfg(not(test))]
    detected()
}

/// What this machine has; the answer is cached by the standard library.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn detected() -> Level {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    match (avx512, is_x86_feature_detected!("avx2")) {
        (true, true) => Level::Avx512,
        (_, true) => Level::Avx2,
        _ => Level::Plain,
    }
}

/// Versions for lesser machines, on this one.
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) mod lowered {
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::Level;

    const LEVELS: [Level; 3] = [Level::Plain, Level::Avx2, Level::Avx512];
    static LIMIT: AtomicU8 = AtomicU8::new(2);
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    pub(super) fn limit() -> Level {
        LEVELS[usize::from(LIMIT.load(Ordering::SeqCst))]
    }

    /// Until it is dropped, every thread takes the versions of `limit` or less. Other tests find the same bits with them.
    pub(crate) struct Lowered(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

    pub(crate) fn to(limit: Level) -> Lowered {
        let held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        LIMIT.store(limit as u8, Ordering::SeqCst);
        Lowered(held)
    }

    impl Drop for Lowered {
        fn drop(&mut self) {
            LIMIT.store(2, Ordering::SeqCst);
        }
    }
}
