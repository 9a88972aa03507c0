//! Pictures on disk.

use std::path::Path;

use intakt_operators::imaging::Image;

use crate::png::encode_png;

/// Writes `image` as a PNG file, and makes the folders above it where they are missing. An existing file is replaced.
///
/// # Errors
/// Names the path and what the operating system said.
pub fn write_png(path: &Path, image: &Image) -> Result<(), String> {
    let cannot = |what: &dyn std::fmt::Display| format!("cannot write picture \"{}\": {what}", path.display());
    let bytes = encode_png(image).map_err(|error| cannot(&error))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
    }
    std::fs::write(path, bytes).map_err(|error| cannot(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_lands_in_a_new_folder() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("rejects/metal/12.png");
        let image = Image::new(2, 1, vec![1, 2, 3, 4, 5, 6]);
        write_png(&path, &image).unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8().as_raw()[..], image.rgb[..]);
    }

    #[test]
    fn path_that_cannot_be_written_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let error = write_png(&file.join("12.png"), &Image::new(1, 1, vec![0; 3])).unwrap_err();
        assert!(
            error.starts_with("cannot write picture") && error.contains("12.png"),
            "{error}"
        );
    }
}
