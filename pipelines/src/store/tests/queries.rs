//! Queries against a naive filter over everything.

use super::support::{CAMERAS, HOP_US, Random, create, kind, run, small_commit};
use crate::store::{DecisionKind, OutcomeFilter, Store, StoreOptions, TimedOutcome};

fn naive(all: &[TimedOutcome], filter: &OutcomeFilter) -> Vec<(u64, String, u64)> {
    let of = |timed: &TimedOutcome| (timed.outcome.camera().clone(), timed.outcome.seq());
    let behind = match &filter.behind {
        None => 0,
        Some(frame) => all
            .iter()
            .position(|timed| of(timed) == *frame)
            .map_or(all.len(), |place| place + 1),
    };
    let wanted = all[behind..].iter().filter(|timed| {
        filter
            .camera
            .as_deref()
            .is_none_or(|camera| timed.outcome.camera().as_ref() == camera)
            && filter.since_us.is_none_or(|since_us| timed.time_us >= since_us)
            && filter.until_us.is_none_or(|until_us| timed.time_us < until_us)
            && filter.decision.is_none_or(|decision| kind(&timed.outcome) == decision)
    });
    let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
    wanted.take(limit).map(key).collect()
}

fn key(timed: &TimedOutcome) -> (u64, String, u64) {
    (timed.time_us, timed.outcome.camera().to_string(), timed.outcome.seq())
}

#[test]
fn queries_match_a_naive_filter() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    run(&mut store, 1_000, || {});
    let all: Vec<TimedOutcome> = store.query(&OutcomeFilter::default()).map(Result::unwrap).collect();
    assert_eq!(all.len(), 3_000, "several pages");
    assert!(all.is_sorted_by_key(key));
    let mut random = Random(3);
    let time = |random: &mut Random| match random.below(3) {
        0 => None,
        1 => Some(all[random.below(3_000) as usize].time_us),
        _ => Some(random.below(100_000_000)),
    };
    for _ in 0..300 {
        let filter = OutcomeFilter {
            camera: [None, Some(CAMERAS[0]), Some(CAMERAS[1]), Some("nobody")][random.below(4) as usize]
                .map(str::to_owned),
            since_us: time(&mut random),
            until_us: time(&mut random),
            decision: [
                None,
                Some(DecisionKind::Pass),
                Some(DecisionKind::Reject),
                Some(DecisionKind::Unreadable),
                Some(DecisionKind::Dropped),
            ][random.below(5) as usize],
            behind: match random.below(4) {
                0 => Some((CAMERAS[0].into(), random.below(1_200))),
                _ => None,
            },
            limit: [None, Some(0), Some(1), Some(1_024), Some(1_500)][random.below(5) as usize],
        };
        let found: Vec<_> = store.query(&filter).map(|timed| key(&timed.unwrap())).collect();
        assert_eq!(found, naive(&all, &filter), "{filter:?}");
    }
}

#[test]
fn a_reader_goes_on_while_the_run_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.sqlite");
    let mut store = create(&path);
    run(&mut store, 800, || {});
    let reader = Store::open_read_only(&path, StoreOptions::default()).unwrap();
    let everything = OutcomeFilter::default();
    let mut outcomes = reader.query(&everything);
    for _ in 0..5 {
        outcomes.next().unwrap().unwrap();
    }
    let frontier_us = store.committed_frontier_us() + HOP_US;
    store.commit(&small_commit(800..1_000, frontier_us)).unwrap();
    assert_eq!(outcomes.map(Result::unwrap).count(), 3 * 800 + 200 - 5);
}
