//! The figures of windows: the newest of every scope and kind that has ended.

use intakt_operators::dataflow::{Rate, RateKey, Scope, ScoreFigures, Window};
use intakt_pipelines::sinks::{LiveStatus, QualityStatus};

use crate::server::text_format::Exposition;

/// All of them. What is undefined, for want of frames or labels, is absent.
pub(super) fn windows(text: &mut Exposition, status: &LiveStatus) {
    rates(text, &status.rates);
    quality(text, &status.quality);
    scores(text, status);
}

/// A name, a sentence, and one figure of `T`.
type Family<T> = (&'static str, &'static str, fn(&T) -> Option<f64>);

fn rates(text: &mut Exposition, rates: &[Rate]) {
    let families: [Family<Rate>; 4] = [
        (
            "intakt_window_frames",
            "Frames in the window, unreadable and dropped ones included.",
            |rate| Some(rate.after.frames as f64),
        ),
        (
            "intakt_reject_rate",
            "Rejected frames over all frames of the window.",
            |rate| rate.after.reject_rate(),
        ),
        (
            "intakt_unreadable_rate",
            "Unreadable frames over all frames of the window.",
            |rate| rate.after.unreadable_rate(),
        ),
        (
            "intakt_drop_rate",
            "Dropped frames over all frames of the window.",
            |rate| rate.after.drop_rate(),
        ),
    ];
    for family in families {
        gauge(text, family, rates.iter().map(|rate| (&rate.key, rate)));
    }
}

fn quality(text: &mut Exposition, quality: &[QualityStatus]) {
    let families: [Family<QualityStatus>; 6] = [
        (
            "intakt_labelled_frames",
            "Frames of the window that passed or were rejected, and have a label.",
            |of| Some(of.labelled as f64),
        ),
        (
            "intakt_precision",
            "Anomalous frames over rejected ones, of the labelled.",
            |of| of.precision,
        ),
        (
            "intakt_recall",
            "Rejected frames over anomalous ones, of the labelled.",
            |of| of.recall,
        ),
        ("intakt_f1", "Harmonic mean of precision and recall.", |of| of.f1),
        (
            "intakt_false_reject_rate",
            "Rejected frames over normal ones, of those labelled normal.",
            |of| of.false_reject_rate,
        ),
        (
            "intakt_escape_rate",
            "Passed frames over anomalous ones, of those labelled anomalous.",
            |of| of.escape_rate,
        ),
    ];
    for family in families {
        gauge(text, family, quality.iter().map(|of| (&of.key, of)));
    }
}

fn scores(text: &mut Exposition, status: &LiveStatus) {
    let scores = || status.scores.iter().map(|rate| (&rate.key, &rate.after));
    let families: [Family<ScoreFigures>; 2] = [
        (
            "intakt_auroc",
            "Area under the ROC curve over the labelled frames of the window.",
            |scores| scores.auroc,
        ),
        (
            "intakt_score_drift",
            "Population stability index of the window's scores against the calibration of the camera's detector.",
            |scores| scores.drift,
        ),
    ];
    for family in families {
        gauge(text, family, scores());
    }
    let name = "intakt_calibrated_score";
    text.family(
        name,
        "gauge",
        "Quantiles of the window's calibrated scores; 0.5 is the threshold.",
    );
    for (key, figures) in scores() {
        for (quantile, score) in [("0.5", figures.p50), ("0.95", figures.p95), ("0.99", figures.p99)] {
            sample(text, name, key, &[("quantile", quantile)], score);
        }
    }
}

fn gauge<'a, T: 'a>(
    text: &mut Exposition,
    (name, help, figure): Family<T>,
    windows: impl Iterator<Item = (&'a RateKey, &'a T)>,
) {
    text.family(name, "gauge", help);
    windows.for_each(|(key, of)| sample(text, name, key, &[], figure(of)));
}

fn sample(text: &mut Exposition, name: &str, key: &RateKey, more: &[(&str, &str)], value: Option<f64>) {
    let Some(value) = value else { return };
    let (scope, of) = scope(&key.scope);
    let window = window(&key.window);
    let labels = [("scope", scope), ("name", of), ("window", window.as_str())];
    text.sample(name, &[&labels, more].concat(), value);
}

/// The kind of a scope, and whose it is.
pub(super) fn scope(scope: &Scope) -> (&'static str, &str) {
    match scope {
        Scope::Camera(name) => ("camera", name),
        Scope::Line(name) => ("line", name),
        Scope::All => ("all", ""),
    }
}

/// The present lot is called `lot`, whatever its name: a label that takes ever new values is one that Prometheus cannot keep.
fn window(window: &Window) -> String {
    match window {
        Window::Sliding { length_us } => format!("{}s", length_us / 1_000_000),
        Window::Shift => "shift".to_owned(),
        Window::Lot { .. } => "lot".to_owned(),
    }
}
