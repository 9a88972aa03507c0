//! Layout `aitex`: `NODefect_images/<fabric folder>/NNNN_DDD_FF.png`, `Defect_images/`, `Mask_images/`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use intakt_operators::Truth;

use super::files::{Found, Lister, contents, name_of};
use super::masks::Masks;
use super::mvtec::item;
use super::split::split_normals;
use super::{Dataset, DatasetError, Item, Layout, Split};

const NORMAL: &str = "NODefect_images";
const ANOMALOUS: &str = "Defect_images";
const MASKS: &str = "Mask_images";

/// The defect code of an image without a defect.
const NO_DEFECT: &str = "000";

pub(super) fn read(root: &Path, fabric: Option<&str>, lister: &mut Lister) -> Result<Dataset, DatasetError> {
    let strips = Strips::list(root, lister)?;
    let code = strips.choose(root, fabric)?;
    let mut items = strips.normals_of(&code)?;
    split_normals(&mut items, stem_of);
    let mut masks = Masks::new(lister.images_in(&root.join(MASKS))?);
    for (strip, image) in strips.anomalous.into_iter().filter(|(strip, _)| strip.fabric == code) {
        let truth = match strip.defect.as_str() {
            NO_DEFECT => Truth::Normal,
            defect => Truth::Anomalous(defect.to_owned()),
        };
        items.push(Item {
            masks: masks.claim(Path::new(""), image.stem()),
            ..item(ANOMALOUS, image, Split::Test, truth, &code)?
        });
    }
    Ok(Dataset {
        root: root.to_owned(),
        layout: Layout::Aitex,
        fabric: Some(code),
        items,
        ignored: lister.ignored,
    })
}

/// What a normal image is split by: its file name without the extension.
fn stem_of(normal: &Item) -> String {
    normal
        .path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What a file name says: `0044_019_04` is defect 019 on fabric 04.
struct Strip {
    defect: String,
    fabric: String,
}

impl Strip {
    fn parse(stem: &OsStr) -> Option<Strip> {
        let parts: Vec<&str> = stem.to_str()?.split('_').collect();
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match parts[..] {
            [number, defect, fabric] if [number, defect, fabric].into_iter().all(digits) => Some(Strip {
                defect: defect.to_owned(),
                fabric: fabric.to_owned(),
            }),
            _ => None,
        }
    }
}

/// All images of all fabrics.
struct Strips {
    /// By fabric folder.
    normal: BTreeMap<String, Vec<(Strip, Found)>>,
    anomalous: Vec<(Strip, Found)>,
}

impl Strips {
    fn list(root: &Path, lister: &mut Lister) -> Result<Strips, DatasetError> {
        let has = |folder: &str| root.join(folder).is_dir();
        if !has(NORMAL) && !has(ANOMALOUS) {
            return Err(DatasetError::NotThisLayout {
                path: root.to_owned(),
                layout: Layout::Aitex,
                looked_for: "`NODefect_images/` and `Defect_images/`",
                found: contents(root),
            });
        }
        let mut normal = BTreeMap::new();
        for folder in lister.folders_in(&root.join(NORMAL))? {
            let images = lister.images_in(&root.join(NORMAL).join(&folder))?;
            normal.insert(name_of(&folder)?, named_as_strips(images, lister));
        }
        let anomalous = lister.images_in(&root.join(ANOMALOUS))?;
        let anomalous = named_as_strips(anomalous, lister);
        Ok(Strips { normal, anomalous })
    }

    /// The code of the fabric that was asked for by code or by folder, or of the only one.
    fn choose(&self, root: &Path, fabric: Option<&str>) -> Result<String, DatasetError> {
        let fabrics = self.fabrics();
        match fabric {
            Some(code) if fabrics.contains_key(code) => Ok(code.to_owned()),
            Some(folder) if self.normal.contains_key(folder) => self.code_of_folder(root, folder),
            Some(fabric) => Err(DatasetError::NoSuchFabric {
                path: root.to_owned(),
                fabric: fabric.to_owned(),
                fabrics: described(&fabrics),
            }),
            None => match fabrics.keys().collect::<Vec<_>>()[..] {
                [code] => Ok(code.clone()),
                [] => Err(DatasetError::NotThisLayout {
                    path: root.to_owned(),
                    layout: Layout::Aitex,
                    looked_for: "images called `NNNN_DDD_FF.png` in `NODefect_images/<fabric>/` and `Defect_images/`",
                    found: "none".to_owned(),
                }),
                [example, ..] => Err(DatasetError::FabricNotChosen {
                    path: root.to_owned(),
                    fabrics: described(&fabrics),
                    example: example.clone(),
                }),
            },
        }
    }

    /// Fabric codes with the folders of their normal images.
    fn fabrics(&self) -> BTreeMap<String, BTreeSet<&str>> {
        let mut fabrics: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (folder, strips) in &self.normal {
            for (strip, _) in strips {
                fabrics.entry(strip.fabric.clone()).or_default().insert(folder);
            }
        }
        for (strip, _) in &self.anomalous {
            fabrics.entry(strip.fabric.clone()).or_default();
        }
        fabrics
    }

    fn code_of_folder(&self, root: &Path, folder: &str) -> Result<String, DatasetError> {
        let codes: BTreeSet<&str> = self.normal[folder]
            .iter()
            .map(|(strip, _)| strip.fabric.as_str())
            .collect();
        match codes.iter().collect::<Vec<_>>()[..] {
            [code] => Ok((*code).to_owned()),
            [] => Err(DatasetError::NoSuchFabric {
                path: root.to_owned(),
                fabric: folder.to_owned(),
                fabrics: format!("{} and no image in that folder", described(&self.fabrics())),
            }),
            [example, ..] => Err(DatasetError::MixedFabric {
                folder: root.join(NORMAL).join(folder),
                codes: codes
                    .iter()
                    .map(|code| format!("`{code}`"))
                    .collect::<Vec<_>>()
                    .join(", "),
                example: (*example).to_owned(),
            }),
        }
    }

    fn normals_of(&self, code: &str) -> Result<Vec<Item>, DatasetError> {
        let mut items = Vec::new();
        for (folder, strips) in &self.normal {
            let folder = PathBuf::from(NORMAL).join(folder);
            for (_, image) in strips.iter().filter(|(strip, _)| strip.fabric == code) {
                let folder = name_of(&folder)?;
                items.push(item(&folder, image.clone(), Split::Train, Truth::Normal, code)?);
            }
        }
        Ok(items)
    }
}

/// Keeps the images that are called `NNNN_DDD_FF`, counts the others.
fn named_as_strips(images: Vec<Found>, lister: &mut Lister) -> Vec<(Strip, Found)> {
    let n_images = images.len();
    let strips: Vec<_> = images
        .into_iter()
        .filter_map(|image| Some((Strip::parse(image.stem())?, image)))
        .collect();
    lister.ignored += n_images - strips.len();
    strips
}

fn described(fabrics: &BTreeMap<String, BTreeSet<&str>>) -> String {
    let described = fabrics.iter().map(|(code, folders)| match folders.len() {
        0 => format!("`{code}` (no normal images)"),
        _ => format!("`{code}` ({})", folders.iter().copied().collect::<Vec<_>>().join(", ")),
    });
    described.collect::<Vec<_>>().join(", ")
}
