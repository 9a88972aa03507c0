//! How much memory this process takes.

/// What of the memory is looked at.
#[derive(Clone, Copy)]
pub(crate) enum Resident {
    Now,
    Highest,
}

/// Resident memory; none where the system does not tell.
pub(crate) fn resident_bytes(of: Resident) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let key = match of {
        Resident::Now => "VmRSS:",
        Resident::Highest => "VmHWM:",
    };
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}
