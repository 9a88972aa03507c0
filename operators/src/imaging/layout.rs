//! Where the pixels of the anomaly map lie in the frame, and which tiles the network sees.

use super::{Image, crop, resize, resize_mask_nearest};
use crate::detector::InputRecipe;
use crate::{Mask, RectPx};

/// Tiles of the largest frame: at 10 ms a tile on one core a frame with more would take over 40 seconds. More is refused
/// when the layout is made, before any tile is cut.
pub const TILES_MAX: u64 = 4096;

/// Smallest and largest edge of the network's input. Below 32 pixels the deepest layers have one position; above 4096 the
/// feature maps of one image alone take gigabytes.
const SIZE_PX: std::ops::RangeInclusive<u32> = 32..=4096;

/// Smallest tile: defects of a few pixels need a surrounding to stand out from.
const TILE_PX_MIN: u32 = 16;

/// The geometry of one frame under an input recipe. The anomaly map is square at the size of the network's input for whole
/// frames (after resizing and the optional centre crop), and has the frame's own size for tiled frames.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameLayout {
    /// Columns of the frame as captured.
    pub frame_width_px: u32,
    /// Rows of the frame as captured.
    pub frame_height_px: u32,
    /// Columns of the anomaly map.
    pub map_width: usize,
    /// Rows of the anomaly map.
    pub map_height: usize,
    /// Frame pixels per map pixel, (x, y).
    pub frame_px_per_map_px: [f64; 2],
    /// Frame position of the map's top-left corner, (x, y); not zero after a centre crop.
    pub map_origin_in_frame_px: [f64; 2],
    /// What the network sees, in map pixels, row-major: one rectangle over the whole map, or the overlapping tiles.
    pub tiles: Vec<RectPx>,
}

/// Checks that an input recipe can be carried out at all, whatever the frames.
///
/// # Errors
/// A sentence with the value, what it may be, and the field to change.
pub fn check_input(input: &InputRecipe) -> Result<(), String> {
    let InputRecipe {
        size_px,
        crop_px,
        tiling,
        ..
    } = *input;
    // The tile's width first: of tiles, it is what the network's input follows from.
    if let Some(tiling) = tiling {
        if !(TILE_PX_MIN..=*SIZE_PX.end()).contains(&tiling.tile_px) {
            return Err(format!(
                "a tile is {} pixels wide, but {TILE_PX_MIN} to {} are possible; change the tile size",
                tiling.tile_px,
                SIZE_PX.end()
            ));
        }
        if tiling.overlap_px >= tiling.tile_px {
            return Err(format!(
                "tiles of {} pixels overlap by {} pixels, but the overlap has to be smaller than the tile; lower the overlap",
                tiling.tile_px, tiling.overlap_px
            ));
        }
    }
    if !SIZE_PX.contains(&size_px) {
        return Err(format!(
            "the network's input is {size_px} pixels wide, but {} to {} are possible; change the size",
            SIZE_PX.start(),
            SIZE_PX.end()
        ));
    }
    if let Some(crop_px) = crop_px {
        if !(*SIZE_PX.start()..=size_px).contains(&crop_px) {
            return Err(format!(
                "the centre crop is {crop_px} pixels wide, but {} to {size_px} fit the size; change the crop or the size",
                SIZE_PX.start()
            ));
        }
        if tiling.is_some() {
            return Err(format!(
                "a centre crop of {crop_px} pixels was asked for together with tiles, but tiles are never cropped; drop one of them"
            ));
        }
    }
    if input.sixteen_bit_max == 0 {
        return Err("the highest value of 16-bit images is 0, but it has to be at least 1; \
             state the camera's range, 4095 for 12 bits"
            .to_string());
    }
    Ok(())
}

impl FrameLayout {
    /// The layout of frames of this size.
    ///
    /// Whole frames are resized to `size_px` × `size_px`, whatever their shape, and then cropped in the middle like
    /// torchvision's `CenterCrop`; there is one tile. Tiled frames are covered by the fewest tiles that share at least
    /// `overlap_px`, laid evenly: the first is flush with the left (top) edge, the last with the right (bottom) edge.
    ///
    /// # Errors
    /// A sentence, if the recipe cannot be carried out ([`check_input`]), the frame is empty or smaller than a tile, or it
    /// would take more than [`TILES_MAX`] tiles.
    pub fn new(input: &InputRecipe, frame_width_px: u32, frame_height_px: u32) -> Result<Self, String> {
        check_input(input)?;
        if frame_width_px == 0 || frame_height_px == 0 {
            return Err(format!("a frame of {frame_width_px}x{frame_height_px} has no pixels"));
        }
        match input.tiling {
            None => Ok(Self::whole(input, frame_width_px, frame_height_px)),
            Some(tiling) => {
                let tiles = tile_rects(frame_width_px, frame_height_px, tiling.tile_px, tiling.overlap_px)?;
                Ok(Self {
                    frame_width_px,
                    frame_height_px,
                    map_width: frame_width_px as usize,
                    map_height: frame_height_px as usize,
                    frame_px_per_map_px: [1.0, 1.0],
                    map_origin_in_frame_px: [0.0, 0.0],
                    tiles,
                })
            }
        }
    }

    fn whole(input: &InputRecipe, frame_width_px: u32, frame_height_px: u32) -> Self {
        let map_px = input.crop_px.unwrap_or(input.size_px);
        let margin = f64::from(centre_crop_offset(input.size_px, map_px));
        let scale = [frame_width_px, frame_height_px].map(|len| f64::from(len) / f64::from(input.size_px));
        Self {
            frame_width_px,
            frame_height_px,
            map_width: map_px as usize,
            map_height: map_px as usize,
            frame_px_per_map_px: scale,
            map_origin_in_frame_px: scale.map(|scale| margin * scale),
            tiles: vec![RectPx {
                x: 0,
                y: 0,
                width: map_px,
                height: map_px,
            }],
        }
    }

    /// What the network sees of `image` in tile `tile_idx`: square, `crop_px` (or `size_px`) wide for whole frames, `size_px`
    /// for tiles.
    ///
    /// Panics unless `image` has the layout's frame size, `tile_idx` is one of its tiles, and `input` is the recipe the
    /// layout was made with (bugs of ours).
    pub fn tile_image(&self, image: &Image, tile_idx: usize, input: &InputRecipe) -> Image {
        assert_eq!(
            (image.width_px, image.height_px),
            (self.frame_width_px, self.frame_height_px),
            "the layout is of frames of another size"
        );
        let tile = self.tiles[tile_idx];
        if input.tiling.is_some() {
            return resize(&crop(image, tile), input.size_px, input.size_px);
        }
        let margin = centre_crop_offset(input.size_px, tile.width);
        let cropped = RectPx {
            x: margin,
            y: margin,
            ..tile
        };
        crop(&resize(image, input.size_px, input.size_px), cropped)
    }

    /// The smallest rectangle of frame pixels that holds all of a rectangle of map pixels, cut at the frame's edges.
    pub fn map_rect_to_frame(&self, rect: RectPx) -> RectPx {
        let span = |start: u32, len: u32| [f64::from(start), f64::from(start) + f64::from(len)];
        self.map_spans_to_frame([span(rect.x, rect.width), span(rect.y, rect.height)])
    }

    /// The frame pixels of one patch, as [`FrameLayout::map_rect_to_frame`] gives them: its cell of the tile, which `grid`
    /// (rows, columns) divides evenly. What the patch is made of reaches further.
    ///
    /// Panics unless the layout has the tile and the grid the patch (bugs of ours).
    pub fn patch_rect_to_frame(&self, tile_idx: usize, grid: [usize; 2], patch_idx: usize) -> RectPx {
        let (tile, [rows, columns]) = (self.tiles[tile_idx], grid);
        assert!(patch_idx < rows * columns, "patch {patch_idx} of {rows}x{columns}");
        let cell = |start: u32, len: u32, idx: usize, n: usize| {
            [idx, idx + 1].map(|idx| f64::from(start) + f64::from(len) * idx as f64 / n as f64)
        };
        self.map_spans_to_frame([
            cell(tile.x, tile.width, patch_idx % columns, columns),
            cell(tile.y, tile.height, patch_idx / columns, rows),
        ])
    }

    /// Of spans [from, to] along x and y.
    fn map_spans_to_frame(&self, [x, y]: [[f64; 2]; 2]) -> RectPx {
        let [x, width] = self.map_span_to_frame(0, x, self.frame_width_px);
        let [y, height] = self.map_span_to_frame(1, y, self.frame_height_px);
        RectPx { x, y, width, height }
    }

    fn map_span_to_frame(&self, axis: usize, [from, to]: [f64; 2], frame_len: u32) -> [u32; 2] {
        let to_frame = |at: f64| self.map_origin_in_frame_px[axis] + at * self.frame_px_per_map_px[axis];
        // A hair of tolerance, or a border at 300.00000000000006 would take in one more pixel.
        let first = (to_frame(from) + 1e-6).floor().min(f64::from(frame_len));
        let last = (to_frame(to) - 1e-6).ceil().clamp(first, f64::from(frame_len));
        [first as u32, (last - first) as u32]
    }

    /// The frame position of a map position, (x, y). Both count pixel *centres*: the centre of the top-left pixel is (0, 0),
    /// as in a centre of mass over pixel indices.
    pub fn map_point_to_frame(&self, point: [f64; 2]) -> [f64; 2] {
        [0, 1]
            .map(|axis| self.map_origin_in_frame_px[axis] + (point[axis] + 0.5) * self.frame_px_per_map_px[axis] - 0.5)
    }

    /// The frame pixels that a number of map pixels cover, rounded; at least 1 where there is any.
    pub fn area_to_frame(&self, map_pixels: u64) -> u64 {
        let [x, y] = self.frame_px_per_map_px;
        ((map_pixels as f64 * x * y).round() as u64).max(map_pixels.min(1))
    }

    /// A ground-truth mask of the frame's size on the grid of the anomaly map: for whole frames resized to the nearest pixel
    /// and cropped, as the references do; for tiled frames as it is.
    ///
    /// Panics unless the mask has the frame's size: whoever reads masks compares them first.
    pub fn mask_to_map(&self, mask: &Mask) -> Mask {
        assert_eq!(
            (mask.width, mask.height),
            (self.frame_width_px as usize, self.frame_height_px as usize),
            "the mask is of a frame of another size"
        );
        if (self.map_width, self.map_height) == (mask.width, mask.height) && self.frame_px_per_map_px == [1.0, 1.0] {
            return mask.clone();
        }
        // Whole frames: the scale is frame / resized, so the resized size comes back exactly.
        let [scale_x, scale_y] = self.frame_px_per_map_px;
        let resized_width = (f64::from(self.frame_width_px) / scale_x).round() as usize;
        let resized_height = (f64::from(self.frame_height_px) / scale_y).round() as usize;
        let left = (self.map_origin_in_frame_px[0] / scale_x).round() as usize;
        let top = (self.map_origin_in_frame_px[1] / scale_y).round() as usize;
        let resized = resize_mask_nearest(mask, resized_width, resized_height);
        let rows = resized.bits.chunks_exact(resized_width).skip(top).take(self.map_height);
        let bits = rows.flat_map(|row| &row[left..left + self.map_width]).copied();
        Mask::new(self.map_height, self.map_width, bits.collect())
    }
}

/// The offset of torchvision's `CenterCrop`: `int(round((size - crop) / 2.0))`, and Python rounds halves to even.
fn centre_crop_offset(size_px: u32, crop_px: u32) -> u32 {
    (f64::from(size_px - crop_px) / 2.0).round_ties_even() as u32
}

fn tile_rects(frame_width_px: u32, frame_height_px: u32, tile_px: u32, overlap_px: u32) -> Result<Vec<RectPx>, String> {
    if frame_width_px < tile_px || frame_height_px < tile_px {
        return Err(format!(
            "a frame of {frame_width_px}x{frame_height_px} is smaller than a tile of {tile_px}x{tile_px}; \
             lower the tile size to at most {}",
            frame_width_px.min(frame_height_px)
        ));
    }
    let n_columns = n_tiles(frame_width_px, tile_px, overlap_px);
    let n_rows = n_tiles(frame_height_px, tile_px, overlap_px);
    let n_tiles = u64::from(n_columns) * u64::from(n_rows);
    if n_tiles > TILES_MAX {
        return Err(format!(
            "a frame of {frame_width_px}x{frame_height_px} takes {n_tiles} tiles of {tile_px} pixels that overlap by \
             {overlap_px}, but at most {TILES_MAX} are possible; use larger tiles or less overlap"
        ));
    }
    let starts = |n, frame_len| (0..n).map(move |tile| tile_start(tile, n, frame_len, tile_px));
    let tiles = starts(n_rows, frame_height_px).flat_map(|y| {
        starts(n_columns, frame_width_px).map(move |x| RectPx {
            x,
            y,
            width: tile_px,
            height: tile_px,
        })
    });
    Ok(tiles.collect())
}

/// The fewest tiles that cover `frame_len` with neighbours sharing at least `overlap`.
fn n_tiles(frame_len: u32, tile: u32, overlap: u32) -> u32 {
    (frame_len - tile).div_ceil(tile - overlap) + 1
}

/// Evenly laid: neighbours are at most `ceil((frame_len - tile) / (n - 1)) ≤ tile - overlap` apart.
fn tile_start(tile_idx: u32, n_tiles: u32, frame_len: u32, tile: u32) -> u32 {
    let slack = u64::from(frame_len - tile);
    // At most `slack`, because tile_idx < n_tiles.
    (u64::from(tile_idx) * slack / u64::from(n_tiles.max(2) - 1)) as u32
}

#[cfg(test)]
mod tests;
