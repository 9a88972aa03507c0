//! A set of sequence numbers that come nearly in order.

use std::collections::BTreeSet;

/// Numbers above the first missing one that are remembered: more never overtake one that is still to come.
const ABOVE_MAX: usize = 65_536;

/// All numbers below one, and some above it: what overtook is all that takes memory.
#[derive(Debug, Default)]
pub(super) struct SeqSet {
    below: u64,
    above: BTreeSet<u64>,
}

impl SeqSet {
    /// Whether the number was not in it before.
    pub(super) fn insert(&mut self, seq: u64) -> bool {
        if seq < self.below || !self.above.insert(seq) {
            return false;
        }
        if self.above.len() > ABOVE_MAX {
            // A gap that nothing has filled for so long is one.
            self.below = self.above.first().copied().unwrap_or(self.below);
        }
        while self.above.remove(&self.below) {
            self.below += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once_and_memory_holds_what_overtook() {
        let mut set = SeqSet::default();
        let new: Vec<bool> = [0, 2, 1, 1, 2, 5, 0, 3, 4, 5].map(|seq| set.insert(seq)).to_vec();
        assert_eq!(new, [true, true, true, false, false, true, false, true, true, false]);
        assert!(set.above.is_empty());
        assert_eq!(set.below, 6);
    }
}
