//! Pages, counts and windows beside plain recounting.

use std::collections::{BTreeMap, BTreeSet};

use intakt_operators::dataflow::Scope;
use intakt_operators::metrics::score_bucket;
use intakt_operators::{Decision, Outcome, Truth};

use super::support::{CAMERAS, HOP_US, all, create, kind, run, small_commit};
use crate::store::{
    Commit, Counted, DecisionKind, Listed, Listing, Metric, Order, OutcomeFilter, Position, RevisedFigure, Store,
    TimedOutcome, WindowFilter, WindowKind,
};

const FRAMES: u64 = 60;

/// All pages of a listing; before each is read, `meanwhile` happens.
fn paged(store: &Store, listing: &Listing, order: Order, mut meanwhile: impl FnMut()) -> Vec<TimedOutcome> {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let Listed { outcomes, next } = store.list(listing, order, from, 7).unwrap();
        assert!(outcomes.len() <= 7);
        found.extend(outcomes.into_iter().map(|listed| listed.timed));
        from = next;
        if from.is_none() {
            return found;
        }
        meanwhile();
    }
}

/// Commits a few more frames.
fn add(store: &mut Store) {
    let first = 1_000 * store.n_outcomes().unwrap();
    let frontier_us = store.committed_frontier_us() + HOP_US;
    store.commit(&small_commit(first..first + 12, frontier_us)).unwrap();
}

fn score(timed: &TimedOutcome) -> Option<f64> {
    match &timed.outcome {
        Outcome::Judged(verdict) => Some(verdict.calibrated_score),
        Outcome::Dropped(_) => None,
    }
}

fn frames(outcomes: &[TimedOutcome]) -> BTreeSet<(String, u64)> {
    let frame = |timed: &TimedOutcome| (timed.outcome.camera().to_string(), timed.outcome.seq());
    outcomes.iter().map(frame).collect()
}

#[test]
fn pages_are_complete_and_without_doubles_while_rows_are_added() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.sqlite");
    let mut store = create(&path);
    run(&mut store, FRAMES, || ());
    let reader = Store::open_read_only(&path, Default::default()).unwrap();
    for order in [Order::Newest, Order::Uncertain] {
        let before = all(&reader);
        let found = paged(&reader, &Listing::default(), order, || add(&mut store));
        assert!(all(&reader).len() > before.len(), "rows were added");
        let wanted: Vec<TimedOutcome> = match order {
            Order::Newest => before,
            Order::Uncertain => before.into_iter().filter(|timed| score(timed).is_some()).collect(),
        };
        assert_eq!(found.len(), wanted.len(), "{order:?}");
        assert_eq!(frames(&found), frames(&wanted), "{order:?}");
    }
}

#[test]
fn listings_are_in_order_and_hold_what_passes_the_filter() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    run(&mut store, FRAMES, || ());
    let all = all(&store);
    let times: Vec<u64> = all.iter().map(|timed| timed.time_us).collect();
    let (since_us, until_us) = (times[times.len() / 4], times[3 * times.len() / 4]);
    let said: BTreeMap<(String, u64), Option<Truth>> = store
        .labels()
        .map(Result::unwrap)
        .map(|said| ((said.label.camera.to_string(), said.label.seq), said.label.truth))
        .collect();
    assert!(said.values().any(Option::is_none), "some are taken back");
    let truth = |timed: &TimedOutcome| {
        let frame = (timed.outcome.camera().to_string(), timed.outcome.seq());
        said.get(&frame)?.as_ref()
    };
    for camera in [None, Some(CAMERAS[0]), Some("nobody")] {
        for decision in [
            None,
            Some(DecisionKind::Pass),
            Some(DecisionKind::Reject),
            Some(DecisionKind::Dropped),
        ] {
            for (min_score, max_score) in [(None, None), (Some(0.2), Some(0.8))] {
                for labelled in [None, Some(true), Some(false)] {
                    let listing = Listing {
                        filter: OutcomeFilter {
                            camera: camera.map(str::to_owned),
                            decision,
                            since_us: Some(since_us),
                            until_us: Some(until_us),
                            ..OutcomeFilter::default()
                        },
                        min_score,
                        max_score,
                        labelled,
                    };
                    let mut wanted: Vec<TimedOutcome> = all
                        .iter()
                        .filter(|timed| {
                            let score = score(timed);
                            camera.is_none_or(|camera| **timed.outcome.camera() == *camera)
                                && decision.is_none_or(|decision| kind(&timed.outcome) == decision)
                                && (since_us..until_us).contains(&timed.time_us)
                                && min_score.is_none_or(|min| score.is_some_and(|score| score >= min))
                                && max_score.is_none_or(|max| score.is_some_and(|score| score <= max))
                                && labelled.is_none_or(|labelled| truth(timed).is_some() == labelled)
                        })
                        .cloned()
                        .collect();
                    wanted.reverse();
                    assert_eq!(paged(&store, &listing, Order::Newest, || ()), wanted, "{listing:?}");
                    wanted.retain(|timed| score(timed).is_some());
                    let distance = |timed: &TimedOutcome| (score(timed).unwrap() - 0.5).abs();
                    let found = paged(&store, &listing, Order::Uncertain, || ());
                    assert!(found.is_sorted_by_key(distance), "{listing:?}");
                    assert_eq!(frames(&found), frames(&wanted), "{listing:?}");
                }
            }
        }
    }
    let Listed { outcomes, .. } = store.list(&Listing::default(), Order::Newest, None, 10_000).unwrap();
    for listed in outcomes {
        assert_eq!(listed.truth.as_ref(), truth(&listed.timed), "what was said last");
    }
}

#[test]
fn positions_that_nobody_gave_are_no_trouble() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    run(&mut store, 20, || ());
    for number in [i64::MIN, -1, 0, 7, i64::MAX] {
        let newest = Position::Newest { before: number };
        store.list(&Listing::default(), Order::Newest, Some(newest), 5).unwrap();
        let uncertain = Position::Uncertain {
            up_to: number,
            distance: number as u64,
            id: number,
        };
        store
            .list(&Listing::default(), Order::Uncertain, Some(uncertain), 5)
            .unwrap();
    }
}

#[test]
fn counting_on_comes_to_what_counting_anew_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    let mut counted = Counted::default();
    run(&mut store, FRAMES, || ());
    for _ in 0..3 {
        add(&mut store);
        store.count_on(&mut counted).unwrap();
        let mut anew = Counted::default();
        store.count_on(&mut anew).unwrap();
        assert_eq!(counted, anew);
    }
    let all = all(&store);
    for camera in CAMERAS {
        let of_camera: Vec<_> = all.iter().filter(|timed| **timed.outcome.camera() == *camera).collect();
        let count = |wanted| of_camera.iter().filter(|timed| kind(&timed.outcome) == wanted).count() as u64;
        let found = counted.camera(camera).unwrap();
        assert_eq!(
            (found.passed, found.rejected, found.unreadable, found.dropped),
            (
                count(DecisionKind::Pass),
                count(DecisionKind::Reject),
                count(DecisionKind::Unreadable),
                count(DecisionKind::Dropped)
            )
        );
        let now = found.scores_now();
        assert_eq!(
            now.scores.iter().sum::<u64>() + now.of_other_detectors,
            found.judged(),
            "every judged frame has a score"
        );
        let labelled = store.labelled_scores(camera, &counted).unwrap();
        for (bucket, (normal, anomalous)) in labelled.normal.iter().zip(&labelled.anomalous).enumerate() {
            assert!(normal + anomalous <= now.scores[bucket], "{camera} {bucket}");
        }
    }
    // Of those that were labelled, each counts once, as was said last.
    let mut said = BTreeMap::new();
    for label in store.labels().map(Result::unwrap) {
        said.insert(label.label.seq, label.label.truth);
    }
    let labelled = store.labelled_scores(CAMERAS[0], &counted).unwrap();
    let judged = all.iter().filter_map(|timed| match &timed.outcome {
        Outcome::Judged(verdict) if *verdict.camera == *CAMERAS[0] => Some(verdict),
        _ => None,
    });
    let judged = judged.filter(|verdict| !matches!(verdict.decision, Decision::Unreadable { .. }));
    let mut judged_and_labelled = 0;
    for verdict in judged {
        let bucket = usize::from(score_bucket(verdict.calibrated_score));
        let Some(Some(truth)) = said.get(&verdict.seq) else {
            continue;
        };
        let side = match truth.is_anomalous() {
            true => &labelled.anomalous,
            false => &labelled.normal,
        };
        let last = counted.camera(CAMERAS[0]).unwrap().last.as_ref().unwrap();
        let is_of_last = (&*verdict.detector, verdict.threshold) == (&*last.detector, last.threshold);
        assert!(!is_of_last || side[bucket] > 0, "frame {}", verdict.seq);
        judged_and_labelled += 1;
    }
    assert!(judged_and_labelled > 0);
    let counted = labelled.normal.iter().chain(&labelled.anomalous).sum::<u64>();
    assert_eq!(
        counted + labelled.of_other_detectors,
        judged_and_labelled,
        "what was taken back is no label"
    );
}

fn metric(end_seconds: u64, scope: &str, value: f64) -> Metric {
    Metric {
        at_us: end_seconds * HOP_US,
        window_us: 60 * HOP_US,
        scope: scope.into(),
        name: "reject_rate".into(),
        value: Some(value),
    }
}

#[test]
fn windows_come_newest_first_with_what_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    let minutes = 1..=20_u64;
    let scopes = ["camera/a", "camera/b", "all", "camera/a/shift", "camera/a/lot/L7"];
    let metrics = minutes
        .clone()
        .flat_map(|minute| scopes.map(|scope| metric(60 * minute, scope, 0.1)));
    let mut commit = |frontier_us, metrics: Vec<Metric>| {
        let commit = Commit {
            frontier_us,
            metrics,
            ..Commit::default()
        };
        store.commit(&commit).unwrap();
    };
    commit(HOP_US, metrics.collect());
    commit(2 * HOP_US, vec![metric(60, "camera/a", 0.2)]);
    commit(3 * HOP_US, vec![metric(60, "camera/a", 0.3)]);
    let read = |filter: &WindowFilter, limit: usize| {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let (page, next) = store.windows(filter, from, limit).unwrap();
            assert!(page.len() <= limit);
            found.extend(page);
            from = next;
            if from.is_none() {
                return found;
            }
        }
    };
    let all = read(&WindowFilter::default(), 7);
    assert_eq!(all.len(), 100);
    assert!(all.is_sorted_by(|a, b| a.end_us >= b.end_us), "the newest first");
    assert_eq!(read(&WindowFilter::default(), 1_000), all);
    let filter = WindowFilter {
        scope: Some(Scope::Camera("a".into())),
        kind: Some(WindowKind::Length(60 * HOP_US)),
        after_us: Some(0),
        up_to_us: Some(120 * HOP_US),
    };
    let found = read(&filter, 1);
    assert_eq!(
        found.iter().map(|window| window.end_us / HOP_US).collect::<Vec<_>>(),
        [120, 60]
    );
    let figure = |value| RevisedFigure {
        revision: 0,
        first: Some(value),
        before: None,
        value: Some(value),
    };
    assert_eq!(found[0].figures["reject_rate"], figure(0.1));
    let corrected = RevisedFigure {
        revision: 2,
        first: Some(0.1),
        before: Some(0.2),
        value: Some(0.3),
    };
    assert_eq!(found[1].figures["reject_rate"], corrected);
    for (kind, windows) in [
        (WindowKind::Shift, 20),
        (WindowKind::Lot("".into()), 20),
        (WindowKind::Lot("L7".into()), 20),
        (WindowKind::Lot("L8".into()), 0),
        (WindowKind::Length(1), 0),
    ] {
        let filter = WindowFilter {
            kind: Some(kind.clone()),
            ..WindowFilter::default()
        };
        assert_eq!(read(&filter, 9).len(), windows, "{kind:?}");
    }
}
