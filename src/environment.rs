//! The machine that the program runs on, and how much of it is used: kept beside results, for their report.

use intakt_pipelines::RunOptions;
use serde::{Deserialize, Serialize};

/// A machine and how it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// Version of this program.
    pub(crate) intakt_version: String,
    /// Operating system and architecture.
    pub(crate) system: String,
    /// The processor as it calls itself, where the system says it.
    pub(crate) processor: Option<String>,
    /// Cores that the program may use.
    pub(crate) cores: usize,
    /// Memory of the machine, bytes, where the system says it.
    pub(crate) memory_bytes: Option<u64>,
    /// Dataflow workers.
    pub(crate) workers: usize,
    /// Threads for decoding, embedding and scoring.
    pub(crate) pool_threads: usize,
}

impl Environment {
    /// This machine, used as `options` say.
    pub(crate) fn of(options: &RunOptions) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            intakt_version: env!("CARGO_PKG_VERSION").to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: value_of("model name", &read("/proc/cpuinfo")).map(str::to_owned),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            workers: options.workers,
            pool_threads: options.resources.pool.threads(),
        }
    }
}

/// The value of a line `key : value`, as Linux writes them.
fn value_of<'a>(key: &str, text: &'a str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(name, _)| name.trim() == key)?;
    Some(value.trim())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = value_of("MemTotal", meminfo)?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.0 GHz\nprocessor\t: 1\nmodel name\t: Another\n";
        assert_eq!(value_of("model name", cpuinfo), Some("Some CPU @ 2.0 GHz"));
        assert_eq!(memory_bytes("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16_384));
        assert_eq!(
            (value_of("model name", ""), memory_bytes("MemTotal: much")),
            (None, None)
        );
    }
}
