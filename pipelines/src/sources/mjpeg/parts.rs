//! Cuts the body of a `multipart/x-mixed-replace` answer into its parts.

/// Bytes before a boundary after which it is taken to be another one.
const PREAMBLE_BYTES_MAX: usize = 64 << 10;
/// Bytes of the headers of a part.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// Number of headers of a part.
const HEADERS_MAX: usize = 32;

/// The bytes of an answer that are not handed out yet: less than a part and what was read with its end.
pub(super) struct Parts {
    delimiter: Vec<u8>,
    part_bytes_max: usize,
    buffer: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a boundary.
    Between,
    Headers,
    /// In a part, of which so many bytes are known to hold no boundary.
    Body {
        length: Option<usize>,
        searched: usize,
    },
}

impl Parts {
    /// Parts between lines of two dashes and `boundary`. Some cameras state the boundary with its dashes.
    pub(super) fn new(boundary: &str, part_bytes_max: usize) -> Self {
        Self {
            delimiter: format!("--{}", boundary.trim_start_matches('-')).into_bytes(),
            part_bytes_max,
            buffer: Vec::new(),
            state: State::Between,
        }
    }

    /// Takes what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a part has begun and not ended.
    pub(super) fn is_in_part(&self) -> bool {
        match self.state {
            State::Between => false,
            // A boundary is often sent with the part before it.
            State::Headers => !self.buffer.is_empty(),
            State::Body { .. } => true,
        }
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next part, if it is complete.
    ///
    /// # Errors
    /// A sentence, after which nothing can be made of the answer any more.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let went_on = match self.state {
                State::Between => self.find_boundary()?,
                State::Headers => self.read_headers()?,
                State::Body {
                    length: Some(length), ..
                } => {
                    if self.buffer.len() < length {
                        return Ok(None);
                    }
                    let rest = self.buffer.split_off(length);
                    self.state = State::Between;
                    return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
                }
                State::Body { length: None, searched } => return self.body_until_boundary(searched),
            };
            if !went_on {
                return Ok(None);
            }
        }
    }

    fn find_boundary(&mut self) -> Result<bool, String> {
        let found = find(&self.buffer, &self.delimiter, 0);
        let Some((at, line_end)) = found.and_then(|at| Some((at, find(&self.buffer, b"\n", at)?))) else {
            if self.buffer.len() > PREAMBLE_BYTES_MAX {
                return Err(format!(
                    "no boundary in {PREAMBLE_BYTES_MAX} bytes: its parts are divided by another than it states"
                ));
            }
            return Ok(false);
        };
        if self.buffer[at + self.delimiter.len()..].starts_with(b"--") {
            return Err("the camera ended the stream".into());
        }
        self.buffer.drain(..=line_end);
        self.state = State::Headers;
        Ok(true)
    }

    fn read_headers(&mut self) -> Result<bool, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let parsed = httparse::parse_headers(&self.buffer, &mut headers);
        match parsed.map_err(|error| format!("the headers of a part are damaged: {error}"))? {
            httparse::Status::Complete((end, headers)) => {
                let length = content_length(headers, self.part_bytes_max)?;
                self.buffer.drain(..end);
                self.state = State::Body { length, searched: 0 };
                Ok(true)
            }
            httparse::Status::Partial if self.buffer.len() > HEADERS_BYTES_MAX => Err(format!(
                "the headers of a part take more than {HEADERS_BYTES_MAX} bytes"
            )),
            httparse::Status::Partial => Ok(false),
        }
    }

    fn body_until_boundary(&mut self, mut searched: usize) -> Result<Option<Vec<u8>>, String> {
        while let Some(at) = find(&self.buffer, &self.delimiter, searched) {
            // Only at the begin of a line, or the picture itself could end its part.
            let dashes = self.buffer[..at].iter().rev().take_while(|byte| **byte == b'-').count();
            let body = &self.buffer[..at - dashes];
            if let Some(body) = body.strip_suffix(b"\n") {
                let end = body.strip_suffix(b"\r").unwrap_or(body).len();
                let rest = self.buffer.split_off(at);
                self.state = State::Between;
                let mut body = std::mem::replace(&mut self.buffer, rest);
                body.truncate(end);
                return Ok(Some(body));
            }
            searched = at + 1;
        }
        if self.buffer.len() > self.part_bytes_max {
            return Err(format!(
                "a part of more than {} bytes; no boundary in it",
                self.part_bytes_max
            ));
        }
        // The boundary may have come in part.
        let searched = searched.max(self.buffer.len().saturating_sub(self.delimiter.len()));
        self.state = State::Body { length: None, searched };
        Ok(None)
    }
}

fn content_length(headers: &[httparse::Header<'_>], part_bytes_max: usize) -> Result<Option<usize>, String> {
    let stated = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let Some(stated) = stated else {
        return Ok(None);
    };
    let length = std::str::from_utf8(stated.value)
        .ok()
        .and_then(|value| value.trim().parse::<u64>().ok());
    let length = length.ok_or("the length of a part is not a number")?;
    match usize::try_from(length) {
        Ok(length) if length <= part_bytes_max => Ok(Some(length)),
        _ => Err(format!("a part of {length} bytes; at most {part_bytes_max} are read")),
    }
}

fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let found = bytes
        .get(from..)?
        .windows(wanted.len())
        .position(|window| window == wanted);
    found.map(|at| at + from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All parts, when the bytes come in pieces of `piece`.
    fn parts(boundary: &str, bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, String> {
        let (mut parts, mut found) = (Parts::new(boundary, 1000), Vec::new());
        for piece in bytes.chunks(piece) {
            parts.push(piece);
            while let Some(part) = parts.next()? {
                found.push(part);
            }
        }
        Ok(found)
    }

    #[test]
    fn parts_are_the_same_however_the_bytes_arrive() {
        let with_length = b"junk\r\n--b\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\nA\r\n--b\r\nZ\r\n--b\r\ncontent-length:1\r\n\r\nB\r\n--b\r\n\r\nC";
        let without = b"--b\r\nX: y\r\n\r\nA--b\r\n--b\r\n\r\nB\n--b\r\n\r\nC";
        let dashes = b"----b\r\nX: y\r\n\r\nA--b\r\n----b\r\n\r\nB\n----b\r\n\r\nC";
        for piece in 1..with_length.len() {
            assert_eq!(
                parts("b", with_length, piece),
                Ok(vec![b"A\r\n--b\r\nZ".to_vec(), b"B".to_vec()])
            );
            assert_eq!(parts("b", without, piece), Ok(vec![b"A--b".to_vec(), b"B".to_vec()]));
            assert_eq!(parts("--b", without, piece), parts("b", without, piece));
            assert_eq!(parts("--b", dashes, piece), parts("b", without, piece));
        }
    }

    #[test]
    fn nothing_grows_without_bound() {
        let endless = vec![b'x'; 100_000];
        let headers: Vec<u8> = b"X: y\r\n".repeat(30).into_iter().chain(vec![b'x'; 20_000]).collect();
        for (bytes, reason) in [
            (endless.clone(), "no boundary in 65536"),
            (
                [b"--b\r\n".to_vec(), headers].concat(),
                "the headers of a part take more than",
            ),
            (
                [b"--b\r\n".to_vec(), b"X: y\r\n".repeat(100)].concat(),
                "the headers of a part are damaged",
            ),
            (
                [b"--b\r\n\r\n".to_vec(), endless].concat(),
                "a part of more than 1000 bytes",
            ),
            (
                b"--b\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
                "a part of 99999999999 bytes; at most 1000",
            ),
            (
                b"--b\r\nContent-Length: -1\r\n\r\n".to_vec(),
                "the length of a part is not a number",
            ),
            (b"--b--\r\n".to_vec(), "the camera ended the stream"),
        ] {
            let refused = parts("b", &bytes, 7).expect_err("refused");
            assert!(refused.starts_with(reason), "{refused}");
        }
    }
}
