//! How long something took: from the median to the longest, on a logarithmic line that all share.

use maud::{Markup, html};

use super::{Plot, at, chart};

const PLOT: Plot = Plot {
    left: 6.0,
    top: 0.0,
    right: 234.0,
    bottom: 16.0,
};

/// The ends of the line, microseconds: 10 µs and 10 s.
const ENDS_US: [f64; 2] = [10.0, 10_000_000.0];

/// Quantiles of a stage, microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

/// A dot at the median, a thick line to the 99th percentile, a thin one to the longest.
pub(crate) fn span(span: Span, says: &str) -> Markup {
    let [p50, p99, max] = [span.p50_us, span.p99_us, span.max_us].map(|micros| PLOT.x(place(micros)));
    chart(
        240.0,
        16.0,
        says,
        &html! {
            @for decade in 1..=7 {
                @let x = PLOT.x(place(10_u64.pow(decade)));
                line.grid x1=(at(x)) x2=(at(x)) y1="0" y2="16" {}
            }
            line.longest x1=(at(p50)) x2=(at(max)) y1="8" y2="8" {}
            line.most x1=(at(p50)) x2=(at(p99)) y1="8" y2="8" {}
            circle.median cx=(at(p50)) cy="8" r="4" {}
        },
    )
}

fn place(micros: u64) -> f64 {
    let [first, last] = ENDS_US.map(f64::log10);
    ((micros.max(1) as f64).log10() - first) / (last - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decade_is_as_long_as_any_other() {
        assert_eq!((place(10), place(10_000_000)), (0.0, 1.0));
        assert!((place(10_000) - place(1_000) - (place(1_000) - place(100))).abs() < 1e-12);
        let drawn = span(
            Span {
                p50_us: 10,
                p99_us: 10_000,
                max_us: 90_000_000,
            },
            "says",
        );
        let drawn = drawn.into_string();
        assert!(drawn.contains(r#"<line class="most" x1="6" x2="120""#), "{drawn}");
        assert!(
            drawn.contains(r#"<line class="longest" x1="6" x2="234""#),
            "longer than the line: {drawn}"
        );
    }
}
