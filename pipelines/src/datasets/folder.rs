//! Layout `folder`: `normal/`, perhaps `anomalous/` and `masks/`; or one flat directory of normal images.

use std::path::Path;

use intakt_operators::Truth;

use super::detect::has_signs_of;
use super::files::{Found, Lister, contents, folder_name};
use super::masks::Masks;
use super::mvtec::{item, missing_mask};
use super::split::split_normals;
use super::{Dataset, DatasetError, Item, Layout, Split};

const NORMAL: &str = "normal";
const ANOMALOUS: &str = "anomalous";
const MASKS: &str = "masks";

pub(super) fn read(root: &Path, lister: &mut Lister) -> Result<Dataset, DatasetError> {
    if !root.is_dir() {
        return Err(not_a_folder(root));
    }
    let camera = folder_name(root);
    let items = if has_signs_of(root, Layout::Folder) {
        let mut items = read_normals(root, &camera, lister)?;
        if root.join(ANOMALOUS).is_dir() {
            split_normals(&mut items, place_in_normal);
            items.extend(read_anomalous(root, &camera, lister)?);
        }
        items
    } else {
        let flat = |image| item("", image, Split::Train, Truth::Normal, &camera);
        lister
            .images_in(root)?
            .into_iter()
            .map(flat)
            .collect::<Result<_, _>>()?
    };
    Ok(Dataset {
        root: root.to_owned(),
        layout: Layout::Folder,
        fabric: None,
        items,
        ignored: lister.ignored,
    })
}

fn read_normals(root: &Path, camera: &str, lister: &mut Lister) -> Result<Vec<Item>, DatasetError> {
    let images = lister.images_below(&root.join(NORMAL))?;
    let normal = |image| item(NORMAL, image, Split::Train, Truth::Normal, camera);
    images.into_iter().map(normal).collect()
}

/// What a normal image is split by: `monday/1` for `normal/monday/1.png`.
fn place_in_normal(normal: &Item) -> String {
    let name = Path::new(&normal.name);
    let within = name.strip_prefix(NORMAL).unwrap_or(name).with_extension("");
    within.to_string_lossy().into_owned()
}

fn read_anomalous(root: &Path, camera: &str, lister: &mut Lister) -> Result<Vec<Item>, DatasetError> {
    let masks_dir = root.join(MASKS);
    let mut masks = Masks::new(lister.images_below(&masks_dir)?);
    let mut items = Vec::new();
    let mut first_without = None;
    for image in lister.images_below(&root.join(ANOMALOUS))? {
        let folder = image.relative.parent().unwrap_or(Path::new("")).to_owned();
        let of_image = masks.claim(&folder, image.stem());
        if of_image.is_empty() && masks.has_folder(&folder) && first_without.is_none() {
            first_without = Some(missing_mask(&image, &masks_dir.join(&folder)));
        }
        let truth = Truth::Anomalous(class_of(&image));
        items.push(Item {
            masks: of_image,
            ..item(ANOMALOUS, image, Split::Test, truth, camera)?
        });
    }
    // First the sentence that explains more: all masks are in the wrong place, or this one is missing.
    if let Some(example) = masks.first_of_none_claimed() {
        return Err(DatasetError::MasksUnclaimed {
            masks: masks_dir,
            example: example.to_owned(),
        });
    }
    lister.ignored += masks.unclaimed();
    first_without.map_or(Ok(items), Err)
}

/// The first sub-folder of `anomalous/`, or `anomalous`.
fn class_of(image: &Found) -> String {
    let mut components = image.relative.components();
    match (components.next(), components.next()) {
        (Some(class), Some(_)) => class.as_os_str().to_string_lossy().into_owned(),
        _ => ANOMALOUS.to_owned(),
    }
}

fn not_a_folder(root: &Path) -> DatasetError {
    DatasetError::NotThisLayout {
        path: root.to_owned(),
        layout: Layout::Folder,
        looked_for: "`normal/`, or a directory of images",
        found: contents(root),
    }
}
