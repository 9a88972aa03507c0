//! Holds the verdicts against the simulated line's known truth.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use intakt_operators::dataflow::JudgedFrame;
use intakt_operators::imaging::Image;
use intakt_operators::metrics::{Confusion, auroc};
use intakt_operators::{Decision, Outcome, Truth};
use intakt_pipelines::sinks::{Cell, Sink, Tone, contact_sheet, picture};
use intakt_pipelines::sources::synthetic::{SyntheticCamera, SyntheticLine};

/// Rejected frames of each camera on the contact sheet: a page that can be taken in at a glance.
const CELLS_PER_CAMERA: usize = 8;

/// Score of a frame, whether it was rejected, whether it is defective.
type Judged = (f32, bool, bool);
/// Picture and calibrated score, by sequence.
type Pictures = BTreeMap<u64, (Image, f64)>;

/// Verdicts, pictures and truths of a run.
pub(crate) struct Known {
    line: Arc<SyntheticLine>,
    judged: Mutex<BTreeMap<Arc<str>, Vec<Judged>>>,
    pictures: Mutex<BTreeMap<Arc<str>, Pictures>>,
}

impl Known {
    /// Knows the truth of `line`.
    pub(crate) fn new(line: Arc<SyntheticLine>) -> Self {
        Self {
            line,
            judged: Mutex::default(),
            pictures: Mutex::default(),
        }
    }

    fn truth(&self, camera: &str, seq: u64) -> Truth {
        let camera = SyntheticCamera::by_name(camera).expect("the line's own cameras");
        self.line.render(camera, seq).truth
    }

    /// Precision, recall and AUROC of every camera.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!(
            "{:10}{:>8}{:>11}{:>11}{:>9}{:>9}",
            "camera", "frames", "defective", "precision", "recall", "AUROC"
        );
        for (camera, frames) in self.judged.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut confusion = Confusion::default();
            frames
                .iter()
                .for_each(|(_, rejected, anomalous)| confusion.count(*rejected, *anomalous));
            let scores: Vec<f32> = frames.iter().map(|(score, ..)| *score).collect();
            let labels: Vec<bool> = frames.iter().map(|(.., anomalous)| *anomalous).collect();
            let share = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
            let _ = write!(
                text,
                "\n{camera:10}{:>8}{:>11}{:>11}{:>9}{:>9}",
                frames.len(),
                labels.iter().filter(|anomalous| **anomalous).count(),
                share(confusion.precision()),
                share(confusion.recall()),
                share(auroc(&scores, &labels))
            );
        }
        text + "\n"
    }

    /// The first rejected frames of every camera, with their heatmaps.
    pub(crate) fn contact_sheet(&self) -> Image {
        let pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = pictures.iter().flat_map(|(camera, frames)| {
            frames.iter().map(move |(seq, (image, score))| {
                let (tone, class) = match self.truth(camera, *seq) {
                    Truth::Anomalous(class) => (Tone::Right, class),
                    Truth::Normal => (Tone::FalseReject, "normal".to_owned()),
                };
                Cell {
                    image: image.clone(),
                    caption: format!("{camera} #{seq} {score:.2} {class}"),
                    tone,
                }
            })
        });
        let cells: Vec<Cell> = cells.collect();
        contact_sheet("Intakt demo: rejected frames", &cells, CELLS_PER_CAMERA / 2, 256)
    }
}

impl Sink for Known {
    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        let Outcome::Judged(verdict) = outcome else {
            return Ok(());
        };
        let anomalous = self.truth(&verdict.camera, verdict.seq).is_anomalous();
        let judged = (
            verdict.image_score as f32,
            verdict.decision == Decision::Reject,
            anomalous,
        );
        let mut all = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(verdict.camera.clone()).or_default().push(judged);
        Ok(())
    }

    fn draws(&self) -> bool {
        true
    }

    fn draw(&self, judged: &JudgedFrame) -> Result<(), String> {
        let Some(found) = judged
            .evidence
            .as_ref()
            .filter(|_| judged.verdict.decision == Decision::Reject)
        else {
            return Ok(());
        };
        let picture = (picture(found, &judged.verdict), judged.verdict.calibrated_score);
        let mut pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        let of_camera = pictures.entry(judged.verdict.camera.clone()).or_default();
        of_camera.insert(judged.verdict.seq, picture);
        // The earliest stay, whatever order the pool ended them in.
        while of_camera.len() > CELLS_PER_CAMERA {
            of_camera.pop_last();
        }
        Ok(())
    }
}
