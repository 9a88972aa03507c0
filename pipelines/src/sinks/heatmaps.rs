//! Writes pictures of what was found.

use std::path::{Path, PathBuf};

use intakt_operators::dataflow::{FoundFrame, JudgedFrame};
use intakt_operators::detector::Detector;
use intakt_operators::imaging::Image;
use intakt_operators::postprocess::FrameScores;
use intakt_operators::{AnomalyMap, Decision, Verdict};
use sha2::{Digest, Sha256};

use super::{Sink, heatmap};
use crate::png::encode_png;
use crate::write_picture;

/// Which frames are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeatmapSelection {
    /// Rejected frames.
    Rejected,
    /// Every frame that could be read.
    All,
}

/// Writes one PNG per frame into a directory: the frame with the heatmap blended in and the regions outlined.
pub struct Heatmaps {
    directory: PathBuf,
    selection: HeatmapSelection,
}

impl Heatmaps {
    /// Writes into `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(directory: &Path, selection: HeatmapSelection) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            selection,
        })
    }

    /// The name of a frame's picture: camera, sequence, and the file it came from where it came from one.
    fn path(&self, verdict: &Verdict) -> PathBuf {
        let stem = Path::new(verdict.origin.as_ref())
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let stem = stem.map(|stem| format!("_{stem}")).unwrap_or_default();
        let name = format!("{}_{:06}{stem}.png", verdict.camera, verdict.seq);
        self.directory.join(harmless(&name))
    }
}

/// Longest name that every file system takes, with room for what a partial file is called. A longer one becomes its hash.
const FILE_NAME_BYTES_MAX: usize = 200;

/// `name` without what a file name cannot hold or a shell would read. Such a character becomes `~` and its number, so that
/// two cameras never share a file: `a b` and `a_b` differ.
fn harmless(name: &str) -> String {
    let mut file_name = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_alphanumeric() || "._-".contains(c) {
            file_name.push(c);
        } else {
            file_name.push_str(&format!("~{:x}", u32::from(c)));
        }
    }
    if file_name.len() > FILE_NAME_BYTES_MAX {
        let digest = Sha256::digest(name)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        file_name = format!("{}.png", &digest[..32]);
    }
    file_name
}

impl Sink for Heatmaps {
    fn draws(&self) -> bool {
        true
    }

    fn draw(&self, judged: &JudgedFrame) -> Result<(), String> {
        let wanted = self.selection == HeatmapSelection::All || judged.verdict.decision == Decision::Reject;
        let Some(found) = judged.evidence.as_ref().filter(|_| wanted) else {
            return Ok(());
        };
        let path = self.path(&judged.verdict);
        let png = encode_png(&picture(found, &judged.verdict))?;
        write_picture(&path, &png).map_err(|error| error.to_string())
    }
}

/// The frame with its heatmap, coloured by the detector's calibration.
pub fn picture(found: &FoundFrame, verdict: &Verdict) -> Image {
    let scores = &found.scored.scores;
    heatmap(
        &found.scored.frame.image,
        &calibrated_map(scores, &found.detector),
        &scores.layout,
        &verdict.regions,
        &verdict.suppressed,
    )
}

/// The map of a frame in calibrated scores.
pub(super) fn calibrated_map(scores: &FrameScores, detector: &Detector) -> AnomalyMap {
    let scale = &detector.calibration().pixel;
    let calibrated = scores.map.scores.iter().map(|score| scale.calibrated(*score) as f32);
    AnomalyMap::new(scores.map.height, scores.map.width, calibrated.collect())
}
