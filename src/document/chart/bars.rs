//! Shares over time: a bar for each stretch, in parts on top of each other.

use maud::{Markup, html};

use super::{Plot, at, chart, round_levels};
use crate::document::text::{count, percent};

const WIDTH: f64 = 700.0;
const PLOT: Plot = Plot {
    left: 56.0,
    top: 12.0,
    right: 692.0,
    bottom: 150.0,
};
/// Below the bars: how many frames each of them is about.
const STRIP: Plot = Plot {
    left: PLOT.left,
    top: 184.0,
    right: PLOT.right,
    bottom: 214.0,
};

/// One stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bar {
    /// Frames in it.
    pub(crate) frames: u64,
    /// Those of them that each part is about, the lowest part first.
    pub(crate) parts: [u64; 3],
    /// What is written below it, if anything.
    pub(crate) label: Option<String>,
}

/// Bars side by side; `classes` are the style of each part, lowest first.
pub(crate) fn bars(bars: &[Bar], classes: [&str; 3], says: &str) -> Markup {
    let share = |bar: &Bar| match bar.frames {
        0 => 0.0,
        frames => bar.parts.iter().sum::<u64>() as f64 / frames as f64,
    };
    let highest = bars.iter().map(share).fold(0.0, f64::max);
    let levels = match highest {
        0.0 => vec![0.0, 0.01],
        highest => round_levels(highest, 4),
    };
    let top = levels[levels.len() - 1];
    let most = bars.iter().map(|bar| bar.frames).max().unwrap_or(0).max(1);
    let slot = 1.0 / bars.len().max(1) as f64;
    chart(
        WIDTH,
        STRIP.bottom + 4.0,
        says,
        &html! {
            @for level in &levels {
                (PLOT.level(level / top, &percent(Some(*level))))
            }
            @for (idx, bar) in bars.iter().enumerate() {
                @let left = idx as f64 * slot;
                (stack(bar, [left, slot], top, classes))
                (frames(bar, [left, slot], most))
                @if let Some(label) = &bar.label {
                    (PLOT.tick(left, label))
                }
            }
            (PLOT.ground())
            (STRIP.ground())
            text.tick x=(at(STRIP.left - 6.0)) y=(at(STRIP.top + 8.0)) text-anchor="end" { (short(most)) }
            text.tick x=(at(STRIP.left - 6.0)) y=(at(STRIP.bottom)) text-anchor="end" { "frames" }
        },
    )
}

/// The parts of a bar, each on top of those before.
fn stack(bar: &Bar, place: [f64; 2], top: f64, classes: [&str; 3]) -> Markup {
    let [left, right] = sides(&PLOT, place);
    let mut below = 0;
    let parts = bar.parts.iter().zip(classes).filter_map(|(part, class)| {
        let from = below as f64 / bar.frames.max(1) as f64;
        below += part;
        let to = below as f64 / bar.frames.max(1) as f64;
        let (high, low) = (PLOT.y(to / top), PLOT.y(from / top));
        (*part > 0).then_some((class, high, (low - high).max(1.0)))
    });
    html! {
        @for (class, high, height) in parts {
            rect class=(class) x=(at(left)) y=(at(high)) width=(at(right - left)) height=(at(height)) {}
        }
    }
}

fn frames(bar: &Bar, place: [f64; 2], most: u64) -> Markup {
    let [left, right] = sides(&STRIP, place);
    let high = STRIP.y(bar.frames as f64 / most as f64);
    html! {
        @if bar.frames > 0 {
            rect.frames x=(at(left)) y=(at(high.min(STRIP.bottom - 1.0))) width=(at(right - left))
                height=(at((STRIP.bottom - high).max(1.0))) {}
        }
    }
}

/// Where a bar begins and ends; bars do not touch.
fn sides(plot: &Plot, [left, slot]: [f64; 2]) -> [f64; 2] {
    let gap = (slot * (plot.right - plot.left) * 0.12).min(2.0);
    [plot.x(left) + gap / 2.0, plot.x(left + slot) - gap / 2.0]
}

/// A count with a unit where it would be too wide.
fn short(number: u64) -> String {
    match number {
        0..100_000 => count(number),
        100_000..10_000_000 => format!("{} k", number / 1_000),
        _ => format!("{} M", number / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(frames: u64, parts: [u64; 3]) -> Bar {
        Bar {
            frames,
            parts,
            label: None,
        }
    }

    #[test]
    fn parts_stand_on_each_other_and_end_at_the_sum() {
        // 10 % and 10 % of a scale that ends at 20 %: the lower and the upper half.
        let drawn = bars(&[bar(100, [10, 0, 10])], ["a", "b", "c"], "says").into_string();
        assert!(
            drawn.contains(r#"<rect class="a" x="57" y="81" width="634" height="69">"#),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#"<rect class="c" x="57" y="12" width="634" height="69">"#),
            "{drawn}"
        );
        assert!(!drawn.contains(r#"class="b""#), "a part without frames is not drawn");
    }

    #[test]
    fn stretches_without_frames_have_no_bars() {
        let drawn = bars(&[bar(0, [0; 3]), bar(5, [0; 3])], ["a", "b", "c"], "says").into_string();
        assert_eq!(drawn.matches("<rect").count(), 1, "the frames of the second one");
        assert!(bars(&[], ["a", "b", "c"], "says").into_string().contains("<svg"));
    }
}
