//! Keeps pictures of rejected and borderline frames, and of the last frame of each camera, for people who look at them later.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crossbeam::channel::{Sender, bounded};
use intakt_kernels::give_way;
use intakt_operators::dataflow::JudgedFrame;
use intakt_operators::imaging::crop;
use intakt_operators::postprocess::{NearestRow, nearest_rows, strongest_point};
use intakt_operators::{Decision, RectPx, fixed_point};

use super::Sink;
use super::small::{Seen, Taken, encode_jpeg, small_pictures, small_size};
use crate::PipelineError;
use crate::pictures::{AboutPicture, Closer, KeptPicture, NearestPatch, Pictures, SIDE_PX, TrainingPicture};
use crate::sources::Clock;

/// Quality of its JPEG, of 100.
const QUALITY: u8 = 85;

/// Longest side of what is shown pixel by pixel.
const CLOSER_PX: u32 = 512;

/// Frames that pass are borderline from this calibrated score on; the threshold is at 0.5.
const BORDERLINE_FROM: f64 = 0.4;

/// Frames that wait to be drawn: each holds its pixels. Borderline ones leave places for rejected ones. What finds no place has no
/// picture.
const WAITING_MAX: usize = 16;
const BORDERLINE_WAITING_MAX: usize = 4;

/// Bytes of their pixels, and of those that are drawn. One frame alone may have more.
const WAITING_BYTES_MAX: usize = 256 << 20;

/// Draws and keeps pictures on a thread of its own. It takes from a frame what it draws, so that no frame waits for its picture.
pub struct PictureKeeper {
    /// None when it has finished.
    waiting: Mutex<Option<Sender<Taken>>>,
    waiting_bytes: Arc<AtomicUsize>,
    /// The newest frame of each camera that was looked at, drawn when there are no more.
    last: Mutex<BTreeMap<Arc<str>, Last>>,
    /// Rejected frames that found no place.
    missed: AtomicU64,
    /// Gives how many pictures could not be kept.
    thread: Mutex<Option<JoinHandle<u64>>>,
}

struct Last {
    seq: u64,
    /// None where it is drawn already, or waits for it.
    taken: Option<Taken>,
}

impl PictureKeeper {
    /// Keeps pictures in the file at `path`. Where that fails, `tell` is told why at once; what comes later is kept again if it can be.
    ///
    /// # Errors
    /// The file cannot be written, or the system gives no thread.
    pub fn start(
        path: &Path,
        clock: Arc<dyn Clock>,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, PipelineError> {
        let pictures = Pictures::open(path).map_err(PipelineError::Refused)?;
        let (waiting, frames) = bounded(WAITING_MAX);
        let waiting_bytes = Arc::<AtomicUsize>::default();
        let bytes_left = waiting_bytes.clone();
        let thread = Builder::new().name("pictures".to_owned()).spawn(move || {
            give_way();
            // A frame that cannot be drawn has no picture.
            let drawn = |taken: Taken| {
                let drawn = drawn(&taken, clock.now_us());
                bytes_left.fetch_sub(taken.bytes(), Ordering::Relaxed);
                Some((taken.verdict.camera.clone(), drawn.ok()?))
            };
            keep_all(frames.iter().filter_map(drawn), pictures, tell)
        });
        let refused = |error| PipelineError::Refused(format!("cannot start a thread for pictures: {error}"));
        Ok(Self {
            waiting: Mutex::new(Some(waiting)),
            waiting_bytes,
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

    /// Has a frame drawn if there is room for it.
    fn send(&self, waiting: &Sender<Taken>, taken: Taken) -> bool {
        let bytes = taken.bytes();
        if !has_room(self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed), bytes) || waiting.try_send(taken).is_err()
        {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Draws what waits and the last frame of each camera, and then no more. What went wrong, if something did: frames then have no
    /// pictures.
    pub fn finish(&self) -> Option<String> {
        let waiting = lock(&self.waiting).take();
        if let Some(waiting) = waiting {
            let last = std::mem::take(&mut *lock(&self.last));
            // Nobody takes them where the thread has ended, which says why.
            let _ = last.into_values().filter_map(|last| last.taken).try_for_each(|taken| {
                self.waiting_bytes.fetch_add(taken.bytes(), Ordering::Relaxed);
                waiting.send(taken)
            });
        }
        // If it panicked there are fewer pictures; the run is none the worse.
        let failed = lock(&self.thread).take()?.join().unwrap_or_default();
        let missed = self.missed.load(Ordering::Relaxed);
        let troubles = [
            (failed, "pictures could not be kept"),
            (
                missed,
                "rejected frames have no picture, because drawing did not keep up",
            ),
        ];
        let troubles = troubles.into_iter().filter(|(frames, _)| *frames > 0);
        let said: Vec<_> = troubles
            .map(|(frames, trouble)| format!("{frames} {trouble}"))
            .collect();
        (!said.is_empty()).then(|| said.join("; "))
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

/// Whether a frame may wait beside what waits.
fn has_room(waiting_bytes: usize, bytes: usize) -> bool {
    waiting_bytes == 0 || waiting_bytes + bytes <= WAITING_BYTES_MAX
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
            // If it was not, there is no room, or nobody draws any more.
            is_sent = self.send(waiting, Taken::of(found, verdict));
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

/// Keeps pictures of cameras until there are no more. How many could not be kept; of several in a row, `tell` is told about the first.
fn keep_all(drawn: impl Iterator<Item = (Arc<str>, KeptPicture)>, mut pictures: Pictures, tell: impl Fn(&str)) -> u64 {
    let (mut failed, mut is_failing) = (0, false);
    for (camera, picture) in drawn {
        let kept = pictures.keep(&camera, &picture);
        if let (Err(trouble), false) = (&kept, is_failing) {
            tell(&format!("{trouble}; frames have no pictures until that is over"));
        }
        is_failing = kept.is_err();
        failed += u64::from(is_failing);
    }
    failed
}

fn drawn(taken: &Taken, now_us: u64) -> Result<KeptPicture, String> {
    let seen = taken.seen();
    let [frame, heatmap] = small_pictures(&seen, None, SIDE_PX);
    Ok(KeptPicture {
        frame_px: [seen.image.width_px, seen.image.height_px],
        frame_jpeg: encode_jpeg(&frame, QUALITY)?,
        heatmap_jpeg: encode_jpeg(&heatmap, QUALITY)?,
        closer: closer(&seen)?,
        nearest: nearest_patches(&seen),
        about: AboutPicture {
            seq: seen.verdict.seq,
            is_rejected: seen.verdict.decision == Decision::Reject,
            drawn_at_us: now_us,
        },
    })
}

/// What is smaller in the picture of the frame than it is: what was found.
fn closer(seen: &Seen<'_>) -> Result<Option<Closer>, String> {
    let frame_px = [seen.image.width_px, seen.image.height_px];
    if small_size(frame_px, SIDE_PX) == frame_px {
        return Ok(None);
    }
    let Some(point) = strongest_point(seen.scores, &seen.verdict.regions, seen.detector.recipe()) else {
        return Ok(None);
    };
    let rect_px = around(point, frame_px);
    let jpeg = encode_jpeg(&crop(seen.image, rect_px), QUALITY)?;
    Ok(Some(Closer { rect_px, jpeg }))
}

/// The rectangle with this point in its middle, or as near to it as the frame's borders let it be.
fn around(point: [f64; 2], frame_px: [u32; 2]) -> RectPx {
    let [(x, width), (y, height)] = [0, 1].map(|axis| {
        let len = frame_px[axis].min(CLOSER_PX);
        let start = (point[axis] - f64::from(len) / 2.0).round() as u32;
        (start.min(frame_px[axis] - len), len)
    });
    RectPx { x, y, width, height }
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
    use std::cell::RefCell;

    use rusqlite::Connection;

    use super::*;
    use crate::pictures::tests::picture;

    #[test]
    fn what_cannot_be_kept_ends_no_later_picture() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pictures.sqlite");
        let pictures = Pictures::open(&path).unwrap();
        let beside = Connection::open(&path).unwrap();
        let rename = |from: &str, to: &str| {
            let sql = format!("ALTER TABLE {from} RENAME TO {to}");
            beside.execute_batch(&sql).unwrap();
        };
        let frames = (0..6).map(|seq| {
            match seq {
                1 => rename("pictures", "gone"),
                3 => rename("gone", "pictures"),
                _ => {}
            }
            ("dock".into(), picture(seq, true))
        });
        let told = RefCell::new(Vec::new());
        let failed = keep_all(frames, pictures, |trouble| told.borrow_mut().push(trouble.to_owned()));
        assert_eq!((failed, told.borrow().len()), (2, 1), "{told:?}");
        let pictures = Pictures::open(&path).unwrap();
        let is_kept = |seq: &u64| pictures.of("dock", *seq).unwrap().is_some();
        assert_eq!((0..6).filter(is_kept).collect::<Vec<_>>(), [0, 3, 4, 5]);
    }

    #[test]
    fn frames_wait_that_find_room_or_wait_alone() {
        let frame = 3 * 4_000 * 3_000;
        assert!(has_room(0, 10 * WAITING_BYTES_MAX));
        assert!(has_room(6 * frame, frame) && !has_room(7 * frame, frame));
    }

    #[test]
    fn what_is_shown_closer_lies_within_the_frame() {
        for (point, frame_px, expected) in [
            ([2_000.0, 1_000.0], [4_000, 3_000], [1_744, 744, 512, 512]),
            ([3.0, 2_990.0], [4_000, 3_000], [0, 2_488, 512, 512]),
            ([4_095.0, 100.0], [4_096, 256], [3_584, 0, 512, 256]),
        ] {
            let [x, y, width, height] = expected;
            assert_eq!(around(point, frame_px), RectPx { x, y, width, height }, "{point:?}");
        }
    }

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
