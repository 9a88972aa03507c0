//! Bounds the length of a manifest's rows while they are read.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Bytes of one row. A quote that is never closed would otherwise take the rest of the file into memory as one cell.
const ROW_BYTES_MAX: u64 = 64 * 1024;

/// Bytes that the CSV reader may be ahead of the row it hands out: its buffer.
pub(super) const READ_AHEAD_BYTES: usize = 8 * 1024;

/// A reader that fails when a row does not end in time.
pub(super) struct BoundedRows<R> {
    inner: R,
    n_read: u64,
    row_end: RowEnd,
}

/// Bytes from the start of the file after which the present row must have ended.
#[derive(Clone)]
pub(super) struct RowEnd(Rc<Cell<u64>>);

impl RowEnd {
    /// Tells the reader that the next row starts at this byte.
    pub(super) fn starts_at(&self, byte: u64) {
        self.0.set(byte + ROW_BYTES_MAX + READ_AHEAD_BYTES as u64);
    }
}

impl<R> BoundedRows<R> {
    /// A reader for the first row, and the handle that moves its limit on.
    pub(super) fn new(inner: R) -> (Self, RowEnd) {
        let row_end = RowEnd(Rc::new(Cell::new(0)));
        row_end.starts_at(0);
        let rows = Self {
            inner,
            n_read: 0,
            row_end: row_end.clone(),
        };
        (rows, row_end)
    }
}

impl<R: Read> Read for BoundedRows<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.n_read > self.row_end.0.get() {
            let reason = format!("the row is longer than {ROW_BYTES_MAX} bytes; is a quote not closed?");
            return Err(io::Error::other(reason));
        }
        let n_read = self.inner.read(buffer)?;
        self.n_read += n_read as u64;
        Ok(n_read)
    }
}
