//! A run in figures against counting everything again.

use std::collections::BTreeMap;
use std::sync::Arc;

use intakt_operators::metrics::Tally;
use intakt_operators::{Decision, Outcome, Truth, Verdict};

use super::support::{CAMERAS, create, run};
use crate::review::{NOTABLE_MAX, Notable};
use crate::store::{NotableVerdicts, OutcomeFilter, SuppressedRegions, TimedOutcome};

/// What was said last of each frame.
fn last_said(store: &crate::store::Store) -> BTreeMap<(Arc<str>, u64), Truth> {
    let labels = store.labels().map(Result::unwrap);
    let last: BTreeMap<_, _> = labels
        .map(|timed| ((timed.label.camera, timed.label.seq), timed.label.truth))
        .collect();
    last.into_iter()
        .filter_map(|(frame, truth)| Some((frame, truth?)))
        .collect()
}

#[test]
fn a_summary_counts_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    run(&mut store, 1_500, || {});
    let all: Vec<TimedOutcome> = store.query(&OutcomeFilter::default()).map(Result::unwrap).collect();
    let said = last_said(&store);
    let summary = store.summary().unwrap();
    assert_eq!(summary.numbered, all.len() as u64);
    assert_eq!(summary.stretches.first_us, all[0].time_us);
    assert_eq!(summary.stretches.last_us, all[all.len() - 1].time_us);

    let mut tallies: BTreeMap<Arc<str>, Tally> = BTreeMap::new();
    let (mut suppressed, mut n_regions) = (BTreeMap::<_, SuppressedRegions>::new(), 0);
    let mut judged: Vec<&Arc<Verdict>> = Vec::new();
    for timed in &all {
        let tally = tallies.entry(timed.outcome.camera().clone()).or_default();
        tally.frames += 1;
        let Outcome::Judged(verdict) = &timed.outcome else {
            tally.dropped += 1;
            continue;
        };
        n_regions += verdict.regions.len() + verdict.suppressed.len();
        let mut reasons: Vec<_> = verdict.suppressed.iter().map(|suppressed| suppressed.reason).collect();
        reasons
            .iter()
            .for_each(|reason| suppressed.entry(*reason).or_default().regions += 1);
        reasons.sort_unstable();
        reasons.dedup();
        reasons
            .iter()
            .for_each(|reason| suppressed.entry(*reason).or_default().frames += 1);
        if let Decision::Unreadable { .. } = verdict.decision {
            tally.unreadable += 1;
            continue;
        }
        judged.push(verdict);
        let is_rejected = verdict.decision == Decision::Reject;
        tally.rejects += i64::from(is_rejected);
        if let Some(truth) = said.get(&(verdict.camera.clone(), verdict.seq)) {
            tally.count_labelled(is_rejected, truth.is_anomalous(), 1);
        }
    }
    for (camera, tally) in &tallies {
        assert_eq!(summary.cameras[camera].tally(), *tally, "{camera}");
    }
    assert_eq!(summary.cameras.len(), CAMERAS.len());
    assert_eq!(summary.suppressed, suppressed);
    assert_eq!(summary.regions, [n_regions as u64; 2]);
    let steps = summary.cameras.values().flat_map(|camera| &camera.scores.judged);
    assert_eq!(steps.sum::<u64>(), judged.len() as u64);
    let used: u64 = summary.detectors.values().map(|used| used.frames).sum();
    assert_eq!(used, judged.len() as u64);
    assert!(summary.reasons.values().sum::<u64>() > 100 && summary.reasons.len() <= 21);

    let labels = &summary.labels;
    assert_eq!(labels.frames, said.len() as u64);
    let labelled: i64 = labels.scores.counts().iter().map(|count| i64::from(count.judged)).sum();
    assert_eq!(labelled as u64 + labels.unjudged + labels.unknown, labels.frames);
    let NotableVerdicts {
        kind,
        verdicts: false_rejects,
    } = &summary.notable[0];
    assert_eq!((*kind, false_rejects.len()), (Notable::FalseReject, NOTABLE_MAX));
    let is_false = |verdict: &&&Arc<Verdict>| {
        let truth = said.get(&(verdict.camera.clone(), verdict.seq));
        verdict.decision == Decision::Reject && truth == Some(&Truth::Normal)
    };
    let mut expected: Vec<&Arc<Verdict>> = judged.iter().filter(is_false).copied().collect();
    expected.sort_by(|a, b| {
        let score = |verdict: &Verdict| -verdict.calibrated_score;
        score(a).total_cmp(&score(b)).then(a.seq.cmp(&b.seq))
    });
    expected.truncate(NOTABLE_MAX);
    let frame = |verdict: &Arc<Verdict>| (verdict.camera.clone(), verdict.seq);
    let found: Vec<_> = false_rejects.iter().map(frame).collect();
    assert_eq!(found, expected.into_iter().map(frame).collect::<Vec<_>>());
}

#[test]
fn a_run_of_which_nothing_is_kept_has_a_summary_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = create(&directory.path().join("run.sqlite"));
    let summary = store.summary().unwrap();
    assert_eq!(
        (summary.numbered, summary.cameras.len(), summary.stretches.len()),
        (0, 0, 1)
    );
    assert!(summary.notable.iter().all(|notable| notable.verdicts.is_empty()));
}
