//! What processes say to each other before they begin.

use std::io::{self, Read, Write};

/// Begins every greeting, with the version of what follows.
const MAGIC: [u8; 8] = *b"INTAKT\0\x01";

const BYTES: usize = MAGIC.len() + 32 + 8 + 3 * 4;

/// Who a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Hash of what all must agree on.
    pub(super) run: [u8; 32],
    pub(super) generation: u64,
    pub(super) process: u32,
    pub(super) processes: u32,
    /// Workers of every process: they number each other.
    pub(super) workers: u32,
}

/// What to make of another process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It belongs to the run.
    Companion,
    /// It belongs to the run and was started again more often.
    Newer,
    /// It will be started again, or takes over our generation.
    Older,
    /// It runs something else, and why that is to be seen.
    Stranger(String),
}

impl Hello {
    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.run);
        bytes.extend(self.generation.to_le_bytes());
        for number in [self.process, self.processes, self.workers] {
            bytes.extend(number.to_le_bytes());
        }
        to.write_all(&bytes)
    }

    /// Reads a greeting, and no more than that.
    pub(super) fn receive(from: &mut impl Read) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not speak as intakt does",
            ));
        }
        let (mut run, mut long) = ([0; 32], [0; 8]);
        from.read_exact(&mut run)?;
        from.read_exact(&mut long)?;
        let mut number = || {
            let mut short = [0; 4];
            from.read_exact(&mut short).map(|()| u32::from_le_bytes(short))
        };
        Ok(Self {
            run,
            generation: u64::from_le_bytes(long),
            process: number()?,
            processes: number()?,
            workers: number()?,
        })
    }

    /// What to make of `other`.
    pub(super) fn meets(&self, other: &Self) -> Met {
        if other.processes != self.processes {
            let (there, here) = (other.processes, self.processes);
            return Met::Stranger(format!("its hosts file names {there} processes and ours {here}"));
        }
        if other.process == self.process || other.process >= self.processes {
            return Met::Stranger(format!("it was started with `--process {}`", other.process));
        }
        if other.workers != self.workers {
            let (there, here) = (other.workers, self.workers);
            return Met::Stranger(format!("it has {there} workers and we have {here}"));
        }
        if other.run != self.run {
            return Met::Stranger("its run file, detectors, hosts file or version is another one".to_owned());
        }
        match other.generation.cmp(&self.generation) {
            std::cmp::Ordering::Equal => Met::Companion,
            std::cmp::Ordering::Greater => Met::Newer,
            std::cmp::Ordering::Less => Met::Older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: Hello = Hello {
        run: [7; 32],
        generation: 3,
        process: 1,
        processes: 2,
        workers: 4,
    };

    #[test]
    fn a_greeting_is_read_as_it_was_sent() {
        let mut bytes = Vec::new();
        HELLO.send(&mut bytes).unwrap();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(Hello::receive(&mut bytes.as_slice()).unwrap(), HELLO);
        assert!(Hello::receive(&mut &bytes[..BYTES - 1]).is_err());
        assert!(Hello::receive(&mut "GET / HTTP/1.1\r\n\r\n".as_bytes()).is_err());
    }

    #[test]
    fn only_the_same_run_is_met_and_the_highest_generation_wins() {
        let other = Hello { process: 0, ..HELLO };
        assert_eq!(HELLO.meets(&other), Met::Companion);
        assert_eq!(HELLO.meets(&Hello { generation: 4, ..other }), Met::Newer);
        assert_eq!(HELLO.meets(&Hello { generation: 2, ..other }), Met::Older);
        for stranger in [
            Hello { run: [8; 32], ..other },
            Hello { process: 1, ..other },
            Hello { process: 2, ..other },
            Hello { processes: 3, ..other },
            Hello { workers: 1, ..other },
        ] {
            assert!(matches!(HELLO.meets(&stranger), Met::Stranger(_)), "{stranger:?}");
        }
    }
}
