//! Charts as SVG: numbers in, text out. They stand in the page itself, so that it needs nothing else.

mod bars;
mod curve;
mod histogram;
mod spans;

pub(super) use bars::{Bar, bars};
pub(super) use curve::{Marked, curve};
pub(super) use histogram::{Half, histogram};
pub(super) use spans::{Span, span};

use std::fmt::Write;

use maud::{Markup, html};

/// Where things are drawn, in units of the chart: about a third of a millimetre in print.
#[derive(Clone, Copy, Debug)]
struct Plot {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Plot {
    /// The place of a share of the width, from the left.
    fn x(&self, share: f64) -> f64 {
        self.left + share.clamp(0.0, 1.0) * (self.right - self.left)
    }

    /// The place of a share of the height, from below.
    fn y(&self, share: f64) -> f64 {
        self.bottom - share.clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    /// A horizontal line with its number on the left, at a share of the height.
    fn level(&self, share: f64, label: &str) -> Markup {
        let y = self.y(share);
        html! {
            line.grid x1=(at(self.left)) x2=(at(self.right)) y1=(at(y)) y2=(at(y)) {}
            text.tick x=(at(self.left - 6.0)) y=(at(y + 4.0)) text-anchor="end" { (label) }
        }
    }

    /// A number below the plot, at a share of the width.
    fn tick(&self, share: f64, label: &str) -> Markup {
        let x = self.x(share);
        html! {
            line.axis x1=(at(x)) x2=(at(x)) y1=(at(self.bottom)) y2=(at(self.bottom + 4.0)) {}
            text.tick x=(at(x)) y=(at(self.bottom + 16.0)) text-anchor="middle" { (label) }
        }
    }

    /// The line that bars stand on.
    fn ground(&self) -> Markup {
        html! {
            line.axis x1=(at(self.left)) x2=(at(self.right)) y1=(at(self.bottom)) y2=(at(self.bottom)) {}
        }
    }
}

/// A chart of `width` by `height` with what it shows in one sentence, for those who do not see it.
fn chart(width: f64, height: f64, says: &str, content: &Markup) -> Markup {
    html! {
        svg viewBox={ "0 0 " (at(width)) " " (at(height)) } role="img" aria-label=(says) {
            title { (says) }
            (content)
        }
    }
}

/// A coordinate, to a tenth of a unit: the same number is the same text everywhere.
fn at(coordinate: f64) -> String {
    let tenths = (coordinate * 10.0).round() as i64;
    match tenths % 10 {
        0 => format!("{}", tenths / 10),
        _ => format!("{:.1}", tenths as f64 / 10.0),
    }
}

/// A path along points.
fn path(points: impl IntoIterator<Item = [f64; 2]>) -> String {
    let mut text = String::new();
    for [x, y] in points {
        let verb = if text.is_empty() { 'M' } else { 'L' };
        let _ = write!(text, "{verb}{} {}", at(x), at(y));
    }
    text
}

/// Multiples of a round number from 0 to the first that is not below `max`, about `n` of them.
fn round_levels(max: f64, n: usize) -> Vec<f64> {
    if !(max > 0.0 && max.is_finite()) {
        return vec![0.0, 1.0];
    }
    let rough = max / n as f64;
    let decade = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * decade >= rough * 0.999_999);
    let step = factor.unwrap_or(10.0) * decade;
    let steps = (max / step - 1e-9).ceil().max(1.0) as usize;
    (0..=steps).map(|idx| idx as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_text_to_a_tenth() {
        assert_eq!(
            [at(0.0), at(-0.04), at(3.0), at(2.06), at(-1.25)],
            ["0", "0", "3", "2.1", "-1.3"]
        );
        assert_eq!(path([[0.0, 1.0], [2.5, 3.0]]), "M0 1L2.5 3");
        assert_eq!(path([]), "");
    }

    #[test]
    fn levels_are_round_and_reach_the_highest_value() {
        assert_eq!(round_levels(0.043, 4), [0.0, 0.02, 0.04, 0.06]);
        assert_eq!(round_levels(7.0, 4), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(round_levels(100.0, 4), [0.0, 50.0, 100.0]);
        assert_eq!(round_levels(0.0, 4), [0.0, 1.0]);
        assert_eq!(round_levels(f64::NAN, 4), [0.0, 1.0]);
    }

    #[test]
    fn shares_outside_of_a_plot_are_drawn_at_its_edge() {
        let plot = Plot {
            left: 10.0,
            top: 0.0,
            right: 110.0,
            bottom: 50.0,
        };
        assert_eq!((plot.x(0.25), plot.y(0.5)), (35.0, 25.0));
        assert_eq!((plot.x(7.0), plot.y(-1.0)), (110.0, 50.0));
    }
}
