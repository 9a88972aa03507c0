//! Lists directories: sorted, bounded, without hidden files, and without going round in circles.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::path::{Component, Path, PathBuf};

use super::DatasetError;

/// Extensions of image files, in lower case.
pub(super) const IMAGE_EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];

/// Extensions of image files that are not read, in lower case: whoever has some may think that they are.
const FOREIGN_EXTENSIONS: [&str; 11] = [
    "webp", "gif", "avif", "heic", "heif", "jp2", "jxl", "pgm", "ppm", "exr", "dng",
];

/// Names that a message shows before it says how many more there are.
const NAMES_SHOWN: usize = 6;

/// An image file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its path, beginning with the directory as it was given.
    pub(super) path: PathBuf,
    /// Its path relative to that directory.
    pub(super) relative: PathBuf,
}

impl Found {
    /// The file name without its extension.
    pub(super) fn stem(&self) -> &OsStr {
        self.relative.file_stem().unwrap_or_default()
    }
}

/// Lists directories and counts what it passes over.
pub(super) struct Lister {
    entries_max: usize,
    entries_left: usize,
    /// Entries that were passed over so far.
    pub(super) ignored: usize,
    /// Those of them that are images of a kind that is not read.
    pub(super) foreign: usize,
}

enum Kind {
    Image,
    Folder,
    Other,
}

impl Lister {
    /// A lister that refuses to see more than `entries_max` directory entries in all.
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            entries_left: entries_max,
            ignored: 0,
            foreign: 0,
        }
    }

    /// The images directly in `dir`, sorted by name; sub-directories are passed over. None where there is no such directory.
    pub(super) fn images_in(&mut self, dir: &Path) -> Result<Vec<Found>, DatasetError> {
        if !dir.is_dir() {
            return Ok(Vec::new());
        }
        let (images, folders) = self.read(dir, Path::new(""))?;
        self.ignored += folders.len();
        Ok(images)
    }

    /// The images in `dir` and everything below it, sorted bytewise by relative path. Links are followed; a directory that
    /// can be reached in several ways is read once, so a link to a parent is no trap. None where there is no such directory.
    pub(super) fn images_below(&mut self, dir: &Path) -> Result<Vec<Found>, DatasetError> {
        let mut images = Vec::new();
        let mut seen = BTreeSet::new();
        let mut to_read = vec![PathBuf::new()];
        if !dir.is_dir() {
            return Ok(images);
        }
        while let Some(relative) = to_read.pop() {
            let here = dir.join(&relative);
            if !seen.insert(fs::canonicalize(&here).map_err(DatasetError::read(&here))?) {
                self.ignored += 1;
                continue;
            }
            let (found, folders) = self.read(&here, &relative)?;
            images.extend(found);
            to_read.extend(folders.into_iter().rev());
        }
        images.sort_by(|a, b| bytes(&a.relative).cmp(bytes(&b.relative)));
        Ok(images)
    }

    /// The names of the directories directly in `dir`, sorted; files are passed over. None where there is no such directory.
    pub(super) fn folders_in(&mut self, dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
        if !dir.is_dir() {
            return Ok(Vec::new());
        }
        let (images, folders) = self.read(dir, Path::new(""))?;
        self.ignored += images.len();
        Ok(folders)
    }

    /// Images and folders directly in `dir`, each sorted; `relative` goes before their relative paths.
    fn read(&mut self, dir: &Path, relative: &Path) -> Result<(Vec<Found>, Vec<PathBuf>), DatasetError> {
        let (mut images, mut folders) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(dir).map_err(DatasetError::read(dir))? {
            let entry = entry.map_err(DatasetError::read(dir))?;
            self.entries_left = self.entries_left.checked_sub(1).ok_or_else(|| DatasetError::TooMany {
                path: dir.to_owned(),
                entries_max: self.entries_max,
            })?;
            let relative = relative.join(entry.file_name());
            match kind_of(&entry)? {
                Kind::Image => images.push(Found {
                    path: entry.path(),
                    relative,
                }),
                Kind::Folder => folders.push(relative),
                Kind::Other => {
                    self.ignored += 1;
                    self.foreign += usize::from(has_extension(&entry.path(), &FOREIGN_EXTENSIONS));
                }
            }
        }
        images.sort_by(|a, b| bytes(&a.relative).cmp(bytes(&b.relative)));
        folders.sort_by(|a, b| bytes(a).cmp(bytes(b)));
        Ok((images, folders))
    }
}

fn kind_of(entry: &DirEntry) -> Result<Kind, DatasetError> {
    let (path, name) = (entry.path(), entry.file_name());
    if name.as_encoded_bytes().starts_with(b".") {
        return Ok(Kind::Other);
    }
    let mut kind = entry.file_type().map_err(DatasetError::read(&path))?;
    if kind.is_symlink() {
        match fs::metadata(&path) {
            Ok(target) => kind = target.file_type(),
            // A link that leads nowhere is still a frame that somebody expects: it becomes an unreadable verdict.
            Err(_) if is_image(Path::new(&name)) => return Ok(Kind::Image),
            Err(_) => return Ok(Kind::Other),
        }
    }
    Ok(match kind {
        kind if kind.is_dir() => Kind::Folder,
        // Only regular files: to open a pipe called `a.png` would wait for ever.
        kind if kind.is_file() && is_image(Path::new(&name)) => Kind::Image,
        _ => Kind::Other,
    })
}

/// Whether the extension is one of an image file.
pub(crate) fn is_image(path: &Path) -> bool {
    has_extension(path, &IMAGE_EXTENSIONS)
}

/// Whether the extension is one of `extensions` (lower case), in any case.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| extensions.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// What paths are sorted by: their bytes.
pub(super) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// `relative` with `/` on every system and without `.` components.
pub(super) fn name_of(relative: &Path) -> Result<String, DatasetError> {
    let text = |part: &OsStr| {
        part.to_str().map(str::to_owned).ok_or_else(|| DatasetError::NotUtf8 {
            path: relative.to_owned(),
        })
    };
    let mut name = String::new();
    for component in relative.components() {
        match component {
            Component::CurDir => continue,
            Component::RootDir => name.push('/'),
            Component::Prefix(prefix) => name.push_str(&text(prefix.as_os_str())?),
            Component::ParentDir | Component::Normal(_) => {
                if !name.is_empty() && !name.ends_with('/') {
                    name.push('/');
                }
                name.push_str(&text(component.as_os_str())?);
            }
        }
    }
    Ok(name)
}

/// The directory's own name, also where it was given as `.` or `..`; `camera` for the root of the file system.
pub(super) fn folder_name(dir: &Path) -> String {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let real = fs::canonicalize(dir);
    let own_name = dir.file_name().or_else(|| real.as_deref().ok()?.file_name());
    own_name.map_or_else(|| "camera".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The directory that a file lies in, `.` for a bare file name.
pub(super) fn parent_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// For messages: the first few names in `dir`, and how many more there are.
pub(super) fn contents(dir: &Path) -> String {
    let Ok(entries) = fs::read_dir(dir) else {
        return if dir.exists() {
            "a file".to_owned()
        } else {
            "nothing".to_owned()
        };
    };
    // A message is not worth more time than this.
    let mut names: Vec<String> = entries
        .flatten()
        .take(10_000)
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("`{}{slash}`", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    shortened(&names)
}

/// For messages: the first few of `names`, and how many more there are.
pub(super) fn shortened(names: &[String]) -> String {
    match names.len() {
        0 => "nothing".to_owned(),
        n if n <= NAMES_SHOWN => names.join(", "),
        n => format!("{} and {} more", names[..NAMES_SHOWN].join(", "), n - NAMES_SHOWN),
    }
}
