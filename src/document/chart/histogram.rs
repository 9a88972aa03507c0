//! How scores are spread: one kind of frames upwards, another downwards.

use maud::{Markup, html};

use super::{Plot, at, chart};
use crate::document::text::count;

const WIDTH: f64 = 704.0;
const HALF_HEIGHT: f64 = 105.0;
const UPPER: Plot = Plot {
    left: 64.0,
    top: 26.0,
    right: 692.0,
    bottom: 26.0 + HALF_HEIGHT,
};

/// Logarithmic counts begin here, so that a single frame is a bar too.
const LEAST: f64 = 0.6;

/// One kind of frames: a name, a style, and how many there are at each step of the score.
#[derive(Clone, Debug)]
pub(crate) struct Half<'a> {
    pub(crate) name: &'a str,
    pub(crate) class: &'a str,
    pub(crate) counts: &'a [u64],
}

/// Counts over scores from 0 to 1, logarithmic, with the threshold at 0.5.
pub(crate) fn histogram(upper: &Half<'_>, lower: Option<&Half<'_>>, says: &str) -> Markup {
    let highest = |half: &Half<'_>| half.counts.iter().max().copied().unwrap_or(0);
    let most = highest(upper).max(lower.map_or(0, highest)).max(1);
    let bottom = match lower {
        Some(_) => UPPER.bottom + HALF_HEIGHT,
        None => UPPER.bottom,
    };
    let middle = UPPER.x(0.5);
    // The same place, for what hangs down: above and below are swapped.
    let hanging = Plot {
        top: UPPER.bottom + HALF_HEIGHT,
        bottom: UPPER.bottom,
        ..UPPER
    };
    let below = Plot { bottom, ..UPPER };
    chart(
        WIDTH,
        bottom + 40.0,
        says,
        &html! {
            @for decade in decades(most) {
                (UPPER.level(height(decade, most), &count(decade)))
                @if lower.is_some() { (hanging.level(height(decade, most), &count(decade))) }
            }
            (half(&UPPER, upper, most))
            @if let Some(lower) = lower { (half(&hanging, lower, most)) }
            (UPPER.ground())
            line.threshold x1=(at(middle)) x2=(at(middle)) y1=(at(UPPER.top - 8.0)) y2=(at(bottom)) {}
            text.note x=(at(middle)) y=(at(UPPER.top - 13.0)) text-anchor="middle" { "threshold: rejected to the right" }
            @for tenth in 0..=10 {
                @let share = f64::from(tenth) / 10.0;
                (below.tick(share, &format!("{share:.1}")))
            }
            text.note x=(at(UPPER.x(0.5))) y=(at(bottom + 34.0)) text-anchor="middle" { "calibrated score" }
            text.name x=(at(UPPER.left)) y=(at(UPPER.top - 13.0)) { "▲ " (upper.name) }
            @if let Some(lower) = lower {
                text.name x=(at(UPPER.right)) y=(at(UPPER.top - 13.0)) text-anchor="end" { "▼ " (lower.name) }
            }
        },
    )
}

fn half(plot: &Plot, half: &Half<'_>, most: u64) -> Markup {
    let step = 1.0 / half.counts.len().max(1) as f64;
    let filled = half.counts.iter().enumerate().filter(|(_, count)| **count > 0);
    html! {
        @for (idx, count) in filled {
            @let (left, right) = (plot.x(idx as f64 * step), plot.x((idx + 1) as f64 * step));
            @let (ground, end) = (plot.y(0.0), plot.y(height(*count, most)));
            rect class=(half.class) x=(at(left + 0.5)) y=(at(ground.min(end))) width=(at(right - left - 1.0))
                height=(at((end - ground).abs())) {}
        }
    }
}

/// The share of the height that a count takes.
fn height(count: u64, most: u64) -> f64 {
    let above = |count: f64| (count / LEAST).log10();
    above(count.max(1) as f64) / above(most.max(2) as f64)
}

/// 1, 10, 100 … up to `most`, or more than that where only 1 would be left.
fn decades(most: u64) -> Vec<u64> {
    let all: Vec<u64> = (0..=18)
        .map(|power| 10_u64.pow(power))
        .take_while(|decade| *decade <= most)
        .collect();
    let every = all.len().div_ceil(5).max(1);
    let mut decades: Vec<u64> = all.into_iter().step_by(every).collect();
    if decades.len() == 1 && most > 1 {
        decades.push(most);
    }
    decades
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_the_logarithm_of_its_count() {
        assert_eq!((height(100, 100), height(1, 1) > 0.0), (1.0, true));
        let (one, ten, hundred) = (height(1, 100), height(10, 100), height(100, 100));
        assert!(one > 0.05 && ((hundred - ten) - (ten - one)).abs() < 1e-9);
    }

    #[test]
    fn one_kind_goes_up_and_the_other_down() {
        let half = |class, counts| Half {
            name: class,
            class,
            counts,
        };
        let drawn = histogram(&half("up", &[0, 100]), Some(&half("down", &[100, 0])), "says").into_string();
        assert!(
            drawn.contains(r#"<rect class="up" x="378.5" y="26" width="313" height="105">"#),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#"<rect class="down" x="64.5" y="131" width="313" height="105">"#),
            "{drawn}"
        );
        assert_eq!(drawn.matches("<rect").count(), 2, "what is empty is not drawn");
    }

    #[test]
    fn levels_are_powers_of_ten_and_few() {
        assert_eq!(decades(1), [1]);
        assert_eq!(decades(7), [1, 7]);
        assert_eq!(decades(1_000), [1, 10, 100, 1_000]);
        assert_eq!(decades(10_000_000), [1, 100, 10_000, 1_000_000]);
    }
}
