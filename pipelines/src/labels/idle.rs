//! Labels that change no figure.

use intakt_operators::dataflow::HOP_US;

use super::GivenLabel;
use crate::store::{Store, StoreError};

/// Frames that are named because they were not there; of more it is said how many.
const UNMATCHED_NAMED_MAX: usize = 10;

/// Of labels that were noted, those that change no figure: who waits for one to change is to see that it will not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdleLabels {
    /// Frames that are not there, as they are named to people.
    unmatched: Vec<String>,
    /// Labels of frames that were unreadable or dropped.
    unjudged: usize,
    /// Labels that came after the horizon.
    late: usize,
    horizon_us: u64,
}

impl IdleLabels {
    /// Looks which of `labels` change nothing, as they come `horizon_us` of event time or more after their frames, or are about frames
    /// that were not judged.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn among(labels: &[GivenLabel], store: &Store, horizon_us: u64) -> Result<Self, StoreError> {
        let mut idle = Self {
            horizon_us,
            ..Self::default()
        };
        for GivenLabel { camera, seq, .. } in labels {
            match store.judged_at_us(camera, *seq)? {
                Some((_, false)) => idle.unjudged += 1,
                Some((time_us, true)) => {
                    let frozen_us = (time_us / HOP_US * HOP_US + HOP_US).saturating_add(horizon_us);
                    idle.late += usize::from(frozen_us <= store.committed_frontier_us());
                }
                None => idle.unmatched.push(format!("frame {seq} of camera \"{camera}\"")),
            }
        }
        Ok(idle)
    }

    /// Sentences about those that are late or of frames that were not judged.
    pub fn notes(&self) -> Vec<String> {
        let unjudged = (self.unjudged > 0).then(|| {
            let counted = counted(self.unjudged);
            format!("{counted} about frames that were unreadable or dropped, and count for nothing")
        });
        let late = (self.late > 0).then(|| {
            let (counted, horizon) = (counted(self.late), self.horizon());
            format!(
                "{counted} given more than {horizon} of event time after their frames, and count for nothing; \
                 `label_horizon` in the run file says how long figures can be corrected"
            )
        });
        unjudged.into_iter().chain(late).collect()
    }

    /// A sentence about those of frames that are not there; of a run that goes on, or will, they may still come.
    pub fn unmatched_note(&self, goes_on: bool) -> Option<String> {
        let named = &self.unmatched[..self.unmatched.len().min(UNMATCHED_NAMED_MAX)];
        let more = match self.unmatched.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = named.join(", ");
        (!named.is_empty()).then(|| match goes_on {
            true => format!(
                "not in the log yet, which a frame is some seconds after its verdict: {named}{more}; what was said of it counts as soon as it is, \
                 within {} of event time",
                self.horizon()
            ),
            false => {
                format!("no such frame was there: {named}{more}; what was said of it is kept, and counts for nothing")
            }
        })
    }

    fn horizon(&self) -> String {
        let minutes = self.horizon_us as f64 / 60e6;
        match minutes < 60.0 {
            true => format!("{minutes:.0} min"),
            false => format!("{:.1} h", minutes / 60.0),
        }
    }
}

fn counted(labels: usize) -> String {
    match labels {
        1 => "1 label is".to_owned(),
        more => format!("{more} labels are"),
    }
}
