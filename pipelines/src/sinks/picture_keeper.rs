//! Keeps pictures of rejected and borderline frames, and of the last frame of each camera, for people who look at them later.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded};
use intakt_operators::dataflow::JudgedFrame;
use intakt_operators::postprocess::{NearestRow, nearest_rows};
use intakt_operators::{Decision, fixed_point};

use super::Sink;
use super::small::{Seen, Taken, encode_jpeg, small_frame, small_heatmap};
use crate::PipelineError;
use crate::pictures::{AboutPicture, KeptPicture, NearestPatch, Pictures, SIDE_PX, TrainingPicture};
use crate::sources::Clock;

/// Quality of its JPEG, of 100.
const QUALITY: u8 = 85;

/// Frames that pass are borderline from this calibrated score on; the threshold is at 0.5.
const BORDERLINE_FROM: f64 = 0.4;

/// Frames that wait to be drawn: each holds its pixels. Borderline ones leave places for rejected ones. What finds no place has no
/// picture.
const WAITING_MAX: usize = 16;
const BORDERLINE_WAITING_MAX: usize = 4;

/// Draws and keeps pictures on a thread of its own. It takes from a frame what it draws, so that no frame waits for its picture.
pub struct PictureKeeper {
    /// None when it has finished.
    waiting: Mutex<Option<Sender<Taken>>>,
    /// The newest frame of each camera that was looked at, drawn when there are no more.
    last: Mutex<BTreeMap<Arc<str>, Last>>,
    /// Rejected frames that found no place.
    missed: AtomicU64,
    thread: Mutex<Option<JoinHandle<Option<String>>>>,
}

struct Last {
    seq: u64,
    /// None where it is drawn already, or waits for it.
    taken: Option<Taken>,
}

impl PictureKeeper {
    /// Keeps pictures in the file at `path`.
    ///
    /// # Errors
    /// The file cannot be written, or the system gives no thread.
    pub fn start(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, PipelineError> {
        let pictures = Pictures::open(path).map_err(PipelineError::Refused)?;
        let (waiting, frames) = bounded(WAITING_MAX);
        let thread = Builder::new()
            .name("pictures".to_owned())
            .spawn(move || keep_all(&frames, pictures, &*clock));
        let refused = |error| PipelineError::Refused(format!("cannot start a thread for pictures: {error}"));
        Ok(Self {
            waiting: Mutex::new(Some(waiting)),
            last: Mutex::default(),
            missed: AtomicU64::new(0),
            thread: Mutex::new(Some(thread.map_err(refused)?)),
        })
    }

    /// Frames are judged in any order.
    fn note_last(&self, camera: &Arc<str>, seq: u64, taken: impl FnOnce() -> Option<Taken>) {
        let mut last = lock(&self.last);
        match last.get_mut(camera) {
            Some(known) if known.seq > seq => {}
            Some(known) => *known = Last { seq, taken: taken() },
            None => {
                let taken = taken();
                last.insert(camera.clone(), Last { seq, taken });
            }
        }
    }

    /// Draws what waits and the last frame of each camera, and then no more. What went wrong, if something did: frames then have no
    /// pictures.
    pub fn finish(&self) -> Option<String> {
        let waiting = lock(&self.waiting).take();
        if let Some(waiting) = waiting {
            let last = std::mem::take(&mut *lock(&self.last));
            // Nobody takes them where the thread has ended, which says why.
            let _ = last
                .into_values()
                .filter_map(|last| last.taken)
                .try_for_each(|taken| waiting.send(taken));
        }
        // If it panicked there are fewer pictures; the run is none the worse.
        let trouble = lock(&self.thread).take()?.join().ok().flatten();
        let missed = self.missed.load(Ordering::Relaxed);
        trouble.or_else(|| {
            (missed > 0).then(|| format!("drawing did not keep up: {missed} rejected frames have no picture"))
        })
    }
}

/// Whether people should look at a frame.
fn is_worth_keeping(decision: &Decision, calibrated_score: f64, n_waiting: usize) -> bool {
    match decision {
        Decision::Reject => true,
        Decision::Pass => calibrated_score >= BORDERLINE_FROM && n_waiting < BORDERLINE_WAITING_MAX,
        Decision::Unreadable { .. } => false,
    }
}

impl Sink for PictureKeeper {
    fn at_once(&self, judged: &JudgedFrame) -> Result<(), String> {
        let Some(found) = &judged.evidence else {
            return Ok(());
        };
        let verdict = &judged.verdict;
        let mut is_sent = false;
        if let Some(waiting) = &*lock(&self.waiting)
            && is_worth_keeping(&verdict.decision, verdict.calibrated_score, waiting.len())
        {
            // If it was not, it is full, or nobody draws any more.
            is_sent = waiting.try_send(Taken::of(found, verdict)).is_ok();
            if !is_sent && verdict.decision == Decision::Reject {
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.note_last(&verdict.camera, verdict.seq, || {
            (!is_sent).then(|| Taken::of(found, verdict))
        });
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the pictures of frames until there are no more. What went wrong.
fn keep_all(frames: &Receiver<Taken>, mut pictures: Pictures, clock: &dyn Clock) -> Option<String> {
    for taken in frames {
        // A frame that cannot be drawn has no picture.
        if let Ok(picture) = drawn(&taken, clock.now_us())
            && let Err(trouble) = pictures.keep(&taken.verdict.camera, &picture)
        {
            return Some(format!("{trouble}; later frames have no pictures"));
        }
    }
    None
}

fn drawn(taken: &Taken, now_us: u64) -> Result<KeptPicture, String> {
    let seen = taken.seen();
    Ok(KeptPicture {
        frame_px: [seen.image.width_px, seen.image.height_px],
        frame_jpeg: encode_jpeg(&small_frame(&seen, None, SIDE_PX), QUALITY)?,
        heatmap_jpeg: encode_jpeg(&small_heatmap(&seen, SIDE_PX), QUALITY)?,
        nearest: nearest_patches(&seen),
        about: AboutPicture {
            seq: seen.verdict.seq,
            is_rejected: seen.verdict.decision == Decision::Reject,
            drawn_at_us: now_us,
        },
    })
}

/// The normal patches nearest to what was found, of a detector that knows where its normal patches come from.
fn nearest_patches(seen: &Seen<'_>) -> Vec<NearestPatch> {
    let Some(provenance) = seen.detector.provenance() else {
        return Vec::new();
    };
    let (recipe, scale) = (seen.detector.recipe(), &seen.detector.calibration().pixel);
    let nearest = nearest_rows(seen.scores, &seen.verdict.regions, recipe, scale);
    let patch = |nearest: NearestRow| {
        let (image, training_rect_px) = provenance.of(nearest.row)?;
        Some(NearestPatch {
            region: nearest.region.map(|idx| idx as u32),
            rect_px: nearest.rect_px,
            distance: fixed_point(nearest.distance),
            training: TrainingPicture {
                detector: seen.detector.id().to_string(),
                image: image.clone(),
            },
            training_rect_px,
        })
    };
    nearest.into_iter().filter_map(patch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_and_borderline_frames_are_kept() {
        for (decision, score, n_waiting, expected) in [
            (Decision::Reject, 0.9, 0, true),
            (Decision::Reject, 0.9, WAITING_MAX, true),
            (Decision::Pass, 0.45, 0, true),
            (Decision::Pass, 0.45, BORDERLINE_WAITING_MAX, false),
            (Decision::Pass, 0.39, 0, false),
        ] {
            assert_eq!(is_worth_keeping(&decision, score, n_waiting), expected, "{score}");
        }
    }
}
