//! Answers that are made elsewhere, held against what the document says of them.

use intakt_operators::dataflow::{Alert, AlertState, RateKey, Revision, Scope, ScoreFigures, WhatIf, Window};
use intakt_operators::metrics::Tally;
use intakt_operators::{Decision, DropReason, Outcome, RectPx, Region, SuppressedRegion, SuppressionReason, Verdict};
use intakt_pipelines::sinks::{
    CameraStatus, DroppedCount, LastVerdict, LiveStatus, QualityStatus, RunState, StageStatus, TroubleStatus,
    outcome_json,
};
use serde_json::{Value, json, to_value};
use utoipa::OpenApi;

use super::super::wire::line::{CameraPicture, Line};
use super::super::wire::posting::FrameVerdict;
use super::super::wire::status::RunStatus;

#[derive(OpenApi)]
#[openapi(components(schemas(CameraPicture, FrameVerdict, Line, RunStatus)))]
struct Described;

/// Panics unless `value` is as the type called `name` is described.
pub(super) fn check_answer(name: &str, value: &Value, at: &str) {
    let document = to_value(Described::openapi()).unwrap();
    let schema = json!({"$ref": format!("#/components/schemas/{name}")});
    check(&document, &schema, value, at);
}

/// Panics unless `value` is as `schema` has it, with nothing besides.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    let (mut properties, mut required) = (serde_json::Map::new(), Vec::new());
    let mut parts = vec![schema];
    while let Some(part) = parts.pop() {
        if let Some(name) = part["$ref"].as_str() {
            let name = name.strip_prefix("#/components/schemas/").unwrap();
            parts.push(&document["components"]["schemas"][name]);
        }
        parts.extend(part["allOf"].as_array().into_iter().flatten());
        if let Some(choices) = part["oneOf"].as_array() {
            let is_null = |choice: &&Value| choice["type"] == "null";
            match value.is_null() {
                true => assert!(choices.iter().any(|choice| is_null(&choice)), "{at} is null"),
                false => parts.extend(choices.iter().filter(|choice| !is_null(choice))),
            }
        }
        let types = match &part["type"] {
            Value::Array(types) => types.clone(),
            Value::Null => vec![],
            one => vec![one.clone()],
        };
        let is = |name: &Value| match name.as_str().unwrap() {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{at}: there is no type {other}"),
        };
        assert!(
            types.is_empty() || types.iter().any(is),
            "{at}: {value} is none of {types:?}"
        );
        if let Some(words) = part["enum"].as_array() {
            assert!(words.contains(value), "{at}: {value} is none of {words:?}");
        }
        for (at_item, item) in value.as_array().into_iter().flatten().enumerate() {
            check(document, &part["items"], item, &format!("{at}[{at_item}]"));
        }
        properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
        required.extend(part["required"].as_array().into_iter().flatten().cloned());
    }
    let Some(object) = value.as_object() else { return };
    for name in required {
        assert!(object.contains_key(name.as_str().unwrap()), "{at} has no {name}");
    }
    for (name, value) in object {
        let schema = properties
            .get(name)
            .unwrap_or_else(|| panic!("{at}.{name} is not described"));
        check(document, schema, value, &format!("{at}.{name}"));
    }
}

fn revision<T>(scope: Scope, window: Window, before: Option<T>, after: T) -> Revision<T> {
    Revision {
        key: RateKey { scope, window },
        start_us: 1,
        end_us: 2,
        at_us: 3,
        revision: 4,
        open: before.is_some(),
        before,
        after,
    }
}

/// With something in every list, and every word that there is.
fn full() -> LiveStatus {
    let camera = |decision| CameraStatus {
        camera: "dock".into(),
        dropped: [DropReason::DropOldest, DropReason::DropNewest]
            .map(|reason| DroppedCount { reason, frames: 1 })
            .into(),
        last_verdict: Some(LastVerdict {
            seq: 1,
            captured_at_us: 2,
            decision,
            calibrated_score: 0.5,
            latency_us: Some(3),
        }),
        last_trouble: Some(TroubleStatus {
            reason: "no route to host".to_owned(),
            over: true,
        }),
        stages: vec![StageStatus {
            stage: "decode".to_owned(),
            count: 1,
            micros_p50: 1,
            micros_p99: 1,
            micros_max: 1,
        }],
        ..CameraStatus::default()
    };
    let reason = "cut off".to_owned();
    let cameras = [Decision::Pass, Decision::Reject, Decision::Unreadable { reason }].map(camera);
    let sliding = Window::Sliding { length_us: 60_000_000 };
    let tally = Tally::default();
    let of_dock = || Scope::Camera("dock".into());
    let alert = |state| Alert {
        rule: "silence > 5s".into(),
        scope: of_dock(),
        opened_at_us: 1,
        at_us: 2,
        state,
        value: Some(0.5),
    };
    let quality = QualityStatus {
        key: RateKey {
            scope: Scope::All,
            window: Window::Shift,
        },
        end_us: 1,
        labelled: 2,
        precision: Some(0.5),
        recall: Some(0.5),
        f1: Some(0.5),
        false_reject_rate: Some(0.5),
        escape_rate: None,
    };
    LiveStatus {
        cameras: cameras.into(),
        stages: camera(Decision::Pass).stages,
        rates: vec![
            revision(Scope::Line("hall".into()), sliding, None, tally),
            revision(Scope::All, Window::Lot { lot: "7".into() }, Some(tally), tally),
        ],
        quality: vec![quality],
        scores: vec![revision(of_dock(), Window::Shift, None, ScoreFigures::default())],
        alerts: [AlertState::Opened, AlertState::Closed, AlertState::Retracted]
            .map(alert)
            .into(),
        what_ifs: vec![WhatIf {
            camera: "dock".into(),
            name: "lower".into(),
            at_us: 1,
            before: None,
            after: Some(tally),
        }],
        ..LiveStatus::default()
    }
}

fn verdict(decision: Decision) -> Verdict {
    let region = Region {
        bbox_px: RectPx {
            x: 1,
            y: 2,
            width: 3,
            height: 4,
        },
        area_px: 5,
        peak: 0.75,
        mean: 0.5,
        centroid_px: [2.0, 3.0],
    };
    let suppressed = [
        SuppressionReason::OutsideRoi,
        SuppressionReason::Border,
        SuppressionReason::DarkMargin,
        SuppressionReason::BelowMinArea,
        SuppressionReason::BelowMinPeak,
        SuppressionReason::StaticArtefact,
    ];
    let suppressed = suppressed.map(|reason| SuppressedRegion {
        region: region.clone(),
        reason,
    });
    Verdict {
        camera: "dock".into(),
        seq: 1,
        captured_at_us: 2,
        origin: "posted".into(),
        detector: "0123456789ab".into(),
        decision,
        image_score: 1.5,
        threshold: 1.0,
        calibrated_score: 0.5,
        regions: vec![region],
        suppressed: suppressed.into(),
    }
}

#[test]
fn a_verdict_on_a_posted_image_is_as_described() {
    let reason = "cut off".to_owned();
    for decision in [Decision::Pass, Decision::Reject, Decision::Unreadable { reason }] {
        let answered = outcome_json(&Outcome::Judged(verdict(decision).into())).unwrap();
        check_answer("FrameVerdict", &serde_json::from_slice(&answered).unwrap(), "verdict");
    }
}

#[test]
fn a_status_is_as_described() {
    for state in [
        RunState::Starting,
        RunState::Running,
        RunState::Ending,
        RunState::Ended,
        RunState::Interrupted,
    ] {
        for status in [LiveStatus::default(), full()] {
            let answered = to_value(LiveStatus { state, ..status }).unwrap();
            check_answer("RunStatus", &answered, "status");
        }
    }
}

#[test]
#[should_panic(expected = "status.rates[0].after.frames: \"7\" is none of")]
fn what_is_not_as_described_is_found() {
    let mut answered = to_value(full()).unwrap();
    answered["rates"][0]["after"]["frames"] = json!("7");
    check_answer("RunStatus", &answered, "status");
}
