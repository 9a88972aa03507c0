//! Rows in pages.

use super::error::StoreError;

/// Rows read at once: some hundred kilobytes, and a lock that is held for a few milliseconds.
pub(super) const PAGE_ROWS: i64 = 1024;

/// Reads the page of rows behind an id.
type ReadPage<'s, T> = dyn Fn(i64) -> Result<Vec<(i64, T)>, StoreError> + 's;

/// Rows in the order of their ids, read page by page: memory is bounded, and nothing is locked between two pages. Rows that
/// are committed meanwhile come too. After an error nothing follows.
pub struct Pages<'s, T> {
    read: Box<ReadPage<'s, T>>,
    page: std::vec::IntoIter<(i64, T)>,
    after: i64,
    ended: bool,
    left: u64,
    failed: Option<StoreError>,
}

impl<'s, T> Pages<'s, T> {
    pub(super) fn new(read: impl Fn(i64) -> Result<Vec<(i64, T)>, StoreError> + 's) -> Self {
        Self {
            read: Box::new(read),
            page: Vec::new().into_iter(),
            after: 0,
            ended: false,
            left: u64::MAX,
            failed: None,
        }
    }

    /// At most `limit` rows.
    pub(super) fn limited(mut self, limit: Option<u64>) -> Self {
        self.left = limit.unwrap_or(u64::MAX);
        self
    }

    /// Nothing but an error.
    pub(super) fn failed(mut self, error: StoreError) -> Self {
        self.failed = Some(error);
        self
    }
}

impl<T> Iterator for Pages<'_, T> {
    type Item = Result<T, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.left = 0;
            return Some(Err(error));
        }
        if self.left == 0 {
            return None;
        }
        if self.page.len() == 0 && !self.ended {
            match (self.read)(self.after) {
                Ok(page) => {
                    self.ended = page.len() < PAGE_ROWS as usize;
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
        let (id, row) = self.page.next()?;
        self.after = id;
        self.left -= 1;
        Some(Ok(row))
    }
}
