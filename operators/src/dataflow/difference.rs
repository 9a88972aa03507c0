//! The counts that differential adds up and takes back.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};

use crate::metrics::{ScoreHistogram, Tally};

impl IsZero for Tally {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl Semigroup for Tally {
    fn plus_equals(&mut self, other: &Self) {
        self.add(other);
    }
}

impl Monoid for Tally {
    fn zero() -> Self {
        Self::default()
    }
}

impl Abelian for Tally {
    fn negate(&mut self) {
        Tally::negate(self);
    }
}

impl IsZero for ScoreHistogram {
    fn is_zero(&self) -> bool {
        self.counts().is_empty()
    }
}

impl Semigroup for ScoreHistogram {
    fn plus_equals(&mut self, other: &Self) {
        self.add(other);
    }
}

impl Monoid for ScoreHistogram {
    fn zero() -> Self {
        Self::default()
    }
}

impl Abelian for ScoreHistogram {
    fn negate(&mut self) {
        ScoreHistogram::negate(self);
    }
}
