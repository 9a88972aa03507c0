//! Where a run begins: what process 0 knows from the run's store, and the others need.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::ResumePoint;

/// Longest statement that is read, bytes: a thousand cameras, each with a hundred frames that overtook others, take a tenth.
const BYTES_MAX: u32 = 16 << 20;

/// Where a run begins, or goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beginning {
    /// Nothing enters before, microseconds.
    pub from_us: u64,
    /// Whether the run had ended, so that nothing was lost.
    pub was_ended: bool,
    /// By camera, where it goes on.
    pub cameras: BTreeMap<Arc<str>, ResumePoint>,
    /// By camera, the threshold that it was switched to.
    pub thresholds: BTreeMap<Arc<str>, f64>,
}

impl Beginning {
    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let length = u32::try_from(json.len()).ok().filter(|length| *length <= BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is too long"))?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(&json)
    }

    /// Reads a statement, and no more than that.
    pub(super) fn receive(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        let mut json = Vec::new();
        from.take(length.into()).read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_read_as_it_was_sent_and_what_follows_is_left() {
        let point = ResumePoint {
            next_seq: 7,
            already_stored: [9, 11].into(),
        };
        let beginning = Beginning {
            from_us: 5_000_000,
            was_ended: true,
            cameras: BTreeMap::from([("left".into(), point)]),
            thresholds: BTreeMap::from([("left".into(), 0.1)]),
        };
        let mut bytes = Vec::new();
        beginning.send(&mut bytes).unwrap();
        bytes.extend(b"more");
        let mut from = bytes.as_slice();
        assert_eq!(Beginning::receive(&mut from).unwrap(), beginning);
        assert_eq!(from, b"more");
        assert!(Beginning::receive(&mut &bytes[..20]).is_err());
        assert!(Beginning::receive(&mut [255; 8].as_slice()).is_err());
    }
}
