//! Datasets: folders and manifests of images, read into one list before any work starts.
//!
//! | layout | train | calibrate | test |
//! |---|---|---|---|
//! | `mvtec` | `train/good/` | `validation/good/`, where there is one | `test/good/` normal, `test/<defect>/` anomalous |
//! | `aitex` | 70 % of `NODefect_images/<fabric>/` | | the other 30 %, and `Defect_images/` of that fabric |
//! | `folder` | `normal/` (70 % of it beside `anomalous/`), or one flat directory | | `anomalous/` and the other 30 % of `normal/` |
//! | `csv` | what the manifest says | | |
//!
//! **Nothing depends on the order in which a directory lists its files.** Items are sorted by name, bytewise. Where a layout
//! has no split of its own, every normal image goes to train or test by a hash of its *name* (see [`Split`]), so a file that
//! is added or taken away never moves another one, and an evaluation never sees an image that the detector was fitted on.
//!
//! Image files are known by their extension (`png jpg jpeg bmp tif tiff`, any case). Hidden files, other files and masks
//! that no image claims are passed over and counted in [`Dataset::ignored`].

mod aitex;
mod check;
mod collect;
mod detect;
mod error;
mod files;
mod folder;
mod manifest;
mod masks;
mod mvtec;
mod rows;
mod split;
#[cfg(test)]
mod tests;
mod timestamp;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use intakt_operators::Truth;
use serde::{Deserialize, Serialize};

pub use check::Need;
pub use collect::{CameraFiles, CollectedImages, FileFrame, collect_images};
pub use detect::detect;
pub use error::DatasetError;
pub(crate) use files::is_image;
pub use timestamp::parse_micros;

use files::Lister;

/// Directory entries or manifest rows of one dataset. The list of ten million takes about 3 GB; a folder beyond that is
/// more likely a mistyped path (`/`) than a dataset, and is refused.
pub const ENTRIES_MAX: usize = 10_000_000;

/// How a dataset lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `train/good/`, `test/good/`, `test/<defect>/`, `ground_truth/<defect>/<stem>_mask.png` (MVTec AD, Bergmann et al.
    /// 2019). `validation/good/` of its successors is read as [`Split::Calibrate`].
    Mvtec,
    /// `NODefect_images/<fabric folder>/NNNN_DDD_FF.png`, `Defect_images/NNNN_DDD_FF.png`,
    /// `Mask_images/NNNN_DDD_FF_mask.png` (AITEX, Silvestre-Blanes et al. 2019): `DDD` is the defect, `FF` the fabric.
    /// Files that are not named so are passed over.
    Aitex,
    /// `normal/`, and optionally `anomalous/` (sub-folders are classes) and `masks/` (same sub-folder, same stem or
    /// `<stem>_mask`); or one flat directory of normal images.
    Folder,
    /// A manifest with the columns `path, split, label` and optionally `mask, camera, captured_at`; paths are relative to
    /// the manifest.
    Csv,
}

impl Layout {
    /// Every layout, in the order in which they are documented.
    pub const ALL: [Layout; 4] = [Layout::Mvtec, Layout::Aitex, Layout::Folder, Layout::Csv];

    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Mvtec => "mvtec",
            Layout::Aitex => "aitex",
            Layout::Folder => "folder",
            Layout::Csv => "csv",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layout {
    type Err = DatasetError;

    fn from_str(word: &str) -> Result<Self, DatasetError> {
        Layout::ALL
            .into_iter()
            .find(|layout| layout.name() == word)
            .ok_or_else(|| DatasetError::NoSuchLayout { word: word.to_owned() })
    }
}

/// What an image is used for.
///
/// Where the layout does not say it (`aitex`, and `folder` with `anomalous/`), a normal image is [`Split::Train`] if the first
/// eight bytes of the SHA-256 of its key, read as a big-endian fraction of 2⁶⁴, lie below 0.7, else [`Split::Test`]. The key
/// is the path below `NODefect_images/<fabric>/` or `normal/` without the extension, so that a picture stored in two formats
/// is on one side, and one that is stored in another format stays on its side. The image with the lowest hash is always
/// train and, of two or more, the one with the highest always test, so that neither side is empty; only these two can change
/// sides when files come or go. The share is 70 % on average, not of every set: of 20 images, 14 ± 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The detector is fitted on it; always normal.
    Train,
    /// The threshold is chosen on it.
    Calibrate,
    /// The detector is evaluated on it.
    Test,
}

impl Split {
    /// The word for it in manifests and messages.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Calibrate => "calibrate",
            Split::Test => "test",
        }
    }
}

/// One image of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where the file is.
    pub path: PathBuf,
    /// Its path relative to the dataset (as the manifest writes it, for `csv`), with `/` on every system: stable and unique.
    pub name: String,
    /// What it is used for.
    pub split: Split,
    /// What it truly is.
    pub truth: Truth,
    /// Its masks, united where there are several; sorted. Empty where nobody drew one: the place of the defect is unknown.
    pub masks: Vec<PathBuf>,
    /// The camera: of the manifest, the fabric's code (`aitex`), else the dataset's own name.
    pub camera: String,
    /// Event time, microseconds since 1970-01-01T00:00:00Z, where the manifest says it.
    pub captured_at_us: Option<u64>,
}

/// All images of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The path as the user gave it.
    pub root: PathBuf,
    /// How it lies on the disk.
    pub layout: Layout,
    /// The fabric that was chosen by code; `aitex` only.
    pub fabric: Option<String>,
    /// The images, sorted by name (bytewise).
    pub items: Vec<Item>,
    /// Files and folders in the places of the layout that were passed over: hidden, not an image, or a mask without an image.
    pub ignored: usize,
}

impl Dataset {
    /// Reads the list of images at `path`: no pixels, only names and (for `csv`) the manifest. `layout` overrides what
    /// [`detect`] finds; `fabric` is the code (`02`) or the folder of an AITEX fabric, needed where there are several.
    ///
    /// # Errors
    /// What is missing, ambiguous or contradictory, as a sentence with a hint. Splits may be empty here, see
    /// [`Dataset::check`].
    pub fn open(path: &Path, layout: Option<Layout>, fabric: Option<&str>) -> Result<Dataset, DatasetError> {
        Self::open_within(path, layout, fabric, ENTRIES_MAX)
    }

    /// [`Dataset::open`] with its limit as an argument, so that a test reaches it.
    fn open_within(
        path: &Path,
        layout: Option<Layout>,
        fabric: Option<&str>,
        entries_max: usize,
    ) -> Result<Dataset, DatasetError> {
        fs::metadata(path).map_err(DatasetError::read(path))?;
        let layout = match layout {
            Some(layout) => layout,
            None => detect(path)?,
        };
        if fabric.is_some() && layout != Layout::Aitex {
            return Err(DatasetError::FabricWithoutAitex { layout });
        }
        let mut lister = Lister::new(entries_max);
        let mut dataset = match layout {
            Layout::Mvtec => mvtec::read(path, &mut lister)?,
            Layout::Aitex => aitex::read(path, fabric, &mut lister)?,
            Layout::Folder => folder::read(path, &mut lister)?,
            Layout::Csv => manifest::read(path, entries_max)?,
        };
        dataset.items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(dataset)
    }

    /// The images of one split, sorted by name.
    pub fn split(&self, split: Split) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.split == split)
    }

    /// Number of images of one split.
    pub fn count(&self, split: Split) -> usize {
        self.split(split).count()
    }
}
