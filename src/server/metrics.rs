//! The figures of a run in Prometheus' text format.

mod windows;

use intakt_operators::DropReason;
use intakt_operators::dataflow::{Alert, LATENCY_BOUNDS_US, LatencyBuckets, WhatIf};
use intakt_operators::metrics::Tally;
use intakt_pipelines::sinks::{CameraStatus, LiveStatus, RunState};

use self::windows::scope;
use super::text_format::{Exposition, number};
use crate::memory::{Resident, resident_bytes};

/// All figures. Families and labels are in a fixed order.
pub(super) fn exposition(status: &LiveStatus, stages: &[LatencyBuckets]) -> String {
    let mut text = Exposition::default();
    cameras(&mut text, &status.cameras);
    histograms(&mut text, stages);
    time(&mut text, status);
    windows::windows(&mut text, status);
    alerts(&mut text, &status.alerts);
    what_ifs(&mut text, &status.what_ifs);
    process(&mut text);
    text.into_text()
}

fn cameras(text: &mut Exposition, cameras: &[CameraStatus]) {
    let mut per_camera = |name, kind, help, figure: fn(&CameraStatus) -> u64| {
        text.family(name, kind, help);
        for camera in cameras {
            text.sample(name, &[("camera", &camera.camera)], figure(camera) as f64);
        }
    };
    per_camera(
        "intakt_frames_captured_total",
        "counter",
        "Frames that a camera delivered.",
        |of| of.captured,
    );
    per_camera(
        "intakt_frames_judged_total",
        "counter",
        "Frames that passed or were rejected.",
        |of| of.judged,
    );
    per_camera(
        "intakt_frames_unreadable_total",
        "counter",
        "Frames of which no image could be made.",
        |of| of.unreadable,
    );
    per_camera(
        "intakt_frames_waiting",
        "gauge",
        "Frames that were captured and of which nothing became yet.",
        |of| of.waiting,
    );
    per_camera(
        "intakt_camera_in_trouble",
        "gauge",
        "1 while a camera delivers nothing and says why, and until the next frame of one whose clock is off.",
        |of| u64::from(of.last_trouble.as_ref().is_some_and(|trouble| !trouble.over)),
    );
    let name = "intakt_frames_dropped_total";
    text.family(name, "counter", "Frames that were captured and never looked at.");
    // Also those that have not happened: a counter that appears with its first step has no rate.
    for camera in cameras {
        for (reason, word) in [
            (DropReason::DropOldest, "drop_oldest"),
            (DropReason::DropNewest, "drop_newest"),
        ] {
            let of_reason = camera.dropped.iter().filter(|dropped| dropped.reason == reason);
            let frames: u64 = of_reason.map(|dropped| dropped.frames).sum();
            text.sample(name, &[("camera", &camera.camera), ("reason", word)], frames as f64);
        }
    }
    let name = "intakt_verdicts_total";
    text.family(name, "counter", "Verdicts by what was decided.");
    for of in cameras {
        let decisions = [
            ("pass", of.passed),
            ("reject", of.rejected),
            ("unreadable", of.unreadable),
        ];
        for (decision, frames) in decisions {
            text.sample(name, &[("camera", &of.camera), ("decision", decision)], frames as f64);
        }
    }
}

fn histograms(text: &mut Exposition, stages: &[LatencyBuckets]) {
    text.family("intakt_stage_seconds", "histogram", "How long a stage took.");
    for buckets in stages {
        for (bound_us, count) in LATENCY_BOUNDS_US.iter().zip(buckets.at_most) {
            let bound = number(*bound_us as f64 / 1e6);
            text.sample(
                "intakt_stage_seconds_bucket",
                &[("stage", buckets.stage), ("le", &bound)],
                count as f64,
            );
        }
        let of_stage = ("stage", buckets.stage);
        text.sample(
            "intakt_stage_seconds_bucket",
            &[of_stage, ("le", "+Inf")],
            buckets.count as f64,
        );
        text.sample(
            "intakt_stage_seconds_sum",
            &[of_stage],
            buckets.micros_total as f64 / 1e6,
        );
        text.sample("intakt_stage_seconds_count", &[of_stage], buckets.count as f64);
    }
}

fn time(text: &mut Exposition, status: &LiveStatus) {
    let mut gauge = |name, help, value: Option<f64>| {
        text.family(name, "gauge", help);
        value.into_iter().for_each(|value| text.sample(name, &[], value));
    };
    let running = f64::from(u8::from(status.state == RunState::Running));
    gauge("intakt_running", "1 while frames are looked at.", Some(running));
    gauge(
        "intakt_frontier_lag_seconds",
        "Wall clock since the oldest frame was captured that is not in the ordered log yet.",
        status.frontier_lag_seconds,
    );
    gauge(
        "intakt_frontier_timestamp_seconds",
        "The event time before which everything is decided and counted, since 1970.",
        status.frontier_us.map(|frontier_us| frontier_us as f64 / 1e6),
    );
}

fn alerts(text: &mut Exposition, alerts: &[Alert]) {
    let name = "intakt_alert_open";
    text.family(name, "gauge", "1 for every alert that is open.");
    for alert in alerts {
        let (scope, of) = scope(&alert.scope);
        text.sample(name, &[("rule", &alert.rule), ("scope", scope), ("name", of)], 1.0);
    }
}

fn what_ifs(text: &mut Exposition, answers: &[WhatIf]) {
    let mut family = |name, help, figure: fn(&Tally) -> i64| {
        text.family(name, "gauge", help);
        for WhatIf {
            camera,
            name: question,
            after,
            ..
        } in answers
        {
            if let Some(tally) = after {
                let labels = [("camera", &**camera), ("question", &**question)];
                text.sample(name, &labels, figure(tally) as f64);
            }
        }
    };
    family(
        "intakt_what_if_frames",
        "Judged frames of the label horizon that a standing question is about.",
        |tally| tally.frames,
    );
    family(
        "intakt_what_if_rejects",
        "Those of them that the threshold of the question would reject.",
        |tally| tally.rejects,
    );
}

/// By the name that it has in every program with Prometheus' metrics.
fn process(text: &mut Exposition) {
    let name = "process_resident_memory_bytes";
    text.family(name, "gauge", "Resident memory of the program.");
    if let Some(bytes) = resident_bytes(Resident::Now) {
        text.sample(name, &[], bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use intakt_operators::dataflow::{Latencies, Rate, RateKey, Scope, ScoreFigures, ScoreRate, Window};
    use intakt_pipelines::sinks::{DroppedCount, QualityStatus, TroubleStatus};

    use super::*;

    fn status() -> LiveStatus {
        let camera = CameraStatus {
            camera: "l\"e\\f\nt".into(),
            captured: 10,
            judged: 6,
            passed: 4,
            rejected: 2,
            unreadable: 1,
            dropped: vec![DroppedCount {
                reason: DropReason::DropOldest,
                frames: 2,
            }],
            waiting: 1,
            last_verdict: None,
            last_trouble: Some(TroubleStatus {
                reason: "gone".to_owned(),
                over: false,
            }),
            stages: vec![],
        };
        let rate = |scope| Rate {
            key: RateKey {
                scope,
                window: Window::Sliding { length_us: 60_000_000 },
            },
            start_us: 0,
            end_us: 60_000_000,
            at_us: 60_000_000,
            open: false,
            revision: 0,
            before: None,
            after: Tally {
                frames: 8,
                rejects: 2,
                ..Tally::default()
            },
        };
        let scores = ScoreRate {
            key: rate(Scope::All).key,
            start_us: 0,
            end_us: 60_000_000,
            at_us: 60_000_000,
            open: false,
            revision: 0,
            before: None,
            after: ScoreFigures {
                p99: Some(0.625),
                ..ScoreFigures::default()
            },
        };
        let quality = QualityStatus {
            key: rate(Scope::All).key,
            end_us: 60_000_000,
            labelled: 4,
            precision: Some(0.75),
            recall: None,
            f1: None,
            false_reject_rate: None,
            escape_rate: None,
        };
        LiveStatus {
            state: RunState::Running,
            keeps_log: true,
            said_at_us: 0,
            quality: vec![quality],
            scores: vec![scores],
            frontier_us: Some(1_500_000),
            newest_captured_at_us: Some(2_000_000),
            frontier_lag_seconds: Some(0.5),
            cameras: vec![camera],
            stages: vec![],
            rates: vec![rate(Scope::Camera(Arc::from("all"))), rate(Scope::All)],
            alerts: vec![],
            what_ifs: vec![WhatIf {
                camera: "dock".into(),
                name: "never".into(),
                at_us: 60_000_000,
                before: None,
                after: Some(Tally {
                    frames: 8,
                    rejects: 3,
                    ..Tally::default()
                }),
            }],
        }
    }

    fn lines() -> Vec<String> {
        let latencies = Latencies::default();
        latencies.record("embed", &"dock".into(), Duration::from_millis(3));
        latencies.record("embed", &"dock".into(), Duration::from_secs(30));
        let text = exposition(&status(), &latencies.buckets());
        assert!(text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn samples_are_as_prometheus_reads_them() {
        let lines = lines();
        for line in [
            r#"intakt_frames_captured_total{camera="l\"e\\f\nt"} 10"#,
            r#"intakt_frames_dropped_total{camera="l\"e\\f\nt",reason="drop_oldest"} 2"#,
            r#"intakt_verdicts_total{camera="l\"e\\f\nt",decision="reject"} 2"#,
            r#"intakt_camera_in_trouble{camera="l\"e\\f\nt"} 1"#,
            r#"intakt_stage_seconds_bucket{stage="embed",le="0.002"} 0"#,
            r#"intakt_stage_seconds_bucket{stage="embed",le="0.005"} 1"#,
            r#"intakt_stage_seconds_bucket{stage="embed",le="5"} 1"#,
            r#"intakt_stage_seconds_bucket{stage="embed",le="+Inf"} 2"#,
            r#"intakt_stage_seconds_sum{stage="embed"} 30.003"#,
            r#"intakt_stage_seconds_count{stage="embed"} 2"#,
            r#"intakt_frontier_lag_seconds 0.5"#,
            r#"intakt_reject_rate{scope="camera",name="all",window="60s"} 0.25"#,
            r#"intakt_reject_rate{scope="all",name="",window="60s"} 0.25"#,
            r#"intakt_labelled_frames{scope="all",name="",window="60s"} 4"#,
            r#"intakt_precision{scope="all",name="",window="60s"} 0.75"#,
            r#"intakt_calibrated_score{scope="all",name="",window="60s",quantile="0.99"} 0.625"#,
            r#"intakt_what_if_frames{camera="dock",question="never"} 8"#,
            r#"intakt_what_if_rejects{camera="dock",question="never"} 3"#,
        ] {
            assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:#?}");
        }
    }

    #[test]
    fn every_sample_follows_the_help_and_type_of_its_family() {
        let mut families = Vec::new();
        let mut family = String::new();
        let undefined = "intakt_recall{";
        assert!(
            !lines().iter().any(|line| line.starts_with(undefined)),
            "what is undefined is absent"
        );
        for line in lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap().to_owned();
                assert!(!families.contains(&family), "{family} twice");
                families.push(family.clone());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert!(kind.starts_with(&format!("{family} ")), "{line}");
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let own = [
                    family.clone(),
                    format!("{family}_bucket"),
                    format!("{family}_sum"),
                    format!("{family}_count"),
                ];
                assert!(own.iter().any(|own| own == name), "{line} among {family}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(families.len() >= 25, "{families:?}");
    }
}
