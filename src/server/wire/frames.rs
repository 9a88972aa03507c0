//! How a frame looked.

use std::sync::Arc;

use intakt_pipelines::pictures::NearestPatch;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::verdicts::Rect;

/// A frame whose pictures are kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct PicturedFrame {
    pub(crate) camera: Arc<str>,
    pub(crate) seq: u64,
    /// Columns of the frame, in which regions are given. Its pictures may be smaller.
    pub(crate) width_px: u32,
    /// Rows of the frame.
    pub(crate) height_px: u32,
    /// The part of the frame around the strongest region, or around the highest patch of a frame without regions, of which there is a
    /// picture pixel by pixel; none of a frame whose picture is as large as it is.
    pub(crate) closer_px: Option<Rect>,
    /// At most three, for the strongest regions, or for the highest patch of a frame without regions. Empty where the detector does not
    /// score by nearest normal patches, or was fitted before it kept where they come from.
    pub(crate) nearest: Vec<Nearest>,
}

/// A patch of the frame and the normal patch of the detector's memory bank that is nearest to it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Nearest {
    /// Index of the region whose peak the patch is at, in `regions` of the verdict; none of a frame without regions.
    region: Option<u32>,
    /// The patch in the frame.
    rect_px: Rect,
    /// How far it is from what is normal, in the detector's own unit.
    distance: f64,
    /// Name of the training image that the normal patch is in.
    image: String,
    /// Columns of the training image. Its picture may be smaller.
    image_width_px: u32,
    /// Rows of the training image.
    image_height_px: u32,
    /// The normal patch in the training image.
    image_rect_px: Rect,
    /// Whether there is a picture of the training image.
    has_picture: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    #[default]
    Jpeg,
    Png,
}

impl From<NearestPatch> for Nearest {
    fn from(patch: NearestPatch) -> Self {
        let image = patch.training.image;
        Self {
            region: patch.region,
            rect_px: patch.rect_px.into(),
            distance: patch.distance,
            image: image.name,
            image_width_px: image.width_px,
            image_height_px: image.height_px,
            image_rect_px: patch.training_rect_px.into(),
            has_picture: !image.jpeg.is_empty(),
        }
    }
}
