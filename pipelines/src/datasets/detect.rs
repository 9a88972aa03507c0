//! Tells the layout of a dataset by what lies in it.

use std::fs;
use std::path::Path;

use super::files::{contents, has_extension, is_image};
use super::{DatasetError, Layout};

const LOOKED_FOR: &str = "`train/good/` or `test/` with `ground_truth/` (mvtec), `NODefect_images/` or `Defect_images/` \
                          (aitex), `normal/` or `anomalous/` (folder), images directly in it (folder), a file `*.csv` (csv)";

/// Tells the layout of the dataset at `path`.
///
/// # Errors
/// Where there is no sign of a layout (the message lists what was looked for and what is there), or signs of two.
pub fn detect(path: &Path) -> Result<Layout, DatasetError> {
    let kind = fs::metadata(path).map_err(DatasetError::read(path))?;
    if !kind.is_dir() {
        return if has_extension(path, &["csv"]) {
            Ok(Layout::Csv)
        } else {
            Err(unknown(path))
        };
    }
    let signs: Vec<Layout> = [Layout::Mvtec, Layout::Aitex, Layout::Folder]
        .into_iter()
        .filter(|&layout| has_signs_of(path, layout))
        .collect();
    match signs[..] {
        [layout] => Ok(layout),
        [first, second, ..] => Err(DatasetError::AmbiguousLayout {
            path: path.to_owned(),
            first,
            second,
        }),
        // Images are the weakest sign, because every layout may have a stray one at its top.
        [] if holds_an_image(path)? => Ok(Layout::Folder),
        [] => Err(unknown(path)),
    }
}

/// Whether the folders that `layout` is known by are there.
pub(super) fn has_signs_of(path: &Path, layout: Layout) -> bool {
    let has = |folder: &str| path.join(folder).is_dir();
    match layout {
        Layout::Mvtec => has("train/good") || (has("test") && has("ground_truth")),
        Layout::Aitex => has("NODefect_images") || has("Defect_images"),
        Layout::Folder => has("normal") || has("anomalous"),
        Layout::Csv => false,
    }
}

fn holds_an_image(dir: &Path) -> Result<bool, DatasetError> {
    let entries = fs::read_dir(dir).map_err(DatasetError::read(dir))?;
    Ok(entries
        .flatten()
        .any(|entry| is_image(&entry.path()) && !entry.path().is_dir()))
}

fn unknown(path: &Path) -> DatasetError {
    let hint = match first_manifest(path) {
        Some(manifest) => {
            format!("give the manifest itself, {manifest:?}, or choose `--layout mvtec|aitex|folder|csv`")
        }
        None => "choose `--layout mvtec|aitex|folder|csv`, or give the path of a manifest `*.csv`".to_owned(),
    };
    DatasetError::UnknownLayout {
        path: path.to_owned(),
        looked_for: LOOKED_FOR,
        found: contents(path),
        hint,
    }
}

fn first_manifest(dir: &Path) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| has_extension(path, &["csv"]))
        .min()
}
