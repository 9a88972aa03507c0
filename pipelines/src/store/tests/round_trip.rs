//! What is read back is what was written.

use std::sync::Arc;

use intakt_operators::{Outcome, Verdict};

use super::support::{CAMERAS, HOP_US, Random, create, frame, run};
use crate::store::{
    Alert, Change, ChangeKind, Commit, HopBuffer, OutcomeFilter, ResumePoint, Store, StoreOptions, TimedOutcome,
};

fn json(outcome: &Outcome) -> String {
    serde_json::to_string(outcome).unwrap()
}

#[test]
fn a_verdict_read_back_has_the_bytes_of_the_one_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    let mut random = Random(7);
    let mut written: Vec<TimedOutcome> = (0..3_000)
        .map(|seq| {
            let captured_at_us = random.next();
            let mut verdict: Verdict = random.verdict(CAMERAS[(seq % 3) as usize], seq, captured_at_us);
            if seq == 17 {
                verdict.image_score = f64::NAN;
                verdict.threshold = f64::INFINITY;
                verdict.calibrated_score = -0.0;
            }
            TimedOutcome {
                time_us: random.below(HOP_US),
                outcome: Outcome::Judged(Arc::new(verdict)),
            }
        })
        .collect();
    let commit = Commit {
        frontier_us: HOP_US,
        outcomes: written.clone(),
        ..Commit::default()
    };
    store.commit(&commit).unwrap();
    written.sort_by_key(|timed| (timed.time_us, timed.outcome.camera().clone(), timed.outcome.seq()));
    let read: Vec<TimedOutcome> = store.query(&OutcomeFilter::default()).map(Result::unwrap).collect();
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(&written) {
        assert_eq!(read.time_us, written.time_us);
        assert_eq!(json(&read.outcome), json(&written.outcome));
    }
}

#[test]
fn labels_alerts_and_changes_come_back_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.sqlite");
    let mut store = create(&path);
    run(&mut store, 200, || {});
    let alert = |closed_at_us, retracted| Alert {
        rule: "reject_rate 15m > 5 %".into(),
        scope: "all".into(),
        opened_at_us: 5,
        closed_at_us,
        retracted,
    };
    let change = |time_us, kind| Change {
        time_us,
        camera: Some(CAMERAS[1].into()),
        kind,
    };
    let begin_us = store.committed_frontier_us();
    let changes = vec![
        change(begin_us, ChangeKind::Threshold(f64::INFINITY)),
        change(begin_us, ChangeKind::Detector("0123456789ab".into())),
    ];
    let first = Commit {
        frontier_us: begin_us + HOP_US,
        alerts: vec![alert(None, false)],
        changes: changes.clone(),
        ..Commit::default()
    };
    store.commit(&first).unwrap();
    assert_eq!(store.alerts(9).unwrap(), [alert(None, false)]);
    let open = store.open_alerts().unwrap();
    let spelled: Vec<_> = open.iter().map(|alert| (&*alert.rule, alert.opened_at_us)).collect();
    assert_eq!(spelled, [(&*alert(None, false).rule, 5)]);
    let second = Commit {
        frontier_us: begin_us + 2 * HOP_US,
        alerts: vec![alert(Some(u64::MAX), true)],
        ..Commit::default()
    };
    store.commit(&second).unwrap();
    drop(store);
    let store = Store::open_read_only(&path, StoreOptions::default()).unwrap();
    assert_eq!(store.alerts(9).unwrap(), [alert(Some(u64::MAX), true)]);
    assert_eq!(store.open_alerts().unwrap(), []);
    assert_eq!(store.changes().map(Result::unwrap).collect::<Vec<_>>(), changes);
    let labels: Vec<_> = store.labels().map(Result::unwrap).collect();
    assert_eq!(labels.len(), 40);
    assert!(labels.is_sorted_by_key(|label| label.time_us));
    let metrics: Vec<_> = store.metrics().map(Result::unwrap).collect();
    assert_eq!(metrics.len(), 40);
    assert!(
        metrics
            .iter()
            .all(|metric| metric.after.is_some_and(f64::is_sign_negative))
    );
    assert_eq!(store.run_name().unwrap(), "test");
    assert_eq!(
        store.cameras().unwrap(),
        ["a".into(), "käfer".into(), "line 2/top".into()]
    );
}

#[test]
fn recent_regions_are_the_last_readable_verdicts_of_the_camera() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    run(&mut store, 300, || {});
    let of_camera = OutcomeFilter {
        camera: Some(CAMERAS[1].to_owned()),
        ..OutcomeFilter::default()
    };
    let all: Vec<String> = store
        .query(&of_camera)
        .filter_map(|timed| match timed.unwrap().outcome {
            Outcome::Judged(verdict) if verdict.decision <= intakt_operators::Decision::Reject => Some(verdict),
            _ => None,
        })
        .map(|verdict| serde_json::to_string(&verdict).unwrap())
        .collect();
    let recent = store.recent_regions(CAMERAS[1], 32).unwrap();
    let recent: Vec<String> = recent
        .iter()
        .map(|verdict| serde_json::to_string(verdict).unwrap())
        .collect();
    assert_eq!(recent, all[all.len() - 32..]);
    assert_eq!(store.recent_regions("nobody", 32).unwrap(), []);
}

#[test]
fn a_frame_that_overtook_others_is_told_at_resume() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    let mut buffer = HopBuffer::new(HOP_US, 0);
    let mut random = Random(1);
    // Frames 1, 3 and 4 lie in the first hop, 0 before them and 2 behind it.
    for (seq, time_us) in [(0, 1), (1, 2), (2, HOP_US), (3, 3), (4, HOP_US - 1)] {
        buffer.outcome(time_us, Outcome::Judged(Arc::new(random.verdict("a", seq, time_us))));
    }
    assert_eq!(buffer.passed(HOP_US - 1), None);
    store.commit(&buffer.passed(HOP_US + 5).unwrap()).unwrap();
    let point = store.resume_point("a").unwrap();
    assert_eq!(
        point,
        ResumePoint {
            next_seq: 2,
            already_stored: [3, 4].into()
        }
    );
    assert_eq!(point.next_unused_seq(), 5);
    store.commit(&buffer.passed(2 * HOP_US).unwrap()).unwrap();
    assert_eq!(store.resume_point("a").unwrap().next_seq, 5);
    assert_eq!(store.resume_point("b").unwrap(), ResumePoint::default());
}

#[test]
fn a_start_that_was_killed_has_used_numbers_although_nothing_of_it_was_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.sqlite");
    drop(create(&path));
    for first in [10_000, 20_000, 30_000] {
        let mut store = Store::open(&path, StoreOptions::default()).unwrap();
        let point = store.resume_point("dock").unwrap().of_live(false);
        assert_eq!(point.next_seq, first);
        store.begin(&[("dock".into(), point)].into()).unwrap();
    }
    let ended = Store::open(&path, StoreOptions::default()).unwrap();
    assert_eq!(ended.resume_point("dock").unwrap().of_live(true).next_seq, 30_000);
}

#[test]
fn the_partition_into_commits_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let (by_hop, at_once) = (directory.path().join("by_hop"), directory.path().join("at_once"));
    run(&mut create(&by_hop), 100, || {});
    let mut store = create(&at_once);
    let frontier_us = Store::open_read_only(&by_hop, StoreOptions::default())
        .unwrap()
        .committed_frontier_us();
    let outcomes = (0..100).flat_map(|seq| (0..CAMERAS.len()).map(move |camera| frame(camera, seq)));
    let commit = Commit {
        frontier_us,
        outcomes: outcomes.collect(),
        ..Commit::default()
    };
    store.commit(&commit).unwrap();
    let everything = |path| {
        let store = Store::open_read_only(path, StoreOptions::default()).unwrap();
        store
            .query(&OutcomeFilter::default())
            .map(|timed| json(&timed.unwrap().outcome))
            .collect::<Vec<_>>()
    };
    assert_eq!(everything(&by_hop), everything(&at_once));
}

#[test]
#[should_panic(expected = "does not belong into")]
fn an_outcome_before_the_committed_frontier_is_a_bug() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    store.commit(&super::support::small_commit(0..3, 3 * HOP_US)).unwrap();
    let mut late = super::support::small_commit(3..4, 3 * HOP_US);
    late.frontier_us = 4 * HOP_US;
    let _ = store.commit(&late);
}
