//! Where the rows of a memory bank come from: which training image, and where in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checks::integers;
use super::{Tensor, TensorData};
use crate::RectPx;
use crate::imaging::{FRAME_PIXELS_MAX, jpeg_size};

/// Longer side of a training image's picture, pixels: enough to recognise the place of a patch.
pub const PICTURE_SIDE_PX: u32 = 320;

/// Training images that have a picture: at some 12 kB each they add 12 MB to a file.
pub const PICTURES_MAX: usize = 1_000;

/// Largest picture: that of its pixels when nothing is saved.
const PICTURE_BYTES_MAX: usize = 3 * (PICTURE_SIDE_PX * PICTURE_SIDE_PX) as usize;

/// Longest name of a training image: that of the longest path.
pub const NAME_BYTES_MAX: usize = 4096;

/// A training image that rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingImage {
    /// Its name within the data set, as in the manifest.
    pub name: String,
    /// Its columns.
    pub width_px: u32,
    /// Its rows.
    pub height_px: u32,
    /// A small copy as a JPEG file; empty where none is kept.
    pub jpeg: Vec<u8>,
}

/// Where one row of the bank comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// Index of the training image.
    pub image: u32,
    /// The patch, in pixels of the training image as captured.
    pub rect_px: RectPx,
}

/// The training image and the place of every row of a memory bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    images: Vec<TrainingImage>,
    rows: Vec<RowPlace>,
}

/// A training image as a detector file describes it; its picture is in a tensor of all pictures, one after the other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    width_px: u32,
    height_px: u32,
    jpeg_bytes: usize,
}

impl Provenance {
    /// The places of the rows of a bank, in their order, in images whose names ascend.
    ///
    /// # Errors
    /// A sentence: an image or a place is impossible, or there are too many or too large pictures.
    pub fn new(images: Vec<TrainingImage>, rows: Vec<RowPlace>) -> Result<Self, String> {
        if !images.is_sorted_by(|left, right| left.name < right.name) {
            return Err("the names of its training images do not ascend".to_owned());
        }
        images.iter().try_for_each(check_image)?;
        let pictures = images.iter().filter(|image| !image.jpeg.is_empty()).count();
        if pictures > PICTURES_MAX {
            return Err(format!("it holds {pictures} pictures, above {PICTURES_MAX}"));
        }
        for (row, place) in rows.iter().enumerate() {
            let image = images.get(place.image as usize);
            if !image.is_some_and(|image| lies_in(place.rect_px, image)) {
                return Err(format!(
                    "row {row} comes from no place of its training images: {place:?}"
                ));
            }
        }
        Ok(Self { images, rows })
    }

    /// The training images that rows come from, by name.
    pub fn images(&self) -> &[TrainingImage] {
        &self.images
    }

    /// Rows whose place is known: those of the bank.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Where a row comes from; none if the bank has no such row.
    pub fn of(&self, row: u32) -> Option<(&TrainingImage, RectPx)> {
        let place = self.rows.get(row as usize)?;
        Some((&self.images[place.image as usize], place.rect_px))
    }

    /// What its pictures take, bytes.
    pub fn picture_bytes(&self) -> usize {
        self.images.iter().map(|image| image.jpeg.len()).sum()
    }

    /// The images as JSON, for the metadata of a detector file.
    pub(super) fn described(&self) -> String {
        let described = self.images.iter().map(|image| Described {
            name: image.name.clone(),
            width_px: image.width_px,
            height_px: image.height_px,
            jpeg_bytes: image.jpeg.len(),
        });
        serde_json::to_string(&described.collect::<Vec<_>>()).expect("strings and numbers are JSON")
    }

    /// `rows` (rows of the bank, 5): index of the image, and x, y, width and height of the patch; `pictures` (bytes).
    pub(super) fn tensors(&self) -> BTreeMap<String, Tensor> {
        let rows = self.rows.iter().flat_map(|RowPlace { image, rect_px }| {
            [*image, rect_px.x, rect_px.y, rect_px.width, rect_px.height].map(i64::from)
        });
        let pictures = self.images.iter().flat_map(|image| &image.jpeg);
        BTreeMap::from([
            ("rows".to_owned(), Tensor::i64(&[self.rows.len(), 5], rows.collect())),
            ("pictures".to_owned(), Tensor::u8(pictures.copied().collect())),
        ])
    }

    /// The reverse of [`Provenance::described`] and [`Provenance::tensors`].
    ///
    /// # Errors
    /// A sentence: something is missing, or impossible.
    pub(super) fn from_file(described: &str, tensors: &BTreeMap<String, Tensor>) -> Result<Self, String> {
        let described: Vec<Described> =
            serde_json::from_str(described).map_err(|error| format!("it cannot be read: {error}"))?;
        let Some(TensorData::U8(pictures)) = tensors.get("pictures").map(|tensor| &tensor.data) else {
            return Err("`pictures` is missing".to_owned());
        };
        let mut rest = pictures.as_slice();
        let mut images = Vec::with_capacity(described.len());
        for image in described {
            let Some((jpeg, after)) = rest.split_at_checked(image.jpeg_bytes) else {
                return Err(format!("`pictures` ends within that of \"{}\"", image.name));
            };
            rest = after;
            images.push(TrainingImage {
                name: image.name,
                width_px: image.width_px,
                height_px: image.height_px,
                jpeg: jpeg.to_vec(),
            });
        }
        let (shape, rows) = integers::<2>(tensors, "rows")?;
        if shape[1] != 5 || !rest.is_empty() {
            return Err(format!(
                "`rows` has shape {shape:?}, and {} bytes follow the pictures",
                rest.len()
            ));
        }
        let rows: Result<_, _> = rows.as_chunks().0.iter().map(row_place).collect();
        Self::new(images, rows?)
    }
}

fn row_place(row: &[i64; 5]) -> Result<RowPlace, String> {
    let whole = |value: i64| u32::try_from(value).map_err(|_| format!("`rows` holds {value}"));
    let [image, x, y, width, height] = *row;
    Ok(RowPlace {
        image: whole(image)?,
        rect_px: RectPx {
            x: whole(x)?,
            y: whole(y)?,
            width: whole(width)?,
            height: whole(height)?,
        },
    })
}

fn check_image(image: &TrainingImage) -> Result<(), String> {
    let TrainingImage {
        name,
        width_px,
        height_px,
        jpeg,
    } = image;
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("a training image has a name of {} bytes", name.len()));
    }
    let pixels = u64::from(*width_px) * u64::from(*height_px);
    if !(1..=FRAME_PIXELS_MAX).contains(&pixels) {
        return Err(format!(
            "training image \"{name}\" is {width_px}x{height_px} pixels large"
        ));
    }
    let is_small = |size: [u32; 2]| size.into_iter().all(|side_px| side_px <= PICTURE_SIDE_PX);
    if !jpeg.is_empty() && (jpeg.len() > PICTURE_BYTES_MAX || !jpeg_size(jpeg).is_some_and(is_small)) {
        return Err(format!(
            "the picture of training image \"{name}\" is no JPEG of at most {PICTURE_SIDE_PX} pixels and {PICTURE_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}

fn lies_in(rect_px: RectPx, image: &TrainingImage) -> bool {
    let fits = |start: u32, extent: u32, len: u32| extent > 0 && u64::from(start) + u64::from(extent) <= u64::from(len);
    fits(rect_px.x, rect_px.width, image.width_px) && fits(rect_px.y, rect_px.height, image.height_px)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::scorer_testing::jpeg;

    fn image(name: &str, jpeg: Vec<u8>) -> TrainingImage {
        TrainingImage {
            name: name.to_owned(),
            width_px: 900,
            height_px: 600,
            jpeg,
        }
    }

    fn place(image: u32, [x, y, width, height]: [u32; 4]) -> RowPlace {
        let rect_px = RectPx { x, y, width, height };
        RowPlace { image, rect_px }
    }

    fn provenance() -> Provenance {
        let images = vec![image("a.png", jpeg(320, 213)), image("b.png", vec![])];
        let rows = vec![
            place(1, [0, 0, 28, 28]),
            place(0, [872, 580, 28, 20]),
            place(1, [7, 9, 1, 1]),
        ];
        Provenance::new(images, rows).unwrap()
    }

    #[test]
    fn a_row_is_found_in_its_image() {
        let provenance = provenance();
        let found = |row| {
            provenance
                .of(row)
                .map(|(image, rect)| (image.name.as_str(), rect.x, rect.y))
        };
        assert_eq!(
            [0, 1, 2, 3].map(found),
            [
                Some(("b.png", 0, 0)),
                Some(("a.png", 872, 580)),
                Some(("b.png", 7, 9)),
                None
            ]
        );
    }

    #[test]
    fn impossible_images_and_places_are_refused() {
        let refused =
            |images: Vec<TrainingImage>, rows: &[RowPlace]| Provenance::new(images, rows.to_vec()).unwrap_err();
        let (a, whole) = (|| image("a.png", vec![]), place(0, [0, 0, 900, 600]));
        assert!(Provenance::new(vec![a()], vec![whole]).is_ok());
        for rect in [
            [0, 0, 901, 600],
            [1, 0, 900, 600],
            [0, 1, 9, 600],
            [5, 5, 0, 1],
            [u32::MAX, 0, u32::MAX, 1],
        ] {
            let error = refused(vec![a()], &[whole, place(0, rect)]);
            assert!(error.contains("row 1 comes from no place"), "{error}");
        }
        assert!(refused(vec![a()], &[place(1, [0, 0, 1, 1])]).contains("row 0"));
        for names in [["b.png", "a.png"], ["a.png", "a.png"]] {
            assert!(refused(names.map(|name| image(name, vec![])).to_vec(), &[]).contains("do not ascend"));
        }
        assert!(refused(vec![image(&"x".repeat(NAME_BYTES_MAX + 1), vec![])], &[]).contains("4097 bytes"));
        for (width_px, height_px) in [(0, 5), (5, 0), (u32::MAX, u32::MAX)] {
            let sized = TrainingImage {
                width_px,
                height_px,
                ..a()
            };
            assert!(refused(vec![sized], &[]).contains("pixels large"));
        }
        let cut = jpeg(8, 8)[..100].to_vec();
        let long = [jpeg(8, 8), vec![0; PICTURE_BYTES_MAX]].concat();
        for picture in [b"GIF89a".to_vec(), cut, jpeg(PICTURE_SIDE_PX + 1, 1), long] {
            assert!(refused(vec![image("a.png", picture)], &[]).contains("is no JPEG"));
        }
        let many = (0..=PICTURES_MAX).map(|n| image(&format!("{n:04}"), jpeg(1, 1)));
        assert!(refused(many.collect(), &[]).contains("1001 pictures"));
    }

    #[test]
    fn what_a_file_holds_is_read_back_or_refused() {
        let (provenance, described) = (provenance(), provenance().described());
        let read = |described: &str, change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
            let mut tensors = provenance.tensors();
            change(&mut tensors);
            Provenance::from_file(described, &tensors)
        };
        assert_eq!(read(&described, &|_| ()), Ok(provenance.clone()));
        let row = |value: i64| {
            move |tensors: &mut BTreeMap<String, Tensor>| {
                let places = vec![0, value, 0, 1, 1];
                tensors.insert("rows".to_owned(), Tensor::i64(&[1, 5], places));
            }
        };
        assert!(read(&described, &row(3)).is_ok());
        for value in [-1, 900, 1 << 32, i64::MIN, i64::MAX] {
            assert!(read(&described, &row(value)).is_err(), "{value}");
        }
        let pictures = |bytes: usize| {
            move |tensors: &mut BTreeMap<String, Tensor>| {
                tensors.insert("pictures".to_owned(), Tensor::u8(vec![0xff; bytes]));
            }
        };
        for bytes in [0, 10, 1 << 16] {
            assert!(read(&described, &pictures(bytes)).is_err(), "{bytes}");
        }
        for gone in ["rows", "pictures"] {
            assert!(
                read(&described, &|tensors| drop(tensors.remove(gone))).is_err(),
                "{gone}"
            );
        }
        let wide = |tensors: &mut BTreeMap<String, Tensor>| {
            tensors.insert("rows".to_owned(), Tensor::i64(&[1, 6], vec![0, 0, 0, 1, 1, 1]));
        };
        assert!(read(&described, &wide).is_err());
        for other in [
            "",
            "{}",
            "[{}]",
            &described.replacen("name", "path", 1),
            &described.replacen("900", "-900", 1),
        ] {
            assert!(read(other, &|_| ()).is_err(), "{other}");
        }
    }
}
