//! Collects the images that somebody wants inspected, by camera.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::files::{IMAGE_EXTENSIONS, Lister, bytes, folder_name, has_extension, parent_of, shortened};
use super::manifest::{FrameRow, in_manifest, read_frames};
use super::{DatasetError, ENTRIES_MAX};

/// One image file of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFrame {
    /// Where it is.
    pub path: PathBuf,
    /// Event time, microseconds since 1970-01-01T00:00:00Z, where a manifest says it.
    pub captured_at_us: Option<u64>,
}

/// The image files of one camera, in the order in which they are to be inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraFiles {
    /// Name of the camera, unique.
    pub camera: String,
    /// Its frames.
    pub files: Vec<FileFrame>,
}

/// The images of all cameras.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectedImages {
    /// By name.
    pub cameras: Vec<CameraFiles>,
    /// Files in directories that are left out because images of their kind are not read.
    pub foreign: usize,
}

impl CollectedImages {
    /// What people should know who think that every image is looked at.
    pub fn note(&self) -> Option<String> {
        (self.foreign > 0).then(|| {
            format!(
                "{} image files are left out: only {} are read",
                self.foreign,
                IMAGE_EXTENSIONS.join(", ")
            )
        })
    }
}

/// A camera while its frames come together: its name, and the directory or manifest that it comes from, resolved.
type Source = (String, PathBuf);

/// A frame with what it is sorted by: capture time, then the bytes of the path relative to its source.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    captured_at_us: Option<u64>,
    relative: Vec<u8>,
    path: PathBuf,
}

/// Collects the images at `paths`: a path is an image, a directory (with everything below it) or a manifest `*.csv`, of which
/// the columns `path`, `camera` and `captured_at` count. The cameras are sorted by name.
///
/// A directory is a camera with the directory's name, and its files are in bytewise order of their relative paths (`10.png`
/// comes before `9.png`: number files with leading zeros). A single file belongs to the camera of its own directory, and is
/// taken whatever its extension. A row of a manifest without a camera belongs to one named after the manifest's directory;
/// the frames of a manifest are in order of `captured_at`, then path as written. Two directories or manifests with the same
/// camera name stay two cameras: the path is added to the name.
///
/// # Errors
/// A path that is not there, that holds no image, or that is listed twice; whatever is wrong with a manifest; a camera of a
/// manifest with capture times on some of its rows only.
pub fn collect_images(paths: &[PathBuf]) -> Result<CollectedImages, DatasetError> {
    let mut lister = Lister::new(ENTRIES_MAX);
    let mut cameras: BTreeMap<Source, Vec<Candidate>> = BTreeMap::new();
    for path in paths {
        let kind = fs::metadata(path).map_err(DatasetError::read(path))?;
        if kind.is_dir() {
            add_directory(path, &mut lister, &mut cameras)?;
        } else if !kind.is_file() {
            return Err(DatasetError::NotAFile { path: path.clone() });
        } else if has_extension(path, &["csv"]) {
            add_manifest(path, &mut cameras)?;
        } else {
            add_file(path, &mut cameras)?;
        }
    }
    if cameras.is_empty() {
        return Err(no_images(paths));
    }
    refuse_duplicates(&cameras)?;
    Ok(CollectedImages {
        cameras: named(cameras),
        foreign: lister.foreign,
    })
}

fn add_directory(
    dir: &Path,
    lister: &mut Lister,
    cameras: &mut BTreeMap<Source, Vec<Candidate>>,
) -> Result<(), DatasetError> {
    let found = lister.images_below(dir)?;
    if found.is_empty() {
        return Err(no_images(&[dir.to_owned()]));
    }
    let frames = cameras.entry((folder_name(dir), resolved(dir)?)).or_default();
    frames.extend(found.into_iter().map(|image| Candidate {
        captured_at_us: None,
        relative: bytes(&image.relative).to_vec(),
        path: image.path,
    }));
    Ok(())
}

fn add_file(path: &Path, cameras: &mut BTreeMap<Source, Vec<Candidate>>) -> Result<(), DatasetError> {
    let dir = parent_of(path);
    let frames = cameras.entry((folder_name(dir), resolved(dir)?)).or_default();
    frames.push(Candidate {
        captured_at_us: None,
        relative: path
            .file_name()
            .map(|name| name.as_encoded_bytes().to_vec())
            .unwrap_or_default(),
        path: path.to_owned(),
    });
    Ok(())
}

fn add_manifest(manifest: &Path, cameras: &mut BTreeMap<Source, Vec<Candidate>>) -> Result<(), DatasetError> {
    let rows = read_frames(manifest, ENTRIES_MAX)?;
    if rows.is_empty() {
        return Err(no_images(&[manifest.to_owned()]));
    }
    refuse_times_on_some_rows(manifest, &rows)?;
    let (source, dir) = (resolved(manifest)?, parent_of(manifest));
    for row in rows {
        let frames = cameras.entry((row.camera, source.clone())).or_default();
        frames.push(Candidate {
            captured_at_us: row.captured_at_us,
            relative: bytes(row.path.strip_prefix(dir).unwrap_or(&row.path)).to_vec(),
            path: row.path,
        });
    }
    Ok(())
}

/// Frames with and without a capture time have no order among each other.
fn refuse_times_on_some_rows(manifest: &Path, rows: &[FrameRow]) -> Result<(), DatasetError> {
    let mut first_of: BTreeMap<&str, &FrameRow> = BTreeMap::new();
    for row in rows {
        let first = *first_of.entry(&row.camera).or_insert(row);
        if first.captured_at_us.is_some() != row.captured_at_us.is_some() {
            let (with, without) = if row.captured_at_us.is_some() {
                (row, first)
            } else {
                (first, row)
            };
            let reason = format!(
                "no time here, but line {} of camera `{}` has one; write it on every row of a camera or on none",
                with.line, row.camera
            );
            return Err(in_manifest(manifest, without.line, Some("captured_at"), reason));
        }
    }
    Ok(())
}

/// A file that is inspected twice would count twice. Links to a file are files of their own here, as `latest.png` is one of
/// many a camera.
fn refuse_duplicates(cameras: &BTreeMap<Source, Vec<Candidate>>) -> Result<(), DatasetError> {
    let mut seen: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for frame in cameras.values().flatten() {
        let name = frame.path.file_name().unwrap_or_default();
        let place = resolved(parent_of(&frame.path))?.join(name);
        if let Some(first) = seen.insert(place, &frame.path) {
            return Err(DatasetError::Duplicate {
                first: first.to_owned(),
                second: frame.path.clone(),
            });
        }
    }
    Ok(())
}

/// Sorts the frames of every camera, and makes the names of the cameras unique.
fn named(cameras: BTreeMap<Source, Vec<Candidate>>) -> Vec<CameraFiles> {
    let mut sources_of: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in cameras.keys() {
        *sources_of.entry(name.clone()).or_default() += 1;
    }
    let mut taken: BTreeSet<String> = sources_of
        .iter()
        .filter(|(_, n)| **n == 1)
        .map(|(name, _)| name.clone())
        .collect();
    let mut named: Vec<CameraFiles> = Vec::with_capacity(cameras.len());
    for ((name, source), mut frames) in cameras {
        frames.sort();
        let mut camera = name.clone();
        if sources_of[&name] > 1 {
            camera = format!("{name} ({})", source.display());
            // Somebody may have called a camera just that.
            while !taken.insert(camera.clone()) {
                camera.push('\'');
            }
        }
        let files = frames.into_iter().map(|frame| FileFrame {
            path: frame.path,
            captured_at_us: frame.captured_at_us,
        });
        named.push(CameraFiles {
            camera,
            files: files.collect(),
        });
    }
    named.sort_by(|a, b| a.camera.cmp(&b.camera));
    named
}

fn resolved(path: &Path) -> Result<PathBuf, DatasetError> {
    fs::canonicalize(path).map_err(DatasetError::read(path))
}

fn no_images(paths: &[PathBuf]) -> DatasetError {
    let paths: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
    DatasetError::NoImages {
        paths: shortened(&paths),
    }
}
