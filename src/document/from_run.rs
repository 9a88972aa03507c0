//! The report on a run, of what its directory holds.

use std::sync::Arc;

use intakt_operators::Verdict;
use intakt_operators::detector::DetectorDescription;
use intakt_operators::metrics::{Tally, roc_curve};
use intakt_pipelines::review::ReviewPicture;
use intakt_pipelines::sinks::{LiveStatus, RunState};
use intakt_pipelines::store::{DetectorUse, NotableVerdicts, RunSummary, ScoreSteps};

use super::from_evaluation::spans;
use super::text::{Clock, count, counted, figure, is_date, part_of, percent};
use super::{
    ClassRow, DetectorPart, Document, NotableFrame, NotableFrames, Quality, Rates, Scores, Sum, quality, sum_of_labels,
    sums_of,
};
use crate::inspected::{Inspected, NOT_NOTED};

/// What is known of a run.
pub(crate) struct KnownRun {
    pub(crate) summary: RunSummary,
    /// What it noted at its starts; none where an earlier version began it.
    pub(crate) inspected: Option<Inspected>,
    /// What it last said of itself.
    pub(crate) status: Option<LiveStatus>,
    /// Minutes that the plant's clock is ahead of UTC.
    pub(crate) utc_offset_minutes: i32,
    /// How the frames look that are to be looked at, or why there is no picture, in the order of the summary.
    pub(crate) pictures: Vec<Vec<Result<ReviewPicture, String>>>,
}

/// The report on it.
pub(crate) fn of_run(run: KnownRun) -> Document {
    let KnownRun {
        summary,
        inspected,
        status,
        utc_offset_minutes,
        pictures,
    } = run;
    let clock = Clock { utc_offset_minutes };
    let counts: Vec<(Arc<str>, Tally)> = summary
        .cameras
        .iter()
        .map(|(camera, found)| (camera.clone(), found.tally()))
        .collect();
    let mut all = Tally::default();
    counts.iter().for_each(|(_, tally)| all.add(tally));
    let mut steps = ScoreSteps::default();
    summary.cameras.values().for_each(|camera| steps.add(&camera.scores));
    let quality = quality_of(&summary, &all);
    let detectors = detectors(&summary, inspected.as_ref());
    let of_last_start = match inspected
        .as_ref()
        .is_some_and(|noted| noted.first_started_at_us != noted.started_at_us)
    {
        true => "Since the last start of the run.",
        false => "",
    };
    Document {
        kind: "Run",
        name: summary.run.clone(),
        dated: dated(&summary, inspected.as_ref(), clock),
        summary: sentences(&summary, &all, quality.as_ref(), &detectors),
        warnings: warnings(&summary, clock),
        clock,
        sums: sums(&summary, &all, &steps, inspected.as_ref(), status.as_ref()),
        rates: (summary.numbered > 0).then(|| rates(&summary)),
        scores: scores(&summary, steps),
        notable: notable(&summary, pictures),
        suppressed: summary
            .suppressed
            .iter()
            .map(|(reason, regions)| (*reason, *regions))
            .collect(),
        suppressed_note: match summary.suppressed.is_empty() {
            true => "Nothing was suppressed.".to_owned(),
            false => {
                "A suppressed region stays in its frame's verdict with its reason, and does not reject it.".to_owned()
            }
        },
        latencies: status.as_ref().map_or(Vec::new(), |status| spans(&status.stages)),
        latencies_note: match &status {
            Some(_) => of_last_start.to_owned(),
            None => "The run keeps no status file, so that times of stages are not known.".to_owned(),
        },
        environment: inspected.map(|noted| noted.environment),
        reasons: summary.reasons.clone().into_iter().collect(),
        about: about(&summary, clock),
        counts,
        detectors,
        quality,
    }
}

fn dated(summary: &RunSummary, inspected: Option<&Inspected>, clock: Clock) -> String {
    match inspected {
        Some(noted) => format!("started {}", clock.moment(noted.first_started_at_us)),
        None if summary.numbered > 0 => clock.moment(summary.stretches.first_us),
        None => "nothing is kept of it yet".to_owned(),
    }
}

fn about(summary: &RunSummary, clock: Clock) -> Vec<(&'static str, String)> {
    let cameras: Vec<String> = summary.cameras.keys().map(|camera| format!("“{camera}”")).collect();
    let (first, last) = (summary.stretches.first_us, summary.stretches.last_us);
    let mut about = vec![("Cameras", cameras.join(", "))];
    if summary.numbered > 0 {
        let what = match is_date(first) {
            true => String::new(),
            false => " of event time; the frames carry no date".to_owned(),
        };
        about.push((
            "Frames",
            format!("from {} to {}{what}", clock.exact(first), clock.exact(last)),
        ));
    }
    about
}

fn sentences(summary: &RunSummary, all: &Tally, quality: Option<&Quality>, detectors: &[DetectorPart]) -> Vec<String> {
    let [captured, _, _, rejected, unreadable, dropped] = super::counts_of(all);
    let mut sentences = vec![format!(
        "{} were rejected; {} could not be read, and {} were dropped.",
        part_of(rejected, captured, "frames"),
        count(unreadable),
        count(dropped)
    )];
    match quality {
        Some(quality) => sentences.push(format!(
            "Of the frames that people labelled, {}",
            quality::in_a_sentence(&quality.confusion)
        )),
        None => sentences
            .push("Nobody has labelled frames of it, so that nothing is said of false rejects and escapes.".to_owned()),
    }
    if let [
        DetectorPart {
            description: Ok(detector),
            ..
        },
    ] = detectors
        && let Some(rate) = detector.calibration.guaranteed_false_reject_rate
    {
        let seen = match quality.and_then(|quality| quality.confusion.false_reject_rate()) {
            Some(seen) => format!("; of those labelled so it was {}", percent(Some(seen))),
            None => String::new(),
        };
        sentences.push(format!(
            "The threshold promises that at most {} of good parts are rejected{seen}.",
            percent(Some(rate))
        ));
    }
    if summary.numbered == 0 {
        sentences = vec!["Nothing is kept of it yet.".to_owned()];
    }
    sentences
}

fn warnings(summary: &RunSummary, clock: Clock) -> Vec<String> {
    let mut warnings = Vec::new();
    if !summary.has_ended && summary.numbered > 0 {
        warnings.push(format!(
            "The run has not ended, or was interrupted: these are its figures up to {}.",
            clock.exact(summary.stretches.last_us)
        ));
    }
    if summary.labels.unknown > 0 {
        warnings.push(format!(
            "{} about frames that the run does not have count for nothing.",
            counted(summary.labels.unknown, "label")
        ));
    }
    for camera in summary.cameras.keys() {
        let settings = summary.detectors.values().filter(|used| used.cameras.contains(camera));
        if settings.count() > 1 {
            warnings.push(format!(
                "The detector or the threshold of “{camera}” was changed while the run went on. Each score is where it lay to the                  threshold of its time, which is 0.5; from one to the other they are not to be compared."
            ));
        }
    }
    warnings
}

fn detectors(summary: &RunSummary, inspected: Option<&Inspected>) -> Vec<DetectorPart> {
    let part = |(id, used): (&Arc<str>, &DetectorUse)| DetectorPart {
        id: id.clone(),
        looked_at: looked_at(used),
        description: match inspected.map(|noted| noted.detectors.get(id).or_else(|| noted.detectors.get(&used.given))) {
            Some(Some(description)) => Ok(under(description, id, used.threshold)),
            Some(None) => Err(format!(
                "A camera was switched to it, or to its threshold of {:.4}, while the run went on, and its file is not beside the run any \
                 more.",
                used.threshold
            )),
            None => Err(format!("What its detectors are is not known: {NOT_NOTED}.")),
        },
    };
    summary.detectors.iter().map(part).collect()
}

/// The detector that is described, or the same with the threshold that somebody set while the run went on.
fn under(description: &DetectorDescription, id: &Arc<str>, threshold: f64) -> DetectorDescription {
    let mut description = description.clone();
    if description.id != *id {
        let how = description.recipe.image_score;
        description.calibration = description.calibration.with_image_threshold(threshold as f32, how);
        description.id = id.clone();
    }
    description
}

fn looked_at(used: &DetectorUse) -> String {
    let cameras: Vec<String> = used.cameras.iter().map(|camera| format!("“{camera}”")).collect();
    let noun = if cameras.len() == 1 { "camera" } else { "cameras" };
    format!(
        "It judged {} of {noun} {}.",
        counted(used.frames, "frame"),
        cameras.join(", ")
    )
}

/// What has to add up. The whole and its parts were counted in different places.
fn sums(
    summary: &RunSummary,
    all: &Tally,
    steps: &ScoreSteps,
    inspected: Option<&Inspected>,
    status: Option<&LiveStatus>,
) -> Vec<Sum> {
    let captured = all.frames.max(0) as u64;
    let judged = all.judged().max(0) as u64;
    let mut sums = sums_of(all);
    sums.push(Sum {
        whole: ("frames that the store numbers", summary.numbered),
        parts: vec![("captured", captured)],
    });
    sums.push(Sum {
        whole: ("judged", judged),
        parts: vec![("scores in the histogram", steps.judged.iter().sum())],
    });
    sums.push(Sum {
        whole: ("regions that verdicts name", summary.regions[0]),
        parts: vec![("regions stored", summary.regions[1])],
    });
    if let Some(captured_by_sources) = captured_by_sources(summary, inspected, status) {
        sums.push(Sum {
            whole: ("frames that the cameras delivered", captured_by_sources),
            parts: vec![("captured", captured)],
        });
    }
    let labels = &summary.labels;
    if labels.frames > 0 {
        let confusion = all.confusion();
        let of_scores = labels.scores.counts().iter().map(|count| count.judged.max(0) as u64);
        let of_judged: u64 = of_scores.sum();
        sums.push(Sum {
            whole: ("frames labelled", labels.frames),
            parts: vec![
                ("judged", of_judged),
                ("unreadable or dropped", labels.unjudged),
                ("not of this run", labels.unknown),
            ],
        });
        sums.push(sum_of_labels(of_judged, &confusion));
        sums.push(Sum {
            whole: ("bad parts", confusion.tp + confusion.fn_),
            parts: vec![("in classes", labels.classes.values().flatten().sum())],
        });
    }
    sums
}

/// What the cameras delivered, as the run counted it, where that is about all of it: it ended and was started once.
fn captured_by_sources(
    summary: &RunSummary,
    inspected: Option<&Inspected>,
    status: Option<&LiveStatus>,
) -> Option<u64> {
    let status = status.filter(|status| status.state == RunState::Ended && summary.has_ended)?;
    let noted = inspected.filter(|noted| noted.first_started_at_us == noted.started_at_us)?;
    let has_all = noted
        .cameras
        .keys()
        .all(|camera| status.cameras.iter().any(|known| known.camera == *camera));
    has_all.then(|| status.cameras.iter().map(|camera| camera.captured).sum())
}

fn rates(summary: &RunSummary) -> Rates {
    let mut all = vec![Tally::default(); summary.stretches.len()];
    for camera in summary.cameras.values() {
        all.iter_mut()
            .zip(&camera.stretches)
            .for_each(|(sum, tally)| sum.add(tally));
    }
    let each = summary
        .cameras
        .iter()
        .map(|(camera, found)| (camera.to_string(), found.stretches.clone()));
    let mut series = vec![("All cameras".to_owned(), all)];
    match summary.cameras.len() {
        0 | 1 => {
            series[0].0 = summary
                .cameras
                .keys()
                .next()
                .map_or(String::new(), |camera| camera.to_string())
        }
        _ => series.extend(each),
    }
    Rates {
        stretches: summary.stretches,
        series,
        note: None,
    }
}

fn scores(summary: &RunSummary, all: ScoreSteps) -> Vec<Scores> {
    let named = |name: String, steps: ScoreSteps| Scores { name, steps };
    let judged: u64 = all.judged.iter().sum();
    if judged == 0 {
        return Vec::new();
    }
    let mut scores = vec![named("All cameras".to_owned(), all)];
    match summary.cameras.len() {
        1 => {
            scores[0].name = summary
                .cameras
                .keys()
                .next()
                .map_or(String::new(), |camera| camera.to_string())
        }
        _ => scores.extend(
            summary
                .cameras
                .iter()
                .map(|(camera, found)| named(camera.to_string(), found.scores.unlabelled())),
        ),
    }
    scores
}

fn quality_of(summary: &RunSummary, all: &Tally) -> Option<Quality> {
    let labels = &summary.labels;
    let confusion = all.confusion();
    let labelled = confusion.tp + confusion.fp + confusion.tn + confusion.fn_;
    if labelled == 0 {
        return None;
    }
    let counts = labels.scores.counts().iter().rev();
    let by_score: Vec<(u64, u64)> = counts
        .map(|count| (count.normal.max(0) as u64, count.anomalous.max(0) as u64))
        .collect();
    let good = ClassRow {
        class: "normal".to_owned(),
        is_anomalous: false,
        rejected: confusion.fp,
        passed: confusion.tn,
        auroc: None,
        median: None,
    };
    let bad = labels.classes.iter().map(|(class, [rejected, passed])| ClassRow {
        class: class.clone(),
        is_anomalous: true,
        rejected: *rejected,
        passed: *passed,
        auroc: None,
        median: None,
    });
    Some(Quality {
        source: format!(
            "People labelled {} of {} judged frames, whenever that was; the last word on a frame counts. The figures are those of \
             these frames, which may not be like the others.",
            count(labelled),
            count(all.judged().max(0) as u64)
        ),
        auroc: labels.scores.auroc(),
        figures: vec![
            ("Precision", percent(confusion.precision())),
            ("Recall", percent(confusion.recall())),
            ("F1", figure(confusion.f1())),
            ("Accuracy", percent(confusion.accuracy())),
            (
                "AUROC",
                format!("{}, of scores in 4,096 steps", figure(labels.scores.auroc())),
            ),
        ],
        roc: roc_curve(by_score),
        pro: None,
        classes: [good]
            .into_iter()
            .filter(|good| good.rejected + good.passed > 0)
            .chain(bad)
            .collect(),
        confusion,
    })
}

fn notable(summary: &RunSummary, pictures: Vec<Vec<Result<ReviewPicture, String>>>) -> Vec<NotableFrames> {
    let frame = |(verdict, picture): (&Arc<Verdict>, Result<ReviewPicture, String>)| NotableFrame {
        verdict: verdict.clone(),
        truth: None,
        picture,
    };
    let group = |(of_kind, pictures): (&NotableVerdicts, Vec<_>)| NotableFrames {
        kind: of_kind.kind,
        frames: of_kind.verdicts.iter().zip(pictures).map(frame).collect(),
    };
    summary.notable.iter().zip(pictures).map(group).collect()
}
