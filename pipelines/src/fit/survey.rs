//! Looks at every image once before the work starts: which are readable, what is in them, which are held out.

use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::Frame;
use intakt_operators::dataflow::Offload;
use intakt_operators::detector::{ImageRole, ManifestEntry};
use intakt_operators::imaging::{decode, real_range, sixteen_bit_range};
use sha2::{Digest, Sha256};
use timely::dataflow::operators::{Inspect, Probe};

use super::training::streams;
use crate::datasets::Item;
use crate::run::run_files;
use crate::{PipelineError, Progress, RunOptions};

/// Share of training images that may be unreadable: a few torn files are life, more mean that something else is wrong.
pub const UNREADABLE_SHARE_MAX: f64 = 0.05;

/// Share of the training images that is held out to calibrate on: enough that the threshold rests on frames the detector
/// does not know, few enough to leave most for fitting.
const HELD_OUT_SHARE: f64 = 0.2;

/// Fewest images held out, where so many can be spared: a threshold from two scores says next to nothing.
const HELD_OUT_MIN: usize = 4;

/// A readable image.
#[derive(Clone, Debug)]
pub(crate) struct Surveyed {
    /// Where it is and what it is.
    pub(crate) item: Item,
    /// SHA-256 of its file.
    pub(crate) sha256: [u8; 32],
    /// The highest value in it, where it has 16 bits.
    pub(crate) sixteen_bit_max: Option<u16>,
}

impl Surveyed {
    pub(crate) fn manifest_entry(&self, role: ImageRole) -> ManifestEntry {
        let sha256 = self.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        ManifestEntry {
            name: self.item.name.clone(),
            sha256,
            role,
            sixteen_bit_max: self.sixteen_bit_max,
        }
    }
}

/// Decodes every image, and leaves out those that are unreadable, listing them. The order is that of `items`.
///
/// # Errors
/// More than [`UNREADABLE_SHARE_MAX`] of the images are unreadable.
pub(crate) fn survey(
    items: Vec<Item>,
    options: &RunOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Surveyed>, PipelineError> {
    let total = items.len();
    progress.begin("reading images", total as u64);
    let looked = map_frames(&items, options, progress, look)?;
    progress.end();
    let mut readable = Vec::with_capacity(total);
    for (item, looked) in items.into_iter().zip(looked) {
        match looked {
            Ok((sha256, sixteen_bit_max)) => readable.push(Surveyed {
                item,
                sha256,
                sixteen_bit_max,
            }),
            Err(reason) => progress.note(&format!("skipped \"{}\": {reason}", item.name)),
        }
    }
    let unreadable = total - readable.len();
    if readable.is_empty() || unreadable as f64 > UNREADABLE_SHARE_MAX * total as f64 {
        return Err(PipelineError::Refused(format!(
            "{unreadable} of {total} images are unreadable, more than {} %\n  hint: look at the files listed above",
            UNREADABLE_SHARE_MAX * 100.0
        )));
    }
    Ok(readable)
}

fn look(frame: &Frame) -> Result<([u8; 32], Option<u16>), String> {
    let bytes = frame.bytes.as_ref().map_err(|reason| reason.to_string())?;
    let highest = sixteen_bit_range(bytes).map_err(|error| error.to_string())?;
    decode(bytes, u16::MAX).map_err(|error| error.to_string())?;
    Ok((Sha256::digest(bytes).into(), highest))
}

/// Applies `work` to every image on the pool; results in the order of `items`.
pub(crate) fn map_frames<R: Clone + Send + 'static>(
    items: &[Item],
    options: &RunOptions,
    progress: &Arc<dyn Progress>,
    work: impl Fn(&Frame) -> Result<R, String> + Send + Sync + Clone + 'static,
) -> Result<Vec<Result<R, String>>, PipelineError> {
    let results = Arc::new(Mutex::new(Vec::new()));
    results
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .resize_with(items.len(), || None);
    let (slots, resources, progress) = (results.clone(), options.resources.clone(), progress.clone());
    let frames = streams(items, options.workers);
    run_files(frames, options, move |frames, closed| {
        let (slots, progress, work) = (slots.clone(), progress.clone(), work.clone());
        frames
            .offload(
                "survey",
                &resources,
                move |admitted| (admitted.frame.seq, work(&admitted.frame)),
                |admitted, message| (admitted.frame.seq, Err(format!("the decoder panicked: {message}"))),
            )
            .inspect(move |(seq, result): &(u64, Result<R, String>)| {
                progress.step();
                slots.lock().unwrap_or_else(PoisonError::into_inner)[*seq as usize] = Some(result.clone());
            })
            .probe_with(&closed);
    })?;
    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(results
        .drain(..)
        .map(|result| result.expect("every frame is answered"))
        .collect())
}

/// Divides images into those to fit on and those to calibrate on, by content: whether an image is held out does not depend on
/// which others there are, so that taking one out moves no other.
pub(crate) fn hold_out(images: Vec<Surveyed>) -> (Vec<Surveyed>, Vec<Surveyed>) {
    let by_share = |image: &Surveyed| rank(image) < HELD_OUT_SHARE;
    let held_out = images.iter().filter(|image| by_share(image)).count();
    if (HELD_OUT_MIN..=images.len() / 2).contains(&held_out) {
        return images.into_iter().partition(|image| !by_share(image));
    }
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|&a, &b| images[a].sha256.cmp(&images[b].sha256));
    // Never more than half: the detector is fitted on what is left.
    let few = HELD_OUT_MIN.min(images.len() / 2);
    let held: std::collections::BTreeSet<usize> = order.into_iter().take(few).collect();
    let (held_out, fitted_on): (Vec<_>, Vec<_>) = images
        .into_iter()
        .enumerate()
        .partition(|(index, _)| held.contains(index));
    let plain = |images: Vec<(usize, Surveyed)>| images.into_iter().map(|(_, image)| image).collect();
    (plain(fitted_on), plain(held_out))
}

/// A number in 0…1 that looks random and depends on the file's bytes alone.
fn rank(image: &Surveyed) -> f64 {
    let mut first = [0; 8];
    first.copy_from_slice(&image.sha256[..8]);
    u64::from_be_bytes(first) as f64 / u64::MAX as f64
}

/// The value of 16-bit images that becomes white: their real range, or the whole one where none has 16 bits.
pub(crate) fn sixteen_bit_max<'a>(images: impl Iterator<Item = &'a Surveyed>) -> u16 {
    images
        .filter_map(|image| image.sixteen_bit_max)
        .max()
        .map_or(u16::MAX, real_range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Split;
    use intakt_operators::Truth;

    fn images(n: usize) -> Vec<Surveyed> {
        let image = |i: usize| Surveyed {
            item: Item {
                path: format!("{i}.png").into(),
                name: format!("{i}.png"),
                split: Split::Train,
                truth: Truth::Normal,
                masks: vec![],
                camera: "c".into(),
                captured_at_us: None,
            },
            sha256: Sha256::digest(i.to_le_bytes()).into(),
            sixteen_bit_max: None,
        };
        (0..n).map(image).collect()
    }

    #[test]
    fn about_a_fifth_is_held_out_and_taking_an_image_out_moves_no_other() {
        let all = images(200);
        let (fitted_on, held_out) = hold_out(all.clone());
        assert!((25..=55).contains(&held_out.len()), "{}", held_out.len());
        let gone = fitted_on[17].item.name.clone();
        let without = all.into_iter().filter(|image| image.item.name != gone).collect();
        let names = |images: &[Surveyed]| -> Vec<String> { images.iter().map(|i| i.item.name.clone()).collect() };
        assert_eq!(names(&hold_out(without).1), names(&held_out));
    }

    #[test]
    fn few_images_leave_at_least_half_to_fit_on() {
        for n in 1..30 {
            let (fitted_on, held_out) = hold_out(images(n));
            assert_eq!(fitted_on.len() + held_out.len(), n);
            assert!(fitted_on.len() >= held_out.len(), "{n}");
            assert!(held_out.len() >= HELD_OUT_MIN.min(n / 2), "{n}");
        }
    }
}
