//! Keeps where the rows of a memory bank come from, with small pictures of their training images.

use std::collections::{BTreeMap, BTreeSet};

use intakt_operators::RectPx;
use intakt_operators::detector::{PICTURE_SIDE_PX, PICTURES_MAX, Provenance, RowPlace, TrainingImage};
use intakt_operators::imaging::decode;

use super::survey::{Surveyed, map_frames};
use super::training::Training;
use crate::PipelineError;
use crate::sinks::small::{encode_jpeg, small_image};

/// Quality of the pictures, of 100: some 12 kB each.
const QUALITY: u8 = 75;

/// Where a row comes from.
pub(crate) struct RowSource {
    /// Index of the training image.
    pub(crate) image_idx: usize,
    /// The patch, frame pixels.
    pub(crate) rect_px: RectPx,
}

/// Looks again at the training images that rows come from, and makes pictures of them: where there are more than [`PICTURES_MAX`], of
/// those that most rows come from, and of equal ones the first.
pub(crate) fn keep(
    training: &Training<'_>,
    images: &[Surveyed],
    sources: &[RowSource],
) -> Result<Provenance, PipelineError> {
    let mut n_rows: BTreeMap<usize, usize> = BTreeMap::new();
    for source in sources {
        *n_rows.entry(source.image_idx).or_default() += 1;
    }
    let mut by_name: Vec<usize> = n_rows.keys().copied().collect();
    by_name.sort_by_key(|image_idx| &images[*image_idx].item.name);
    let pictured = most_used(&n_rows);
    let looked = look(training, images, &by_name, &pictured)?;
    let place_of: BTreeMap<usize, u32> = by_name.into_iter().zip(0..).collect();
    let rows = sources.iter().map(|source| RowPlace {
        image: place_of[&source.image_idx],
        rect_px: source.rect_px,
    });
    Provenance::new(looked, rows.collect()).map_err(PipelineError::Refused)
}

/// The images that have a picture.
fn most_used(n_rows: &BTreeMap<usize, usize>) -> BTreeSet<usize> {
    let mut order: Vec<(usize, usize)> = n_rows.iter().map(|(image_idx, n_rows)| (*image_idx, *n_rows)).collect();
    order.sort_by_key(|(_, n_rows)| std::cmp::Reverse(*n_rows));
    order
        .into_iter()
        .take(PICTURES_MAX)
        .map(|(image_idx, _)| image_idx)
        .collect()
}

/// The images of these indices, small.
fn look(
    training: &Training<'_>,
    images: &[Surveyed],
    indices: &[usize],
    pictured: &BTreeSet<usize>,
) -> Result<Vec<TrainingImage>, PipelineError> {
    let items: Vec<_> = indices.iter().map(|index| images[*index].item.clone()).collect();
    let is_pictured: Vec<bool> = indices.iter().map(|index| pictured.contains(index)).collect();
    let sixteen_bit_max = training.recipe.input.sixteen_bit_max;
    training.progress.begin("drawing training images", items.len() as u64);
    let looked = map_frames(&items, training.options, training.progress, move |frame| {
        let bytes = frame.bytes.as_ref().map_err(|reason| reason.to_string())?;
        let image = decode(bytes, sixteen_bit_max).map_err(|error| error.to_string())?;
        let jpeg = match is_pictured[frame.seq as usize] {
            true => encode_jpeg(&small_image(&image, PICTURE_SIDE_PX), QUALITY)?,
            false => Vec::new(),
        };
        Ok((image.width_px, image.height_px, jpeg))
    })?;
    training.progress.end();
    let named = items.into_iter().zip(looked).map(|(item, looked)| match looked {
        Ok((width_px, height_px, jpeg)) => Ok(TrainingImage {
            name: item.name,
            width_px,
            height_px,
            jpeg,
        }),
        Err(reason) => Err(PipelineError::Refused(format!(
            "cannot fit on \"{}\": {reason}",
            item.name
        ))),
    });
    named.collect()
}
