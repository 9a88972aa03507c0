//! Where the pixels of the anomaly map lie in the frame, and which tiles the network sees.

use crate::RectPx;

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
