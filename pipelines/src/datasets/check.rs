//! What must hold before work starts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use image::{ImageFormat, ImageReader};

use super::{Dataset, DatasetError, Item, Layout, Split};

/// Bytes of a JPEG in which its header is looked for. The decoder takes all it is given into memory; 16 MiB hold every
/// thumbnail, colour profile and comment that comes before the size.
const JPEG_HEADER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the dataset is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To fit a detector: there are train images.
    Fit,
    /// To evaluate one: there are test images.
    Evaluate,
}

impl Dataset {
    /// Checks what must hold before work starts: the split that is needed is not empty, no file is listed twice, and every
    /// mask can be read and has the size of its image. Only headers are read.
    ///
    /// An *image* that cannot be read is no error here: it becomes an unreadable verdict.
    ///
    /// # Errors
    /// The first thing that does not hold, in the order of names.
    pub fn check(&self, need: Need) -> Result<(), DatasetError> {
        self.check_not_empty(need)?;
        self.check_no_duplicates()?;
        self.items.iter().try_for_each(check_masks)
    }

    fn check_not_empty(&self, need: Need) -> Result<(), DatasetError> {
        let (verb, split) = match need {
            Need::Fit => ("fit on", Split::Train),
            Need::Evaluate => ("evaluate on", Split::Test),
        };
        if self.count(split) > 0 {
            return Ok(());
        }
        let count = |split: Split| format!("{} {}", self.count(split), split.name());
        Err(DatasetError::EmptySplit {
            verb,
            path: self.root.clone(),
            split,
            layout: self.layout,
            looked_in: self.place_of(split),
            found: format!(
                "{}, {}, {} and {} other entries",
                count(Split::Train),
                count(Split::Calibrate),
                count(Split::Test),
                self.ignored
            ),
            hint: match self.layout {
                Layout::Csv => "write the split into the column `split`",
                _ => "put png, jpg, bmp or tif files there, or choose another `--layout`",
            },
        })
    }

    /// Where the layout has the images of a split.
    fn place_of(&self, split: Split) -> String {
        let fabric = self.fabric.as_deref().unwrap_or_default();
        match (self.layout, split) {
            (Layout::Mvtec, Split::Train) => "`train/good/`".to_owned(),
            (Layout::Mvtec, Split::Calibrate) => "`validation/good/`".to_owned(),
            (Layout::Mvtec, Split::Test) => "`test/good/` and `test/<defect>/`".to_owned(),
            (Layout::Aitex, Split::Train) => format!("`NODefect_images/<fabric>/NNNN_DDD_{fabric}.*`"),
            (Layout::Aitex, _) => format!("`Defect_images/NNNN_DDD_{fabric}.*`"),
            (Layout::Folder, Split::Train) => "`normal/`, or the directory itself".to_owned(),
            (Layout::Folder, _) => "`anomalous/`, and a part of `normal/` beside it".to_owned(),
            (Layout::Csv, split) => format!("rows with split `{}`", split.name()),
        }
    }

    fn check_no_duplicates(&self) -> Result<(), DatasetError> {
        let mut seen: BTreeMap<PathBuf, &Path> = BTreeMap::new();
        for item in &self.items {
            // What cannot be resolved cannot be read either, and gets its verdict later.
            let Ok(real) = fs::canonicalize(&item.path) else {
                continue;
            };
            if let Some(first) = seen.insert(real, &item.path) {
                return Err(DatasetError::Duplicate {
                    first: first.to_owned(),
                    second: item.path.clone(),
                });
            }
        }
        Ok(())
    }
}

fn check_masks(item: &Item) -> Result<(), DatasetError> {
    if item.masks.is_empty() {
        return Ok(());
    }
    let image_px = dimensions(&item.path).ok();
    for mask in &item.masks {
        let mask_px = dimensions(mask).map_err(|reason| DatasetError::MaskUnreadable {
            mask: mask.clone(),
            image: item.path.clone(),
            reason,
        })?;
        if let Some(image_px) = image_px.filter(|&image_px| image_px != mask_px) {
            return Err(DatasetError::MaskSize {
                mask: mask.clone(),
                mask_px,
                image: item.path.clone(),
                image_px,
            });
        }
    }
    Ok(())
}

/// Width and height that the header of an image file states, or why it states none. The content tells the format, not the
/// extension.
fn dimensions(path: &Path) -> Result<(u32, u32), String> {
    let open = || File::open(path).map_err(|error| error.to_string());
    let reader = ImageReader::new(BufReader::new(open()?));
    let reader = reader.with_guessed_format().map_err(|error| error.to_string())?;
    let found = if reader.format() == Some(ImageFormat::Jpeg) {
        let mut head = Vec::new();
        let limited = open()?.take(JPEG_HEADER_BYTES_MAX).read_to_end(&mut head);
        limited.map_err(|error| error.to_string())?;
        ImageReader::with_format(Cursor::new(head), ImageFormat::Jpeg).into_dimensions()
    } else if reader.format().is_none() {
        return Err("it is not a png, jpg, bmp or tif image".to_owned());
    } else {
        reader.into_dimensions()
    };
    found.map_err(|error| error.to_string())
}
