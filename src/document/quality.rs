//! The sections on scores, on what labels say of the verdicts, and on the frames that people should look at.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use intakt_operators::Verdict;
use intakt_operators::metrics::Confusion;
use intakt_pipelines::review::{Notable, ReviewPicture};
use maud::{Markup, html};

use super::chart::{Half, Marked, curve, histogram};
use super::text::{Clock, count, counted, figure, is_date, part_of, percent};
use super::{ClassRow, Document, NotableFrame, NotableFrames, Quality, Scores};

/// Cameras whose scores are drawn.
const CHARTED_MAX: usize = 12;

/// Classes of defects that have a row; of more it is said how many.
const CLASSES_MAX: usize = 60;

/// How scores are spread.
pub(super) fn scores(document: &Document) -> Markup {
    let left_out = document.scores.len().saturating_sub(CHARTED_MAX);
    html! {
        @if !document.scores.is_empty() {
            section {
                h2 { "Scores" }
                p {
                    "Each frame has a calibrated score between 0 and 1; above 0.5 it is rejected. The counts are logarithmic, so that "
                    "single frames show beside thousands."
                }
                @for scores in document.scores.iter().take(CHARTED_MAX) { (score_chart(scores)) }
                @if left_out > 0 { p.foot { (left_out) " more cameras have no chart here." } }
            }
        }
    }
}

fn score_chart(scores: &Scores) -> Markup {
    let steps = &scores.steps;
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    let [judged, normal, anomalous] = [&steps.judged, &steps.normal, &steps.anomalous].map(|counts| sum(counts));
    let half = |name, class, counts| Half { name, class, counts };
    let is_labelled = normal + anomalous > 0;
    let says = match is_labelled {
        true => format!("{}: scores of {normal} good and {anomalous} bad parts", scores.name),
        false => format!("{}: scores of {judged} frames", scores.name),
    };
    html! {
        @if !is_labelled || normal + anomalous < judged {
            figure {
                figcaption { strong { (scores.name) } ": all " (counted(judged, "judged frame")) }
                (histogram(&half("judged frames", "judged", &steps.judged), None, &says))
            }
        }
        @if is_labelled {
            figure {
                figcaption {
                    strong { (scores.name) } ": " (counted(normal, "good part")) " upwards, "
                    (counted(anomalous, "bad part")) " downwards"
                }
                (histogram(&half("good parts", "good", &steps.normal), Some(&half("bad parts", "bad", &steps.anomalous)), &says))
            }
        }
    }
}

/// What labels say of the verdicts.
pub(super) fn quality(document: &Document) -> Markup {
    let Some(quality) = &document.quality else {
        return html! {};
    };
    html! {
        section {
            h2 { "Verdicts against labels" }
            p { (quality.source) }
            (confusion(&quality.confusion))
            div.pair {
                @for half in quality.figures.chunks(quality.figures.len().div_ceil(2).max(1)) {
                    table.facts {
                        @for (name, value) in half {
                            tr { th scope="row" { (name) } td { (value) } }
                        }
                    }
                }
            }
            (curves(quality))
            (classes(&quality.classes))
        }
    }
}

fn confusion(confusion: &Confusion) -> Markup {
    let Confusion { tp, fp, tn, fn_ } = *confusion;
    html! {
        table.numbers {
            thead {
                tr {
                    th scope="col" { "Truly" }
                    @for column in ["Frames", "Passed", "Rejected", "Wrong"] { th scope="col" { (column) } }
                }
            }
            tbody {
                tr {
                    th scope="row" { "good" }
                    td { (count(fp + tn)) } td { (count(tn)) } td { (count(fp)) }
                    td { (percent(confusion.false_reject_rate())) " false rejects" }
                }
                tr {
                    th scope="row" { "bad" }
                    td { (count(tp + fn_)) } td { (count(fn_)) } td { (count(tp)) }
                    td { (percent(confusion.escape_rate())) " escapes" }
                }
            }
        }
    }
}

fn curves(quality: &Quality) -> Markup {
    let at_threshold = quality.confusion.false_reject_rate().zip(quality.confusion.recall());
    let marked = at_threshold.map(|(false_rejects, found)| Marked {
        at: [false_rejects, found],
        name: format!(
            "at the threshold: {} / {}",
            percent(Some(false_rejects)),
            percent(Some(found))
        ),
    });
    html! {
        div.pair {
            @if !quality.roc.is_empty() {
                figure {
                    figcaption { strong { "ROC" } ": area " (figure(quality.auroc)) }
                    (curve(
                        &quality.roc,
                        1.0,
                        ["good parts rejected", "bad parts rejected"],
                        marked.as_ref(),
                        &format!("ROC curve of the image scores, area {}", figure(quality.auroc)),
                    ))
                }
            }
            @if let Some((pro, area, limit)) = &quality.pro {
                figure {
                    figcaption { strong { "PRO" } ": area up to " (percent(Some(*limit))) " is " (figure(Some(*area))) }
                    (curve(
                        pro,
                        *limit,
                        ["good pixels marked", "share of a defect marked, mean"],
                        None,
                        &format!("PRO curve of the anomaly maps, area {}", figure(Some(*area))),
                    ))
                }
            }
        }
    }
}

fn classes(rows: &[ClassRow]) -> Markup {
    let left_out = rows.len().saturating_sub(CLASSES_MAX);
    let some = |has: fn(&ClassRow) -> bool| rows.iter().any(has);
    let (has_auroc, has_median) = (some(|row| row.auroc.is_some()), some(|row| row.median.is_some()));
    html! {
        h3 { "By class" }
        table.numbers {
            thead {
                tr {
                    th scope="col" { "Class" }
                    @for column in ["Frames", "Rejected", "Passed", "Right"] { th scope="col" { (column) } }
                    @if has_auroc { th scope="col" { "AUROC" } }
                    @if has_median { th scope="col" { "Median score" } }
                }
            }
            tbody {
                @for row in rows.iter().take(CLASSES_MAX) {
                    @let frames = row.rejected + row.passed;
                    @let right = if row.is_anomalous { row.rejected } else { row.passed };
                    tr {
                        th scope="row" {
                            @if row.class.is_empty() { "not named" } @else { (row.class) }
                            @if !row.is_anomalous { " (good parts)" }
                        }
                        td { (count(frames)) } td { (count(row.rejected)) } td { (count(row.passed)) }
                        td { (percent((frames > 0).then(|| right as f64 / frames as f64))) }
                        @if has_auroc { td { (figure(row.auroc)) } }
                        @if has_median { td { (row.median.map_or("–".to_owned(), |median| format!("{median:.3}"))) } }
                    }
                }
            }
        }
        @if left_out > 0 { p.foot { (left_out) " more classes are left out." } }
        @if has_auroc { p.foot { "The AUROC of a class is that of its frames against all good parts." } }
    }
}

/// The frames that people should look at.
pub(super) fn notable(document: &Document) -> Markup {
    html! {
        section {
            h2 { "Frames to look at" }
            @if document.notable.iter().any(|group| group.frames.iter().any(|frame| frame.picture.is_ok())) {
                p {
                    "Left, or above, the frame"
                    @if document.notable.iter().any(|group| group.frames.iter().any(|frame| frame.truth.is_some())) {
                        ", with a black and white line around the defect where somebody drew it"
                    }
                    "; right, or below, the same with its heatmap. What counted is outlined with its peak score; what was suppressed is dashed in "
                    "grey."
                }
            }
            @for group in &document.notable { (notable_frames(group, document.clock)) }
        }
    }
}

fn notable_frames(group: &NotableFrames, clock: Clock) -> Markup {
    let is_labelled = group.frames.iter().any(|frame| frame.truth.is_some());
    let (title, none) = match group.kind {
        Notable::FalseReject => (
            "False rejects: good parts that were rejected, the highest scores first",
            "There are none.",
        ),
        Notable::Escape => (
            "Escapes: bad parts that passed, the lowest scores first",
            "There are none.",
        ),
        Notable::StrongReject => ("Rejected, with the highest scores", "Nothing was rejected."),
        Notable::CloseReject => (
            "Bad parts that were just rejected, the lowest scores first",
            "There are none.",
        ),
        Notable::ClosePass if is_labelled => ("Good parts that passed, the highest scores first", "There are none."),
        Notable::ClosePass => ("Passed, with the highest scores", "Nothing passed."),
    };
    html! {
        h3 { (title) }
        @if group.frames.is_empty() { p { (none) } }
        div.frames {
            @for frame in &group.frames { (notable_frame(frame, clock)) }
        }
    }
}

fn notable_frame(frame: &NotableFrame, clock: Clock) -> Markup {
    let verdict = &frame.verdict;
    html! {
        figure.frame.strip[frame.picture.as_ref().is_ok_and(ReviewPicture::is_strip)] {
            @match &frame.picture {
                Ok(picture) => (pictures(picture, verdict)),
                Err(reason) => p.missing { "No picture: " (reason) },
            }
            figcaption {
                strong { "score " (format!("{:.3}", verdict.calibrated_score)) }
                @if let Some(truth) = &frame.truth { ", truly " (truth) }
                br;
                (verdict.camera) " #" (verdict.seq)
                @if is_date(verdict.captured_at_us) { ", " (clock.exact(verdict.captured_at_us)) }
                @if !verdict.origin.is_empty() { br; span.origin { (verdict.origin) } }
                br;
                (regions(verdict))
            }
        }
    }
}

fn pictures(picture: &ReviewPicture, verdict: &Verdict) -> Markup {
    let source = |jpeg: &[u8]| format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg));
    let size = [picture.width_px, picture.height_px];
    let which = format!("frame {} of camera {}", verdict.seq, verdict.camera);
    html! {
        div.pictures {
            img src=(source(&picture.frame_jpeg)) width=(size[0]) height=(size[1]) alt=(which);
            img src=(source(&picture.heatmap_jpeg)) width=(size[0]) height=(size[1]) alt={ (which) " with its heatmap" };
        }
    }
}

/// What was found, in a line.
fn regions(verdict: &Verdict) -> String {
    let suppressed = match verdict.suppressed.len() {
        0 => String::new(),
        n => format!("; {} suppressed", counted(n as u64, "region")),
    };
    match verdict.regions.first() {
        None => format!("no region counts{suppressed}"),
        Some(strongest) => format!(
            "{}, the strongest at {}, {} of {} × {} px{suppressed}",
            counted(verdict.regions.len() as u64, "region"),
            strongest.bbox_px.x,
            strongest.bbox_px.y,
            strongest.bbox_px.width,
            strongest.bbox_px.height
        ),
    }
}

/// How the verdicts did, in a sentence.
pub(super) fn in_a_sentence(confusion: &Confusion) -> String {
    let Confusion { tp, fp, tn, fn_ } = *confusion;
    format!(
        "{} were rejected, and {} passed.",
        part_of(fp, fp + tn, "good parts"),
        part_of(fn_, fn_ + tp, "bad ones")
    )
}
