//! Two runs beside plain recounting.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use intakt_operators::{Decision, Outcome, Verdict};

use super::support::{CAMERAS, HOP_US, all, create, kind, run, small_commit};
use crate::store::{Commit, Compared, ComparedCamera, DecisionKind, Flip, FlipFilter, Store, TimedOutcome};

const FRAMES: u64 = 60;

type Frames = BTreeMap<(Arc<str>, u64), Outcome>;

/// The same frames in another run, whose cameras have other numbers: some are missing, some have another decision or score.
fn another(outcomes: &[TimedOutcome]) -> Commit {
    let mut found = Vec::new();
    for (idx, timed) in outcomes.iter().rev().enumerate() {
        let outcome = match (&timed.outcome, idx % 5) {
            (_, 0) => continue,
            (Outcome::Judged(verdict), 1) => judged(Verdict {
                decision: Decision::Reject,
                ..(**verdict).clone()
            }),
            (Outcome::Judged(verdict), 2) => judged(Verdict {
                decision: Decision::Pass,
                image_score: verdict.image_score + 1.0,
                ..(**verdict).clone()
            }),
            // Only the number of another frame is the same.
            (Outcome::Judged(verdict), 3) if verdict.seq % 2 == 0 => judged(Verdict {
                captured_at_us: verdict.captured_at_us + 1,
                origin: "elsewhere".into(),
                ..(**verdict).clone()
            }),
            // It came from the same place, whose clock says another time.
            (Outcome::Judged(verdict), 3) if !verdict.origin.is_empty() => judged(Verdict {
                captured_at_us: verdict.captured_at_us + 1,
                ..(**verdict).clone()
            }),
            (outcome, _) => outcome.clone(),
        };
        found.push(TimedOutcome {
            time_us: idx as u64,
            outcome,
        });
    }
    Commit {
        frontier_us: HOP_US * 1_000,
        outcomes: found,
        next_seq: CAMERAS.map(|camera| (camera.into(), FRAMES)).into(),
        ..Commit::default()
    }
}

fn judged(verdict: Verdict) -> Outcome {
    Outcome::Judged(Arc::new(verdict))
}

/// The frames that were judged.
fn frames(store: &Store) -> Frames {
    let outcomes = all(store).into_iter().map(|timed| timed.outcome);
    let frames = outcomes.filter(|outcome| kind(outcome) != DecisionKind::Dropped);
    frames
        .map(|outcome| ((outcome.camera().clone(), outcome.seq()), outcome))
        .collect()
}

/// The bits of what must be the same.
fn scores(outcome: &Outcome) -> Option<(u64, u64)> {
    match outcome {
        Outcome::Judged(verdict) => Some((verdict.image_score.to_bits(), verdict.threshold.to_bits())),
        Outcome::Dropped(_) => None,
    }
}

fn is_same_frame(here: &Outcome, there: &Outcome) -> bool {
    let (Outcome::Judged(here), Outcome::Judged(there)) = (here, there) else {
        return false;
    };
    here.captured_at_us == there.captured_at_us || (!here.origin.is_empty() && here.origin == there.origin)
}

fn recounted(here: &Frames, there: &Frames) -> BTreeMap<Arc<str>, ComparedCamera> {
    let mut cameras: BTreeMap<Arc<str>, ComparedCamera> = BTreeMap::new();
    for (frame, before) in here {
        let camera = cameras.entry(frame.0.clone()).or_default();
        match there.get(frame).filter(|after| is_same_frame(before, after)) {
            None => camera.only_here += 1,
            Some(after) => {
                camera.both += 1;
                if kind(before) != kind(after) {
                    *camera.flips.entry((kind(before), kind(after))).or_default() += 1;
                } else if scores(before) == scores(after) {
                    camera.identical += 1;
                }
            }
        }
    }
    let is_known = |frame: &_, after: &Outcome| here.get(frame).is_some_and(|before| is_same_frame(before, after));
    for (frame, _) in there.iter().filter(|(frame, after)| !is_known(frame, after)) {
        cameras.entry(frame.0.clone()).or_default().only_there += 1;
    }
    cameras
}

fn paged(here: &Store, there: &Store, filter: &FlipFilter) -> Vec<Flip> {
    let (mut flips, mut end) = (Vec::new(), i64::MAX);
    loop {
        let page = here.flips(there, filter, end, 3).unwrap();
        assert!(page.flips.len() <= 3);
        flips.extend(page.flips);
        match page.next {
            Some(next) => end = next,
            None => return flips,
        }
    }
}

/// A run and [`another`] of it.
fn two_runs(directory: &Path) -> [Store; 2] {
    let [mut here, mut there] = ["here.sqlite", "there.sqlite"].map(|name| create(&directory.join(name)));
    run(&mut here, FRAMES, || ());
    there.commit(&another(&all(&here))).unwrap();
    [here, there]
}

#[test]
fn two_runs_are_compared_frame_by_frame() {
    let directory = tempfile::tempdir().unwrap();
    let [mut here, mut there] = two_runs(directory.path());

    let mut compared = Compared::default();
    here.compare_on(&there, &mut compared).unwrap();
    let wanted = recounted(&frames(&here), &frames(&there));
    assert_eq!(compared.cameras(), wanted);
    for camera in wanted.values() {
        assert!(
            camera.identical > 0 && camera.flips.len() > 1 && camera.only_here > 0,
            "{camera:?}"
        );
    }

    // Both go on, with different frames; one that is compared anew comes to what one that went on does.
    here.commit(&small_commit(1_000..1_005, here.committed_frontier_us() + HOP_US))
        .unwrap();
    here.compare_on(&there, &mut compared).unwrap();
    assert_eq!(compared.cameras(), recounted(&frames(&here), &frames(&there)));
    there
        .commit(&small_commit(1_002..1_009, there.committed_frontier_us() + HOP_US))
        .unwrap();
    here.compare_on(&there, &mut compared).unwrap();
    assert_eq!(compared.cameras(), recounted(&frames(&here), &frames(&there)));
}

#[test]
fn flips_are_listed_page_by_page_the_newest_first() {
    let directory = tempfile::tempdir().unwrap();
    let [here, there] = two_runs(directory.path());
    let others = frames(&there);
    for camera in [None, Some(CAMERAS[1]), Some("nobody")] {
        for change in [None, Some((DecisionKind::Pass, DecisionKind::Reject))] {
            let filter = FlipFilter {
                camera: camera.map(str::to_owned),
                change,
            };
            let mut wanted = all(&here);
            wanted.reverse();
            wanted.retain(|timed| {
                let (camera, seq) = (timed.outcome.camera().clone(), timed.outcome.seq());
                let before = kind(&timed.outcome);
                let is_of = filter.camera.as_ref().is_none_or(|wanted| **wanted == *camera);
                let after = others.get(&(camera, seq)).map(kind);
                is_of
                    && after.is_some_and(|after| {
                        before != DecisionKind::Dropped
                            && before != after
                            && change.is_none_or(|wanted| wanted == (before, after))
                    })
            });
            let found = paged(&here, &there, &filter);
            let listed: Vec<TimedOutcome> = found.iter().map(|flip| flip.here.timed.clone()).collect();
            assert_eq!(listed, wanted, "{filter:?}");
            for flip in found {
                let outcome = &flip.here.timed.outcome;
                assert_eq!(
                    Some(&flip.there.timed.outcome),
                    others.get(&(outcome.camera().clone(), outcome.seq()))
                );
            }
        }
    }
    assert!(
        here.flips(&here, &FlipFilter::default(), i64::MAX, 5)
            .unwrap()
            .flips
            .is_empty(),
        "a run is as it is"
    );
}
