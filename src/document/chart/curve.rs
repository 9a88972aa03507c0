//! One share against another.

use maud::{Markup, html};

use super::{Plot, at, chart, path};

const PLOT: Plot = Plot {
    left: 66.0,
    top: 14.0,
    right: 326.0,
    bottom: 250.0,
};

/// A point of a curve that matters, with its name.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) at: [f64; 2],
    pub(crate) name: String,
}

const WIDTH: f64 = 350.0;

/// Width of a letter of a note, a little more than it is.
const NOTE_LETTER: f64 = 6.5;

/// A curve from 0 to `x_max` and from 0 to 1 with the names of both axes.
pub(crate) fn curve(
    points: &[[f64; 2]],
    x_max: f64,
    [x_name, y_name]: [&str; 2],
    marked: Option<&Marked>,
    says: &str,
) -> Markup {
    let place = |point: &[f64; 2]| [PLOT.x(point[0] / x_max), PLOT.y(point[1])];
    let within = up_to(points, x_max);
    let line = path(within.iter().map(place));
    let ends = within.last().map_or(0.0, |last| last[0] / x_max);
    let area = format!(
        "{line}L{} {}L{} {}Z",
        at(PLOT.x(ends)),
        at(PLOT.bottom),
        at(PLOT.left),
        at(PLOT.bottom)
    );
    let parts = if x_max == 1.0 { 4 } else { 3 };
    chart(
        WIDTH,
        300.0,
        says,
        &html! {
            @for quarter in 0..=4 {
                @let share = f64::from(quarter) / 4.0;
                (PLOT.level(share, &format!("{:.0} %", 100.0 * share)))
            }
            @for part in 0..=parts {
                @let share = f64::from(part) / f64::from(parts);
                (PLOT.tick(share, &format!("{:.0} %", 100.0 * share * x_max)))
            }
            path.area d=(area) {}
            @if x_max == 1.0 {
                path.chance d=(path([place(&[0.0, 0.0]), place(&[1.0, 1.0])])) {}
            }
            path.curve d=(line) {}
            (PLOT.ground())
            @if let Some(marked) = marked {
                @let [x, y] = place(&marked.at);
                circle.marked cx=(at(x)) cy=(at(y)) r="5" {}
                @let begins = (x + 10.0).min(WIDTH - NOTE_LETTER * marked.name.chars().count() as f64);
                text.note x=(at(begins)) y=(at((y + 20.0).min(PLOT.bottom - 6.0))) { (marked.name) }
            }
            text.note x=(at((PLOT.left + PLOT.right) / 2.0)) y="288" text-anchor="middle" { (x_name) }
            text.note transform={ "translate(14 " (at((PLOT.top + PLOT.bottom) / 2.0)) ") rotate(-90)" }
                text-anchor="middle" { (y_name) }
        },
    )
}

/// The points up to `x_max`, with the one there.
fn up_to(points: &[[f64; 2]], x_max: f64) -> Vec<[f64; 2]> {
    let n_within = points.iter().take_while(|point| point[0] <= x_max).count();
    let mut within = points[..n_within].to_vec();
    if let (Some(last), Some(beyond)) = (within.last().copied(), points.get(n_within)) {
        let share = (x_max - last[0]) / (beyond[0] - last[0]);
        within.push([x_max, last[1] + share * (beyond[1] - last[1])]);
    }
    within
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_a_path_through_its_points() {
        let drawn = curve(&[[0.0, 0.0], [0.0, 0.5], [1.0, 1.0]], 1.0, ["x", "y"], None, "says").into_string();
        assert!(
            drawn.contains(r#"<path class="curve" d="M66 250L66 132L326 14">"#),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#"<path class="area" d="M66 250L66 132L326 14L326 250L66 250Z">"#),
            "{drawn}"
        );
    }

    #[test]
    fn what_is_marked_is_named_within_the_picture() {
        let begins = |false_rejects: f64| {
            let marked = Marked {
                at: [false_rejects, 0.5],
                name: "at the threshold: 33.3 % / 100.0 %".to_owned(),
            };
            let drawn = curve(&[[0.0, 0.0], [1.0, 1.0]], 1.0, ["x", "y"], Some(&marked), "says").into_string();
            let (before, _) = drawn.split_once("\" y=\"152\">at the").expect("it is named");
            let (_, x) = before.rsplit_once("x=\"").expect("it has a place");
            x.parse::<f64>().expect("a number")
        };
        assert_eq!(begins(0.0), 76.0);
        for false_rejects in [0.3, 0.6, 1.0] {
            assert_eq!(begins(false_rejects), 129.0, "its end is where the picture ends");
        }
    }

    #[test]
    fn a_curve_is_cut_where_the_axis_ends() {
        assert_eq!(
            up_to(&[[0.0, 0.0], [0.2, 0.4], [0.4, 0.8]], 0.3),
            [[0.0, 0.0], [0.2, 0.4], [0.3, 0.6]]
        );
        assert_eq!(up_to(&[[0.0, 0.0], [0.3, 0.4]], 0.3), [[0.0, 0.0], [0.3, 0.4]]);
        assert!(up_to(&[], 0.3).is_empty());
    }
}
