//! What a scorer says about one network input.

/// One distance per patch, row-major over the embedding's grid; higher is more anomalous.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchScores {
    /// Rows of patches; 1 for a global feature.
    pub height: usize,
    /// Columns of patches; 1 for a global feature.
    pub width: usize,
    /// `height * width` distances.
    pub distances: Vec<f32>,
    /// PatchCore's weight of every patch (eq. 7), where the image score is re-weighted.
    pub weights: Option<Vec<f32>>,
    /// The row of the memory bank that is nearest to every patch, where the scorer has a bank.
    pub nearest: Option<Vec<u32>>,
}
