//! Layout `mvtec`: `train/good/`, `test/<defect>/`, `ground_truth/<defect>/<stem>_mask.png`.

use std::path::Path;

use intakt_operators::Truth;

use super::files::{Found, Lister, contents, folder_name, name_of};
use super::masks::Masks;
use super::{Dataset, DatasetError, Item, Layout, Split};

/// The folder of normal images.
const GOOD: &str = "good";

pub(super) fn read(root: &Path, lister: &mut Lister) -> Result<Dataset, DatasetError> {
    let has = |folder: &str| root.join(folder).is_dir();
    if !has("train") && !has("test") {
        return Err(DatasetError::NotThisLayout {
            path: root.to_owned(),
            layout: Layout::Mvtec,
            looked_for: "`train/good/` and `test/`",
            found: contents(root),
        });
    }
    let camera = folder_name(root);
    let mut items = Vec::new();
    refuse_training_on_defects(root, lister)?;
    for (folder, split) in [("train/good", Split::Train), ("validation/good", Split::Calibrate)] {
        for image in lister.images_in(&root.join(folder))? {
            items.push(item(folder, image, split, Truth::Normal, &camera)?);
        }
    }
    for class in lister.folders_in(&root.join("test"))? {
        items.extend(read_test_class(root, &class, &camera, lister)?);
    }
    Ok(Dataset {
        root: root.to_owned(),
        layout: Layout::Mvtec,
        fabric: None,
        items,
        ignored: lister.ignored,
    })
}

/// Images beside `train/good` would be left out of the fit without a word.
fn refuse_training_on_defects(root: &Path, lister: &mut Lister) -> Result<(), DatasetError> {
    let folders = lister.folders_in(&root.join("train"))?;
    match folders.iter().find(|folder| folder.as_path() != Path::new(GOOD)) {
        Some(folder) => Err(DatasetError::TrainNotGood {
            path: root.join("train").join(folder),
        }),
        None => Ok(()),
    }
}

fn read_test_class(root: &Path, class: &Path, camera: &str, lister: &mut Lister) -> Result<Vec<Item>, DatasetError> {
    let class = name_of(class)?;
    let folder = format!("test/{class}");
    let images = lister.images_in(&root.join(&folder))?;
    if class == GOOD {
        let normal = |image| item(&folder, image, Split::Test, Truth::Normal, camera);
        return images.into_iter().map(normal).collect();
    }
    let masks_dir = root.join("ground_truth").join(&class);
    let mut masks = Masks::new(lister.images_in(&masks_dir)?);
    let mut items = Vec::with_capacity(images.len());
    for image in images {
        let of_image = masks.claim(Path::new(""), image.stem());
        if of_image.is_empty() && masks.has_folder(Path::new("")) {
            return Err(missing_mask(&image, &masks_dir));
        }
        let truth = Truth::Anomalous(class.clone());
        items.push(Item {
            masks: of_image,
            ..item(&folder, image, Split::Test, truth, camera)?
        });
    }
    lister.ignored += masks.unclaimed();
    Ok(items)
}

/// An anomalous image without a mask where others have one.
pub(super) fn missing_mask(image: &Found, masks_dir: &Path) -> DatasetError {
    DatasetError::MissingMask {
        image: image.path.clone(),
        stem: image.stem().to_string_lossy().into_owned(),
        masks: masks_dir.to_owned(),
    }
}

/// An item without masks that lies in `folder`, relative to the dataset.
pub(super) fn item(folder: &str, image: Found, split: Split, truth: Truth, camera: &str) -> Result<Item, DatasetError> {
    Ok(Item {
        name: name_of(&Path::new(folder).join(&image.relative))?,
        path: image.path,
        split,
        truth,
        masks: Vec::new(),
        camera: camera.to_owned(),
        captured_at_us: None,
    })
}
