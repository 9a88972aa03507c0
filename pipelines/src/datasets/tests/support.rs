//! Builds datasets of tiny images.

use std::fs;
use std::path::{Path, PathBuf};

use image::GrayImage;
use tempfile::TempDir;

use crate::datasets::{Dataset, DatasetError, Layout, Need, Split};

/// A directory that vanishes at the end of a test.
pub(super) struct Tree(TempDir);

impl Tree {
    pub(super) fn new() -> Self {
        Tree(tempfile::tempdir().unwrap())
    }

    /// A tree of 4 x 3 px images with these paths.
    pub(super) fn of(images: &[&str]) -> Self {
        images.iter().fold(Self::new(), |tree, image| tree.image(image, 4, 3))
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn image(self, relative: &str, width: u32, height: u32) -> Self {
        self.make_room_for(relative);
        GrayImage::new(width, height).save(self.path(relative)).unwrap();
        self
    }

    pub(super) fn file(self, relative: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.make_room_for(relative);
        fs::write(self.path(relative), bytes).unwrap();
        self
    }

    pub(super) fn folder(self, relative: &str) -> Self {
        fs::create_dir_all(self.path(relative)).unwrap();
        self
    }

    fn make_room_for(&self, relative: &str) {
        fs::create_dir_all(self.path(relative).parent().unwrap()).unwrap();
    }

    pub(super) fn open(&self) -> Result<Dataset, DatasetError> {
        Dataset::open(self.root(), None, None)
    }

    pub(super) fn open_as(&self, layout: Layout, fabric: Option<&str>) -> Result<Dataset, DatasetError> {
        Dataset::open(self.root(), Some(layout), fabric)
    }

    /// Opens and checks; what is wrong, as people read it.
    pub(super) fn complaint(&self, need: Need) -> String {
        complaint(self.open().and_then(|dataset| dataset.check(need)))
    }
}

/// The names of the images of a split.
pub(super) fn names(dataset: &Dataset, split: Split) -> Vec<&str> {
    dataset.split(split).map(|item| item.name.as_str()).collect()
}

/// The message of an error.
pub(super) fn complaint<T>(result: Result<T, DatasetError>) -> String {
    match result {
        Ok(_) => panic!("nothing was found wrong"),
        Err(error) => error.to_string(),
    }
}

/// Fails unless every one of `parts` is in `message`.
#[track_caller]
pub(super) fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in:\n{message}");
    }
}
