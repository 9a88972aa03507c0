//! The parts of a `multipart` body (RFC 2046), one after the other: what is held of them is bounded, however long the body is.

/// Longest head of a part, and longest text before the first one, bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Longest boundary, characters, as RFC 2046 has it.
const BOUNDARY_MAX: usize = 70;

/// The header of a part that says when its image was captured.
const CAPTURED_AT: &[u8] = b"captured-at-us";

/// Takes a body apart as it comes.
pub(super) struct Parts {
    /// What stands between two parts.
    delimiter: Vec<u8>,
    part_bytes_max: usize,
    /// What came and was not given yet.
    buffer: Vec<u8>,
    /// Up to here there is no delimiter in it.
    looked: usize,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    BeforeFirst,
    BehindDelimiter,
    InHead,
    InPart { captured_at_us: Option<Vec<u8>> },
    AtEnd,
}

/// What there is of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More has to come first.
    More,
    /// A part.
    Part(Part),
    /// All parts were given.
    End,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What its header `Captured-At-Us` says.
    pub(super) captured_at_us: Option<Vec<u8>>,
    pub(super) bytes: Vec<u8>,
}

/// Why a body cannot be taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is no such body.
    Broken(&'static str),
    /// A part is larger than is taken.
    TooLarge,
}

impl Parts {
    /// The parts of a body of this content type; none if it is another.
    pub(super) fn of(content_type: &str, part_bytes_max: usize) -> Option<Self> {
        let mut words = content_type.split(';').map(str::trim);
        let kind = words.next()?;
        let (main, _) = kind.split_once('/')?;
        if !main.eq_ignore_ascii_case("multipart") {
            return None;
        }
        let boundary = words.find_map(|word| {
            let (key, value) = word.split_once('=')?;
            key.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
        })?;
        if boundary.is_empty() || boundary.len() > BOUNDARY_MAX {
            return None;
        }
        Some(Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            part_bytes_max,
            // The first delimiter may stand at the very beginning, without a line before it.
            buffer: b"\r\n".to_vec(),
            looked: 0,
            place: Place::BeforeFirst,
        })
    }

    /// More of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next part, as soon as it is there.
    ///
    /// # Errors
    /// The body is not one of parts, or one of them is too large.
    pub(super) fn next(&mut self) -> Result<Step, Unfit> {
        loop {
            match &self.place {
                Place::BeforeFirst => match self.delimited() {
                    Some(at) => self.go_on(at + self.delimiter.len(), Place::BehindDelimiter),
                    None if self.buffer.len() > HEAD_BYTES_MAX => {
                        return Err(Unfit::Broken("its boundary does not come"));
                    }
                    None => return Ok(Step::More),
                },
                Place::BehindDelimiter => match self.buffer.get(..2) {
                    None => return Ok(Step::More),
                    Some(b"--") => self.place = Place::AtEnd,
                    Some(b"\r\n") => self.go_on(0, Place::InHead),
                    Some(_) => return Err(Unfit::Broken("there is no line break behind a boundary")),
                },
                Place::InHead => {
                    // The line break before it is still there, so that a head without headers ends too.
                    match find(&self.buffer, b"\r\n\r\n", 0) {
                        Some(at) => {
                            let captured_at_us = header(&self.buffer[..at], CAPTURED_AT);
                            self.go_on(at + 4, Place::InPart { captured_at_us });
                        }
                        None if self.buffer.len() > HEAD_BYTES_MAX => {
                            return Err(Unfit::Broken("the headers of a part are too long"));
                        }
                        None => return Ok(Step::More),
                    }
                }
                Place::InPart { captured_at_us } => {
                    let captured_at_us = captured_at_us.clone();
                    let Some(at) = self.delimited() else {
                        return match self.buffer.len() > self.part_bytes_max + self.delimiter.len() {
                            true => Err(Unfit::TooLarge),
                            false => Ok(Step::More),
                        };
                    };
                    if at > self.part_bytes_max {
                        return Err(Unfit::TooLarge);
                    }
                    let bytes = self.buffer[..at].to_vec();
                    self.go_on(at + self.delimiter.len(), Place::BehindDelimiter);
                    return Ok(Step::Part(Part { captured_at_us, bytes }));
                }
                Place::AtEnd => return Ok(Step::End),
            }
        }
    }

    /// Where the next delimiter is.
    fn delimited(&mut self) -> Option<usize> {
        let found = find(&self.buffer, &self.delimiter, self.looked);
        // Its beginning may be there already.
        self.looked = self.buffer.len().saturating_sub(self.delimiter.len());
        found
    }

    fn go_on(&mut self, from: usize, place: Place) {
        self.buffer.drain(..from);
        self.looked = 0;
        self.place = place;
    }
}

/// Where `wanted`, which begins with a carriage return, is at `from` or later.
fn find(bytes: &[u8], wanted: &[u8], mut from: usize) -> Option<usize> {
    loop {
        from += bytes.get(from..)?.iter().position(|byte| *byte == b'\r')?;
        if bytes[from..].starts_with(wanted) {
            return Some(from);
        }
        from += 1;
    }
}

/// The value of a header.
fn header(head: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let is_it = line[..colon].trim_ascii().eq_ignore_ascii_case(name);
        is_it.then(|| line[colon + 1..].trim_ascii().to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"--x y\"";

    fn part(bytes: &[u8]) -> Part {
        Part {
            captured_at_us: None,
            bytes: bytes.to_vec(),
        }
    }

    /// What comes of a body that arrives in pieces of `piece` bytes.
    fn taken_apart(body: &[u8], piece: usize, part_bytes_max: usize) -> Result<(Vec<Part>, bool), Unfit> {
        let mut parts = Parts::of(TYPE, part_bytes_max).unwrap();
        let (mut found, mut pieces) = (Vec::new(), body.chunks(piece));
        loop {
            match parts.next()? {
                Step::Part(part) => found.push(part),
                Step::End => return Ok((found, true)),
                Step::More => match pieces.next() {
                    Some(piece) => parts.feed(piece),
                    None => return Ok((found, false)),
                },
            }
        }
    }

    #[test]
    fn parts_are_what_was_sent_however_they_arrive() {
        let body =
            b"before\r\n----x y\r\nContent-Disposition: form-data; name=a\r\ncaptured-AT-us:  17 \r\n\r\nfirst\r\n--\
                     \r\n----x y\r\n\r\n\r\n----x\r\n\r\n----x y--\r\nbehind";
        for piece in [1, 2, 3, 7, 1_000] {
            let (parts, has_ended) = taken_apart(body, piece, 100).unwrap();
            let first = Part {
                captured_at_us: Some(b"17".to_vec()),
                ..part(b"first\r\n--")
            };
            assert_eq!(parts, [first, part(b"\r\n----x\r\n")], "{piece}");
            assert!(has_ended);
        }
        let at_once = b"----x y\r\n\r\na\r\n----x y--";
        assert_eq!(taken_apart(at_once, 4, 1), Ok((vec![part(b"a")], true)));
    }

    #[test]
    fn a_body_that_is_cut_gives_what_was_whole() {
        let body = b"----x y\r\n\r\nfirst\r\n----x y\r\n\r\nsecond\r\n----x y--";
        for end in 0..body.len() - 2 {
            let (parts, has_ended) = taken_apart(&body[..end], 5, 100).unwrap();
            assert!(!has_ended && parts.len() <= 2, "{end}");
        }
    }

    #[test]
    fn nothing_is_held_beyond_what_may_be() {
        let endless = |head: &str| [head.as_bytes(), &vec![b'x'; 20_000]].concat();
        for body in ["", "----x y\r\n", "----x y\r\na: b\r\n"] {
            assert!(
                matches!(taken_apart(&endless(body), 100, 50), Err(Unfit::Broken(_))),
                "{body}"
            );
        }
        assert_eq!(taken_apart(&endless("----x y\r\n\r\n"), 100, 50), Err(Unfit::TooLarge));
        let just = |bytes: usize| [b"----x y\r\n\r\n", &vec![b'x'; bytes][..], b"\r\n----x y--"].concat();
        assert!(taken_apart(&just(50), 1_000, 50).is_ok());
        assert_eq!(taken_apart(&just(51), 1_000, 50), Err(Unfit::TooLarge));
        assert_eq!(
            taken_apart(b"----x yes", 9, 50),
            Err(Unfit::Broken("there is no line break behind a boundary"))
        );
    }

    #[test]
    fn other_bodies_have_no_parts() {
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        for other in [
            "",
            "image/png",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            &long,
            "a/b; boundary=x",
        ] {
            assert!(Parts::of(other, 1).is_none(), "{other}");
        }
    }
}
