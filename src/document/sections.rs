//! The sections on what was inspected, how much of it, and how.

use intakt_operators::metrics::Tally;
use maud::{Markup, html};

use super::chart::{Bar, bars, span};
use super::text::{Clock, count, is_date, length, part_of, percent, took};
use super::{DetectorPart, Document, Rates, counts_of, detectors};
use crate::inspected::NOT_NOTED;

/// Cameras that have a chart of their own; the table has all.
const CHARTED_MAX: usize = 12;

/// What looked at what.
pub(super) fn inspected(document: &Document) -> Markup {
    html! {
        section {
            h2 { "What was inspected, and with what" }
            @for (name, value) in &document.about {
                p { strong { (name) ": " } (value) }
            }
            @for part in &document.detectors { (detector(part)) }
            @if document.detectors.is_empty() { p { "No frame was judged, so no detector is named." } }
        }
    }
}

fn detector(part: &DetectorPart) -> Markup {
    html! {
        section.detector {
            h3 { "Detector " code { (part.id) } }
            p { (part.looked_at) }
            @match &part.description {
                Ok(description) => {
                    p.guarantee { strong { "What its threshold guarantees. " } (detectors::guarantee(description)) }
                    table.facts {
                        @for (name, value) in detectors::lines(description) {
                            tr { th scope="row" { (name) } td { (value) } }
                        }
                    }
                }
                Err(reason) => p.missing { (reason) },
            }
        }
    }
}

/// How many frames, and that they add up.
pub(super) fn counts(document: &Document) -> Markup {
    let mut all = Tally::default();
    document.counts.iter().for_each(|(_, tally)| all.add(tally));
    html! {
        section {
            h2 { "Counts" }
            table.numbers {
                thead {
                    tr {
                        th scope="col" { "Camera" }
                        @for column in ["Captured", "Judged", "Passed", "Rejected", "Unreadable", "Dropped", "Reject rate"] {
                            th scope="col" { (column) }
                        }
                    }
                }
                tbody {
                    @for (camera, tally) in &document.counts { (counts_row(camera, tally)) }
                }
                @if document.counts.len() > 1 { tfoot { (counts_row("All", &all)) } }
            }
            p.foot { "The reject rate is the share of all captured frames, unreadable and dropped ones included." }
            ul.sums {
                @for sum in &document.sums {
                    @if sum.adds_up() {
                        li { span.right { "✓ adds up" } " " (sum.in_words()) }
                    } @else {
                        li { strong.wrong { "✗ does not add up" } " " (sum.in_words()) }
                    }
                }
            }
            @if !document.reasons.is_empty() {
                h3 { "Why frames were not judged" }
                table.numbers {
                    thead { tr { th scope="col" { "Reason" } th scope="col" { "Frames" } } }
                    tbody {
                        @for (reason, frames) in &document.reasons {
                            tr { th scope="row" { (reason) } td { (count(*frames)) } }
                        }
                    }
                }
            }
        }
    }
}

fn counts_row(name: &str, tally: &Tally) -> Markup {
    html! {
        tr {
            th scope="row" { (name) }
            @for number in counts_of(tally) { td { (count(number)) } }
            td { (percent(tally.reject_rate())) }
        }
    }
}

/// Shares of frames over time.
pub(super) fn rates(document: &Document) -> Markup {
    let Some(rates) = &document.rates else { return html! {} };
    let seconds = rates.stretches.length_us / 1_000_000;
    let left_out = rates.series.len().saturating_sub(CHARTED_MAX);
    html! {
        section {
            h2 { "Rates over time" }
            p {
                "Each bar is " (length(seconds)) " of event time"
                @if is_date(rates.stretches.first_us) { ", by " (document.clock.name()) }
                "; what is in it are shares of the frames that were captured then."
            }
            (legend(&[("rejected", "rejected"), ("unreadable", "unreadable"), ("dropped", "dropped")]))
            @for (name, tallies) in rates.series.iter().take(CHARTED_MAX) {
                (series(name, tallies, rates, document.clock))
            }
            @if left_out > 0 { p.foot { (left_out) " more cameras have no chart here; the table above has all." } }
            @if let Some(note) = &rates.note { p.foot { (note) } }
        }
    }
}

fn series(name: &str, tallies: &[Tally], rates: &Rates, clock: Clock) -> Markup {
    let labels = time_labels(rates, tallies.len(), clock);
    let drawn: Vec<Bar> = tallies
        .iter()
        .zip(labels)
        .map(|(tally, label)| {
            let [frames, _, _, rejected, unreadable, dropped] = counts_of(tally);
            Bar {
                frames,
                parts: [rejected, unreadable, dropped],
                label,
            }
        })
        .collect();
    let mut all = Tally::default();
    tallies.iter().for_each(|tally| all.add(tally));
    let [captured, _, _, rejected, ..] = counts_of(&all);
    let says = format!(
        "{name}: {} were rejected, in {} bars",
        part_of(rejected, captured, "frames"),
        drawn.len()
    );
    html! {
        figure {
            figcaption { strong { (name) } ": " (part_of(rejected, captured, "frames")) " rejected" }
            (bars(&drawn, ["rejected", "unreadable", "dropped"], &says))
        }
    }
}

/// Times below some of the bars: about eight, and the day where it begins.
fn time_labels(rates: &Rates, n: usize, clock: Clock) -> Vec<Option<String>> {
    let every = n.div_ceil(8).max(1);
    let stretches = &rates.stretches;
    let mut last_day = String::new();
    let mut label = |idx: usize| {
        let time_us = stretches.start_us() + idx as u64 * stretches.length_us;
        let (day, time) = (clock.day(time_us), clock.time(time_us));
        let is_long = stretches.length_us >= 86_400_000_000;
        let is_short = stretches.length_us < 60_000_000;
        let text = match () {
            () if is_long => day.clone(),
            () if day != last_day => format!("{day}, {}", &time[..5]),
            () if is_short || day.is_empty() => time,
            () => time[..5].to_owned(),
        };
        last_day = day;
        text
    };
    (0..n)
        .map(|idx| idx.is_multiple_of(every).then(|| label(idx)))
        .collect()
}

/// What the styles of a chart mean.
pub(super) fn legend(entries: &[(&str, &str)]) -> Markup {
    html! {
        p.legend {
            @for (class, name) in entries {
                span {
                    svg viewBox="0 0 16 12" width="16" height="12" aria-hidden="true" {
                        rect class=(class) x="0.5" y="0.5" width="15" height="11" {}
                    }
                    " " (name)
                }
            }
        }
    }
}

/// Regions that did not count.
pub(super) fn suppressed(document: &Document) -> Markup {
    html! {
        section {
            h2 { "Suppressed regions, by reason" }
            @if !document.suppressed.is_empty() {
                table.numbers {
                    thead { tr { th scope="col" { "Reason" } th scope="col" { "Regions" } th scope="col" { "In frames" } } }
                    tbody {
                        @for (reason, regions) in &document.suppressed {
                            tr {
                                th scope="row" { (reason) }
                                td { (count(regions.regions)) }
                                td { (count(regions.frames)) }
                            }
                        }
                    }
                }
            }
            p.foot { (document.suppressed_note) }
        }
    }
}

/// How long each stage took.
pub(super) fn latencies(document: &Document) -> Markup {
    html! {
        section {
            h2 { "How long each stage took" }
            @if !document.latencies.is_empty() {
                table.numbers.latencies {
                    thead {
                        tr {
                            th scope="col" { "Stage" }
                            @for column in ["Runs", "Median", "99 %", "Longest"] { th scope="col" { (column) } }
                            th.line scope="col" { "10 µs to 10 s, logarithmic" }
                        }
                    }
                    tbody {
                        @for (stage, runs, times) in &document.latencies {
                            tr {
                                th scope="row" { (stage) }
                                td { (count(*runs)) }
                                @for micros in [times.p50_us, times.p99_us, times.max_us] { td { (took(micros)) } }
                                td.line { (span(*times, &format!("{stage}: median {}", took(times.p50_us)))) }
                            }
                        }
                    }
                }
                p.foot {
                    "Dot: median; thick line: to the 99th percentile; thin line: to the longest. A stage may run several times a "
                    "frame; "
                    code { "frame" }
                    " is the whole way from when a frame was let in to its verdict."
                }
            }
            @if !document.latencies_note.is_empty() { p.foot { (document.latencies_note) } }
        }
    }
}

/// Where it was computed.
pub(super) fn environment(document: &Document) -> Markup {
    html! {
        section {
            h2 { "Environment" }
            @match &document.environment {
                Some(environment) => table.facts {
                    @for (name, value) in [
                        ("Intakt", environment.intakt_version.clone()),
                        ("System", environment.system.clone()),
                        ("Processor", environment.processor.clone().unwrap_or("not known".to_owned())),
                        ("Cores", environment.cores.to_string()),
                        (
                            "Memory",
                            environment
                                .memory_bytes
                                .map_or("not known".to_owned(), |bytes| format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)),
                        ),
                        ("Workers", environment.workers.to_string()),
                        ("Pool threads", environment.pool_threads.to_string()),
                    ] {
                        tr { th scope="row" { (name) } td { (value) } }
                    }
                },
                None => p.missing { "The environment is not known: " (NOT_NOTED) "." },
            }
        }
    }
}
