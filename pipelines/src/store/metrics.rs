//! Rates as rows: of the windows with a fixed place, a row per figure.

use std::sync::Arc;

use intakt_operators::dataflow::{Rate, Revision, Scope, ScoreFigures, ScoreRate, Window};
use intakt_operators::metrics::Tally;

use super::{Metric, WindowKind};

/// A scope in one word, in which a camera called "all" is not all cameras.
pub fn scope_name(scope: &Scope) -> String {
    match scope {
        Scope::Camera(camera) => format!("camera/{camera}"),
        Scope::Line(line) => format!("line/{line}"),
        Scope::All => "all".to_owned(),
    }
}

/// The scope that [`scope_name`] names.
pub(super) fn scope_of_name(name: &str) -> Scope {
    match name.split_once('/') {
        Some(("camera", camera)) => Scope::Camera(camera.into()),
        Some(("line", line)) => Scope::Line(line.into()),
        _ => Scope::All,
    }
}

/// The scope of a stored figure in one word: with the window, where that is no sliding one.
fn window_name(scope: &Scope, window: &Window) -> String {
    let scope = scope_name(scope);
    match window {
        Window::Sliding { .. } => scope,
        Window::Shift => format!("{scope}{SHIFT}"),
        Window::Lot { lot } => format!("{scope}{LOT}{lot}"),
    }
}

const SHIFT: &str = "/shift";
const LOT: &str = "/lot/";

/// What [`window_name`] names, where the window has this length. A camera whose own name ends like that is taken for another.
pub(super) fn window_of_name(name: &str, length_us: u64) -> (Scope, WindowKind) {
    if let Some((scope, lot)) = name.split_once(LOT) {
        return (scope_of_name(scope), WindowKind::Lot(lot.into()));
    }
    match name.strip_suffix(SHIFT) {
        Some(scope) => (scope_of_name(scope), WindowKind::Shift),
        None => (scope_of_name(name), WindowKind::Length(length_us)),
    }
}

/// The figures of counts.
pub(super) fn count_metrics(rate: &Rate) -> impl Iterator<Item = Metric> {
    metrics(rate, tally_figures, |tally| *tally == Tally::default())
}

/// The figures of scores.
pub(super) fn score_metrics(rate: &ScoreRate) -> impl Iterator<Item = Metric> {
    metrics(rate, score_figures, |figures| figures.judged == 0)
}

/// Names and values.
pub type Figures = Vec<(&'static str, Option<f64>)>;

/// The figures of counts by name, as they are stored.
pub fn tally_figures(tally: &Tally) -> Figures {
    let confusion = tally.confusion();
    let labelled = confusion.tp + confusion.fp + confusion.tn + confusion.fn_;
    let count = |count: i64| Some(count as f64);
    vec![
        ("frames", count(tally.frames)),
        ("rejects", count(tally.rejects)),
        ("unreadable", count(tally.unreadable)),
        ("dropped", count(tally.dropped)),
        ("reject_rate", tally.reject_rate()),
        ("labelled", (labelled > 0).then_some(labelled as f64)),
        ("precision", confusion.precision()),
        ("recall", confusion.recall()),
        ("f1", confusion.f1()),
        ("false_reject_rate", confusion.false_reject_rate()),
        ("escape_rate", confusion.escape_rate()),
    ]
}

fn score_figures(figures: &ScoreFigures) -> Figures {
    vec![
        ("score_p50", figures.p50),
        ("score_p95", figures.p95),
        ("score_p99", figures.p99),
        ("drift", figures.drift),
        ("auroc", figures.auroc),
    ]
}

/// A window that slides is gone with the next hop; the one that ends at a multiple of its length stays, and is corrected.
fn has_fixed_place(window: &Window, end_us: u64) -> bool {
    match window {
        Window::Sliding { length_us } => end_us.is_multiple_of(*length_us),
        Window::Shift | Window::Lot { .. } => true,
    }
}

fn metrics<T>(
    rate: &Revision<T>,
    figures: fn(&T) -> Figures,
    is_empty: fn(&T) -> bool,
) -> impl Iterator<Item = Metric> + use<T> {
    let scope: Arc<str> = window_name(&rate.key.scope, &rate.key.window).into();
    let (at_us, window_us) = (rate.end_us, rate.end_us - rate.start_us);
    // Nor is that a window ran empty, which only the first of many empty ones would say.
    let kept = match has_fixed_place(&rate.key.window, rate.end_us) && (rate.revision > 0 || !is_empty(&rate.after)) {
        true => figures(&rate.after),
        false => Figures::new(),
    };
    kept.into_iter().map(move |(name, value)| Metric {
        at_us,
        window_us,
        scope: scope.clone(),
        name: name.into(),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_found_again_by_its_name() {
        for scope in [Scope::All, Scope::Line("all".into()), Scope::Camera("dock/2".into())] {
            assert_eq!(scope_of_name(&scope_name(&scope)), scope);
            for (window, kind) in [
                (Window::Sliding { length_us: 7 }, WindowKind::Length(7)),
                (Window::Shift, WindowKind::Shift),
                (Window::Lot { lot: "L/7".into() }, WindowKind::Lot("L/7".into())),
            ] {
                let name = window_name(&scope, &window);
                assert_eq!(window_of_name(&name, 7), (scope.clone(), kind), "{name}");
            }
        }
    }
}
