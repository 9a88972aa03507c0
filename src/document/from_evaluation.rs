//! The report on an evaluation, of the file that `evaluate --json` writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use intakt_operators::detector::DetectorDescription;
use intakt_operators::metrics::{AUPRO_FPR_LIMIT, DatasetMetrics, Tally, auroc, roc_curve};
use intakt_operators::{Decision, Truth};
use intakt_pipelines::review::{Notable, ReviewPicture};
use intakt_pipelines::sinks::StageStatus;
use intakt_pipelines::store::{ScoreSteps, SuppressedRegions};
use intakt_pipelines::{EvaluatedImage, Evaluation, NotableImage, PipelineError};
use serde::{Deserialize, Serialize};

use super::chart::Span;
use super::text::{Clock, counted, figure, part_of, percent};
use super::{
    ClassRow, DetectorPart, Document, NotableFrame, NotableFrames, Quality, Scores, Sum, quality, sum_of_labels,
    sums_of,
};
use crate::environment::Environment;
use crate::report::unreadable;

/// Version of the file.
const VERSION: u32 = 1;

/// What was measured, and when and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AboutEvaluation {
    pub(crate) detector: DetectorDescription,
    /// The dataset as the user named it.
    pub(crate) dataset: String,
    /// Wall clock, microseconds since 1970.
    pub(crate) evaluated_at_us: u64,
    pub(crate) environment: Environment,
}

/// The file: the figures first, for whoever looks into it.
#[derive(Serialize)]
struct Written<'a> {
    intakt_evaluation: u32,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
    about: &'a AboutEvaluation,
}

/// What a report needs of it.
#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    metrics: DatasetMetrics,
    unreadable: u64,
    frames_per_second: f64,
    latencies: Vec<StageStatus>,
    pro_curve: Vec<[f64; 2]>,
    images: Vec<EvaluatedImage>,
    notable: Vec<NotableImage>,
    about: AboutEvaluation,
}

#[derive(Deserialize)]
struct Versioned {
    intakt_evaluation: Option<u32>,
}

/// The file that keeps an evaluation.
///
/// # Errors
/// A number that JSON does not have.
pub(crate) fn evaluation_json(evaluation: &Evaluation, about: &AboutEvaluation) -> Result<Vec<u8>, PipelineError> {
    let written = Written {
        intakt_evaluation: VERSION,
        evaluation,
        about,
    };
    serde_json::to_vec_pretty(&written)
        .map_err(|error| PipelineError::Refused(format!("cannot write the figures as JSON: {error}")))
}

/// The report on the evaluation that `json` keeps, which was read from `path`.
///
/// # Errors
/// It keeps none, or one of another version.
pub(crate) fn of_evaluation(json: &[u8], path: &Path) -> Result<Document, PipelineError> {
    let refuse = |cause: String| PipelineError::Load {
        what: "evaluation",
        path: path.to_owned(),
        cause,
    };
    let damaged = |error: serde_json::Error| refuse(format!("it is not what `intakt evaluate --json` writes: {error}"));
    match serde_json::from_slice::<Versioned>(json)
        .map_err(damaged)?
        .intakt_evaluation
    {
        Some(VERSION) => {}
        Some(other) => {
            return Err(refuse(format!(
                "it has version {other}, and this Intakt knows {VERSION}\n  hint: evaluate again, or use the Intakt that wrote it"
            )));
        }
        None => {
            return Err(refuse(
                "it does not say that it is an evaluation, or an earlier Intakt wrote it, which kept too little for a report\n  \
                 hint: evaluate again with `intakt evaluate … --json`"
                    .to_owned(),
            ));
        }
    }
    Ok(document(serde_json::from_slice(json).map_err(damaged)?))
}

fn document(read: Read) -> Document {
    let measured = Measured::of(&read.images);
    let about = &read.about;
    let clock = Clock::default();
    let guaranteed = about.detector.calibration.guaranteed_false_reject_rate;
    let confusion = measured.all.confusion();
    let quality = quality_of(&read, &measured);
    let mut summary = vec![
        quality::in_a_sentence(&confusion),
        match read.metrics.pixel_auroc {
            None => format!("Image AUROC {}.", figure(read.metrics.image_auroc)),
            pixel_auroc => format!(
                "Image AUROC {}, pixel AUROC {}, AUPRO {}.",
                figure(read.metrics.image_auroc),
                figure(pixel_auroc),
                figure(read.metrics.aupro)
            ),
        },
    ];
    if let Some(rate) = guaranteed {
        summary.push(format!(
            "The threshold promises that at most {} of good parts are rejected; here it was {}.",
            percent(Some(rate)),
            part_of(confusion.fp, confusion.fp + confusion.tn, "good parts")
        ));
    }
    let warnings = match read.unreadable {
        0 => Vec::new(),
        n => vec![format!(
            "{} could not be read, and {} in no figure: {}.",
            counted(n, "image"),
            if n == 1 { "counts" } else { "count" },
            names_of_unreadable(&read.images)
        )],
    };
    let frames = counted(read.images.len() as u64, "image");
    Document {
        kind: "Evaluation",
        name: name_of(&about.dataset),
        dated: clock.moment(about.evaluated_at_us),
        summary,
        warnings,
        clock,
        detectors: vec![DetectorPart {
            id: about.detector.id.clone(),
            looked_at: format!("It looked at {frames} of the test split."),
            description: Ok(about.detector.clone()),
        }],
        sums: sums(&read, &measured),
        counts: measured.cameras.into_iter().collect(),
        reasons: measured.reasons.into_iter().collect(),
        rates: None,
        scores: vec![Scores {
            name: "Test images".to_owned(),
            steps: measured.steps,
        }],
        quality: Some(quality),
        notable: notable(&read.images, read.notable),
        suppressed_note: format!(
            "{}Ignored by rule: {}.",
            if measured.suppressed.is_empty() {
                "Nothing was suppressed. "
            } else {
                ""
            },
            super::detectors::all_ignored(&about.detector)
        ),
        suppressed: measured.suppressed.into_iter().collect(),
        latencies: spans(&read.latencies),
        latencies_note: format!("{:.1} frames a second, from file to verdict.", read.frames_per_second),
        environment: Some(about.environment.clone()),
        about: vec![("Dataset", about.dataset.clone())],
    }
}

/// The last part of a path.
fn name_of(dataset: &str) -> String {
    let name = Path::new(dataset).file_name();
    name.map_or(dataset.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What the images come to.
#[derive(Default)]
struct Measured {
    all: Tally,
    cameras: BTreeMap<Arc<str>, Tally>,
    reasons: BTreeMap<String, u64>,
    steps: ScoreSteps,
    suppressed: BTreeMap<intakt_operators::SuppressionReason, SuppressedRegions>,
    /// Raw and calibrated scores of judged images, and whether they were rejected, by class.
    normal: Vec<Scored>,
    classes: BTreeMap<String, Vec<Scored>>,
}

/// A judged image.
#[derive(Clone, Copy)]
struct Scored {
    raw: f64,
    calibrated: f64,
    is_rejected: bool,
}

impl Measured {
    fn of(images: &[EvaluatedImage]) -> Self {
        let mut measured = Self::default();
        images.iter().for_each(|image| measured.count(image));
        let cameras = measured.cameras.values().copied().collect::<Vec<Tally>>();
        cameras.iter().for_each(|tally| measured.all.add(tally));
        measured
    }

    fn count(&mut self, image: &EvaluatedImage) {
        let verdict = &image.verdict;
        let tally = self.cameras.entry(verdict.camera.clone()).or_default();
        tally.frames += 1;
        if let Decision::Unreadable { reason } = &verdict.decision {
            tally.unreadable += 1;
            *self.reasons.entry(format!("unreadable: {reason}")).or_default() += 1;
            return;
        }
        let (is_rejected, is_anomalous) = (verdict.decision == Decision::Reject, image.truth.is_anomalous());
        tally.rejects += i64::from(is_rejected);
        tally.count_labelled(is_rejected, is_anomalous, 1);
        self.steps.count(verdict.calibrated_score, Some(is_anomalous));
        let mut last = None;
        let mut reasons: Vec<_> = verdict.suppressed.iter().map(|suppressed| suppressed.reason).collect();
        reasons.sort_unstable();
        for reason in reasons {
            let counted = self.suppressed.entry(reason).or_default();
            counted.regions += 1;
            counted.frames += u64::from(last.replace(reason) != Some(reason));
        }
        let scored = Scored {
            raw: verdict.image_score,
            calibrated: verdict.calibrated_score,
            is_rejected,
        };
        match &image.truth {
            Truth::Normal => self.normal.push(scored),
            Truth::Anomalous(class) => self.classes.entry(class.clone()).or_default().push(scored),
        }
    }

    /// The images from the highest score down: how many normal and anomalous ones have each.
    fn by_score(&self) -> Vec<(u64, u64)> {
        let normal = self.normal.iter().map(|scored| (scored.raw, false));
        let anomalous = self.classes.values().flatten().map(|scored| (scored.raw, true));
        let mut all: Vec<(f64, bool)> = normal.chain(anomalous).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let groups = all.chunk_by(|a, b| a.0 == b.0);
        let counts = groups.map(|group| {
            let anomalous = group.iter().filter(|scored| scored.1).count() as u64;
            (group.len() as u64 - anomalous, anomalous)
        });
        counts.collect()
    }
}

/// What has to add up; the figures were counted where frames were judged, the images are counted here.
fn sums(read: &Read, measured: &Measured) -> Vec<Sum> {
    let all = &measured.all;
    let mut sums = sums_of(all);
    sums.push(Sum {
        whole: ("images in the figures", read.metrics.frames),
        parts: vec![("judged", all.judged().max(0) as u64)],
    });
    sums.push(Sum {
        whole: ("unreadable in the figures", read.unreadable),
        parts: vec![("unreadable", all.unreadable.max(0) as u64)],
    });
    sums.push(sum_of_labels(all.judged().max(0) as u64, &all.confusion()));
    sums
}

fn quality_of(read: &Read, measured: &Measured) -> Quality {
    let metrics = &read.metrics;
    let share = |value: Option<f64>| percent(value);
    let pro = match (metrics.aupro, read.pro_curve.is_empty()) {
        (Some(area), false) => Some((read.pro_curve.clone(), area, AUPRO_FPR_LIMIT)),
        _ => None,
    };
    Quality {
        source: "The labels are those of the dataset.".to_owned(),
        confusion: measured.all.confusion(),
        auroc: metrics.image_auroc,
        figures: vec![
            ("Precision", share(metrics.precision)),
            ("Recall", share(metrics.recall)),
            ("F1", figure(metrics.f1)),
            ("Accuracy", share(metrics.accuracy)),
            ("Image AUROC", figure(metrics.image_auroc)),
            ("Image AP", figure(metrics.image_ap)),
            (
                "Best F1",
                format!(
                    "{} at image score {}",
                    figure(metrics.image_f1_max),
                    figure(metrics.image_f1_max_threshold)
                ),
            ),
            ("Pixel AUROC", figure(metrics.pixel_auroc)),
            (
                "AUPRO",
                format!(
                    "{} up to {} of good pixels",
                    figure(metrics.aupro),
                    share(Some(AUPRO_FPR_LIMIT))
                ),
            ),
            (
                "Defects found",
                match metrics.region_hit_rate {
                    None => "–, for no masks say where they are".to_owned(),
                    hits => format!("{} are overlapped by a region", share(hits)),
                },
            ),
        ],
        roc: roc_curve(measured.by_score()),
        pro,
        classes: classes(measured),
    }
}

fn names_of_unreadable(images: &[EvaluatedImage]) -> String {
    let (mut names, more) = unreadable(images, |name, _| format!("\"{name}\""));
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// Good parts first, then defects by class.
fn classes(measured: &Measured) -> Vec<ClassRow> {
    let row = |class: &str, is_anomalous: bool, frames: &[Scored]| {
        let rejected = frames.iter().filter(|scored| scored.is_rejected).count() as u64;
        let mut scores: Vec<f64> = frames.iter().map(|scored| scored.calibrated).collect();
        scores.sort_by(f64::total_cmp);
        ClassRow {
            class: class.to_owned(),
            is_anomalous,
            rejected,
            passed: frames.len() as u64 - rejected,
            auroc: if is_anomalous {
                auroc_of(&measured.normal, frames)
            } else {
                None
            },
            median: scores.get(scores.len() / 2).copied(),
        }
    };
    let good = (!measured.normal.is_empty()).then(|| row("normal", false, &measured.normal));
    let bad = measured.classes.iter().map(|(class, frames)| row(class, true, frames));
    good.into_iter().chain(bad).collect()
}

fn auroc_of(normal: &[Scored], anomalous: &[Scored]) -> Option<f64> {
    let scores: Vec<f32> = normal.iter().chain(anomalous).map(|scored| scored.raw as f32).collect();
    let labels: Vec<bool> = (0..scores.len()).map(|idx| idx >= normal.len()).collect();
    auroc(&scores, &labels)
}

/// The frames to look at, by kind: mistakes first.
fn notable(images: &[EvaluatedImage], pictured: Vec<NotableImage>) -> Vec<NotableFrames> {
    let mut groups = [
        Notable::FalseReject,
        Notable::Escape,
        Notable::ClosePass,
        Notable::CloseReject,
    ]
    .map(|kind| NotableFrames {
        kind,
        frames: Vec::new(),
    });
    for NotableImage {
        kind,
        camera,
        seq,
        picture,
    } in pictured
    {
        let is_it = |image: &&EvaluatedImage| image.verdict.camera == camera && image.verdict.seq == seq;
        let group = groups.iter_mut().find(|group| group.kind == kind);
        if let (Some(image), Some(group)) = (images.iter().find(is_it), group) {
            group.frames.push(frame(image, picture));
        }
    }
    groups.into()
}

fn frame(image: &EvaluatedImage, picture: ReviewPicture) -> NotableFrame {
    NotableFrame {
        verdict: Arc::new(image.verdict.clone()),
        truth: Some(match &image.truth {
            Truth::Normal => "good".to_owned(),
            Truth::Anomalous(class) => class.clone(),
        }),
        picture: Ok(picture),
    }
}

/// Stages with their times.
pub(super) fn spans(stages: &[StageStatus]) -> Vec<(String, u64, Span)> {
    let span = |stage: &StageStatus| {
        let times = Span {
            p50_us: stage.micros_p50,
            p99_us: stage.micros_p99,
            max_us: stage.micros_max,
        };
        (stage.stage.clone(), stage.count, times)
    };
    stages.iter().map(span).collect()
}
