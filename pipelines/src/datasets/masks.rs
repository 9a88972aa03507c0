//! Finds the masks of an image by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::files::Found;

/// The masks of one dataset, by the sub-folder they lie in and the stem of the image they belong to.
#[derive(Default)]
pub(super) struct Masks {
    by_image: BTreeMap<(PathBuf, String), Vec<PathBuf>>,
    folders: BTreeSet<PathBuf>,
    all: BTreeSet<PathBuf>,
    claimed: BTreeSet<PathBuf>,
}

impl Masks {
    /// Sorts `found` by image. A mask is called like its image, or that and `_mask` and perhaps a number
    /// (`0044_019_04_mask2.png`): several masks of one image are united.
    pub(super) fn new(found: Vec<Found>) -> Self {
        let mut masks = Self::default();
        for mask in found {
            let folder = mask.relative.parent().unwrap_or(Path::new("")).to_owned();
            let stem = mask.stem().to_string_lossy().into_owned();
            for image_stem in [Some(stem.as_str()), without_mask_suffix(&stem)].into_iter().flatten() {
                let key = (folder.clone(), image_stem.to_owned());
                masks.by_image.entry(key).or_default().push(mask.path.clone());
            }
            masks.folders.insert(folder);
            masks.all.insert(mask.path);
        }
        masks
    }

    /// The masks in sub-folder `folder` of the image with this stem, sorted.
    pub(super) fn claim(&mut self, folder: &Path, image_stem: &OsStr) -> Vec<PathBuf> {
        let key = (folder.to_owned(), image_stem.to_string_lossy().into_owned());
        let mut found = self.by_image.get(&key).cloned().unwrap_or_default();
        found.sort();
        self.claimed.extend(found.iter().cloned());
        found
    }

    /// Whether there is any mask in sub-folder `folder`.
    pub(super) fn has_folder(&self, folder: &Path) -> bool {
        self.folders.contains(folder)
    }

    /// Where there are masks and no image has claimed one: the first of them.
    pub(super) fn first_of_none_claimed(&self) -> Option<&Path> {
        let none = self.claimed.is_empty();
        self.all.first().filter(|_| none).map(PathBuf::as_path)
    }

    /// Number of masks that no image has claimed.
    pub(super) fn unclaimed(&self) -> usize {
        self.all.len() - self.claimed.len()
    }
}

/// `0044_019_04` for `0044_019_04_mask` and `0044_019_04_mask2`.
fn without_mask_suffix(stem: &str) -> Option<&str> {
    stem.trim_end_matches(|digit: char| digit.is_ascii_digit())
        .strip_suffix("_mask")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_named_after_its_image() {
        assert_eq!(without_mask_suffix("000_mask"), Some("000"));
        assert_eq!(without_mask_suffix("0044_019_04_mask12"), Some("0044_019_04"));
        assert_eq!(without_mask_suffix("0044_019_04"), None);
        assert_eq!(without_mask_suffix("mask"), None);
    }
}
