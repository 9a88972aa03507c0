//! What can be wrong with a dataset: what we tried, what we found, what to do.

use std::io;
use std::path::{Path, PathBuf};

use super::{Layout, Split};

/// Why a dataset, a manifest or a list of images cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A file or directory cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A name that no text file and no verdict can hold.
    #[error("cannot list {path:?}: its name is not valid UTF-8\n  hint: rename it")]
    NotUtf8 {
        /// Which.
        path: PathBuf,
    },

    /// More directory entries or rows than [`super::ENTRIES_MAX`].
    #[error(
        "cannot list {path:?}: it holds more than {entries_max} entries\n  hint: check the path, or split the dataset"
    )]
    TooMany {
        /// Where the limit was reached.
        path: PathBuf,
        /// The limit.
        entries_max: usize,
    },

    /// A word that is no layout.
    #[error("no layout is called `{word}`\n  hint: `--layout mvtec|aitex|folder|csv`")]
    NoSuchLayout {
        /// The word.
        word: String,
    },

    /// Nothing that a layout is known by.
    #[error("cannot tell the layout of {path:?}: looked for {looked_for}; found {found}\n  hint: {hint}")]
    UnknownLayout {
        /// The dataset.
        path: PathBuf,
        /// What layouts are known by.
        looked_for: &'static str,
        /// What is there instead.
        found: String,
        /// What to do.
        hint: String,
    },

    /// Marks of two layouts.
    #[error(
        "cannot tell the layout of {path:?}: it looks like `{first}` and like `{second}`\n  hint: choose with `--layout {first}` or `--layout {second}`"
    )]
    AmbiguousLayout {
        /// The dataset.
        path: PathBuf,
        /// One layout.
        first: Layout,
        /// The other.
        second: Layout,
    },

    /// The layout that was asked for has nothing here.
    #[error(
        "cannot read {path:?} as `{layout}`: looked for {looked_for}; found {found}\n  hint: without `--layout` the layout is detected"
    )]
    NotThisLayout {
        /// The dataset.
        path: PathBuf,
        /// The layout.
        layout: Layout,
        /// What it needs.
        looked_for: &'static str,
        /// What is there instead.
        found: String,
    },

    /// Training images that are not in `good`.
    #[error(
        "cannot fit on {path:?}: only `good` belongs in `train/` of layout `mvtec`\n  hint: move its images to `test/`, or take them away"
    )]
    TrainNotGood {
        /// The folder.
        path: PathBuf,
    },

    /// A fabric was chosen where there are none.
    #[error(
        "cannot choose a fabric: the layout is `{layout}`, and only `aitex` has fabrics\n  hint: leave out `--fabric`"
    )]
    FabricWithoutAitex {
        /// The layout.
        layout: Layout,
    },

    /// Several fabrics and no choice.
    #[error(
        "cannot choose among the fabrics of {path:?}: found {fabrics}\n  hint: choose one by code or folder, `--fabric {example}`"
    )]
    FabricNotChosen {
        /// The dataset.
        path: PathBuf,
        /// The fabrics.
        fabrics: String,
        /// One of them.
        example: String,
    },

    /// A fabric that is not there.
    #[error(
        "no fabric `{fabric}` in {path:?}: found {fabrics}\n  hint: choose one of these by code or folder with `--fabric`"
    )]
    NoSuchFabric {
        /// The dataset.
        path: PathBuf,
        /// What was asked for.
        fabric: String,
        /// The fabrics.
        fabrics: String,
    },

    /// A folder that names no single fabric.
    #[error(
        "fabric folder {folder:?} holds images of the fabrics {codes}\n  hint: choose by code, `--fabric {example}`"
    )]
    MixedFabric {
        /// The folder.
        folder: PathBuf,
        /// Their codes.
        codes: String,
        /// One of them.
        example: String,
    },

    /// Some anomalous images have masks and this one has none.
    #[error(
        "no mask for {image:?}: looked for `{stem}_mask` in {masks:?}, which holds masks\n  hint: add the mask, or take the whole folder of masks away to go without"
    )]
    MissingMask {
        /// The image.
        image: PathBuf,
        /// Its name without the extension.
        stem: String,
        /// Where masks are.
        masks: PathBuf,
    },

    /// Masks, none of which belongs to an image.
    #[error(
        "no mask in {masks:?} belongs to an anomalous image (first: {example:?})\n  hint: give a mask the sub-folder and the name of its image, or that name and `_mask`"
    )]
    MasksUnclaimed {
        /// Where masks are.
        masks: PathBuf,
        /// One of them.
        example: PathBuf,
    },

    /// A mask that does not fit its image.
    #[error(
        "mask {mask:?} is {} x {} px but its image {image:?} is {} x {} px\n  hint: a mask has the size of its image as stored",
        mask_px.0, mask_px.1, image_px.0, image_px.1
    )]
    MaskSize {
        /// The mask.
        mask: PathBuf,
        /// Its width and height.
        mask_px: (u32, u32),
        /// The image.
        image: PathBuf,
        /// Its width and height.
        image_px: (u32, u32),
    },

    /// A mask that is no image.
    #[error("cannot read mask {mask:?} of {image:?}: {reason}\n  hint: replace the mask, or take it away")]
    MaskUnreadable {
        /// The mask.
        mask: PathBuf,
        /// The image.
        image: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Nothing to work on.
    #[error("cannot {verb} {path:?}: no {} images (layout `{layout}` looks for them in {looked_in}), found {found}\n  hint: {hint}", split.name())]
    EmptySplit {
        /// What was to be done.
        verb: &'static str,
        /// The dataset.
        path: PathBuf,
        /// The split that is empty.
        split: Split,
        /// The layout.
        layout: Layout,
        /// Where its images would be.
        looked_in: String,
        /// How many images the splits hold.
        found: String,
        /// What to do.
        hint: &'static str,
    },

    /// The same file twice.
    #[error("{second:?} is the same file as {first:?}\n  hint: list every image once")]
    Duplicate {
        /// One name of it.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },

    /// A manifest that says something we cannot use.
    #[error("cannot read manifest {path:?}, line {line}{}: {reason}", in_column(column))]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// Column, where it is one.
        column: Option<&'static str>,
        /// What is wrong, and what to write instead.
        reason: String,
    },

    /// Nothing to inspect.
    #[error(
        "no images in {paths}\n  hint: give images, directories of png, jpg, bmp or tif files, or a manifest `*.csv`"
    )]
    NoImages {
        /// Where we looked.
        paths: String,
    },

    /// Something that is neither file nor directory.
    #[error("cannot inspect {path:?}: it is neither a file nor a directory")]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
}

impl DatasetError {
    /// For `map_err`: what the system said about `path`.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> DatasetError + '_ {
        move |source| DatasetError::Read {
            path: path.to_owned(),
            source,
        }
    }
}

fn in_column(column: &Option<&'static str>) -> String {
    column.map_or_else(String::new, |name| format!(", column `{name}`"))
}
