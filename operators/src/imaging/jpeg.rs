//! Whether the bytes of a JPEG reach its end.

use memchr::memchr;

const SOS: u8 = 0xda;
const EOI: u8 = 0xd9;

/// Walks the segments of a JPEG (ITU T.81, annex B) to its end-of-image marker. Markers inside a segment, such as the end of
/// an EXIF thumbnail, do not count, because segments are skipped by their length. Bytes after the end are allowed: cameras
/// pad. A stream that was cut and then closed by an end marker is not recognised: nothing in it says where it should end.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    // After the start-of-image marker.
    let mut at = 2;
    while let Some((marker, after)) = next_marker(bytes, at) {
        match marker {
            EOI => return true,
            _ if stands_alone(marker) => at = after,
            _ => {
                let Some(&[high, low]) = bytes.get(after..after + 2) else {
                    return false;
                };
                at = after + usize::from(u16::from_be_bytes([high, low])).max(2);
                if marker == SOS {
                    at = end_of_scan(bytes, at);
                }
            }
        }
    }
    false
}

/// The next marker at or after `at`, and where its segment begins; bytes that belong to no segment are skipped, as decoders
/// do.
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut at = at + memchr(0xff, bytes.get(at..)?)?;
    // A marker may be preceded by any number of fill bytes 0xff.
    while *bytes.get(at)? == 0xff {
        at += 1;
    }
    Some((bytes[at], at + 1))
}

/// Where the entropy-coded data that begins at `at` ends: at the first marker that is neither a stuffed 0 nor a restart.
fn end_of_scan(bytes: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some((marker, after)) = next_marker(bytes, at) {
        if marker != 0 && !stands_alone(marker) {
            return after - 2;
        }
        at = after;
    }
    bytes.len()
}

/// Markers without a length: a stuffed 0, TEM, restarts, start of image.
fn stands_alone(marker: u8) -> bool {
    matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8)
}
